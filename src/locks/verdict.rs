//! The one place that decides about a lock: evidence in, verdict out.
//!
//! It never asks the system anything, and it never says "orphaned" on the word of a pid alone: pids and start
//! times speak of *this* pid namespace, while a lock on a shared volume may be another container's. Somebody
//! who might own it from there is ruled out either by the kernel (nobody has the file open, and its kind keeps
//! it open) or by sexton's own registration (no other sexton uses this root).

use std::fmt;

use super::format::{Content, Defect};
use crate::types::{Errno, Pid, StartTime};

/// What the kernel answered when it was asked for a write lease on the lock file (fcntl(2), `F_SETLEASE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Refused: somebody on this kernel, in whatever container, has the file open.
    Busy,
    /// Granted: nobody on this kernel has it open.
    Granted,
    /// The question could not be put, for instance because the file is somebody else's.
    NoInformation(Errno),
    /// It is not a file of whom the question could be asked: a link, or a directory without a record.
    NotAFile,
}

/// What became of the process that a lock names, as far as this pid namespace shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// The lock names none.
    NotNamed,
    /// There is no such process.
    Absent,
    /// It is a zombie, and no thread of it lives.
    Zombie,
    /// It is a zombie that sexton holds unreaped: its number cannot have been given away meanwhile.
    HeldZombie,
    /// The number is sexton's own, its sweeper's or that of another process that sexton runs for itself.
    /// None of them ever takes a lock of these kinds, so the owner had the number before.
    OwnProcess,
    /// It lives, and this is when it was started.
    Lives(StartTime),
    /// It lives in another time namespace, and is not the one that the lock names if that lived in ours. Start times
    /// are shifted by the namespace of whoever reads them, so that what its owner may have written down there says nothing
    /// here (time_namespaces(7)).
    OtherTimeNs,
    /// It exists, but /proc does not show it.
    Hidden,
}

/// Where the owner says it lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It does not say.
    NotRecorded,
    /// On a host of this name, in this boot.
    Here,
    /// On a host of another name: another machine, another container, or an earlier life of this one.
    OtherHost,
    /// In another boot of this machine or of another one.
    OtherBoot,
}

/// Everything that is known about one lock at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// What stands in the file.
    pub content: Content,
    /// Whether somebody has it open.
    pub lease: Lease,
    /// Whether the filesystem belongs to this kernel alone, so that a granted lease is the whole truth.
    pub local: bool,
    /// Whether an owner of this kind of lock has it open as long as it holds it.
    pub keeps_open: bool,
    /// What became of the owner.
    pub process: Process,
    /// Where the owner says it lived.
    pub origin: Origin,
    /// Whether no process that sexton watches over can take a lock while this one is being removed.
    pub quiet: bool,
    /// Whether the gateway lives, even if it stands still: who wears the recorded number may be the owner, which
    /// has closed the file and is about to remove it.
    pub alive: bool,
    /// Whether no other sexton uses this root.
    pub exclusive: bool,
}

/// Whether a lock is somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody holds it. It stays.
    Held(Holder),
    /// Its owner is gone. It may be removed.
    Orphaned(Orphan),
    /// Nobody can tell. It stays.
    Unclear(UnclearReason),
}

/// Why a lock counts as held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Some process has the file open.
    HasItOpen,
    /// The very process that the lock names lives: the pid and the start time are the same.
    Lives(Pid),
}

/// Why a lock counts as orphaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    /// What became of the process it names.
    pub owner: OwnerState,
    /// What rules out an owner that this pid namespace does not show.
    pub proof: Proof,
}

/// What became of a lock's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerState {
    /// The lock names none.
    NotNamed,
    /// No such process.
    Absent(Pid),
    /// A zombie.
    Zombie(Pid),
    /// A zombie that sexton holds unreaped.
    HeldZombie(Pid),
    /// The number is one of sexton's own now.
    OwnProcess(Pid),
    /// The number is another process's now.
    Recycled {
        /// The number.
        pid: Pid,
        /// The start time that the lock records.
        recorded: StartTime,
        /// The start time of the process that has the number now.
        found: StartTime,
    },
    /// Some process has the number, and the lock does not say when its owner was started.
    NumberInUse(Pid),
    /// The process counts time in another way.
    OtherTimeNs(Pid),
    /// /proc does not show the process.
    Hidden(Pid),
    /// It lived on a host of another name.
    OtherHost(Pid),
    /// It lived in another boot.
    OtherBoot(Pid),
}

