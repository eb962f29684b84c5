//! The gateway's neighbours, as far as their order goes: which is started next, which is stopped next, and what
//! the end of one means.
//!
//! Each unit is one child of sexton: a supervisor of its own, with the same ladder and the same restarts, that ends
//! when its unit has ended for good. So this module decides only the order, and what follows when a unit's supervisor
//! was killed: what it left behind is ended first (see `orphans`), and then the unit is started again, as its own
//! policy says of an end by a signal.
//!
//! ```text
//! Pending -> Starting -> Running -> Stopping -> Ended
//!               ^           |           |
//!               |        Waiting        | its supervisor was killed
//!               ^-----------/-----------/ it is wanted again
//! ```

use std::time::Duration;

use super::ladder::Ladder;
use super::restart::{Decision, History};
use super::restart_decision::AfterExit;
use super::{Action, Note, Phase, Restart, Supervisor, earlier};
use crate::types::{Errno, ExitStatus, MonoTime, Pid, Signal, UnitState};

/// What the order of the units depends on, and what follows when a unit's supervisor was killed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnitRule {
    /// It is started after the gateway and stopped before it; the others the other way round.
    pub after_gateway: bool,
    /// Its end for good is the end of everything.
    pub required: bool,
    /// How long its supervisor may take to stop it, all windows together. It keeps to that by itself, unless
    /// it hangs.
    pub window: Duration,
    /// It monitors the gateway's health, and is the only unit that does.
    pub watches: bool,
    /// What follows its end. Its supervisor keeps to that by itself; it is for the end of the supervisor.
    pub restart: Restart,
}

/// Which unit, in the order of their start.
pub type UnitId = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Pending,
    Starting,
    Running {
        pid: Pid,
    },
    Stopping {
        pid: Pid,
        until: MonoTime,
        again: bool,
    },
    /// It is started again when the pause is over.
    Waiting {
        until: MonoTime,
    },
    Ended,
}

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Unit {
    rule: UnitRule,
    state: State,
    /// How often its supervisor was killed.
    history: History,
}

/// The units of one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Units(Vec<Unit>);

/// What the death of a unit's supervisor means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    unit: UnitId,
    /// It was asked to end.
    expected: bool,
    /// It is to be started again, after this pause.
    again: Option<Duration>,
}

impl Units {
    /// Units that have not been started. The seed makes their pauses differ from those of other sextons.
    pub(super) fn new(rules: &[UnitRule], seed: u64) -> Units {
        let mut units = Units::default();
        for rule in rules {
            units.add(rule.clone(), State::Pending, seed);
        }
        units
    }

    fn add(&mut self, rule: UnitRule, state: State, seed: u64) -> UnitId {
        let unit = self.0.len();
        let seed = seed ^ u64::try_from(unit).unwrap_or_default();
        self.0.push(Unit { rule, state, history: History::new(seed) });
        unit
    }

    fn rule(&self, unit: UnitId) -> Option<&UnitRule> {
        self.0.get(unit).map(|unit| &unit.rule)
    }

    /// Each with its supervisor, in their order of start.
    pub(super) fn list(&self) -> impl Iterator<Item = (UnitState, Option<Pid>)> {
        self.0.iter().map(|Unit { state, .. }| {
            let shown = match state {
                State::Pending => UnitState::Pending,
                State::Starting => UnitState::Starting,
                State::Running { .. } => UnitState::Running,
                State::Stopping { .. } => UnitState::Stopping,
                State::Waiting { .. } => UnitState::Waiting,
                State::Ended => UnitState::Ended,
            };
            (shown, state.pid())
        })
    }

    fn next_to_start(&mut self, after_gateway: bool) -> Option<UnitId> {
        let pending = |unit: &Unit| unit.rule.after_gateway == after_gateway && unit.state == State::Pending;
        let unit = self.0.iter().position(pending)?;
        self.set(unit, State::Starting);
        Some(unit)
    }

    fn set(&mut self, unit: UnitId, to: State) {
        if let Some(unit) = self.0.get_mut(unit) {
            unit.state = to;
        }
    }

    /// Whether one lives, of those after the gateway or of all.
    fn live(&self, only_after: bool) -> bool {
        self.0.iter().any(|unit| (unit.rule.after_gateway || !only_after) && unit.state.pid().is_some())
    }

    /// The supervisor that is stopping, or the last started one that lives, which is to stop next.
    fn next_to_stop(&self, only_after: bool) -> Option<(UnitId, Pid, bool)> {
        let meant = |(_, unit): &(UnitId, &Unit)| unit.rule.after_gateway || !only_after;
        let mut living = self.0.iter().enumerate().rev().filter(meant).filter_map(|(id, unit)| {
            Some((id, unit.state.pid()?, matches!(unit.state, State::Stopping { .. })))
        });
        let first = living.next()?;
        Some(if first.2 { first } else { living.find(|unit| unit.2).unwrap_or(first) })
    }

