//! The one place that decides about a lock: evidence in, verdict out.
//!
//! A lock goes only if nothing speaks against it and one proof says that its owner is dead. The number of a
//! process is never a proof by itself: it speaks of *this* pid namespace, and the owner may live in another one,
//! in a container that knows nothing of sexton. That no other sexton uses the root proves nothing about such an
//! owner, either. It only keeps two sextons from removing the same lock.
//!
//! It never asks the system anything.

use std::fmt;

use super::format::{Content, Defect};
pub use super::marks::MarkSays;
use crate::types::{Errno, Pid, StartTime};

/// What the kernel answered when it was asked for a write lease on the lock file (fcntl(2), `F_SETLEASE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// Refused: a process on this kernel, in any container, has the file open.
    Busy,
    /// Granted: no process on this kernel has it open.
    Granted,
    /// The kernel could not be asked, for instance because the file belongs to another user.
    NoInformation(Errno),
    /// The kernel cannot be asked about this: it is a link, or a directory without a record.
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
    /// It lives in another time namespace, or may, and by our clock its start time is not the recorded one. A process
    /// reads start times shifted by its own time namespace (time_namespaces(7)). So if the owner recorded its start
    /// time there, the number cannot be compared here.
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

/// What the processes of the pid namespaces below ours say of a lock's number. A tool under unshare(1) or bwrap(1)
/// writes the number down that it has in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nested {
    /// They were not asked, or cannot be seen.
    NotSeen,
    /// All visible ones were asked, and none of them is the owner.
    NoOwner,
    /// This process has the number below, and the start time that the lock records. The pid is ours.
    Owner(Pid),
    /// This process has the number below, and nothing tells whether it is the owner. The pid is ours.
    MayBeOwner(Pid),
}

/// What the files say that an owner of this kind keeps open instead of the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// The kind has none, or none was found, or they could not be asked.
    NoAnswer,
    /// A process on this kernel has one of them open.
    Open,
    /// No process on this kernel has any of them open.
    NotOpen,
}

/// What the socket says at which an owner of this kind listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// The kind has none, or none was found, or it could not be asked, or it may be another owner's.
    NoAnswer,
    /// A process on this kernel listens there. Its pid, if it lives in our pid namespace.
    Listens(Option<Pid>),
    /// It is the owner's, and no process on this kernel listens there.
    Refused,
}

/// Everything that is known about one lock at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// What stands in the file.
    pub content: Content,
    /// Whether a process has it open.
    pub lease: Lease,
    /// Whether the filesystem belongs to this kernel alone, so that a granted lease is the whole truth.
    pub local: bool,
    /// Whether an owner of this kind of lock has it open as long as it holds it.
    pub keeps_open: bool,
    /// Whether the files are open that an owner keeps open instead.
    pub witness: Witness,
    /// Whether a process listens where an owner does.
    pub socket: Socket,
    /// What a mark says of this very lock's owner.
    pub mark: MarkSays,
    /// What became of the process with the recorded number in our pid namespace.
    pub process: Process,
    /// Whether a process of a pid namespace below ours has the recorded number there.
    pub nested: Nested,
    /// Where the owner says it lived. It is shown, and decides nothing: a container has a host name of its own, and
    /// can have a boot id of its own.
    pub origin: Origin,
    /// Whether no process that sexton watches over can take a lock while this one is being removed.
    pub quiet: bool,
    /// Whether the gateway lives, even if it stands still: the process with the recorded number may be the owner,
    /// which has closed the file and is about to remove it.
    pub alive: bool,
    /// Whether another sexton uses this root, or it cannot be told.
    pub shared: bool,
    /// Whether the lock was last changed before this kernel was booted.
    pub before_boot: bool,
    /// Whether every process of this kernel is visible from here.
    pub all_visible: bool,
    /// Whether the operator says that no owner lives outside this pid namespace.
    pub declared_exclusive: bool,
    /// Whether no process lives in it but sexton's own. It is asked for a lock that names no owner.
    pub nobody_else: bool,
}

