//! Everything that sexton-watch knows, in one place. The tasks write it and the HTTP endpoints read it. Reports to PID
//! 1 are sent from here.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use sexton::config::watch_settings::{Probe, ProbeKind, WatchSettings};
use sexton::control::incidents::truncate_escaped;
use sexton::control::protocol::{
    Condition, EventLoop, Health, Incident, IncidentKind, Status, UnitState, UnitStatus, WatchConfig,
};
use sexton::os::clock;
use sexton::types::{HealthState, MonoTime, Pid};
use tokio::sync::watch;

use super::alert_queue::AlertQueue;
use super::health::{Gateway, HealthFsm, Verdict};
use super::latency_window::Window;
use super::lock_scan::{GatewayLook, LockScan};
use super::pid1_link::Outbox;
use super::prometheus;
use super::tree_limits::Assessment;
use crate::probe::{Answer, Outcome};

/// The knowledge, as the tasks share it. It is never held across an await.
pub type SharedState = Rc<WatchState>;

/// What is known, and the way out.
pub struct WatchState {
    /// What changes.
    pub state: RefCell<State>,
    /// sexton itself; `None` if it is in a pid namespace that we cannot see. Then there is no process tree to read.
    pub sexton: Option<Pid>,
    /// The reports to PID 1.
    pub outbox: Rc<Outbox>,
    /// The incidents for the alert command.
    pub alarm: AlertQueue,
    /// Where the gateway stands.
    pub gateway: watch::Sender<Gateway>,
    /// The last status that sexton gave.
    status: watch::Sender<Option<(MonoTime, Rc<Status>)>>,
    /// When it was asked last.
    asked: Cell<MonoTime>,
    /// The look at the gateway's own locks.
    pub gateway_look: GatewayLook,
    /// The task that reads the processes holds this.
    pub looking: tokio::sync::Mutex<()>,
}

/// What changes.
pub struct State {
    /// What is looked at.
    pub settings: WatchSettings,
    /// The gateway, as PID 1 tells.
    pub unit: Option<UnitStatus>,
    /// What lasts and was said.
    pub conditions: BTreeMap<(IncidentKind, String), Condition>,
    /// The gateway's health, as it was last computed.
    pub health: Health,
    machine: HealthFsm,
    /// One for each probe.
    pub probe_stats: Vec<ProbeStats>,
    event_loop: Option<EventLoop>,
    told: MonoTime,
    /// What the last count came to.
    pub tallied: Option<Assessment>,
    /// What the last look at the locks gave.
    pub locks: Option<LockScan>,
    /// How many lines matched each log rule.
    pub log_matches: Vec<u64>,
}

/// The answers to one probe, summarised.
pub struct ProbeStats {
    window: Window,
    /// The last answer's latency; `None` if there was none, and for what was refused at once.
    last: Option<Duration>,
    /// All latencies since the beginning.
    pub histogram: Histogram,
    /// How many were none, or wrong ones.
    pub bad: u64,
    /// The last ones, oldest first.
    pub recent: VecDeque<Point>,
}

/// One answer, for the curve.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// When it was asked.
    pub asked: MonoTime,
    /// How long it took.
    pub latency: Duration,
    /// Whether it was a good one in time.
    pub good: bool,
}

/// How many points a curve has at most.
const POINTS: usize = 240;

/// How often a gateway that is being started is asked, where its probes come less often than that.
const WHILE_STARTING: Duration = Duration::from_secs(1);
/// How often PID 1 hears of a health that has not changed.
const SUMMARY: Duration = Duration::from_secs(10);
/// What lasts is bounded: a gateway with ten thousand held locks needs no ten thousand incidents.
const CONDITIONS: usize = 256;
/// The longest subject, in bytes of JSON.
pub const SUBJECT: usize = 256;
/// The longest detail, in bytes of JSON.
const DETAIL: usize = 1024;

/// How old an answer of sexton's may be, how long it is waited for, and how often it is asked at most.
const FRESH: Duration = Duration::from_secs(1);

fn over(status: &Status) -> impl Iterator<Item = Incident> {
    status.incidents.iter().filter(|incident| incident.ended.is_some()).cloned()
}

/// What an earlier sexton-watch has said that lasts. It is ours to end now.
fn taken_over(incidents: Vec<Incident>) -> BTreeMap<(IncidentKind, String), Condition> {
    let lasting = incidents.into_iter().filter(|one| one.ended.is_none() && one.kind.is_of_watch());
    let condition = |incident: Incident| {
        let Incident { kind, subject, detail, .. } = incident;
        ((kind, subject.clone()), Condition { kind, subject, holds: true, detail })
    };
    lasting.map(condition).collect()
}

