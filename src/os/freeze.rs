//! Stops many processes so that none of them runs, and continues them.
//!
//! Parents are stopped before their children and continued after them. So a shell that watches its jobs is stopped
//! itself while one of them is stopped, and finds it running again. A process can notice that it was stopped: a handler
//! of SIGCONT is called, and some waiting calls end with EINTR (signal(7)).
//!
//! The processes must not stay stopped if sexton is killed. If sexton is not an init, a [`Guard`] knows every process
//! that was stopped, and continues them when sexton has ended.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::errno;
use crate::os::pidfd::Process;
use crate::os::procfs::{self, Stat};
use crate::os::{clock, poll, signals, spawn, tree};
use crate::types::{Errno, Pid, Signal, StartTime};

/// A process of this boot.
type Id = (Pid, StartTime);

/// The processes that we have stopped.
#[derive(Default)]
pub struct Freezer {
    /// In the order in which they were stopped.
    stopped: Vec<Id>,
    /// Processes that were stopped already, and so stay stopped.
    found_stopped: BTreeSet<Id>,
    /// The last look saw all processes stopped, and no new one.
    calm: bool,
    guard: Option<Guard>,
}

/// What a look has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeProgress {
    /// All processes are stopped, and were so at the look before.
    Still,
    /// This process is new, or is not stopped yet.
    NotYet(Pid),
    /// We may not stop this process.
    Refused(Pid),
}

impl Freezer {
    /// No process is stopped yet. With a guard, all stopped processes are continued when we die.
    #[must_use]
    pub fn new(guard: Option<Guard>) -> Freezer {
        Freezer { guard, ..Freezer::default() }
    }

    /// How many processes we have stopped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stopped.len()
    }

    /// Whether we have stopped no process.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stopped.is_empty()
    }

    /// The guard's pid.
    #[must_use]
    pub fn guard(&self) -> Option<Pid> {
        self.guard.as_ref().map(|guard| guard.pid)
    }

    /// Stops every process in `living` that is not stopped. `living` must be in the order of
    /// [`top_down`](super::tree::top_down), and be read again for each call.
    ///
    /// All processes must be seen stopped at two looks. A process that was stopped before the second look began has not
    /// forked since, so no process is missing in that look.
    #[must_use]
    pub fn poll(&mut self, living: &[Stat]) -> FreezeProgress {
        if self.stopped.is_empty()
            && let Some(stat) = living.iter().find(|stat| !signals::may_send(stat.pid))
        {
            return FreezeProgress::Refused(stat.pid);
        }
        let mut restless = None;
        for stat in living {
            let id = (stat.pid, stat.start);
            let (still, ours) = (procfs::is_stopped(stat), self.stopped.contains(&id));
            if !still || (!ours && self.found_stopped.insert(id)) {
                restless = Some(stat.pid);
            }
            if !still && !ours {
                self.found_stopped.remove(&id);
                if let Err(refused) = self.stop(id) {
                    return refused;
                }
            }
        }
        self.unblock(living);
        let was_calm = std::mem::replace(&mut self.calm, restless.is_none());
        match restless {
            Some(pid) => FreezeProgress::NotYet(pid),
            None if was_calm => FreezeProgress::Still,
            None => living.first().map_or(FreezeProgress::Still, |stat| FreezeProgress::NotYet(stat.pid)),
        }
    }

    /// A process that waits for its child of vfork(2) to execute a program is in state `D`, and cannot stop before
    /// that. So the child is continued, and is stopped by the next look.
    fn unblock(&mut self, living: &[Stat]) {
        let waits = |pid: i32| living.iter().any(|stat| stat.pid.raw() == pid && stat.state == b'D');
        for stat in living.iter().filter(|stat| stat.state == b'T' && waits(stat.parent)) {
            let id = (stat.pid, stat.start);
            if let Some(place) = self.stopped.iter().position(|stopped| *stopped == id)
                && send(id, Signal::CONT).is_ok()
            {
                self.stopped.remove(place);
            }
        }
    }

    fn stop(&mut self, id: Id) -> Result<(), FreezeProgress> {
        // The guard is told first: it could not continue a process that it does not know.
        if self.guard.as_ref().is_some_and(|guard| guard.send_to_guard(id).is_err()) {
            return Err(FreezeProgress::Refused(id.0));
        }
        self.stopped.push(id);
        let Some(process) = Process::open(id.0, id.1, tree::is_ours) else {
            // It has ended, or another process has its number. We did not stop it, so we must not continue it later.
            self.stopped.pop();
            return Ok(());
        };
        let sent = process.send(Signal::STOP);
        if !process.is_pinned() && Process::open(id.0, id.1, tree::is_ours).is_none() {
            // Another had its number by then, and it must not stay stopped.
            self.stopped.pop();
            let _ = signals::send(id.0, Signal::CONT);
            return Ok(());
        }
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(FreezeProgress::Refused(id.0)),
            // One that has ended meanwhile stands still for ever.
            _ => Ok(()),
        }
    }

    /// Continues every process that we have stopped, children before their parents as `living` shows them, and ends the
    /// guard.
    pub fn thaw(self, living: &[Stat]) {
        let mut left: BTreeSet<Id> = self.stopped.iter().copied().collect();
        for stat in living.iter().rev() {
            let id = (stat.pid, stat.start);
            if left.contains(&id) && send(id, Signal::CONT).is_ok() {
                left.remove(&id);
            }
        }
        // A reading can miss one while others die.
        resume(self.stopped.iter().rev().filter(|id| left.contains(*id)));
        if let Some(guard) = self.guard {
            // It is our child, so no other process can have its pid.
            let _ = signals::send(guard.pid, Signal::KILL);
        }
    }
}