/// Whether a lock has a living owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A process holds it. It stays.
    Held(Holder),
    /// Its owner is gone. It may be removed.
    Orphaned(Orphan),
    /// It cannot be told. It stays.
    Unclear(UnclearReason),
}

/// Why a lock counts as held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Some process has the file open.
    HasItOpen,
    /// Some process has a file open that only an owner of such a lock keeps open.
    HasWitnessOpen,
    /// Some process listens at the owner's socket.
    Listens,
    /// The very process that the lock names lives: the pid and the start time are the same.
    Lives(Pid),
    /// The same, where the process lives in a pid namespace below ours and has the recorded number there.
    LivesBelow {
        /// The recorded number.
        number: Pid,
        /// The process's number in our pid namespace.
        pid: Pid,
    },
}

/// Why a lock counts as orphaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orphan {
    /// What became of the process it names.
    pub owner: OwnerState,
    /// What proves that it is dead, wherever it lived.
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
}

/// What proves that a lock's owner is dead, wherever it lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// No process on this kernel has the file open, and an owner would.
    NotOpen,
    /// Only this kernel reaches them, and no process on it has one of the files open that an owner keeps open.
    WitnessNotOpen,
    /// Only this kernel reaches it, and no process on it listens at the owner's socket.
    SocketRefused,
    /// The owner is the dead process that sexton has not reaped yet: it has the recorded start time.
    JustDied,
    /// The owner was seen alive in our pid namespace, and is dead.
    Marked,
    /// Only this kernel reaches the file, and it was last changed before this kernel was booted.
    EarlierBoot,
    /// Only this kernel reaches the file, and every process of this kernel is visible. None of them is the owner.
    AllVisible,
    /// The operator says that no owner lives outside this pid namespace, and none lives inside.
    Declared,
}

/// Why it cannot be told whether a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnclearReason {
    /// The bytes are no lock's.
    Content(Defect),
    /// The file could not be read.
    Unreadable(Errno),
    /// It is empty, and its owner may be about to write to it.
    Empty,
    /// No visible process is the owner, but it may live in a pid namespace that is not visible from here.
    NoProof(OwnerState),
    /// Another sexton uses the root, and clears it.
    SharedRoot(OwnerState),
    /// A process with that number lives, and the lock does not say when its owner was started.
    NumberInUse(Pid),
    /// A process of a pid namespace below ours may be the owner.
    NestedNumber {
        /// The number, which the process has in its own pid namespace.
        number: Pid,
        /// The same process's number in ours.
        pid: Pid,
    },
    /// A process with that number may live in another time namespace, where start times are others.
    OtherTimeNs(Pid),
    /// A process with that number exists, but /proc does not show it.
    Hidden(Pid),
    /// It would be orphaned, but the gateway lives and could take it at this very instant.
    Busy(Orphan),
}

