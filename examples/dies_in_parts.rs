//! `dies_in_parts`: a process whose first thread ends long before the process does.
//!
//! It promises: when `ready` is on standard output, the first thread is a zombie, which is how /proc then shows the
//! whole process; another one waits for TERM, and at that the process exits with 6.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test helper: a failure must be loud")]
#![allow(unsafe_code, reason = "exit(2) of one thread has no wrapper")]

use std::fs;
use std::process;
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::SigSet;

fn main() {
    let mut term = SigSet::empty();
    term.add(nix::sys::signal::Signal::SIGTERM);
    term.thread_block().unwrap();
    thread::spawn(move || {
        while !fs::read_to_string("/proc/self/stat").unwrap().contains(") Z ") {
            thread::sleep(Duration::from_millis(1));
        }
        println!("ready");
        term.wait().unwrap();
        process::exit(6);
    });
    // SAFETY: the call ends this thread and touches no memory; what it leaves on its stack nobody uses.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}
