//! The decisions: events go in with the time, actions come out.
//!
//! It owns the life of the main process: the sweep before it, the start, the signals, the stop ladder, the
//! end of what it left behind, the sweep after it and the exit. It must never ask the system for anything:
//! it knows no clock, no system call and no file, so that every history can be replayed as values.
//!
//! # The phases
//!
//! ```text
//! New -> FirstSweep -> Starting -> Running -> StoppingLeftovers -> LastSweep -> Exited
//! ```
//!
//! Where the main process leaves its restart to its supervisor, `AskingHandoff` is between `Running` and
//! `StoppingLeftovers`: it has ended with 0, and it is asked whether that is a stop. At a restart the sessions that
//! were opened beside us in our pid namespace are spared; one of them may have asked for it.
//!
//! `StoppingLeftovers` begins when the main process has died: what it left behind gets TERM, a window, and KILL. Its
//! zombie stays unreaped until the last sweep is done, because a pid that is still a zombie's cannot have
//! been taken by another process: that makes the verdict on its locks certain.
//!
//! While it is `Running`, the live sweep handles the locks that orphans leave behind. It may freeze all processes for a
//! short time, and always thaws them.
//!
//! The ladder (see [`Policy`] for the windows) runs across `Running` and `StoppingLeftovers`:
//!
//! ```text
//!            stop signal            window over, or again         window over, or again
//! Idle ---------------------> Grace --------------------> Leftovers -----------------> Kill
//!   \                            \                          ^                          ^
//!    \                            \-- main died of it --> Drain -- window over, or again
//!     \-- main died, and something is left ----------------/
//! ```
//!
//! Where the operator has a step that comes before the stop signal, `Before` is between `Idle` and `Grace`: it ends
//! with the step, with its window, or with the next stop signal.
//!
//! A main process that only launches another can ignore the stop signal, or let it wait for ever: its process group gets
//! the signal then, at once or a second later ([`Event::NotHeard`]).
//!
//! Where the main process is the last one in `Leftovers`, KILL waits a moment for it ([`AFTER_OTHERS`]).
//!
//! `Drain` is for what a launcher leaves behind: its process group has what is left of the grace, and what left that
//! group has the window of `Leftovers`.

#![forbid(unsafe_code)]

mod action;
mod event;
mod forwarding;
mod handoff;
mod ladder;
mod live_sweep;
pub mod notify_message;
mod orphans;
mod phase;
mod policy;
mod restart;
mod restart_decision;
mod sd_notify;
mod shutdown;
mod signals;
mod snapshot;
mod start;
mod stop;
mod sweep_retry;
#[cfg(test)]
mod tests;
mod tool;
mod units;

pub use action::{Action, Gone, Note, Step, SweepTrigger};
pub use event::{
    Event, FreezeResult, Origin, Received, Remaining, StepAnswer, SweepFailure, SweepSummary, Terminal,
};
pub use forwarding::Forwarding;
pub use ladder::{AFTER_OTHERS, KILL_WINDOW};
pub use orphans::ToolKey;
pub use policy::Policy;
pub use restart::{Restart, RestartOn};
pub use sd_notify::{ManagerState, Message, Notify, NotifyMessage, Ready};
pub use snapshot::Snapshot;
pub use tool::ToolPolicy;
pub use units::{UnitId, UnitRule};

use crate::types::{Errno, MonoTime, Signal, StartStep, StopStage};
use forwarding::DelayedSignals;
use ladder::{Ladder, earlier};
use live_sweep::LiveSweep;
use orphans::Orphans;
use phase::{ExitedMain, Phase};
use restart::History;
use restart_decision::{AfterExit, gone};
use sd_notify::Notifier;
use snapshot::StateHistory;
use stop::LastStop;
use tool::ToolRun;
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
    delayed: DelayedSignals,
    last_stop: Option<LastStop>,
    /// It was said that our terminal is gone.
    terminal_gone: bool,
    /// The main process is stopped, and by which signal.
    stopped: Option<Signal>,
    /// The main process's group was given the terminal.
    gave_terminal: bool,
    start_failed: Option<(StartStep, Errno)>,
    /// The tool's deadline, and why it was ended before its own end.
    tool: ToolRun,
    /// What lost tools left with us.
    orphans: Orphans,
    live_sweep: LiveSweep,
    /// What the sweep before the start found.
    startup_sweep: SweepSummary,
    states: StateHistory,
    units: Units,
    /// The stop signal that waits until the units after the main process have ended.
    pending_exit_signal: Option<Received>,
    /// The required unit whose end is the end of everything.
    failed_unit: Option<UnitId>,
    /// What the end of the main process is to mean.
    after_exit: AfterExit,
    history: History,
    restarts: u64,
    /// Sessions were spared, and may live.
    sessions: bool,
    started_at: MonoTime,
    /// It would have been started again, and was too often.
    restart_limit_hit: bool,
    notifier: Option<Notifier>,
}

