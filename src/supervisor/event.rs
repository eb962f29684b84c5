//! Everything that can happen.

use super::{NotifyMessage, ToolKey, UnitId};
use crate::types::{CancelledBy, Errno, ExitStatus, HealthReport, IncidentKind, Pid, Signal, StartStep};

/// Something that happened, told to the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The program begins.
    Begin,
    /// A signal was sent to sexton.
    Signal(Received),
    /// The main process exists, in a process group of its own.
    Started {
        /// Its pid, which is also its process group.
        pid: Pid,
    },
    /// The main process has become the command. Told only where there is a service manager.
    Executed,
    /// The main process could not be started. If it had been created, its death is told as well.
    StartFailed {
        /// The step that failed.
        step: StartStep,
        /// Why.
        errno: Errno,
    },
    /// A unit's supervisor exists.
    UnitStarted {
        /// Which unit.
        unit: UnitId,
        /// Its supervisor.
        pid: Pid,
    },
    /// A unit's supervisor could not be started.
    UnitStartFailed {
        /// Which unit.
        unit: UnitId,
        /// Why.
        errno: Errno,
    },
    /// Something is wrong with the gateway, or with its surroundings.
    IncidentChanged {
        /// What kind of thing.
        kind: IncidentKind,
    },
    /// sexton-watch reports the gateway's health.
    Health(HealthReport),
    /// The gateway told its service manager something.
    NotifyMessage(NotifyMessage),
    /// The answer to [`Notify`](super::Action::Notify) if the service manager is behind.
    NotifyFailed,
    /// An operator wants a unit, or the main process if none is named, stopped and started again.
    RestartWanted {
        /// Which unit.
        unit: Option<UnitId>,
    },
    /// A child has died and is still a zombie: its pid cannot be used again until it is reaped.
    Died {
        /// The child.
        pid: Pid,
        /// How it ended.
        status: ExitStatus,
    },
    /// The main process was stopped by a signal.
    Stopped {
        /// The signal.
        signal: Signal,
        /// Who holds the terminal at this moment.
        terminal: Terminal,
    },
    /// The answer to [`Suspend`](super::Action::Suspend): sexton was stopped and has been resumed, or could
    /// not be stopped because no shell would ever resume it.
    Resumed,
    /// The step that [`RunStep`](super::Action::RunStep) asked for has ended, or could not be begun.
    StepEnded(StepAnswer),
    /// Every death of this turn has been told.
    QueueDrained,
    /// The answer to [`CountRemaining`](super::Action::CountRemaining).
    Remaining(Remaining),
    /// The answer to [`LookWhetherHeard`](super::Action::LookWhetherHeard) if /proc shows that the main process ignores
    /// the signal that is about to be sent, or blocks the one that was and has let it wait.
    NotHeard,
    /// The answer to [`LookForOthers`](super::Action::LookForOthers).
    OthersSeen {
        /// There is at least one.
        alive: bool,
    },
    /// The answer to KILL by [`SignalOthers`](super::Action::SignalOthers) if no process was left to get it.
    OthersGone,
    /// The same if no process of the main process's group is alive, and some other is.
    GroupGone,
    /// The lock sweep has ended, well or not, and this is what is known of its findings.
    SweepDone(SweepSummary),
    /// The sweep waits for [`AllowRemoval`](super::Action::AllowRemoval): all processes must be frozen for its next
    /// step, or need not be any more.
    SweepReady,
    /// A tool is to end, and not by a signal.
    Cancel(CancelledBy),
    /// A process of this tool came to us, because the tool's supervisor died.
    OrphanFound {
        /// The tool.
        tool: ToolKey,
    },
    /// The look for orphans is over, and each tool of which one was found was told.
    OrphansFound,
    /// No process is left of those that this tool left behind.
    OrphansGone {
        /// The tool.
        tool: ToolKey,
    },
    /// A tool has ended, below its own supervisor; it may have left locks.
    ToolEnded,
    /// A tool's supervisor was lost, so that what it looked after may come to us.
    ToolLost,
    /// The sexton above a tool is dead, so no process would profit from a grace period.
    ToolAbandoned,
    /// The configuration was read again.
    Reloaded,
    /// A client that may do so requests the stop ladder or its next stage, as a stop signal would.
    Stop,
    /// The last sweep that was given up has ended at last: it removes nothing any more.
    SweeperExited,
    /// The answer to [`Freeze`](super::Action::Freeze).
    FreezeDone(FreezeResult),
    /// A deadline may have passed. Late and extra ticks are harmless.
    Tick,
}

/// What a step has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepAnswer {
    /// The main process is to be started again.
    Restart,
    /// It is not.
    Stop,
    /// Nothing, or nothing that can be understood.
    None,
}

/// What a sweep found, as far as it matters for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SweepSummary {
    /// Orphaned locks that wait for a quiet moment.
    pub waiting: u32,
    /// Locks that lie there for the gateway to find.
    pub handed_over: u32,
    /// Whether a root does not exist.
    pub missing: bool,
    /// Why it has not looked at everything, if it has not.
    pub failed: Option<SweepFailure>,
}

/// Why a sweep has not looked at everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SweepFailure {
    /// The system had no process, no descriptor or no memory to give.
    NoResources,
    /// It has ended in the middle, or could not begin for another reason.
    BrokeOff,
}

/// Whether every process below us is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FreezeResult {
    /// All are, and two looks in a row have seen it.
    Still,
    /// Some process is not yet.
    NotYet,
    /// There are too many, or there is one that we may not stop.
    Cannot,
}

/// A signal as it reached sexton.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Received {
    /// Which one.
    pub signal: Signal,
    /// Who made it.
    pub origin: Origin,
}

/// Who made a signal (`si_code`, sigaction(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The kernel: a key of the terminal, a hang-up, a new window size.
    Kernel,
    /// A HUP of any sender, and our terminal is gone: no key can be typed at it any more.
    TerminalGone {
        /// The main process ignores HUP.
        ignored: bool,
    },
    /// kill(2).
    Process,
    /// sigqueue(3), with its value.
    Queue(i32),
}

impl Origin {
    /// Whether the kernel made it, for every process of the job.
    pub(super) fn is_kernel(self) -> bool {
        matches!(self, Origin::Kernel | Origin::TerminalGone { .. })
    }
}

/// Which process group is in the foreground of sexton's controlling terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Terminal {
    /// There is no controlling terminal.
    None,
    /// sexton's own group.
    Ours,
    /// The main process's group.
    Main,
    /// Another job of the shell.
    Others,
}

/// What is left of the tree, apart from the main process's zombie and sexton's own helpers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remaining {
    /// Nothing.
    Gone,
    /// Children of sexton. The kernel reports their deaths, except of a child that was made without such a report.
    Children,
    /// Only processes whose deaths the kernel does not report to us: sessions of `docker exec`, for example.
    Strangers,
    /// Only such sessions, which are spared ([`spares_sessions`](super::Supervisor::spares_sessions)).
    Sessions,
}
