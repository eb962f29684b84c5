//! `bystanders POOL TOTAL REPORT [PERIOD_MS COMMAND...]` and `bystanders storm WIDTH`: a pid space in which numbers are
//! used again all the time.
//!
//! The first promises: there are always POOL short-lived processes until TOTAL have lived, or more. Each of them writes a line to
//! REPORT if it is sent a signal: which, and by whom (`si_pid`, sigaction(2)). This process writes one for each that was
//! killed or stopped, which nobody can catch. With a COMMAND it also starts that, sends it TERM after PERIOD_MS, waits for
//! its end, and does so again and again; each end is a line `round CODE`. At last it writes `lived N` and exits with 0.
//!
//! The second forks WIDTH processes, every other one deaf to TERM, that fork and reap short-lived ones for ever. It says
//! `ready`, and waits. If nobody ends them, they leave by themselves a minute after they were started.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test helper: a failure must be loud"
)]
#![allow(unsafe_code, reason = "fork(2) is the point, and nix gives no siginfo of sigtimedwait(2)")]

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, exit};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid};

/// A few milliseconds that differ from process to process.
fn moment(most: u64) -> Duration {
    let mut number = std::process::id() as u64 ^ Instant::now().elapsed().as_nanos() as u64;
    number ^= std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() as u64;
    Duration::from_micros(number.wrapping_mul(6_364_136_223_846_793_005) % (1000 * most))
}

/// `None` where there is no number for another process at this moment.
fn split() -> Option<ForkResult> {
    // SAFETY: this program has one thread.
    unsafe { fork() }.ok()
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    match &words[..] {
        [kind, width] if kind == "storm" => storm(width.parse().unwrap()),
        [pool, total, report, rest @ ..] => {
            let mut report = File::options().append(true).create(true).open(report).unwrap();
            keep(pool.parse().unwrap(), total.parse().unwrap(), &mut report, rest);
        }
        _ => panic!("bystanders POOL TOTAL REPORT [PERIOD_MS COMMAND...] | storm WIDTH"),
    }
}

fn storm(width: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    for number in 0..width {
        if matches!(split(), Some(ForkResult::Child)) {
            if number % 2 == 0 {
                let mut term = SigSet::empty();
                term.add(Signal::SIGTERM);
                term.thread_block().unwrap();
            }
            while Instant::now() < end {
                match split() {
                    Some(ForkResult::Child) => {
                        sleep(moment(1) / 3);
                        exit(0);
                    }
                    Some(ForkResult::Parent { child }) => drop(waitpid(child, None)),
                    None => sleep(Duration::from_micros(100)),
                }
            }
            exit(0);
        }
    }
    println!("ready");
    sleep(end - Instant::now());
}

/// Waits for any signal for a moment, and says who has sent it.
fn stand_by(report: &mut File) -> ! {
    // SAFETY: a signal set and a siginfo are plain data, for which all zeroes are a value.
    let (mut all, mut info): (libc::sigset_t, libc::siginfo_t) = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a set of our own.
    unsafe { libc::sigfillset(&raw mut all) };
    let until = moment(20);
    let until = libc::timespec { tv_sec: 0, tv_nsec: until.as_nanos() as i64 };
    // SAFETY: the set and the timeout are only read, and the siginfo is ours.
    let signal = unsafe { libc::sigtimedwait(&raw const all, &raw mut info, &raw const until) };
    if signal > 0 {
        // SAFETY: the field is plain data in every siginfo.
        let by = unsafe { info.si_pid() };
        let line = format!("bystander {} got {signal} from {by}, code {}\n", getpid(), info.si_code);
        report.write_all(line.as_bytes()).unwrap();
    }
    exit(0);
}

/// Whether it has started a process. Sexton has blocked its signals by then; before its first statement it would die of TERM
/// as any program.
fn has_begun(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .is_ok_and(|children| !children.is_empty())
}

fn keep(pool: usize, total: usize, report: &mut File, rest: &[String]) {
    // They are blocked before there is a bystander, so that none is lost.
    let ours = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK).unwrap();
    let (mut living, mut lived) = (0, 0);
    let mut round: Option<(Child, Instant)> = None;
    let period = rest.first().map(|word| Duration::from_millis(word.parse().unwrap()));
    while lived < total || living > 0 || round.is_some() {
        if let (Some(period), None, true) = (period, &round, lived < total) {
            ours.thread_set_mask().unwrap();
            let child = Command::new(&rest[1]).args(&rest[2..]).spawn();
            SigSet::all().thread_set_mask().unwrap();
            round = child.ok().map(|child| (child, Instant::now() + period));
        }
        if let Some((child, until)) = &mut round
            && Instant::now() > *until
            && has_begun(child.id())
        {
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
            // It has as long as it needs.
            *until += Duration::from_secs(3600);
        }
        while living < pool && (lived < total || round.is_some()) {
            match split() {
                Some(ForkResult::Child) => stand_by(report),
                Some(ForkResult::Parent { .. }) => (living, lived) = (living + 1, lived + 1),
                None => break,
            }
        }
        loop {
            let status = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED));
            let is_round =
                |pid: Pid| round.as_ref().is_some_and(|(child, _)| child.id().cast_signed() == pid.as_raw());
            match status {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(WaitStatus::Exited(pid, code)) if is_round(pid) => {
                    writeln!(report, "round {code}").unwrap();
                    round = None;
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if is_round(pid) => {
                    writeln!(report, "the command was killed by {signal}").unwrap();
                    round = None;
                }
                Ok(WaitStatus::Exited(_, 0)) => living -= 1,
                Ok(WaitStatus::Exited(pid, code)) => panic!("{pid} exited with {code}"),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    writeln!(report, "bystander {pid} was killed by {signal}").unwrap();
                    living -= 1;
                }
                Ok(WaitStatus::Stopped(pid, signal)) => {
                    writeln!(report, "bystander {pid} was stopped by {signal}").unwrap();
                    kill(pid, Signal::SIGKILL).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        sleep(Duration::from_micros(200));
    }
    writeln!(report, "lived {lived}").unwrap();
}
