//! Presets: configuration files that come with sexton, over which the operator's own is laid.

use std::borrow::Cow;
use std::ffi::OsString;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::openclaw::{Package, Version};

/// The names of all presets.
pub const NAMES: &str =
    "openclaw, hermes, nanobot, openhands, qwenpaw, mcp-proxy, mcpo, mcp-hub, supergateway";

/// One preset.
struct Preset {
    name: &'static str,
    text: &'static str,
    /// The port in the addresses of its probes.
    port: Option<Port>,
}

/// The port that a gateway listens on if it is told nothing else, and what tells it another one.
#[derive(Clone, Copy)]
struct Port {
    usual: &'static str,
    option: &'static str,
    variable: Option<&'static str>,
}

const PRESETS: &[Preset] = &[
    Preset {
        name: "openclaw",
        text: include_str!("presets/openclaw.toml"),
        port: Some(Port { usual: "18789", option: "--port", variable: Some("OPENCLAW_GATEWAY_PORT") }),
    },
    Preset { name: "hermes", text: include_str!("presets/hermes.toml"), port: None },
    Preset {
        name: "nanobot",
        text: include_str!("presets/nanobot.toml"),
        port: Some(Port { usual: "18790", option: "--port", variable: None }),
    },
    Preset { name: "openhands", text: include_str!("presets/openhands.toml"), port: None },
    Preset {
        name: "qwenpaw",
        text: include_str!("presets/qwenpaw.toml"),
        port: Some(Port { usual: "8088", option: "--port", variable: None }),
    },
    Preset { name: "mcp-proxy", text: include_str!("presets/mcp-proxy.toml"), port: None },
    Preset { name: "mcpo", text: include_str!("presets/mcpo.toml"), port: None },
    Preset { name: "mcp-hub", text: include_str!("presets/mcp-hub.toml"), port: None },
    Preset { name: "supergateway", text: include_str!("presets/supergateway.toml"), port: None },
];

/// The text of a preset for this command in this environment; `None` if there is no such preset.
pub fn text(
    name: &str,
    command: &[OsString],
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Option<Cow<'static, str>> {
    let preset = PRESETS.iter().find(|preset| preset.name == name)?;
    let Some(Port { usual, option: option_name, variable: variable_name }) = preset.port else {
        return Some(preset.text.into());
    };
    // As the gateways read them: the option, then the variable.
    let port = option(command, option_name).or_else(|| variable(variable_name?)?.into_string().ok());
    let port = port.filter(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    Some(match port {
        Some(port) => preset.text.replace(&format!("127.0.0.1:{usual}"), &format!("127.0.0.1:{port}")).into(),
        None => preset.text.into(),
    })
}

/// What of a preset was chosen by the gateway's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which versions it is for.
    pub name: String,
    /// Why they have settings of their own.
    pub reason: String,
    /// The name of the package whose version is meant.
    pub package_name: String,
    /// The gateway's package; `None` if that cannot be told.
    pub package: Option<Package>,
    /// It is newer than all that were tried.
    pub is_newer: bool,
}

/// The settings of a preset that differ from version to version.
pub struct Versions<'a> {
    table: DeTable<'a>,
}

impl<'a> Versions<'a> {
    /// Takes them out of the preset, if it has some.
    pub fn take(preset: &mut DeTable<'a>) -> Option<Versions<'a>> {
        match preset.remove("versions")?.into_inner() {
            DeValue::Table(table) => Some(Versions { table }),
            _ => None,
        }
    }

    /// The name of the package that has a version.
    pub fn package(&self) -> &str {
        string(&self.table, "package")
    }

    /// The settings for this package, with what was chosen. The last ones are for what is not known.
    pub fn choose(mut self, package: Option<Package>) -> Option<(DeTable<'a>, Row)> {
        let tried = version(&self.table, "tried");
        let package_name = self.package().to_owned();
        let DeValue::Array(rows) = self.table.remove("rows")?.into_inner() else { return None };
        let known = package.as_ref().map(|package| package.version);
        let fits = |row: &DeValue<'_>| match (known, row.as_table()) {
            (Some(known), Some(row)) => version(row, "from").is_none_or(|from| from <= known),
            _ => true,
        };
        let mut rows = rows.into_iter().map(Spanned::into_inner);
        let DeValue::Table(mut row) = rows.rfind(fits)? else { return None };
        let chosen = Row {
            name: string(&row, "name").to_owned(),
            reason: string(&row, "reason").to_owned(),
            package_name,
            is_newer: known > tried && known.is_some(),
            package,
        };
        match row.remove("set")?.into_inner() {
            DeValue::Table(settings) => Some((settings, chosen)),
            _ => None,
        }
    }
}

