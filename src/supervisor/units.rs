//! The gateway's neighbours, as far as their order goes: which is started next, which is stopped next, and what
//! the end of one means.
//!
//! Each unit is one child of sexton: a supervisor of its own, with the same ladder and the same restarts, that
//! ends when its unit has ended for good. So there is nothing here but order.
//!
//! ```text
//! Pending -> Starting -> Running -> Stopping -> Ended
//!               ^-----------------------/ if it is wanted again
//! ```

use std::time::Duration;

use super::replacement::Purpose;
use super::{Action, Note, Phase, Supervisor};
use crate::ids::{Errno, ExitStatus, Moment, Pid, Signal, UnitState};

/// What the order of the units depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UnitRule {
    /// It is started after the gateway and stopped before it; the others the other way round.
    pub after_gateway: bool,
    /// Its end for good is the end of everything.
    pub required: bool,
    /// How long its supervisor may take to stop it, all windows together. It keeps to that by itself, unless
    /// it hangs.
    pub window: Duration,
}

/// Which unit, in the order of their start.
pub type UnitId = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Pending,
    Starting,
    Running { pid: Pid },
    Stopping { pid: Pid, until: Moment, again: bool },
    Ended,
}

/// The units of one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Units(Vec<(UnitRule, State)>);

/// What the death of a unit's supervisor means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    unit: UnitId,
    /// It was asked to end.
    expected: bool,
    /// It is to be started again.
    again: bool,
    required: bool,
}

impl Units {
    pub(super) fn new(rules: &[UnitRule]) -> Units {
        Units(rules.iter().map(|rule| (*rule, State::Pending)).collect())
    }

    /// Each with its supervisor, in their order of start.
    pub(super) fn list(&self) -> impl Iterator<Item = (UnitState, Option<Pid>)> {
        self.0.iter().map(|(_, state)| {
            let shown = match state {
                State::Pending => UnitState::Pending,
                State::Starting => UnitState::Starting,
                State::Running { .. } => UnitState::Running,
                State::Stopping { .. } => UnitState::Stopping,
                State::Ended => UnitState::Ended,
            };
            (shown, state.pid())
        })
    }

    fn next_to_start(&mut self, after_gateway: bool) -> Option<UnitId> {
        let pending = |(rule, state): &(UnitRule, State)| {
            rule.after_gateway == after_gateway && *state == State::Pending
        };
        let unit = self.0.iter().position(pending)?;
        self.set(unit, State::Starting);
        Some(unit)
    }

    fn set(&mut self, unit: UnitId, to: State) {
        if let Some((_, state)) = self.0.get_mut(unit) {
            *state = to;
        }
    }

    /// Whether one lives, of those after the gateway or of all.
    fn live(&self, only_after: bool) -> bool {
        self.0.iter().any(|(rule, state)| (rule.after_gateway || !only_after) && state.pid().is_some())
    }

    /// The supervisor that is stopping, or the last started one that lives, which is to stop next.
    fn next_to_stop(&self, only_after: bool) -> Option<(UnitId, UnitRule, Pid, bool)> {
        let living =
            self.0.iter().enumerate().rev().filter(|(_, (rule, _))| rule.after_gateway || !only_after);
        let mut living = living.filter_map(|(unit, (rule, state))| {
            Some((unit, *rule, state.pid()?, matches!(state, State::Stopping { .. })))
        });
        let first = living.next()?;
        Some(if first.3 { first } else { living.find(|unit| unit.3).unwrap_or(first) })
    }

    fn died(&mut self, pid: Pid) -> Option<End> {
        let unit = self.0.iter().position(|(_, state)| state.pid() == Some(pid))?;
        let (rule, state) = self.0.get_mut(unit)?;
        let (expected, again) = match *state {
            State::Stopping { again, .. } => (true, again),
            _ => (false, false),
        };
        *state = State::Ended;
        Some(End { unit, expected, again, required: rule.required })
    }

    /// When a unit that is asked to end has taken too long.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let until = |(_, state): &(UnitRule, State)| match state {
            State::Stopping { until, .. } => Some(*until),
            _ => None,
        };
        self.0.iter().filter_map(until).min()
    }
}

impl State {
    fn pid(&self) -> Option<Pid> {
        match self {
            State::Running { pid } | State::Stopping { pid, .. } => Some(*pid),
            State::Pending | State::Starting | State::Ended => None,
        }
    }
}