/// Decides. In this order:
///
/// 1. The file is open, or one that an owner keeps open instead, or a process listens at the owner's socket, or the
///    recorded process lives with the recorded start time: held.
/// 2. The bytes are no lock's: unclear.
/// 3. No process has the file open, its kind is kept open, and only this kernel reaches it: orphaned
///    ([`Proof::NotOpen`]), whatever process has the recorded number now. Beside a living gateway, such a process may
///    be the owner, which has closed the file and is about to remove it.
/// 4. A visible process has the recorded number, at any level of pid namespaces, and may be the owner: unclear.
/// 5. Another sexton uses the root: unclear. Its gateway may replace the lock while we remove it. In 3 the granted
///    lease keeps it from that.
/// 6. One of the other proofs holds: orphaned. If none does: unclear.
///
/// What comes out as orphaned is so only at a quiet moment.
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    if evidence.lease == Lease::Busy {
        return Verdict::Held(Holder::HasItOpen);
    }
    if evidence.witness == Witness::Open {
        return Verdict::Held(Holder::HasWitnessOpen);
    }
    if let Socket::Listens(_) = evidence.socket {
        return Verdict::Held(Holder::Listens);
    }
    let owner = match &evidence.content {
        Content::Owner(owner) => Some((owner.pid, owner.start)),
        Content::Empty => None,
        Content::Invalid(defect) => return Verdict::Unclear(UnclearReason::Content(*defect)),
    };
    let state = match owner {
        None => OwnerState::NotNamed,
        Some((pid, recorded)) => {
            if let (Some(recorded), Process::Lives(found)) = (recorded, evidence.process)
                && recorded == found
            {
                return Verdict::Held(Holder::Lives(pid));
            }
            if let (Nested::Owner(shown), Some(_)) = (evidence.nested, recorded) {
                return Verdict::Held(Holder::LivesBelow { number: pid, pid: shown });
            }
            owner_state(pid, recorded, evidence.process)
        }
    };
    match proof(evidence, state, owner.and_then(|(_, start)| start), evidence.doubt()) {
        Ok(proof) if evidence.quiet => Verdict::Orphaned(Orphan { owner: state, proof }),
        Ok(proof) => Verdict::Unclear(UnclearReason::Busy(Orphan { owner: state, proof })),
        Err(reason) => Verdict::Unclear(reason),
    }
}

/// What proves that the owner is dead, or why nothing does.
fn proof(
    evidence: &Evidence,
    state: OwnerState,
    recorded: Option<StartTime>,
    doubt: Option<UnclearReason>,
) -> Result<Proof, UnclearReason> {
    // A lock is given up by closing it and removing it then. If we removed it in between, a successor could take it,
    // whose lock the old owner would remove.
    let may_be_giving_up = evidence.alive && doubt.is_some();
    let not_open = evidence.lease == Lease::Granted && evidence.local && evidence.keeps_open;
    if not_open && !may_be_giving_up {
        return Ok(Proof::NotOpen);
    }
    if let Some(doubt) = doubt {
        return Err(doubt);
    }
    if evidence.shared {
        return Err(match state {
            OwnerState::NotNamed => UnclearReason::Empty,
            state => UnclearReason::SharedRoot(state),
        });
    }
    match state {
        OwnerState::HeldZombie(_) if recorded.is_some() => Ok(Proof::JustDied),
        _ if matches!(evidence.mark, MarkSays::OwnerGone | MarkSays::LifeOver) => Ok(Proof::Marked),
        _ if evidence.local && evidence.witness == Witness::NotOpen => Ok(Proof::WitnessNotOpen),
        _ if evidence.local && evidence.socket == Socket::Refused => Ok(Proof::SocketRefused),
        _ if evidence.local && evidence.before_boot => Ok(Proof::EarlierBoot),
        // Whoever made it is no process that lives: there is none.
        OwnerState::NotNamed if evidence.declared_exclusive && evidence.nobody_else => Ok(Proof::Declared),
        OwnerState::NotNamed => Err(UnclearReason::Empty),
        _ if evidence.local && evidence.all_visible && evidence.nested == Nested::NoOwner => {
            Ok(Proof::AllVisible)
        }
        // The word is that no owner lives outside this pid namespace. Those below it have to be seen.
        _ if evidence.declared_exclusive && evidence.nested == Nested::NoOwner => Ok(Proof::Declared),
        state => Err(UnclearReason::NoProof(state)),
    }
}

impl Evidence {
    /// Which visible process may be the owner, although nothing says that it is.
    #[must_use]
    pub fn doubt(&self) -> Option<UnclearReason> {
        let owner = self.content.owner();
        let state =
            owner.map_or(OwnerState::NotNamed, |owner| owner_state(owner.pid, owner.start, self.process));
        doubt(state, owner.map(|owner| owner.pid), self.nested)
    }
}

