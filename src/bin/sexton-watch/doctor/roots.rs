//! Checks a lock root: whether it can be entered, who owns it, its filesystem, and its contents. If the filesystem
//! hangs, the check hangs, and that is a finding of its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sexton::config::Locks;
use sexton::locks::listing::{Entry, Listing, VerdictName, list};
use sexton::locks::{
    Explained, Filesystem, Found, KnownRoot, NotFound, Root, SweepContext, filesystem, find,
};
use sexton::os::files::{self, FileKind};
use sexton::os::safe_path::Refusal;
use sexton::os::{clock, lease, privileges, process};
use sexton::types::Escaped;

use super::finding::Finding;

/// What lies at the root's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Contents {
    Nothing,
    Directory {
        uid: u32,
        /// The filesystem, in words.
        on: String,
        /// Whether it is this kernel's alone.
        local: bool,
    },
    Link(String),
    Other,
    Unseen(String),
    /// Another user may have put something else there; and what to do.
    Unsafe(String),
}

/// Whether the kernel says who has a file open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Leases {
    Work,
    Refused(String),
    /// It was not tried: this filesystem has no files without a name.
    Untried,
    /// Nothing can be written there.
    Unwritable(String),
}

/// What is known of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    shown: String,
    given: bool,
    lies: Contents,
    leases: Leases,
    /// The operator says that no owner lives outside this pid namespace.
    exclusive: bool,
    listing: Listing,
    /// Who looked.
    us: u32,
    /// The sexton that runs, if one does.
    sexton: Option<i32>,
    /// The gateway's uid, if it runs.
    gateway: Option<u32>,
}

/// What the check needs to know besides the root.
pub struct Around {
    pub sexton: Option<i32>,
    pub gateway: Option<u32>,
}

/// Looks at a root; afterwards this process is its owner's. Also when it was last changed.
pub fn check(root: &Root, locks: &Locks, around: &Around) -> (Vec<Finding>, Option<SystemTime>) {
    let us = privileges::effective_uid();
    // What is said of it holds for the very directory that is looked at after that.
    let found = find(root);
    let lies = lies(&found);
    let (directory, mut known) = match &found {
        Ok(found) => (Some(&found.place), found.known()),
        Err(_) => (None, KnownRoot { refused: true, ..KnownRoot::default() }),
    };
    let changed = directory.filter(|place| place.meta.kind == FileKind::Directory).and_then(|place| {
        let seconds = u64::try_from(place.meta.modified.0).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    });
    let context = SweepContext { first: false, ..SweepContext::by_hand(process::own_pid(), clock::wall()) };
    let lock_kinds = locks.lock_kinds(root, &locks.programs_here());
    let (exclusive, after) = (locks.exclusive, locks.report_after);
    let listing = list(root, &mut known, &lock_kinds, &context, exclusive, after, &mut |_| {});
    let entered = PathBuf::from(&listing.root.path);
    let leases = match directory {
        Some(place) if listing.entered => leases(place.file.as_fd()),
        _ => Leases::Untried,
    };
    let facts = Facts {
        shown: if listing.entered { Escaped(&entered).to_string() } else { root.to_string() },
        given: matches!(root, Root::Given(_)),
        lies,
        leases,
        exclusive,
        listing,
        us,
        sexton: around.sexton,
        gateway: around.gateway,
    };
    (judge(&facts), changed)
}

fn lies(found: &Result<Found, NotFound>) -> Contents {
    match found {
        Ok(found) if found.place.meta.kind == FileKind::Directory => {
            let Filesystem { name, local } = filesystem(found.place.file.as_fd());
            Contents::Directory { uid: found.place.meta.uid, on: name, local }
        }
        Ok(_) => Contents::Other,
        Err(NotFound::Refused(_, refusal)) if refusal.is_missing() => Contents::Nothing,
        Err(NotFound::Refused(_, Refusal::IsLink { target, .. })) => {
            Contents::Link(Escaped(target).to_string())
        }
        Err(NotFound::Refused(_, Refusal::Failed { error, .. })) => Contents::Unseen(error.to_string()),
        Err(NotFound::Refused(_, refusal)) => Contents::Unsafe(Explained(refusal).to_string()),
        Err(NotFound::Nowhere | NotFound::Elsewhere) => Contents::Nothing,
    }
}