impl Supervisor {
    /// Starts the next of the units that come before the gateway, or the gateway if there is none.
    pub(super) fn bring_up(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.failed_unit.is_some() {
            self.phase = Phase::Clearing { corpse: None, recount: None };
            out.push(Action::CountRest);
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
    pub(super) fn bring_up_rest(&mut self, out: &mut Vec<Action>) {
        let goes_on = matches!(self.phase, Phase::Running { .. }) && self.purpose != Purpose::End;
        if goes_on && let Some(unit) = self.units.next_to_start(true) {
            out.push(Action::StartUnit(unit));
        }
    }

    pub(super) fn unit_started(&mut self, now: Moment, unit: UnitId, pid: Pid, out: &mut Vec<Action>) {
        self.units.set(unit, State::Running { pid });
        match self.phase {
            Phase::UnitsUp => self.bring_up(now, out),
            _ => self.bring_up_rest(out),
        }
    }

    pub(super) fn unit_start_failed(
        &mut self,
        now: Moment,
        unit: UnitId,
        errno: Errno,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::Note(Note::UnitStartFailed(unit, errno)));
        let required = self.units.0.get(unit).is_some_and(|(rule, _)| rule.required);
        let end = End { unit, expected: false, again: false, required };
        self.units.set(unit, State::Ended);
        self.unit_ended(now, end, out);
        match self.phase {
            Phase::UnitsUp => self.bring_up(now, out),
            _ => self.bring_up_rest(out),
        }
    }

    /// Takes in the death of a unit's supervisor, if it is one.
    pub(super) fn unit_died(
        &mut self,
        now: Moment,
        pid: Pid,
        status: ExitStatus,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(end) = self.units.died(pid) else {
            return false;
        };
        out.extend([
            Action::Reap(pid),
            Action::Note(Note::UnitEnded { unit: end.unit, status, asked: end.expected }),
        ]);
        // A supervisor that was killed could not end what was below it.
        self.expect_orphans(now);
        self.unit_ended(now, end, out);
        true
    }

    fn unit_ended(&mut self, now: Moment, end: End, out: &mut Vec<Action>) {
        if let Phase::UnitsDown { .. } = self.phase {
            self.take_down(now, out);
        } else if let (Phase::Running { pid }, Some(received)) = (self.phase, self.leaving) {
            if !self.stop_next_unit(now, true, out) {
                self.leaving = None;
                self.begin_ladder(now, pid, received, out);
            }
        } else if end.again && self.purpose != Purpose::End {
            self.units.set(end.unit, State::Starting);
            out.push(Action::StartUnit(end.unit));
        } else if end.required && !end.expected && self.failed_unit.is_none() {
            self.failed_unit = Some(end.unit);
            out.push(Action::Note(Note::RequiredUnitEnded(end.unit)));
            self.end_for_good(now, out);
        }
    }

    /// Stops what lives, the last started first, one after the other. `false` if nothing lives.
    pub(super) fn stop_next_unit(&mut self, now: Moment, only_after: bool, out: &mut Vec<Action>) -> bool {
        let Some((unit, rule, pid, stopping)) = self.units.next_to_stop(only_after) else {
            return false;
        };
        if !stopping {
            self.stop_unit(now, unit, rule, pid, false, out);
        }
        true
    }

    fn stop_unit(
        &mut self,
        now: Moment,
        unit: UnitId,
        rule: UnitRule,
        pid: Pid,
        again: bool,
        out: &mut Vec<Action>,
    ) {
        self.units.set(unit, State::Stopping { pid, until: now.after(rule.window), again });
        out.extend([
            Action::Note(Note::UnitStopping(unit)),
            Action::Send { pid, group: false, signal: Signal::TERM, value: None },
        ]);
    }

    /// The stop signal came again: the unit that is stopping takes its next rung.
    pub(super) fn hurry_unit(&mut self, signal: Signal, only_after: bool, out: &mut Vec<Action>) {
        if let Some((_, _, pid, true)) = self.units.next_to_stop(only_after) {
            out.push(Action::Note(Note::Hurried(signal)));
            out.push(Action::Send { pid, group: false, signal: Signal::TERM, value: None });
        }
    }

    pub(super) fn units_live(&self, only_after: bool) -> bool {
        self.units.live(only_after)
    }

    /// The next unit is stopped; when none is left, what they may have left is counted.
    pub(super) fn take_down(&mut self, now: Moment, out: &mut Vec<Action>) {
        let Phase::UnitsDown { corpse } = self.phase else {
            return;
        };
        if !self.stop_next_unit(now, false, out) {
            self.phase = Phase::Clearing { corpse, recount: None };
            out.push(Action::CountRest);
        }
    }

    /// A unit's supervisor that hangs has no claim to its window. What it leaves behind is ours.
    pub(super) fn units_tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        for (unit, (rule, state)) in self.units.0.iter_mut().enumerate() {
            if let State::Stopping { pid, until, .. } = state
                && now >= *until
            {
                *until = now.after(rule.window);
                out.push(Action::Note(Note::UnitHangs(unit)));
                out.push(Action::Send { pid: *pid, group: false, signal: Signal::KILL, value: None });
            }
        }
    }

    /// Stops one unit and starts it again, or just starts it if it has ended. Not while everything
    /// ends.
    pub(super) fn restart_unit(&mut self, now: Moment, unit: UnitId, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Running { .. } | Phase::Waiting { .. })
            || self.purpose == Purpose::End
        {
            return;
        }
        let Some((rule, state)) = self.units.0.get(unit).copied() else {
            return;
        };
        match state {
            State::Running { pid } => self.stop_unit(now, unit, rule, pid, true, out),
            State::Ended => {
                self.units.set(unit, State::Starting);
                out.push(Action::StartUnit(unit));
            }
            State::Stopping { pid, until, .. } => {
                self.units.set(unit, State::Stopping { pid, until, again: true });
            }
            State::Pending | State::Starting => {}
        }
    }
}
