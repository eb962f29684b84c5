//! Signals in and out.
//!
//! They come in through sigtimedwait(2), with every signal blocked from before main to the end. Next to handlers
//! this needs no code that runs at any instruction, loses no value of a real-time signal, tells who sent it, and
//! leaves no moment between unblocking and a handler's installation. Next to signalfd(2) and ppoll(2) it is one
//! system call instead of two: what else is waited for announces itself by a signal, too (SIGIO).
//!
//! The kernel itself is asked (rt_sigprocmask(2), rt_sigaction(2), rt_sigtimedwait(2)): the C library takes its own
//! signals, 32, 33 and with musl 34, out of what it is given, and other processes can send them all the same.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::os::{clock, poll};
use crate::types::{MonoTime, Pid, Signal, SignalSet};

/// A signal that was sent to this process (`siginfo_t`, sigaction(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigInfo {
    /// Which one.
    pub signal: Signal,
    /// `si_code`: who made it.
    pub code: i32,
    /// The sender's pid in our namespace; 0 if it lives outside.
    pub sender: i32,
    /// The value of sigqueue(3).
    pub value: i32,
}

impl SigInfo {
    /// The process whose death this reports, if it reports one (sigaction(2), SIGCHLD). Only the kernel can send such a
    /// signal (rt_sigqueueinfo(2)). The process may have been reaped since.
    #[must_use]
    pub fn dead(&self) -> Option<Pid> {
        let died = matches!(self.code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
        Pid::new(self.sender).filter(|_| self.signal == Signal::CHLD && died)
    }
}

/// How many deaths in a row are reported before other signals are asked for. The kernel delivers the signal with the
/// lowest number first. If processes died all the time, signals above SIGCHLD would never be received.
const DEATHS_IN_A_ROW: u32 = 8;

/// The inlet of all blocked signals.
pub struct SignalSource {
    deaths: u32,
}

impl SignalSource {
    /// Opens it. The signals must be blocked; see [`startup`](super::startup).
    ///
    /// SIGCHLD gets its default action. The program that started us may have ignored it, and then the kernel would reap
    /// our children itself (wait(2)). HUP is shown as one that is dealt with, as `show_handled` has it.
    ///
    /// # Errors
    /// What sigaction(2) says.
    pub fn open() -> io::Result<SignalSource> {
        set_default(Signal::CHLD)?;
        show_handled(Signal::HUP);
        poll::use_sigio();
        Ok(SignalSource { deaths: 0 })
    }

