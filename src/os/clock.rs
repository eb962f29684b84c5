//! The clocks.

use std::time::{Duration, SystemTime};

use nix::sys::time::TimeSpec;

use crate::types::{MonoTime, Signal};

/// The monotonic clock, clock_gettime(2): it never steps and stands still while the machine sleeps.
#[must_use]
pub fn now() -> MonoTime {
    MonoTime(read(libc::CLOCK_MONOTONIC))
}

/// How long a call waits, in the kernel's type. A time that is too long for it is cut, so the call returns early. The
/// caller checks the clock and waits again.
#[must_use]
pub(super) fn timespec(wait: Duration) -> TimeSpec {
    const LONGEST: Duration = Duration::from_secs(1 << 30);
    TimeSpec::from_duration(wait.min(LONGEST))
}

/// Time since boot, sleep included: the clock in which /proc counts a process's start.
#[must_use]
pub fn since_boot() -> Duration {
    read(libc::CLOCK_BOOTTIME)
}

/// How much of a processor this thread has had.
#[must_use]
pub fn own_time() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The wall clock. It steps; no decision may depend on it alone.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The wall clock in milliseconds since 1970, as it is said to other programs.
#[must_use]
pub fn wall_millis() -> u64 {
    millis_of(wall())
}

/// A moment of the wall clock in milliseconds since 1970.
#[must_use]
pub fn millis_of(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Has the kernel end this process by SIGALRM when `window` is over (setitimer(2)), whatever it does then.
///
/// # Errors
/// What setitimer(2) and sigprocmask(2) say.
pub fn set_alarm(window: Duration) -> std::io::Result<()> {
    let zero = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let seconds = window.as_secs().try_into().map_err(std::io::Error::other)?;
    let value = libc::timeval { tv_sec: seconds, tv_usec: window.subsec_micros().into() };
    let timer = libc::itimerval { it_interval: zero, it_value: value };
    // SAFETY: the structure is ours to be read, and a null third argument asks for nothing.
    if unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) } == -1 {
        return Err(std::io::Error::last_os_error());
    }
    super::signals::set_default(Signal::ALRM)?;
    super::signals::unblock(Signal::ALRM)
}

/// How many clock ticks of /proc make a second: sysconf(3), `_SC_CLK_TCK`; 100 on every Linux in use.
#[must_use]
pub fn ticks_per_second() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    ticks.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0).unwrap_or(100)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is ours to be written to. The call cannot fail for these clocks (clock_gettime(2)).
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_the_kernel_cannot_count_is_a_long_one() {
        use nix::sys::time::TimeValLike as _;
        let second = Duration::from_secs(1);
        assert_eq!(timespec(second), TimeSpec::from_duration(second));
        for wait in [Duration::MAX, Duration::from_secs(1 << 63)] {
            assert!(timespec(wait).num_seconds() >= 1 << 30, "{wait:?}");
        }
    }
}