impl WatchState {
    /// What is known at the beginning.
    pub fn new(briefing: WatchConfig, sexton: Option<Pid>, outbox: Rc<Outbox>) -> SharedState {
        let WatchConfig { settings, gateway, incidents, .. } = briefing;
        let alarm = AlertQueue::new(settings.alerts.is_some(), &incidents);
        let state = State {
            machine: HealthFsm::new(&settings.health, settings.start_period),
            probe_stats: settings.health.iter().map(|_| ProbeStats::new(settings.window)).collect(),
            log_matches: vec![0; settings.logs.len()],
            settings,
            unit: None,
            conditions: taken_over(incidents),
            health: Health { since: clock::wall_millis(), ..Health::default() },
            event_loop: None,
            told: MonoTime(Duration::ZERO),
            tallied: None,
            locks: None,
        };
        let known = WatchState {
            state: RefCell::new(state),
            sexton,
            outbox,
            alarm,
            gateway: watch::Sender::new(Gateway::Absent),
            status: watch::Sender::new(None),
            asked: Cell::new(MonoTime(Duration::ZERO)),
            gateway_look: GatewayLook::default(),
            looking: tokio::sync::Mutex::new(()),
        };
        known.outbox.begin_anew();
        known.end_what_is_not_watched();
        if let Some(unit) = gateway {
            known.gateway_is(unit);
        }
        Rc::new(known)
    }

    /// The lasting incidents that the new settings no longer watch for. Without this their end would never be reported.
    fn end_what_is_not_watched(&self) {
        let mut state = self.state.borrow_mut();
        let settings = &state.settings;
        let is_watched = |(kind, subject): &(IncidentKind, String)| match kind {
            IncidentKind::Slow | IncidentKind::Unhealthy => !settings.health.is_empty(),
            IncidentKind::LockHeld => settings.locks.is_some(),
            IncidentKind::Memory => settings.limits.memory.is_some(),
            IncidentKind::Zombies => settings.limits.zombies.is_some(),
            IncidentKind::Log => settings.logs.iter().any(|log| log.name == *subject),
            IncidentKind::OutOfMemory => !settings.limits.interval.is_zero(),
            IncidentKind::RestartLimit
            | IncidentKind::WatchLost
            | IncidentKind::UnitEnded
            | IncidentKind::Handoff => false,
        };
        let over: Vec<_> = state.conditions.keys().filter(|key| !is_watched(key)).cloned().collect();
        for (kind, subject) in over {
            self.condition_of(&mut state, kind, &subject, None);
        }
    }

    /// PID 1 tells of the gateway.
    pub fn gateway_is(&self, unit: UnitStatus) {
        let mut state = self.state.borrow_mut();
        let before = state.unit.replace(unit.clone());
        let same = |before: &UnitStatus| {
            (before.state, before.pid, before.since) == (unit.state, unit.pid, unit.since)
        };
        if before.is_some_and(|before| same(&before)) {
            return;
        }
        let now = clock::now();
        let age = Duration::from_millis(clock::wall_millis().saturating_sub(unit.since));
        let gateway = match unit.state {
            UnitState::Running => Gateway::Runs(MonoTime(now.0.saturating_sub(age))),
            UnitState::Stopping => Gateway::Stops,
            UnitState::Pending | UnitState::Starting | UnitState::Waiting | UnitState::Ended => {
                Gateway::Absent
            }
        };
        state.machine.gateway(gateway);
        if matches!(gateway, Gateway::Runs(_)) {
            state.probe_stats.iter_mut().for_each(ProbeStats::forget);
            state.event_loop = None;
        }
        self.update_health(&mut state);
        drop(state);
        self.gateway.send_replace(gateway);
    }

    /// The gateway may have started anew within its process since this moment: there is a sign of it.
    pub fn starts_anew(&self, since: MonoTime) {
        let mut state = self.state.borrow_mut();
        if state.machine.starts_anew(since) {
            self.begin_anew(&mut state, since);
            self.update_health(&mut state);
        }
    }

    /// The gateway has started anew within its process. What was measured before says nothing of it, and the tasks
    /// that ask it begin again.
    fn begin_anew(&self, state: &mut State, since: MonoTime) {
        tracing::info!(name: "in-process-restart", "the gateway starts anew within its process: a start period begins");
        state.probe_stats.iter_mut().for_each(ProbeStats::forget);
        state.event_loop = None;
        self.gateway.send_replace(Gateway::Runs(since));
    }

