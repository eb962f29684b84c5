//! What the kernel gives, tried and not looked up; the room that its cgroups leave; and its clock.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sexton::control::protocol::Status;
use sexton::os::cgroup::{self, Cgroup, CgroupLimit, CgroupLimits};
use sexton::os::{clock, files, process, procfs};
use sexton::types::Pid;

use super::finding::Finding;

/// What was tried, and with what success.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kernel {
    release: String,
    openat2: bool,
    subreaper: bool,
    cgroup_kill: Result<(), String>,
    /// Whether /proc hides other users' processes; `None` without /proc.
    hides: Option<bool>,
}

/// "Function not implemented" and "not permitted", as seccomp filters say it; the numbers are the same on every Linux.
const ENOSYS: i32 = 38;
const EPERM: i32 = 1;

/// The features that sexton uses.
pub fn check(status: Option<&Status>) -> Vec<Finding> {
    let us = process::own_pid();
    // What it says of the name does not matter, as long as the call is known and allowed.
    let asked = files::look(Path::new("/")).and_then(|root| files::enter(root.as_fd(), OsStr::new("proc")));
    let unknown = |error: &io::Error| matches!(error.raw_os_error(), Some(ENOSYS | EPERM));
    let kernel = Kernel {
        release: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        openat2: !asked.as_ref().is_err_and(unknown),
        subreaper: process::become_subreaper().is_ok(),
        cgroup_kill: match Cgroup::create(us) {
            Ok(own) => own.remove().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        },
        hides: procfs::all().is_ok().then(|| procfs::has_hidepid().unwrap_or_default()),
    };
    judge(&kernel, status.map(|status| status.reach.as_str()))
}

fn judge(kernel: &Kernel, reach: Option<&str>) -> Vec<Finding> {
    let mut found = Vec::new();
    let release = &kernel.release;
    if release.split('.').filter_map(|part| part.parse::<u32>().ok()).take(2).lt([5, 10])
        && !release.is_empty()
    {
        let what = format!("Linux {release} is older than sexton is made for");
        found.push(Finding::warning("kernel", what, "Use 5.10 or later"));
    }
    match kernel.hides {
        None => found.push(Finding::problem(
            "kernel",
            "there is no /proc: no process that left its session can be found, and no lock's owner looked up",
            "Mount it: docker and Kubernetes do by themselves",
        )),
        Some(true) => found.push(Finding::warning(
            "kernel",
            "/proc hides the processes of other users (hidepid): locks of theirs are left alone",
            "Run sexton and the gateway as one user",
        )),
        Some(false) => {}
    }
    let missing: Vec<&str> = [(kernel.openat2, "openat2"), (kernel.subreaper, "subreaper")]
        .into_iter()
        .filter_map(|(there, name)| (!there).then_some(name))
        .collect();
    if !missing.is_empty() {
        found.push(Finding::warning(
            "kernel",
            format!(
                "{} cannot be used: the kernel is old, or a seccomp filter forbids it",
                missing.join(", ")
            ),
            "Without openat2 no lock is removed; use a current kernel and the engine's current profile",
        ));
    }
    if found.is_empty() {
        let cgroup = match (&kernel.cgroup_kill, reach) {
            (Ok(()), _) => "cgroup.kill",
            (Err(_), Some("kill-all")) => "no cgroup of one's own, which PID 1 does not need",
            (Err(_), _) => "no cgroup of one's own (Delegate=yes gives one; the tree is found in /proc)",
        };
        found.push(Finding::ok("kernel", format!("Linux {release}: openat2, subreaper, {cgroup}")));
    }
    found
}

/// The limits of the cgroup that sexton is in; without one, of ours.
pub fn rooms(status: Option<&Status>) -> Vec<Finding> {
    let whose = status.and_then(|status| Pid::new(status.pid)).unwrap_or(process::own_pid());
    judge_rooms(&cgroup::limits_of(whose))
}

fn judge_rooms(rooms: &CgroupLimits) -> Vec<Finding> {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let memory = judge_room(
        "memory limit",
        rooms.memory,
        &mib,
        "The kernel kills the gateway at the limit, and its locks stay until the next start: raise it, or look for what grows",
    );
    let count = |number: u64| number.to_string();
    let processes = judge_room(
        "process limit",
        rooms.processes,
        &count,
        "At the limit no tool can be started, nor the sweep that clears locks: raise pids.max, or look for what multiplies",
    );
    vec![memory, processes]
}

