//! Looks at one lock and gives a verdict on it, with everything that led there.
//!
//! It changes nothing, and it opens nothing before it knows what it is.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use super::context::SweepContext;
use super::evidence::{self, RetryBudget};
use super::format::Content;
use super::kind::Kind;
use super::lock_file::{self, LockFile};
use super::mark_file::MarkFile;
use super::roots::Root;
use super::verdict::{
    Evidence, Lease, Nested, Process, Proof, Socket, UnclearReason, Verdict, Witness, judge,
};
use super::walk::DirEntry;
use super::{socket, witness};
use crate::os::files::{self, FileKind, Meta};
use crate::os::{lease, privileges, procfs};
use crate::types::{Errno, StartTime};

/// How long an owner may take from its lock to what it has beside it, the files that it keeps open and its socket, and
/// at its end the other way round. A browser was seen to take 127 to 293 ms.
const AGAIN: Duration = Duration::from_secs(1);
/// A lock that has lain unchanged for so long is not one of those.
const SETTLED: Duration = Duration::from_secs(60);

/// Why something with a lock's name is not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotALock {
    /// It is not made of what its kind is made of.
    Kind(FileKind),
    /// It is a directory with something else in it than a lock's record.
    Contents,
    /// Something beside it, which has to go with it, is not what it should be.
    Companion,
    /// It has several names, and removing one gives up nothing.
    Links(u64),
    /// It is larger than any lock, in bytes.
    Size(i64),
    /// Something is mounted on it.
    Mounted,
    /// It is root's, and another user can put something of root's in its place.
    OthersDecide,
}

impl fmt::Display for NotALock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotALock::Kind(FileKind::Directory) => f.write_str(
                "it is a directory, of a kind that its holder keeps fresh and that names no owner",
            ),
            NotALock::Kind(FileKind::Symlink) => f.write_str("it is a symbolic link"),
            NotALock::Kind(FileKind::Fifo) => f.write_str("it is a named pipe"),
            NotALock::Kind(FileKind::Socket) => f.write_str("it is a socket"),
            NotALock::Kind(FileKind::Device) => f.write_str("it is a device"),
            NotALock::Kind(FileKind::Regular) => f.write_str("it is an ordinary file"),
            NotALock::Contents => f.write_str("it is a directory with more in it than a lock's record"),
            NotALock::Companion => {
                f.write_str("what lies beside it and belongs to it is not what it should be")
            }
            NotALock::Links(links) => write!(f, "it has {links} names (hard links)"),
            NotALock::Size(size) => write!(f, "it is too large for a lock ({size} bytes)"),
            NotALock::Mounted => f.write_str("something is mounted on it"),
            NotALock::OthersDecide => {
                f.write_str("it is root's, in a directory in which another user decides what lies there")
            }
        }
    }
}

/// What came of a look at one lock.
pub enum Finding {
    /// It was gone, or had become another, before it could be judged.
    Vanished,
    /// It is nothing that could be judged.
    Odd(NotALock),
    /// It could not be read, so its state is unknown.
    Unreadable(Errno),
    /// It was judged.
    Judged(Box<Judged>),
}

/// A lock and the verdict on it.
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// What led to it.
    pub evidence: Evidence,
    /// How old it is by its own word, or else by its file's time; zero if that lies in the future.
    pub age: Duration,
    /// When the owner was started, if it was seen to be a process of our pid namespace.
    pub seen: Option<StartTime>,
    /// The lock as it was. If no process had it open, none can open it as long as this value lives.
    pub lock_file: LockFile,
}

/// Who else may have locks in a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Another sexton uses the root, or it cannot be told.
    pub with_sexton: bool,
    /// The operator says that no owner lives outside this pid namespace.
    pub declared_exclusive: bool,
    /// We are root, and each lock of the root can be another user's: the root's device and number.
    pub of_many: Option<(u64, u64)>,
}

impl Sharing {
    /// Of a root that was entered.
    pub fn of(
        root: &Root,
        directory: BorrowedFd<'_>,
        with_sexton: bool,
        declared_exclusive: bool,
    ) -> Sharing {
        let meta = files::meta(directory).ok().filter(|_| privileges::effective_uid() == 0);
        let is_of_many = |meta: &Meta| matches!(root, Root::Catalogue(_)) || meta.mode & WRITABLE_BY_ALL != 0;
        let of_many = meta.filter(is_of_many).map(|meta| (meta.device, meta.inode));
        Sharing { with_sexton, declared_exclusive, of_many }
    }