/// Tries it with a file that has no name, and is closed at once, the lease with it.
fn leases(directory: BorrowedFd<'_>) -> Leases {
    match files::unnamed_in(directory) {
        Err(error) => match error.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded => Leases::Unwritable(error.to_string()),
            _ => Leases::Untried,
        },
        Ok(file) => match lease::take(file.as_fd(), privileges::effective_uid()) {
            lease::Answer::Granted | lease::Answer::Busy => Leases::Work,
            lease::Answer::Refused(errno) => Leases::Refused(errno.to_string()),
        },
    }
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let root = &facts.shown;
    let name = "lock root";
    let advice = "Name the right directory with --lock-root, or mount the volume there";
    let (uid, on, local) = match &facts.lies {
        Contents::Nothing if facts.given => {
            return vec![Finding::problem(
                name,
                format!("{root} does not exist: no lock there is ever cleared"),
                advice,
            )];
        }
        Contents::Nothing => return vec![Finding::ok(name, format!("{root} is not there yet"))],
        Contents::Link(target) => {
            let what = format!(
                "{root} is a symbolic link to {target}, which is not followed: no lock there is cleared"
            );
            return vec![Finding::problem(
                name,
                what,
                format!("Name the directory itself: --lock-root {target}"),
            )];
        }
        Contents::Other => return vec![Finding::problem(name, format!("{root} is not a directory"), advice)],
        Contents::Unsafe(why) => {
            return vec![Finding::problem(name, format!("{root} is not looked at: {why}"), advice)];
        }
        Contents::Unseen(error) => {
            return vec![Finding::problem(name, format!("{root} cannot be looked at: {error}"), advice)];
        }
        Contents::Directory { uid, on, local } => (*uid, on, *local),
    };
    if facts.listing.missing {
        return vec![Finding::ok(name, format!("{root} is not there yet"))];
    }
    if !facts.listing.entered {
        let what = format!("{root} belongs to uid {uid}, and uid {} may not look into it", facts.us);
        return vec![Finding::problem(
            name,
            what,
            "Run sexton as its owner or as root, or chown the directory",
        )];
    }
    let mut found = vec![place(facts, uid, on, local)];
    found.extend(contents(facts));
    found
}

/// What it is, and what can be proven there.
fn place(facts: &Facts, uid: u32, on: &str, local: bool) -> Finding {
    let (root, name) = (&facts.shown, "lock root");
    let lies = format!("{root}, of uid {uid}, on {on}");
    if let Some(gateway) = facts.gateway.filter(|gateway| *gateway != uid && *gateway != 0) {
        let what = format!("{lies}: the gateway runs as uid {gateway}, and may not be able to write it");
        return Finding::problem(
            name,
            what,
            format!("chown -R {gateway} {root}, or run the gateway as uid {uid}"),
        );
    }
    if let Leases::Unwritable(why) = &facts.leases {
        let what = format!("{lies}, cannot be written ({why}): neither a lock can be made nor one removed");
        return Finding::problem(name, what, "Mount it read-write, with room left");
    }
    let unseen = match &facts.leases {
        Leases::Refused(why) => Some(format!("where the kernel does not say who has a file open ({why})")),
        _ if !local => {
            Some("which other machines may reach: a lock's owner need not be on this one".to_owned())
        }
        _ => None,
    };
    match unseen {
        Some(why) if facts.exclusive => {
            let what = format!("{lies}, {why}; but sharing = 'exclusive' says that it is not shared");
            return Finding::ok(name, what);
        }
        Some(why) => {
            let advice = "A lock stays there, also one that no process has open, unless sexton sees its owner die: use a \
                          local volume, or set sharing = 'exclusive' in [locks] if no other container or machine uses it";
            return Finding::warning(name, format!("{lies}, {why}"), advice);
        }
        None => {}
    }
    let used = match (facts.listing.alone, facts.sexton) {
        (true, _) => "; no other sexton uses it",
        (false, Some(_)) => "; the sexton that runs uses it",
        (false, None) => {
            let what = format!(
                "{lies}, is used by another sexton, in another container perhaps: a pid proves nothing there"
            );
            return Finding::warning(name, what, "Give each gateway a state directory of its own");
        }
    };
    let leases = if facts.leases == Leases::Work { "leases work" } else { "leases were not tried" };
    Finding::ok(name, format!("{lies}: {leases}{used}"))
}