    fn died(&mut self, now: MonoTime, pid: Pid, status: ExitStatus) -> Option<End> {
        let unit = self.0.iter().position(|unit| unit.state.pid() == Some(pid))?;
        let Unit { rule, state, history } = self.0.get_mut(unit)?;
        // A supervisor that ended by itself has done all that the policy says; only one that was killed ends by a
        // signal. How long it ran is not known here.
        let was_killed = matches!(status, ExitStatus::Signaled { .. });
        let (expected, again) = match *state {
            State::Stopping { again, .. } => (true, again.then_some(Duration::ZERO)),
            _ if was_killed && rule.restart.follows(status) => {
                match history.again(&rule.restart, now, Duration::ZERO) {
                    Decision::RestartAfter(pause) => (false, Some(pause)),
                    Decision::LimitReached => (false, None),
                }
            }
            _ => (false, None),
        };
        *state = State::Ended;
        Some(End { unit, expected, again })
    }

    /// When a unit that is asked to end has taken too long.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let until = |unit: &Unit| match unit.state {
            State::Stopping { until, .. } => Some(until),
            _ => None,
        };
        self.0.iter().filter_map(until).min()
    }

    /// Whose pause is over first, and when: of all, or of those that need no gateway.
    fn next_to_wait_for(&self, beside_gateway: bool) -> Option<(MonoTime, UnitId)> {
        let waiting = self.0.iter().enumerate().filter_map(|(id, unit)| match unit.state {
            State::Waiting { until } if beside_gateway || !unit.rule.after_gateway => Some((until, id)),
            _ => None,
        });
        waiting.min()
    }
}

impl State {
    fn pid(&self) -> Option<Pid> {
        match self {
            State::Running { pid } | State::Stopping { pid, .. } => Some(*pid),
            State::Pending | State::Starting | State::Waiting { .. } | State::Ended => None,
        }
    }
}

impl Supervisor {
    /// Starts the next of the units that come before the gateway, or the gateway if there is none.
    pub(super) fn start_all(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        if self.failed_unit.is_some() {
            self.phase = Phase::StoppingLeftovers { zombie: None, recount: None };
            out.push(Action::CountRemaining);
            return;
        }
        match self.units.next_to_start(false) {
            Some(unit) => {
                self.phase = Phase::UnitsUp;
                out.push(Action::StartUnit(unit));
            }
            None => self.start(now, 0, out),
        }
    }

    /// The gateway runs: the others follow.
    pub(super) fn start_rest(&mut self, out: &mut Vec<Action>) {
        let goes_on = matches!(self.phase, Phase::Running { .. }) && self.after_exit != AfterExit::Shutdown;
        if goes_on && let Some(unit) = self.units.next_to_start(true) {
            out.push(Action::StartUnit(unit));
        }
    }

    pub(super) fn unit_started(&mut self, now: MonoTime, unit: UnitId, pid: Pid, out: &mut Vec<Action>) {
        self.units.set(unit, State::Running { pid });
        match (self.phase, self.ladder) {
            (Phase::UnitsUp, _) => self.start_all(now, out),
            // Its start was under way when the stop began.
            (Phase::Running { .. }, Ladder::Before { received, .. })
                if self.after_exit == AfterExit::Shutdown =>
            {
                self.make_final(now, received, out);
            }
            _ => self.start_rest(out),
        }
    }