    /// Does something with a lock of this user's and group's as that user, where each can be another's: then it is for
    /// the kernel to say what is theirs.
    ///
    /// # Errors
    /// That we cannot become that user.
    pub fn as_owner<T>(&self, (uid, gid): (u32, u32), act: impl FnOnce() -> T) -> io::Result<T> {
        match self.of_many {
            Some(_) => privileges::acting_as(uid, gid, act),
            None => Ok(act()),
        }
    }
}

/// Any user may make files in the directory (inode(7)).
const WRITABLE_BY_ALL: u32 = 0o002;
/// Others may, but only remove and rename what is their own.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// How many directories a lock can lie below its root; no rule is that deep.
const DEPTH: u32 = 64;

/// Whether root alone decides what lies in this directory, up to the root of this device and number.
fn only_root_decides(directory: BorrowedFd<'_>, root: (u64, u64)) -> io::Result<bool> {
    let mut here = directory.try_clone_to_owned()?;
    for _ in 0..DEPTH {
        let meta = files::meta(here.as_fd())?;
        let closed = meta.mode & WRITABLE_BY_OTHERS == 0 || meta.mode & STICKY != 0;
        if meta.uid != 0 || !closed {
            return Ok(false);
        }
        if (meta.device, meta.inode) == root {
            return Ok(true);
        }
        here = files::enter_above(here.as_fd())?;
    }
    Ok(false)
}

/// Looks at what lies at `spot` and judges it as a lock of kind `kind`.
pub fn inspect(
    spot: &DirEntry<'_>,
    kind: &Kind,
    context: &SweepContext<'_>,
    sharing: Sharing,
    retry_budget: &mut RetryBudget,
    marks: &MarkFile<'_>,
) -> Finding {
    let Some(root) = sharing.of_many else {
        return inspect_as_ourselves(spot, kind, context, sharing, retry_budget, marks);
    };
    let meta = match files::meta_in(spot.directory, spot.name) {
        Ok(meta) => meta,
        Err(error) => return unread(&error),
    };
    if meta.uid == 0 && !only_root_decides(spot.directory, root).unwrap_or(false) {
        return Finding::Odd(NotALock::OthersDecide);
    }
    let look = || inspect_as_ourselves(spot, kind, context, sharing, retry_budget, marks);
    match sharing.as_owner((meta.uid, meta.gid), look) {
        // Another has come to its place.
        Ok(Finding::Judged(judged)) if judged.lock_file.owner() != meta.uid => Finding::Vanished,
        Ok(finding) => finding,
        Err(error) => unread(&error),
    }
}

/// What there is to say of what could not be looked at.
fn unread(error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::NotFound => Finding::Vanished,
        io::ErrorKind::CrossesDevices => Finding::Odd(NotALock::Mounted),
        _ => Finding::Unreadable(Errno(error.raw_os_error().unwrap_or(0))),
    }
}

