//! The configuration file: TOML, read whole, and refused whole if anything in it is not understood.
//!
//! It says what stands in the file, and in the preset that the file or the operator names. The command line and
//! the environment, which win over both, are not its business. `packaging/config/sexton.toml` shows every key.
//!
//! ```text
//! text -> table -> Given, the settings that an option can give too, and the rest
//!         the rest -> (over the preset's) -> Raw, as serde has it -> File, checked
//! ```

mod argv;
mod error;
mod locks;
mod order;
pub(super) mod reader;
mod restart;
mod stop;
mod systemd;
mod text;
mod tools;
mod units;
mod users;
mod values;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file_access::FileAccess;
use super::plan::{Origin, StepCommand};
use super::settings::Given;
use super::unit::{Tools, Unit};
use super::watch_settings::WatchSettings;
use super::{preset, setting};
use crate::config::openclaw::Package;
use crate::config::preset::Versions;
use crate::supervisor::{Ready, Restart};
use crate::types::{Escaped, IncidentKind, one_line};
use argv::{Argv, RawEnv, environment};
pub use error::ConfigError;
use error::{InvalidValue, WithPath, in_our_words, line_and_column, not_toml};
pub use locks::Locks;
use reader::Reader;
use restart::RawRestart;
pub use values::Reaction;

/// What a configuration file says. What it leaves out is not there, or has its default where nothing but a file
/// can say it.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// The file that was read, and its preset.
    pub origin: Origin,
    /// The command, for a command line without one.
    pub command: Vec<OsString>,
    /// The settings that the file gives, which an option could give too.
    pub given: Given,
    /// The settings that its preset gives.
    pub preset: Given,
    /// What is done about locks.
    pub locks: Locks,
    /// Whether each line of the command's output gets its name in front.
    pub prefix: bool,
    /// What is set in the command's environment.
    pub env: Vec<(OsString, OsString)>,
    /// What follows the command's end.
    pub restart: Restart,
    /// What says whether the command's end with 0 is a stop.
    pub handoff: Option<StepCommand>,
    /// What comes before the stop signal.
    pub before_stop: Option<StepCommand>,
    /// The units in their order of start.
    pub units: Vec<Unit>,
    /// How tools are run.
    pub tools: Tools,
    /// What sexton-watch looks at, apart from locks.
    pub watching: WatchSettings,
    /// The conditions that replace the command.
    pub replace_on: Vec<IncidentKind>,
    /// When the command counts as ready.
    pub ready: Ready,
    /// Whether sexton ends by the signal that ended the command.
    pub pass_signal: bool,
}

/// sexton's configuration file.
// The settings that an option can give too are taken out before.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "sexton.toml"))]
#[serde(deny_unknown_fields, default)]
struct Raw {
    /// A set of values to begin with: `openclaw`, `hermes`, `nanobot`, `openhands`, `qwenpaw`, `mcp-proxy`, `mcpo`,
    /// `mcp-hub` or `supergateway`. The file's own values win over it.
    preset: Option<String>,
    /// The command and its arguments, for a command line without one.
    command: Option<Argv>,
    /// `inherit` leaves the command's output as it is; `prefix` puts `gateway` before each line.
    output: units::Output,
    /// What is set in the command's environment.
    env: RawEnv,
    locks: locks::RawLocks,
    restart: RawRestart,
    stop: stop::RawStop,
    /// Long-lived processes beside the gateway, by name.
    units: BTreeMap<String, units::RawUnit>,
    tools: tools::RawTools,
    health: watch::RawHealth,
    limits: Option<watch::RawLimits>,
    /// Logs that are followed, by name.
    logs: BTreeMap<String, watch::RawLog>,
    alerts: Option<watch::RawAlerts>,
    watch: watch::RawWatch,
    systemd: systemd::RawSystemd,
}

