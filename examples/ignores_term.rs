//! `ignores_term`: a process that only KILL ends.
//!
//! It promises: when `ready` is on standard output, TERM, INT, HUP and every other signal that can be blocked
//! does nothing to it. It waits without using the processor.
#![allow(clippy::unwrap_used, reason = "a test helper: a failure must be loud")]

use nix::sys::signal::SigSet;
use nix::unistd::pause;

fn main() {
    // A blocked signal stays pending for ever; an ignored one would be inherited by a program started from
    // here.
    SigSet::all().thread_block().unwrap();
    println!("ready");
    loop {
        pause();
    }
}
