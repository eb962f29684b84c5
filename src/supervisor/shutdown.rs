//! The end of the main process: what it left behind, and the sweep after it.

use std::time::Duration;

use super::ladder::Ladder;
use super::restart_decision::AfterExit;
use super::{Action, ExitedMain, Note, Phase, Remaining, Supervisor, SweepSummary};
use crate::types::{ExitStatus, MonoTime, Outcome, Pid};

/// What a sweep that was given up may have found: locks that it handed over, for the next main process to find, and no
/// root.
pub(super) const UNKNOWN: SweepSummary =
    SweepSummary { waiting: 0, handed_over: 1, missing: true, failed: None };

/// How often to look for processes whose deaths the kernel does not report to us.
pub(super) const RECOUNT: Duration = Duration::from_millis(25);

/// How often those are counted again whose deaths should be told. One of them may have been made so that the kernel
/// reaps it without a word (CLONE_AUTOREAP, clone3(2), Linux 7).
pub(super) const RECOUNT_CHILDREN: Duration = Duration::from_millis(250);

impl Supervisor {
    pub(super) fn died(&mut self, now: MonoTime, pid: Pid, status: ExitStatus, out: &mut Vec<Action>) {
        if self.unit_died(now, pid, status, out) {
            return;
        }
        if self.late_death(pid, status, out) {
            return;
        }
        if self.phase != (Phase::Running { pid }) {
            self.live_sweep.wanted |=
                self.policy.sweep.is_some() && matches!(self.phase, Phase::Running { .. });
            self.adopted_child_died(now);
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
        self.pending_exit_signal = None;
        let zombie = ExitedMain { pid, status, held };
        if !self.asks_for_handoff(now, zombie, out) {
            self.phase = Phase::StoppingLeftovers { zombie: Some(zombie), recount: None };
        }
    }

    /// KILL did not end the main process in time, and now it has ended after all. It is held like any other, as the last
    /// sweep is still to come: no other process may have its number while its locks are judged.
    fn late_death(&mut self, pid: Pid, status: ExitStatus, out: &mut Vec<Action>) -> bool {
        let can_hold = self.policy.can_hold;
        match &mut self.phase {
            Phase::UnitsDown { zombie: Some(main) } | Phase::StoppingLeftovers { zombie: Some(main), .. }
                if can_hold && main.pid == pid && !main.held =>
            {
                *main = ExitedMain { pid, status, held: true };
                out.push(Action::Note(Note::MainEnded(pid, status)));
                true
            }
            _ => false,
        }
    }

    pub(super) fn rest(&mut self, now: MonoTime, rest: Remaining, out: &mut Vec<Action>) {
        let Phase::StoppingLeftovers { zombie, .. } = self.phase else {
            return;
        };
        self.sessions = rest == Remaining::Sessions;
        let pause = match rest {
            Remaining::Gone | Remaining::Sessions => return self.all_gone(now, zombie, out),
            Remaining::Children => RECOUNT_CHILDREN,
            Remaining::Strangers => RECOUNT,
        };
        self.phase = Phase::StoppingLeftovers { zombie, recount: Some(now.after(pause)) };
        let lives_on = self.policy.wait_all && self.ladder == Ladder::Idle;
        if !lives_on && matches!(self.ladder, Ladder::Idle | Ladder::Before { .. } | Ladder::Grace { .. }) {
            self.stop_what_is_left(now, zombie, out);
        }
    }

    pub(super) fn all_gone(&mut self, now: MonoTime, zombie: Option<ExitedMain>, out: &mut Vec<Action>) {
        self.ladder = Ladder::Idle;
        // No sweep follows a command that could not be executed: what an earlier sweep has left is still to be swept.
        let owed = self.live_sweep.wanted && self.start_failed.is_some();
        self.stop_live_sweep(out);
        self.live_sweep.wanted = owed;
        if self.ends_with_units(zombie) {
            self.after_exit = AfterExit::Shutdown;
            self.phase = Phase::UnitsDown { zombie };
            self.stop_all(now, out);
            return;
        }
        // A command that never ran has left nothing.
        let window = self.policy.sweep.filter(|_| self.start_failed.is_none());
        if window.is_some() && self.others_live() {
            self.phase = Phase::WaitingForSweep { zombie, until: now.after(window.unwrap_or_default()) };
            self.stopped = None;
            self.live_sweep.wanted = true;
            self.sweep_if_wanted(now, out);
        } else if window.is_some() {
            self.last_sweep(now, zombie, 0, out);
        } else {
            self.finalize(now, zombie, out);
        }
    }

    pub(super) fn sweep_done(&mut self, now: MonoTime, found: SweepSummary, out: &mut Vec<Action>) {
        match self.phase {
            // Nothing sweeps that could end.
            Phase::FirstSweep { sweep } | Phase::LastSweep { sweep, .. } if sweep.waits => {}
            Phase::FirstSweep { sweep } => match self.sweep_over(now, found, sweep, out) {
                Some(sweep) => self.phase = Phase::FirstSweep { sweep },
                None => self.start_all(now, out),
            },
            Phase::LastSweep { zombie, sweep } => match self.sweep_over(now, found, sweep, out) {
                Some(sweep) => self.phase = Phase::LastSweep { zombie, sweep },
                None => self.finalize(now, zombie, out),
            },
            Phase::Running { .. } | Phase::WaitingForSweep { .. } => self.locks_removed(now, found, out),
            // A look that began before the main process died.
            Phase::AskingHandoff { .. } | Phase::StoppingLeftovers { .. } => self.forget(),
            Phase::New
            | Phase::UnitsUp
            | Phase::UnitsDown { .. }
            | Phase::RestartDelay { .. }
            | Phase::Starting { .. }
            | Phase::ForkRetry { .. }
            | Phase::Exited => {}
        }
    }

    pub(super) fn exit(&mut self, outcome: Outcome, out: &mut Vec<Action>) {
        self.phase = Phase::Exited;
        self.ladder = Ladder::Idle;
        out.push(Action::Exit(outcome));
    }

    /// A sweep has taken its whole time, and what comes after it waits no longer.
    pub(super) fn give_sweep_up(&mut self, out: &mut Vec<Action>) {
        let window = self.policy.sweep.unwrap_or_default();
        self.startup_sweep = UNKNOWN;
        self.abandon_sweep(out);
        out.push(Action::Note(Note::SweepOverdue(window)));
    }
}
