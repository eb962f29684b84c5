//! `keeps_forking hoppers COUNT | bomb LIMIT_FILE`: processes that outrun whoever counts them.
//!
//! It promises: `hoppers`: COUNT processes, each of which forks for ever and exits as soon as its child runs, so
//! that none has the same pid for long. `bomb`: every process forks for ever; LIMIT_FILE is the `pids.max` that
//! must hold it, and it refuses to start unless that is a small number. `ready` is on standard output when the
//! hoppers hop, or when the bomb has filled its limit. The main process waits for TERM and exits with 3. If
//! nobody ends them, the others leave by themselves a minute after they were started.
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
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hoppers", count] => {
            for _ in 0..count.parse().unwrap() {
                if split() {
                    setsid().unwrap();
                    term.thread_unblock().unwrap();
                    while Instant::now() < end {
                        // A brake: without it three of these fill a machine's pid space with zombies faster than
                        // a debug build can reap them.
                        std::thread::sleep(Duration::from_micros(300));
                        // SAFETY: as above.
                        if let Ok(ForkResult::Parent { .. }) = unsafe { fork() } {
                            exit(0);
                        }
                    }
                    exit(0);
                }
            }
        }
        ["bomb", limit_file] => {
            let limit: u32 =
                fs::read_to_string(limit_file).unwrap().trim().parse().expect("no limit holds the bomb");
            assert!(limit <= 500, "the limit is too high");
            if split() {
                // Deaf to TERM, and out of main's group: only KILL to all at once ends it.
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
        _ => panic!("keeps_forking hoppers COUNT | bomb LIMIT_FILE"),
    }
    println!("ready");
    term.wait().unwrap();
    ExitCode::from(3)
}
