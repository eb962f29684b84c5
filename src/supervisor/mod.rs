//! The decisions: events go in with the time, actions come out.
//!
//! It owns the life of the main process: the sweep before it, the start, the signals, the stop ladder, the
//! end of what it left behind, the sweep after it and the exit. It must never ask the system for anything:
//! it knows no clock, no system call and no file, so that every history can be replayed as values.
//!
//! # The phases
//!
//! ```text
//! New -> FirstSweep -> Starting -> Running -> Clearing -> LastSweep -> Over
//! ```
//!
//! `Clearing` begins when the main process has died: what it left behind gets TERM, a window, and KILL. Its
//! zombie stays unreaped until the last sweep is done, because a pid that is still a zombie's cannot have
//! been taken by another process: that makes the verdict on its locks certain.
//!
//! While it is `Running`, the keeper sees to the locks that orphans leave behind; it may stop everybody for the
//! blink of an eye, and always lets them go on.
//!
//! The ladder (see [`Policy`] for the windows) runs across `Running` and `Clearing`:
//!
//! ```text
//!            stop signal            window over, or again         window over, or again
//! Idle ---------------------> Grace --------------------> Stragglers -----------------> Kill
//!   \---- main died, and something is left: straight to Stragglers ----^
//! ```

#![forbid(unsafe_code)]

mod abort;
mod action;
mod event;
mod forwarding;
mod keeper;
mod ladder;
mod notify;
mod orphans;
mod policy;
mod replacement;
mod restart;
mod signals;
mod snapshot;
mod stop;
#[cfg(test)]
mod tests;
mod units;

use std::time::Duration;

pub use abort::Tool;
pub use action::{Action, Gone, Note, Occasion};
pub use event::{Event, Origin, Received, Rest, Stood, Tally, Terminal};
pub use forwarding::Forwarding;
pub use notify::{Message, Notice, Notify, Ready, Situation};
pub use orphans::ToolKey;
pub use policy::Policy;
pub use restart::{On, Restart};
pub use snapshot::Snapshot;
pub use units::{UnitId, UnitRule};

use crate::ids::{Errno, ExitStatus, Moment, Outcome, Pid, Rung, Signal, Stage};
use abort::Abort;
use forwarding::Held;
use keeper::Keeper;
use ladder::{Ladder, earlier};
use notify::Herald;
use orphans::Orphans;
use replacement::{Purpose, gone};
use restart::History;
use snapshot::Shown;
use stop::LastStop;
use units::Units;

/// How often processes whose deaths nobody tells us are looked for.
const RECOUNT: Duration = Duration::from_millis(25);

/// The failure that may pass: a limit on processes is reached (fork(2), EAGAIN; 11 on every Linux).
const NO_PROCESS: (Stage, Errno) = (Stage::Fork, Errno(11));
/// How often the start is tried again then, and the first pause, which doubles: about three seconds in all.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The main process after its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Corpse {
    pid: Pid,
    status: ExitStatus,
    held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    New,
    FirstSweep {
        until: Moment,
    },
    /// The units that come before the main process are being started.
    UnitsUp,
    Starting {
        tries: u32,
    },
    /// The system had no process to give; it is asked again.
    Retrying {
        until: Moment,
        tries: u32,
    },
    Running {
        pid: Pid,
    },
    Clearing {
        corpse: Option<Corpse>,
        recount: Option<Moment>,
    },
    /// It is the end, and the units are stopped one after the other.
    UnitsDown {
        corpse: Option<Corpse>,
    },
    /// Nothing is left of the main process, and it is to be started again, but units live on: locks are swept
    /// as beside a living main process.
    Settling {
        corpse: Option<Corpse>,
    },
    LastSweep {
        corpse: Option<Corpse>,
        until: Moment,
    },
    /// The main process is started again when the pause is over.
    Waiting {
        corpse: Option<Corpse>,
        until: Moment,
    },
    Over,
}

/// The state of everything that sexton has decided so far.
#[derive(Debug, Clone)]
pub struct Supervisor {
    policy: Policy,
    phase: Phase,
    ladder: Ladder,
    /// Signals that came before the main process existed.
    pending: Vec<Received>,
    /// Signals that are passed on later.
    delayed: Held,
    last_stop: Option<LastStop>,
    /// The main process is stopped, and by which signal.
    stopped: Option<Signal>,
    /// The main process's group was given the terminal.
    gave_terminal: bool,
    start_failed: Option<(Stage, Errno)>,
    /// The tool's deadline, and why it was ended before its own end.
    abort: Abort,
    /// What lost tools left with us.
    orphans: Orphans,
    keeper: Keeper,
    /// What the sweep before the start found.
    found_first: Tally,
    shown: Shown,
    units: Units,
    /// The stop signal that waits until the units after the main process have ended.
    leaving: Option<Received>,
    /// The required unit whose end is the end of everything.
    failed_unit: Option<UnitId>,
    /// What the end of the main process is to mean.
    purpose: Purpose,
    history: History,
    restarts: u64,
    started_at: Moment,
    /// It would have been started again, and was too often.
    gave_up: bool,
    herald: Option<Herald>,
}

