//! Letting go of what sexton was started with: once its child has it, of open files and the working directory; and in
//! every helper, of all that the helper does not need.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use super::spawn::Output;
use super::{directory, startup};

/// Closes every descriptor above 2 that was inherited, so that the reader of a pipe sees its end when the
/// child closes it. Ours are all closed on exec, which inherited ones cannot be: they have just come through
/// one.
///
/// The first `sockets` of them stay: those that were passed by a service manager (sd_listen_fds(3)) and will be
/// passed on once more.
pub fn close_inherited(sockets: usize) {
    let kept = 2_i32.saturating_add(i32::try_from(sockets).unwrap_or(i32::MAX));
    for number in open_descriptors().into_iter().filter(|number| *number > kept) {
        // SAFETY: F_GETFD only asks; a number that is no descriptor gives an error.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags != -1 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: everything that this program owns is close-on-exec, so nothing in it owns this.
            unsafe { libc::close(number) };
        }
    }
}

/// The numbers of our descriptors. Where /proc does not tell them, of those that there may be.
fn open_descriptors() -> Vec<RawFd> {
    let Ok(mut names) = directory::list_at("/proc/self/fd") else {
        return (3..1024).collect();
    };
    let mut numbers = Vec::new();
    while let Some(Ok(name)) = names.next_name() {
        numbers.extend(name.name.to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    numbers
}

/// Closes every descriptor above 2 but these, in a copy of the process that uses no other (close_range(2), Linux 5.9).
pub fn close_all_but(keep: &[BorrowedFd<'_>]) {
    let mut kept: Vec<u32> = keep.iter().map(|kept| kept.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for kept in kept.iter().copied().chain([u32::MAX]) {
        if kept > first {
            // SAFETY: this copy of the process uses none of them: what owned them was our parent's business.
            let closed = unsafe { libc::syscall(libc::SYS_close_range, first, kept - 1, 0) };
            if closed == -1 {
                return close_one_by_one(keep);
            }
        }
        first = kept.saturating_add(1);
    }
}

/// The same where the kernel, or a filter of system calls, does not know close_range(2).
fn close_one_by_one(keep: &[BorrowedFd<'_>]) {
    let kept = |number: RawFd| keep.iter().any(|kept| kept.as_raw_fd() == number);
    for number in open_descriptors().into_iter().filter(|number| *number > 2 && !kept(*number)) {
        // SAFETY: as above. One that is none gives an error.
        unsafe { libc::close(number) };
    }
}

/// Lets go of everything that a helper does not need, in the new process: of all descriptors but `keep`, and of the
/// standard ones, in whose place is its `output`.
pub(super) fn become_helper(output: Output<'_>, keep: &[BorrowedFd<'_>]) {
    let kept = match output {
        Output::Inherited(number) => Some(number),
        Output::Nowhere | Output::To(_) => None,
    };
    for number in (0..3).filter(|number| kept != Some(*number)) {
        match output {
            Output::To(pipe) => {
                // SAFETY: the first is an open descriptor, and nothing in this copy of the process owns a standard one.
                let placed = unsafe { libc::dup2(pipe.as_raw_fd(), number) };
                if placed == -1 {
                    startup::hold_nothing(number);
                }
            }
            Output::Nowhere | Output::Inherited(_) => startup::hold_nothing(number),
        }
    }
    close_all_but(keep);
}

/// Puts /dev/null in the place of this standard descriptor. So the reader at the other end sees the end when the child
/// and the processes that inherited it from the child have closed it.
///
/// # Errors
/// What open(2) and dup2(2) say; then it is as it was.
pub fn replace_standard(number: i32) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    // Do not block if /dev/null is something else, a named pipe for example.
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let null = options.open("/dev/null")?;
    // SAFETY: both are descriptors, and what had the number before is not owned by anything in this program
    // but the standard library, which goes on using the number.
    let done = unsafe { libc::dup2(null.as_raw_fd(), number) };
    if done == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Leaves the working directory for `/`, so that its filesystem can be unmounted.
///
/// # Errors
/// What chdir(2) says.
pub fn leave_directory() -> std::io::Result<()> {
    std::env::set_current_dir("/")
}