/// What is known of a run besides the file.
pub struct LoadContext<'a> {
    /// The preset that the operator asked for; it wins over the file's.
    pub preset: Option<&'a str>,
    /// The command on the command line.
    pub command: &'a [OsString],
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The user whom the file must belong to, if not to root. `None` if any file is good.
    pub owner: Option<u32>,
    /// How files are looked at.
    pub files: &'a FileAccess,
    /// Finds the package of a name that a command launches, by the variables of its environment.
    pub package: FindPackage<'a>,
}

/// Finds the package of a name that a command launches, by the variables of its environment; `None` if that cannot be
/// told.
pub type FindPackage<'a> =
    &'a dyn Fn(&str, &[OsString], &dyn Fn(&str) -> Option<OsString>) -> Option<Package>;

/// What is asked for to learn the gateway's version.
pub const PACKAGE: &str = "the gateway's package";

impl File {
    /// Reads the file at `path`, if there is to be one, over its preset.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(path: Option<&Path>, around: &LoadContext<'_>) -> Result<Box<File>, ConfigError> {
        let shown = path.map(|path| Escaped(path).to_string()).unwrap_or_default();
        // By a name that does not change when the working directory does.
        let question = path.and_then(|path| std::path::absolute(path).ok());
        let question = question.map(|path| Escaped(&path).to_string()).unwrap_or_default();
        let look = |path| around.files.ask(&question, || text::read(path, around.owner));
        let text = path.map(look).transpose();
        let text =
            text.map_err(|error| ConfigError::Unreadable { path: shown.clone(), error })?.unwrap_or_default();
        let content = |(at, what): (usize, String)| {
            let (line, column) = line_and_column(&text, at);
            // What is said repeats words of the file, which can be of any letters.
            ConfigError::Content { path: shown.clone(), line, column, what: one_line(&what).into_owned() }
        };
        let mut file = File::parse(&text, around, &content)?;
        file.origin.file = path.map(Path::to_owned);
        Ok(file)
    }

    /// The text over its preset. What is wrong is told by its place in the text.
    fn parse(
        text: &str,
        around: &LoadContext<'_>,
        wrong: &dyn Fn((usize, String)) -> ConfigError,
    ) -> Result<Box<File>, ConfigError> {
        // Most runs have no file, and nothing is quickly understood.
        if text.is_empty() && around.preset.is_none() {
            return Ok(Box::default());
        }
        let root = DeTable::parse(text).map_err(|error| wrong(not_toml(text, &error)))?.into_inner();
        let raw = |table: &DeTable<'_>| {
            if table.is_empty() {
                return Ok(Raw::default());
            }
            Raw::deserialize(Reader::Table(table)).map_err(|error| wrong(in_our_words(&error)))
        };
        let mut own_keys = root.clone();
        let take =
            |table: &mut DeTable<'_>| setting::take(table).map_err(|error| wrong(in_our_words(&error)));
        let given = take(&mut own_keys)?;
        let mut preset = Given::default();
        let mut row = None;
        let mut file = raw(&own_keys)?;
        if let Some(name) = around.preset.map(str::to_owned).or_else(|| file.preset.clone()) {
            let own: Vec<OsString> = file.command.iter().flat_map(Argv::plain).map(OsString::from).collect();
            let command = if around.command.is_empty() { &own } else { around.command };
            let text = preset::text(&name, command, around.variable).ok_or_else(|| {
                let unknown = ConfigError::Preset { name: name.clone(), known: preset::NAMES };
                let what = format!("'{name}' is not known; there is: {}", preset::NAMES);
                around
                    .preset
                    .map_or_else(|| wrong(InvalidValue::new(what).below("preset").place(&root)), |_| unknown)
            })?;
            let base = DeTable::parse(&text).map_err(|error| wrong(not_toml(&text, &error)))?;
            let mut base = base.into_inner();
            if let Some(versions) = Versions::take(&mut base) {
                let variable =
                    |name: &str| file.env.get(name).map(OsString::from).or_else(|| (around.variable)(name));
                let find = || Ok((around.package)(versions.package(), command, &variable));
                let package = around.files.ask(PACKAGE, find).unwrap_or_default();
                if let Some((settings, chosen)) = versions.choose(package) {
                    overlay(&mut base, settings);
                    row = Some(chosen);
                }
            }
            drop_already_set(&mut base, around.variable);
            preset = take(&mut base)?;
            overlay(&mut base, own_keys);
            file = raw(&base)?;
            file.preset = Some(name);
        }
        let mut checked = file.check(around.files).map_err(|flaw| wrong(flaw.place(&root)))?;
        checked.origin.row = row;
        Ok(Box::new(File { given, preset, ..checked }))
    }
}

