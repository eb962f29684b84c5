//! Our children: peeking at the dead, reaping them, listing those that are left.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::os::fd::IntoRawFd;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::errno;
use crate::os::{process, procfs};
use crate::types::{Errno, ExitStatus, Pid, Signal};

/// A child that has died and is still a zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dead {
    /// Its pid, which no other process can get before it is reaped.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
}

/// What has become of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It has died, and stays a zombie.
    Died(Dead),
    /// A signal has stopped it.
    Stopped {
        /// The child.
        pid: Pid,
        /// The signal.
        signal: Signal,
    },
}

/// Finds a child that has died, and leaves it a zombie (waitid(2), `WNOWAIT`), or one that was stopped since
/// it was last told. `None` if there is neither.
///
/// # Errors
/// What waitid(2) says. Having no children is not an error.
pub fn peek() -> io::Result<Option<Change>> {
    change_of(libc::P_ALL, 0)
}

fn change_of(kind: libc::idtype_t, id: i32) -> io::Result<Option<Change>> {
    let Some(found) = some_child(kind, id, libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT)? else {
        return Ok(None);
    };
    if found.code != libc::CLD_STOPPED {
        return Ok(Some(Change::Died(dead(found))));
    }
    let Some(signal) = Signal::new(found.status) else {
        return Ok(None);
    };
    // The kernel reports a stop until it is taken (waitid(2)).
    some_child(libc::P_PID, found.pid.raw(), libc::WSTOPPED)?;
    Ok(Some(Change::Stopped { pid: found.pid, signal }))
}

