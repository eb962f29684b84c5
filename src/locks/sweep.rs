//! One sweep of one root, from the opening of the root to the last line of the log.
//!
//! It runs in a process of its own that ends with it: it gives its privileges up for good, and it may hang.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tracing::dispatcher;

use super::context::SweepContext;
use super::evidence::{self, RetryBudget};
use super::format::{Content, is_pid_and_more};
use super::hand_over::{hand_over, is_handed_over};
use super::inspect::{Finding, Judged, Sharing, inspect};
use super::kind::{Kind, LockKinds, Match};
use super::lease_watch::{LeaseWatch, LiveSweep};
use super::mark_file::MarkFile;
use super::marks::Mark;
use super::open_root::{self, KnownRoot, OpenError, RootOwner, once};
use super::registration::{Exclusivity, NAME, Registration};
use super::remove::{Removal, remove};
use super::roots::Root;
use super::rule::NotOurs;
use super::verdict::{Orphan, Proof, UnclearReason, Verdict};
use super::walk::{DirEntry, WalkEvent, walk};
use crate::os::lease;
use crate::os::safe_path::Place;
use crate::types::{Errno, Escaped, Pid};

/// How long after it was seen a lock's owner has to be seen again before the lock is marked.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// From how many names in a directory on a second thread is worth its start.
const MANY: usize = 128;
/// The second thread's stack, in bytes; it is used to a tenth.
const STACK: usize = 256 * 1024;

/// What becomes of an orphaned lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// It is removed.
    #[default]
    Remove,
    /// It is rewritten to name an owner that cannot exist, if a gateway recovers from finding it so; any other
    /// kind is removed.
    HandOver,
    /// It is removed, unless it was handed over before: a gateway may be about to find it.
    Spare,
}

/// What is to be swept, and when.
#[derive(Debug)]
pub struct Request<'a> {
    /// The root.
    pub root: &'a Root,
    /// What earlier sweeps have found out of it.
    pub known: KnownRoot,
    /// The kinds of locks that are known.
    pub lock_kinds: &'a LockKinds,
    /// The moment.
    pub context: SweepContext<'a>,
    /// The open registration that an earlier sweep of this root returned.
    pub registration: Option<BorrowedFd<'a>>,
    /// The open file with marks that an earlier sweep of this root returned.
    pub marks: Option<BorrowedFd<'a>>,
    /// What becomes of orphaned locks.
    pub action: Action,
    /// Whether the operator says that no owner of a lock lives outside this pid namespace.
    pub exclusive: bool,
    /// How long any lock may be held before it is reported, besides the limit that it sets itself.
    pub report_after: Option<Duration>,
    /// What is remembered of locks that earlier sweeps reported.
    pub reported: &'a [u64],
    /// How locks are removed while the gateway lives; without it they wait.
    pub beside: Option<LiveSweep<'a>>,
}

/// A lock whose recorded owner is known, and which was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// Where it lay, for eyes: see [`Escaped`].
    pub path: String,
    /// Its owner, as the lock had it.
    pub pid: i32,
    /// When it was taken, by its own word or else by its file's time, which is one of whole seconds.
    pub taken: SystemTime,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Report {
    /// Whether the root exists and could be entered; if not, everything below is zero.
    pub entered: bool,
    /// Whether the root does not exist.
    pub missing: bool,
    /// Whether it was not entered because another user may have put something else in its place.
    pub refused: bool,
    /// Locks that were orphaned and are gone.
    pub removed: u32,
    /// Locks that lie there for the next gateway to find, handed over now or before.
    pub handed_over: u32,
    /// Locks that a process holds.
    pub held: u32,
    /// Locks whose state cannot be determined.
    pub unclear: u32,
    /// Locks that would be orphaned at a quiet moment: they wait for one.
    pub waiting: u32,
    /// Things with a lock's name that are none.
    pub skipped: u32,
    /// Whether something could not be looked at because the system had no descriptor or memory to give.
    pub starved: bool,
    /// Orphaned locks that could not be removed, and directories that could not be read.
    pub failed: u32,
    /// What is to be remembered of the locks that were reported now, because they are held past their limits or
    /// unclear.
    pub reported: Vec<u64>,
    /// The locks that were removed, as far as their owners are known.
    pub released: Vec<Released>,
    /// Whether no other sexton used the root while it was swept.
    pub alone: bool,
    /// The open file that registers us in the root, if this sweep opened a new one. The caller keeps it open as long as
    /// any process lives that might take a lock there.
    pub registration: Option<OwnedFd>,
    /// The open file with the marks of the root's locks, if this sweep opened it. The caller keeps it open as long as
    /// sexton lives.
    pub marks: Option<OwnedFd>,
}

