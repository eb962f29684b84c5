//! Starting a supervisor of a unit: a copy of this process in a session of its own, which shares nothing with us
//! but standard output and standard error.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::unistd::ForkResult;

use super::errno;
use crate::os::{let_go, pipe, process, spawn};
use crate::types::{Errno, Pid, Signal, exit_code};

/// Creates a copy of this process that runs `work` and ends with its code: without a terminal, with nothing on
/// standard input, with none of our descriptors but `keep`, and with TERM when we die.
///
/// `before` runs first, while our descriptors are still open, to let go of what has to be let go of in order.
///
/// # Errors
/// The process could not be created.
pub fn fork_supervisor(
    keep: &[BorrowedFd<'_>],
    before: impl FnOnce(),
    work: impl FnOnce() -> u8,
) -> Result<Pid, Errno> {
    let us = process::own_pid();
    // SAFETY: this process has one thread, so that no lock can be held by another one in the child.
    match unsafe { nix::unistd::fork() }.map_err(errno)? {
        ForkResult::Child => {
            let armed = process::set_parent_death_signal(Signal::TERM).is_ok();
            if !armed || process::parent() != us.raw() || nix::unistd::setsid().is_err() {
                spawn::exit_now(exit_code::SEXTON_FAILED);
            }
            before();
            read_nothing();
            let_go::close_all_but(keep);
            spawn::exit_now(work())
        }
        ForkResult::Parent { child } => Pid::new(child.as_raw()).ok_or(Errno(libc::ESRCH)),
    }
}

/// Puts /dev/null on standard input. Where there is none, it is a pipe that no process writes to: were it closed, the
/// next file that the unit opens would be its standard input.
fn read_nothing() {
    if let_go::replace_standard(0).is_ok() {
        return;
    }
    let Ok((empty, _)) = pipe::pipe() else { return };
    // SAFETY: the first is an open descriptor, and nothing in this process owns descriptor 0.
    unsafe { libc::dup2(empty.as_raw_fd(), 0) };
}
