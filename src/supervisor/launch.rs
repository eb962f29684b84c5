//! The beginning: the sweep before everything, and the start of the main process.

use std::time::Duration;

use super::ladder::Ladder;
use super::notify::Herald;
use super::{Action, Note, Occasion, Phase, Supervisor};
use crate::ids::{Errno, Moment, Pid, Stage};

/// The failure that may pass: a limit on processes is reached (fork(2), EAGAIN; 11 on every Linux).
const NO_PROCESS: (Stage, Errno) = (Stage::Fork, Errno(11));
/// How often the start is tried again then, and the first pause, which doubles: about three seconds in all.
pub(super) const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

impl Supervisor {
    pub(super) fn begin(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.phase != Phase::New {
            return;
        }
        if let Some(window) = self.policy.sweep {
            self.phase = Phase::FirstSweep { until: now.after(window) };
            out.push(Action::Sweep(Occasion::Startup));
        } else {
            self.bring_up(now, out);
        }
    }

    pub(super) fn start(&mut self, now: Moment, tries: u32, out: &mut Vec<Action>) {
        if let Some(outcome) = self.cancelled_before_start() {
            return self.exit(outcome, out);
        }
        if matches!(self.phase, Phase::Waiting { .. }) {
            self.restarts = self.restarts.saturating_add(1);
            self.start_failed = None;
            self.ladder = Ladder::Idle;
            self.stopped = None;
        }
        self.started_at = now;
        self.phase = Phase::Starting { tries };
        out.push(Action::Start);
    }

    pub(super) fn started(&mut self, now: Moment, pid: Pid, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return;
        }
        self.phase = Phase::Running { pid };
        self.tell_herald(Herald::begin);
        let window = self.policy.hand_over.unwrap_or_default();
        self.keeper.begin(now, self.found_first, window, self.policy.look_later);
        self.tool_started(now, out);
        for received in std::mem::take(&mut self.pending) {
            self.signal(now, received, out);
        }
        if self.failed_unit.is_some() {
            self.end_for_good(now, out);
        }
        self.bring_up_rest(out);
    }

    pub(super) fn start_failed(&mut self, now: Moment, stage: Stage, errno: Errno, out: &mut Vec<Action>) {
        match self.phase {
            // The process was created and could not become the command: it is about to die, and the rest
            // goes the way of every death.
            Phase::Running { .. } => self.start_failed = Some((stage, errno)),
            Phase::Starting { tries } if (stage, errno) == NO_PROCESS && tries < TRIES => {
                let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries));
                self.phase = Phase::Retrying { until: now.after(pause), tries: tries + 1 };
                out.push(Action::Note(Note::StartAgain(pause)));
            }
            Phase::Starting { .. } => {
                self.start_failed = Some((stage, errno));
                self.finish(now, None, out);
            }
            Phase::New
            | Phase::FirstSweep { .. }
            | Phase::UnitsUp
            | Phase::Retrying { .. }
            | Phase::Clearing { .. }
            | Phase::UnitsDown { .. }
            | Phase::Settling { .. }
            | Phase::LastSweep { .. }
            | Phase::Waiting { .. }
            | Phase::Over => {}
        }
    }
}
