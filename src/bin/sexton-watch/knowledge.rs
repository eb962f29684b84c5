//! Everything that is known, in one place: the tasks write it, the faces read it, and what PID 1 is to know goes
//! out from here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use sexton::config::watching::Watching;
use sexton::control::protocol::{Briefing, Condition, EventLoop, Fact, Health, Kind, UnitState, UnitStatus};
use sexton::ids::{HealthState, Moment};
use sexton::os::clock;
use tokio::sync::watch;

use crate::alerts::Alarm;
use crate::health::{Answer, Gateway, Machine, Outcome};
use crate::held::Look;
use crate::link::Outbox;
use crate::tally::Tallied;
use crate::window::Window;

/// The knowledge, as the tasks share it. It is never held across an await.
pub type Shared = Rc<Known>;

/// What is known, and the way out.
pub struct Known {
    /// What changes.
    pub state: RefCell<State>,
    /// What PID 1 is to know.
    pub outbox: Rc<Outbox>,
    /// Who is to be told of incidents.
    pub alarm: Alarm,
    /// Where the gateway stands.
    pub gateway: watch::Sender<Gateway>,
}

/// What changes.
pub struct State {
    /// What is looked at.
    pub settings: Watching,
    /// The gateway, as PID 1 tells.
    pub unit: Option<UnitStatus>,
    /// What lasts and was said.
    pub conditions: BTreeMap<(Kind, String), Condition>,
    /// The gateway's health, as it was last computed.
    pub health: Health,
    machine: Machine,
    /// One for each probe.
    pub windows: Vec<Window>,
    event_loop: Option<EventLoop>,
    told: Moment,
    /// What the last count came to.
    pub tallied: Option<Tallied>,
    /// What the last look at the locks gave.
    pub locks: Option<Look>,
    /// How many lines matched each log rule.
    pub log_matches: Vec<u64>,
}

/// How often PID 1 hears of a health that has not changed.
const SUMMARY: Duration = Duration::from_secs(10);
/// What lasts is bounded: a gateway with ten thousand held locks needs no ten thousand incidents.
const CONDITIONS: usize = 256;
/// The longest subject, in bytes.
pub const SUBJECT: usize = 256;
/// The longest detail, in bytes.
const DETAIL: usize = 1024;

/// The wall clock, in milliseconds since the epoch.
pub fn now_ms() -> u64 {
    let since = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Known {
    /// What is known at the beginning.
    pub fn new(briefing: Briefing, outbox: Rc<Outbox>) -> Shared {
        let Briefing { settings, gateway, incidents, .. } = briefing;
        let alarm = Alarm::new(settings.alerts.is_some(), &incidents);
        let state = State {
            machine: Machine::new(&settings.health, settings.start_period),
            windows: settings.health.iter().map(|_| Window::new(settings.window)).collect(),
            log_matches: vec![0; settings.logs.len()],
            settings,
            unit: None,
            conditions: BTreeMap::new(),
            health: Health { since: now_ms(), ..Health::default() },
            event_loop: None,
            told: Moment(Duration::ZERO),
            tallied: None,
            locks: None,
        };
        let known =
            Known { state: RefCell::new(state), outbox, alarm, gateway: watch::Sender::new(Gateway::Absent) };
        known.outbox.hello(Fact::Hello { version: env!("CARGO_PKG_VERSION").to_owned(), listens: None });
        if let Some(unit) = gateway {
            known.gateway_is(unit);
        }
        Rc::new(known)
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
        let age = Duration::from_millis(now_ms().saturating_sub(unit.since));
        let gateway = match unit.state {
            UnitState::Running => Gateway::Runs(Moment(now.0.saturating_sub(age))),
            UnitState::Stopping => Gateway::Stops,
            UnitState::Pending | UnitState::Starting | UnitState::Waiting | UnitState::Ended => {
                Gateway::Absent
            }
        };
        state.machine.gateway(gateway);
        if matches!(gateway, Gateway::Runs(_)) {
            state.windows.iter_mut().for_each(Window::clear);
            state.event_loop = None;
        }
        self.update_health(&mut state);
        drop(state);
        self.gateway.send_replace(gateway);
    }

    /// A probe has ended.
    pub fn answered(&self, index: usize, answer: &Answer, event_loop: Option<EventLoop>) {
        let mut state = self.state.borrow_mut();
        state.machine.answered(index, answer);
        state.event_loop = event_loop.or(state.event_loop);
        // What is refused at once is no answer, and would make the latencies look good.
        let timeout = state.settings.health.get(index).map(|probe| probe.timeout);
        let answered =
            !matches!(answer.outcome, Outcome::Bad(_)) || timeout.is_some_and(|most| answer.latency >= most);
        if let Some(window) = state.windows.get_mut(index).filter(|_| answered) {
            window.push(answer.latency);
        }
        state.health.at = now_ms();
        self.update_health(&mut state);
    }

    /// Computes the health, and tells it if it is new, or the summary is due.
    fn update_health(&self, state: &mut State) {
        let (now_is, reason) = state.machine.state();
        let changed = now_is != state.health.state;
        let figures = state.windows.iter().filter_map(Window::figures).reduce(|one, other| one.worst(other));
        let ms = |latency: Option<Duration>| latency.map(|latency| latency.as_secs_f64() * 1000.0);
        let since = if changed { now_ms() } else { state.health.since };
        state.health = Health {
            state: now_is,
            since,
            at: state.health.at,
            reason,
            last_ms: ms(figures.map(|figures| figures.last)),
            p50_ms: ms(figures.map(|figures| figures.p50)),
            p99_ms: ms(figures.map(|figures| figures.p99)),
            max_ms: ms(figures.map(|figures| figures.max)),
            event_loop: state.event_loop,
        };
        if changed || clock::now().since(state.told) >= SUMMARY {
            state.told = clock::now();
            self.outbox.health(state.health.clone());
        }
        let reason = state.health.reason.clone();
        for (kind, bad) in [(Kind::Failing, HealthState::Failing), (Kind::Slow, HealthState::Slow)] {
            self.condition_of(state, kind, "gateway", (now_is == bad).then_some(reason.as_str()));
        }
    }

    /// Something is wrong, which `detail` describes, or is not, and then it is `None`.
    pub fn condition(&self, kind: Kind, subject: &str, detail: Option<&str>) {
        self.condition_of(&mut self.state.borrow_mut(), kind, subject, detail);
    }

    fn condition_of(&self, state: &mut State, kind: Kind, subject: &str, detail: Option<&str>) {
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

    /// The subjects of a kind that last.
    pub fn lasting(&self, kind: Kind) -> Vec<String> {
        let state = self.state.borrow();
        state.conditions.keys().filter(|key| key.0 == kind).map(|key| key.1.clone()).collect()
    }
}

/// At most so many bytes of a text.
pub fn bounded(text: &str, most: usize) -> String {
    let ends = |(at, letter): (usize, char)| at + letter.len_utf8();
    let end = text.char_indices().map(ends).take_while(|end| *end <= most).last();
    text.get(..end.unwrap_or_default()).unwrap_or_default().to_owned()
}
