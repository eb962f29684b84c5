//! Where the main process stands, and what is due when.

use super::ladder::earlier;
use super::notify::Herald;
use super::{Action, Supervisor};
use crate::ids::{ExitStatus, Moment, Pid};

/// The main process after its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Corpse {
    pub(super) pid: Pid,
    pub(super) status: ExitStatus,
    pub(super) held: bool,
}

/// Where it stands; the module above has the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    New,
    FirstSweep {
        until: Moment,
    },
    /// The units that come before the main process are being started.
    UnitsUp,
    Starting {
        tries: u32,
    },
    /// The system had no process to give; it is asked again.
    Retrying {
        until: Moment,
        tries: u32,
    },
    Running {
        pid: Pid,
    },
    Clearing {
        corpse: Option<Corpse>,
        recount: Option<Moment>,
    },
    /// It is the end, and the units are stopped one after the other.
    UnitsDown {
        corpse: Option<Corpse>,
    },
    /// Nothing is left of the main process, and it is to be started again, but units live on: locks are swept
    /// as beside a living main process, and where no quiet moment can be made, it is tried again until then.
    Settling {
        corpse: Option<Corpse>,
        until: Moment,
    },
    LastSweep {
        corpse: Option<Corpse>,
        until: Moment,
    },
    /// The main process is started again when the pause is over.
    Waiting {
        corpse: Option<Corpse>,
        until: Moment,
    },
    Over,
}

impl Supervisor {
    /// When [`Event::Tick`](super::Event::Tick) is wanted, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let herald = self.herald.as_ref().and_then(Herald::deadline);
        let beside = earlier(herald, earlier(self.units_deadline(), self.orphans.deadline()));
        earlier(beside, self.phase_deadline())
    }

    pub(super) fn phase_deadline(&self) -> Option<Moment> {
        match self.phase {
            Phase::FirstSweep { until } | Phase::LastSweep { until, .. } | Phase::Waiting { until, .. } => {
                Some(until)
            }
            Phase::Running { .. } => {
                let ladder = earlier(self.ladder.deadline(), self.delayed.deadline());
                earlier(earlier(ladder, self.keeper.deadline()), self.abort.deadline())
            }
            Phase::Clearing { recount, .. } => {
                earlier(earlier(self.ladder.deadline(), recount), self.abort.deadline())
            }
            Phase::Settling { until, .. } => self.keeper.deadline().or(Some(until)),
            Phase::Retrying { until, .. } => Some(until),
            Phase::New | Phase::UnitsUp | Phase::UnitsDown { .. } | Phase::Starting { .. } | Phase::Over => {
                None
            }
        }
    }

    pub(super) fn tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.units_tick(now, out);
        self.deadline_passed(now, out);
        self.orphans_tick(now, out);
        match self.phase {
            Phase::FirstSweep { until } if now >= until => {
                self.give_sweep_up(out);
                self.bring_up(now, out);
            }
            Phase::Retrying { until, tries } if now >= until => self.start(now, tries, out),
            Phase::Waiting { until, .. } if now >= until => self.start(now, 0, out),
            Phase::LastSweep { corpse, until } if now >= until => {
                self.give_sweep_up(out);
                self.finish(now, corpse, out);
            }
            Phase::Running { pid } => {
                self.keeper_tick(now, out);
                while let Some(received) = self.delayed.take_due(now) {
                    self.deliver(now, pid, received, out);
                }
                self.climb(now, out);
            }
            Phase::Settling { .. } => self.keeper_tick(now, out),
            Phase::Clearing { corpse, recount } => {
                if recount.is_some_and(|at| now >= at) {
                    self.phase = Phase::Clearing { corpse, recount: None };
                    out.push(Action::CountRest);
                }
                self.climb(now, out);
            }
            Phase::New
            | Phase::FirstSweep { .. }
            | Phase::UnitsUp
            | Phase::UnitsDown { .. }
            | Phase::LastSweep { .. }
            | Phase::Starting { .. }
            | Phase::Retrying { .. }
            | Phase::Waiting { .. }
            | Phase::Over => {}
        }
    }
}