/// A preset's variable gives way to one that the operator has set: it is a default, and no order.
fn drop_already_set(preset: &mut DeTable<'_>, variable: &dyn Fn(&str) -> Option<OsString>) {
    if let Some(DeValue::Table(env)) = preset.get_mut("env").map(Spanned::get_mut) {
        let names: Vec<_> = env.keys().filter(|name| variable(name.get_ref()).is_some()).cloned().collect();
        for name in &names {
            env.remove(name);
        }
    }
}

/// Lays the values of `over` over those of `base`, table by table; a list is replaced whole.
fn overlay<'a>(base: &mut DeTable<'a>, over: DeTable<'a>) {
    for (name, value) in over {
        match (base.get_mut(&name).map(Spanned::get_mut), value) {
            (Some(DeValue::Table(below)), value) if value.get_ref().is_table() => {
                if let DeValue::Table(table) = value.into_inner() {
                    overlay(below, table);
                }
            }
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

impl Raw {
    fn check(self, files: &FileAccess) -> Result<File, InvalidValue> {
        let command = self.command.map(Argv::words).transpose().below("command")?.unwrap_or_default();
        let mut replace_on = Vec::new();
        let (health, start_period, replaces) = self.health.check().below("health")?;
        replace_on.extend(replaces.then_some(IncidentKind::Unhealthy));
        let (ready, pass_signal) = self.systemd.check(!health.is_empty()).below("systemd")?;
        let counted = self.limits.is_some();
        let (mut limits, interval, kinds) = self.limits.unwrap_or_default().check().below("limits")?;
        replace_on.extend(kinds);
        let logs = watch::logs(self.logs).below("logs")?;
        replace_on.extend(logs.iter().any(|log| log.restart).then_some(IncidentKind::Log));
        let locks = self.locks.check().below("locks")?;
        replace_on.extend((locks.held_too_long == Some(Reaction::Restart)).then_some(IncidentKind::LockHeld));
        let alerts = self.alerts.map(watch::RawAlerts::check).transpose().below("alerts")?;
        let listen = self.watch.check().below("watch")?;
        let anything =
            counted || !health.is_empty() || !logs.is_empty() || alerts.is_some() || listen.is_some();
        let mut watching = WatchSettings::default();
        if anything || locks.held_too_long.is_some() {
            limits.interval = interval.unwrap_or(watch::CENSUS);
            watching = WatchSettings {
                health,
                start_period,
                limits,
                logs,
                alerts,
                listen,
                ..WatchSettings::usual()
            };
        }
        let tools = self.tools.check().below("tools")?;
        let (restart, handoff) = self.restart.check_with_handoff().below("restart")?;
        Ok(File {
            origin: Origin { preset: self.preset, ..Origin::default() },
            given: Given::default(),
            preset: Given::default(),
            command: command.into_iter().map(OsString::from).collect(),
            locks,
            prefix: self.output == units::Output::Prefix,
            env: environment(self.env).below("env")?,
            restart,
            handoff,
            before_stop: self.stop.check().below("stop")?,
            units: units::check(self.units, files).below("units")?,
            tools,
            watching,
            replace_on,
            ready,
            pass_signal,
        })
    }
}

#[cfg(test)]
mod tests;
