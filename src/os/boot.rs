//! When this kernel was booted, and whether we see all of it.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use super::{files, mounts, procfs};

/// The inode number of the first pid namespace of every kernel (include/linux/proc_ns.h, `PROC_PID_INIT_INO`).
const FIRST_PID_NS: &str = "pid:[4026531836]";
/// The same of the first time namespace (`PROC_TIME_INIT_INO`).
const FIRST_TIME_NS: &str = "time:[4026531834]";
/// By how many seconds two accounts of the boot may differ.
const TOLERANCE: i64 = 2;

/// Whether we live in the first pid namespace, as on a machine, and not in another one, as in a container. Where that
/// cannot be told, we do.
#[must_use]
pub fn is_first_pid_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").map_or(true, |namespace| namespace.as_os_str() == FIRST_PID_NS)
}

/// Whether no process of this kernel is hidden from us: we live in the first pid namespace, and /proc shows the
/// processes of every user (`hidepid`, proc(5)).
#[must_use]
pub fn every_process_is_visible() -> bool {
    is_first_pid_namespace() && procfs::is_of_our_namespace() && procfs::has_hidepid() == Some(false)
}

/// An instant at which nothing of this boot had run yet, in seconds since 1970 by the clock that stamps files.
///
/// The kernel says when it was booted (`btime` in /proc/stat), but computes that from the clock as it is now. A
/// file that the kernel itself made at boot still has the time of then: /dev/zero on devtmpfs. Where the two
/// differ, the clock was set or the machine was resumed, and nothing is said. `None` also in another time
/// namespace (time_namespaces(7)), and in containers, whose /dev is not devtmpfs.
#[must_use]
pub fn began() -> Option<i64> {
    let namespace = fs::read_link("/proc/self/ns/time");
    let is_first = match &namespace {
        Ok(namespace) => namespace.as_os_str() == FIRST_TIME_NS,
        // Before Linux 5.6 there is but one.
        Err(_) => fs::symlink_metadata("/proc/self/ns/pid").is_ok(),
    };
    // The answer costs most where the kernel counts all interrupts for it, and so it is asked for last.
    let stamped = is_first.then(stamped)??;
    agreed(parse_boot_time(&procfs::read_text("/proc/stat").ok()?)?, stamped)
}

/// When the kernel made /dev/zero, if it was the kernel that did.
fn stamped() -> Option<i64> {
    let file = files::look(Path::new("/dev/zero")).ok()?;
    let is_the_kernels = mounts::of(file.as_fd())?.kind == "devtmpfs";
    Some(files::meta(file.as_fd()).ok()?.changed.0).filter(|_| is_the_kernels)
}

/// Both accounts, if they agree: the earlier one, less their tolerance.
fn agreed(claimed: i64, stamped: i64) -> Option<i64> {
    let close = claimed.abs_diff(stamped) <= TOLERANCE.unsigned_abs();
    close.then(|| claimed.min(stamped).saturating_sub(TOLERANCE))
}

/// The line `btime` in the text of /proc/stat (proc_stat(5)).
#[must_use]
pub fn parse_boot_time(stat: &str) -> Option<i64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_differ_say_nothing() {
        assert_eq!(agreed(1000, 1001), Some(998));
        assert_eq!(agreed(1002, 1000), Some(998));
        assert_eq!(agreed(1003, 1000), None);
        // A machine that was resumed from a snapshot, as measured: eight days and a half.
        assert_eq!(agreed(1_000_000, 1_734_400), None);
        assert_eq!(agreed(i64::MIN, i64::MAX), None);
    }

    #[test]
    fn the_boot_was_before_now() {
        let text = procfs::read_text("/proc/stat").unwrap();
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(parse_boot_time(&text).unwrap() <= i64::try_from(now).unwrap());
        assert_eq!(parse_boot_time("cpu 1\nbtime x\n"), None);
        if let Some(began) = began() {
            assert!(began <= parse_boot_time(&text).unwrap());
        }
    }
}
