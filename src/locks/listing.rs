//! Every lock of a root as a value: what it is, whose it is, and the evidence step by step.
//!
//! It changes nothing, not even the registration of sextons. It is for listing only.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::context::SweepContext;
use super::evidence::RetryBudget;
use super::format::Content;
use super::inspect::{Finding, Judged, Sharing, inspect};
use super::kind::{Kind, LockKinds, Match};
use super::mark_file::MarkFile;
use super::open_root::{self, KnownRoot, OpenError};
use super::registration::{Exclusivity, Registration};
use super::roots::Root;
use super::sweep::limit;
use super::verdict::{Lease, MarkSays, Nested, Origin, Process, Socket, Verdict, Witness};
use super::walk::{WalkEvent, walk};
use crate::os::procfs;
use crate::os::safe_path::Place;
use crate::types::words;

/// What a look at one root gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The root's path.
    pub root: Name,
    /// Whether it could be entered; if not, there are no entries.
    pub entered: bool,
    /// Whether it does not exist.
    pub missing: bool,
    /// Whether no other sexton uses it.
    pub alone: bool,
    /// What was found, in no order.
    pub entries: Vec<Entry>,
}

impl Listing {
    /// Of a root that does not exist.
    #[must_use]
    pub fn missing(root: &Root) -> Listing {
        let root = Name { path: root.to_string(), bytes: None };
        Listing { root, entered: false, missing: true, alone: false, entries: vec![] }
    }
}

/// A file name, exact whatever bytes it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The path; bytes that are no UTF-8 are replaced, and then `bytes` has them.
    pub path: String,
    /// The path's bytes in hexadecimal, where they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<String>,
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Name {
        use std::os::unix::ffi::OsStrExt;
        let hexadecimal = || path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let bytes = path.to_str().is_none().then(hexadecimal);
        Name { path: path.to_string_lossy().into_owned(), bytes }
    }
}

words! {
    /// What is said of one thing.
    pub enum VerdictName {
        /// A process holds it.
        Held = "held",
        /// Its owner is gone.
        Orphaned = "orphaned",
        /// Its state cannot be determined.
        Unclear = "unclear",
        /// It has a lock's name and is none.
        Skipped = "skipped",
        /// It belongs to another program, and is not judged.
        NotJudged = "not-judged",
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it lies.
    pub location: Name,
    /// Its kind; none for what is not judged.
    pub kind: Option<String>,
    /// The verdict.
    pub verdict: VerdictName,
    /// Why, in words.
    pub why: String,
    /// The owner's pid, as the lock has it.
    pub pid: Option<i32>,
    /// The name of the process that has this pid now.
    pub process: Option<String>,
    /// How old it is, in seconds.
    pub age_seconds: Option<u64>,
    /// How long it may be held before that is worth a word, in seconds.
    pub limit_seconds: Option<u64>,
    /// Whether it is held, and past that.
    pub held_too_long: bool,
    /// What was asked and what the answer was, in order.
    pub evidence: Vec<Step>,
}

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The question.
    pub asked: String,
    /// The answer.
    pub answer: String,
}

