//! What follows the end of the main process: the end of everything, or another start.
//!
//! A restart never begins before everything that the old process left behind is gone. It waits for its locks to be
//! swept, for as long as a sweep may take, and for no filesystem that hangs longer than that; where a sweep cannot be
//! made for want of processes or descriptors, until it can.

use super::ladder::Ladder;
use super::restart::{Decision, RestartOn};
use super::{Action, ExitedMain, Gone, Note, Origin, Phase, Received, Supervisor};
use crate::types::{ExitStatus, HealthReport, HealthState, IncidentKind, MonoTime, Pid, Signal};

/// What follows the end of the main process, if that was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum AfterExit {
    /// Nothing was requested: the restart policy decides.
    #[default]
    Decide,
    /// It is to be started again. One that an operator asked for does not count towards the limit.
    Restart {
        /// It counts.
        counted: bool,
    },
    /// It is the end.
    Shutdown,
}

impl Supervisor {
    /// Stops the main process by the ladder and starts it again. `false` if that is not to be had now.
    pub(super) fn replace(&mut self, now: MonoTime, counted: bool, out: &mut Vec<Action>) -> bool {
        match self.phase {
            Phase::Running { pid } if self.ladder == Ladder::Idle && self.pending_exit_signal.is_none() => {
                self.after_exit = AfterExit::Restart { counted };
                let received = Received { signal: Signal::TERM, origin: Origin::Process };
                self.begin_ladder(now, pid, received, out);
                true
            }
            Phase::RestartDelay { .. } if !counted => {
                self.start(now, 0, out);
                true
            }
            // What runs this ladder has decided already; an unasked-for end may still become a restart.
            Phase::AskingHandoff { .. }
            | Phase::StoppingLeftovers { .. }
            | Phase::WaitingForSweep { .. }
            | Phase::LastSweep { .. }
                if self.after_exit == AfterExit::Decide =>
            {
                self.after_exit = AfterExit::Restart { counted };
                true
            }
            _ => matches!(self.after_exit, AfterExit::Restart { .. }),
        }
    }

    /// sexton-watch, or sexton itself, says that something is so.
    pub(super) fn condition(&mut self, now: MonoTime, kind: IncidentKind, out: &mut Vec<Action>) {
        let running = matches!(self.phase, Phase::Running { .. }) && self.ladder == Ladder::Idle;
        if running && self.policy.replace_on.contains(&kind) {
            out.push(Action::Note(Note::Replacing(kind)));
            self.replace(now, true, out);
        }
    }

    /// sexton-watch reports the gateway's health. An unhealthy gateway is restarted when it is no longer excused, which
    /// may be long after the first such report.
    pub(super) fn health(&mut self, now: MonoTime, report: HealthReport, out: &mut Vec<Action>) {
        self.update_notifier(|notifier| notifier.health(report));
        if report.state == HealthState::Unhealthy && !report.excused {
            self.condition(now, IncidentKind::Unhealthy, out);
        }
    }

