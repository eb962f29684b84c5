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
    /// Whether sexton ends by the signal that ended the command, in the place of the exit code 128+n, so that
    /// `Restart=on-abnormal` sees it. The init of a container cannot.
    pass_signal: bool,
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
    /// When the gateway is ready, and whether its death by a signal is passed on.
    pub(super) fn check(self, probes: bool) -> Result<(Ready, bool), InvalidValue> {
        let ready = match self.ready {
            None if probes => Ready::Healthy,
            None | Some(RawReady::Started) => Ready::Started,
            Some(RawReady::Notified) => Ready::Notified,
            Some(RawReady::Healthy) if probes => Ready::Healthy,
            Some(RawReady::Healthy) => {
                let what = "nothing is asked; give 'url', 'tcp' or 'command' in [health]";
                return Err(InvalidValue::new(what).below("ready"));
            }
        };
        Ok((ready, self.pass_signal))
    }
}
