//! Signals to a process that can end at any moment, and whose number another one can have by then (pidfd_open(2)).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::os::process::own_pid;
use crate::os::{procfs, signals};
use crate::types::{Pid, Signal, StartTime};

/// A process, held by a descriptor where the kernel gives one.
pub struct Process {
    pid: Pid,
    descriptor: Option<OwnedFd>,
}

impl Process {
    /// Opens the process `pid` that was started at `start`, if it is still that one and `is_meant` says so. `None` if
    /// it is not.
    ///
    /// The checks come after the opening. So they hold for the process that the descriptor stands for, or that process
    /// has ended and a signal to it reaches no process. Where there is no pidfd (before Linux 5.3, or no descriptor is
    /// left) the number is signalled right after the checks.
    ///
    /// The start time alone is no proof: it is counted in hundredths of a second, in which a small pid space can give a
    /// number twice.
    #[must_use]
    pub fn open(pid: Pid, start: StartTime, is_meant: impl FnOnce(Pid) -> bool) -> Option<Process> {
        let process = Process::pin(pid)?;
        let same = procfs::stat(pid).ok().flatten().is_some_and(|stat| stat.start == start);
        (same && is_meant(pid)).then_some(process)
    }

    /// Opens the process `pid`, unless it is gone or seen to be another than the one that was started at `start`. One
    /// that /proc does not show just now is taken for it.
    #[must_use]
    pub fn open_unless_another(pid: Pid, start: StartTime) -> Option<Process> {
        let process = Process::pin(pid)?;
        let is_another = match procfs::stat(pid) {
            Ok(stat) => stat.is_none_or(|stat| stat.start != start),
            Err(_) => false,
        };
        (!is_another).then_some(process)
    }

    /// Opens our child `pid`, if it is one and lives.
    #[must_use]
    pub fn open_child(pid: Pid) -> Option<Process> {
        let process = Process::pin(pid)?;
        let us = own_pid().raw();
        let lives = procfs::stat(pid).ok().flatten().is_some_and(|stat| stat.parent == us && !stat.is_dead());
        lives.then_some(process)
    }

    /// The process that has this number now. `None` if there is none.
    fn pin(pid: Pid) -> Option<Process> {
        let descriptor = match open(pid) {
            Ok(descriptor) => Some(descriptor),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return None,
            Err(_) => None,
        };
        Some(Process { pid, descriptor })
    }

    /// Whether a signal cannot reach another process.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.descriptor.is_some()
    }

    /// Sends it `signal`.
    ///
    /// # Errors
    /// What pidfd_send_signal(2) says, or kill(2) where there is no pidfd.
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        let Some(descriptor) = &self.descriptor else {
            return signals::send(self.pid, signal);
        };
        match send(descriptor, signal) {
            // A kernel or a filter that has the one call can lack the other.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => signals::send(self.pid, signal),
            result => result,
        }
    }
}

fn open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes plain numbers.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.raw(), 0) };
    let Some(descriptor) = i32::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has just given us this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn send(descriptor: &OwnedFd, signal: Signal) -> io::Result<()> {
    let (descriptor, nothing) = (descriptor.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the descriptor is ours, and a null pointer asks the kernel to fill in what kill(2) would.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal.number(), nothing, 0) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test is not PID 1")]
    fn only_the_same_process_that_is_meant_is_opened() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::new(child.id().cast_signed()).unwrap();
        let start = procfs::stat(pid).unwrap().unwrap().start;
        assert!(Process::open(pid, StartTime(start.0 + 1), |_| true).is_none(), "another has its number");
        assert!(Process::open(pid, start, |_| false).is_none(), "it is not meant");
        assert!(Process::open_unless_another(pid, StartTime(start.0 + 1)).is_none(), "it is another");
        assert!(Process::open_unless_another(pid, start).is_some());
        assert!(Process::open_child(pid).is_some());
        let parent = Pid::new(crate::os::process::parent()).unwrap();
        assert!(Process::open_child(parent).is_none(), "it is no child of ours");
        let process = Process::open(pid, start, |_| true).unwrap();
        process.send(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(process.send(Signal::TERM).is_err(), "it is gone, whatever process has its number now");
        assert!(Process::open(pid, start, |_| true).is_none());
        assert!(Process::open_unless_another(pid, start).is_none(), "no process has its number");
    }
}
