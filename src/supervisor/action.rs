//! Everything that can be asked for.

use std::time::Duration;

use super::{Message, ToolKey, UnitId};
use crate::types::{Errno, ExitStatus, IncidentKind, Outcome, Pid, Signal, StopStage};

/// Something to be done, in the order given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Judge and remove locks; answered by [`SweepDone`](super::Event::SweepDone).
    Sweep(SweepTrigger),
    /// Let the sweep go on that has said that it waits ([`SweepReady`](super::Event::SweepReady)).
    AllowRemoval {
        /// All processes are frozen, so it may remove the locks that it has watched.
        still: bool,
    },
    /// Give the sweep up: kill its processes and wait for nothing.
    AbandonSweep,
    /// Stop every process below us that is not stopped yet, so that none can take a lock over, and check whether all
    /// are stopped; answered by [`FreezeDone`](super::Event::FreezeDone).
    Freeze,
    /// Continue every process that [`Freeze`](Action::Freeze) has stopped.
    Thaw {
        /// How long they were to stand still, from the request on.
        stood: Duration,
    },
    /// Start the main process; answered by [`Started`](super::Event::Started) or
    /// [`StartFailed`](super::Event::StartFailed).
    Start,
    /// Start the supervisor of this unit; answered by [`UnitStarted`](super::Event::UnitStarted) or
    /// [`UnitStartFailed`](super::Event::UnitStartFailed).
    StartUnit(UnitId),
    /// Run this step; answered by [`StepEnded`](super::Event::StepEnded) when it has ended, or could not be begun.
    RunStep(Step),
    /// Ask the step that runs to end. Nothing is told of it any more.
    EndStep,
    /// Send a signal to the main process or a unit's supervisor, which is alive or an unreaped zombie.
    Send {
        /// The process; also the id of its group.
        pid: Pid,
        /// Whether its whole group is meant.
        group: bool,
        /// The signal.
        signal: Signal,
        /// The value that came with it, to be passed on by sigqueue(3).
        value: Option<i32>,
    },
    /// Send a signal to everything that is left, the main process included; anything but KILL is followed
    /// by CONT, because a stopped process acts on nothing else.
    SignalAll(Signal),
    /// Send a signal to every process that is left outside the main process's group. Any signal but KILL is followed by
    /// CONT. KILL is answered by [`OthersGone`](super::Event::OthersGone) if there is no such process, and by
    /// [`GroupGone`](super::Event::GroupGone) if the group has no process left. If the main process is reaped and its
    /// group is empty, the number can belong to another group. Then that group is spared: no process is hit by mistake.
    SignalOthers {
        /// The main process's group.
        group: Pid,
        /// The signal.
        signal: Signal,
    },
    /// Look whether the main process takes this signal; answered by [`NotHeard`](super::Event::NotHeard) if it does not.
    LookWhetherHeard {
        /// The main process, which is alive or an unreaped zombie.
        main: Pid,
        /// The signal.
        signal: Signal,
        /// It was sent a moment ago, and may wait now. Whether it is ignored shows only before: `timeout` passes it on
        /// and ignores it from then on.
        sent: bool,
    },
    /// Look whether anybody is left besides the main process and what is a part of it; answered by
    /// [`OthersSeen`](super::Event::OthersSeen).
    LookForOthers {
        /// The main process, which is alive or an unreaped zombie.
        main: Pid,
    },
    /// Say what is left; answered by [`Remaining`](super::Event::Remaining).
    CountRemaining,
    /// Look for processes of lost tools among those that came to us; answered by
    /// [`OrphanFound`](super::Event::OrphanFound), once for each tool, and then by
    /// [`OrphansFound`](super::Event::OrphansFound).
    FindOrphans,
    /// Send a signal to what a lost tool left with us, and to all below that; answered by
    /// [`OrphansGone`](super::Event::OrphansGone) if there is none.
    SendToOrphans {
        /// The tool.
        tool: ToolKey,
        /// The signal.
        signal: Signal,
    },
    /// Reap this zombie.
    Reap(Pid),
    /// Put the main process's group into the foreground of the terminal, if sexton's group is there.
    GiveTerminal(Pid),
    /// Take the terminal back and stop sexton's own process group by the signal that stopped the main process, so
    /// that the process above learns the reason; answered by [`Resumed`](super::Event::Resumed).
    Suspend(Signal),
    /// Stop sexton alone, by the signal that cannot be refused; answered by
    /// [`Resumed`](super::Event::Resumed).
    StopSelf,
    /// Tell the service manager; answered by [`NotifyFailed`](super::Event::NotifyFailed) if it cannot be told now.
    Notify(Message),
    /// Log who is still alive.
    ReportAlive(StopStage),
    /// Log who is still alive and not in the main process's group.
    ReportOthers {
        /// The main process's group.
        group: Pid,
        /// What comes for them.
        stage: StopStage,
    },
    /// Log a decision.
    Note(Note),
    /// End with this outcome. Nothing follows it.
    Exit(Outcome),
}

