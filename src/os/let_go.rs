//! Letting go of what sexton was started with once its child has it: open files and the working directory.

use std::fs;

/// Closes every descriptor above 2 that was inherited, so that the reader of a pipe sees its end when the
/// child closes it. Ours are all closed on exec, which inherited ones cannot be: they have just come through
/// one.
pub fn close_inherited() {
    let numbers: Vec<i32> = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (3..1024).collect(),
    };
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: F_GETFD only asks; a number that is no descriptor gives an error.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
        if flags != -1 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: everything that this program owns is close-on-exec, so that nobody in it owns this.
            unsafe { libc::close(number) };
        }
    }
}

/// Leaves the working directory for `/`, so that its filesystem can be unmounted.
///
/// # Errors
/// What chdir(2) says.
pub fn leave_directory() -> std::io::Result<()> {
    std::env::set_current_dir("/")
}
