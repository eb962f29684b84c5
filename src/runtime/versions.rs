//! Which version of the gateway is started, where a preset has settings by version.
//!
//! The first start has what was read with the configuration. An update changes the package below a sexton that runs, so
//! that before each further start a helper looks at it again. The start waits for the helper, for a moment at most.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use tracing::{info, warn};

use super::EventLoop;
use super::inquiry::Inquiry;
use crate::config::dump;
use crate::config::file::PACKAGE;
use crate::config::file_access::FileAccess;
use crate::config::openclaw::Package;
use crate::config::package::{self, Place};
use crate::config::preset::Row;
use crate::config::reload;
use crate::os::process;
use crate::supervisor::Event;
use crate::types::{Outcome, Pid};

/// How long a start waits for the look at the package.
const DEADLINE: Duration = Duration::from_secs(1);
/// How much a helper can have said, in bytes: a version, and a path with every letter escaped.
const LARGEST: u64 = 64 * 1024;

impl EventLoop<'_> {
    /// Starts the main process; a start after the first one waits for a look at its package. The event, if it is
    /// started at once.
    pub(super) fn start_by_version(&mut self) -> Option<Event> {
        let again = self.supervisor.gateway().restarts > 0 && self.reread.is_some();
        let Some(row) = self.plan.origin.row.clone().filter(|_| again) else { return Some(self.start()) };
        match self.begin_look(&row) {
            Ok(look) => {
                self.look = Some(look);
                None
            }
            Err(error) => {
                warn!(name: "gateway-version-unread", %error, "no process can be made that reads the gateway's version; \
                      the settings stay those for the last one");
                Some(self.start())
            }
        }
    }

    fn begin_look(&mut self, row: &Row) -> std::io::Result<Inquiry> {
        let command: Vec<OsString> =
            self.plan.command.iter().map(|word| OsStr::from_bytes(word.to_bytes()).to_owned()).collect();
        let plan = std::rc::Rc::clone(&self.plan);
        let variable = |name: &str| {
            let set = plan.env.iter().rev().find(|(known, _)| known == name);
            set.map(|(_, value)| value.clone()).or_else(|| std::env::var_os(name))
        };
        let directory = self.initial_cwd.as_deref().unwrap_or(Path::new("/")).to_owned();
        let find = || {
            let place = Place { directory: &directory, variable: &variable };
            package::find(&row.package_name, &command, &place)
        };
        Inquiry::begin(&mut self.sweeper, c"sexton-version", DEADLINE, find)
    }

    /// Gives the look up that takes too long: the start waits no longer.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn end_late_look(&mut self) -> Result<(), Outcome> {
        let Some(look) = self.look.take_if(|look| look.is_late()) else { return Ok(()) };
        look.give_up();
        let deadline = humantime::format_duration(DEADLINE);
        warn!(name: "gateway-version-late", %deadline, "the gateway's version was not read in time; the settings stay \
              those for the last one");
        let event = self.start();
        self.dispatch(event)
    }

    /// A helper of ours has ended and is reaped. If it is the one that looked, the start waits no longer.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn version_read(&mut self, helper: Pid) -> Result<(), Outcome> {
        let Some(look) = self.look.take_if(|look| look.is_of(helper)) else { return Ok(()) };
        self.take_version(look);
        let event = self.start();
        self.dispatch(event)
    }

    /// Takes over the settings for this version, if it is another one.
    fn take_version(&mut self, found: Inquiry) {
        // One that broke off has found nothing, and changes nothing.
        let Some(package) = found.answer::<Option<Package>>(LARGEST) else { return };
        if self.plan.origin.row.as_ref().is_none_or(|row| row.package == package) {
            return;
        }
        let mut seen = self.plan.origin.seen.clone();
        let Ok(answer) = serde_json::to_value(&package) else { return };
        seen.insert(PACKAGE.to_owned(), answer);
        let access = FileAccess::Recorded(seen);
        let Some(Ok(mut reloaded)) = self.reread.map(|reread| reread(&access)) else { return };
        reloaded.origin.seen = access.into_answers();
        let env = std::mem::take(&mut reloaded.env);
        let mut change = reload::between(&self.plan, reloaded);
        // The environment is that of the start that comes now.
        change.now.env = env;
        self.adopt(change.now);
        self.tell_version();
    }

    /// Logs which settings the gateway's version has chosen, and what they require of the service manager or engine.
    pub(super) fn tell_version(&self) {
        let Some(row) = &self.plan.origin.row else { return };
        let (settings, version) = (&*row.name, dump::gateway_version(row));
        if row.package.is_none() || row.is_newer {
            warn!(name: "gateway-version", version, settings, "the gateway's settings are those for {settings}");
        } else {
            info!(name: "gateway-version", version, settings, "the gateway's settings are those for {settings}");
        }
        let init = process::own_pid() == Pid::INIT;
        let service = std::env::var_os("INVOCATION_ID").is_some() && self.manager.is_none();
        if (init || service) && self.plan.origin.windows_of_preset {
            let needed = humantime::format_duration(self.plan.longest_stop());
            warn!(name: "stop-window", %needed, "a stop may take {needed}, and it is not known whether it may: give it that \
                  much (stop_grace_period, --stop-timeout, terminationGracePeriodSeconds, TimeoutStopSec), or set grace");
        }
    }
}
