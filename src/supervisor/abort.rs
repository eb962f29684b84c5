//! A tool: a main process with a deadline, whose stop is an abort.
//!
//! A gateway drains through its children and reports its own end. A tool is work that somebody waits for: its
//! whole tree gets TERM at once, and whatever it says on its way out, its outcome is that it was aborted. What
//! came first says why.

use std::time::Duration;

use super::ladder::Ladder;
use super::{Action, Note, Origin, Phase, Received, Supervisor};
use crate::ids::{Canceller, ExitStatus, Moment, Outcome, Rung, Signal};

/// What is asked of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tool {
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
    Cancel(Canceller),
}

impl From<Canceller> for Cause {
    fn from(by: Canceller) -> Cause {
        Cause::Cancel(by)
    }
}

/// Where a tool's life is between its deadline and its abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Abort {
    /// When its time is up, as long as nothing has ended it.
    until: Option<Moment>,
    cause: Option<Cause>,
    /// The last rung that the ladder reached.
    rung: Option<Rung>,
}

impl Abort {
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.until
    }

    /// The first cause counts.
    pub(super) fn note(&mut self, cause: Cause) {
        self.until = None;
        self.cause.get_or_insert(cause);
    }

    pub(super) fn reach(&mut self, rung: Rung) {
        self.rung = Some(rung);
    }

    pub(super) fn by_parents_death(&self) -> bool {
        self.cause == Some(Cause::Cancel(Canceller::ParentDied))
    }
}

impl Supervisor {
    /// A deadline or a cancel that came while nothing ran: nothing is started any more.
    pub(super) fn cancelled_before_start(&self) -> Option<Outcome> {
        let unborn = ExitStatus::Signaled { signal: Signal::TERM.number(), core: false };
        self.abort.cause.map(|_| self.outcome(Some(unborn)))
    }

    pub(super) fn tool_started(&mut self, now: Moment, out: &mut Vec<Action>) {
        let timeout = self.policy.tool.and_then(|tool| tool.timeout);
        self.abort.until = timeout.map(|timeout| now.after(timeout));
        if let Some(cause) = self.abort.cause {
            self.end_early(now, cause, out);
        }
    }

    /// The main process has ended. Unless those that it left behind are waited for, its work is done: they are
    /// ended by the ladder, and no deadline matters.
    pub(super) fn tool_ended(&mut self) {
        if !self.policy.wait_all {
            self.abort.until = None;
        }
    }

    pub(super) fn deadline_passed(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.abort.until.take_if(|until| now >= *until).is_some() {
            self.end_early(now, Cause::Deadline, out);
        }
    }

    /// Somebody wants the tool to end. A gateway has its stop signals for that.
    pub(super) fn cancel(&mut self, now: Moment, by: Canceller, out: &mut Vec<Action>) {
        if self.policy.tool.is_some() {
            self.end_early(now, Cause::Cancel(by), out);
        }
    }

    /// Whether it is a key of the terminal that the command is to act on itself; once it is being ended, another
    /// one hurries as any signal does.
    pub(super) fn is_a_key_of_the_shell(&self, received: Received) -> bool {
        let shell = self.policy.tool.is_some_and(|tool| tool.shell);
        let key = received.origin == Origin::Kernel && received.signal == Signal::INT;
        shell && key && self.ladder == Ladder::Idle
    }

    /// Its parent is about to die, or dead, with everything else.
    pub(super) fn abandoned(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.cancel(now, Canceller::ParentDied, out);
        if matches!(self.ladder, Ladder::Stragglers { .. }) && self.policy.tool.is_some() {
            self.kill(now, out);
        }
    }

    fn end_early(&mut self, now: Moment, cause: Cause, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Running { .. } if self.ladder == Ladder::Idle => self.end_tree(now, cause, out),
            Phase::Clearing { .. } if self.ladder == Ladder::Idle && self.policy.wait_all => {
                self.end_tree(now, cause, out);
            }
            Phase::New | Phase::FirstSweep { .. } | Phase::UnitsUp | Phase::Starting { .. } => {
                self.abort.note(cause);
            }
            // Nothing was started, and nothing will be.
            Phase::Retrying { .. } => {
                self.abort.note(cause);
                self.start(now, 0, out);
            }
            Phase::Running { .. }
            | Phase::Clearing { .. }
            | Phase::UnitsDown { .. }
            | Phase::Settling { .. }
            | Phase::LastSweep { .. }
            | Phase::Waiting { .. }
            | Phase::Over => {}
        }
    }

    fn end_tree(&mut self, now: Moment, cause: Cause, out: &mut Vec<Action>) {
        self.abort.note(cause);
        let grace = self.policy.grace;
        out.push(Action::Note(Note::Stopping { signal: Signal::TERM, grace }));
        self.stragglers(now, grace, out);
    }

    /// How it ended, if the main process ended with this status; there is none if none was ever started.
    pub(super) fn outcome(&self, status: Option<ExitStatus>) -> Outcome {
        let rung = self.abort.rung.unwrap_or(Rung::Grace);
        match (self.start_failed, self.failed_unit, self.abort.cause) {
            _ if self.gave_up => Outcome::GaveUp { code: status.map(ExitStatus::code) },
            (Some((stage, errno)), ..) => Outcome::StartFailed { stage, errno },
            (None, Some(unit), _) => Outcome::UnitEnded { unit },
            (None, None, Some(Cause::Deadline)) => Outcome::TimedOut { rung },
            (None, None, Some(Cause::Cancel(by))) => Outcome::Cancelled { by, rung },
            (None, None, None) => status.unwrap_or(ExitStatus::Exited(0)).into(),
        }
    }
}
