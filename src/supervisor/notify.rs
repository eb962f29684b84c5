//! What the service manager is told, and when (sd_notify(3)).
//!
//! Nothing is announced where it happens. After each event what is so is compared with what was told last, and
//! the difference is the next message. So no path through the phases can forget to say something, and what a
//! full socket did not take is simply still to be said.

use std::time::Duration;

use super::ladder::Ladder;
use super::replacement::Purpose;
use super::{Action, Note, Phase, Supervisor, earlier};
use crate::ids::{HealthState, Kind, Moment};

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
    pub status: Option<Situation>,
}

/// How things are, as far as it is worth a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Situation {
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
        until: Option<Moment>,
        /// The gateway is started again afterwards.
        again: bool,
    },
    /// What the gateway left behind is waited for.
    LivesOn,
    /// The units are being stopped.
    UnitsDown {
        /// The end of this one's window.
        until: Option<Moment>,
    },
    /// The gateway is started again after a pause.
    Waiting {
        /// The end of the pause.
        until: Moment,
        /// How many restarts there were lately, this one included.
        restart: usize,
        /// How many there may be.
        ceiling: u32,
    },
}

/// Something that the gateway told its service manager, which it takes us for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Notice {
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

impl Situation {
    /// Whether its text changes while time passes.
    fn counts_down(self) -> bool {
        match self {
            Situation::Stopping { until, .. } | Situation::UnitsDown { until } => until.is_some(),
            Situation::Waiting { .. } => true,
            _ => false,
        }
    }
}

/// What the manager knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Told {
    ready: bool,
    reloading: bool,
    stopping: bool,
    until: Option<Moment>,
    situation: Option<Situation>,
}

/// What is so, as the rest of the supervisor sees it.
#[derive(Debug, Clone, Copy)]
struct Scene {
    situation: Option<Situation>,
    /// It is the end of everything.
    ends: bool,
    /// The gateway runs, and nobody is about to change that.
    runs: bool,
    /// When what goes on will be over.
    until: Option<Moment>,
}

/// Says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Herald {
    policy: Notify,
    told: Told,
    /// What was known before the last message.
    before: Told,
    /// When the last text was sent, and when the next one is due.
    text_at: Option<Moment>,
    text_due: Option<Moment>,
    /// When the manager gets its next sign of life.
    ping_at: Option<Moment>,
    /// Nothing is said before this: the last message was not taken.
    retry_at: Option<Moment>,
    /// The gateway's program was found and executed, once.
    executed: bool,
    /// The gateway was ready once.
    ready: bool,
    /// The gateway says that it reloads; and a signal asked one to that says nothing.
    reloading: bool,
    asked_to_reload: bool,
    health: HealthState,
    latency: Option<Duration>,
    said: u32,
    extend: Option<Duration>,
    /// When the gateway's next sign of life is overdue; only one that gave any owes one.
    silent_at: Option<Moment>,
    silent: bool,
}

impl Herald {
    pub(super) fn new(policy: Notify) -> Herald {
        Herald {
            policy,
            told: Told::default(),
            before: Told::default(),
            text_at: None,
            text_due: None,
            ping_at: None,
            retry_at: None,
            executed: false,
            ready: false,
            reloading: false,
            asked_to_reload: false,
            health: HealthState::Unknown,
            latency: None,
            said: 0,
            extend: None,
            silent_at: None,
            silent: false,
        }
    }

