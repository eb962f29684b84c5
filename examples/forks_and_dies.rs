//! `forks_and_dies COUNT`: a crowd of orphans that dies at one moment.
//!
//! It promises: when `ready` is on standard output, COUNT processes live whose parent is gone, so that they
//! belong to init or to the nearest subreaper. At USR1 all of them exit at once (they wait for the end of
//! one pipe) and `dead` is printed; at TERM the main process exits with 5.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test helper: a failure must be loud")]
#![allow(unsafe_code, reason = "fork(2): ten thousand programs would take a minute to start")]

use std::env;
use std::process::{ExitCode, exit};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, pipe, read};

fn main() -> ExitCode {
    SigSet::all().thread_block().unwrap();
    let count: u32 = env::args().nth(1).unwrap().parse().unwrap();
    let (end, alive) = pipe().unwrap();
    // SAFETY: this program has one thread.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            for _ in 0..count {
                // SAFETY: as above.
                if let ForkResult::Child = unsafe { fork() }.unwrap() {
                    drop(alive);
                    let _ = read(&end, &mut [0]);
                    exit(0);
                }
            }
            exit(0);
        }
        // Where SIGCHLD is ignored there is no status to give, but it waits all the same.
        ForkResult::Parent { child } => {
            let ended = waitpid(child, None);
            assert!([Ok(WaitStatus::Exited(child, 0)), Err(Errno::ECHILD)].contains(&ended), "{ended:?}");
        }
    }
    println!("ready");
    let mut alive = Some(alive);
    loop {
        match SigSet::all().wait().unwrap() {
            Signal::SIGUSR1 => {
                drop(alive.take());
                println!("dead");
            }
            Signal::SIGTERM => return ExitCode::from(5),
            _ => {}
        }
    }
}