impl OwnerState {
    /// Whether the owner is certainly not a living process of this pid namespace, on a filesystem that is
    /// `local` to this kernel or not.
    const fn is_dead(self, local: bool) -> bool {
        match self {
            OwnerState::Absent(_)
            | OwnerState::Zombie(_)
            | OwnerState::HeldZombie(_)
            | OwnerState::OwnProcess(_)
            | OwnerState::Recycled { .. }
            | OwnerState::OtherBoot(_) => true,
            // A container gets another name with every life, but another machine has its own as well.
            OwnerState::OtherHost(_) => local,
            OwnerState::NotNamed
            | OwnerState::NumberInUse(_)
            | OwnerState::OtherTimeNs(_)
            | OwnerState::Hidden(_) => false,
        }
    }
}

/// What rules out an owner that this pid namespace does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nobody on this kernel has the file open, and an owner would.
    NotOpen,
    /// No other sexton uses this root.
    Exclusive,
    /// Only this kernel reaches the file, and the owner lived before it was booted.
    EarlierBoot,
}

/// Why nobody can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnclearReason {
    /// The bytes are no lock's.
    Content(Defect),
    /// The file could not be read.
    Unreadable(Errno),
    /// It is empty, and its owner may be about to write to it.
    Empty,
    /// Dead by this pid namespace, but the root is shared and a pid proves nothing for other containers.
    SharedRoot(OwnerState),
    /// A process with that number lives, and the lock does not say when its owner was started.
    NumberInUse(Pid),
    /// A process with that number lives in another time namespace, where start times are others.
    OtherTimeNs(Pid),
    /// A process with that number exists, but /proc does not show it.
    Hidden(Pid),
    /// It would be orphaned, but the gateway lives and could take it at this very instant.
    Busy(Orphan),
}

/// Decides.
///
/// In order: an open file or a living owner always means held; bytes that are no lock's always mean unclear;
/// a file that nobody has open is nobody's, whatever process wears the recorded pid, if its kind is kept open
/// and the filesystem is local, and if no living gateway may be about to give it up; an owner from before this boot is dead, if only this kernel reaches the file;
/// otherwise the owner has to be dead here *and* nobody elsewhere can own it.
/// Whatever comes out as orphaned is so only at a quiet moment.
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    if evidence.lease == Lease::Busy {
        return Verdict::Held(Holder::HasItOpen);
    }
    let owner = match &evidence.content {
        Content::Owner(owner) => Some((owner.pid, owner.start)),
        Content::Empty => None,
        Content::Invalid(defect) => return Verdict::Unclear(UnclearReason::Content(*defect)),
    };
    if let (Some((pid, Some(recorded))), Process::Lives(found)) = (owner, evidence.process)
        && recorded == found
    {
        return Verdict::Held(Holder::Lives(pid));
    }
    let fate = owner.map_or(OwnerState::NotNamed, |(pid, start)| fate(pid, start, evidence));
    // A lock is given up by closing it and removing it then. One that goes away in between would let a successor
    // in, whose lock the old owner would remove.
    let may_be_giving_up = evidence.alive
        && matches!(fate, OwnerState::NumberInUse(_) | OwnerState::OtherTimeNs(_) | OwnerState::Hidden(_));
    let closed = evidence.lease == Lease::Granted && evidence.local && evidence.keeps_open;
    let not_open = closed && !may_be_giving_up;
    let proof = match fate {
        _ if not_open => Some(Proof::NotOpen),
        OwnerState::OtherBoot(_) if evidence.local => Some(Proof::EarlierBoot),
        fate if evidence.exclusive && fate.is_dead(evidence.local) => Some(Proof::Exclusive),
        _ => None,
    };
    match (proof, fate) {
        (Some(proof), owner) if evidence.quiet => Verdict::Orphaned(Orphan { owner, proof }),
        (Some(proof), owner) => Verdict::Unclear(UnclearReason::Busy(Orphan { owner, proof })),
        (None, OwnerState::NotNamed) => Verdict::Unclear(UnclearReason::Empty),
        (None, OwnerState::NumberInUse(pid)) => Verdict::Unclear(UnclearReason::NumberInUse(pid)),
        (None, OwnerState::OtherTimeNs(pid)) => Verdict::Unclear(UnclearReason::OtherTimeNs(pid)),
        (None, OwnerState::Hidden(pid)) => Verdict::Unclear(UnclearReason::Hidden(pid)),
        (None, fate) => Verdict::Unclear(UnclearReason::SharedRoot(fate)),
    }
}