fn judge_room(name: &str, room: Option<CgroupLimit>, show: &dyn Fn(u64) -> String, advice: &str) -> Finding {
    let Some(CgroupLimit { most, used }) = room else { return Finding::ok(name, "none in its cgroup") };
    let left = most.saturating_sub(used);
    let what = format!("{} of {} are used, {} left", show(used), show(most), show(left));
    if left.saturating_mul(20) < most {
        Finding::problem(name, what, advice)
    } else if left.saturating_mul(5) < most {
        Finding::warning(name, what, advice)
    } else {
        Finding::ok(name, what)
    }
}

/// The day before which no clock can be that shows the right time: 2026-01-01, when this was written.
const WRITTEN: Duration = Duration::from_secs(1_767_225_600);
/// A file may be this much younger than now: clocks of a cluster differ a little.
const SKEW: Duration = Duration::from_secs(60);

/// The wall clock, which the ages of locks are counted by. `touched` are the times at which the roots were changed.
pub fn clock(touched: &[SystemTime]) -> Vec<Finding> {
    vec![judge_clock(clock::wall(), touched.iter().max().copied())]
}

fn judge_clock(now: SystemTime, touched: Option<SystemTime>) -> Finding {
    let advice =
        "Ages of locks are counted by it, though none is removed for its age: set it (chrony, timesyncd)";
    if now < SystemTime::UNIX_EPOCH + WRITTEN {
        let now = humantime::format_rfc3339_seconds(now);
        return Finding::problem(
            "clock",
            format!("it says {now}, which is before this program was written"),
            advice,
        );
    }
    match touched.and_then(|touched| touched.duration_since(now).ok()).filter(|ahead| *ahead > SKEW) {
        Some(ahead) => {
            let ahead = humantime::format_duration(Duration::from_secs(ahead.as_secs()));
            Finding::warning(
                "clock",
                format!("a lock root was changed {ahead} from now: the clock was set back"),
                advice,
            )
        }
        None => Finding::ok(
            "clock",
            format!("{}, and no lock root is younger", humantime::format_rfc3339_seconds(now)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    impl Default for Kernel {
        fn default() -> Kernel {
            Kernel {
                release: String::new(),
                openat2: true,
                subreaper: true,
                cgroup_kill: Ok(()),
                hides: Some(false),
            }
        }
    }

    fn grades(found: &[Finding]) -> Vec<Severity> {
        found.iter().map(|finding| finding.grade).collect()
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = || Kernel { release: "6.18.44+".into(), ..Kernel::default() };
        assert_eq!(grades(&judge(&whole(), None)), [Severity::Ok]);
        let refused = Kernel { cgroup_kill: Err("EACCES".into()), ..whole() };
        assert_eq!(grades(&judge(&refused, Some("kill-all"))), [Severity::Ok]);
        assert!(judge(&refused, None)[0].what.contains("Delegate=yes"));
        let old = Kernel { release: "5.4.0-42-generic".into(), openat2: false, hides: Some(true), ..whole() };
        assert_eq!(grades(&judge(&old, None)), [Severity::Warning; 3]);
        assert_eq!(grades(&judge(&Kernel { hides: None, ..whole() }, None)), [Severity::Problem]);
    }

    #[test]
    fn little_room_is_a_warning_and_hardly_any_a_problem() {
        let of =
            |used| judge_room("x", Some(CgroupLimit { most: 100, used }), &|n| n.to_string(), "more").grade;
        assert_eq!(
            [0, 79, 80, 81, 95, 96, 200].map(of),
            [
                Severity::Ok,
                Severity::Ok,
                Severity::Ok,
                Severity::Warning,
                Severity::Warning,
                Severity::Problem,
                Severity::Problem
            ]
        );
        assert_eq!(grades(&judge_rooms(&CgroupLimits::default())), [Severity::Ok; 2]);
    }

    #[test]
    fn a_clock_that_lies_is_told() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let now = at(1_800_000_000);
        assert_eq!(judge_clock(now, Some(at(1_800_000_030))).grade, Severity::Ok);
        assert_eq!(judge_clock(now, None).grade, Severity::Ok);
        assert_eq!(judge_clock(now, Some(at(1_800_003_600))).grade, Severity::Warning);
        assert_eq!(judge_clock(at(1_000), None).grade, Severity::Problem);
    }
}
