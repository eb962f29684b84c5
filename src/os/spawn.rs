//! Starting processes: the main one, and the short-lived helpers that never execute another program.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{ForkResult, Pid as NixPid};

use super::errno;
use crate::os::cgroup::Cgroup;
use crate::os::privileges::{self, Identity};
use crate::os::startup::Inherited;
use crate::os::{exec, let_go, process, signals, terminal};
use crate::types::{CompatMode, Errno, Pid, Signal, SignalSet, StartStep, exit_code};

/// What to start and how.
pub struct Request<'a> {
    /// The command and its arguments; the first is looked up in `PATH` as a shell would.
    pub command: &'a [CString],
    /// Whose exit code tells of a failure.
    pub compat: CompatMode,
    /// Whether the process gets a session of its own, with the terminal on its standard input if that is
    /// free.
    pub session: bool,
    /// What sexton was started with, to be handed on.
    pub inherited: &'a Inherited,
    /// Whether the process dies with sexton.
    pub die_with_us: bool,
    /// The cgroup to be born in.
    pub cgroup: Option<&'a Cgroup>,
    /// What is set in its environment besides sexton's own. `PATH` counts for the search of the command.
    pub env: &'a [(OsString, OsString)],
    /// Its working directory, entered as its user; ours if there is none.
    pub directory: Option<&'a Path>,
    /// Who it runs as; as we do if there is none.
    pub user: Option<Identity>,
    /// Descriptors that it gets besides the inherited ones, each with the number that it has there.
    pub descriptors: &'a [(BorrowedFd<'a>, RawFd)],
}

impl<'a> Request<'a> {
    /// The command with what we were started with, in a group of its own, and nothing else.
    #[must_use]
    pub fn new(command: &'a [CString], inherited: &'a Inherited) -> Request<'a> {
        Request {
            command,
            compat: CompatMode::Native,
            session: false,
            inherited,
            die_with_us: true,
            cgroup: None,
            env: &[],
            directory: None,
            user: None,
            descriptors: &[],
        }
    }
}

/// A process that was created, with the news of whether it became the command.
pub struct Started {
    /// The process, and its process group.
    pub pid: Pid,
    news: File,
    /// What the news was, once it has come.
    known: Option<Option<(StartStep, Errno)>>,
}

impl Started {
    /// Why the command was not executed. `None` as long as nothing is known, and for ever once it was.
    ///
    /// Never blocks. After the process's death the answer is final.
    pub fn failure(&mut self) -> Option<(StartStep, Errno)> {
        let mut record = [0; RECORD];
        if self.known.is_none()
            && let Ok(length) = self.news.read(&mut record)
        {
            self.known = Some(record.get(..length).and_then(decode));
        }
        self.known.flatten()
    }

    /// Whether the process has become the command. `None` as long as nothing is known.
    ///
    /// Never blocks.
    pub fn executed(&mut self) -> Option<bool> {
        self.failure();
        self.known.map(|failure| failure.is_none())
    }
}