/// What lies there.
fn contents(facts: &Facts) -> Vec<Finding> {
    let entries = &facts.listing.entries;
    let of = |word: VerdictName| entries.iter().filter(move |entry| entry.verdict == word);
    let name = "locks";
    let mut found = Vec::new();
    let first = |entry: &Entry| Escaped(Path::new(&entry.location.path)).to_string();
    let many = |number: usize| if number == 1 { "a lock".to_owned() } else { format!("{number} locks") };
    let orphaned: Vec<&Entry> = of(VerdictName::Orphaned).collect();
    if let Some(one) = orphaned.first() {
        let what = format!("{} of the dead: {} ({})", many(orphaned.len()), first(one), one.why);
        let advice = match facts.sexton {
            Some(_) => {
                "The gateway waits for it until sexton next sweeps; 'sexton locks --explain' says why it is still there"
            }
            None => "sexton's next start removes it; 'sexton locks sweep' does now",
        };
        found.push(Finding::warning(name, what, advice));
    }
    for held in of(VerdictName::Held).filter(|entry| entry.held_too_long) {
        let second = |seconds: Option<u64>| {
            let time = Duration::from_secs(seconds.unwrap_or_default());
            humantime::format_duration(time).to_string()
        };
        let owner = held.pid.map_or(String::new(), |pid| format!(" by pid {pid}"));
        let what = format!(
            "{} is held{owner} for {}, past its limit of {}: its owner lives, so nothing may remove it",
            first(held),
            second(held.age_seconds),
            second(held.limit_seconds)
        );
        let advice = "'sexton restart' frees it; [locks] held_too_long = \"restart\" does so by itself";
        found.push(Finding::problem(name, what, advice));
    }
    let unclear: Vec<&Entry> = of(VerdictName::Unclear).collect();
    if let Some(one) = unclear.first() {
        let what = format!("of {} the owner is not known: {} ({})", many(unclear.len()), first(one), one.why);
        let advice = "They stay until an operator removes them; 'sexton locks --explain' has the evidence";
        found.push(Finding::warning(name, what, advice));
    }
    for guard in of(VerdictName::NotJudged).filter(|entry| entry.location.path.ends_with(".reclaim")) {
        let what = format!(
            "{} is left of a takeover that was killed, and can keep every process from taking its lock",
            first(guard)
        );
        found.push(Finding::warning(name, what, "Remove it while no gateway and no openclaw command runs"));
    }
    if found.is_empty() {
        let (held, rest) = (
            of(VerdictName::Held).count(),
            of(VerdictName::NotJudged).count() + of(VerdictName::Skipped).count(),
        );
        found.push(Finding::ok(
            name,
            format!("{held} held, none too long, none left behind; {rest} not judged"),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use sexton::locks::listing::Name;

    use super::super::finding::Severity;
    use super::*;

    fn entry(path: &str, verdict: VerdictName) -> Entry {
        Entry {
            location: Name::from(Path::new(path)),
            kind: None,
            verdict,
            why: "so".into(),
            pid: Some(7),
            process: None,
            age_seconds: Some(90),
            limit_seconds: Some(60),
            held_too_long: false,
            evidence: Vec::new(),
        }
    }

    fn facts(entries: Vec<Entry>) -> Facts {
        Facts {
            shown: "/s".into(),
            given: true,
            lies: Contents::Directory { uid: 1000, on: "ext4".into(), local: true },
            leases: Leases::Work,
            exclusive: false,
            listing: Listing {
                root: Name::from(Path::new("/s")),
                entered: true,
                missing: false,
                alone: true,
                entries,
            },
            us: 0,
            sexton: None,
            gateway: None,
        }
    }

    fn grades(facts: &Facts) -> Vec<Severity> {
        judge(facts).iter().map(|finding| finding.grade).collect()
    }

    #[test]
    fn a_root_that_is_none_is_one_line() {
        for lies in
            [Contents::Nothing, Contents::Link("/t".into()), Contents::Other, Contents::Unseen("EIO".into())]
        {
            assert_eq!(grades(&Facts { lies, ..facts(vec![]) }), [Severity::Problem]);
        }
        let later = Facts { lies: Contents::Nothing, given: false, ..facts(vec![]) };
        assert_eq!(grades(&later), [Severity::Ok]);
        let mut closed = facts(vec![]);
        closed.listing.entered = false;
        assert_eq!(grades(&closed), [Severity::Problem]);
        closed.listing.missing = true;
        assert_eq!(grades(&closed), [Severity::Ok]);
    }

    #[test]
    fn what_can_be_proven_depends_on_the_place() {
        let place = |facts: Facts| grades(&facts)[0];
        assert_eq!(place(facts(vec![])), Severity::Ok);
        assert_eq!(place(Facts { gateway: Some(1001), ..facts(vec![]) }), Severity::Problem);
        assert_eq!(place(Facts { gateway: Some(0), ..facts(vec![]) }), Severity::Ok);
        assert_eq!(
            place(Facts { leases: Leases::Unwritable("EROFS".into()), ..facts(vec![]) }),
            Severity::Problem
        );
        assert_eq!(
            place(Facts { leases: Leases::Refused("EINVAL".into()), ..facts(vec![]) }),
            Severity::Warning
        );
        let nfs = Contents::Directory { uid: 1000, on: "nfs4".into(), local: false };
        let nfs = Facts { lies: nfs, ..facts(vec![]) };
        assert_eq!(place(nfs.clone()), Severity::Warning);
        assert_eq!(
            place(Facts { exclusive: true, ..nfs.clone() }),
            Severity::Ok,
            "it is the operator's word"
        );
        let said = &judge(&nfs)[0];
        assert!(said.what.contains("on nfs4, which other machines may reach"), "{said:?}");
        assert!(said.advice.contains("A lock stays there, also one that no process has open"), "{said:?}");
        let mut shared = facts(vec![]);
        shared.listing.alone = false;
        assert_eq!(place(shared.clone()), Severity::Warning);
        assert_eq!(place(Facts { sexton: Some(1), ..shared }), Severity::Ok);
    }

    #[test]
    fn each_kind_of_trouble_has_a_line() {
        let late = Entry { held_too_long: true, ..entry("/s/late", VerdictName::Held) };
        let all = vec![
            entry("/s/a", VerdictName::Held),
            late,
            entry("/s/b", VerdictName::Orphaned),
            entry("/s/c", VerdictName::Orphaned),
            entry("/s/d", VerdictName::Unclear),
            entry("/s/e.reclaim", VerdictName::NotJudged),
        ];
        let found = judge(&facts(all));
        let grades: Vec<Severity> = found.iter().map(|finding| finding.grade).collect();
        assert_eq!(
            grades,
            [Severity::Ok, Severity::Warning, Severity::Problem, Severity::Warning, Severity::Warning]
        );
        assert!(found[1].what.contains("2 locks of the dead: /s/b"), "{found:?}");
        assert!(found[2].what.contains("held by pid 7 for 1m 30s, past its limit of 1m"), "{found:?}");
        assert_eq!(
            self::grades(&facts(vec![entry("/s/a", VerdictName::Held)])),
            [Severity::Ok, Severity::Ok]
        );
    }
}
