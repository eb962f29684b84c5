//! `[tools]`: how the command's tools are run.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::error::InvalidValue;
use crate::config::unit::Tools;
use crate::config::value::Text;

/// How the command's tools are run: what `sexton tool` and `sexton-sh` do where nothing else is said.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTools {
    /// How long a tool may run; without it, for ever.
    timeout: Option<Text<Duration>>,
    /// A tool's window after TERM.
    grace: Option<Text<Duration>>,
    /// What becomes of a process that a tool left behind: `report` shows it, `end` ends it.
    orphans: Option<Orphans>,
    /// The file to which each run's record is added.
    record: Option<PathBuf>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum Orphans {
    Report,
    End,
}

impl RawTools {
    pub(super) fn check(self) -> Result<Tools, InvalidValue> {
        let usual = Tools::default();
        if self.timeout.as_ref().is_some_and(|time| time.0.is_zero()) {
            return Err(
                InvalidValue::new("it has to be longer than 0; for no limit, leave it out").below("timeout")
            );
        }
        Ok(Tools {
            timeout: self.timeout.map(|time| time.0),
            grace: self.grace.map_or(usual.grace, |time| time.0),
            // Otherwise no process would end what a lost tool leaves behind.
            end_orphans: self.orphans != Some(Orphans::Report),
            record: self.record,
        })
    }
}
