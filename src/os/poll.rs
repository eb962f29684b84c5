//! Waiting for a descriptor or a moment.

use std::io;
use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, ppoll};
use nix::sys::time::TimeSpec;

use crate::ids::Moment;
use crate::os::clock;

/// Waits until `descriptor` can be read, which is `true`, or `deadline` has come; for ever if there is none.
///
/// # Errors
/// What ppoll(2) says; an interruption is not an error.
pub fn until(descriptor: BorrowedFd<'_>, deadline: Option<Moment>) -> io::Result<bool> {
    let timeout = deadline.map(|moment| TimeSpec::from_duration(moment.since(clock::now())));
    let mut descriptors = [PollFd::new(descriptor, PollFlags::POLLIN)];
    match ppoll(&mut descriptors, timeout, None) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::Error::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether `descriptor` takes a write at this moment.
#[must_use]
pub fn is_writable(descriptor: BorrowedFd<'_>) -> bool {
    let mut descriptors = [PollFd::new(descriptor, PollFlags::POLLOUT)];
    nix::poll::poll(&mut descriptors, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Whether the other side of this socket is gone for good.
#[must_use]
pub fn hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut descriptors = [PollFd::new(socket, PollFlags::empty())];
    // POLLHUP is told whether it was asked for or not (poll(2)).
    let asked = nix::poll::poll(&mut descriptors, PollTimeout::ZERO);
    let [told] = descriptors;
    asked.is_ok_and(|ready| ready > 0) && told.any().unwrap_or_default()
}