impl Report {
    /// Adds what another thread of the same sweep did.
    fn add(&mut self, other: Report) {
        self.removed += other.removed;
        self.handed_over += other.handed_over;
        self.held += other.held;
        self.unclear += other.unclear;
        self.waiting += other.waiting;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.starved |= other.starved;
        self.reported.extend(other.reported);
        self.released.extend(other.released);
    }
}

/// Sweeps one root: finds every lock, judges it, and acts on the orphaned ones. Each removal, failure and
/// doubt is a line in the log.
///
/// Call it in a freshly forked child with signals blocked: SIGIO comes if a process opens a lock while it is being
/// examined. Afterwards this process runs as the root's owner. `decided` is called with that owner, if it was not known
/// before.
#[must_use]
pub fn sweep(request: &Request<'_>, decided: &mut dyn FnMut(RootOwner)) -> Report {
    let context = &request.context;
    let mut marks = MarkFile::none();
    let mut take = |place: &Place| {
        let init = context.sexton == Pid::INIT;
        marks = MarkFile::take(place, request.marks, init, context.alive);
    };
    let root = match open_root::enter(request.root, context, request.known, decided, &mut take) {
        Ok(root) => root,
        Err(shut) => {
            let (missing, refused) = (shut == OpenError::Missing, shut == OpenError::Refused);
            return Report { missing, refused, ..Report::default() };
        }
    };
    let directory = root.directory.as_fd();
    let registration = Registration::take(directory, request.registration);
    let alone = matches!(registration.standing(), Exclusivity::Alone);
    let may_be_remote = !request.exclusive && !evidence::is_local(directory);
    log_exclusivity(&request.context, &Escaped(&root.path), registration.standing(), may_be_remote);

    let mut sweep = Sweep {
        context: &request.context,
        registration: &registration,
        action: request.action,
        report_after: request.report_after,
        reported: request.reported,
        sharing: Sharing::of(request.root, directory, !alone, request.exclusive),
        retry_budget: if request.context.patient { RetryBudget::NEW } else { RetryBudget::NONE },
        report: Report { entered: true, alone, ..Report::default() },
        lease_watch: request.beside.as_ref().map(|_| LeaseWatch::default()),
        marks: &marks,
        marked: Vec::new(),
        unmarked: Vec::new(),
        complete: true,
    };
    walk(directory, &root.path, &request.lock_kinds.rules(), &mut |sight| match sight {
        WalkEvent::Matches(found) => sweep.matches(found),
        WalkEvent::NotOurs(path, why) => foreign(&Escaped(&path), why),
        WalkEvent::Closed(path, error) => sweep.closed(&Escaped(&path), &error),
        WalkEvent::Link(path) => sweep.link(&Escaped(&path)),
    });
    sweep.finish_lease_watch(request.beside.as_ref());
    let new = sweep.confirmed();
    let kept = if sweep.complete { sweep.marked } else { marks.places() };
    let mut report = sweep.report;
    marks.renew(&kept, new);
    report.marks = marks.into_opened();
    report.registration = registration.settle();
    tracing::debug!(name: "root-swept", root = %Escaped(&root.path), removed = report.removed,
        handed_over = report.handed_over, held = report.held, unclear = report.unclear, waiting = report.waiting, skipped = report.skipped, failed = report.failed, alone,
        "swept the lock root");
    report
}