/// Looks at everything in `root`, as a sweep at a quiet moment would, and removes nothing. `exclusive`: the operator
/// says that no owner of a lock lives outside this pid namespace. `progress` is told now and then how many things have
/// been looked at. Afterwards this process is the root's owner's, and `known` says who that is.
#[must_use]
pub fn list(
    root: &Root,
    known: &mut KnownRoot,
    lock_kinds: &LockKinds,
    context: &SweepContext<'_>,
    exclusive: bool,
    report_after: Option<Duration>,
    progress: &mut dyn FnMut(usize),
) -> Listing {
    let before = *known;
    let mut marks = MarkFile::none();
    let mut decided = |owner| known.owner = Some(owner);
    let mut peek = |place: &Place| marks = MarkFile::peek(place);
    let entered = match open_root::enter(root, context, before, &mut decided, &mut peek) {
        Ok(entered) => entered,
        Err(shut) => {
            known.refused = shut == OpenError::Refused;
            return Listing { missing: shut == OpenError::Missing, ..Listing::missing(root) };
        }
    };
    let directory = entered.directory.as_fd();
    let alone = matches!(Registration::peek(directory), Exclusivity::Alone);
    let sharing = Sharing::of(root, directory, !alone, exclusive);
    let mut patience = RetryBudget::NEW;
    let mut entries: Vec<Entry> = Vec::new();
    walk(directory, &entered.path, &lock_kinds.rules(), &mut |sight| {
        let entry = match sight {
            WalkEvent::Matches(found) => {
                for (spot, what) in found {
                    entries.extend(match what {
                        Match::Lock(kind) => {
                            let finding = inspect(spot, kind, context, sharing, &mut patience, &marks);
                            of_finding(&spot.path, kind, &finding, report_after)
                        }
                        Match::NotOurs(why) => {
                            spot.exists().then(|| other(&spot.path, VerdictName::NotJudged, why))
                        }
                    });
                    progress(entries.len());
                }
                return;
            }
            WalkEvent::NotOurs(path, why) => Some(other(&path, VerdictName::NotJudged, &why)),
            WalkEvent::Closed(path, error) => {
                Some(other(&path, VerdictName::Unclear, &format!("this directory cannot be read: {error}")))
            }
            WalkEvent::Link(path) => {
                Some(other(&path, VerdictName::Skipped, &"a symbolic link, which is not followed"))
            }
        };
        entries.extend(entry);
        progress(entries.len());
    });
    Listing { root: Name::from(entered.path.as_path()), entered: true, missing: false, alone, entries }
}

fn other(path: &Path, verdict: VerdictName, why: &dyn std::fmt::Display) -> Entry {
    Entry {
        location: Name::from(path),
        kind: None,
        verdict,
        why: why.to_string(),
        pid: None,
        process: None,
        age_seconds: None,
        limit_seconds: None,
        held_too_long: false,
        evidence: Vec::new(),
    }
}

fn of_finding(path: &Path, kind: &Kind, finding: &Finding, report_after: Option<Duration>) -> Option<Entry> {
    let kind_name = Some(kind.name.to_string());
    match finding {
        Finding::Vanished => None,
        Finding::Odd(not_a_lock) => {
            Some(Entry { kind: kind_name, ..other(path, VerdictName::Skipped, not_a_lock) })
        }
        Finding::Unreadable(errno) => {
            let why = format!("it cannot be read: {errno}");
            Some(Entry { kind: kind_name, ..other(path, VerdictName::Unclear, &why) })
        }
        Finding::Judged(judged) => Some(of_judged(path, kind, judged, report_after)),
    }
}

fn of_judged(path: &Path, kind: &Kind, judged: &Judged, report_after: Option<Duration>) -> Entry {
    let (verdict, why) = match &judged.verdict {
        Verdict::Held(why) => (VerdictName::Held, why.to_string()),
        Verdict::Orphaned(why) => (VerdictName::Orphaned, why.to_string()),
        Verdict::Unclear(why) => (VerdictName::Unclear, why.to_string()),
    };
    let owner = judged.evidence.content.owner();
    let limit = limit(kind, judged, report_after);
    let process = owner.and_then(|owner| procfs::stat(owner.pid).ok()?);
    Entry {
        kind: Some(kind.name.to_string()),
        pid: owner.map(|owner| owner.pid.raw()),
        process: process.map(|stat| String::from_utf8_lossy(&stat.name).into_owned()),
        age_seconds: Some(judged.age.as_secs()),
        limit_seconds: limit.map(|limit| limit.as_secs()),
        held_too_long: verdict == VerdictName::Held && limit.is_some_and(|limit| judged.age > limit),
        evidence: steps(judged),
        ..other(path, verdict, &why)
    }
}

