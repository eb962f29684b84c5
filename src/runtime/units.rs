//! The supervisors of units: copies of sexton that look after one neighbour of the gateway each.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::EventLoop;
use super::watch::{self, Watch};
use crate::config::Plan;
use crate::config::settings::Settings;
use crate::config::unit::{GATEWAY, Unit};
use crate::control::incidents::truncate_escaped;
use crate::control::kinship::UNIT_VARIABLE;
use crate::control::protocol::UnitStatus;
use crate::locks::Root;
use crate::os::shared_page::SharedPage;
use crate::os::{cgroup, session};
use crate::report::log;
use crate::supervisor::{Event, UnitId, UnitRule};
use crate::types::{CompatMode, Errno, ExitStatus, IncidentKind, Outcome, Pid, Signal, UnitState};

/// How long the last stage of a ladder takes at most, with some time for a busy machine.
const KILLING: Duration = Duration::from_secs(15);

/// How much of how a unit ended is noted, in bytes of JSON.
const LONGEST: usize = 512;

/// How many supervisors that have ended are remembered.
const ENDED: usize = 64;

/// The units that run.
pub(super) struct Units {
    /// All of them, sexton-watch included, in their order of start.
    pub(super) list: Vec<Unit>,
    /// Each unit's supervisor, while it lives.
    supervisors: Vec<(UnitId, Pid)>,
    /// Where each unit's last supervisor notes how it is.
    boards: BTreeMap<UnitId, SharedPage>,
    /// The last supervisors that have ended. One that was killed could not remove its cgroup.
    ended: Vec<Pid>,
}

impl Units {
    /// Units that have not been started.
    pub(super) fn new(list: Vec<Unit>) -> Units {
        Units { list, supervisors: Vec::new(), boards: BTreeMap::new(), ended: Vec::new() }
    }

    fn is_watch(&self, id: UnitId) -> bool {
        self.list.get(id).is_some_and(|unit| unit.name == watch::NAME)
    }

    fn of(&self, pid: Pid) -> Option<UnitId> {
        self.supervisors.iter().find(|(_, supervisor)| *supervisor == pid).map(|(unit, _)| *unit)
    }
}

/// What the supervisor needs to know of one.
pub(super) fn rule(unit: &Unit) -> UnitRule {
    UnitRule {
        after_gateway: unit.after_gateway,
        required: unit.required,
        window: unit.grace.saturating_add(unit.kill_after).saturating_add(KILLING),
        watches: unit.name == watch::NAME,
        restart: unit.restart.clone(),
    }
}

/// How much room the names before lines take: those of the units, and the gateway's.
pub(super) fn name_width(units: &[Unit], gateway: Option<&str>) -> usize {
    let units = units.iter().filter(|unit| unit.prefix).map(|unit| unit.name.len());
    units.chain(gateway.map(str::len)).max().unwrap_or(0)
}

/// The plan by which a unit's supervisor lives.
fn plan_of(unit: &Unit) -> Plan {
    Plan {
        command: unit.command.clone(),
        settings: Settings {
            grace: unit.grace,
            kill_after: unit.kill_after,
            // It dies with us, and its unit with it, in an orderly way.
            parent_death: Some(Signal::TERM),
            ..Settings::without_control()
        },
        restart: unit.restart.clone(),
        env: unit.env.iter().cloned().chain([(UNIT_VARIABLE.into(), unit.name.clone().into())]).collect(),
        directory: unit.directory.clone(),
        user: unit.user,
        prefix: unit.prefix.then(|| unit.name.clone()),
        ..Plan::bare(CompatMode::Native)
    }
}

