//! Descriptors that sexton was started with and was told the numbers of, and how many there may be.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit};

/// Whether as many descriptors as `reserve`, or three quarters of all that there may be, are free besides `newest`. The
/// kernel gives the lowest number that is free, so that below the newest one there is none.
#[must_use]
pub fn leaves_free(newest: BorrowedFd<'_>, reserve: u64) -> bool {
    // The call cannot fail for this limit.
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    let number = u64::from(newest.as_raw_fd().unsigned_abs());
    number < most.saturating_sub(reserve.min(most / 4 * 3))
}

/// Takes the inherited descriptor with this number for us alone: a copy that is closed on exec, and so is the
/// original, if it is none of the standard ones.
///
/// # Errors
/// What fcntl(2) says; EBADF if there is none.
pub fn take(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes plain numbers and makes a new descriptor.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    if number > 2 {
        // SAFETY: the number is a descriptor, and nothing but its flag is changed.
        unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
