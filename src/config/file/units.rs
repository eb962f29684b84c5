//! `[units.NAME]`: the gateway's neighbours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::argv::{Argv, RawEnv, environment};
use super::error::{InvalidValue, WithPath};
use super::order::{OrderConstraints, order};
use super::restart::RawRestart;
use super::users;
use crate::config::file_access::FileAccess;
use crate::config::unit::{GATEWAY, Unit};
use crate::config::value::Text;

/// A unit's window after a stop signal, where it sets none.
const GRACE: Duration = Duration::from_secs(10);
/// The window of what a unit leaves behind, where it sets none.
const STRAGGLERS: Duration = Duration::from_secs(5);

/// A long-lived process beside the gateway.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RawUnit {
    /// The command and its arguments.
    command: Argv,
    /// Units that are started before this one, or `gateway`.
    #[serde(default)]
    after: Vec<String>,
    /// Units that are started after this one, or `gateway`. Without `after` or `before`, a unit is started
    /// before the gateway.
    #[serde(default)]
    before: Vec<String>,
    /// What follows its end: `never`, `on-failure`, `always`, or a table as `[restart]`.
    #[serde(default)]
    restart: RawRestart,
    /// What is set in its environment.
    #[serde(default)]
    env: RawEnv,
    /// Its working directory.
    cwd: Option<PathBuf>,
    /// Who it runs as: a user's name or uid, with `:group` if it is not the user's own.
    user: Option<String>,
    /// Whether its end for good is the end of everything.
    #[serde(default)]
    required: bool,
    /// `inherit` leaves its output as it is; `prefix` puts its name before each line.
    #[serde(default)]
    output: Output,
    /// Its window after a stop signal.
    grace: Option<Text<Duration>>,
    /// The window of what it leaves behind.
    kill_after: Option<Text<Duration>>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum Output {
    #[default]
    Inherit,
    Prefix,
}

/// The units in their order of start.
pub(super) fn check(
    mut raw: BTreeMap<String, RawUnit>,
    files: &FileAccess,
) -> Result<Vec<Unit>, InvalidValue> {
    for name in raw.keys() {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name == GATEWAY {
            let what = "this name is the main process's; give the unit another";
            return Err(InvalidValue::new(what).below(name));
        }
        if name.is_empty() || name.len() > 64 || !name.bytes().all(sound) {
            let what = "a unit's name has 1 to 64 letters, digits, '-', '_' and '.'; give it another";
            return Err(InvalidValue::new(what).below(name));
        }
    }
    let wishes: Vec<OrderConstraints<'_>> = raw
        .iter()
        .map(|(name, unit)| OrderConstraints { name, after: &unit.after, before: &unit.before })
        .collect();
    let order = order(&wishes)?;
    let mut units = Vec::new();
    let mut after_gateway = false;
    for name in order {
        match raw.remove(&name) {
            Some(unit) => units.push(unit.check(&name, after_gateway, files).below(name)?),
            None => after_gateway = true,
        }
    }
    Ok(units)
}

impl RawUnit {
    fn check(self, name: &str, after_gateway: bool, files: &FileAccess) -> Result<Unit, InvalidValue> {
        let user = self.user.map(|text| users::look_up(&text, files)).transpose();
        Ok(Unit {
            name: name.to_owned(),
            command: self.command.exec().below("command")?,
            after_gateway,
            restart: self.restart.check().below("restart")?,
            env: environment(self.env).below("env")?,
            directory: self.cwd,
            user: user.map_err(|what| InvalidValue::new(what).below("user"))?,
            required: self.required,
            prefix: self.output == Output::Prefix,
            grace: self.grace.map_or(GRACE, |time| time.0),
            kill_after: self.kill_after.map_or(STRAGGLERS, |time| time.0),
        })
    }
}
