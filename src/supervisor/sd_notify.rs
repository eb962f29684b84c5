//! What the service manager is told, and when (sd_notify(3)).
//!
//! Nothing is announced where it happens. After each event what is so is compared with what was told last, and
//! the difference is the next message. So no path through the phases can forget to say something, and what a
//! full socket did not take is simply still to be said.

use std::time::Duration;

use super::ladder::Ladder;
use super::restart_decision::AfterExit;
use super::{Action, Note, Phase, Supervisor, earlier};
use crate::types::{HealthReport, HealthState, IncidentKind, MonoTime};

/// The least time between two texts, and before what was not taken is said again.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// What is asked for beyond the end of a window, because ending processes takes its own time.
const SLACK: Duration = Duration::from_secs(10);

/// When the gateway counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ready {
    /// When it runs: its program was found and executed.
    #[default]
    Started,
    /// When it has answered well for the first time.
    Healthy,
    /// When it says so itself (`READY=1`).
    Notified,
}

/// What the service manager wants, and what the operator wants it to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Notify {
    /// When the gateway counts as ready.
    pub ready: Ready,
    /// How long the manager waits for a sign of life (`WATCHDOG_USEC`); for ever if there is nothing.
    pub watchdog: Option<Duration>,
    /// How long the gateway may take until it answers well.
    pub start_period: Duration,
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Message {
    /// `READY=1`
    pub ready: bool,
    /// `RELOADING=1`
    pub reloading: bool,
    /// `STOPPING=1`
    pub stopping: bool,
    /// `WATCHDOG=1`
    pub watchdog: bool,
    /// `EXTEND_TIMEOUT_USEC=`
    pub extend: Option<Duration>,
    /// `STATUS=`, still to be put into words.
    pub status: Option<ManagerState>,
}

/// How things are, as far as it is worth a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ManagerState {
    /// Locks are swept.
    Sweeping,
    /// The units that come before the gateway are being started.
    UnitsUp,
    /// The gateway is being started, or is not ready yet.
    Starting {
        /// How many texts of its own it has sent.
        said: u32,
    },
    /// The gateway runs.
    Running {
        /// How it is.
        health: HealthState,
        /// How long its last answer took.
        latency: Option<Duration>,
        /// How many texts of its own it has sent.
        said: u32,
    },
    /// Processes are being ended.
    Stopping {
        /// The end of this window.
        until: Option<MonoTime>,
        /// The gateway is started again afterwards.
        again: bool,
    },
    /// What the gateway left behind is waited for.
    LivesOn,
    /// The units are being stopped.
    UnitsDown {
        /// The end of this one's window.
        until: Option<MonoTime>,
    },
    /// The gateway is started again after a pause.
    Waiting {
        /// The end of the pause.
        until: MonoTime,
        /// How many restarts there were lately, this one included.
        restart: usize,
        /// How many there may be.
        limit: u32,
    },
}

/// Something that the gateway told its service manager, which it takes us for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotifyMessage {
    /// `READY=1`
    Ready,
    /// `RELOADING=1`
    Reloading,
    /// `WATCHDOG=1`
    Watchdog,
    /// `EXTEND_TIMEOUT_USEC=`
    Extend(Duration),
    /// A new text.
    Status,
}

impl ManagerState {
    /// Whether its text changes while time passes.
    fn counts_down(self) -> bool {
        match self {
            ManagerState::Stopping { until, .. } | ManagerState::UnitsDown { until } => until.is_some(),
            ManagerState::Waiting { .. } => true,
            _ => false,
        }
    }
}

/// What the manager knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct LastSent {
    ready: bool,
    reloading: bool,
    stopping: bool,
    until: Option<MonoTime>,
    situation: Option<ManagerState>,
}

/// What is so, as the rest of the supervisor sees it.
#[derive(Debug, Clone, Copy)]
struct Inputs {
    situation: Option<ManagerState>,
    /// It is the end of everything.
    ends: bool,
    /// The gateway runs, and no stop or restart has begun.
    runs: bool,
    /// When what goes on will be over.
    until: Option<MonoTime>,
}

/// Says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Notifier {
    policy: Notify,
    told: LastSent,
    /// What was known before the last message.
    before: LastSent,
    /// When the last text was sent, and when the next one is due.
    text_at: Option<MonoTime>,
    text_due: Option<MonoTime>,
    /// When the manager gets its next sign of life.
    ping_at: Option<MonoTime>,
    /// Nothing is said before this: the last message was not taken.
    retry_at: Option<MonoTime>,
    /// The gateway's program was found and executed, once.
    executed: bool,
    /// The gateway was ready once.
    ready: bool,
    /// The gateway says that it reloads; and a signal asked one to that says nothing.
    reloading: bool,
    asked_to_reload: bool,
    health: HealthReport,
    said: u32,
    extend: Option<Duration>,
    /// When the gateway's next sign of life is overdue; only one that gave any owes one.
    silent_at: Option<MonoTime>,
    silent: bool,
}

