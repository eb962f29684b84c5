//! Ends the main process with sexton even if it has changed its user. The kernel then clears its parent-death signal.
//!
//! A command that changes its user (setpriv, gosu, su-exec) does so soon after its start, and the kernel does not
//! report it. So the main process is checked a few times after the start. That costs the start nothing. Only if it has
//! changed its user, one more process is started.

use std::time::Duration;

use tracing::{debug, info};

use super::EventLoop;
use crate::config::unit::User;
use crate::os::death_guard::{self, DeathGuard};
use crate::os::{clock, procfs};
use crate::types::{MonoTime, Pid};

/// How long after the start it is looked at. A script can have something to do before it becomes another user; but a
/// sexton with nothing to do is not to wake up.
const LOOKS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// What is known of it.
#[derive(Default)]
pub(super) struct DeathPact {
    /// When the main process was started, and how many of the looks are done.
    looks: Option<(MonoTime, usize)>,
    guard: Option<DeathGuard>,
}

impl DeathPact {
    /// The main process was started, and is to die with us.
    pub(super) fn began(&mut self) {
        self.looks = Some((clock::now(), 0));
    }

    /// When the next look is due.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let (start, done) = self.looks?;
        LOOKS.get(done).map(|pause| start.after(*pause))
    }

    /// The main process has ended: there is no process to guard.
    pub(super) fn main_ended(&mut self) {
        self.looks = None;
        if let Some(guard) = &self.guard {
            guard.dismiss();
        }
    }

    /// A helper was reaped: its number can be anybody's.
    pub(super) fn reaped(&mut self, helper: Pid) {
        self.guard.take_if(|guard| guard.pid() == helper);
    }

    /// sexton ends, and no process may be left.
    pub(super) fn leave(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
            guard.wait();
        }
    }
}

impl EventLoop<'_> {
    /// Looks whether it has to be seen to, if it is time.
    pub(super) fn check_death_pact(&mut self) {
        let now = clock::now();
        if self.death_pact.deadline().is_none_or(|due| now < due) {
            return;
        }
        if let Some((_, done)) = &mut self.death_pact.looks {
            *done += 1;
        }
        let Some(main) = self.main_pid() else { return };
        let identity = self.plan.user.map(|User { uid, gid }| (uid, gid));
        if death_guard::is_forgotten(main, identity) != Some(true) {
            return;
        }
        self.death_pact.looks = None;
        let Some(stat) = procfs::stat(main).ok().flatten() else { return };
        match DeathGuard::post(main, stat.start) {
            Ok(Some(guard)) => {
                let pid = guard.pid();
                info!(name: "death-guard", pid = pid.raw(), "the main process has changed its user; this process kills it \
                      if sexton is killed");
                self.sweeper.count_as_ours(pid);
                self.death_pact.guard = Some(guard);
            }
            Ok(None) => {
                info!(name: "death-guard", "the main process has become a user that sexton may not kill; it lives on if \
                      sexton is killed");
            }
            Err(error) => {
                debug!(name: "death-guard", %error, "the main process lives on if sexton is killed")
            }
        }
    }
}
