//! Where the main process stands, and what is due when.

use super::ladder::earlier;
use super::sd_notify::Notifier;
use super::sweep_retry::SweepTry;
use super::{Action, StepAnswer, Supervisor};
use crate::types::{ExitStatus, MonoTime, Pid};

/// The main process after its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ExitedMain {
    pub(super) pid: Pid,
    pub(super) status: ExitStatus,
    pub(super) held: bool,
}

/// Where it stands; the module above has the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    New,
    FirstSweep {
        sweep: SweepTry,
    },
    /// The units that come before the main process are being started.
    UnitsUp,
    Starting {
        tries: u32,
    },
    /// The system had no process to give; it is asked again.
    ForkRetry {
        until: MonoTime,
        tries: u32,
    },
    Running {
        pid: Pid,
    },
    /// It has ended with 0, and a step says what that means.
    AskingHandoff {
        zombie: ExitedMain,
        until: MonoTime,
    },
    StoppingLeftovers {
        zombie: Option<ExitedMain>,
        recount: Option<MonoTime>,
    },
    /// It is the end, and the units are stopped one after the other.
    UnitsDown {
        zombie: Option<ExitedMain>,
    },
    /// Nothing is left of the main process, and it is to be started again, but units live on: locks are swept
    /// as beside a living main process, and where no quiet moment can be made, it is tried again until then.
    WaitingForSweep {
        zombie: Option<ExitedMain>,
        until: MonoTime,
    },
    LastSweep {
        zombie: Option<ExitedMain>,
        sweep: SweepTry,
    },
    /// The main process is started again when the pause is over.
    RestartDelay {
        zombie: Option<ExitedMain>,
        until: MonoTime,
    },
    Exited,
}

impl Supervisor {
    /// When [`Event::Tick`](super::Event::Tick) is wanted, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonoTime> {
        let notifier = self.notifier.as_ref().and_then(Notifier::deadline);
        let beside = earlier(notifier, earlier(self.units_deadline(), self.orphans.deadline()));
        earlier(beside, self.phase_deadline())
    }

    pub(super) fn phase_deadline(&self) -> Option<MonoTime> {
        match self.phase {
            Phase::FirstSweep { sweep } | Phase::LastSweep { sweep, .. } => Some(sweep.due),
            Phase::RestartDelay { until, .. } => Some(until),
            Phase::Running { .. } => {
                let ladder = earlier(self.ladder.deadline(), self.delayed.deadline());
                earlier(earlier(ladder, self.live_sweep.deadline()), self.tool.deadline())
            }
            Phase::StoppingLeftovers { recount, .. } => {
                earlier(earlier(self.ladder.deadline(), recount), self.tool.deadline())
            }
            Phase::WaitingForSweep { until, .. } => self.live_sweep.deadline().or(Some(until)),
            Phase::ForkRetry { until, .. } | Phase::AskingHandoff { until, .. } => Some(until),
            Phase::New
            | Phase::UnitsUp
            | Phase::UnitsDown { .. }
            | Phase::Starting { .. }
            | Phase::Exited => None,
        }
    }

    pub(super) fn tick(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        self.units_tick(now, out);
        self.deadline_passed(now, out);
        self.orphans_tick(now, out);
        match self.phase {
            Phase::FirstSweep { sweep } if now >= sweep.due => {
                if self.sweep_due(now, out) {
                    self.start_all(now, out);
                }
            }
            Phase::ForkRetry { until, tries } if now >= until => self.start(now, tries, out),
            Phase::RestartDelay { until, .. } if now >= until => self.start(now, 0, out),
            Phase::LastSweep { zombie, sweep } if now >= sweep.due => {
                if self.sweep_due(now, out) {
                    self.finalize(now, zombie, out);
                }
            }
            Phase::Running { pid } => {
                self.live_sweep_tick(now, out);
                while let Some(received) = self.delayed.pop_due(now) {
                    self.deliver(now, pid, received, out);
                }
                self.advance(now, out);
            }
            Phase::WaitingForSweep { .. } => self.live_sweep_tick(now, out),
            Phase::AskingHandoff { until, .. } if now >= until => {
                out.push(Action::EndStep);
                self.handoff_answered(StepAnswer::None, out);
            }
            Phase::StoppingLeftovers { zombie, recount } => {
                // Wait for the answer first: perhaps no process is left for the ladder's next stage.
                if recount.is_some_and(|at| now >= at) {
                    self.phase = Phase::StoppingLeftovers { zombie, recount: None };
                    out.push(Action::CountRemaining);
                } else {
                    self.advance(now, out);
                }
            }
            Phase::New
            | Phase::FirstSweep { .. }
            | Phase::UnitsUp
            | Phase::UnitsDown { .. }
            | Phase::AskingHandoff { .. }
            | Phase::LastSweep { .. }
            | Phase::Starting { .. }
            | Phase::ForkRetry { .. }
            | Phase::RestartDelay { .. }
            | Phase::Exited => {}
        }
    }
}
