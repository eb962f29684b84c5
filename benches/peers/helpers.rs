//! The processes that a measurement needs: this program again, under a hidden first argument.
//!
//! A helper speaks over its standard output, a pipe to the measurement that every init leaves alone. It sends
//! single bytes and moments, and is told to go on by a byte on its standard input.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_pdeathsig, set_timerslack};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::time::TimeSpec;
use nix::sys::wait::wait;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use nix::unistd::{ForkResult, Pid, fork, pause, setpgid};

use crate::Result;

/// The first argument of every helper. The role follows, then the role's own arguments.
pub const MARK: &str = "--as-helper";

/// What a helper says when it is ready, and again when it has done what it was told.
pub const READY: u8 = b'r';
/// What [`Role::Listen`] says when it got a TERM, and when it got a PWR and no TERM.
pub const GOT_TERM: u8 = b't';
/// See [`GOT_TERM`].
pub const GOT_PWR: u8 = b'p';

/// How long before it executes the init a [`Role::LaunchAt`] says when it will, in nanoseconds: enough for the
/// other side to wake up and get ready.
const NOTICE: u64 = 300_000;

/// What a helper is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `proc|bare GROUP COMMAND...`: sets the stage and becomes the command. `proc` mounts a /proc of its own, as
    /// every container has one; GROUP is the file that a cgroup is joined by, or empty.
    Launch,
    /// As `Launch`, with the moment of the exec as one more argument of the command.
    LaunchStamped,
    /// As `Launch`, and says beforehand at which moment it will exec.
    LaunchAt,
    /// `MOMENT`: sends that moment and the one at which it runs, and ends.
    Stamp,
    /// Sends `READY` and waits for the end.
    Idle,
    /// Sends the moment of every USR1 that it gets.
    Answer,
    /// Sends `READY`, then whether the first signal was a TERM or a PWR.
    Listen,
    /// `N`: when told, makes N orphans one after another, each of which ends at once.
    Stream,
    /// `N`: makes N orphans; when told, kills all of them at once and sends the moment at which it did.
    Burst,
}

impl Role {
    const ALL: [(Role, &str); 9] = [
        (Role::Launch, "launch"),
        (Role::LaunchStamped, "launch-stamped"),
        (Role::LaunchAt, "launch-at"),
        (Role::Stamp, "stamp"),
        (Role::Idle, "idle"),
        (Role::Answer, "answer"),
        (Role::Listen, "listen"),
        (Role::Stream, "stream"),
        (Role::Burst, "burst"),
    ];

    /// The role's name on a command line.
    pub fn name(self) -> &'static str {
        Role::ALL.iter().find(|(role, _)| *role == self).map_or("", |(_, name)| name)
    }
}

/// Plays the role that the command line asks for. `None` if it asks for none.
pub fn run() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != MARK {
        return None;
    }
    let name = arguments.next()?;
    let (role, _) = Role::ALL.iter().find(|(_, known)| name == *known)?;
    Some(match play(*role, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: helper {}: {error}", role.name());
            ExitCode::FAILURE
        }
    })
}

/// The monotonic clock, which all processes share, in nanoseconds.
pub fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
}

/// Sleeps until that moment of the monotonic clock, as exactly as the kernel can.
///
/// To spin instead would be exact too, but the process whose message woke this one is likely to be on the same
/// CPU, and would be kept from it.
pub fn sleep_until(moment: u64) -> Result<()> {
    let until = TimeSpec::from_duration(Duration::from_nanos(moment));
    // A sleep is lengthened by this much so that timers can share an interrupt: 50 µs unless asked otherwise.
    set_timerslack(1)?;
    let slept = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until);
    // Zero stands for the value that this process began with; the programs it starts inherit it.
    set_timerslack(0)?;
    slept?;
    Ok(())
}

