//! The end of the main process: what it left behind, and the sweep after it.

use std::time::Duration;

use super::ladder::Ladder;
use super::replacement::{Purpose, gone};
use super::{Action, Corpse, Note, Occasion, Phase, Rest, Supervisor, Tally};
use crate::ids::{ExitStatus, Moment, Outcome, Pid};

/// What a sweep that was given up may have found: locks that it handed over, for the next main process to find, and no
/// root.
pub(super) const UNKNOWN: Tally = Tally { waiting: 0, handed_over: 1, missing: true };

/// How often processes whose deaths nobody tells us are looked for.
pub(super) const RECOUNT: Duration = Duration::from_millis(25);

impl Supervisor {
    pub(super) fn died(&mut self, now: Moment, pid: Pid, status: ExitStatus, out: &mut Vec<Action>) {
        if self.unit_died(now, pid, status, out) {
            return;
        }
        if self.phase != (Phase::Running { pid }) {
            self.keeper.wanted |= self.policy.sweep.is_some() && matches!(self.phase, Phase::Running { .. });
            self.stranger_died(now);
            out.extend([Action::Reap(pid), Action::Note(Note::Reaped(pid, status))]);
            return;
        }
        self.release(now, out);
        self.forget_orphans();
        self.tool_ended();
        let held = self.policy.can_hold;
        if !held {
            out.push(Action::Reap(pid));
        }
        if self.start_failed.is_none() {
            out.push(Action::Note(Note::MainEnded(pid, status)));
        }
        self.leaving = None;
        self.phase = Phase::Clearing { corpse: Some(Corpse { pid, status, held }), recount: None };
    }

    pub(super) fn rest(&mut self, now: Moment, rest: Rest, out: &mut Vec<Action>) {
        let Phase::Clearing { corpse, .. } = self.phase else {
            return;
        };
        if rest == Rest::Gone {
            self.all_gone(now, corpse, out);
            return;
        }
        let recount = (rest == Rest::Strangers).then(|| now.after(RECOUNT));
        self.phase = Phase::Clearing { corpse, recount };
        let lives_on = self.policy.wait_all && self.ladder == Ladder::Idle;
        if !lives_on && matches!(self.ladder, Ladder::Idle | Ladder::Grace { .. }) {
            self.stragglers(now, self.policy.stragglers, out);
        }
    }

    pub(super) fn all_gone(&mut self, now: Moment, corpse: Option<Corpse>, out: &mut Vec<Action>) {
        self.ladder = Ladder::Idle;
        self.stop_keeping(out);
        if self.ends_with_units(corpse) {
            self.purpose = Purpose::End;
            self.phase = Phase::UnitsDown { corpse };
            self.take_down(now, out);
            return;
        }
        // A command that never ran has left nothing.
        let window = self.policy.sweep.filter(|_| self.start_failed.is_none());
        if window.is_some() && self.units_live(false) {
            self.phase = Phase::Settling { corpse, until: now.after(window.unwrap_or_default()) };
            self.stopped = None;
            self.keeper.wanted = true;
            self.keep(now, out);
        } else if let Some(window) = window {
            self.phase = Phase::LastSweep { corpse, until: now.after(window) };
            out.push(Action::Sweep(Occasion::TreeGone(gone(corpse))));
        } else {
            self.finish(now, corpse, out);
        }
    }

    pub(super) fn sweep_done(&mut self, now: Moment, found: Tally, out: &mut Vec<Action>) {
        match self.phase {
            Phase::FirstSweep { .. } => {
                self.found_first = found;
                self.bring_up(now, out);
            }
            Phase::LastSweep { corpse, .. } => {
                self.found_first = found;
                self.finish(now, corpse, out);
            }
            Phase::Running { .. } | Phase::Settling { .. } => self.kept(now, found, out),
            // A look that began before the main process died.
            Phase::Clearing { .. } => self.forget(),
            Phase::New
            | Phase::UnitsUp
            | Phase::UnitsDown { .. }
            | Phase::Waiting { .. }
            | Phase::Starting { .. }
            | Phase::Retrying { .. }
            | Phase::Over => {}
        }
    }

    pub(super) fn exit(&mut self, outcome: Outcome, out: &mut Vec<Action>) {
        self.phase = Phase::Over;
        self.ladder = Ladder::Idle;
        out.push(Action::Exit(outcome));
    }

    /// A sweep has taken its whole time, and what comes after it waits no longer.
    pub(super) fn give_sweep_up(&mut self, out: &mut Vec<Action>) {
        let window = self.policy.sweep.unwrap_or_default();
        self.found_first = UNKNOWN;
        self.abandon_sweep(out);
        out.push(Action::Note(Note::SweepOverdue(window)));
    }
}