    /// The time from one request of this probe to the next. A gateway that is being started is probed more often, so
    /// that its readiness is seen soon. A command is expensive, and keeps its interval.
    pub fn interval(&self, index: usize, probe: &Probe) -> Duration {
        let may_hurry = !matches!(probe.ask, ProbeKind::Command { .. });
        let starting = || self.state.borrow().machine.is_starting(index, clock::now());
        let interval =
            if may_hurry && starting() { probe.interval.min(WHILE_STARTING) } else { probe.interval };
        interval.max(Duration::from_millis(1))
    }

    /// A probe has ended.
    pub fn answered(&self, index: usize, answer: &Answer, event_loop: Option<EventLoop>) {
        let mut state = self.state.borrow_mut();
        if state.machine.answered(index, answer) {
            self.begin_anew(&mut state, answer.asked);
        }
        state.event_loop = event_loop.or(state.event_loop);
        let probe = state.settings.health.get(index).map(|probe| (probe.timeout, probe.slow_after));
        if let (Some(stats), Some((timeout, latency))) = (state.probe_stats.get_mut(index), probe) {
            stats.take(answer, timeout, latency);
        }
        state.health.at = clock::wall_millis();
        self.update_health(&mut state);
    }

    /// Computes the health, and tells it if it is new, or the summary is due.
    fn update_health(&self, state: &mut State) {
        let Verdict { state: now_is, excused, reason } = state.machine.verdict();
        let changed = now_is != state.health.state;
        let news = changed || excused != state.health.excused || reason != state.health.reason;
        // The last answer, if each probe had one.
        let last: Option<Duration> = state
            .probe_stats
            .iter()
            .map(|stats| stats.last)
            .try_fold(Duration::ZERO, |most, last| Some(most.max(last?)));
        let figures = state
            .probe_stats
            .iter()
            .filter_map(|stats| stats.window.figures())
            .reduce(|one, other| one.worst(other));
        let ms = |latency: Option<Duration>| latency.map(|latency| latency.as_secs_f64() * 1000.0);
        let since = if changed { clock::wall_millis() } else { state.health.since };
        state.health = Health {
            state: now_is,
            since,
            excused,
            at: state.health.at,
            reason,
            last_ms: ms(last.filter(|_| figures.is_some())),
            p50_ms: ms(figures.map(|figures| figures.p50)),
            p99_ms: ms(figures.map(|figures| figures.p99)),
            max_ms: ms(figures.map(|figures| figures.max)),
            event_loop: state.event_loop,
        };
        if news || clock::now().since(state.told) >= SUMMARY {
            state.told = clock::now();
            self.outbox.health(state.health.clone());
        }
        let is_stopping = state.unit.as_ref().is_some_and(|unit| unit.state == UnitState::Stopping);
        if matches!(now_is, HealthState::Starting) || is_stopping {
            // Nothing speaks against what was said before, by us or by an earlier sexton-watch.
            return;
        }
        let reason = state.health.reason.clone();
        for (kind, bad) in
            [(IncidentKind::Unhealthy, HealthState::Unhealthy), (IncidentKind::Slow, HealthState::Slow)]
        {
            self.condition_of(state, kind, "gateway", (now_is == bad).then_some(reason.as_str()));
        }
    }

    /// Something is wrong, which `detail` describes, or is not, and then it is `None`.
    pub fn condition(&self, kind: IncidentKind, subject: &str, detail: Option<&str>) {
        self.condition_of(&mut self.state.borrow_mut(), kind, subject, detail);
    }

    fn condition_of(&self, state: &mut State, kind: IncidentKind, subject: &str, detail: Option<&str>) {
        let key = (kind, bounded(subject, SUBJECT));
        let condition = match (detail, state.conditions.contains_key(&key)) {
            (Some(detail), false) if state.conditions.len() < CONDITIONS => {
                Condition { kind, subject: key.1.clone(), holds: true, detail: bounded(detail, DETAIL) }
            }
            (None, true) => {
                let before = state.conditions.remove(&key);
                let detail = before.map(|before| before.detail).unwrap_or_default();
                Condition { kind, subject: key.1, holds: false, detail }
            }
            _ => return,
        };
        let word = if condition.holds { "begins" } else { "is over" };
        tracing::info!(name: "condition", kind = ?kind, subject = %condition.subject, "{word}: {}", condition.detail);
        if condition.holds {
            state.conditions.insert((kind, condition.subject.clone()), condition.clone());
        }
        self.alarm.seen(&condition);
        self.outbox.condition(condition);
    }

