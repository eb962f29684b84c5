//! The standstill of everybody below us, for as long as locks are removed beside a living gateway.

use std::time::Duration;

use tracing::info;

use super::Runtime;
use crate::os::halt::{Guard, Halt, Look};
use crate::os::{privileges, procfs};
use crate::supervisor::{Event, Stood};

/// How many processes are stopped at most. A larger tree is work that should not be held up, and takes long to
/// be looked at.
const MOST: usize = 512;
/// How often one call looks, before signals and deaths are looked at again. Three is the least that it takes
/// to see everybody stand still.
const LOOKS: u32 = 4;
/// When a guard lets everybody go on, whatever has become of us: longer than the supervisor lets them stand.
const GUARDED: Duration = Duration::from_secs(3);

impl Runtime<'_> {
    /// Stops whoever is not stopped yet, and looks whether all stand still.
    pub(super) fn stand_still(&mut self) -> Event {
        match self.try_to_stand_still() {
            Ok(stood) => Event::Stood(stood),
            Err(reason) => {
                info!(name: "not-still", reason, "no quiet moment could be made; orphaned locks wait for one");
                Event::Stood(Stood::Cannot)
            }
        }
    }

    fn try_to_stand_still(&mut self) -> Result<Stood, String> {
        let mut halt = match self.halt.take() {
            Some(halt) => halt,
            None => self.begin_halt()?,
        };
        let looked = self.look_at(&mut halt);
        self.halt = Some(halt);
        looked
    }

    fn look_at(&mut self, halt: &mut Halt) -> Result<Stood, String> {
        for _ in 0..LOOKS {
            let living = self.reach.top_down(self.sweeper.helpers());
            if living.len() > MOST {
                return Err(format!(
                    "there are {} processes, and more than {MOST} are not stopped",
                    living.len()
                ));
            }
            match halt.look(&living) {
                Look::Still => return Ok(Stood::Still),
                Look::NotYet(pid) => self.restless = Some(pid),
                Look::Refused(pid) => return Err(format!("process {pid} may not be stopped by us")),
            }
        }
        Ok(Stood::NotYet)
    }

    fn begin_halt(&mut self) -> Result<Halt, String> {
        // Whom we cannot see we cannot stop. A kernel that hides nothing from root needs no look.
        if privileges::effective_uid() != 0 && procfs::hides_others().unwrap_or(true) {
            return Err("/proc may hide processes of other users from us".to_owned());
        }
        if self.reach.is_init() {
            // Everybody ends with us.
            return Ok(Halt::new(None));
        }
        let guard = Guard::post(GUARDED).map_err(|error| format!("no guard for the stopped: {error}"))?;
        let halt = Halt::new(Some(guard));
        if let Some(guard) = halt.guard() {
            self.sweeper.count_as_ours(guard);
        }
        Ok(halt)
    }

    /// Lets everybody go on.
    pub(super) fn go_on(&mut self, stood: Duration) {
        let Some(halt) = self.halt.take() else { return };
        let processes = halt.len();
        halt.go_on(&self.reach.top_down(self.sweeper.helpers()));
        let stood = humantime::format_duration(stood);
        info!(name: "stood-still", processes, %stood, "everybody was stopped while locks were removed, and goes on");
    }

    /// Says who did not stand still in time.
    pub(super) fn not_still(&self, window: Duration) {
        let pid = self.restless.map(|pid| pid.raw());
        let window = humantime::format_duration(window);
        info!(name: "not-still", pid, %window,
              "a process did not stop in time, so that no quiet moment could be made; orphaned locks wait for one");
    }
}