    /// When it wants to be looked at again.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let message = self.retry_at.or_else(|| earlier(self.text_due, self.ping_at));
        earlier(message, self.silent_at)
    }

    /// A gateway was started: nothing is known of it.
    pub(super) fn begin(&mut self) {
        self.health = HealthState::Unknown;
        self.latency = None;
        self.reloading = false;
        self.hush();
    }

    /// The gateway owes no sign of life.
    fn hush(&mut self) {
        self.silent_at = None;
        self.silent = false;
    }

    pub(super) fn executed(&mut self) {
        self.executed = true;
        self.ready |= self.policy.ready == Ready::Started;
    }

    /// Nobody says any more how the gateway is. One that was to be ready when it answers well is ready when it
    /// runs: `true` if that makes a difference.
    pub(super) fn unwatched(&mut self) -> bool {
        (self.health, self.latency) = (HealthState::Unknown, None);
        let waits = self.policy.ready == Ready::Healthy && !self.ready;
        if waits {
            self.policy.ready = Ready::Started;
            self.ready = self.executed;
        }
        waits
    }

    pub(super) fn health(&mut self, state: HealthState, latency: Option<Duration>) {
        (self.health, self.latency) = (state, latency);
        self.ready |= self.policy.ready == Ready::Healthy && state == HealthState::Healthy;
    }

    pub(super) fn notice(&mut self, now: Moment, notice: Notice) {
        match notice {
            Notice::Ready => {
                self.reloading = false;
                self.ready |= self.policy.ready == Ready::Notified;
            }
            Notice::Reloading => self.reloading = true,
            Notice::Extend(time) => self.extend = Some(time),
            Notice::Status => self.said = self.said.wrapping_add(1),
            Notice::Watchdog => {
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

    /// The last message was not taken, because the manager is behind.
    pub(super) fn unsent(&mut self, now: Moment) {
        self.told = self.before;
        self.retry_at = Some(now.after(PAUSE));
        self.ping_at = None;
    }

    /// Whether the gateway has failed to give its sign of life, told once.
    pub(super) fn falls_silent(&mut self, now: Moment) -> bool {
        let falls = self.silent_at.is_some_and(|at| now >= at);
        if falls {
            self.silent_at = None;
            self.silent = true;
        }
        falls
    }

    /// The messages that make what was told of `scene` true.
    fn say(&mut self, now: Moment, scene: Scene, acts: bool) -> [Option<Message>; 2] {
        if !scene.runs {
            self.hush();
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

        message.stopping = scene.ends && !self.told.stopping;
        self.told.stopping |= scene.ends;
        message.ready = !self.told.stopping && ((self.ready && !self.told.ready) || reloaded);
        self.told.ready |= message.ready;
        if scene.until != self.told.until {
            self.told.until = scene.until;
            // A manager that waits for nothing has no timeout to extend.
            let waits = self.told.stopping || !self.told.ready;
            message.extend =
                scene.until.filter(|_| waits).map(|until| until.since(now).saturating_add(SLACK));
        }
        message.extend = message.extend.max(self.extend.take());
        message.watchdog = self.ping(now, scene, acts);
        message.status = self.text(now, scene);
        [reload, Some(message).filter(|message| *message != Message::default())]
    }

    /// Whether the sign of life is due. While sexton does something about a gateway that is not well, all is
    /// as it should be; if nobody does, the manager is to.
    fn ping(&mut self, now: Moment, scene: Scene, acts: bool) -> bool {
        let Some(window) = self.policy.watchdog else {
            return false;
        };
        let ill = self.silent || matches!(self.health, HealthState::Failing | HealthState::Slow);
        if scene.runs && ill && !acts {
            self.ping_at = None;
            return false;
        }
        let due = self.ping_at.is_none_or(|at| now >= at);
        if due {
            self.ping_at = Some(now.after(window / 2));
        }
        due
    }

    fn text(&mut self, now: Moment, scene: Scene) -> Option<Situation> {
        let due = self.text_at.map_or(now, |at| at.after(PAUSE));
        let changed = scene.situation != self.told.situation;
        let again = scene.situation.is_some_and(Situation::counts_down);
        let wanted = changed || again;
        self.text_due = wanted.then_some(due);
        if !wanted || now < due {
            return None;
        }
        self.text_at = Some(now);
        self.text_due = again.then(|| now.after(PAUSE));
        self.told.situation = scene.situation;
        scene.situation
    }
}

impl Supervisor {
    /// Says what has changed, ahead of what was asked for since `first`: that is carried out at once, and may
    /// change it again.
    pub(super) fn announce(&mut self, now: Moment, first: usize, out: &mut Vec<Action>) {
        let Some(mut herald) = self.herald else {
            return;
        };
        if herald.falls_silent(now) {
            out.push(Action::Note(Note::Silent(herald.policy.watchdog.unwrap_or_default())));
            self.condition(now, Kind::Failing, out);
        }
        let acts = self.policy.replace_on.iter().any(|kind| matches!(kind, Kind::Failing | Kind::Slow));
        let scene = self.scene(&herald);
        let messages = herald.say(now, scene, acts).into_iter().flatten().map(Action::Notify);
        let at = first.min(out.len());
        out.splice(at..at, messages);
        self.herald = Some(herald);
    }

    /// Nobody asks the gateway any more whether it is well.
    pub(super) fn unwatched(&mut self, out: &mut Vec<Action>) {
        if self.herald.as_mut().is_some_and(Herald::unwatched) {
            out.push(Action::Note(Note::Unwatched));
        }
    }

    /// Where there is a service manager, what it will be told of may have changed.
    pub(super) fn tell_herald(&mut self, change: impl FnOnce(&mut Herald)) {
        if let Some(herald) = &mut self.herald {
            change(herald);
        }
    }

    fn scene(&self, herald: &Herald) -> Scene {
        let running = matches!(self.phase, Phase::Running { .. });
        let runs = running && self.ladder == Ladder::Idle && self.leaving.is_none();
        let lives_on = self.policy.wait_all && self.ladder == Ladder::Idle;
        let ends = match self.phase {
            Phase::Running { .. } => self.purpose == Purpose::End,
            Phase::Clearing { .. } => !lives_on && !self.may_follow(),
            Phase::Settling { .. } | Phase::LastSweep { .. } => !self.may_follow(),
            Phase::UnitsDown { .. } => true,
            _ => false,
        };
        let said = herald.said;
        let (health, latency) = (herald.health, herald.latency);
        let (situation, until) = match self.phase {
            Phase::New | Phase::Over => (None, None),
            Phase::FirstSweep { until } | Phase::LastSweep { until, .. } => {
                (Some(Situation::Sweeping), Some(until))
            }
            Phase::Settling { .. } => (Some(Situation::Sweeping), None),
            Phase::UnitsUp => (Some(Situation::UnitsUp), None),
            Phase::Starting { .. } | Phase::Retrying { .. } => (Some(Situation::Starting { said }), None),
            Phase::Running { .. } if runs && !herald.ready => {
                let waits = herald.policy.ready == Ready::Healthy;
                let until = waits.then(|| self.started_at.after(herald.policy.start_period));
                (Some(Situation::Starting { said }), until)
            }
            Phase::Running { .. } if runs => (Some(Situation::Running { health, latency, said }), None),
            Phase::Clearing { .. } if lives_on => (Some(Situation::LivesOn), None),
            Phase::Running { .. } | Phase::Clearing { .. } => {
                let units = self.leaving.and_then(|_| self.units.deadline());
                let until = units.or(self.ladder.end());
                (Some(Situation::Stopping { until, again: !ends }), until)
            }
            Phase::UnitsDown { .. } => {
                let until = self.units.deadline();
                (Some(Situation::UnitsDown { until }), until)
            }
            Phase::Waiting { until, .. } => {
                let (restart, ceiling) = (self.history.recent(), self.policy.restart.ceiling);
                (Some(Situation::Waiting { until, restart, ceiling }), Some(until))
            }
        };
        Scene { situation, ends, runs, until }
    }
}