    /// Waits until a signal has come, something in `beside` can be read, or `deadline` has passed, for ever if there
    /// is none. This is one system call, which is what an idle init spends on each death.
    ///
    /// # Errors
    /// What sigtimedwait(2) and ppoll(2) say. An interruption is no error.
    pub fn wait(&mut self, deadline: Option<MonoTime>, beside: ExtraFds<'_>) -> io::Result<WakeUp> {
        let mut woken = WakeUp::default();
        if let ExtraFds::Poll(these) = beside {
            woken.beside = poll::ready_now(these)?;
        }
        if self.deaths >= DEATHS_IN_A_ROW {
            self.deaths = 0;
            woken.signal = take(SignalSet::ALL.without(Signal::CHLD), Some(Duration::ZERO))?;
        }
        if woken.signal.is_none() {
            let set = match beside {
                ExtraFds::Paused => SignalSet::ALL.without(Signal::IO),
                ExtraFds::Poll(_) | ExtraFds::None => SignalSet::ALL,
            };
            let timeout = if woken.beside {
                Some(Duration::ZERO)
            } else {
                deadline.map(|deadline| deadline.since(clock::now()))
            };
            woken.signal = take(set, timeout)?;
        }
        match woken.signal.map(|info| info.signal) {
            Some(Signal::CHLD) => self.deaths += 1,
            Some(Signal::IO) => {
                poll::on_sigio();
                if let ExtraFds::Poll(these) = beside {
                    woken.beside = poll::ready_now(these)?;
                }
                // What a process has sent is not ours alone.
                woken.signal = woken.signal.filter(|info| info.code != libc::SI_KERNEL);
            }
            Some(_) => {}
            None => self.deaths = 0,
        }
        Ok(woken)
    }
}

/// What is waited for beside the signals.
#[derive(Debug, Clone, Copy)]
pub enum ExtraFds<'a> {
    /// Whatever is in this [`EpollSet`](poll::EpollSet).
    Poll(BorrowedFd<'a>),
    /// It is not to be heard of until the deadline.
    Paused,
    /// There is nothing.
    None,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WakeUp {
    /// The signal that has come.
    pub signal: Option<SigInfo>,
    /// What was waited for beside the signals can be read.
    pub beside: bool,
}

/// The first pending signal of `set`, for which it is waited this long, for ever without a limit. `None` if none came.
pub(super) fn take(set: SignalSet, timeout: Option<Duration>) -> io::Result<Option<SigInfo>> {
    // SAFETY: a siginfo is plain data, for which all zeroes are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let timeout = timeout.map(|timeout| *clock::timespec(timeout).as_ref());
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let (set, told) = (std::ptr::from_ref(&set), &raw mut info);
    // SAFETY: the set has the kernel's 8 bytes, and like the timeout is only read and lives as long as the call; the
    // siginfo is ours.
    let number =
        unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, set, told, timeout, size_of::<SignalSet>()) };
    if number == -1 {
        return match io::Error::last_os_error() {
            none if matches!(none.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(None),
            error => Err(error),
        };
    }
    // SAFETY: this field stands at the same place in every siginfo of a signal that a process sent, and is plain data
    // in all others.
    let sender = unsafe { info.si_pid() };
    // SAFETY: as above.
    let value = unsafe { info.si_value() };
    let value = value.sival_ptr.addr() as u32;
    Ok(i32::try_from(number).ok().and_then(Signal::new).map(|signal| SigInfo {
        signal,
        code: info.si_code,
        sender,
        value: value.cast_signed(),
    }))
}

/// Whether `signal` is ignored. Signals that are ignored when a program begins stay so for whatever it
/// executes (execve(2)), so that this tells what our parent wanted.
#[must_use]
pub fn is_ignored(signal: Signal) -> bool {
    let mut action = KernelAction::default();
    let told = &raw mut action;
    // SAFETY: a null second argument only asks; what is told is ours to write to, and has room for what the kernel has.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal.number(),
            std::ptr::null::<KernelAction>(),
            told,
            size_of::<SignalSet>(),
        )
    };
    asked == 0 && action.handler == libc::SIG_IGN
}

/// What the kernel takes for an action (`struct sigaction`, include/linux/signal_types.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct KernelAction {
    handler: libc::sighandler_t,
    flags: libc::c_ulong,
    restorer: usize,
    mask: u64,
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

/// The signals that have [`never`](fn@never) as their handler, a bit for each.
static SHOWN: AtomicU64 = AtomicU64::new(0);

/// A handler that never runs, because its signal stays blocked.
extern "C" fn never(_: libc::c_int) {}

/// Shows in /proc that this process deals with `signal`, unless it ignores it.
///
/// While sigtimedwait(2) waits, the kernel takes the signals that are waited for out of the mask, so that /proc shows
/// them as neither blocked nor caught. systemd 262 looks there, and refuses a service of `Type=notify-reload` that
/// seems to die of its reload signal. An execve(2) resets the handler, and a child before that [`hide_handled`].
fn show_handled(signal: Signal) {
    let handler: extern "C" fn(libc::c_int) = never;
    // SAFETY: the handler does nothing, and may run at any moment.
    let before = unsafe { libc::signal(signal.number(), handler as libc::sighandler_t) };
    match before {
        libc::SIG_DFL => {
            let bit = 1 << (signal.number().unsigned_abs() - 1);
            SHOWN.fetch_or(bit, Ordering::Relaxed);
        }
        libc::SIG_ERR => {}
        before => drop(set_action(signal, before)),
    }
}

/// The same for every signal that a service manager may be told to send for a reload: not for those that stop a
/// process, that tell of a fault or a child's death, or that cannot be caught.
pub fn show_reload_signals() {
    use libc::{
        SIGABRT, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGIO, SIGKILL, SIGPIPE, SIGSEGV, SIGSTOP, SIGSYS, SIGTRAP,
    };
    use libc::{SIGTSTP, SIGTTIN, SIGTTOU};
    const NOT: [i32; 15] = [
        SIGABRT, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGIO, SIGKILL, SIGPIPE, SIGSEGV, SIGSTOP, SIGSYS, SIGTRAP,
        SIGTSTP, SIGTTIN, SIGTTOU,
    ];
    (1..=64).filter(|number| !NOT.contains(number)).filter_map(Signal::new).for_each(show_handled);
}