/// The evidence in the order in which it is weighed.
fn steps(judged: &Judged) -> Vec<Step> {
    let evidence = &judged.evidence;
    let yes_no = |yes: bool, one: &str, other: &str| if yes { one.to_owned() } else { other.to_owned() };
    let content = match &evidence.content {
        Content::Owner(owner) => {
            let start = owner.start.map_or("without its start time".to_owned(), |start| {
                format!("started at tick {} since boot", start.0)
            });
            format!("pid {}, {start}", owner.pid)
        }
        Content::Empty => "nothing: it is empty".to_owned(),
        Content::Invalid(defect) => format!("no owner: {defect}"),
    };
    let lease = match evidence.lease {
        Lease::Busy => "yes".to_owned(),
        Lease::Granted => "no".to_owned(),
        Lease::NoInformation(errno) => format!("the kernel does not say ({errno})"),
        Lease::NotAFile => "cannot be asked: it is no file".to_owned(),
    };
    let process = match evidence.process {
        Process::NotNamed => "none is named".to_owned(),
        Process::Absent => "there is none of this number".to_owned(),
        Process::Zombie => "it is dead and not yet reaped".to_owned(),
        Process::HeldZombie => "it has just died".to_owned(),
        Process::OwnProcess => "the number is sexton's own now".to_owned(),
        Process::Lives(start) => format!("one of this number lives, started at tick {} since boot", start.0),
        Process::OtherTimeNs => "one of this number lives, perhaps in another time namespace".to_owned(),
        Process::Hidden => "one of this number exists, but /proc does not show it".to_owned(),
    };
    let origin = match evidence.origin {
        Origin::NotRecorded => "not recorded",
        Origin::Here => "on this host, in this boot",
        Origin::OtherHost => "on a host of another name",
        Origin::OtherBoot => "in another boot",
    };
    let open_says = yes_no(
        evidence.keeps_open,
        "as long as it holds the lock, so a closed file has no owner",
        "only for a moment, so that a closed file proves nothing",
    );
    let local = yes_no(evidence.local, "this machine alone", "perhaps other machines too");
    let nested = match evidence.nested {
        Nested::NotSeen => "it was not asked, or cannot be seen".to_owned(),
        Nested::NoOwner => "no".to_owned(),
        Nested::Owner(pid) => format!("process {pid}, started when the lock says"),
        Nested::MayBeOwner(pid) => format!("process {pid}, and nothing tells whether it is the owner"),
    };
    let witness = match evidence.witness {
        Witness::NoAnswer => "there is none, or they could not be asked",
        Witness::Open => "yes",
        Witness::NotOpen => "no",
    };
    let socket = match evidence.socket {
        Socket::NoAnswer => {
            "there is none, or it could not be asked, or it may be another owner's".to_owned()
        }
        Socket::Listens(Some(pid)) => format!("yes, process {pid}"),
        Socket::Listens(None) => "yes".to_owned(),
        Socket::Refused => "no".to_owned(),
    };
    let mark = match evidence.mark {
        MarkSays::Nothing => "no",
        MarkSays::OwnerLives => "yes, and it lives",
        MarkSays::OwnerGone => "yes, and it is dead",
        MarkSays::LifeOver => "yes, before sexton's own end, with which it died",
    };
    let shared = yes_no(evidence.shared, "yes, or it cannot be told", "no");
    let age = yes_no(evidence.before_boot, "yes, so that its owner is dead", "no, or it cannot be told");
    let visible = yes_no(evidence.all_visible, "yes", "no: an owner may live in another container");
    let declared = yes_no(
        evidence.declared_exclusive,
        "yes: the configuration says so (locks.sharing)",
        "no (locks.sharing)",
    );
    let table = [
        ("what does it say of its owner?", content),
        ("does anybody on this machine have it open?", lease),
        ("when does an owner of this kind have it open?", open_says),
        ("does a process have a file open that the owner keeps open instead?", witness.to_owned()),
        ("does a process listen at the owner's socket?", socket),
        ("has sexton seen the owner alive in its own pid namespace?", mark.to_owned()),
        ("who reaches the filesystem?", local),
        ("what has become of the process?", process),
        ("does a process have the number in a pid namespace below ours?", nested),
        ("where did the owner live?", origin.to_owned()),
        ("does another sexton use this root?", shared),
        ("is the lock older than this boot?", age),
        ("is every process of this machine visible from here?", visible),
        ("does the operator say that no owner lives in another container?", declared),
    ];
    table.into_iter().map(|(asked, answer)| Step { asked: asked.to_owned(), answer }).collect()
}
