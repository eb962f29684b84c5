//! `holds_lease FILE`: takes a write lease on FILE (fcntl(2), "Leases"), prints `ready`, and keeps it until the end of
//! standard input, whoever wants to open the file meanwhile.
#![allow(clippy::unwrap_used, reason = "a test helper: a failure must be loud")]
#![allow(unsafe_code, reason = "nix has no wrapper for a lease")]

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};

fn main() {
    // It says that the lease is wanted back.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGIO);
    signals.thread_block().unwrap();
    let path = std::env::args_os().nth(1).unwrap();
    let file = File::open(path).unwrap();
    // SAFETY: the descriptor is open, and the command takes a number.
    let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    Errno::result(taken).unwrap();
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