impl Supervisor {
    /// A supervisor to which nothing has happened yet.
    #[must_use]
    pub fn new(policy: Policy) -> Supervisor {
        let herald = policy.notify.map(Herald::new);
        Supervisor {
            units: Units::new(&policy.units),
            history: History::new(policy.seed),
            policy,
            phase: Phase::New,
            ladder: Ladder::Idle,
            pending: Vec::new(),
            delayed: Held::default(),
            last_stop: None,
            stopped: None,
            gave_terminal: false,
            start_failed: None,
            abort: Abort::default(),
            orphans: Orphans::default(),
            keeper: Keeper::default(),
            found_first: Tally::default(),
            shown: Shown::default(),
            leaving: None,
            failed_unit: None,
            purpose: Purpose::Unsaid,
            restarts: 0,
            started_at: Moment::default(),
            gave_up: false,
            herald,
        }
    }

    /// Takes over of a new policy what can change while everything runs. A window that has begun stays as long as
    /// it was.
    pub fn amend(&mut self, new: Policy) {
        self.policy = Policy {
            grace: new.grace,
            stragglers: new.stragglers,
            group: new.group,
            stop_signals: new.stop_signals,
            forwarding: new.forwarding,
            stop_sequence: new.stop_sequence,
            wait_all: new.wait_all,
            end_orphans: new.end_orphans,
            restart: new.restart,
            replace_on: new.replace_on,
            ..self.policy.clone()
        };
    }

