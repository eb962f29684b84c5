//! `measures_signals [COMMAND...]`: how long a signal takes through the init that it runs under.
//!
//! It starts COMMAND, which is to disturb the init, and sends its parent SIGUSR1 again and again, each time waiting
//! until the init has passed it on. `ready` on standard output says that it has begun. On SIGUSR2 it prints one line:
//! how many signals there were since the last such line, and the median, the 99th percentile and the longest time in
//! microseconds; then it goes on. Only KILL ends it.
#![allow(clippy::zombie_processes, reason = "it never ends, and nor does what it starts")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test helper: a failure must be loud")]

use std::env;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::getppid;

/// The pause between two signals.
const PAUSE: Duration = Duration::from_millis(1);

fn main() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGUSR1);
    signals.add(Signal::SIGUSR2);
    let mut arguments = env::args_os().skip(1);
    if let Some(program) = arguments.next() {
        // It is not to inherit the mask.
        Command::new(program).args(arguments).spawn().unwrap();
    }
    signals.thread_block().unwrap();
    let init = getppid();
    println!("ready");
    let mut times: Vec<Duration> = Vec::new();
    loop {
        let begun = Instant::now();
        kill(init, Signal::SIGUSR1).unwrap();
        let mut asked = false;
        while signals.wait().unwrap() != Signal::SIGUSR1 {
            asked = true;
        }
        times.push(begun.elapsed());
        if asked {
            times.sort();
            let at = |percent: usize| times.get((times.len() - 1) * percent / 100).unwrap().as_micros();
            println!("{} {} {} {}", times.len(), at(50), at(99), at(100));
            times.clear();
        }
        sleep(PAUSE);
    }
}