fn inspect_as_ourselves(
    spot: &DirEntry<'_>,
    kind: &Kind,
    context: &SweepContext<'_>,
    sharing: Sharing,
    retry_budget: &mut RetryBudget,
    marks: &MarkFile<'_>,
) -> Finding {
    let lock_file = match retry_budget.open_again(|| lock_file::take(spot, &kind.form)) {
        Ok(Ok(lock_file)) => lock_file,
        Ok(Err(not_a_lock)) => return Finding::Odd(not_a_lock),
        Err(error) => return unread(&error),
    };
    let record = lock_file.bytes().map_or(Content::Empty.into(), |bytes| kind.format.read(bytes));
    let content = record.content;
    let file = lock_file.leasable_parts();
    let lease = file.map_or(Lease::NotAFile, |piece| piece.lease);
    let local =
        retry_budget.is_local(spot.directory, lock_file.device()) && !evidence::knows_no_leases(lease);
    let kernel = retry_budget.kernel();
    let owner = content.owner();
    let ask_nested = || owner.map_or(Nested::NotSeen, evidence::nested);
    // An open lock is held, whatever else is known. Of one that no process has open there is nothing more to ask,
    // unless its owner may be giving it up. To ask all processes is the dearest question.
    let is_settled = match lease {
        Lease::Busy => true,
        Lease::Granted => local && kind.keeps_open && !context.alive,
        Lease::NoInformation(_) | Lease::NotAFile => false,
    };
    let ask_witness = || {
        let path = kind.witness.as_ref().filter(|_| owner.is_some());
        path.map_or(Witness::NoAnswer, |path| witness::ask(spot, &lock_file, path))
    };
    let ask_socket = || {
        let path = kind.socket.as_ref().filter(|_| owner.is_some());
        path.map_or(Socket::NoAnswer, |path| socket::ask(spot, &lock_file, path))
    };
    let mut evidence = Evidence {
        content,
        lease,
        local,
        keeps_open: kind.keeps_open,
        witness: ask_witness(),
        socket: ask_socket(),
        mark: marks.says(&lock_file),
        process: owner.map_or(Process::NotNamed, |owner| evidence::process(owner, context, &kernel)),
        nested: if is_settled { Nested::NotSeen } else { ask_nested() },
        origin: evidence::origin(&record),
        quiet: context.quiet,
        alive: context.alive,
        shared: sharing.with_sexton,
        before_boot: kernel.booted.is_some_and(|booted| lock_file.changed().0 < booted),
        all_visible: kernel.all_visible,
        declared_exclusive: sharing.declared_exclusive,
        nobody_else: owner.is_none() && sharing.declared_exclusive && evidence::nobody_else(context, &kernel),
    };
    let at_best = Evidence { nested: Nested::NoOwner, ..evidence };
    if let Some(piece) = file.filter(|_| lease == Lease::Busy && would_be_orphaned(&at_best)) {
        evidence.nested = ask_nested();
        if would_be_orphaned(&evidence) {
            evidence.lease = retry_budget.ask_again(piece.file.as_fd(), piece.meta.uid);
        }
    }
    // A link beside a living gateway is not removed anyway.
    let can_go = context.quiet || file.is_some();
    if can_go && rests_on_neighbours(&evidence) && age(instant(lock_file.changed().0), context.now) < SETTLED
    {
        lease::pause(AGAIN);
        if !lock_file.is_unchanged(spot).unwrap_or(false) {
            return Finding::Vanished;
        }
        evidence.witness = ask_witness();
        evidence.socket = ask_socket();
    }
    let since = content.owner().and_then(|owner| owner.created).or(instant(lock_file.modified().0));
    let age = age(since, context.now);
    let seen = if context.alive { seen_alive(spot, &lock_file, &evidence) } else { None };
    Finding::Judged(Box::new(Judged { verdict: judge(&evidence), evidence, age, seen, lock_file }))
}

/// When the lock's owner was started, if the process that has its number in our pid namespace is the owner: the lock
/// records its start time, or it has the lock open, or it listens at the owner's socket. That the number is the same
/// shows nothing: in every container of an image the same program has the same number.
///
/// Where an owner's end shows by itself, because it keeps the lock open, nothing has to be seen.
fn seen_alive(spot: &DirEntry<'_>, lock: &LockFile, evidence: &Evidence) -> Option<StartTime> {
    let owner = evidence.content.owner()?;
    let Process::Lives(start) = evidence.process else { return None };
    if evidence.keeps_open && evidence.local {
        return None;
    }
    let writes = || {
        let part = lock.leasable_parts().filter(|_| evidence.lease == Lease::Busy);
        part.is_some_and(|part| procfs::writes_to(owner.pid, spot.name, (part.meta.device, part.meta.inode)))
    };
    let is_it = owner.start == Some(start) || evidence.socket == Socket::Listens(Some(owner.pid)) || writes();
    is_it.then_some(start)
}

/// Whether only what an owner has beside its lock says that it is dead: the files that it keeps open, or its socket.
fn rests_on_neighbours(evidence: &Evidence) -> bool {
    let (Verdict::Orphaned(orphan) | Verdict::Unclear(UnclearReason::Busy(orphan))) = judge(evidence) else {
        return false;
    };
    matches!(orphan.proof, Proof::WitnessNotOpen | Proof::SocketRefused)
}

/// This many seconds after the beginning of 1970.
fn instant(seconds: i64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// How long ago this was; nothing if it lies in the future, or is not known.
fn age(then: Option<SystemTime>, now: SystemTime) -> Duration {
    then.and_then(|then| now.duration_since(then).ok()).unwrap_or_default()
}

/// Whether the lock's owner is dead here, and the open file is the only sign of a living one. A process that has it
/// open and is not its owner may be a reader that closes it in an instant.
fn would_be_orphaned(evidence: &Evidence) -> bool {
    let closed = Evidence { lease: Lease::Granted, ..*evidence };
    evidence.doubt().is_none() && matches!(judge(&closed), Verdict::Orphaned(_))
}
