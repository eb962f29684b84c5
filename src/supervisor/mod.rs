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
mod end;
mod event;
mod forwarding;
mod keeper;
mod ladder;
mod launch;
pub mod notice;
mod notify;
mod orphans;
mod phase;
mod policy;
mod replacement;
mod restart;
mod signals;
mod snapshot;
mod stop;
#[cfg(test)]
mod tests;
mod units;

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

use crate::ids::{Errno, Moment, Rung, Signal, Stage};
use abort::Abort;
use forwarding::Held;
use keeper::Keeper;
use ladder::{Ladder, earlier};
use notify::Herald;
use orphans::Orphans;
use phase::{Corpse, Phase};
use replacement::{Purpose, gone};
use restart::History;
use snapshot::Shown;
use stop::LastStop;
use units::Units;

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
            units: Units::new(&policy.units, policy.seed),
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
            strangers_tell: new.strangers_tell || self.policy.strangers_tell,
            restart: new.restart,
            replace_on: new.replace_on,
            ..self.policy.clone()
        };
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
            Event::OrphansFound => self.orphans_found(),
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
}