fn fate(pid: Pid, recorded: Option<StartTime>, evidence: &Evidence) -> OwnerState {
    match evidence.origin {
        Origin::OtherBoot => return OwnerState::OtherBoot(pid),
        Origin::OtherHost => return OwnerState::OtherHost(pid),
        Origin::NotRecorded | Origin::Here => {}
    }
    match (evidence.process, recorded) {
        (Process::Absent, _) => OwnerState::Absent(pid),
        (Process::Zombie, _) => OwnerState::Zombie(pid),
        (Process::HeldZombie, _) => OwnerState::HeldZombie(pid),
        (Process::OwnProcess, _) => OwnerState::OwnProcess(pid),
        (Process::Lives(found), Some(recorded)) => OwnerState::Recycled { pid, recorded, found },
        (Process::Lives(_), None) => OwnerState::NumberInUse(pid),
        (Process::OtherTimeNs, _) => OwnerState::OtherTimeNs(pid),
        // A lock that names a process whose fate nobody looked up says as little as a hidden one.
        (Process::Hidden | Process::NotNamed, _) => OwnerState::Hidden(pid),
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::HasItOpen => f.write_str("a process on this machine has it open"),
            Holder::Lives(pid) => write!(f, "its owner lives: pid {pid}, with the start time it records"),
        }
    }
}

impl fmt::Display for OwnerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OwnerState::NotNamed => f.write_str("it is empty and names no owner"),
            OwnerState::Absent(pid) => write!(f, "there is no process {pid}"),
            OwnerState::Zombie(pid) => write!(f, "process {pid} is dead and not yet reaped"),
            OwnerState::HeldZombie(pid) => write!(f, "process {pid} has just died"),
            OwnerState::OwnProcess(pid) => write!(f, "pid {pid} is sexton's own now"),
            OwnerState::Recycled { pid, recorded, found } => write!(
                f,
                "pid {pid} is another process now (started at tick {}, the owner at tick {})",
                found.0, recorded.0
            ),
            OwnerState::NumberInUse(pid) => write!(f, "a process has the number {pid} now"),
            OwnerState::OtherTimeNs(pid) => write!(f, "process {pid} lives in another time namespace"),
            OwnerState::Hidden(pid) => write!(f, "process {pid} is hidden"),
            OwnerState::OtherHost(pid) => write!(f, "its owner, pid {pid}, lived on a host of another name"),
            OwnerState::OtherBoot(pid) => write!(f, "its owner, pid {pid}, lived in another boot"),
        }
    }
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.proof {
            Proof::NotOpen => write!(f, "nobody has it open, and {}", self.owner),
            Proof::Exclusive => write!(f, "{}, and no other sexton uses this root", self.owner),
            Proof::EarlierBoot => write!(f, "{}, and only this machine reaches the file", self.owner),
        }
    }
}

impl fmt::Display for UnclearReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnclearReason::Content(defect) => write!(f, "not a lock as its kind writes it: {defect}"),
            UnclearReason::Unreadable(errno) => write!(f, "it cannot be read: {errno}"),
            UnclearReason::Empty => {
                f.write_str("it is empty, and nothing tells whether its owner is about to write it")
            }
            UnclearReason::SharedRoot(fate) => {
                write!(f, "{fate}, but the owner may live in another container that shares this root")
            }
            UnclearReason::NumberInUse(pid) => {
                write!(f, "a process {pid} lives, and the lock does not say when its owner was started")
            }
            UnclearReason::OtherTimeNs(pid) => {
                write!(
                    f,
                    "a process {pid} lives in another time namespace, where its start is another number"
                )
            }
            UnclearReason::Hidden(pid) => write!(f, "a process {pid} exists, but /proc does not show it"),
            UnclearReason::Busy(orphan) => write!(f, "{orphan}, but this is no quiet moment to remove it"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Held(why) => write!(f, "held: {why}"),
            Verdict::Orphaned(why) => write!(f, "orphaned: {why}"),
            Verdict::Unclear(why) => write!(f, "unclear: {why}"),
        }
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
