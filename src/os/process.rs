//! What a process asks the kernel about itself (prctl(2), getpid(2)).

use std::io;

use crate::ids::{Pid, Signal};

/// Our own pid.
#[must_use]
pub fn own_pid() -> Pid {
    // The conversion cannot fail: the kernel's pids are positive and below 2^22.
    Pid::new(std::process::id().cast_signed()).unwrap_or(Pid::INIT)
}

/// Our own process group.
#[must_use]
pub fn own_group() -> i32 {
    nix::unistd::getpgrp().as_raw()
}

/// Our parent's pid; 0 if it lives outside our pid namespace.
#[must_use]
pub fn parent() -> i32 {
    nix::unistd::getppid().as_raw()
}

/// Becomes the parent of every orphan below us (`PR_SET_CHILD_SUBREAPER`, prctl(2), since Linux 3.4).
///
/// # Errors
/// What prctl(2) says.
pub fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Asks for `signal` when the thread that forked us ends (`PR_SET_PDEATHSIG`, prctl(2)). Cleared by fork and
/// by a change of user.
///
/// # Errors
/// What prctl(2) says.
pub fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(signal.number().unsigned_abs()))
}

/// Sets a variable for everything that we start from now on.
pub fn set_variable(name: &str, value: &std::ffi::OsStr) {
    // SAFETY: this process has one thread, so that nobody reads the environment meanwhile.
    unsafe { std::env::set_var(name, value) };
}

/// Takes a variable away from everything that we start from now on.
pub fn remove_variable(name: &str) {
    // SAFETY: this process has one thread, so that nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
}

fn prctl(option: i32, argument: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: these options take numbers, and no memory of ours is touched.
    let done = unsafe { libc::prctl(option, argument, zero, zero, zero) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