    pub(super) fn unit_start_failed(
        &mut self,
        now: MonoTime,
        unit: UnitId,
        errno: Errno,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Note(Note::UnitStartFailed(unit, errno)));
        let end = End { unit, expected: false, again: None };
        self.units.set(unit, State::Ended);
        self.unit_ended(now, end, out);
        match self.phase {
            Phase::UnitsUp => self.start_all(now, out),
            _ => self.start_rest(out),
        }
    }

    /// Takes in the death of a unit's supervisor, if it is one.
    pub(super) fn unit_died(
        &mut self,
        now: MonoTime,
        pid: Pid,
        status: ExitStatus,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(end) = self.units.died(now, pid, status) else {
            return false;
        };
        let note = match end.again {
            Some(pause) if !end.expected => Note::UnitLost { unit: end.unit, status, pause },
            _ => Note::UnitEnded { unit: end.unit, status, asked: end.expected },
        };
        out.extend([Action::Reap(pid), Action::Note(note)]);
        // A supervisor that was killed could not end what was below it.
        self.expect_orphans(now);
        self.unit_ended(now, end, out);
        true
    }

    fn unit_ended(&mut self, now: MonoTime, end: End, out: &mut Vec<Action>) {
        let rule = self.units.rule(end.unit);
        let required = rule.is_some_and(|rule| rule.required);
        if end.again.is_none() && rule.is_some_and(|rule| rule.watches) {
            self.unwatched(out);
        }
        if let Phase::UnitsDown { .. } = self.phase {
            self.stop_all(now, out);
        } else if let (Phase::Running { pid }, Some(received)) = (self.phase, self.pending_exit_signal) {
            if !self.stop_next_unit(now, true, out) {
                self.pending_exit_signal = None;
                self.begin_ladder(now, pid, received, out);
            }
        } else if let Some(pause) = end.again.filter(|_| self.after_exit != AfterExit::Shutdown) {
            if end.expected {
                self.start_unit(now, end.unit, out);
            } else {
                self.units.set(end.unit, State::Waiting { until: now.after(pause) });
            }
        } else if required && !end.expected && self.failed_unit.is_none() {
            self.failed_unit = Some(end.unit);
            out.push(Action::Note(Note::RequiredUnitEnded(end.unit)));
            self.shutdown(now, out);
        }
    }

    /// Stops what lives, the last started first, one after the other. `false` if nothing lives.
    pub(super) fn stop_next_unit(&mut self, now: MonoTime, only_after: bool, out: &mut Vec<Action>) -> bool {
        let Some((unit, pid, stopping)) = self.units.next_to_stop(only_after) else {
            return false;
        };
        if !stopping {
            self.stop_unit(now, unit, pid, false, out);
        }
        true
    }

    fn start_unit(&mut self, now: MonoTime, unit: UnitId, out: &mut Vec<Action>) {
        let follows = self.units.rule(unit).is_some_and(|rule| rule.after_gateway);
        if follows && !matches!(self.phase, Phase::Running { .. }) {
            self.units.set(unit, State::Waiting { until: now });
            return;
        }
        self.units.set(unit, State::Starting);
        out.push(Action::StartUnit(unit));
    }

    fn stop_unit(&mut self, now: MonoTime, unit: UnitId, pid: Pid, again: bool, out: &mut Vec<Action>) {
        let window = self.units.rule(unit).map(|rule| rule.window).unwrap_or_default();
        self.units.set(unit, State::Stopping { pid, until: now.after(window), again });
        out.extend([
            Action::Note(Note::UnitStopping(unit)),
            Action::Send { pid, group: false, signal: Signal::TERM, value: None },
        ]);
    }

    /// The stop signal came again: the unit that is stopping takes its next stage.
    pub(super) fn escalate_unit(&mut self, signal: Signal, only_after: bool, out: &mut Vec<Action>) {
        if let Some((_, pid, true)) = self.units.next_to_stop(only_after) {
            out.push(Action::Note(Note::StopEscalated(signal)));
            out.push(Action::Send { pid, group: false, signal: Signal::TERM, value: None });
        }
    }

    pub(super) fn units_live(&self, only_after: bool) -> bool {
        self.units.live(only_after)
    }

    /// The next unit is stopped; when none is left, what they may have left is counted.
    pub(super) fn stop_all(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        let Phase::UnitsDown { zombie } = self.phase else {
            return;
        };
        if !self.stop_next_unit(now, false, out) {
            self.phase = Phase::StoppingLeftovers { zombie, recount: None };
            out.push(Action::CountRemaining);
        }
    }

    /// A unit's supervisor that hangs has no claim to its window. What it leaves behind is ours.
    pub(super) fn units_tick(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        for (id, unit) in self.units.0.iter_mut().enumerate() {
            if let State::Stopping { pid, until, .. } = &mut unit.state
                && now >= *until
            {
                *until = now.after(unit.rule.window);
                out.push(Action::Note(Note::UnitHangs(id)));
                out.push(Action::Send { pid: *pid, group: false, signal: Signal::KILL, value: None });
            }
        }
        while let Some((_, unit)) = self.next_unit_again().filter(|(until, _)| now >= *until) {
            self.start_unit(now, unit, out);
        }
    }

    /// When something of the units is due.
    pub(super) fn units_deadline(&self) -> Option<MonoTime> {
        earlier(self.units.deadline(), self.next_unit_again().map(|(until, _)| until))
    }

    /// The unit that is started again next, and when. None is while everything ends, nor before what the lost have
    /// left behind is gone.
    fn next_unit_again(&self) -> Option<(MonoTime, UnitId)> {
        let beside_gateway = matches!(self.phase, Phase::Running { .. });
        let next = self.units.next_to_wait_for(beside_gateway)?;
        (self.takes_units() && !self.orphans.is_busy()).then_some(next)
    }

    /// Whether a unit can be started beside the gateway at this moment.
    fn takes_units(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::RestartDelay { .. })
            && self.after_exit != AfterExit::Shutdown
    }

    /// Another unit, that was not there at the start. It is started as soon as that can be.
    pub fn add_unit(&mut self, rule: UnitRule) -> UnitId {
        self.units.add(rule, State::Waiting { until: MonoTime::default() }, self.policy.seed)
    }

    /// Stops one unit and starts it again, or just starts it if it has ended. Not while everything
    /// ends.
    pub(super) fn restart_unit(&mut self, now: MonoTime, unit: UnitId, out: &mut Vec<Action>) {
        let Some(state) = self.units.0.get(unit).map(|unit| unit.state).filter(|_| self.takes_units()) else {
            return;
        };
        match state {
            State::Running { pid } => self.stop_unit(now, unit, pid, true, out),
            State::Ended | State::Waiting { .. } => self.start_unit(now, unit, out),
            State::Stopping { pid, until, .. } => {
                self.units.set(unit, State::Stopping { pid, until, again: true });
            }
            State::Pending | State::Starting => {}
        }
    }
}
