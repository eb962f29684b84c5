//! A tool: a main process with a deadline, whose stop is an abort.
//!
//! A gateway drains through its children and reports its own end. A tool is work that its caller waits for. So its
//! whole tree gets TERM at once, and its outcome is that it was aborted, whatever it exits with. The first cause of the
//! abort counts.

use std::time::Duration;

use super::ladder::Ladder;
use super::{Action, Note, Origin, Phase, Received, Supervisor};
use crate::types::{CancelledBy, ExitStatus, MonoTime, Outcome, Signal, StopStage};

/// What is asked of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ToolPolicy {
    /// How long it may run; for ever if there is none.
    pub timeout: Option<Duration>,
    /// Whether it stands in for a shell: then the interrupt key of the terminal is the command's to act on, as it
    /// would be below that shell, and cancels nothing.
    pub shell: bool,
}

/// Why a tool was ended before its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cause {
    Deadline,
    Cancel(CancelledBy),
}

impl From<CancelledBy> for Cause {
    fn from(by: CancelledBy) -> Cause {
        Cause::Cancel(by)
    }
}

/// Where a tool's life is between its deadline and its abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct ToolRun {
    /// When its time is up, as long as nothing has ended it.
    until: Option<MonoTime>,
    cause: Option<Cause>,
    /// The last stage that the ladder reached.
    stage: Option<StopStage>,
}

impl ToolRun {
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.until
    }

    /// The first cause counts.
    pub(super) fn note(&mut self, cause: Cause) {
        self.until = None;
        self.cause.get_or_insert(cause);
    }

    pub(super) fn reach(&mut self, stage: StopStage) {
        self.stage = Some(stage);
    }

    pub(super) fn by_parents_death(&self) -> bool {
        self.cause == Some(Cause::Cancel(CancelledBy::ParentDied))
    }
}

impl Supervisor {
    /// A deadline or a cancel that came while nothing ran: nothing is started any more.
    pub(super) fn cancelled_before_start(&self) -> Option<Outcome> {
        let unborn = ExitStatus::Signaled { signal: Signal::TERM.number(), core: false };
        self.tool.cause.map(|_| self.outcome(Some(unborn)))
    }

    pub(super) fn tool_started(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        let timeout = self.policy.tool.and_then(|tool| tool.timeout);
        self.tool.until = timeout.map(|timeout| now.after(timeout));
        if let Some(cause) = self.tool.cause {
            self.abort(now, cause, out);
        }
    }

    /// The main process has ended. Unless those that it left behind are waited for, its work is done: they are
    /// ended by the ladder, and no deadline matters.
    pub(super) fn tool_ended(&mut self) {
        if !self.policy.wait_all {
            self.tool.until = None;
        }
    }

    pub(super) fn deadline_passed(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        if self.tool.until.take_if(|until| now >= *until).is_some() {
            self.abort(now, Cause::Deadline, out);
        }
    }

    /// The tool is cancelled. A gateway has its stop signals for that.
    pub(super) fn cancel(&mut self, now: MonoTime, by: CancelledBy, out: &mut Vec<Action>) {
        if self.policy.tool.is_some() {
            self.abort(now, Cause::Cancel(by), out);
        }
    }

    /// Whether it is a key of the terminal that the command is to act on itself; once it is being ended, another
    /// one hurries as any signal does.
    pub(super) fn is_shell_interrupt(&self, received: Received) -> bool {
        let shell = self.policy.tool.is_some_and(|tool| tool.shell);
        let key = received.origin == Origin::Kernel && received.signal == Signal::INT;
        shell && key && self.ladder == Ladder::Idle
    }

    /// Its parent is about to die, or dead, with everything else.
    pub(super) fn gave_up_waiting(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        self.cancel(now, CancelledBy::ParentDied, out);
        if matches!(self.ladder, Ladder::Leftovers { .. }) && self.policy.tool.is_some() {
            self.kill(now, out);
        }
    }

    fn abort(&mut self, now: MonoTime, cause: Cause, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Running { .. } if self.ladder == Ladder::Idle => self.begin_tree_stop(now, cause, out),
            Phase::StoppingLeftovers { .. } if self.ladder == Ladder::Idle && self.policy.wait_all => {
                self.begin_tree_stop(now, cause, out);
            }
            Phase::New | Phase::FirstSweep { .. } | Phase::UnitsUp | Phase::Starting { .. } => {
                self.tool.note(cause);
            }
            // Nothing was started, and nothing will be.
            Phase::ForkRetry { .. } => {
                self.tool.note(cause);
                self.start(now, 0, out);
            }
            Phase::Running { .. }
            | Phase::AskingHandoff { .. }
            | Phase::StoppingLeftovers { .. }
            | Phase::UnitsDown { .. }
            | Phase::WaitingForSweep { .. }
            | Phase::LastSweep { .. }
            | Phase::RestartDelay { .. }
            | Phase::Exited => {}
        }
    }

    fn begin_tree_stop(&mut self, now: MonoTime, cause: Cause, out: &mut Vec<Action>) {
        self.tool.note(cause);
        let grace = self.policy.grace;
        out.push(Action::Note(Note::Stopping { signal: Signal::TERM, grace }));
        self.stop_leftovers(now, grace, out);
    }

    /// How it ended, if the main process ended with this status; there is none if none was ever started.
    pub(super) fn outcome(&self, status: Option<ExitStatus>) -> Outcome {
        let stage = self.tool.stage.unwrap_or(StopStage::Grace);
        match (self.start_failed, self.failed_unit, self.tool.cause) {
            _ if self.restart_limit_hit => Outcome::RestartLimitHit { code: status.map(ExitStatus::code) },
            (Some((step, errno)), ..) => Outcome::StartFailed { step, errno },
            (None, Some(unit), _) => Outcome::UnitEnded { unit },
            (None, None, Some(Cause::Deadline)) => Outcome::TimedOut { stage },
            (None, None, Some(Cause::Cancel(by))) => Outcome::Cancelled { by, stage },
            (None, None, None) => status.unwrap_or(ExitStatus::Exited(0)).into(),
        }
    }
}