/// A command that speaks with the main process, or about it, and runs as its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// What comes before the stop signal.
    BeforeStop,
    /// The question whether a main process that has ended with 0 is to be started again.
    Handoff,
}

/// Why locks are swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SweepTrigger {
    /// Before the main process is started: a quiet moment.
    Startup,
    /// The main process runs: orphaned locks are watched, and removed while all processes are frozen.
    Live {
        /// Locks that were handed over are left for the gateway to find.
        spare: bool,
        /// A lock is removed only if no process has opened it for this long.
        settle: Duration,
        /// The main process does not run any more: it is units that could take a lock over.
        gone: Option<Gone>,
    },
    /// After the last process of the tree has died, a quiet moment.
    TreeGone(Gone),
}

/// The main process after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gone {
    /// Its zombie, if it is unreaped.
    pub zombie: Option<Pid>,
    /// It ended well, so that there is nothing for its successor to recover.
    pub clean: bool,
}

/// A decision worth a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Note {
    /// A signal is passed on.
    Forwarded(Signal),
    /// A signal that came before the start waits for it.
    SignalQueued(Signal),
    /// No process is left to get this signal, or it repeats what is already being done.
    Dropped(Signal),
    /// A signal is passed on, but not yet.
    Delayed(Signal, Duration),
    /// The operator wants this signal dropped.
    SignalIgnored(Signal),
    /// The system had no process to give, and is asked again after this time.
    StartRetry(Duration),
    /// The step before the stop signal begins, and has this long.
    BeforeStop(Duration),
    /// That step did not end in time: the stop signal follows.
    BeforeStopOverdue,
    /// The main process has ended with 0, and it is asked what that means, for this long.
    AskingHandoff(Duration),
    /// It was not said what an end with 0 means: that is a failure.
    HandoffFailed,
    /// The stop ladder begins, or its next step.
    Stopping {
        /// The stop signal.
        signal: Signal,
        /// How long the main process has.
        grace: Duration,
    },
    /// The main process ignores this signal or lets it wait, so that its process group gets it.
    NotHeard(Signal),
    /// The main process died of the stop signal, and its process group has this long to drain.
    Draining {
        /// What is left of the grace.
        left: Duration,
    },
    /// A repeated stop signal skipped a stage.
    StopEscalated(Signal),
    /// The main process has ended.
    MainEnded(Pid, ExitStatus),
    /// An adopted process was reaped.
    Reaped(Pid, ExitStatus),
    /// The sweep did not end within its deadline.
    SweepOverdue(Duration),
    /// The sweep could not be made, or broke off, and is tried again; what comes after it waits.
    SweepRetry,
    /// The sweep could not be made, and what comes after it waits no longer.
    SweepFailed,
    /// The main process was started again this often, and that is enough.
    RestartLimit(u64),
    /// The main process will be started again after this pause.
    Restarting(Duration),
    /// The main process is stopped to be started again, because of this.
    Replacing(IncidentKind),
    /// It was to be started again, and a stop signal says that it is not.
    RestartCancelled(Signal),
    /// A unit could not be started.
    UnitStartFailed(UnitId, Errno),
    /// A unit was asked to stop.
    UnitStopping(UnitId),
    /// A unit has ended and is not started again by its own policy.
    UnitEnded {
        /// Which one.
        unit: UnitId,
        /// How its supervisor ended, which is how it did.
        status: ExitStatus,
        /// It was asked to.
        asked: bool,
    },
    /// A unit's supervisor was killed, and is started again.
    UnitLost {
        /// Which unit.
        unit: UnitId,
        /// How the supervisor ended.
        status: ExitStatus,
        /// When, if what it left behind is gone by then.
        pause: Duration,
    },
    /// The gateway's health is not monitored any more: it counts as ready when it runs.
    HealthUnmonitored,
    /// The end of a required unit is the end of everything.
    RequiredUnitEnded(UnitId),
    /// A unit's supervisor did not stop it within all its windows, and is killed.
    UnitHangs(UnitId),
    /// The gateway gave signs of life and has given none for this long.
    WatchdogMissed(Duration),
    /// Not all processes were frozen within this time.
    FreezeFailed(Duration),
}