impl EventLoop<'_> {
    /// Starts a unit's supervisor, and gives what came of it.
    ///
    /// # Errors
    /// The outcome, if this is the end.
    pub(super) fn start_unit(&mut self, id: UnitId) -> Result<Event, Outcome> {
        let started = self.fork_unit(id);
        if let Event::UnitStarted { .. } = started {
            let name = self.unit_name(id).to_owned();
            self.found(missing(&name), &name, false, &format!("{name} was started again"))?;
        }
        Ok(started)
    }

    /// Something is to be watched, and was not until now.
    pub(super) fn start_watching(&mut self) {
        let program = self.programs.watch.clone();
        let Some((unit, watch)) = watch::prepare(&self.plan, &mut self.server, program) else { return };
        self.supervisor.add_unit(rule(&unit));
        self.deadline = None;
        self.units.list.push(unit);
        self.watch = Some(watch);
    }

    fn fork_unit(&mut self, id: UnitId) -> Event {
        let Some(unit) = self.units.list.get(id) else {
            return Event::UnitStartFailed { unit: id, errno: Errno(libc::EINVAL) };
        };
        let mut plan = plan_of(unit);
        plan.directory = plan.directory.or_else(|| self.initial_cwd.clone());
        let name = unit.name.as_str();
        let watch = self.watch.as_ref().filter(|_| name == watch::NAME);
        plan.passed = watch.map(Watch::passed).unwrap_or_default();
        plan.is_helper = watch.is_some();
        let plan = Rc::new(plan);
        // Without a board, status knows less of the unit.
        let board = SharedPage::new().ok();
        let roots = self.plan.locks.iter().flat_map(|locks| &locks.roots);
        let roots = roots.filter(|root| !root.is_catalogue()).flat_map(Root::candidates);
        let roots: Vec<PathBuf> = if watch.is_some() { roots.collect() } else { Vec::new() };
        let identified = watch.and_then(|watch| watch.begin_to_identify(&mut self.sweeper, &roots));
        let keep: Vec<BorrowedFd<'_>> = plan
            .passed
            .iter()
            .map(|passed| passed.as_fd())
            .chain(board.iter().map(SharedPage::as_fd))
            .chain(watch.into_iter().flat_map(|watch| watch.for_supervisor(identified.as_ref())))
            .collect();
        let work = || {
            if let Some(watch) = watch {
                watch.drop_privileges(identified.as_ref());
            }
            super::run_unit(&plan, board.as_ref(), self.name_width)
        };
        match session::fork_supervisor(&keep, || log::set_unit(name), work) {
            Ok(pid) => {
                info!(name: "unit-started", unit = name, pid = pid.raw(), "a unit's supervisor was started");
                self.units.supervisors.push((id, pid));
                self.units.boards.remove(&id);
                self.units.boards.extend(board.map(|board| (id, board)));
                self.containment.exclude(pid);
                Event::UnitStarted { unit: id, pid }
            }
            Err(errno) => Event::UnitStartFailed { unit: id, errno },
        }
    }

    /// Removes the cgroups of supervisors that were killed. Called at the end, when no process is in them.
    pub(super) fn leave_units(&self) {
        self.units.ended.iter().copied().for_each(cgroup::remove_left_by);
    }

    /// Notes how our unit is, if this is a unit's supervisor and something is new.
    pub(super) fn note_on_board(&mut self) {
        let Some(board) = self.status_page else { return };
        let snapshot = self.supervisor.gateway();
        if self.last_status != Some(snapshot) {
            self.last_status = Some(snapshot);
            let mut status = self.unit_status(GATEWAY, &snapshot);
            if let Some(last) = &mut status.last {
                truncate_escaped(last, LONGEST);
            }
            board.store(&serde_json::to_vec(&status).unwrap_or_default());
        }
    }

    /// How a unit is, with what its supervisor has noted of it.
    pub(super) fn unit_detail(&self, id: UnitId, mut status: UnitStatus) -> UnitStatus {
        let note = self.units.boards.get(&id).and_then(SharedPage::read);
        let Some(noted) = note.and_then(|note| serde_json::from_slice::<UnitStatus>(&note).ok()) else {
            return status;
        };
        (status.restarts, status.last) = (noted.restarts, noted.last);
        if status.state == UnitState::Running {
            (status.state, status.since, status.main) = (noted.state, noted.since, noted.pid);
        }
        status
    }

    /// A child was reaped. What a unit's supervisor left behind belongs to no unit from now on.
    pub(super) fn unit_reaped(&mut self, pid: Pid) {
        if let Some(id) = self.units.of(pid) {
            self.units.supervisors.retain(|(_, supervisor)| *supervisor != pid);
            self.units.ended.truncate(ENDED);
            self.units.ended.insert(0, pid);
            let watch = self.watch.as_mut().filter(|_| self.units.is_watch(id));
            if let Some((hangs, start)) = watch.and_then(Watch::left_behind) {
                self.sweeper.adopt(hangs, start);
            }
        }
    }

    /// Who sexton-watch is, before its supervisor is asked to stop it.
    fn remember_watch(&mut self, id: UnitId) {
        let supervisor = self.units.supervisors.iter().find(|(unit, _)| *unit == id).map(|(_, pid)| *pid);
        let noted = self.units.boards.get(&id).and_then(SharedPage::read);
        let noted = noted.and_then(|note| serde_json::from_slice::<UnitStatus>(&note).ok());
        let main = noted.and_then(|noted| Pid::new(noted.pid?));
        if let (Some(watch), Some(supervisor), Some(main)) = (&mut self.watch, supervisor, main) {
            watch.stops(supervisor, main);
        }
    }

    /// A unit ended without a request, and is not started again.
    pub(super) fn unit_is_missed(&mut self, id: UnitId, status: ExitStatus) -> Result<(), Outcome> {
        let name = self.unit_name(id).to_owned();
        let detail = format!("{name} has ended with {} and is not started again", status.code());
        self.found(missing(&name), &name, true, &detail)
    }

    fn unit_name(&self, id: UnitId) -> &str {
        self.units.list.get(id).map_or("?", |unit| unit.name.as_str())
    }
}

