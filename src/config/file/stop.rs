//! `[stop]`: what comes before the stop signal.

use std::time::Duration;

use serde::Deserialize;

use super::argv::Argv;
use super::error::{InvalidValue, WithPath};
use super::watch::positive;
use crate::config::plan::StepCommand;
use crate::config::value::Text;

/// What comes before the stop signal.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStop {
    /// A command that runs before the main process gets the stop signal, as the main process's user: systemd's
    /// `ExecStop`, Kubernetes' `preStop`. An empty list runs none.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    before: Option<Argv>,
    /// How long it may take, besides all other windows. Then the stop signal comes.
    before_timeout: Option<Text<Duration>>,
}

impl RawStop {
    pub(super) fn check(self) -> Result<Option<StepCommand>, InvalidValue> {
        let timeout = positive("before_timeout", self.before_timeout, 10)?;
        step(self.before, timeout).below("before")
    }
}

/// A command with its window; an empty list is none.
pub(super) fn step(command: Option<Argv>, timeout: Duration) -> Result<Option<StepCommand>, InvalidValue> {
    let command = command.filter(|command| !command.plain().is_empty()).map(Argv::exec).transpose()?;
    Ok(command.map(|command| StepCommand { command, timeout }))
}
