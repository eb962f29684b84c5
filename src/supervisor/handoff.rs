//! A main process that leaves its restart to its supervisor: it ends with 0 for a restart as well as for a stop, and a step
//! says which of them it is.

use super::ladder::Ladder;
use super::restart::RestartOn;
use super::restart_decision::AfterExit;
use super::{Action, ExitedMain, Note, Phase, Step, StepAnswer, Supervisor};
use crate::types::{ExitStatus, MonoTime};

impl Supervisor {
    /// The main process has died. Whether it is asked what that means; then the phase is that of the question.
    pub(super) fn asks_for_handoff(
        &mut self,
        now: MonoTime,
        zombie: ExitedMain,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(window) = self.policy.handoff else { return false };
        let unasked = self.after_exit == AfterExit::Decide && self.ladder == Ladder::Idle;
        // A code that always asks for a restart has said it.
        let forced = self.policy.restart.force_exit_codes.contains(&0);
        if !unasked || forced || zombie.status != ExitStatus::Exited(0) || self.failed_unit.is_some() {
            return false;
        }
        self.phase = Phase::AskingHandoff { zombie, until: now.after(window) };
        out.extend([Action::Note(Note::AskingHandoff(window)), Action::RunStep(Step::Handoff)]);
        true
    }

    /// The step has answered, or has not. What the main process left behind comes next.
    pub(super) fn handoff_answered(&mut self, answer: StepAnswer, out: &mut Vec<Action>) {
        if answer == StepAnswer::None {
            out.push(Action::Note(Note::HandoffFailed));
        }
        if self.after_exit == AfterExit::Decide {
            self.after_exit = match answer {
                StepAnswer::Restart => AfterExit::Restart { counted: false },
                StepAnswer::Stop => AfterExit::Shutdown,
                StepAnswer::None if self.policy.restart.on == RestartOn::Never => AfterExit::Shutdown,
                StepAnswer::None => AfterExit::Restart { counted: true },
            };
        }
        self.leave_handoff(out);
    }

    /// The answer is not needed any more: it is a stop.
    pub(super) fn cancel_handoff(&mut self, out: &mut Vec<Action>) {
        self.after_exit = AfterExit::Shutdown;
        out.push(Action::EndStep);
        self.leave_handoff(out);
    }

    fn leave_handoff(&mut self, out: &mut Vec<Action>) {
        if let Phase::AskingHandoff { zombie, .. } = self.phase {
            self.phase = Phase::StoppingLeftovers { zombie: Some(zombie), recount: None };
            out.push(Action::CountRemaining);
        }
    }

    /// Whether the sessions that were opened beside us in our pid namespace are spared at this moment, with what
    /// descends from them: what ends now is to be started again.
    #[must_use]
    pub fn spares_sessions(&self) -> bool {
        match self.phase {
            Phase::Running { .. } => matches!(self.after_exit, AfterExit::Restart { .. }),
            _ => self.may_follow(),
        }
    }

    /// Whether a process lives beside which no moment is quiet: a unit, or a session that was spared.
    pub(super) fn others_live(&self) -> bool {
        self.sessions || self.units_live(false)
    }

    /// It is the end after all. Whether sessions were spared that have to end first.
    pub(super) fn ends_sessions(&mut self, zombie: Option<ExitedMain>, out: &mut Vec<Action>) -> bool {
        let spared = std::mem::take(&mut self.sessions);
        if spared {
            self.phase = Phase::StoppingLeftovers { zombie, recount: None };
            out.push(Action::CountRemaining);
        }
        spared
    }
}
