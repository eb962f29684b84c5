//! The supervisor's state, for status requests.

use super::ladder::Ladder;
use super::{Phase, Supervisor};
use crate::types::{MonoTime, Outcome, Pid, UnitState};

/// How the main process, or a unit, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Where it stands.
    pub state: UnitState,
    /// The main process, or the unit's supervisor, while it lives.
    pub pid: Option<Pid>,
    /// Since when it is in this state.
    pub since: MonoTime,
    /// How often it was started again, as far as it is known here.
    pub restarts: u64,
    /// How its last run ended, as far as it is known here.
    pub last: Option<Outcome>,
}

/// What was seen last: each state with its beginning, the main process's first, and how that ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct StateHistory {
    states: Vec<(UnitState, MonoTime)>,
    last: Option<Outcome>,
}

impl Supervisor {
    /// How the main process is.
    #[must_use]
    pub fn gateway(&self) -> Snapshot {
        let pid = match self.phase {
            Phase::Running { pid } => Some(pid),
            _ => None,
        };
        let since = self.states.since(0);
        Snapshot { state: self.state(), pid, since, restarts: self.restarts, last: self.states.last }
    }

    /// How the units are, in their order of start.
    #[must_use]
    pub fn units(&self) -> Vec<Snapshot> {
        let units = self.units.list().zip(1..);
        let snapshot = |((state, pid), place)| {
            let since = self.states.since(place);
            Snapshot { state, pid, since, restarts: 0, last: None }
        };
        units.map(snapshot).collect()
    }

    fn state(&self) -> UnitState {
        match self.phase {
            Phase::New | Phase::UnitsUp => UnitState::Pending,
            Phase::FirstSweep { .. } | Phase::Starting { .. } => UnitState::Starting,
            Phase::ForkRetry { .. } | Phase::RestartDelay { .. } => UnitState::Waiting,
            Phase::Running { .. } if self.ladder == Ladder::Idle => UnitState::Running,
            Phase::Running { .. }
            | Phase::AskingHandoff { .. }
            | Phase::StoppingLeftovers { .. }
            | Phase::WaitingForSweep { .. }
            | Phase::LastSweep { .. } => UnitState::Stopping,
            Phase::UnitsDown { .. } | Phase::Exited => UnitState::Ended,
        }
    }

    /// Remembers what has changed.
    pub(super) fn record_states(&mut self, now: MonoTime) {
        self.states.see(0, self.state(), now);
        for ((state, _), place) in self.units.list().zip(1..) {
            self.states.see(place, state, now);
        }
        if let Phase::StoppingLeftovers { zombie: Some(zombie), .. } = self.phase {
            self.states.last = Some(match self.start_failed {
                Some((step, errno)) => Outcome::StartFailed { step, errno },
                None => zombie.status.into(),
            });
        }
    }
}

impl StateHistory {
    fn see(&mut self, place: usize, state: UnitState, now: MonoTime) {
        match self.states.get_mut(place) {
            Some((before, _)) if *before == state => {}
            Some(shown) => *shown = (state, now),
            None => self.states.push((state, now)),
        }
    }

    fn since(&self, place: usize) -> MonoTime {
        self.states.get(place).map_or(MonoTime::default(), |(_, since)| *since)
    }
}