impl AsFd for Started {
    /// Can be read when the process has become the command, or has failed to.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

/// Creates a process that becomes the command, or, without a command, one that waits for TERM or INT: in a
/// process group of its own, with the signal mask, the ignored signals and the closed standard descriptors
/// that sexton was started with, and SIGPIPE at its default.
///
/// All signals must be blocked, so that none is delivered between fork and exec.
///
/// # Errors
/// The process could not be created.
pub fn spawn(request: &Request<'_>) -> Result<Started, Errno> {
    let (news, report) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(errno)?;
    let us = process::own_pid();
    let born = request.cgroup.filter(|cgroup| cgroup.is_domain());
    let born = born.and_then(|cgroup| fork_into(cgroup).ok());
    let placed = born.is_some();
    let born = match born {
        Some(born) => born,
        // SAFETY: this process has one thread, so that no lock can be held by another one in the child.
        None => unsafe { nix::unistd::fork() }.map_err(errno)?,
    };
    match born {
        ForkResult::Child => {
            let mut report = Some(move_fd(report, request.descriptors));
            let Err((step, errno)) = become_command(request, placed, us, &mut report);
            // If the report cannot be written, the exit code still tells.
            let _ = report.map(|report| File::from(report).write_all(&encode(step, errno)));
            exit_now(exit_code::of_failed_start(request.compat, step, errno))
        }
        ForkResult::Parent { child } => {
            // Both sides set the group, so that it exists for whichever goes on first. EACCES means that
            // the child has done so and executed the command; ESRCH that it is gone.
            // The leader of a group cannot make a session, so that this is left to the child then.
            if !request.session {
                let _ = nix::unistd::setpgid(child, child);
            }
            let pid = Pid::new(child.as_raw()).ok_or(Errno(libc::ESRCH))?;
            Ok(Started { pid, news: File::from(news), known: None })
        }
    }
}

/// Becomes the command at once, without a child: with everything that sexton was started with, in its group.
/// Comes back only with the reason why not.
pub fn become_plain(command: &[CString], inherited: &Inherited) -> (StartStep, Errno) {
    close_the_closed(inherited);
    let Err(failure) = execute(command, inherited);
    failure
}

/// Runs in the child; comes back only with a failure.
fn become_command(
    request: &Request<'_>,
    placed: bool,
    parent: Pid,
    report: &mut Option<OwnedFd>,
) -> Result<Infallible, (StartStep, Errno)> {
    if request.session {
        nix::unistd::setsid().map_err(|error| (StartStep::Group, errno(error)))?;
        // A terminal of another session, or none, is no reason not to start.
        let _ = terminal::adopt_standard_input();
    } else {
        nix::unistd::setpgid(NixPid::from_raw(0), NixPid::from_raw(0))
            .map_err(|error| (StartStep::Group, errno(error)))?;
    }
    if let Some(cgroup) = request.cgroup.filter(|_| !placed) {
        // Not to be in the cgroup is no reason not to start: the tree is then reached through /proc.
        let _ = cgroup.join();
    }
    // Before the parent-death signal, which a change of user clears.
    if let Some(user) = request.user {
        privileges::become_identity(user, &set_variable).map_err(at(StartStep::User))?;
    }
    if request.die_with_us {
        process::set_parent_death_signal(Signal::KILL).map_err(at(StartStep::ParentDeath))?;
        if process::parent() != parent.raw() {
            // The parent died before the signal was armed.
            exit_now(exit_code::SEXTON_FAILED);
        }
    }
    if request.command.is_empty() {
        // This is all that it becomes.
        *report = None;
        pause();
    }
    for (name, value) in request.env {
        set_variable(name, value).map_err(at(StartStep::Environment))?;
    }
    rewrite_pid_variables(parent);
    if let Some(directory) = request.directory {
        std::env::set_current_dir(directory).map_err(at(StartStep::Directory))?;
    }
    close_the_closed(request.inherited);
    install_fd(request.descriptors).map_err(at(StartStep::Descriptors))?;
    execute(request.command, request.inherited)
}

fn execute(command: &[CString], inherited: &Inherited) -> Result<Infallible, (StartStep, Errno)> {
    restore(inherited).map_err(at(StartStep::Signals))?;
    let error = exec::become_program(command);
    Err((StartStep::Exec, errno(error)))
}

fn at(step: StartStep) -> impl Fn(std::io::Error) -> (StartStep, Errno) {
    move |error| (step, Errno(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// Stands in for a command where none is wanted: waits until it is asked to end, and ends well.
fn pause() -> ! {
    let stops = SignalSet::default().with(Signal::TERM).with(Signal::INT);
    while !matches!(signals::take(stops, None), Ok(Some(_))) {}
    exit_now(0)
}

/// Sockets that were passed to sexton (sd_listen_fds(3)) are the command's. `LISTEN_PID` says whose they
/// are, and the command takes none that are another process's. So does `WATCHDOG_PID` for signs of life
/// (sd_watchdog_enabled(3)).
fn rewrite_pid_variables(parent: Pid) {
    let own = |variable: &str| std::env::var(variable).is_ok_and(|pid| pid == parent.to_string());
    if own("LISTEN_PID") {
        // The inode of our pidfd (sd_listen_fds(3), since systemd 259). The command's is not known before it lives, and
        // without the variable the pid alone counts.
        remove_variable(c"LISTEN_PIDFDID");
    }
    for variable in ["LISTEN_PID", "WATCHDOG_PID"] {
        if own(variable) {
            // It fails for want of memory alone, and then the command takes no sockets.
            let _ = set_variable(OsStr::new(variable), OsStr::new(&process::own_pid().to_string()));
        }
    }
}

/// Sets one variable of this process, a child with one thread (setenv(3)).
///
/// # Errors
/// EINVAL if the name is empty or holds `=`, or either of them holds a NUL byte.
fn set_variable(name: &OsStr, value: &OsStr) -> std::io::Result<()> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_| invalid());
    let (name, value) = (text(name)?, text(value)?);
    // SAFETY: both are strings of our own that setenv copies, and this process has one thread, so nothing reads
    // the environment meanwhile.
    let done = unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) };
    if done == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Removes one variable of this process, a child with one thread (unsetenv(3)).
fn remove_variable(name: &CStr) {
    // SAFETY: the name is a string that ends with a NUL byte, and this process has one thread, so nothing reads the
    // environment meanwhile. It fails for an invalid name alone.
    unsafe { libc::unsetenv(name.as_ptr()) };
}

fn invalid() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::EINVAL)
}

