//! Presets: configuration files that come with sexton, over which the operator's own is laid.

use std::borrow::Cow;
use std::ffi::OsString;

/// The names of all presets.
pub const NAMES: &str = "openclaw";

const OPENCLAW: &str = include_str!("presets/openclaw.toml");

/// The port that OpenClaw's gateway listens on if it is told nothing else.
const OPENCLAW_PORT: &str = "18789";

/// The text of a preset for this command in this environment; `None` if there is no such preset.
pub fn text(
    name: &str,
    command: &[OsString],
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Option<Cow<'static, str>> {
    if name != "openclaw" {
        return None;
    }
    // As the gateway reads them: its option, then its variable.
    let port = option(command, "--port").or_else(|| variable("OPENCLAW_GATEWAY_PORT")?.into_string().ok());
    let port = port.filter(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    Some(match port {
        Some(port) => OPENCLAW.replace(OPENCLAW_PORT, &port).into(),
        None => OPENCLAW.into(),
    })
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
        assert_eq!(super::text("nanobot", &[], &|_| None), None);
    }
}