    /// When [`Event::Tick`] is wanted, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let herald = self.herald.as_ref().and_then(Herald::deadline);
        let beside = earlier(herald, earlier(self.units.deadline(), self.orphans.deadline()));
        earlier(beside, self.phase_deadline())
    }

    fn phase_deadline(&self) -> Option<Moment> {
        match self.phase {
            Phase::FirstSweep { until } | Phase::LastSweep { until, .. } | Phase::Waiting { until, .. } => {
                Some(until)
            }
            Phase::Running { .. } => {
                let ladder = earlier(self.ladder.deadline(), self.delayed.deadline());
                earlier(earlier(ladder, self.keeper.deadline()), self.abort.deadline())
            }
            Phase::Clearing { recount, .. } => {
                earlier(earlier(self.ladder.deadline(), recount), self.abort.deadline())
            }
            Phase::Settling { .. } => self.keeper.deadline(),
            Phase::Retrying { until, .. } => Some(until),
            Phase::New | Phase::UnitsUp | Phase::UnitsDown { .. } | Phase::Starting { .. } | Phase::Over => {
                None
            }
        }
    }

    /// Takes in what happened at `now`, and appends what is to be done to `out`.
    pub fn handle(&mut self, now: Moment, event: Event, out: &mut Vec<Action>) {
        if self.phase == Phase::Over {
            return;
        }
        let first = out.len();
        match event {
            Event::Begin => self.begin(now, out),
            Event::Signal(received) => self.signal(now, received, out),
            Event::Started { pid } => self.started(now, pid, out),
            Event::StartFailed { stage, errno } => self.start_failed(now, stage, errno, out),
            Event::Died { pid, status } => self.died(now, pid, status, out),
            Event::Stopped { signal, terminal } => {
                if !self.stopped_for_us(now, signal, out) {
                    self.main_stopped(signal, terminal, out);
                }
            }
            Event::Resumed => self.resumed(out),
            Event::UnitStarted { unit, pid } => self.unit_started(now, unit, pid, out),
            Event::UnitStartFailed { unit, errno } => self.unit_start_failed(now, unit, errno, out),
            Event::Condition { kind } => self.condition(now, kind, out),
            Event::RestartWanted { unit: None } => {
                self.replace(now, false, out);
            }
            Event::RestartWanted { unit: Some(unit) } => {
                self.restart_unit(now, unit, out);
            }
            Event::Drained if matches!(self.phase, Phase::Clearing { .. }) => out.push(Action::CountRest),
            Event::Drained => {
                self.keep(now, out);
                self.orphans_tick(now, out);
            }
            Event::Rest(rest) => self.rest(now, rest, out),
            Event::SweepDone(found) => self.sweep_done(now, found, out),
            Event::SweepReady => self.sweep_ready(now, out),
            Event::Cancel(by) => self.cancel(now, by, out),
            Event::Orphaned { tool } => self.orphaned(now, tool, out),
            Event::OrphansGone { tool } => self.orphans_gone(tool),
            Event::ToolLost => self.expect_orphans(now),
            Event::ToolEnded => {
                self.keeper.wanted |= self.policy.sweep.is_some();
                self.keep(now, out);
            }
            Event::Abandoned => self.abandoned(now, out),
            Event::Stop => self.asked_to_stop(now, out),
            Event::SweepGone => self.sweep_gone(now, out),
            Event::Stood(stood) => self.stood(now, stood, out),
            Event::Reloaded => self.tell_herald(Herald::asked_to_reload),
            Event::Executed => self.tell_herald(Herald::executed),
            Event::Health { state, latency } => self.tell_herald(|herald| herald.health(state, latency)),
            Event::Notice(notice) => self.tell_herald(|herald| herald.notice(now, notice)),
            Event::Unsent => self.tell_herald(|herald| herald.unsent(now)),
            Event::Tick => self.tick(now, out),
        }
        self.show(now);
        self.announce(now, first, out);
    }

    fn begin(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.phase != Phase::New {
            return;
        }
        if let Some(window) = self.policy.sweep {
            self.phase = Phase::FirstSweep { until: now.after(window) };
            out.push(Action::Sweep(Occasion::Startup));
        } else {
            self.bring_up(now, out);
        }
    }

    fn start(&mut self, now: Moment, tries: u32, out: &mut Vec<Action>) {
        if let Some(outcome) = self.cancelled_before_start() {
            return self.exit(outcome, out);
        }
        if matches!(self.phase, Phase::Waiting { .. }) {
            self.restarts = self.restarts.saturating_add(1);
            self.start_failed = None;
            self.ladder = Ladder::Idle;
            self.stopped = None;
        }
        self.started_at = now;
        self.phase = Phase::Starting { tries };
        out.push(Action::Start);
    }

    fn started(&mut self, now: Moment, pid: Pid, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return;
        }
        self.phase = Phase::Running { pid };
        self.tell_herald(Herald::begin);
        let window = self.policy.hand_over.unwrap_or_default();
        self.keeper.begin(now, self.found_first, window, self.policy.look_later);
        self.tool_started(now, out);
        for received in std::mem::take(&mut self.pending) {
            self.signal(now, received, out);
        }
        if self.failed_unit.is_some() {
            self.end_for_good(now, out);
        }
        self.bring_up_rest(out);
    }

    fn start_failed(&mut self, now: Moment, stage: Stage, errno: Errno, out: &mut Vec<Action>) {
        match self.phase {
            // The process was created and could not become the command: it is about to die, and the rest
            // goes the way of every death.
            Phase::Running { .. } => self.start_failed = Some((stage, errno)),
            Phase::Starting { tries } if (stage, errno) == NO_PROCESS && tries < TRIES => {
                let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries));
                self.phase = Phase::Retrying { until: now.after(pause), tries: tries + 1 };
                out.push(Action::Note(Note::StartAgain(pause)));
            }
            Phase::Starting { .. } => {
                self.start_failed = Some((stage, errno));
                self.finish(now, None, out);
            }
            Phase::New
            | Phase::FirstSweep { .. }
            | Phase::UnitsUp
            | Phase::Retrying { .. }
            | Phase::Clearing { .. }
            | Phase::UnitsDown { .. }
            | Phase::Settling { .. }
            | Phase::LastSweep { .. }
            | Phase::Waiting { .. }
            | Phase::Over => {}
        }
    }

    fn died(&mut self, now: Moment, pid: Pid, status: ExitStatus, out: &mut Vec<Action>) {
        if self.unit_died(now, pid, status, out) {
            return;
        }
        if self.phase != (Phase::Running { pid }) {
            self.keeper.wanted |= self.policy.sweep.is_some() && matches!(self.phase, Phase::Running { .. });
            self.expect_orphans(now);
            out.extend([Action::Reap(pid), Action::Note(Note::Reaped(pid, status))]);
            return;
        }
        self.release(now, out);
        self.tool_ended();
        let held = self.policy.can_hold;
        if !held {
            out.push(Action::Reap(pid));
        }
        if self.start_failed.is_none() {
            out.push(Action::Note(Note::MainEnded(pid, status)));
        }
        self.leaving = None;
        self.phase = Phase::Clearing { corpse: Some(Corpse { pid, status, held }), recount: None };
    }

    fn rest(&mut self, now: Moment, rest: Rest, out: &mut Vec<Action>) {
        let Phase::Clearing { corpse, .. } = self.phase else {
            return;
        };
        if rest == Rest::Gone {
            self.all_gone(now, corpse, out);
            return;
        }
        let recount = (rest == Rest::Strangers).then(|| now.after(RECOUNT));
        self.phase = Phase::Clearing { corpse, recount };
        let lives_on = self.policy.wait_all && self.ladder == Ladder::Idle;
        if !lives_on && matches!(self.ladder, Ladder::Idle | Ladder::Grace { .. }) {
            self.stragglers(now, self.policy.stragglers, out);
        }
    }

    fn all_gone(&mut self, now: Moment, corpse: Option<Corpse>, out: &mut Vec<Action>) {
        self.ladder = Ladder::Idle;
        self.stop_keeping(out);
        if self.ends_with_units(corpse) {
            self.phase = Phase::UnitsDown { corpse };
            self.take_down(now, out);
            return;
        }
        // A command that never ran has left nothing.
        let window = self.policy.sweep.filter(|_| self.start_failed.is_none());
        if window.is_some() && self.units_live(false) {
            self.phase = Phase::Settling { corpse };
            self.stopped = None;
            self.keeper.wanted = true;
            self.keep(now, out);
        } else if let Some(window) = window {
            self.phase = Phase::LastSweep { corpse, until: now.after(window) };
            out.push(Action::Sweep(Occasion::TreeGone(gone(corpse))));
        } else {
            self.finish(now, corpse, out);
        }
    }

    fn sweep_done(&mut self, now: Moment, found: Tally, out: &mut Vec<Action>) {
        match self.phase {
            Phase::FirstSweep { .. } => {
                self.found_first = found;
                self.bring_up(now, out);
            }
            Phase::LastSweep { corpse, .. } => {
                self.found_first = found;
                self.finish(now, corpse, out);
            }
            Phase::Running { .. } | Phase::Settling { .. } => self.kept(now, found, out),
            // A look that began before the main process died.
            Phase::Clearing { .. } => self.keeper = Keeper::default(),
            Phase::New
            | Phase::UnitsUp
            | Phase::UnitsDown { .. }
            | Phase::Waiting { .. }
            | Phase::Starting { .. }
            | Phase::Retrying { .. }
            | Phase::Over => {}
        }
    }

    fn exit(&mut self, outcome: Outcome, out: &mut Vec<Action>) {
        self.phase = Phase::Over;
        self.ladder = Ladder::Idle;
        out.push(Action::Exit(outcome));
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.units_tick(now, out);
        self.deadline_passed(now, out);
        self.orphans_tick(now, out);
        match self.phase {
            Phase::FirstSweep { until } if now >= until => {
                self.give_sweep_up(out);
                self.bring_up(now, out);
            }
            Phase::Retrying { until, tries } if now >= until => self.start(now, tries, out),
            Phase::Waiting { until, .. } if now >= until => self.start(now, 0, out),
            Phase::LastSweep { corpse, until } if now >= until => {
                self.give_sweep_up(out);
                self.finish(now, corpse, out);
            }
            Phase::Running { pid } => {
                self.keeper_tick(now, out);
                while let Some(received) = self.delayed.take_due(now) {
                    self.deliver(now, pid, received, out);
                }
                self.climb(now, out);
            }
            Phase::Settling { .. } => self.keeper_tick(now, out),
            Phase::Clearing { corpse, recount } => {
                if recount.is_some_and(|at| now >= at) {
                    self.phase = Phase::Clearing { corpse, recount: None };
                    out.push(Action::CountRest);
                }
                self.climb(now, out);
            }
            Phase::New
            | Phase::FirstSweep { .. }
            | Phase::UnitsUp
            | Phase::UnitsDown { .. }
            | Phase::LastSweep { .. }
            | Phase::Starting { .. }
            | Phase::Retrying { .. }
            | Phase::Waiting { .. }
            | Phase::Over => {}
        }
    }

    fn give_sweep_up(&self, out: &mut Vec<Action>) {
        let window = self.policy.sweep.unwrap_or_default();
        out.extend([Action::AbandonSweep, Action::Note(Note::SweepOverdue(window))]);
    }
}
