//! Process ids, start times, exit statuses and monotonic moments.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A process id. It is always positive, so kill(2) can never take it for a process group (0 and negative numbers) or
/// for all processes (-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(i32);

impl Pid {
    /// PID 1, the init of its pid namespace.
    pub const INIT: Pid = Pid(1);

    /// The largest pid the kernel ever hands out (`PID_MAX_LIMIT`, 2^22, on 64-bit; proc(5), `pid_max`).
    pub const PID_MAX_LIMIT: i32 = 4_194_304;

    /// `None` for zero and for negative numbers, which mean something else to kill(2).
    #[must_use]
    pub const fn new(raw: i32) -> Option<Pid> {
        if raw > 0 { Some(Pid(raw)) } else { None }
    }

    /// The number, for a system call.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a process was started, in clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)).
/// Together with the pid it names a process of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartTime(pub u64);

/// An error number as a plain value, so that the pure rooms can carry one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Errno(pub i32);

/// include/uapi/asm-generic/errno.h: the same on every architecture that sexton is built for.
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

impl Errno {
    /// Whether a limit on processes, or a lack of memory, is a reason for fork(2) to say so.
    #[must_use]
    pub fn is_process_limit(self) -> bool {
        matches!(self.0, EAGAIN | ENOMEM)
    }

    /// Whether a limit on descriptors, or a lack of memory, is a reason for open(2), pipe(2) or socket(2) to say so.
    #[must_use]
    pub fn is_file_limit(self) -> bool {
        matches!(self.0, ENOMEM | ENFILE | EMFILE | ENOBUFS)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The standard library's text is strerror(3) and " (os error N)".
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// How a process ended. It is written as the outcome that it makes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "super::Outcome", try_from = "super::Outcome")]
pub enum ExitStatus {
    /// It called exit with this code (0 to 255).
    Exited(u8),
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
}

impl ExitStatus {
    /// The code a shell would report: the process's own, or 128 + the signal's number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Exited(code) => code,
            ExitStatus::Signaled { signal, .. } => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// A point on the monotonic clock, as the time since an arbitrary origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime(pub Duration);

impl MonoTime {
    /// This moment and `window` more; the far future instead of an overflow.
    #[must_use]
    pub fn after(self, window: Duration) -> MonoTime {
        MonoTime(self.0.saturating_add(window))
    }

    /// How long it is from `earlier` to this moment; zero if it lies after it.
    #[must_use]
    pub fn since(self, earlier: MonoTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_positive() {
        assert_eq!(Pid::new(0), None);
        assert_eq!(Pid::new(-1), None);
        assert_eq!(Pid::new(7).map(Pid::raw), Some(7));
    }

    #[test]
    fn codes_are_the_shells() {
        assert_eq!(ExitStatus::Exited(42).code(), 42);
        assert_eq!(ExitStatus::Signaled { signal: 9, core: false }.code(), 137);
        assert_eq!(ExitStatus::Signaled { signal: 64, core: false }.code(), 192);
    }
}