    /// sexton has said how everything is.
    pub fn status_is(&self, status: Status) {
        self.status.send_replace(Some((clock::now(), Rc::new(status))));
    }

    /// sexton's status, not older than a second, or awaited for a second. sexton is asked once, however many requests
    /// wait for the answer.
    pub async fn status(&self) -> Option<Rc<Status>> {
        let mut heard = self.status.subscribe();
        let fresh = |heard: &Option<(MonoTime, Rc<Status>)>| {
            let (then, status) = heard.as_ref()?;
            (clock::now().since(*then) < FRESH).then(|| Rc::clone(status))
        };
        if let Some(status) = fresh(&heard.borrow_and_update()) {
            return Some(status);
        }
        let now = clock::now();
        if now.since(self.asked.get()) >= FRESH {
            self.asked.set(now);
            self.outbox.ask();
        }
        let _ = tokio::time::timeout(FRESH, heard.changed()).await;
        fresh(&heard.borrow())
    }

    /// The status that sexton gave, with our own newer knowledge.
    pub fn merge_status(&self, status: &Status) -> Status {
        let state = self.state.borrow();
        let census = state.tallied.as_ref().map(|tallied| tallied.census);
        Status {
            health: Some(state.health.clone()),
            census: census.or(status.census),
            incidents: self.incidents(&state, Some(status)).into_iter().chain(over(status)).collect(),
            ..status.clone()
        }
    }

    /// What lasts: what sexton knows, and what we know and it has not heard yet.
    pub fn incidents(&self, state: &State, status: Option<&Status>) -> Vec<Incident> {
        let theirs = status.into_iter().flat_map(|status| &status.incidents);
        let mut all: Vec<Incident> = theirs.filter(|incident| incident.ended.is_none()).cloned().collect();
        for condition in state.conditions.values() {
            let same = |incident: &Incident| {
                (incident.kind, &incident.subject) == (condition.kind, &condition.subject)
            };
            if !all.iter().any(same) {
                let (kind, subject) = (condition.kind, condition.subject.clone());
                let began = self.alarm.began(kind, &subject).unwrap_or_else(clock::wall_millis);
                all.push(Incident { kind, subject, detail: condition.detail.clone(), began, ended: None });
            }
        }
        all
    }

    /// The subjects of a kind that last.
    pub fn lasting(&self, kind: IncidentKind) -> Vec<String> {
        let state = self.state.borrow();
        state.conditions.keys().filter(|key| key.0 == kind).map(|key| key.1.clone()).collect()
    }
}

impl State {
    /// Whether the gateway does its work, even if slowly. If its health is not measured, this is whether it runs.
    pub fn ready(&self) -> bool {
        match self.health.state {
            HealthState::Healthy | HealthState::Slow => true,
            HealthState::Unknown => {
                let runs = self.unit.as_ref().is_some_and(|unit| unit.state == UnitState::Running);
                runs && self.settings.health.is_empty()
            }
            HealthState::Starting | HealthState::Unhealthy | HealthState::Draining => false,
        }
    }
}

impl ProbeStats {
    fn new(window: usize) -> ProbeStats {
        let (window, recent) = (Window::new(window), VecDeque::new());
        ProbeStats { window, last: None, histogram: prometheus::durations(), bad: 0, recent }
    }

    /// A gateway begins, of which nothing is known.
    fn forget(&mut self) {
        self.window.clear();
        self.last = None;
    }

    fn take(&mut self, answer: &Answer, timeout: Duration, limit: Duration) {
        let bad = matches!(answer.outcome, Outcome::Bad(_) | Outcome::Starting);
        self.bad += u64::from(bad);
        // What is refused at once is no answer, and would make the latencies look good.
        self.last = (!bad || answer.latency >= timeout).then_some(answer.latency);
        if self.last.is_some() {
            self.window.push(answer.latency);
            self.histogram.observe(answer.latency.as_secs_f64());
        }
        if self.recent.len() >= POINTS {
            self.recent.pop_front();
        }
        let good = !bad && answer.latency <= limit;
        self.recent.push_back(Point { asked: answer.asked, latency: answer.latency, good });
    }
}

/// At most so many bytes of a text, as JSON has it: what sexton keeps of it is the same.
pub fn bounded(text: &str, most: usize) -> String {
    let mut text = text.to_owned();
    truncate_escaped(&mut text, most);
    text
}
