//! Letting go of what sexton was started with once its child has it: open files and the working directory.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use super::directory;

/// Closes every descriptor above 2 that was inherited, so that the reader of a pipe sees its end when the
/// child closes it. Ours are all closed on exec, which inherited ones cannot be: they have just come through
/// one.
///
/// The first `sockets` of them stay: those that were passed by a service manager (sd_listen_fds(3)) and will be
/// passed on once more.
pub fn close_inherited(sockets: usize) {
    let mut numbers: Vec<i32> = Vec::new();
    match directory::list_at("/proc/self/fd") {
        Ok(mut names) => {
            while let Some(Ok(name)) = names.next_name() {
                numbers.extend(name.name.to_str().and_then(|name| name.parse::<i32>().ok()));
            }
        }
        Err(_) => numbers.extend(3..1024),
    }
    let kept = 2_i32.saturating_add(i32::try_from(sockets).unwrap_or(i32::MAX));
    for number in numbers.into_iter().filter(|number| *number > kept) {
        // SAFETY: F_GETFD only asks; a number that is no descriptor gives an error.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags != -1 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: everything that this program owns is close-on-exec, so that nobody in it owns this.
            unsafe { libc::close(number) };
        }
    }
}

/// Puts /dev/null in the place of this standard descriptor, so that its other end sees the end when the child
/// and whoever has it from the child have closed it.
///
/// # Errors
/// What open(2) and dup2(2) say; then it is as it was.
pub fn replace_standard(number: i32) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    // Whoever put something else in its place is not waited for.
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
