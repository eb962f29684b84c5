//! `keeps_forking hoppers|bomb LIMIT_FILE`: processes that outrun whoever counts them. LIMIT_FILE is the
//! `pids.max` that holds them (zombies count); it refuses to start unless that is a number.
//!
//! It promises, all of it deaf to TERM and in sessions of its own: `hoppers`: three processes, each of which
//! forks for ever and exits as soon as its child runs, so that none has the same pid for long. `bomb`: every
//! process forks for ever. `ready` is on standard output when the hoppers hop, or when the bomb has filled
//! its limit. The main process waits for TERM and exits with 3. If nobody ends them, the others leave by
//! themselves a minute after they were started.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test helper: a failure must be loud"
)]
#![allow(unsafe_code, reason = "fork(2) is the point")]

use std::env;
use std::fs;
use std::process::{ExitCode, exit};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, fork, setsid};

/// True in the child; false in the parent, and when there is no room for another process.
fn split() -> bool {
    // SAFETY: this program has one thread.
    matches!(unsafe { fork() }, Ok(ForkResult::Child))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let end = Instant::now() + Duration::from_secs(60);
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    term.thread_block().unwrap();
    let [kind, limit_file] = &arguments[..] else { panic!("keeps_forking hoppers|bomb LIMIT_FILE") };
    let limit: u32 = fs::read_to_string(limit_file).unwrap().trim().parse().expect("no limit holds them");
    match kind.as_str() {
        "hoppers" => {
            for _ in 0..3 {
                if split() {
                    setsid().unwrap();
                    while Instant::now() < end {
                        // SAFETY: this program has one thread.
                        if let Ok(ForkResult::Parent { .. }) = unsafe { fork() } {
                            exit(0);
                        }
                    }
                    exit(0);
                }
            }
        }
        "bomb" => {
            if split() {
                setsid().unwrap();
                while Instant::now() < end {
                    split();
                    yield_now();
                }
                exit(0);
            }
            let current = limit_file.replace("pids.max", "pids.current");
            while fs::read_to_string(&current).unwrap().trim().parse::<u32>().unwrap() < limit {
                yield_now();
            }
        }
        other => panic!("{other}?"),
    }
    println!("ready");
    term.wait().unwrap();
    ExitCode::from(3)
}
