//! Where sexton stands among the processes, and what it is allowed to do.

use sexton::control::protocol::Status;
use sexton::os::{privileges, procfs};
use sexton::types::Pid;

use super::finding::Finding;

/// What is known of sexton's place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// The name of PID 1 here.
    init: String,
    /// sexton, and the name of its parent.
    sexton: Option<(i32, String)>,
    /// How sexton reaches its tree.
    reach: String,
}

/// Small inits, whose work sexton does as well.
const INITS: [&str; 6] = ["tini", "docker-init", "dumb-init", "catatonit", "podman-init", "s6-svscan"];

/// PID 1, below another init, a service or a child.
pub fn check(status: Option<&Status>) -> Vec<Finding> {
    let name = |pid: i32| {
        let stat = Pid::new(pid).and_then(|pid| procfs::stat(pid).ok()?);
        stat.map_or("?".to_owned(), |stat| String::from_utf8_lossy(&stat.name).into_owned())
    };
    let parent =
        |pid: i32| Pid::new(pid).and_then(|pid| procfs::stat(pid).ok()?).map_or(0, |stat| stat.parent);
    let place = Place {
        init: name(1),
        sexton: status.map(|status| (status.pid, name(parent(status.pid)))),
        reach: status.map(|status| status.reach.clone()).unwrap_or_default(),
    };
    vec![judge(&place)]
}

fn judge(place: &Place) -> Finding {
    let Place { init, sexton, reach } = place;
    let how = match reach.as_str() {
        "kill-all" => "whatever it starts can be reached by one signal",
        "cgroup" => "it reaches its tree through a cgroup of its own",
        _ => "it reaches its tree through /proc, again and again",
    };
    match sexton {
        None => Finding::ok("role", format!("no sexton runs; PID 1 is {init}")),
        Some((1, _)) => Finding::ok("role", format!("PID 1: every orphan comes to it, and {how}")),
        Some((pid, parent)) if INITS.contains(&parent.as_str()) => Finding::ok(
            "role",
            format!(
                "pid {pid} below {parent}, as a subreaper; {how}; {parent} is of no use beside it, and harmless"
            ),
        ),
        Some((pid, parent)) => {
            Finding::ok("role", format!("pid {pid} below {parent}, as a subreaper; {how}"))
        }
    }
}

/// Users and capabilities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rights {
    /// Who asks.
    us: u32,
    /// sexton's uid and effective capabilities.
    sexton: Option<(u32, u64)>,
    /// The gateway's uid.
    gateway: Option<u32>,
}

/// `CAP_KILL` (capabilities(7)).
const CAP_KILL: u64 = 1 << 5;

/// Who sexton is, and whether it can end what it started.
pub fn privileges(status: Option<&Status>) -> Vec<Finding> {
    let gateway = status.and_then(|status| status.gateway.pid);
    let sexton = status.and_then(|status| {
        let text = text_of(status.pid);
        Some((uid(&text)?, capabilities(&text)?))
    });
    let rights = Rights { us: privileges::effective_uid(), sexton, gateway: gateway.and_then(uid_of) };
    vec![judge_rights(&rights)]
}

fn text_of(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

/// The effective uid of this process, if it can be seen.
pub fn uid_of(pid: i32) -> Option<u32> {
    uid(&text_of(pid))
}

/// The effective uid in /proc/PID/status.
fn uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)?.parse().ok())
}

fn capabilities(status: &str) -> Option<u64> {
    status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok())
}

fn judge_rights(rights: &Rights) -> Finding {
    let who = |uid| if uid == 0 { "root".to_owned() } else { format!("uid {uid}") };
    let Some((sexton, capable)) = rights.sexton else {
        return Finding::ok("privileges", format!("asked as {}", who(rights.us)));
    };
    match rights.gateway {
        Some(gateway) if gateway != sexton && capable & CAP_KILL == 0 => Finding::problem(
            "privileges",
            format!(
                "the gateway runs as {}, and sexton, as {}, may not signal it: no stop would reach it",
                who(gateway),
                who(sexton)
            ),
            "Run both as one user, or give sexton CAP_KILL",
        ),
        _ if rights.us != sexton && rights.us != 0 => Finding::warning(
            "privileges",
            format!("sexton runs as {}, and this doctor as {}, which sees less", who(sexton), who(rights.us)),
            "Run it as the same user",
        ),
        _ => Finding::ok(
            "privileges",
            format!("sexton runs as {}, and may signal what it started", who(sexton)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn every_place_is_fine_and_said() {
        let place = |sexton: Option<(i32, &str)>, reach: &str| {
            let sexton = sexton.map(|(pid, parent)| (pid, parent.to_owned()));
            judge(&Place { init: "systemd".into(), sexton, reach: reach.into() })
        };
        assert_eq!(place(None, "").what, "no sexton runs; PID 1 is systemd");
        assert!(place(Some((1, "?")), "kill-all").what.starts_with("PID 1"));
        assert!(place(Some((7, "tini")), "tree").what.contains("tini is of no use"));
        let below = place(Some((7, "systemd")), "cgroup");
        assert!(below.what.contains("below systemd") && below.grade == Severity::Ok);
    }

    #[test]
    fn who_cannot_signal_is_a_problem() {
        let grade = |us, sexton, gateway| judge_rights(&Rights { us, sexton, gateway }).grade;
        assert_eq!(grade(1000, None, None), Severity::Ok);
        assert_eq!(grade(0, Some((1000, 0)), Some(1000)), Severity::Ok);
        assert_eq!(grade(0, Some((0, CAP_KILL)), Some(1000)), Severity::Ok);
        assert_eq!(grade(0, Some((0, 0)), Some(1000)), Severity::Problem);
        assert_eq!(grade(1001, Some((1000, 0)), Some(1000)), Severity::Warning);
    }

    #[test]
    fn proc_is_read() {
        let text = "Name:\tx\nUid:\t0\t1000\t0\t0\nCapEff:\t0000000000000020\n";
        assert_eq!((uid(text), capabilities(text)), (Some(1000), Some(CAP_KILL)));
        assert_eq!((uid(""), capabilities("")), (None, None));
    }
}