impl Supervisor {
    /// A supervisor to which nothing has happened yet.
    #[must_use]
    pub fn new(policy: Policy) -> Supervisor {
        let notifier = policy.notify.map(Notifier::new);
        Supervisor {
            units: Units::new(&policy.units, policy.seed),
            history: History::new(policy.seed),
            policy,
            phase: Phase::New,
            ladder: Ladder::Idle,
            pending: Vec::new(),
            delayed: DelayedSignals::default(),
            last_stop: None,
            terminal_gone: false,
            stopped: None,
            gave_terminal: false,
            start_failed: None,
            tool: ToolRun::default(),
            orphans: Orphans::default(),
            live_sweep: LiveSweep::default(),
            startup_sweep: SweepSummary::default(),
            states: StateHistory::default(),
            pending_exit_signal: None,
            failed_unit: None,
            after_exit: AfterExit::Decide,
            restarts: 0,
            sessions: false,
            started_at: MonoTime::default(),
            restart_limit_hit: false,
            notifier,
        }
    }

    /// Takes over of a new policy what can change while everything runs. A window that has begun stays as long as
    /// it was.
    pub fn amend(&mut self, new: Policy) {
        self.policy = Policy {
            grace: new.grace,
            kill_after: new.kill_after,
            group: new.group,
            stop_signals: new.stop_signals,
            forwarding: new.forwarding,
            stop_sequence: new.stop_sequence,
            before_stop: new.before_stop,
            handoff: new.handoff,
            wait_all: new.wait_all,
            end_orphans: new.end_orphans,
            adopted_deaths_trigger_scan: new.adopted_deaths_trigger_scan
                || self.policy.adopted_deaths_trigger_scan,
            restart: new.restart,
            replace_on: new.replace_on,
            ..self.policy.clone()
        };
    }

    /// Whether the main process, which has just died, stays a zombie as long as its number is evidence. To be said
    /// before its death is told.
    pub fn hold(&mut self, hold: bool) {
        self.policy.can_hold = hold;
    }

    /// Takes in what happened at `now`, and appends what is to be done to `out`.
    pub fn handle(&mut self, now: MonoTime, event: Event, out: &mut Vec<Action>) {
        if self.phase == Phase::Exited {
            return;
        }
        let first = out.len();
        match event {
            Event::Begin => self.begin(now, out),
            Event::Signal(received) => self.signal(now, received, out),
            Event::Started { pid } => self.started(now, pid, out),
            Event::StartFailed { step, errno } => self.start_failed(now, step, errno, out),
            Event::Died { pid, status } => self.died(now, pid, status, out),
            Event::Stopped { signal, terminal } => {
                if !self.stopped_by_freeze(now, signal, out) {
                    self.main_stopped(signal, terminal, out);
                }
            }
            Event::Resumed => self.resumed(out),
            Event::UnitStarted { unit, pid } => self.unit_started(now, unit, pid, out),
            Event::UnitStartFailed { unit, errno } => self.unit_start_failed(now, unit, errno, out),
            Event::IncidentChanged { kind } => self.condition(now, kind, out),
            Event::RestartWanted { unit: None } => {
                self.replace(now, false, out);
            }
            Event::RestartWanted { unit: Some(unit) } => {
                self.restart_unit(now, unit, out);
            }
            Event::QueueDrained if matches!(self.phase, Phase::StoppingLeftovers { .. }) => {
                out.push(Action::CountRemaining)
            }
            Event::QueueDrained => {
                self.sweep_if_wanted(now, out);
                self.orphans_tick(now, out);
            }
            Event::StepEnded(answer) => self.step_ended(now, answer, out),
            Event::Remaining(rest) => self.rest(now, rest, out),
            Event::NotHeard => self.not_heard(out),
            Event::OthersSeen { alive } => self.others_seen(now, alive, out),
            Event::OthersGone => self.others_gone(),
            Event::GroupGone => self.group_gone(now, out),
            Event::SweepDone(found) => self.sweep_done(now, found, out),
            Event::SweepReady => self.sweep_ready(now, out),
            Event::Cancel(by) => self.cancel(now, by, out),
            Event::OrphanFound { tool } => self.orphaned(now, tool, out),
            Event::OrphansFound => self.orphans_found(),
            Event::OrphansGone { tool } => self.orphans_gone(tool),
            Event::ToolLost => self.expect_orphans(now),
            Event::ToolEnded => {
                self.live_sweep.wanted |= self.policy.sweep.is_some();
                self.sweep_if_wanted(now, out);
            }
            Event::ToolAbandoned => self.gave_up_waiting(now, out),
            Event::Stop => self.asked_to_stop(now, out),
            Event::SweeperExited => self.sweep_gone(now, out),
            Event::FreezeDone(stood) => self.on_frozen(now, stood, out),
            Event::Reloaded => self.update_notifier(Notifier::has_reloaded),
            Event::Executed => self.update_notifier(Notifier::executed),
            Event::Health(report) => self.health(now, report, out),
            Event::NotifyMessage(notice) => self.update_notifier(|notifier| notifier.notice(now, notice)),
            Event::NotifyFailed => self.update_notifier(|notifier| notifier.send_failed(now)),
            Event::Tick => self.tick(now, out),
        }
        self.record_states(now);
        self.emit(now, first, out);
    }
}
