//! `[systemd]`: what the service manager above is told.

use serde::Deserialize;

use super::error::InvalidValue;
use crate::supervisor::Ready;

/// What the service manager above is told.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSystemd {
    /// When the gateway counts as ready: `started` when it runs, `healthy` when the probes of `[health]` are
    /// content for the first time, `notified` when it says so itself with `READY=1`. Without it: `healthy` if
    /// there are probes, else `started`.
    ready: Option<RawReady>,
}

#[derive(Deserialize, Clone, Copy)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum RawReady {
    Started,
    Healthy,
    Notified,
}

impl RawSystemd {
    pub(super) fn check(self, probes: bool) -> Result<Ready, InvalidValue> {
        match self.ready {
            None if probes => Ok(Ready::Healthy),
            None | Some(RawReady::Started) => Ok(Ready::Started),
            Some(RawReady::Notified) => Ok(Ready::Notified),
            Some(RawReady::Healthy) if probes => Ok(Ready::Healthy),
            Some(RawReady::Healthy) => {
                let what = "nothing is asked; give 'url', 'tcp' or 'command' in [health]";
                Err(InvalidValue::new(what).below("ready"))
            }
        }
    }
}
