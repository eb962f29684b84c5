//! What a process asks the kernel about itself (prctl(2), getpid(2)).

use std::io;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::types::{Pid, Signal};

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

/// The session and the process group of a process. `None` if it is gone.
#[must_use]
pub fn place_of(pid: Pid) -> Option<(i32, i32)> {
    let pid = Some(nix::unistd::Pid::from_raw(pid.raw()));
    Some((nix::unistd::getsid(pid).ok()?.as_raw(), nix::unistd::getpgid(pid).ok()?.as_raw()))
}

/// Becomes the parent of every orphan below us (`PR_SET_CHILD_SUBREAPER`, prctl(2), since Linux 3.4).
///
/// # Errors
/// What prctl(2) says.
pub fn become_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Whether this process is a subreaper already: execve(2) keeps that (`PR_GET_CHILD_SUBREAPER`, prctl(2)).
#[must_use]
pub fn is_subreaper() -> bool {
    prctl::get_child_subreaper().unwrap_or_default()
}

/// Asks for `signal` when the thread that forked us ends (`PR_SET_PDEATHSIG`, prctl(2)). Cleared by fork and
/// by a change of user.
///
/// # Errors
/// What prctl(2) says.
pub fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    let number = libc::c_ulong::from(signal.number().unsigned_abs());
    let zero: libc::c_ulong = 0;
    // nix knows no real-time signal.
    // SAFETY: the option takes a number, and no memory of ours is touched.
    let done = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, number, zero, zero, zero) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets a variable for everything that we start from now on.
pub fn set_variable(name: &str, value: &std::ffi::OsStr) {
    // SAFETY: this process has one thread, so nothing reads the environment meanwhile.
    unsafe { std::env::set_var(name, value) };
}

/// Whether a service manager has started this process, and not one above it, and wants it to say more
/// (`DEBUG_INVOCATION` of `RestartMode=debug`, systemd.exec(5), since systemd 257; `SYSTEMD_EXEC_PID`, since 248).
#[must_use]
pub fn is_debug_invocation() -> bool {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|found| found == value);
    is("DEBUG_INVOCATION", "1") && is("SYSTEMD_EXEC_PID", &own_pid().to_string())
}

/// Takes a variable away from everything that we start from now on.
pub fn remove_variable(name: &str) {
    // SAFETY: this process has one thread, so nothing reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
}

/// What those of our descendants that were reaped have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time in their own code.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The most memory that one of them had resident, in bytes.
    pub largest: u64,
}

/// What our children, and theirs that they reaped, have used (getrusage(2), `RUSAGE_CHILDREN`).
#[must_use]
pub fn usage_of_children() -> Usage {
    // The call cannot fail for this argument.
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Usage::default();
    };
    let time = |time: TimeVal| {
        let micros = time.tv_usec().saturating_add(time.tv_sec().saturating_mul(1_000_000));
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    Usage {
        user: time(usage.user_time()),
        system: time(usage.system_time()),
        largest: u64::try_from(usage.max_rss()).unwrap_or(0).saturating_mul(1024),
    }
}

/// Ends this process by the `signal` that ended the command, so that our parent sees the same end. No core of ours is
/// dumped. Returns if the signal does not end a process, and for the init of a pid namespace.
pub fn exit_by_signal(signal: Signal) {
    let _ = prctl::set_dumpable(false);
    let _ = super::signals::set_default(signal);
    // It is pending until the mask lets it through.
    if super::signals::send(own_pid(), signal).is_ok() {
        let _ = super::signals::unblock(signal);
    }
}