/// Continues these processes, except numbers that /proc shows to belong to another process by now. A process that /proc
/// does not show just now, for want of descriptors for example, may still be there and would stay stopped for ever.
/// CONT does no harm.
fn resume<'a>(stopped: impl Iterator<Item = &'a Id>) {
    for (pid, start) in stopped {
        if let Some(process) = Process::open_unless_another(*pid, *start) {
            let _ = process.send(Signal::CONT);
        }
    }
}

/// Sends `signal` to a process that was found to be ours before, if it is still there.
fn send((pid, start): Id, signal: Signal) -> io::Result<()> {
    let process = Process::open(pid, start, |_| true).ok_or(io::ErrorKind::NotFound)?;
    process.send(signal)
}

/// A process that outlives us if we are killed, and then continues all processes that were stopped.
///
/// It waits until the other end of its pipe is closed. Only we have that end, and none of our helpers keeps it.
pub struct Guard {
    pid: Pid,
    pipe: OwnedFd,
    /// So that a write to a guard that was killed is no error, which would come with SIGPIPE.
    _theirs: OwnedFd,
}

impl Guard {
    /// Posts a guard. It acts after `window` in any case, because we may be stopped ourselves.
    ///
    /// # Errors
    /// What pipe2(2) and fork(2) say.
    pub fn post(window: Duration) -> Result<Guard, Errno> {
        let (theirs, ours) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(errno)?;
        let until = clock::now().after(window);
        let pid = spawn::fork_survivor(theirs.as_fd(), || {
            let mut stopped = Vec::new();
            while poll::until(theirs.as_fd(), Some(until)).unwrap_or(false) {
                let mut record = [0; RECORD];
                match nix::unistd::read(&theirs, &mut record) {
                    Ok(RECORD) => stopped.extend(decode(record)),
                    _ => break,
                }
            }
            resume(stopped.iter().rev());
            0
        })?;
        Ok(Guard { pid, pipe: ours, _theirs: theirs })
    }

    fn send_to_guard(&self, id: Id) -> io::Result<()> {
        // So short a record is written in one piece (pipe(7)).
        nix::unistd::write(&self.pipe, &encode(id))?;
        Ok(())
    }
}

/// A pid and a start time on their way through the pipe.
const RECORD: usize = 12;

fn encode((pid, start): Id) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let bytes = pid.raw().to_ne_bytes().into_iter().chain(start.0.to_ne_bytes());
    record.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
    record
}

fn decode(record: [u8; RECORD]) -> Option<Id> {
    let (pid, start) = record.split_first_chunk()?;
    Some((Pid::new(i32::from_ne_bytes(*pid))?, StartTime(u64::from_ne_bytes(start.try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_the_guard_is_told_of_survives_the_pipe() {
        let id = (Pid::new(4_194_304).unwrap(), StartTime(u64::MAX - 7));
        assert_eq!(decode(encode(id)), Some(id));
        assert_eq!(decode([0; RECORD]), None, "zero is no process");
    }
}
