//! `leaves_behind journal=FILE [shape=setsid|group] [count=N] [escapee=obeys|ignores]
//! [main=exits|obeys|ignores] [code=C] [stopped=main|escapees]`: a main process that does not clean up.
//!
//! It promises: N escapees (3) exist before `ready` is on standard output. `shape=setsid`: in a session of
//! their own, not its leader, their parent gone (the classic daemon); `shape=group`: children in main's own
//! group. Then main exits with C (7) at once, or does so when TERM or INT comes, or never. Every process
//! notes in FILE, one line an event, in the order in which they happened: `NAME ready`, `NAME got SIGNAL`,
//! `NAME leaves`; NAME is `main` or `escapee-K`. An escapee that obeys leaves at its first TERM or INT. The
//! stopped ones stop themselves (SIGSTOP) after `ready`.
#![allow(clippy::zombie_processes, reason = "leaving children to whoever comes after it is the point")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test helper: a failure must be loud")]

use std::env;
use std::fs;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::SignalFd;
use nix::unistd::setsid;

fn option(name: &str) -> Option<String> {
    env::args().skip(1).find_map(|argument| argument.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

fn is(name: &str, value: &str) -> bool {
    option(name).as_deref() == Some(value)
}

/// One write with O_APPEND: lines of several processes neither mix nor overtake each other.
fn note(line: &str) {
    let mut journal = fs::File::options().append(true).create(true).open(option("journal").unwrap()).unwrap();
    journal.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// The same program again, in another role.
fn again(role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(env::args().skip(1).filter(|argument| !argument.starts_with("role=")))
        .arg(format!("role={role}"));
    command
}

/// Notes every signal; returns when it has to leave.
fn stay(name: &str, obeys: bool) {
    let signals = SignalFd::new(&SigSet::all()).unwrap();
    loop {
        let number = signals.read_signal().unwrap().unwrap().ssi_signo.cast_signed();
        if number != libc::SIGCHLD {
            note(&format!("{name} got {number}"));
        }
        if obeys && (number == libc::SIGTERM || number == libc::SIGINT) {
            return note(&format!("{name} leaves"));
        }
    }
}

fn main() -> ExitCode {
    SigSet::all().thread_block().unwrap();
    let code = ExitCode::from(option("code").map_or(7, |code| code.parse().unwrap()));
    let role = option("role").unwrap_or_else(|| "main".to_owned());
    if let Some(escapee) = role.strip_prefix("between-") {
        setsid().unwrap();
        again(escapee).spawn().unwrap();
    } else if role == "main" {
        let count = option("count").map_or(3, |count| count.parse().unwrap());
        for number in 0..count {
            if is("shape", "setsid") {
                again(&format!("between-escapee-{number}")).status().unwrap();
            } else {
                again(&format!("escapee-{number}")).spawn().unwrap();
            }
        }
        let all_there =
            || fs::read_to_string(option("journal").unwrap()).unwrap_or_default().lines().count() == count;
        while !all_there() {
            sleep(Duration::from_millis(1));
        }
        println!("ready");
        note("main ready");
        if is("stopped", "main") {
            raise(Signal::SIGSTOP).unwrap();
        }
        if !is("main", "exits") {
            stay("main", !is("main", "ignores"));
        }
    } else {
        note(&format!("{role} ready"));
        if is("stopped", "escapees") {
            raise(Signal::SIGSTOP).unwrap();
        }
        stay(&role, !is("escapee", "ignores"));
    }
    code
}
