//! `starts_with [block=N]... [ignore=N]... [default=N]... [close=FD]... [open=FD:PATH]... [cgroup=DIR]...
//! [subreaper=yes] -- COMMAND [ARG...]`
//!
//! It promises: COMMAND replaces this process (same pid, same parent) and starts with exactly these
//! changes: signal N blocked, signal N ignored, signal N with its default action, descriptor FD closed, descriptor FD
//! open on PATH, itself in the cgroup DIR, itself a subreaper.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test helper: a failure must be loud")]
#![allow(unsafe_code, reason = "signal(2) and dup2(2) on numbers that the caller chose")]

use std::env;
use std::ffi::CString;
use std::fs;
use std::os::fd::IntoRawFd as _;
use std::os::unix::ffi::OsStringExt as _;

use nix::libc;
use nix::unistd::execvp;

fn main() {
    let mut arguments = env::args_os().skip(1);
    let mut to_close = Vec::new();
    // Real-time signals have no name in nix, so that the set is the C library's.
    // SAFETY: all-zero bytes are a valid sigset_t.
    let mut blocked: libc::sigset_t = unsafe { std::mem::zeroed() };
    loop {
        let argument = arguments.next().unwrap().into_string().unwrap();
        if argument == "--" {
            break;
        }
        match argument.split_once('=').unwrap() {
            ("block", number) => {
                // SAFETY: the set lives and is ours alone.
                assert_eq!(unsafe { libc::sigaddset(&raw mut blocked, number.parse().unwrap()) }, 0);
            }
            ("ignore", number) => {
                // SAFETY: ignoring a signal runs no code of ours.
                let before = unsafe { libc::signal(number.parse().unwrap(), libc::SIG_IGN) };
                assert_ne!(before, libc::SIG_ERR);
            }
            ("default", number) => {
                // The kernel itself is asked, as the C library keeps some signals for itself. All zeroes are its default.
                let (number, action) = (number.parse::<i32>().unwrap(), [0_u64; 4]);
                let none = std::ptr::null_mut::<u64>();
                // SAFETY: the default action runs no code of ours, and the action lives as long as the call.
                let set = unsafe { libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), none, 8) };
                assert_eq!(set, 0);
            }
            ("close", fd) => to_close.push(fd.parse().unwrap()),
            ("open", place) => {
                let (fd, path) = place.split_once(':').unwrap();
                let file = fs::File::options().read(true).write(true).open(path).unwrap().into_raw_fd();
                // SAFETY: nothing in this program owns the target descriptor. The copy is not closed by exec.
                assert!(unsafe { libc::dup2(file, fd.parse().unwrap()) } >= 0);
            }
            ("cgroup", dir) => fs::write(format!("{dir}/cgroup.procs"), "0").unwrap(),
            ("subreaper", _) => nix::sys::prctl::set_child_subreaper(true).unwrap(),
            (other, _) => panic!("{other}?"),
        }
    }
    let command: Vec<CString> =
        arguments.map(|argument| CString::new(argument.into_vec()).unwrap()).collect();
    // The Rust runtime ignores SIGPIPE; the command gets what a C program would have handed on.
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: both pointers are good for the call, and no old set is asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const blocked, std::ptr::null_mut()) };
    for fd in to_close {
        // SAFETY: nothing reads or writes this descriptor between here and exec.
        unsafe { libc::close(fd) };
    }
    let error = execvp(command.first().unwrap(), &command).unwrap_err();
    panic!("{command:?}: {error}");
}