fn log_exclusivity(
    context: &SweepContext<'_>,
    root: &Escaped<'_>,
    standing: &Exclusivity,
    may_be_remote: bool,
) {
    match standing {
        Exclusivity::Unknown(error) => {
            once!(context, name: "root-unregistered", root = %root, error = %error,
                "cannot use {NAME} in the lock root {root} ({error}): other sextons there go unseen, so that only \
                 locks that are kept open by their owners, and that no process has open, are removed");
        }
        Exclusivity::Shared if context.quiet => {
            tracing::info!(name: "root-shared", root = %root, "another sexton uses the lock root {root}");
        }
        Exclusivity::Alone if may_be_remote && context.first => {
            tracing::info!(name: "root-shared", root = %root,
                "the lock root {root} lies on a filesystem that other machines may use unseen");
        }
        Exclusivity::Alone | Exclusivity::Shared => {}
    }
}

fn foreign(path: &Escaped<'_>, why: NotOurs) {
    tracing::debug!(name: "lock-not-judged", path = %path, reason = %why, "left alone what is not ours to judge");
}

/// Whether a file with a common name is what another program has there, in a format that is not judged.
fn is_of_others(judged: &Judged) -> bool {
    matches!(judged.evidence.content, Content::Invalid(_))
        && judged.lock_file.bytes().is_some_and(is_pid_and_more)
}

struct Sweep<'a> {
    context: &'a SweepContext<'a>,
    registration: &'a Registration<'a>,
    action: Action,
    report_after: Option<Duration>,
    reported: &'a [u64],
    sharing: Sharing,
    retry_budget: RetryBudget,
    report: Report,
    lease_watch: Option<LeaseWatch<'a>>,
    marks: &'a MarkFile<'a>,
    /// The places of the marks of locks that are there.
    marked: Vec<usize>,
    /// Locks whose owners live in our pid namespace, and that are not marked.
    unmarked: Vec<Unmarked<'a>>,
    /// Whether everything was looked at.
    complete: bool,
}

/// A lock that is to be marked.
struct Unmarked<'a> {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
    kind: &'a Kind,
    mark: Mark,
}

/// What is remembered of a lock that was said to be unclear. That it is held too long is another matter.
fn unclear(judged: &Judged) -> u64 {
    !judged.lock_file.fingerprint()
}

/// The mark of a lock whose owner was seen alive.
fn mark_of(judged: &Judged) -> Option<Mark> {
    Mark::new(&judged.lock_file, &judged.evidence.content, judged.seen?)
}

/// What a line about a lock says of it.
pub(super) struct LogFields<'a> {
    path: Escaped<'a>,
    kind: &'a str,
    pid: Option<i32>,
    age: humantime::FormattedDuration,
}

impl<'a> LogFields<'a> {
    pub(super) fn new(path: &'a Path, kind: &'a Kind, judged: &Judged) -> LogFields<'a> {
        let pid = judged.evidence.content.owner().map(|owner| owner.pid.raw());
        let age = humantime::format_duration(Duration::from_secs(judged.age.as_secs()));
        LogFields { path: Escaped(path), kind: &kind.name, pid, age }
    }
}