impl Notifier {
    pub(super) fn new(policy: Notify) -> Notifier {
        Notifier {
            policy,
            told: LastSent::default(),
            before: LastSent::default(),
            text_at: None,
            text_due: None,
            ping_at: None,
            retry_at: None,
            executed: false,
            ready: false,
            reloading: false,
            asked_to_reload: false,
            health: HealthReport::default(),
            said: 0,
            extend: None,
            silent_at: None,
            silent: false,
        }
    }

    /// When it wants to be looked at again.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let message = self.retry_at.or_else(|| earlier(self.text_due, self.ping_at));
        earlier(message, self.silent_at)
    }

    /// A gateway was started: nothing is known of it.
    pub(super) fn begin(&mut self) {
        self.health = HealthReport::default();
        self.reloading = false;
        self.disable();
    }

    /// The gateway owes no sign of life.
    fn disable(&mut self) {
        self.silent_at = None;
        self.silent = false;
    }

    pub(super) fn executed(&mut self) {
        self.executed = true;
        self.ready |= self.policy.ready == Ready::Started;
    }

    /// The gateway's health is not reported any more. If it counted as ready only when healthy, it counts as ready when
    /// it runs: `true` if that makes a difference.
    pub(super) fn unwatched(&mut self) -> bool {
        self.health = HealthReport::default();
        let waits = self.policy.ready == Ready::Healthy && !self.ready;
        if waits {
            self.policy.ready = Ready::Started;
            self.ready = self.executed;
        }
        waits
    }

    pub(super) fn health(&mut self, report: HealthReport) {
        self.health = report;
        self.ready |= self.policy.ready == Ready::Healthy && report.state == HealthState::Healthy;
    }

    pub(super) fn notice(&mut self, now: MonoTime, notice: NotifyMessage) {
        match notice {
            NotifyMessage::Ready => {
                self.reloading = false;
                self.ready |= self.policy.ready == Ready::Notified;
            }
            NotifyMessage::Reloading => self.reloading = true,
            NotifyMessage::Extend(time) => self.extend = Some(time),
            NotifyMessage::Status => self.said = self.said.wrapping_add(1),
            NotifyMessage::Watchdog => {
                self.silent = false;
                self.silent_at = self.policy.watchdog.map(|window| now.after(window));
            }
        }
    }

    /// A signal asks the gateway to read its configuration again. One that speaks for itself says what comes
    /// of that; of any other it is taken to be done.
    pub(super) fn asked_to_reload(&mut self) {
        self.asked_to_reload = self.told.ready && self.policy.ready != Ready::Notified;
    }

    /// sexton itself has read its configuration again. sexton reports that, even if the gateway reports its own
    /// readiness. It does not end a reload of the gateway's own.
    pub(super) fn has_reloaded(&mut self) {
        self.asked_to_reload = self.told.ready && !self.reloading;
    }

    /// The last message was not taken, because the manager is behind.
    pub(super) fn send_failed(&mut self, now: MonoTime) {
        self.told = self.before;
        self.retry_at = Some(now.after(PAUSE));
        self.ping_at = None;
    }

    /// Whether the gateway has failed to give its sign of life, told once.
    pub(super) fn watchdog_missed(&mut self, now: MonoTime) -> bool {
        let falls = self.silent_at.is_some_and(|at| now >= at);
        if falls {
            self.silent_at = None;
            self.silent = true;
        }
        falls
    }

    /// The messages that make what was told of `inputs` true.
    fn say(&mut self, now: MonoTime, inputs: Inputs, acts: bool) -> [Option<Message>; 2] {
        if !inputs.runs {
            self.disable();
        }
        if self.retry_at.is_some_and(|at| now < at) {
            return [None, None];
        }
        self.retry_at = None;
        self.before = self.told;
        let reload = Message { reloading: true, ..Message::default() };
        let mut message = Message::default();
        let begins = self.reloading && !self.told.reloading && self.told.ready;
        let reload = (begins || self.asked_to_reload).then_some(reload);
        let reloaded = self.asked_to_reload || (self.told.reloading && !self.reloading);
        self.told.reloading = (self.told.reloading || begins) && self.reloading;
        self.asked_to_reload = false;

        message.stopping = inputs.ends && !self.told.stopping;
        self.told.stopping |= inputs.ends;
        message.ready = !self.told.stopping && ((self.ready && !self.told.ready) || reloaded);
        self.told.ready |= message.ready;
        if inputs.until != self.told.until {
            self.told.until = inputs.until;
            // A manager that waits for nothing has no timeout to extend.
            let waits = self.told.stopping || !self.told.ready;
            message.extend =
                inputs.until.filter(|_| waits).map(|until| until.since(now).saturating_add(SLACK));
        }
        message.extend = message.extend.max(self.extend.take());
        message.watchdog = self.ping(now, inputs, acts);
        message.status = self.text(now, inputs);
        [reload, Some(message).filter(|message| *message != Message::default())]
    }

    /// Whether the sign of life is due. It is sent while sexton acts on an unhealthy gateway, and while the gateway is
    /// excused. If sexton does not act, it sends none, so that the service manager acts.
    fn ping(&mut self, now: MonoTime, inputs: Inputs, acts: bool) -> bool {
        let Some(window) = self.policy.watchdog else {
            return false;
        };
        let not_well = matches!(self.health.state, HealthState::Unhealthy | HealthState::Slow);
        let ill = self.silent || (not_well && !self.health.excused);
        if inputs.runs && ill && !acts {
            self.ping_at = None;
            return false;
        }
        let due = self.ping_at.is_none_or(|at| now >= at);
        if due {
            self.ping_at = Some(now.after(window / 2));
        }
        due
    }

    fn text(&mut self, now: MonoTime, inputs: Inputs) -> Option<ManagerState> {
        let due = self.text_at.map_or(now, |at| at.after(PAUSE));
        let changed = inputs.situation != self.told.situation;
        let again = inputs.situation.is_some_and(ManagerState::counts_down);
        let wanted = changed || again;
        self.text_due = wanted.then_some(due);
        if !wanted || now < due {
            return None;
        }
        self.text_at = Some(now);
        self.text_due = again.then(|| now.after(PAUSE));
        self.told.situation = inputs.situation;
        inputs.situation
    }
}