fn string<'t>(table: &'t DeTable<'_>, key: &str) -> &'t str {
    table.get(key).and_then(|value| value.get_ref().as_str()).unwrap_or_default()
}

fn version(table: &DeTable<'_>, key: &str) -> Option<Version> {
    string(table, key).parse().ok()
}

/// The value of `--name VALUE` or `--name=VALUE`; the last one counts.
fn option(command: &[OsString], name: &str) -> Option<String> {
    let words: Vec<&str> = command.iter().filter_map(|word| word.to_str()).collect();
    let joined = words.iter().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let apart = words.windows(2).filter_map(|pair| match pair {
        [option, value] if *option == name => Some(*value),
        _ => None,
    });
    joined.chain(apart).next_back().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::{File, LoadContext};
    use crate::config::file_access::FileAccess;

    #[test]
    fn the_probes_ask_the_port_that_the_gateway_was_given() {
        let text = |line: &str, port: Option<&str>| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            let variable = |name: &str| port.filter(|_| name == "OPENCLAW_GATEWAY_PORT").map(OsString::from);
            text("openclaw", &words, &variable).unwrap().into_owned()
        };
        for (line, port, asked) in [
            ("openclaw gateway run", None, "18789"),
            ("openclaw gateway run", Some("19000"), "19000"),
            ("openclaw gateway run --port 19001", Some("19000"), "19001"),
            ("openclaw gateway run --port=19002", None, "19002"),
            ("openclaw gateway run --port auto", None, "18789"),
            ("openclaw gateway run --port", Some("70000"), "18789"),
        ] {
            assert!(
                text(line, port).contains(&format!("http://127.0.0.1:{asked}/healthz")),
                "{line} {port:?}"
            );
        }
        assert_eq!(super::text("unheard-of", &[], &|_| None), None);
    }

    #[test]
    fn every_preset_is_sound_and_named() {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        assert_eq!(names.join(", "), NAMES);
        for preset in PRESETS {
            assert!(preset.text.starts_with(&format!("# preset = \"{}\": ", preset.name)));
            let none = LoadContext {
                preset: Some(preset.name),
                command: &["gateway".into()],
                variable: &|_| None,
                owner: None,
                files: &FileAccess::Direct,
                package: &|_, _, _| None,
            };
            let file = File::read(None, &none).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
            assert!(file.preset.grace.is_some() && file.replace_on.is_empty(), "{}", preset.name);
            if let Some(Port { usual, .. }) = preset.port {
                assert!(preset.text.contains(&format!("127.0.0.1:{usual}/")), "{}", preset.name);
            }
        }
    }

    #[test]
    fn the_version_chooses_the_row() {
        let row = |version: Option<&str>| {
            let text = text("openclaw", &[], &|_| None).unwrap();
            let mut preset = DeTable::parse(&text).unwrap().into_inner();
            let versions = Versions::take(&mut preset).unwrap();
            assert_eq!((versions.package(), preset.get("versions").is_none()), ("openclaw", true));
            let package = version.map(|version| Package { version: version.parse().unwrap(), file: None });
            let (_, row) = versions.choose(package).unwrap();
            assert!(!row.reason.is_empty());
            (row.name, row.is_newer)
        };
        for (version, name, is_newer) in [
            (Some("2025.12.1"), "<= 2026.7", false),
            (Some("2026.5.22"), "<= 2026.7", false),
            (Some("2026.7.31"), "<= 2026.7", false),
            (Some("2026.8.0-beta.1"), "2026.8+", false),
            (Some("2026.8.1"), "2026.8+", false),
            (Some("2026.9.4"), "2026.8+", false),
            (Some("2026.9.5-beta.1"), "2026.9.5+", false),
            (Some("2026.9.6"), "2026.9.5+", false),
            (Some("2026.9.7"), "2026.9.5+", true),
            (Some("2026.10.1"), "2026.9.5+", true),
            (None, "2026.9.5+", false),
        ] {
            assert_eq!(row(version), (name.to_owned(), is_newer), "{version:?}");
        }
    }
}