impl<'a> Sweep<'a> {
    /// Where there are many, two threads share them: one waits for the filesystem while the other judges. A thread
    /// that cannot be had only means that it takes longer.
    fn matches(&mut self, found: &[(DirEntry<'_>, Match<'a>)]) {
        let half = if found.len() < MANY || self.lease_watch.is_some() { 0 } else { found.len() / 2 };
        let (there, here) = found.split_at(half);
        if there.is_empty() {
            return self.each(here);
        }
        let mut other = Sweep {
            retry_budget: self.retry_budget.spend_half(),
            report: Report::default(),
            lease_watch: None,
            marked: Vec::new(),
            unmarked: Vec::new(),
            ..*self
        };
        let log = dispatcher::get_default(Clone::clone);
        let shared = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let begun = thread.spawn_scoped(scope, || dispatcher::with_default(&log, || other.each(there)));
            self.each(here);
            begun.is_ok()
        });
        if !shared {
            self.each(there);
        }
        self.retry_budget.refund(&other.retry_budget);
        self.report.add(other.report);
        self.marked.extend(other.marked);
        self.unmarked.extend(other.unmarked);
        self.complete &= other.complete;
    }

    fn each(&mut self, found: &[(DirEntry<'_>, Match<'a>)]) {
        for (spot, what) in found {
            match what {
                Match::Lock(kind) => self.lock(spot, kind),
                Match::NotOurs(why) if spot.exists() => foreign(&Escaped(&spot.path), *why),
                Match::NotOurs(_) => {}
            }
        }
    }

    fn lock(&mut self, spot: &DirEntry<'_>, kind: &'a Kind) {
        let path = Escaped(&spot.path);
        match inspect(spot, kind, self.context, self.sharing, &mut self.retry_budget, self.marks) {
            Finding::Vanished => {}
            Finding::Odd(not_a_lock) => {
                self.report.skipped += 1;
                tracing::warn!(name: "lock-skipped", path = %path, kind = %kind.name, reason = %not_a_lock,
                    "left alone what only has a lock's name");
            }
            Finding::Unreadable(errno) => {
                self.complete = false;
                self.report.unclear += 1;
                self.report.starved |= errno.is_file_limit();
                let why = UnclearReason::Unreadable(errno);
                tracing::warn!(name: "lock-unclear", path = %path, kind = %kind.name, reason = %why,
                    "left a lock alone whose owner cannot be told");
            }
            Finding::Judged(judged) => {
                match self.marks.place_of(&judged.lock_file) {
                    Some(place) => self.marked.push(place),
                    None => self.wants_mark(spot, kind, &judged),
                }
                self.judged(spot, kind, judged);
            }
        }
    }

    /// Whether an earlier sweep has said of this very lock that it is unclear.
    fn is_known(&self, judged: &Judged) -> bool {
        self.reported.contains(&unclear(judged))
    }

    fn wants_mark(&mut self, spot: &DirEntry<'_>, kind: &'a Kind, judged: &Judged) {
        if judged.seen.is_none() || !self.marks.has_room(self.unmarked.len()) {
            return;
        }
        if let (Some(mark), Ok(directory)) = (mark_of(judged), spot.directory.try_clone_to_owned()) {
            let (name, path) = (spot.name.to_owned(), spot.path.clone());
            self.unmarked.push(Unmarked { directory, name, path, kind, mark });
        }
    }

    /// Looks at those that are to be marked once more, a moment later: what holds then as well was no passer-by, who
    /// opens another's lock to read it, or to try whether it is free.
    fn confirmed(&mut self) -> Vec<Mark> {
        if !self.unmarked.is_empty() {
            lease::pause(SECOND_LOOK);
        }
        let mut confirmed = Vec::new();
        for Unmarked { directory, name, path, kind, mark } in std::mem::take(&mut self.unmarked) {
            let spot = DirEntry { directory: directory.as_fd(), name: &name, path, kind: None };
            let mut once = RetryBudget::NONE;
            let again = inspect(&spot, kind, self.context, self.sharing, &mut once, self.marks);
            if let Finding::Judged(judged) = again {
                confirmed.extend(mark_of(&judged).filter(|again| *again == mark));
            }
        }
        confirmed
    }

    fn judged(&mut self, spot: &DirEntry<'_>, kind: &'a Kind, judged: Box<Judged>) {
        let said = LogFields::new(&spot.path, kind, &judged);
        let handed_over = kind.recovers && is_handed_over(&judged.evidence.content);
        match judged.verdict {
            Verdict::Held(why) => {
                self.report.held += 1;
                tracing::info!(name: "lock-held", path = %said.path, kind = said.kind, pid = said.pid,
                    age = %said.age, reason = %why, "a lock is held");
                self.held(kind, &judged, &said);
            }
            Verdict::Orphaned(_) | Verdict::Unclear(UnclearReason::Busy(_))
                if handed_over && self.action != Action::Remove =>
            {
                self.report.handed_over += 1;
                tracing::debug!(name: "lock-waits-for-gateway", path = %said.path, kind = said.kind,
                    "a lock that was handed over lies there for the gateway to find");
            }
            Verdict::Orphaned(why) => self.orphaned(spot, kind, &said, &why, &judged),
            Verdict::Unclear(UnclearReason::Busy(why)) => {
                let watched = match &mut self.lease_watch {
                    Some(lease_watch) => lease_watch.watch(spot, kind, why, judged),
                    None => Err(judged),
                };
                if let Err(judged) = watched {
                    let can_be_watched = judged.lock_file.leasable_parts().is_some();
                    self.waits(&LogFields::new(&spot.path, kind, &judged), &why, can_be_watched);
                }
            }
            Verdict::Unclear(why) if kind.common_name && is_of_others(&judged) => {
                self.report.unclear += 1;
                tracing::debug!(name: "lock-unclear", path = %said.path, kind = said.kind, pid = said.pid,
                    age = %said.age, reason = %why, "left a file of another program alone");
            }
            // The process that has its number is the owner, as a rule.
            Verdict::Unclear(why @ UnclearReason::NumberInUse(_)) if self.context.alive => {
                self.report.unclear += 1;
                tracing::debug!(name: "lock-unclear", path = %said.path, kind = said.kind, pid = said.pid,
                    age = %said.age, reason = %why, "left a lock alone whose owner may live");
            }
            Verdict::Unclear(why) if self.context.alive && self.is_known(&judged) => {
                self.report.unclear += 1;
                tracing::debug!(name: "lock-unclear", path = %said.path, kind = said.kind, pid = said.pid,
                    age = %said.age, reason = %why, "left a lock alone whose owner still cannot be told");
            }
            Verdict::Unclear(why) => {
                self.report.unclear += 1;
                self.report.reported.push(unclear(&judged));
                tracing::warn!(name: "lock-unclear", path = %said.path, kind = said.kind, pid = said.pid,
                    age = %said.age, reason = %why, "left a lock alone whose owner cannot be told");
            }
        }
    }

    /// Removes the watched locks that no process has opened, if all processes can be frozen for it.
    fn finish_lease_watch(&mut self, beside: Option<&LiveSweep<'_>>) {
        let (Some(lease_watch), Some(beside)) = (self.lease_watch.take(), beside) else { return };
        let (watched, wanted) = lease_watch.keep(beside.settle);
        for lock in &wanted {
            self.waits(&lock.said(), &lock.why, true);
        }
        if watched.is_empty() {
            return;
        }
        let still = (beside.freeze)();
        for lock in watched {
            if still && lock.is_unopened() {
                self.orphaned(&lock.spot(), lock.kind, &lock.said(), &lock.why, &lock.judged);
            } else {
                self.waits(&lock.said(), &lock.why, true);
            }
        }
        if still {
            (beside.thaw)();
        }
    }

    fn waits(&mut self, said: &LogFields<'_>, why: &Orphan, can_be_watched: bool) {
        self.report.waiting += 1;
        if can_be_watched {
            tracing::info!(name: "lock-waiting", path = %said.path, kind = said.kind, pid = said.pid,
                age = %said.age, reason = %why, "an orphaned lock waits for a quiet moment");
        } else {
            tracing::info!(name: "lock-waiting", path = %said.path, kind = said.kind, pid = said.pid,
                age = %said.age, reason = %why,
                "an orphaned lock that cannot be watched, because it is no file, waits for the end of all who run");
        }
    }

    /// A lock whose owner lives stays, however long; but it is said once.
    fn held(&mut self, kind: &Kind, judged: &Judged, said: &LogFields<'_>) {
        let Some(limit) = limit(kind, judged, self.report_after) else { return };
        let fingerprint = judged.lock_file.fingerprint();
        if judged.age <= limit || self.reported.contains(&fingerprint) {
            return;
        }
        self.report.reported.push(fingerprint);
        let limit = humantime::format_duration(limit);
        tracing::warn!(name: "lock-held-too-long", path = %said.path, kind = said.kind, pid = said.pid,
            age = %said.age, %limit,
            "a living process holds a lock past its limit; it is not removed. Look what its owner is doing, and \
             restart the gateway if it is stuck");
    }

    fn orphaned(
        &mut self,
        spot: &DirEntry<'_>,
        kind: &Kind,
        said: &LogFields<'_>,
        why: &Orphan,
        judged: &Judged,
    ) {
        if why.proof != Proof::NotOpen && self.is_joined(said, why) {
            return;
        }
        let hands_over = self.action == Action::HandOver && kind.recovers;
        let lock = &judged.lock_file;
        let done = self.sharing.as_owner((lock.owner(), lock.group()), || {
            if hands_over { hand_over(spot, lock) } else { remove(spot, lock) }
        });
        match done.unwrap_or_else(Removal::Failed) {
            Removal::Done if hands_over => {
                self.report.handed_over += 1;
                tracing::warn!(name: "lock-handed-over", path = %said.path, kind = said.kind, pid = said.pid,
                    age = %said.age, reason = %why,
                    "marked a lock that its owner left behind, for the gateway to recover from");
            }
            Removal::Done => {
                self.report.removed += 1;
                let taken = self.context.now.checked_sub(judged.age);
                if let (Some(pid), Some(taken)) = (said.pid, taken) {
                    self.report.released.push(Released { path: said.path.to_string(), pid, taken });
                }
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
                let deed = if hands_over { "hand over" } else { "remove" };
                tracing::warn!(name: "lock-remove-failed", path = %said.path, kind = said.kind, pid = said.pid,
                    age = %said.age, reason = %why, error = %error, "could not {deed} an orphaned lock");
            }
        }
    }

    /// Whether another sexton has come into the root since it was asked; then the lock stays.
    fn is_joined(&mut self, said: &LogFields<'_>, why: &Orphan) -> bool {
        let joined = !self.registration.still_alone();
        if joined {
            self.report.unclear += 1;
            let why = UnclearReason::SharedRoot(why.owner);
            tracing::warn!(name: "lock-unclear", path = %said.path, kind = said.kind, pid = said.pid,
                age = %said.age, reason = %why, "left a lock alone, as another sexton has just come into its root");
        }
        joined
    }

    fn closed(&mut self, path: &Escaped<'_>, error: &io::Error) {
        self.complete = false;
        self.report.failed += 1;
        self.report.starved |= Errno(error.raw_os_error().unwrap_or_default()).is_file_limit();
        once!(self.context, name: "directory-unreadable", path = %path, error = %error,
            "cannot look for locks in a directory");
    }

    fn link(&mut self, path: &Escaped<'_>) {
        self.report.skipped += 1;
        once!(self.context, name: "directory-symlink", path = %path,
            "did not follow a symbolic link where a directory with locks was expected");
    }
}

/// How long a lock may be held before that is worth a word: its own limit or the operator's, the shorter one.
pub(super) fn limit(kind: &Kind, judged: &Judged, report_after: Option<Duration>) -> Option<Duration> {
    let own = judged.evidence.content.owner().and_then(|owner| owner.max_hold);
    own.into_iter().chain(report_after.filter(|_| !kind.lifelong)).min()
}
