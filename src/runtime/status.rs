//! How everything is, as the control socket says it.

use super::EventLoop;
use crate::config::unit::GATEWAY;
use crate::control::protocol::{Status, UnitStatus};
use crate::os::{clock, process};
use crate::report::{log, messages};
use crate::supervisor::{Note, Snapshot};
use crate::types::{MonoTime, Outcome};

/// When sexton began, on both clocks. What is said of the wall clock is counted from here, so that it is the
/// same whenever it is said.
pub(super) struct StartTimes {
    moment: MonoTime,
    /// In milliseconds since the epoch.
    wall: u64,
}

impl StartTimes {
    pub(super) fn now() -> StartTimes {
        StartTimes { moment: clock::now(), wall: clock::wall_millis() }
    }

    fn wall_of(&self, moment: MonoTime) -> u64 {
        let since = u64::try_from(moment.since(self.moment).as_millis()).unwrap_or(u64::MAX);
        self.wall.saturating_add(since)
    }
}

impl EventLoop<'_> {
    /// Counts what is counted since the start.
    pub(super) fn count(&mut self, note: Note) {
        match note {
            Note::Reaped(..) => self.counters.reaped += 1,
            Note::Forwarded(_) => self.counters.signals += 1,
            _ => {}
        }
    }

    /// What sexton itself knows. The server adds what tools and sexton-watch have reported. The client reads the
    /// processes from /proc.
    pub(super) fn status(&self) -> Status {
        let gateway = self.supervisor.gateway();
        let units = self.units.list.iter().zip(self.supervisor.units());
        let mut counters = self.counters;
        counters.restarts = gateway.restarts;
        counters.locks_removed = self.sweeper.removed();
        counters.log_lines_dropped = log::dropped();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: process::own_pid().raw(),
            since: self.began.wall,
            reach: self.containment.name().to_owned(),
            units: units
                .enumerate()
                .map(|(id, (unit, snapshot))| self.unit_detail(id, self.unit_status(&unit.name, &snapshot)))
                .collect(),
            gateway: self.unit_status(GATEWAY, &gateway),
            counters,
            ..Status::default()
        }
    }

    pub(super) fn unit_status(&self, name: &str, snapshot: &Snapshot) -> UnitStatus {
        UnitStatus {
            name: name.to_owned(),
            state: snapshot.state,
            pid: snapshot.pid.map(crate::types::Pid::raw),
            main: None,
            since: self.began.wall_of(snapshot.since),
            restarts: snapshot.restarts,
            last: snapshot.last.map(|outcome| self.outcome_words(outcome)),
        }
    }

    /// How a run of the command ended.
    pub(super) fn outcome_words(&self, outcome: Outcome) -> String {
        match outcome {
            Outcome::StartFailed { step, errno } => {
                let command = self.plan.command.first().map(|name| name.as_c_str()).unwrap_or_default();
                messages::failed_start(self.plan.compat, command, step, errno)
            }
            outcome => format!("{outcome}{}", self.oom.words()),
        }
    }
}
