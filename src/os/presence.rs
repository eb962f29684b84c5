//! Whether a number is a process's at all, where /proc may be hidden or missing.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::kill;

use crate::types::Pid;

/// Whether a process has this number in our pid namespace, a zombie included: kill(2) with signal 0.
///
/// # Errors
/// Anything but "no such process" and "not permitted", which are both answers.
pub fn exists(pid: Pid) -> io::Result<bool> {
    match kill(nix::unistd::Pid::from_raw(pid.raw()), None) {
        Ok(()) | Err(Errno::EPERM) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_exist_and_an_impossible_pid_does_not() {
        assert!(exists(Pid::INIT).unwrap());
        assert!(!exists(Pid::new(Pid::PID_MAX_LIMIT + 1).unwrap()).unwrap());
        assert!(!exists(Pid::new(i32::MAX).unwrap()).unwrap());
    }
}
