//! Asking the kernel whether anybody has a file open (fcntl(2), "Leases").

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollTimeout, poll};

use super::privileges;
use crate::types::Errno;

/// What the kernel answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Another process on this kernel has the file open, in any container.
    Busy,
    /// No other process has it open.
    Granted,
    /// It would not say: not our file (EACCES), a filesystem without leases, leases switched off (EINVAL).
    Refused(Errno),
}

/// Takes a write lease on `file` (`F_SETLEASE`, `F_WRLCK`).
///
/// A process that opens the file from now on waits until [`release`], until `file` is closed, or for
/// `/proc/sys/fs/lease-break-time` (45 s), and [`is_intact`] tells of it.
///
/// `file` has to be the only descriptor that this process has of it, and SIGIO has to be blocked or ignored:
/// it comes if a process opens the file meanwhile. `owner` is the file's: the kernel gives leases to the owner
/// only, and root without `CAP_LEASE` (any root in a container) asks in its name.
#[must_use]
pub fn take(file: BorrowedFd<'_>, owner: u32) -> Answer {
    let answer = probe(file);
    if answer != Answer::Refused(Errno(libc::EACCES)) {
        return answer;
    }
    privileges::acting_as(owner, privileges::effective_gid(), || probe(file)).unwrap_or(answer)
}

/// Whether a lease that was taken is still ours, and no process has tried to open the file since (`F_GETLEASE`).
#[must_use]
pub fn is_intact(file: BorrowedFd<'_>) -> bool {
    // SAFETY: the descriptor is open as long as it is borrowed, and this command takes nothing.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) == libc::F_WRLCK }
}

/// Gives a lease back.
pub fn release(file: BorrowedFd<'_>) {
    // It would end with the descriptor anyway; nothing can be done about a failure.
    let _ = set_lease(file, libc::F_UNLCK);
}

fn probe(file: BorrowedFd<'_>) -> Answer {
    match set_lease(file, libc::F_WRLCK) {
        Ok(()) => Answer::Granted,
        Err(error) => match error.raw_os_error().unwrap_or(0) {
            libc::EAGAIN => Answer::Busy,
            other => Answer::Refused(Errno(other)),
        },
    }
}

fn set_lease(file: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed, and this command takes a number.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for `time`, or less if a signal comes; at most a second. It is for waiting a few milliseconds until another
/// process is done with a file, which no descriptor announces.
pub fn pause(time: Duration) {
    let milliseconds = u16::try_from(time.as_millis()).unwrap_or(u16::MAX).min(1000);
    // An interrupted wait is a shorter one.
    let _ = poll(&mut [], PollTimeout::from(milliseconds));
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    use nix::sys::signal::{SigHandler, Signal, signal};

    use super::*;

    #[test]
    fn a_file_is_busy_exactly_while_somebody_else_has_it_open() {
        // SAFETY: ignoring a signal runs no handler.
        unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let mut writer = File::create(&path).unwrap();
        writer.write_all(b"x").unwrap();
        let reader = File::open(&path).unwrap();
        let owner = nix::unistd::geteuid().as_raw();
        assert_eq!(take(reader.as_fd(), owner), Answer::Busy);
        drop(writer);
        assert_eq!(take(reader.as_fd(), owner), Answer::Granted);
        // A second request gets the same answer.
        assert_eq!(take(reader.as_fd(), owner), Answer::Granted);
        release(reader.as_fd());
        let other = File::open(&path).unwrap();
        assert_eq!(take(reader.as_fd(), owner), Answer::Busy);
        drop(other);
        assert_eq!(take(reader.as_fd(), owner), Answer::Granted);
        // It ends with the descriptor.
        drop(reader);
        let _other = File::open(&path).unwrap();
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test may have a second thread")]
    fn a_lease_that_was_taken_tells_of_whoever_opens_the_file() {
        // SAFETY: ignoring a signal runs no handler.
        unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        std::fs::write(&path, "x").unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(take(file.as_fd(), nix::unistd::geteuid().as_raw()), Answer::Granted);
        // A look at it is no open.
        std::fs::metadata(&path).unwrap();
        assert!(is_intact(file.as_fd()));
        let other = std::thread::spawn(move || std::fs::read_to_string(path).unwrap());
        while is_intact(file.as_fd()) {
            std::thread::yield_now();
        }
        release(file.as_fd());
        assert_eq!(other.join().unwrap(), "x");
    }

    #[test]
    fn a_pipe_gives_no_information() {
        let (reader, _writer) = io::pipe().unwrap();
        assert!(matches!(take(reader.as_fd(), 0), Answer::Refused(_)));
    }
}
