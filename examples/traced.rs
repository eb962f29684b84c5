//! `traced`: a process that a debugger holds, and the debugger is a child of its own.
//!
//! It promises: when `ready` is on standard output, every signal that the first process gets stops it until the
//! debugger lets it go on, which that never does. Both end at KILL, and the debugger at TERM too.
#![allow(clippy::unwrap_used, reason = "a test helper: a failure must be loud")]
#![allow(unsafe_code, reason = "fork(2), prctl(2) and ptrace(2)")]

use nix::libc;
use nix::unistd::{ForkResult, fork, getpid, pause};

fn main() {
    let held = getpid();
    // Where only descendants may be traced (Yama), this allows a child to trace its parent.
    // SAFETY: the option takes a number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    // SAFETY: this process has one thread.
    if let ForkResult::Child = unsafe { fork() }.unwrap() {
        let (address, options) = (std::ptr::null_mut::<libc::c_void>(), std::ptr::null_mut::<libc::c_void>());
        // SAFETY: seizing takes no address, and no options are asked for.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, held.as_raw(), address, options) };
        assert_eq!(seized, 0, "{}", std::io::Error::last_os_error());
        println!("ready");
    }
    loop {
        pause();
    }
}
