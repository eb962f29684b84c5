//! Signals in and out.
//!
//! They come in through signalfd(2), with every signal blocked from before main to the end. Next to
//! handlers this needs no code that runs at any instruction, loses no value of a real-time signal, tells
//! who sent it, and leaves no moment between unblocking and a handler's installation.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::ids::{Moment, Pid, Signal};
use crate::os::poll;

/// A signal that was sent to this process (`struct signalfd_siginfo`, signalfd(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Which one.
    pub signal: Signal,
    /// `si_code`: who made it.
    pub code: i32,
    /// The sender's pid in our namespace; 0 if it lives outside.
    pub sender: i32,
    /// The value of sigqueue(3).
    pub value: i32,
}

/// The inlet of all blocked signals.
pub struct Inlet(SignalFd);

impl Inlet {
    /// Opens it. The signals must be blocked; see [`early`](super::early).
    ///
    /// SIGCHLD gets its default action: whoever started us may have ignored it, and then the kernel would
    /// reap our children behind our back (wait(2)).
    ///
    /// # Errors
    /// What signalfd(2) and sigaction(2) say.
    pub fn open() -> io::Result<Inlet> {
        set_default(Signal::CHLD)?;
        Ok(Inlet(SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits until a signal has come, `beside` can be read, or `deadline` has passed, for ever if there is
    /// none, and appends the signals that have come to `signals`.
    ///
    /// Without a deadline and anything beside this is one system call, which is what an idle init spends on
    /// each death.
    ///
    /// # Errors
    /// What ppoll(2) and read(2) say. An interruption is no error.
    pub fn wait(
        &self,
        deadline: Option<Moment>,
        beside: Option<BorrowedFd<'_>>,
        signals: &mut Vec<Info>,
    ) -> io::Result<Woken> {
        let mut woken = Woken::default();
        if let Some(beside) = beside {
            let [ours, theirs] = poll::any_until([self.0.as_fd(), beside], deadline)?;
            woken.beside = theirs;
            if !ours {
                return Ok(woken);
            }
        } else if deadline.is_some() && !poll::until(self.0.as_fd(), deadline)? {
            return Ok(woken);
        }
        let mut records = [0; RECORD * RECORDS];
        let length = match nix::unistd::read(&self.0, &mut records) {
            Ok(length) => length,
            Err(nix::Error::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let records = records.get(..length).unwrap_or_default();
        signals.extend(records.chunks_exact(RECORD).filter_map(Info::read));
        woken.more_signals = length == RECORD * RECORDS;
        Ok(woken)
    }
}

/// What ended a wait, besides the signals that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Woken {
    /// There may be more signals.
    pub more_signals: bool,
    /// What was waited for beside the signals can be read.
    pub beside: bool,
}

/// The size of a `struct signalfd_siginfo`, which is fixed for ever (signalfd(2)).
const RECORD: usize = 128;
/// How many of them one read takes.
const RECORDS: usize = 8;

impl Info {
    /// Takes one record of signalfd(2) apart: `ssi_signo` stands at byte 0, `ssi_code` at 8, `ssi_pid` at 12,
    /// `ssi_int` at 44.
    fn read(record: &[u8]) -> Option<Info> {
        let number = |at: usize| Some(i32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
        Some(Info {
            signal: Signal::new(number(0)?)?,
            code: number(8)?,
            sender: number(12)?,
            value: number(44)?,
        })
    }
}

/// Whether `signal` is ignored. Signals that are ignored when a program begins stay so for whatever it
/// executes (execve(2)), so that this tells what our parent wanted.
#[must_use]
pub fn is_ignored(signal: Signal) -> bool {
    // SAFETY: a sigaction is plain data, for which all zeroes are a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null second argument only asks; the third is ours to write to.
    let asked = unsafe { libc::sigaction(signal.number(), std::ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Gives `signal` its default action. Async-signal-safe.
///
/// # Errors
/// What sigaction(2) says.
pub fn set_default(signal: Signal) -> io::Result<()> {
    set_action(signal, libc::SIG_DFL)
}

/// Ignores `signal`. Async-signal-safe.
///
/// # Errors
/// What sigaction(2) says.
pub fn set_ignored(signal: Signal) -> io::Result<()> {
    set_action(signal, libc::SIG_IGN)
}

fn set_action(signal: Signal, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: neither SIG_DFL nor SIG_IGN runs any code of ours.
    let before = unsafe { libc::signal(signal.number(), action) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends `signal` to one process.
///
/// # Errors
/// What kill(2) says.
pub fn send(pid: Pid, signal: Signal) -> io::Result<()> {
    kill(pid.raw(), signal)
}

/// Whether this process may be sent signals by us; one that is gone counts as such.
#[must_use]
pub fn may_send(pid: Pid) -> bool {
    // SAFETY: the call takes plain values, and signal 0 is only checked.
    let sent = unsafe { libc::kill(pid.raw(), 0) };
    sent == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::EPERM)
}

/// Sends `signal` to the process group of which `leader` is the id.
///
/// # Errors
/// What kill(2) says.
pub fn send_to_group(leader: Pid, signal: Signal) -> io::Result<()> {
    kill(-leader.raw(), signal)
}

/// Sends `signal` to every process that we may signal, except ourselves and PID 1 (kill(2), pid -1). Only
/// for the init of a pid namespace, where that means its whole content.
///
/// # Errors
/// What kill(2) says; ESRCH if there is nobody.
pub fn send_to_everybody(signal: Signal) -> io::Result<()> {
    kill(-1, signal)
}

/// Sends `signal` with a value (sigqueue(3)).
///
/// # Errors
/// What sigqueue(3) says; EAGAIN if the receiver's queue is full.
pub fn queue(pid: Pid, signal: Signal, value: i32) -> io::Result<()> {
    // An int is what signalfd(2) gives back; it is the first member of the union on little-endian machines.
    let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(value as u32 as usize) };
    // SAFETY: the call takes plain values, and the pointer is never followed.
    let sent = unsafe { libc::sigqueue(pid.raw(), signal.number(), value) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Stops the process group that we are in, ourselves included, as Ctrl-Z would. Returns when somebody has
/// sent CONT, and at once if the kernel finds that nobody could: it does not stop a group whose session has
/// no job-control shell above it (an orphaned process group, setpgid(2)).
///
/// # Errors
/// What kill(2) and sigprocmask(2) say.
pub fn suspend_own_group() -> io::Result<()> {
    kill(0, Signal::TSTP)?;
    // Ours is pending because it is blocked. Unblocking lets its default action happen here and now.
    let mut tstp = SigSet::empty();
    tstp.add(nix::sys::signal::Signal::SIGTSTP);
    tstp.thread_unblock()?;
    Ok(tstp.thread_block()?)
}

/// Stops us. Returns when somebody has sent CONT; at once for the init of a pid namespace, which cannot stop
/// itself.
///
/// # Errors
/// What kill(2) says.
pub fn stop_self() -> io::Result<()> {
    send(super::process::own_pid(), Signal::STOP)
}

/// Lets `signal` through.
pub(super) fn unblock(signal: Signal) {
    // SAFETY: a signal set is plain bits, for which all zeroes are a value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a set of our own, and the number is a signal's.
    unsafe { libc::sigaddset(&raw mut set, signal.number()) };
    // SAFETY: the set is ours, and a null third argument asks for nothing.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
}

fn kill(target: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: the call takes plain values and touches no memory of ours.
    let sent = unsafe { libc::kill(target, signal.number()) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
