//! One sweep of one root, from the entrance to the last line of the log.
//!
//! It runs in a process of its own that ends with it: it gives its privileges up for good, and it may hang.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::entrance::{self, once};
use super::evidence::{self, Patience};
use super::inspect::{Finding, Specimen, inspect};
use super::kind::{Kind, OPENCLAW, rules};
use super::registration::{NAME, Registration, Standing};
use super::remove::{Removal, remove};
use super::roots::Root;
use super::scene::Scene;
use super::shown::Shown;
use super::verdict::{Doubt, Orphan, Verdict};
use super::walk::{Sight, Spot, walk};
use crate::ids::Pid;

/// What becomes of an orphaned lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// It is removed.
    #[default]
    Remove,
}

/// What is to be swept, and when.
#[derive(Debug)]
pub struct Request<'a> {
    /// The root.
    pub root: &'a Root,
    /// The moment.
    pub scene: Scene<'a>,
    /// The open registration that an earlier sweep of this root returned.
    pub registration: Option<BorrowedFd<'a>>,
    /// What becomes of orphaned locks.
    pub action: Action,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Report {
    /// Whether the root exists and could be entered; if not, everything below is zero.
    pub entered: bool,
    /// Locks that were orphaned and are gone.
    pub removed: u32,
    /// Locks that somebody holds.
    pub held: u32,
    /// Locks of which nobody can tell.
    pub unclear: u32,
    /// Locks that would be orphaned at a quiet moment: they wait for one.
    pub waiting: u32,
    /// Things with a lock's name that are none.
    pub skipped: u32,
    /// Orphaned locks that could not be removed, and directories that could not be read.
    pub failed: u32,
    /// Whether no other sexton used the root while it was swept.
    pub exclusive: bool,
    /// The open file that registers us in the root, if this sweep opened a new one. Whoever gets it keeps it
    /// open as long as anything lives that might take a lock there.
    pub registration: Option<OwnedFd>,
}

/// Sweeps one root: finds every lock, judges it, and acts on the orphaned ones. Each removal, failure and
/// doubt is a line in the log.
///
/// To be called in a freshly forked child with signals blocked (SIGIO comes if somebody opens a lock while it
/// is being looked at). Afterwards the process belongs to the root's owner.
#[must_use]
pub fn sweep(request: &Request<'_>) -> Report {
    let Some(root) = entrance::enter(request.root, &request.scene) else { return Report::default() };
    let directory = root.directory.as_fd();
    let registration = Registration::take(directory, request.registration, request.scene.quiet);
    let carries_flock = evidence::filesystem(directory).carries_flock;
    let exclusive = carries_flock && matches!(registration.standing(), Standing::Alone);
    say_standing(&request.scene, &Shown(&root.path), registration.standing(), carries_flock);

    let mut sweep = Sweep {
        scene: &request.scene,
        action: request.action,
        patience: Patience::NEW,
        report: Report { entered: true, exclusive, ..Report::default() },
    };
    walk(directory, &root.path, &rules(OPENCLAW), &mut |sight| match sight {
        Sight::Match(spot, kind) => sweep.lock(&spot, kind),
        Sight::Closed(path, error) => sweep.closed(&Shown(&path), &error),
        Sight::Link(path) => sweep.link(&Shown(&path)),
    });
    let mut report = sweep.report;
    report.registration = registration.settle();
    tracing::debug!(name: "root-swept", root = %Shown(&root.path), removed = report.removed, held = report.held,
        unclear = report.unclear, waiting = report.waiting, skipped = report.skipped, failed = report.failed, exclusive,
        "swept the lock root");
    report
}