/// Gives the signals that are only shown as handled their default action back. Async-signal-safe.
///
/// # Errors
/// What sigaction(2) says.
pub(super) fn hide_handled() -> io::Result<()> {
    let shown = SHOWN.load(Ordering::Relaxed);
    (1..=64)
        .filter(|number| shown & (1 << (number - 1)) != 0)
        .filter_map(Signal::new)
        .try_for_each(set_default)
}

fn set_action(signal: Signal, action: libc::sighandler_t) -> io::Result<()> {
    let action = KernelAction { handler: action, ..KernelAction::default() };
    let (new, no_answer) = (&raw const action, std::ptr::null_mut::<KernelAction>());
    // SAFETY: neither SIG_DFL nor SIG_IGN runs any code of ours, and the action lives as long as the call.
    let set = unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal.number(), new, no_answer, size_of::<SignalSet>())
    };
    if set == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
/// What kill(2) says; ESRCH if there is no process.
pub fn send_to_all(signal: Signal) -> io::Result<()> {
    kill(-1, signal)
}

/// Whether no other process is in our pid namespace, zombies included (kill(2), pid -1: it fails with ESRCH only if
/// there was no process to look at). Only for the init of a pid namespace.
#[must_use]
pub fn is_nobody_else_here() -> bool {
    // SAFETY: the call takes plain values, and signal 0 is only checked.
    let asked = unsafe { libc::kill(-1, 0) };
    asked == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

/// Sends `signal` with a value (sigqueue(3)).
///
/// # Errors
/// What sigqueue(3) says; EAGAIN if the receiver's queue is full.
pub fn queue(pid: Pid, signal: Signal, value: i32) -> io::Result<()> {
    // An int is what is given back (si_int, sigaction(2)); it is the first member of the union on little-endian
    // machines.
    let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(value as u32 as usize) };
    // SAFETY: the call takes plain values, and the pointer is never followed.
    let sent = unsafe { libc::sigqueue(pid.raw(), signal.number(), value) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Stops the process group that we are in, ourselves included, by `signal`: TSTP as Ctrl-Z would, or TTIN or TTOU as
/// touching the terminal would. Returns when another process has sent CONT. Returns at once if the kernel does not stop
/// us: it does not stop a group whose session has no job-control shell above it (an orphaned process group,
/// setpgid(2)).
///
/// # Errors
/// What kill(2) and sigprocmask(2) say.
pub fn suspend_own_group(signal: Signal) -> io::Result<()> {
    kill(0, signal)?;
    // Ours is pending because it is blocked. Unblocking lets its default action happen here and now.
    let before = set_mask(SignalSet::ALL.without(signal))?;
    set_mask(before)?;
    Ok(())
}

/// Stops us. Returns when another process has sent CONT; at once for the init of a pid namespace, which cannot stop
/// itself.
///
/// # Errors
/// What kill(2) says.
pub fn stop_self() -> io::Result<()> {
    send(super::process::own_pid(), Signal::STOP)
}

/// Sets the signal mask, and gives back what it was.
///
/// # Errors
/// What rt_sigprocmask(2) says.
pub(super) fn set_mask(mask: SignalSet) -> io::Result<SignalSet> {
    change_mask(libc::SIG_SETMASK, mask)
}

/// Lets `signal` through.
pub(super) fn unblock(signal: Signal) -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK, SignalSet::default().with(signal)).map(|_| ())
}

fn change_mask(how: i32, mask: SignalSet) -> io::Result<SignalSet> {
    let mut before = SignalSet::default();
    let (new, old) = (&raw const mask, &raw mut before);
    // SAFETY: both sets live as long as the call, and have the kernel's 8 bytes.
    let set = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, new, old, size_of::<SignalSet>()) };
    if set == -1 { Err(io::Error::last_os_error()) } else { Ok(before) }
}

fn kill(target: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: the call takes plain values and touches no memory of ours.
    let sent = unsafe { libc::kill(target, signal.number()) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
