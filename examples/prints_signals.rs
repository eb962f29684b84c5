//! `prints_signals [LAST [CODE]]`: says which signals it gets.
//!
//! It promises: when `ready` is on standard output, no signal that can be blocked is lost any more; then it
//! prints each signal's number on a line of its own, in the order in which the kernel hands them over, and
//! after the number the value if the signal was queued with one. Each line is out before the next signal is
//! looked at. It ends, with CODE (0), after it has printed the signal LAST; without LAST only KILL ends it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test helper: a failure must be loud")]

use std::env;
use std::io::Write as _;
use std::process::ExitCode;

use nix::libc;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;

fn main() -> ExitCode {
    SigSet::all().thread_block().unwrap();
    let signals = SignalFd::new(&SigSet::all()).unwrap();
    let mut arguments = env::args().skip(1);
    let last: Option<u32> = arguments.next().map(|number| number.parse().unwrap());
    let code: u8 = arguments.next().map_or(0, |code| code.parse().unwrap());

    // Standard output is buffered by lines only for terminals, so that each line is written in one piece
    // here.
    let say = |line: String| {
        std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush()).unwrap()
    };
    say("ready\n".to_owned());
    loop {
        let info = signals.read_signal().unwrap().unwrap();
        if info.ssi_code == libc::SI_QUEUE {
            say(format!("{} {}\n", info.ssi_signo, info.ssi_int));
        } else {
            say(format!("{}\n", info.ssi_signo));
        }
        if Some(info.ssi_signo) == last {
            return ExitCode::from(code);
        }
    }
}
