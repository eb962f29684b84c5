//! A sweep that could not be made, or broke off: it is tried again, and what comes after it waits.
//!
//! What lacks is processes, descriptors or memory, as a rule, and others give them back sooner or later. A restart waits for
//! that as long as it takes, because its predecessor's locks could keep it from serving: what does not let a sweep be made
//! would not let a gateway work either. A first start and the end wait for some tries, and so does a restart for a sweep
//! that breaks off for another reason.

use std::time::Duration;

use super::restart_decision::gone;
use super::shutdown::UNKNOWN;
use super::{Action, ExitedMain, Note, Phase, Supervisor, SweepFailure, SweepSummary, SweepTrigger};
use crate::types::MonoTime;

/// How often it is tried again where what comes after it does not wait for ever, and the first pause, which doubles:
/// about three seconds in all.
pub(super) const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A sweep beside which nothing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SweepTry {
    /// It has failed, and waits to be tried again.
    pub(super) waits: bool,
    /// When it is tried again, or given up.
    pub(super) due: MonoTime,
    /// How often it has failed before.
    pub(super) tries: u32,
}

impl SweepTry {
    fn begin(now: MonoTime, window: Duration, tries: u32) -> SweepTry {
        SweepTry { waits: false, due: now.after(window), tries }
    }

    /// It has failed. The next try, if there is to be one.
    fn again(self, now: MonoTime, for_ever: bool) -> Option<SweepTry> {
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.tries.min(TRIES)));
        let tries = self.tries.saturating_add(1).min(TRIES + 1);
        (for_ever || tries <= TRIES).then_some(SweepTry { waits: true, due: now.after(pause), tries })
    }
}

impl Supervisor {
    /// Sweeps before the first start.
    pub(super) fn first_sweep(&mut self, now: MonoTime, window: Duration, tries: u32, out: &mut Vec<Action>) {
        self.phase = Phase::FirstSweep { sweep: SweepTry::begin(now, window, tries) };
        out.push(Action::Sweep(SweepTrigger::Startup));
    }

    /// Sweeps after the main process and all that it left are gone.
    pub(super) fn last_sweep(
        &mut self,
        now: MonoTime,
        zombie: Option<ExitedMain>,
        tries: u32,
        out: &mut Vec<Action>,
    ) {
        let window = self.policy.sweep.unwrap_or_default();
        self.phase = Phase::LastSweep { zombie, sweep: SweepTry::begin(now, window, tries) };
        out.push(Action::Sweep(SweepTrigger::TreeGone(gone(zombie))));
    }

    /// The sweep is over. The next try, if it has failed and is tried again.
    pub(super) fn sweep_over(
        &mut self,
        now: MonoTime,
        found: SweepSummary,
        sweep: SweepTry,
        out: &mut Vec<Action>,
    ) -> Option<SweepTry> {
        self.startup_sweep = found;
        let failure = found.failed?;
        let for_ever = failure == SweepFailure::NoResources && self.may_follow();
        let next = sweep.again(now, for_ever);
        if next.is_some() && sweep.tries == 0 {
            out.push(Action::Note(Note::SweepRetry));
        } else if next.is_none() {
            self.startup_sweep = UNKNOWN;
            // It follows beside what is started now.
            self.live_sweep.wanted = true;
            out.push(Action::Note(Note::SweepFailed));
        }
        next
    }

    /// The moment has come: for the next try, or to give up the one that goes on. Whether it is given up.
    pub(super) fn sweep_due(&mut self, now: MonoTime, out: &mut Vec<Action>) -> bool {
        match self.phase {
            Phase::FirstSweep { sweep } if sweep.waits => {
                self.first_sweep(now, self.policy.sweep.unwrap_or_default(), sweep.tries, out);
                false
            }
            // A unit has come meanwhile.
            Phase::LastSweep { zombie, sweep } if sweep.waits && self.others_live() => {
                self.all_gone(now, zombie, out);
                false
            }
            Phase::LastSweep { zombie, sweep } if sweep.waits => {
                self.last_sweep(now, zombie, sweep.tries, out);
                false
            }
            _ => {
                self.give_sweep_up(out);
                true
            }
        }
    }

    /// What comes after the last sweep has changed, and does not wait for ever any more.
    pub(super) fn hurry_last_sweep(&mut self, now: MonoTime) {
        if let Phase::LastSweep { sweep, .. } = &mut self.phase
            && sweep.waits
        {
            sweep.due = now;
        }
    }

    /// A sweep beside the living has failed. Whether what waits for it goes on waiting.
    pub(super) fn waits_on(&mut self, now: MonoTime, failure: SweepFailure) -> bool {
        let follows = self.may_follow();
        match &mut self.phase {
            Phase::WaitingForSweep { until, .. } if follows => {
                if failure == SweepFailure::NoResources {
                    *until = now.after(self.policy.sweep.unwrap_or_default());
                }
                true
            }
            Phase::WaitingForSweep { .. } => false,
            _ => true,
        }
    }
}
