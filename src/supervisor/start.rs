//! The beginning: the sweep before everything, and the start of the main process.

use std::time::Duration;

use super::ladder::Ladder;
use super::sd_notify::Notifier;
use super::{Action, Note, Phase, Supervisor};
use crate::types::{Errno, MonoTime, Pid, StartStep};

/// The failure that may pass: a limit on processes is reached (fork(2), EAGAIN; 11 on every Linux).
const NO_PROCESS: (StartStep, Errno) = (StartStep::Fork, Errno(11));
/// How often the start is tried again then, and the first pause, which doubles: about three seconds in all.
pub(super) const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

impl Supervisor {
    pub(super) fn begin(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        if self.phase != Phase::New {
            return;
        }
        if let Some(window) = self.policy.sweep {
            self.first_sweep(now, window, 0, out);
        } else {
            self.start_all(now, out);
        }
    }

    pub(super) fn start(&mut self, now: MonoTime, tries: u32, out: &mut Vec<Action>) {
        if let Some(outcome) = self.cancelled_before_start() {
            return self.exit(outcome, out);
        }
        if matches!(self.phase, Phase::RestartDelay { .. }) {
            self.restarts = self.restarts.saturating_add(1);
            self.start_failed = None;
            self.ladder = Ladder::Idle;
            self.stopped = None;
        }
        self.started_at = now;
        self.phase = Phase::Starting { tries };
        out.push(Action::Start);
    }

    pub(super) fn started(&mut self, now: MonoTime, pid: Pid, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return;
        }
        self.phase = Phase::Running { pid };
        // Everybody is counted again at its end.
        self.sessions = false;
        self.update_notifier(Notifier::begin);
        let window = self.policy.hand_over.unwrap_or_default();
        let wanted = self.policy.mark_locks || (self.policy.look_later && self.startup_sweep.missing);
        let later = wanted && self.policy.sweep.is_some();
        self.live_sweep.begin(now, self.startup_sweep, window, later);
        self.tool_started(now, out);
        for received in std::mem::take(&mut self.pending) {
            self.signal(now, received, out);
        }
        if self.failed_unit.is_some() {
            self.shutdown(now, out);
        }
        self.start_rest(out);
    }

    pub(super) fn start_failed(
        &mut self,
        now: MonoTime,
        step: StartStep,
        errno: Errno,
        out: &mut Vec<Action>,
    ) {
        match self.phase {
            // The process was created and could not become the command: it is about to die, and the rest
            // goes the way of every death.
            Phase::Running { .. } => self.start_failed = Some((step, errno)),
            Phase::Starting { tries } if (step, errno) == NO_PROCESS && tries < TRIES => {
                let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries));
                self.phase = Phase::ForkRetry { until: now.after(pause), tries: tries + 1 };
                out.push(Action::Note(Note::StartRetry(pause)));
            }
            Phase::Starting { .. } => {
                self.start_failed = Some((step, errno));
                self.finalize(now, None, out);
            }
            Phase::New
            | Phase::FirstSweep { .. }
            | Phase::UnitsUp
            | Phase::ForkRetry { .. }
            | Phase::AskingHandoff { .. }
            | Phase::StoppingLeftovers { .. }
            | Phase::UnitsDown { .. }
            | Phase::WaitingForSweep { .. }
            | Phase::LastSweep { .. }
            | Phase::RestartDelay { .. }
            | Phase::Exited => {}
        }
    }
}
