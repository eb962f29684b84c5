//! A process that outlives us if we are killed, and then kills the main process.
//!
//! The kernel does that by itself (`PR_SET_PDEATHSIG`, prctl(2)), but forgets it when the process changes its user or
//! gains capabilities, and only that process itself can ask for it again.

use std::os::fd::{AsFd as _, OwnedFd};

use super::pidfd::Process;
use super::procfs::{self, Rights};
use super::{children, pipe, process, signals, spawn};
use crate::types::{Errno, Pid, Signal, StartTime};

/// Whether the kernel has forgotten that `pid` is to die with us. It was to have the user and group `identity`, ours if
/// there is none. `None` if it cannot be told.
#[must_use]
pub fn is_forgotten(pid: Pid, identity: Option<(u32, u32)>) -> Option<bool> {
    let ours = procfs::rights(process::own_pid())?;
    let theirs = procfs::rights(pid)?;
    let (users, groups) = identity.map_or((ours.users, ours.groups), |(user, group)| ([user; 2], [group; 2]));
    Some(differ(Rights { users, groups, ..ours }, theirs))
}

/// What the kernel compares when a process changes its rights (commit_creds in kernel/cred.c).
fn differ(before: Rights, now: Rights) -> bool {
    let gained = now.capabilities & !before.capabilities;
    (before.users, before.groups) != (now.users, now.groups) || gained != 0
}

/// The guard: a child that ends with us, if it is not dismissed before.
pub struct DeathGuard {
    pid: Pid,
    /// Closed by our death; no helper of ours has it.
    _ours: OwnedFd,
}

impl DeathGuard {
    /// Posts it for our child `pid`, which was started at `start`. `None` if we may not kill that one.
    ///
    /// # Errors
    /// What pipe2(2) and fork(2) say.
    pub fn post(pid: Pid, start: StartTime) -> Result<Option<DeathGuard>, Errno> {
        if !signals::may_send(pid) {
            return Ok(None);
        }
        let (theirs, ours) = pipe::pipe()?;
        let guard = spawn::fork_survivor(theirs.as_fd(), || {
            // It ends when no process has the other end any more. Nothing is ever written to it.
            while nix::unistd::read(&theirs, &mut [0; 1]) == Err(nix::errno::Errno::EINTR) {}
            if let Some(main) = Process::open(pid, start, |_| true) {
                let _ = main.send(Signal::KILL);
            }
            0
        })?;
        Ok(Some(DeathGuard { pid: guard, _ours: ours }))
    }

    /// Its pid, for as long as it was not reaped.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Ends it, before it is reaped.
    pub fn dismiss(&self) {
        let _ = signals::send(self.pid, Signal::KILL);
    }

    /// Waits until it is gone that was dismissed.
    pub fn wait(self) {
        let _ = children::wait_for(self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_or_group_or_more_capabilities_and_no_fewer_count() {
        let root = Rights { users: [0; 2], groups: [0; 2], capabilities: 0xff };
        assert!(!differ(root, root));
        assert!(!differ(root, Rights { capabilities: 0, ..root }), "it gave some up");
        assert!(differ(root, Rights { users: [1, 1], ..root }));
        assert!(differ(root, Rights { groups: [0, 1], ..root }));
        let user = Rights { users: [1; 2], capabilities: 0, ..root };
        assert!(differ(user, Rights { capabilities: 1, ..user }), "a file gave it one");
    }
}