fn doubt(state: OwnerState, number: Option<Pid>, nested: Nested) -> Option<UnclearReason> {
    match (state, nested, number) {
        (OwnerState::NumberInUse(pid), _, _) => Some(UnclearReason::NumberInUse(pid)),
        (OwnerState::OtherTimeNs(pid), _, _) => Some(UnclearReason::OtherTimeNs(pid)),
        (OwnerState::Hidden(pid), _, _) => Some(UnclearReason::Hidden(pid)),
        (_, Nested::Owner(pid) | Nested::MayBeOwner(pid), Some(number)) => {
            Some(UnclearReason::NestedNumber { number, pid })
        }
        _ => None,
    }
}

fn owner_state(pid: Pid, recorded: Option<StartTime>, process: Process) -> OwnerState {
    match (process, recorded) {
        (Process::Absent, _) => OwnerState::Absent(pid),
        (Process::Zombie, _) => OwnerState::Zombie(pid),
        (Process::HeldZombie, _) => OwnerState::HeldZombie(pid),
        (Process::OwnProcess, _) => OwnerState::OwnProcess(pid),
        (Process::Lives(found), Some(recorded)) => OwnerState::Recycled { pid, recorded, found },
        (Process::Lives(_), None) => OwnerState::NumberInUse(pid),
        (Process::OtherTimeNs, _) => OwnerState::OtherTimeNs(pid),
        // If the process was not looked up, as little is known as of a hidden one.
        (Process::Hidden | Process::NotNamed, _) => OwnerState::Hidden(pid),
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::HasItOpen => f.write_str("a process on this machine has it open"),
            Holder::HasWitnessOpen => {
                f.write_str("a process on this machine has a file open that only its owner keeps open")
            }
            Holder::Listens => f.write_str("a process on this machine listens at its owner's socket"),
            Holder::Lives(pid) => write!(f, "its owner lives: pid {pid}, with the start time it records"),
            Holder::LivesBelow { number, pid } => write!(
                f,
                "its owner lives: process {pid}, which is {number} in a pid namespace of its own, with the start time it records"
            ),
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
            OwnerState::OtherTimeNs(pid) => write!(f, "process {pid} may live in another time namespace"),
            OwnerState::Hidden(pid) => write!(f, "process {pid} is hidden"),
        }
    }
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = &self.owner;
        match self.proof {
            Proof::NotOpen => write!(f, "no process has it open, and {owner}"),
            Proof::WitnessNotOpen => {
                write!(f, "no process has the files open that its owner keeps open, and {owner}")
            }
            Proof::SocketRefused => write!(f, "no process listens at its owner's socket, and {owner}"),
            Proof::JustDied => write!(f, "{owner}, with the start time that the lock records"),
            Proof::Marked => write!(f, "{owner}, and sexton has seen its owner alive, which is dead"),
            Proof::EarlierBoot => write!(f, "{owner}, and the lock is older than this boot"),
            Proof::AllVisible => write!(f, "{owner}, and every process of this machine is visible from here"),
            Proof::Declared => {
                write!(f, "{owner}, and locks.sharing says that no owner lives in another container")
            }
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
            UnclearReason::NoProof(state) => write!(
                f,
                "{state}, but the owner may live in another container; if no other container uses this root, \
                 set sharing = 'exclusive' in [locks]"
            ),
            UnclearReason::SharedRoot(state) => write!(f, "{state}, but another sexton uses this root"),
            UnclearReason::NumberInUse(pid) => {
                write!(f, "a process {pid} lives, and the lock does not say when its owner was started")
            }
            UnclearReason::NestedNumber { number, pid } => write!(
                f,
                "process {pid} is {number} in a pid namespace of its own, and nothing tells whether it is the owner"
            ),
            UnclearReason::OtherTimeNs(pid) => {
                write!(
                    f,
                    "a process {pid} may live in another time namespace, where its start is another number"
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