/// The pipe for the report, under a number that no given descriptor takes.
fn move_fd(report: OwnedFd, given: &[(BorrowedFd<'_>, RawFd)]) -> OwnedFd {
    if given.iter().all(|(_, number)| *number != report.as_raw_fd()) {
        return report;
    }
    dup_above(report.as_fd(), given).unwrap_or(report)
}

/// A copy of `descriptor` above every number that a given one is to have, closed on exec.
fn dup_above(descriptor: BorrowedFd<'_>, given: &[(BorrowedFd<'_>, RawFd)]) -> std::io::Result<OwnedFd> {
    let highest = given.iter().map(|(_, number)| *number).max().unwrap_or(2);
    let copy = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(highest.saturating_add(1).max(3)))?;
    // SAFETY: fcntl has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Gives each descriptor its number. All are copied out of the way first: one's number may be what another
/// one has at this moment.
fn install_fd(given: &[(BorrowedFd<'_>, RawFd)]) -> std::io::Result<()> {
    let copies = given.iter().map(|(descriptor, number)| Ok((dup_above(*descriptor, given)?, *number)));
    for (copy, number) in copies.collect::<std::io::Result<Vec<_>>>()? {
        // SAFETY: what has this number in this child is the child's own copy, which is about to be replaced
        // by the command.
        let placed = unsafe { libc::dup2(copy.as_raw_fd(), number) };
        if placed == -1 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// include/uapi/linux/sched.h; the libc crate's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// fork(2) with the child born in `cgroup` (clone3(2), `CLONE_INTO_CGROUP`, Linux 5.7). To move it there later
/// makes the kernel wait for an RCU grace period, which takes about ten milliseconds.
///
/// # Errors
/// What clone3(2) says; some container engines refuse the call altogether.
fn fork_into(cgroup: &Cgroup) -> Result<ForkResult, Errno> {
    // SAFETY: the arguments of clone3 are plain numbers, for which all zeroes are a value.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = u64::from(Signal::CHLD.number().unsigned_abs());
    arguments.cgroup = u64::from(cgroup.directory().as_raw_fd().unsigned_abs());
    let size = size_of::<libc::clone_args>();
    // SAFETY: without CLONE_VM the child gets a copy of the memory, as from fork(2), and this process has
    // one thread, so that no lock can be held by another one in the child. The C library does not learn of
    // the child's thread id, which nothing uses before the child executes its command or ends.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) };
    match i32::try_from(pid) {
        Ok(0) => Ok(ForkResult::Child),
        Ok(pid) if pid > 0 => Ok(ForkResult::Parent { child: NixPid::from_raw(pid) }),
        _ => Err(errno(nix::Error::last())),
    }
}

/// Standard descriptors that were closed when sexton was started are closed for the child.
fn close_the_closed(inherited: &Inherited) {
    for (descriptor, closed) in (0..).zip(inherited.closed) {
        if closed {
            // SAFETY: the descriptor is the one that was opened at the start in the place of a closed
            // one, and nothing in this process owns it.
            unsafe { libc::close(descriptor) };
        }
    }
}

/// Gives the child what sexton was started with. The mask comes last: a signal that is pending by then is
/// delivered to the child as it will be, in its own group and with its own actions.
fn restore(inherited: &Inherited) -> std::io::Result<()> {
    signals::hide_handled()?;
    signals::set_default(Signal::PIPE)?;
    if inherited.children_ignored {
        signals::set_ignored(Signal::CHLD)?;
    }
    signals::set_mask(inherited.mask).map(|_| ())
}

/// A helper's standard descriptors. It does not have ours: it can outlive us, in a system call that never returns, and
/// a process that reads our output to its end would wait for it.
#[derive(Debug, Clone, Copy)]
pub enum Output<'a> {
    /// What it says goes nowhere.
    Nowhere,
    /// What it says goes here.
    To(BorrowedFd<'a>),
    /// It passes on what others say, to our standard output (1) or standard error (2). Only for one that looks at no
    /// filesystem, so that it ends with us.
    Inherited(RawFd),
}

/// Creates a helper: a copy of this process that runs `work` and ends with its code. It dies with us, keeps all signals
/// blocked, and has none of our descriptors but `keep` and that for its `output`.
///
/// `before` runs first, while all our descriptors are still open, to let go of what has to be let go of in order.
///
/// # Errors
/// The process could not be created.
pub fn fork_helper(
    output: Output<'_>,
    keep: &[BorrowedFd<'_>],
    before: impl FnOnce(),
    work: impl FnOnce() -> u8,
) -> Result<Pid, Errno> {
    let us = process::own_pid();
    // SAFETY: this process has one thread, so that no lock can be held by another one in the child.
    match unsafe { nix::unistd::fork() }.map_err(errno)? {
        ForkResult::Child => {
            let armed = process::set_parent_death_signal(Signal::KILL).is_ok();
            if !armed || process::parent() != us.raw() {
                exit_now(exit_code::SEXTON_FAILED);
            }
            before();
            let_go::become_helper(output, keep);
            exit_now(work())
        }
        ForkResult::Parent { child } => Pid::new(child.as_raw()).ok_or(Errno(libc::ESRCH)),
    }
}

/// Creates a helper that outlives us, in a session of its own, so that no signal to our group ends it. It keeps
/// all signals blocked, says nothing, and has none of our descriptors but `keep`.
///
/// # Errors
/// The process could not be created.
pub fn fork_survivor(keep: BorrowedFd<'_>, work: impl FnOnce() -> u8) -> Result<Pid, Errno> {
    // SAFETY: this process has one thread, so that no lock can be held by another one in the child.
    match unsafe { nix::unistd::fork() }.map_err(errno)? {
        ForkResult::Child => {
            let_go::become_helper(Output::Nowhere, &[keep]);
            // A process that was just created leads no group, so that this cannot fail.
            let _ = nix::unistd::setsid();
            exit_now(work())
        }
        ForkResult::Parent { child } => Pid::new(child.as_raw()).ok_or(Errno(libc::ESRCH)),
    }
}

/// Ends this process at once, without running what is registered for an ordinary exit.
pub(super) fn exit_now(code: u8) -> ! {
    // SAFETY: the call only ends the process.
    unsafe { libc::_exit(i32::from(code)) }
}

/// A failure on its way through the pipe: the step's place and the error number.
const RECORD: usize = 5;

fn encode(step: StartStep, errno: Errno) -> [u8; RECORD] {
    let place = StartStep::ALL.iter().position(|known| *known == step).unwrap_or_default();
    let [a, b, c, d] = errno.0.to_ne_bytes();
    [u8::try_from(place).unwrap_or_default(), a, b, c, d]
}

fn decode(record: &[u8]) -> Option<(StartStep, Errno)> {
    let (place, number) = record.split_first()?;
    let step = StartStep::ALL.get(usize::from(*place))?;
    Some((*step, Errno(i32::from_ne_bytes(number.try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_pipe() {
        for step in StartStep::ALL {
            assert_eq!(decode(&encode(step, Errno(13))), Some((step, Errno(13))));
        }
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0, 1]), None);
        assert_eq!(decode(&[9, 1, 0, 0, 0]), None);
    }
}
