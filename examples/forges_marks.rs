//! `forges_marks NUMBER`: leaves so many processes behind, each with the mark of a tool of its own that never was.
//!
//! It needs `SEXTON_TOOL_ID` in its environment, ending in six zeroes: each process writes its number there, into its
//! own memory, which is all that /proc shows. They ignore TERM and end by themselves after three seconds.
#![allow(unsafe_code, reason = "fork(2), and writing where the kernel has put the environment")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test helper: a failure must be loud")]

use std::env;
use std::ffi::CStr;

use nix::libc;

fn main() {
    let number: u32 = env::args().nth(1).unwrap().parse().unwrap();
    // SAFETY: nobody else reads or writes the environment, and there is one thread.
    let value = unsafe { libc::getenv(c"SEXTON_TOOL_ID".as_ptr()) };
    assert!(!value.is_null(), "SEXTON_TOOL_ID is not set");
    // SAFETY: it is a C string, which stays where it is.
    let length = unsafe { CStr::from_ptr(value) }.count_bytes();
    assert!(length >= 6, "SEXTON_TOOL_ID has no room for a number");
    let base = std::process::id() % 1000 * 1000;
    for number in base..base + number {
        // SAFETY: there is one thread, and the child calls what is async-signal-safe.
        if unsafe { libc::fork() } == 0 {
            for place in 0..6 {
                let digit = b'0' as libc::c_char + (number / 10_u32.pow(place) % 10) as libc::c_char;
                // SAFETY: the last six bytes are there, as the length has told.
                let at = unsafe { value.add(length - 1 - place as usize) };
                // SAFETY: it is this process's own memory.
                unsafe { at.write(digit) };
            }
            // SAFETY: the calls take plain values.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            // SAFETY: as above.
            unsafe { libc::sleep(3) };
            // SAFETY: as above.
            unsafe { libc::_exit(0) };
        }
    }
}
