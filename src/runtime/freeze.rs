//! Freezes all processes below us while locks are removed beside a living gateway.

use std::time::Duration;

use tracing::info;

use super::EventLoop;
use crate::os::freeze::{FreezeProgress, Freezer, Guard};
use crate::os::{privileges, procfs};
use crate::supervisor::{Event, FreezeResult};

/// How many processes are stopped at most. A larger tree is work that should not be held up, and takes long to
/// be looked at.
const MOST: usize = 512;
/// How often one call checks, before signals and deaths are handled again. At least three checks are needed to see all
/// processes stopped.
const LOOKS: u32 = 4;
/// When a guard continues all processes, whatever has become of us. It is longer than the supervisor keeps them frozen.
const GUARDED: Duration = Duration::from_secs(3);

impl EventLoop<'_> {
    /// Stops every process that is not stopped yet, and checks whether all are.
    pub(super) fn freeze(&mut self) -> Event {
        match self.try_freeze() {
            Ok(stood) => Event::FreezeDone(stood),
            Err(reason) => {
                info!(name: "freeze-failed", reason, "no quiet moment could be made; orphaned locks wait for one");
                Event::FreezeDone(FreezeResult::Cannot)
            }
        }
    }

    fn try_freeze(&mut self) -> Result<FreezeResult, String> {
        let mut halt = match self.freezer.take() {
            Some(halt) => halt,
            None => self.begin_freeze()?,
        };
        let looked = self.look_at(&mut halt);
        self.freezer = Some(halt);
        looked
    }

    fn look_at(&mut self, halt: &mut Freezer) -> Result<FreezeResult, String> {
        for _ in 0..LOOKS {
            let living = self.containment.top_down(self.sweeper.helpers());
            if living.len() > MOST {
                return Err(format!(
                    "there are {} processes, and more than {MOST} are not stopped",
                    living.len()
                ));
            }
            match halt.poll(&living) {
                FreezeProgress::Still => return Ok(FreezeResult::Still),
                FreezeProgress::NotYet(pid) => self.last_running = Some(pid),
                FreezeProgress::Refused(pid) => {
                    return Err(format!("process {pid} may not be stopped by us"));
                }
            }
        }
        Ok(FreezeResult::NotYet)
    }

    fn begin_freeze(&mut self) -> Result<Freezer, String> {
        // Whom we cannot see we cannot stop. A kernel that hides nothing from root needs no look.
        if privileges::effective_uid() != 0 && procfs::has_hidepid().unwrap_or(true) {
            return Err("/proc may hide processes of other users from us".to_owned());
        }
        if self.containment.is_init() {
            // All processes end with us.
            return Ok(Freezer::new(None));
        }
        let guard = Guard::post(GUARDED).map_err(|error| format!("no guard for the stopped: {error}"))?;
        let halt = Freezer::new(Some(guard));
        if let Some(guard) = halt.guard() {
            self.sweeper.count_as_ours(guard);
        }
        Ok(halt)
    }

    /// Continues all processes.
    pub(super) fn thaw(&mut self, stood: Duration) {
        let Some(halt) = self.freezer.take() else { return };
        let processes = halt.len();
        halt.thaw(&self.containment.top_down(self.sweeper.helpers()));
        let stood = humantime::format_duration(stood);
        info!(name: "tree-frozen", processes, %stood, "all processes were stopped while locks were removed, and go on");
    }

    /// Says who did not stand still in time.
    pub(super) fn freeze_failed(&self, window: Duration) {
        let pid = self.last_running.map(|pid| pid.raw());
        let window = humantime::format_duration(window);
        info!(name: "freeze-failed", pid, %window,
              "a process did not stop in time, so that no quiet moment could be made; orphaned locks wait for one");
    }
}