impl Supervisor {
    /// Says what has changed, ahead of what was asked for since `first`: that is carried out at once, and may
    /// change it again.
    pub(super) fn emit(&mut self, now: MonoTime, first: usize, out: &mut Vec<Action>) {
        let Some(mut notifier) = self.notifier else {
            return;
        };
        if notifier.watchdog_missed(now) {
            out.push(Action::Note(Note::WatchdogMissed(notifier.policy.watchdog.unwrap_or_default())));
            self.condition(now, IncidentKind::Unhealthy, out);
        }
        let acts = self
            .policy
            .replace_on
            .iter()
            .any(|kind| matches!(kind, IncidentKind::Unhealthy | IncidentKind::Slow));
        let inputs = self.inputs(&notifier);
        let messages = notifier.say(now, inputs, acts).into_iter().flatten().map(Action::Notify);
        let at = first.min(out.len());
        out.splice(at..at, messages);
        self.notifier = Some(notifier);
    }

    /// The gateway's health is not monitored any more.
    pub(super) fn unwatched(&mut self, out: &mut Vec<Action>) {
        if self.notifier.as_mut().is_some_and(Notifier::unwatched) {
            out.push(Action::Note(Note::HealthUnmonitored));
        }
    }

    /// Where there is a service manager, what it will be told of may have changed.
    pub(super) fn update_notifier(&mut self, change: impl FnOnce(&mut Notifier)) {
        if let Some(notifier) = &mut self.notifier {
            change(notifier);
        }
    }

    fn inputs(&self, notifier: &Notifier) -> Inputs {
        let running = matches!(self.phase, Phase::Running { .. });
        let runs = running && self.ladder == Ladder::Idle && self.pending_exit_signal.is_none();
        let lives_on = self.policy.wait_all && self.ladder == Ladder::Idle;
        let ends = match self.phase {
            Phase::Running { .. } => self.after_exit == AfterExit::Shutdown,
            Phase::StoppingLeftovers { .. } => !lives_on && !self.may_follow(),
            Phase::WaitingForSweep { .. } | Phase::LastSweep { .. } => !self.may_follow(),
            Phase::UnitsDown { .. } => true,
            _ => false,
        };
        let said = notifier.said;
        let HealthReport { state: health, latency, .. } = notifier.health;
        let (situation, until) = match self.phase {
            Phase::New | Phase::Exited => (None, None),
            Phase::FirstSweep { sweep } | Phase::LastSweep { sweep, .. } => {
                (Some(ManagerState::Sweeping), Some(sweep.due))
            }
            Phase::WaitingForSweep { .. } => (Some(ManagerState::Sweeping), None),
            Phase::UnitsUp => (Some(ManagerState::UnitsUp), None),
            Phase::Starting { .. } | Phase::ForkRetry { .. } => (Some(ManagerState::Starting { said }), None),
            Phase::Running { .. } if runs && !notifier.ready => {
                let waits = notifier.policy.ready == Ready::Healthy;
                let until = waits.then(|| self.started_at.after(notifier.policy.start_period));
                (Some(ManagerState::Starting { said }), until)
            }
            Phase::Running { .. } if runs => (Some(ManagerState::Running { health, latency, said }), None),
            Phase::StoppingLeftovers { .. } if lives_on => (Some(ManagerState::LivesOn), None),
            Phase::Running { .. } | Phase::StoppingLeftovers { .. } => {
                let units = self.pending_exit_signal.and_then(|_| self.units.deadline());
                let until = units.or(self.ladder.end());
                (Some(ManagerState::Stopping { until, again: !ends }), until)
            }
            Phase::AskingHandoff { until, .. } => {
                (Some(ManagerState::Stopping { until: Some(until), again: !ends }), Some(until))
            }
            Phase::UnitsDown { .. } => {
                let until = self.units.deadline();
                (Some(ManagerState::UnitsDown { until }), until)
            }
            Phase::RestartDelay { until, .. } => {
                let (restart, limit) = (self.history.recent(), self.policy.restart.limit);
                (Some(ManagerState::Waiting { until, restart, limit }), Some(until))
            }
        };
        Inputs { situation, ends, runs, until }
    }
}