/// What has become of the children but `held`, a zombie that is to stay one; the dead are left zombies. At most `most`
/// changes are told, of the oldest children first: while processes die faster than we reap there are ever more.
///
/// The kernel would name the held one first each time it is asked for anybody, so that the others are asked
/// for one by one. Many in one go: one reading of their list for each death would cost their number squared.
///
/// # Errors
/// What waitid(2) says.
pub fn peek_others(held: Pid, most: usize) -> io::Result<Vec<Change>> {
    let mut changes = Vec::new();
    let mut failed = None;
    visit(|pid| {
        match if pid == held { Ok(None) } else { change_of(libc::P_PID, pid.raw()) } {
            Ok(change) => changes.extend(change),
            Err(error) => failed = Some(error),
        }
        if failed.is_some() || changes.len() >= most {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    failed.map_or(Ok(changes), Err)
}

/// Reaps this child, if it has died.
///
/// # Errors
/// What waitid(2) says. Having no such child is not an error.
pub fn reap(pid: Pid) -> io::Result<Option<Dead>> {
    Ok(some_child(libc::P_PID, pid.raw(), libc::WEXITED)?.map(dead))
}

/// Waits until this child has ended, which is `true` and reaps it, or was stopped. Only for helpers: the main loop
/// never waits.
///
/// # Errors
/// What waitid(2) says.
pub fn wait_for(pid: Pid) -> Result<bool, Errno> {
    let pid = nix::unistd::Pid::from_raw(pid.raw());
    loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED) {
            Err(nix::Error::EINTR) => {}
            Err(error) => return Err(errno(error)),
            Ok(WaitStatus::Stopped(..)) => return Ok(false),
            Ok(_) => return Ok(true),
        }
    }
}

/// Our direct children, dead ones included. `None` if /proc does not tell.
#[must_use]
pub fn list() -> Option<Vec<Pid>> {
    let mut children = Vec::new();
    let listed = visit(|pid| {
        children.push(pid);
        ControlFlow::Continue(())
    });
    listed.then_some(children)
}

/// Whether one of our direct children, dead ones included, is such a one. `None` if /proc does not tell.
#[must_use]
pub fn any(is_such: impl Fn(Pid) -> bool) -> Option<bool> {
    let mut found = false;
    let listed = visit(|pid| {
        found = is_such(pid);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    listed.then_some(found)
}

/// Hands our direct children to `each`, until that says that it has enough. Whether /proc has told of them.
fn visit(mut each: impl FnMut(Pid) -> ControlFlow<()>) -> bool {
    let me = process::own_pid();
    match visit_kept_list(me, &mut each) {
        Some(()) => true,
        None if !procfs::is_of_our_namespace() => false,
        // Kernels without CONFIG_PROC_CHILDREN. An empty directory where /proc should be tells nothing.
        None => {
            let (Ok(Some(_)), Ok(all)) = (procfs::stat(me), procfs::all()) else { return false };
            let ours = all.into_iter().filter(|stat| stat.parent == me.raw());
            let _ = ours.map(|stat| stat.pid).try_for_each(each);
            true
        }
    }
}

/// Opens the kernel's list of our children, so that [`list`] needs no other file later.
pub fn keep_list() {
    let _ = any(|_| true);
}

thread_local! {
    /// The kernel's list of our children, and whose it is: a process that we fork has others. It stays open, so that the
    /// dead are found, too, when no file can be opened any more, to the end: nothing has to be called then.
    static LIST: RefCell<Option<(Pid, ManuallyDrop<File>)>> = const { RefCell::new(None) };
}

/// Visits the children of `me`, from the list that is kept open. `None` if there is none and none can be opened.
fn visit_kept_list(me: Pid, each: impl FnMut(Pid) -> ControlFlow<()>) -> Option<()> {
    // It is not in its place meanwhile, so that `each` may ask for our children, too.
    let mut kept = LIST.take().map(|(owner, list)| (owner, ManuallyDrop::into_inner(list)));
    if kept.as_ref().is_none_or(|(owner, _)| *owner != me) {
        if let Some((_, list)) = kept.take() {
            // It is who forked us that owns it. Here its number may be closed, or another file's by now.
            let _ = list.into_raw_fd();
        }
        if procfs::is_of_our_namespace() {
            // We have one thread, so that all our children are its.
            kept = procfs::open_children_of_thread(me, me).ok().map(|file| (me, file));
        }
    }
    let (_, list) = kept.as_ref()?;
    procfs::visit_children(list, each).ok()?;
    LIST.set(kept.map(|(owner, list)| (owner, ManuallyDrop::new(list))));
    Some(())
}

/// Whether there is any child at all, dead or alive.
#[must_use]
pub fn exist() -> bool {
    let info = wait_raw(libc::P_ALL, 0, libc::WEXITED | libc::WNOWAIT);
    !matches!(info, Err(error) if error.raw_os_error() == Some(libc::ECHILD))
}

/// What waitid(2) tells of a child: the fields of a SIGCHLD that count here. The whole structure has 128 bytes, which
/// each death would have moved about.
#[derive(Debug, Clone, Copy)]
struct Found {
    pid: Pid,
    /// `si_code`: how it has changed.
    code: i32,
    /// `si_status`: the exit code, or the signal.
    status: i32,
}

/// waitid(2), for which having no children is no error.
fn some_child(kind: libc::idtype_t, id: i32, options: i32) -> io::Result<Option<Found>> {
    match wait_raw(kind, id, options) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        result => result,
    }
}

fn dead(found: Found) -> Dead {
    let status = match found.code {
        libc::CLD_EXITED => ExitStatus::Exited(u8::try_from(found.status & 0xff).unwrap_or(u8::MAX)),
        code => ExitStatus::Signaled { signal: found.status, core: code == libc::CLD_DUMPED },
    };
    Dead { pid: found.pid, status }
}

/// waitid(2) without blocking, for children of every kind (`__WALL`). `None` if no child is in that state.
fn wait_raw(kind: libc::idtype_t, id: i32, options: i32) -> io::Result<Option<Found>> {
    // SAFETY: a siginfo is plain data, for which all zeroes are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = options | libc::WNOHANG | libc::__WALL;
    // SAFETY: the pointer is to a siginfo of our own.
    let result = unsafe { libc::waitid(kind, id.cast_unsigned(), &raw mut info, options) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: waitid(2) fills in the fields of a SIGCHLD; where it does not, they are the zeroes from above.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    // With WNOHANG success also means "none", and then the pid stays zero (waitid(2), notes).
    Ok(Pid::new(pid).map(|pid| Found { pid, code: info.si_code, status }))
}