fn say_standing(scene: &Scene<'_>, root: &Shown<'_>, standing: &Standing, carries_flock: bool) {
    match standing {
        Standing::Unknown(error) => {
            once!(scene, name: "root-unregistered", root = %root, error = %error,
                "cannot use {NAME} in the lock root {root} ({error}): other sextons there go unseen, so that only \
                 locks that nobody has open are removed");
        }
        Standing::Shared if scene.quiet => {
            tracing::info!(name: "root-shared", root = %root, "another sexton uses the lock root {root}");
        }
        Standing::Alone if !carries_flock => {
            tracing::info!(name: "root-shared", root = %root,
                "the lock root {root} lies on a filesystem that other machines may use unseen");
        }
        Standing::Alone | Standing::Shared => {}
    }
}

struct Sweep<'a> {
    scene: &'a Scene<'a>,
    action: Action,
    patience: Patience,
    report: Report,
}

/// What a line about a lock says of it.
struct Said<'a> {
    path: Shown<'a>,
    kind: &'static str,
    pid: Option<i32>,
    age: humantime::FormattedDuration,
}

impl Sweep<'_> {
    fn lock(&mut self, spot: &Spot<'_>, kind: &Kind) {
        let path = Shown(&spot.path);
        match inspect(spot, kind, self.scene, self.report.exclusive, &mut self.patience) {
            Finding::Vanished => {}
            Finding::Odd(oddity) => {
                self.report.skipped += 1;
                tracing::warn!(name: "lock-skipped", path = %path, kind = kind.name, reason = %oddity,
                    "left alone what only has a lock's name");
            }
            Finding::Judged { verdict, content, age, specimen } => {
                let pid = content.and_then(|content| content.owner().map(|owner| owner.pid)).map(Pid::raw);
                let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
                let said = Said { path, kind: kind.name, pid, age };
                match (verdict, specimen) {
                    (Verdict::Held(why), _) => {
                        self.report.held += 1;
                        tracing::info!(name: "lock-held", path = %said.path, kind = said.kind, pid = said.pid,
                            age = %said.age, reason = %why, "a lock is held");
                    }
                    (Verdict::Orphaned(why), Some(specimen)) => self.orphaned(spot, &said, &why, &specimen),
                    (Verdict::Orphaned(_), None) => {}
                    (Verdict::Unclear(Doubt::Busy(why)), _) => {
                        self.report.waiting += 1;
                        tracing::info!(name: "lock-waiting", path = %said.path, kind = said.kind, pid = said.pid,
                            age = %said.age, reason = %why, "an orphaned lock waits for a quiet moment");
                    }
                    (Verdict::Unclear(why), _) => {
                        self.report.unclear += 1;
                        tracing::warn!(name: "lock-unclear", path = %said.path, kind = said.kind, pid = said.pid,
                            age = %said.age, reason = %why, "left a lock alone whose owner cannot be told");
                    }
                }
            }
        }
    }

    fn orphaned(&mut self, spot: &Spot<'_>, said: &Said<'_>, why: &Orphan, specimen: &Specimen) {
        let done = match self.action {
            Action::Remove => remove(spot, specimen),
        };
        match done {
            Removal::Done => {
                self.report.removed += 1;
                tracing::warn!(name: "lock-removed", path = %said.path, kind = said.kind, pid = said.pid,
                    age = %said.age, reason = %why, "removed a lock that its owner left behind");
            }
            Removal::AlreadyGone => {}
            Removal::Changed => {
                self.report.held += 1;
                tracing::info!(name: "lock-changed", path = %said.path, kind = said.kind,
                    "left a lock alone that changed while it was judged");
            }
            Removal::Failed(error) => {
                self.report.failed += 1;
                tracing::warn!(name: "lock-remove-failed", path = %said.path, kind = said.kind, pid = said.pid,
                    age = %said.age, reason = %why, error = %error, "could not remove an orphaned lock");
            }
        }
    }

    fn closed(&mut self, path: &Shown<'_>, error: &io::Error) {
        self.report.failed += 1;
        once!(self.scene, name: "directory-unreadable", path = %path, error = %error,
            "cannot look for locks in a directory");
    }

    fn link(&mut self, path: &Shown<'_>) {
        self.report.skipped += 1;
        once!(self.scene, name: "directory-symlink", path = %path,
            "did not follow a symbolic link where a directory with locks was expected");
    }
}