    /// Ends everything without a signal having been sent for it.
    pub(super) fn shutdown(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Running { pid } if self.ladder == Ladder::Idle => {
                let received = Received { signal: Signal::TERM, origin: Origin::Process };
                self.begin_stop(now, pid, received, out);
            }
            Phase::Running { .. } if matches!(self.ladder, Ladder::Before { .. }) => {
                let received = Received { signal: Signal::TERM, origin: Origin::Process };
                self.make_final(now, received, out);
            }
            Phase::RestartDelay { zombie, .. } => self.enter_shutdown(now, zombie, out),
            Phase::AskingHandoff { .. } => self.cancel_handoff(out),
            _ => {
                self.after_exit = AfterExit::Shutdown;
                self.hurry_last_sweep(now);
                self.settle(now, out);
            }
        }
    }

    /// Whether the end of this process is to be followed by a start, the limit apart.
    fn is_followed(&self, zombie: Option<ExitedMain>) -> bool {
        match (self.after_exit, zombie) {
            _ if self.failed_unit.is_some() => false,
            (AfterExit::Shutdown, _) => false,
            (AfterExit::Restart { .. }, _) => true,
            // What could not be started the first time will not be mended by trying.
            (AfterExit::Decide, _) if self.start_failed.is_some() && self.restarts == 0 => false,
            (AfterExit::Decide, Some(zombie)) => self.policy.restart.follows(zombie.status),
            (AfterExit::Decide, None) => self.policy.restart.on != RestartOn::Never,
        }
    }

    /// Whether what ends now may be started again.
    pub(super) fn may_follow(&self) -> bool {
        match self.phase {
            Phase::StoppingLeftovers { zombie, .. }
            | Phase::WaitingForSweep { zombie, .. }
            | Phase::LastSweep { zombie, .. } => self.is_followed(zombie),
            _ => false,
        }
    }

    /// Nothing is left of what the main process made. `true` if it is the units' turn to end.
    pub(super) fn ends_with_units(&self, zombie: Option<ExitedMain>) -> bool {
        self.units_live(false) && !self.is_followed(zombie)
    }

    /// The locks are swept.
    pub(super) fn finalize(&mut self, now: MonoTime, zombie: Option<ExitedMain>, out: &mut Vec<Action>) {
        if let Some(ExitedMain { pid, held: true, .. }) = zombie {
            out.push(Action::Reap(pid));
        }
        let zombie = zombie.map(|zombie| ExitedMain { held: false, ..zombie });
        if self.is_followed(zombie) {
            let counted = self.after_exit != AfterExit::Restart { counted: false };
            let ran = now.since(self.started_at);
            let next = if counted {
                self.history.again(&self.policy.restart, now, ran)
            } else {
                Decision::at_once()
            };
            if let Decision::RestartAfter(pause) = next {
                self.after_exit = AfterExit::Decide;
                self.phase = Phase::RestartDelay { zombie, until: now.after(pause) };
                out.push(Action::Note(Note::Restarting(pause)));
                return;
            }
            self.restart_limit_hit = true;
            out.push(Action::Note(Note::RestartLimit(self.restarts)));
            self.after_exit = AfterExit::Shutdown;
        }
        self.enter_shutdown(now, zombie, out);
    }

    /// The end: of the units first, if one lives.
    pub(super) fn enter_shutdown(
        &mut self,
        now: MonoTime,
        zombie: Option<ExitedMain>,
        out: &mut Vec<Action>,
    ) {
        self.after_exit = AfterExit::Shutdown;
        self.forget_orphans();
        if self.ends_sessions(zombie, out) {
            return;
        }
        if self.units_live(false) {
            self.phase = Phase::UnitsDown { zombie };
            self.stop_all(now, out);
        } else {
            self.exit(self.outcome(zombie.map(|zombie| zombie.status)), out);
        }
    }

    /// The main process is on the ladder to be replaced, and now its end is the end of everything. If it has got no signal
    /// yet, the units that were started after it are stopped first, as in every stop. The step before the signal comes
    /// again then.
    pub(super) fn make_final(&mut self, now: MonoTime, received: Received, out: &mut Vec<Action>) {
        self.after_exit = AfterExit::Shutdown;
        if matches!(self.ladder, Ladder::Before { .. }) && self.stop_next_unit(now, true, out) {
            self.ladder = Ladder::Idle;
            self.pending_exit_signal = Some(received);
            out.push(Action::EndStep);
        }
    }

    /// The ladder begins for good: those that were started after the main process are stopped before it.
    pub(super) fn begin_stop(&mut self, now: MonoTime, pid: Pid, received: Received, out: &mut Vec<Action>) {
        self.after_exit = AfterExit::Shutdown;
        if self.stop_next_unit(now, true, out) {
            self.pending_exit_signal = Some(received);
        } else {
            self.begin_ladder(now, pid, received, out);
        }
    }
}

/// What matters to a sweep after the main process's end.
pub(super) fn gone(zombie: Option<ExitedMain>) -> Gone {
    let clean = zombie.is_some_and(|zombie| zombie.status == ExitStatus::Exited(0));
    let zombie = zombie.filter(|zombie| zombie.held).map(|zombie| zombie.pid);
    Gone { zombie, clean }
}