/// What it is called that this unit is not there.
fn missing(name: &str) -> IncidentKind {
    if name == watch::NAME { IncidentKind::WatchLost } else { IncidentKind::UnitEnded }
}

/// What is said of units.
impl EventLoop<'_> {
    pub(super) fn note_unit_start_failed(&self, id: UnitId, errno: Errno) {
        let unit = self.unit_name(id);
        error!(name: "unit-start-failed", unit, "the unit {unit} could not be started: {errno}");
    }

    pub(super) fn note_unit_stopping(&mut self, id: UnitId) {
        if self.units.is_watch(id) {
            self.remember_watch(id);
        }
        info!(name: "unit-stopping", unit = self.unit_name(id), "a unit was asked to stop");
    }

    pub(super) fn note_unit_ended(&self, id: UnitId, status: ExitStatus, asked: bool) {
        let (unit, code) = (self.unit_name(id), status.code());
        if asked || status == ExitStatus::Exited(0) {
            info!(name: "unit-ended", unit, code, "a unit has ended");
        } else {
            warn!(name: "unit-ended", unit, code, "a unit has ended, and not well");
        }
    }

    pub(super) fn note_unit_lost(&self, id: UnitId, status: ExitStatus, pause: Duration) {
        let (unit, code) = (self.unit_name(id), status.code());
        let pause = humantime::format_duration(Duration::from_millis(pause.as_millis() as u64));
        warn!(name: "unit-lost", unit, code, %pause,
              "a unit's supervisor was killed; what it left is ended, and the unit is started again");
    }

    pub(super) fn note_required(&self, id: UnitId) {
        error!(name: "required-unit-ended", unit = self.unit_name(id),
               "a unit has ended that the gateway cannot do without; everything is stopped");
    }

    pub(super) fn note_unit_hangs(&self, id: UnitId) {
        warn!(name: "unit-stop-timeout", unit = self.unit_name(id),
              "a unit's supervisor did not end in all its windows and is killed");
    }
}
