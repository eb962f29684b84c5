//! How things are, for whoever asks.

use super::ladder::Ladder;
use super::{Outcome, Phase, Supervisor};
use crate::ids::{Moment, Pid, UnitState};

/// How the main process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Where it stands.
    pub state: UnitState,
    /// Its pid, as long as it is not reaped.
    pub pid: Option<Pid>,
    /// Since when it is in this state.
    pub since: Moment,
    /// How often it was started again.
    pub restarts: u64,
    /// How its last run ended.
    pub last: Option<Outcome>,
}

/// The state that was seen last, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Shown {
    state: UnitState,
    since: Moment,
}

impl Supervisor {
    /// How the main process is.
    #[must_use]
    pub fn gateway(&self) -> Snapshot {
        let pid = match self.phase {
            Phase::Running { pid } => Some(pid),
            _ => None,
        };
        let last = match self.phase {
            Phase::Clearing { corpse, .. } | Phase::LastSweep { corpse, .. } => {
                Some(match self.start_failed {
                    Some((stage, errno)) => Outcome::StartFailed { stage, errno },
                    None => Outcome::Ended(corpse.status),
                })
            }
            _ => None,
        };
        Snapshot { state: self.state(), pid, since: self.shown.since, restarts: 0, last }
    }

    fn state(&self) -> UnitState {
        match self.phase {
            Phase::New => UnitState::Pending,
            Phase::FirstSweep { .. } | Phase::Starting { .. } => UnitState::Starting,
            Phase::Retrying { .. } => UnitState::Waiting,
            Phase::Running { .. } if self.ladder == Ladder::Idle => UnitState::Running,
            Phase::Running { .. } | Phase::Clearing { .. } | Phase::LastSweep { .. } => UnitState::Stopping,
            Phase::Over => UnitState::Ended,
        }
    }

    /// Remembers when the state changed.
    pub(super) fn show(&mut self, now: Moment) {
        let state = self.state();
        if self.shown.state != state {
            self.shown = Shown { state, since: now };
        }
    }
}