fn play(role: Role, mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let mut number = || -> Result<u64> {
        let argument = arguments.next().ok_or("an argument is missing")?;
        Ok(argument.to_str().ok_or("an argument is not a number")?.parse()?)
    };
    if !matches!(role, Role::Launch | Role::LaunchStamped | Role::LaunchAt | Role::Stamp) {
        // Outside a namespace, killing the init does not end its command.
        set_pdeathsig(Signal::SIGKILL)?;
    }
    match role {
        Role::Stamp => {
            let ran = now()?;
            send(&[number()?.to_ne_bytes(), ran.to_ne_bytes()].concat())
        }
        Role::Launch | Role::LaunchStamped | Role::LaunchAt => Err(launch(role, arguments)?.into()),
        Role::Idle => {
            send(&[READY])?;
            rest()
        }
        Role::Answer => {
            let signals = blocked(&[Signal::SIGUSR1])?;
            send(&[READY])?;
            loop {
                signals.wait()?;
                send(&now()?.to_ne_bytes())?;
            }
        }
        Role::Listen => {
            let signals = blocked(&[Signal::SIGTERM, Signal::SIGPWR])?;
            send(&[READY])?;
            if signals.wait()? == Signal::SIGTERM {
                return send(&[GOT_TERM]);
            }
            // An init may forward two signals that it got at nearly the same time in either order. A TERM that
            // is only late ends this process here, which says as much as `GOT_TERM`.
            std::thread::sleep(Duration::from_millis(5));
            signals.thread_unblock()?;
            send(&[GOT_PWR])
        }
        Role::Stream => stream(number()?),
        Role::Burst => burst(number()?),
    }
}

/// Becomes the command, and so returns only if that cannot be done.
fn launch(role: Role, mut arguments: impl Iterator<Item = OsString>) -> Result<io::Error> {
    if arguments.next().is_some_and(|stage| stage == "proc") {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing)?;
    }
    let group = arguments.next().filter(|group| !group.is_empty());
    group.map_or(Ok(()), |group| fs::write(group, "0"))?;
    let mut command = Command::new(arguments.next().ok_or("there is no command to become")?);
    command.args(arguments);
    match role {
        Role::LaunchStamped => {
            command.arg(now()?.to_string());
        }
        Role::LaunchAt => {
            let moment = now()? + NOTICE;
            send(&moment.to_ne_bytes())?;
            // A process that was asleep is not preempted soon. The rest is spun, for exactness.
            sleep_until(moment - NOTICE / 3)?;
            while now()? < moment {}
        }
        _ => {}
    }
    Ok(command.exec())
}

/// Makes orphans as daemons are made: a child forks and ends, and the grandchild goes to the init.
fn stream(orphans: u64) -> Result<()> {
    send(&[READY])?;
    receive()?;
    for _ in 0..orphans {
        in_child(|| in_child(|| Ok(())))?;
        wait()?;
    }
    send(&[READY])?;
    rest()
}

/// Lets orphans gather in a process group of their own, and kills them with one call.
fn burst(orphans: u64) -> Result<()> {
    let group = in_child(|| {
        setpgid(Pid::this(), Pid::this())?;
        for _ in 0..orphans {
            in_child(|| {
                pause();
                Ok(())
            })?;
        }
        Ok(())
    })?;
    wait()?;
    send(&[READY])?;
    receive()?;
    let moment = now()?;
    killpg(group, Signal::SIGKILL)?;
    send(&moment.to_ne_bytes())?;
    rest()
}

/// Waits for the end.
fn rest() -> ! {
    loop {
        pause();
    }
}

/// Runs `body` in a forked child, which ends with it.
fn in_child<T>(body: impl FnOnce() -> Result<T>) -> Result<Pid> {
    #[expect(unsafe_code, reason = "fork(2) has no safe form")]
    // SAFETY: a helper has one thread, so that the child holds no lock that another thread took.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = i32::from(body().is_err());
            // No destructor, no flush: the child shares its buffers' contents with its parent.
            #[expect(unsafe_code, reason = "_exit(2) has no safe form")]
            // SAFETY: it only ends the process.
            unsafe {
                libc::_exit(code)
            }
        }
    }
}

fn blocked(signals: &[Signal]) -> Result<SigSet> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block()?;
    Ok(set)
}

fn send(bytes: &[u8]) -> Result<()> {
    // Standard output's own buffer would wait for the end of a line.
    nix::unistd::write(io::stdout(), bytes)?;
    Ok(())
}

fn receive() -> Result<()> {
    Ok(io::stdin().lock().read_exact(&mut [0])?)
}
