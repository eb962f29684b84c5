//! Our children: peeking at the dead, reaping them, listing those that are left.

use std::io;

use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::ids::{Errno, ExitStatus, Pid, Signal};
use crate::os::{process, procfs};

/// A child that has died and is still a zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dead {
    /// Its pid, which nobody else can get before it is reaped.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
}

/// Finds dead children and leaves them zombies (waitid(2), `WNOWAIT`); none if there are none.
///
/// Without a `held` one, the kernel names one at a time, which is what reaping streams of them costs least.
/// `held` is a zombie that is to stay one and must not be found again. The kernel would name it first each
/// time, so that the others are then asked for one by one, all in one go: with many children left, one
/// reading of their list for each death would cost their number squared.
///
/// # Errors
/// What waitid(2) says. Having no children is not an error.
pub fn peek(held: Option<Pid>) -> io::Result<Vec<Dead>> {
    let dead = wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT)?;
    match (dead, held) {
        (Some(dead), Some(held)) if dead.pid == held => {}
        (dead, _) => return Ok(dead.into_iter().collect()),
    }
    let others = list().unwrap_or_default().into_iter().filter(|pid| Some(*pid) != held);
    others.filter_map(|pid| wait(libc::P_PID, pid.raw(), libc::WEXITED | libc::WNOWAIT).transpose()).collect()
}

/// Reaps this zombie.
///
/// # Errors
/// What waitid(2) says.
pub fn reap(pid: Pid) -> io::Result<()> {
    wait(libc::P_PID, pid.raw(), libc::WEXITED).map(drop)
}

/// Waits until this child has ended, and reaps it. Only for helpers: the main loop never waits.
///
/// # Errors
/// What waitid(2) says.
pub fn wait_for(pid: Pid) -> Result<(), Errno> {
    let pid = nix::unistd::Pid::from_raw(pid.raw());
    loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED) {
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(Errno(error as i32)),
            Ok(_) => return Ok(()),
        }
    }
}

/// The signal that has stopped this child since the last call, if one has.
///
/// # Errors
/// What waitid(2) says.
pub fn stopped_by(pid: Pid) -> io::Result<Option<Signal>> {
    let info = wait_raw(libc::P_PID, pid.raw(), libc::WSTOPPED)?;
    Ok(info.filter(|info| info.si_code == libc::CLD_STOPPED).and_then(|info| Signal::new(status_of(&info))))
}

/// Our direct children, dead ones included. `None` if /proc does not tell.
#[must_use]
pub fn list() -> Option<Vec<Pid>> {
    let me = process::own_pid();
    // We have one thread, so that all our children are its.
    if let Ok(children) = procfs::children_of_thread(me, me) {
        return Some(children);
    }
    // Kernels without CONFIG_PROC_CHILDREN.
    let ours = |stat: &procfs::Stat| stat.parent == me.raw();
    Some(procfs::all().ok()?.iter().filter(|stat| ours(stat)).map(|stat| stat.pid).collect())
}

/// Whether there is any child at all, dead or alive.
#[must_use]
pub fn exist() -> bool {
    let info = wait_raw(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT);
    !matches!(info, Err(error) if error.raw_os_error() == Some(libc::ECHILD))
}

fn wait(kind: libc::idtype_t, id: i32, options: i32) -> io::Result<Option<Dead>> {
    match wait_raw(kind, id, options) {
        Ok(info) => Ok(info.as_ref().and_then(dead)),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

fn dead(info: &libc::siginfo_t) -> Option<Dead> {
    // SAFETY: waitid(2) fills in the fields of a SIGCHLD.
    let pid = unsafe { info.si_pid() };
    let status = status_of(info);
    let status = match info.si_code {
        libc::CLD_EXITED => ExitStatus::Exited(u8::try_from(status & 0xff).unwrap_or(u8::MAX)),
        code => ExitStatus::Signaled { signal: status, core: code == libc::CLD_DUMPED },
    };
    Some(Dead { pid: Pid::new(pid)?, status })
}

fn status_of(info: &libc::siginfo_t) -> i32 {
    // SAFETY: waitid(2) fills in the fields of a SIGCHLD.
    unsafe { info.si_status() }
}

/// waitid(2) without blocking, for children of every kind (`__WALL`). `None` if no child is in that state.
fn wait_raw(kind: libc::idtype_t, id: i32, options: i32) -> io::Result<Option<libc::siginfo_t>> {
    // SAFETY: a siginfo is plain data, for which all zeroes are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = options | libc::WNOHANG | libc::__WALL;
    // SAFETY: the pointer is to a siginfo of our own.
    let result = unsafe { libc::waitid(kind, id.cast_unsigned(), &raw mut info, options) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    // With WNOHANG success also means "none", and then the pid stays zero (waitid(2), notes).
    // SAFETY: the field is zero, or was filled in by the kernel.
    let pid = unsafe { info.si_pid() };
    Ok((pid != 0).then_some(info))
}
