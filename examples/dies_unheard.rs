//! `dies_unheard SECONDS [MAIN_SECONDS]`: a main process that leaves somebody behind whom the kernel reaps by itself,
//! without a SIGCHLD to anybody (clone3(2), `CLONE_AUTOREAP`, Linux 7).
//!
//! It promises: the child is in a session of its own; it ends 0.3 s after TERM, or by itself after SECONDS. The main
//! process ends with 3 after MAIN_SECONDS (at once without them), or with 4 after TERM. Where the kernel does not know the
//! flag it ends with 77 and has made nobody.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test helper: a failure must be loud"
)]
#![allow(unsafe_code, reason = "nix has no wrapper for clone3")]

use std::env;
use std::process::{ExitCode, exit};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeSpec;
use nix::unistd::setsid;

/// include/uapi/linux/sched.h; libc does not have it yet.
const CLONE_AUTOREAP: u64 = 1 << 34;

/// The first fields of `struct clone_args` (clone3(2)), as many as its first version had.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

fn main() -> ExitCode {
    let seconds = |index| env::args().nth(index).map(|text| Duration::from_secs(text.parse().unwrap()));
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    term.thread_block().unwrap();
    let arguments = CloneArgs { flags: CLONE_AUTOREAP, ..CloneArgs::default() };
    // SAFETY: the kernel reads no more than the size it is told, and the child goes on as after fork(2): this program has
    // one thread.
    let made = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    match Errno::result(made) {
        Ok(0) => {
            setsid().unwrap();
            if comes(&term, seconds(1).unwrap()) {
                std::thread::sleep(Duration::from_millis(300));
            }
            exit(0);
        }
        Ok(_) => ExitCode::from(if comes(&term, seconds(2).unwrap_or_default()) { 4 } else { 3 }),
        Err(Errno::EINVAL | Errno::ENOSYS) => ExitCode::from(77),
        Err(error) => panic!("clone3: {error}"),
    }
}

/// Whether a TERM comes within `time`.
fn comes(term: &SigSet, time: Duration) -> bool {
    let time = *TimeSpec::from_duration(time).as_ref();
    // SAFETY: the set and the time are ours, and it writes nothing.
    let came = unsafe { libc::sigtimedwait(term.as_ref(), std::ptr::null_mut(), &raw const time) };
    came == libc::SIGTERM
}
