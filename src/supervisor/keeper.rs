//! Locks while the main process runs: looking at a noisy moment, and making a quiet one.
//!
//! ```text
//!        an orphan died              something waits            it stands still
//! Rests ----------------> Looking -----------------> Stopping ------------------> Still
//!   ^------------------------/----------------------------/--------------------------/
//!        nothing waits            it does not stop: go on         removed: go on
//! ```
//!
//! A lock can be removed safely only while nobody can take it over at that very instant, and the one who would
//! is the gateway. So it is stopped for the removal, if it is all that lives of the tree (a tool or a worker
//! beside it could do the same), and goes on whatever happens: when the removal is done,
//! when its process dies, when it takes longer than a second, and when the ladder reaches everybody. A signal
//! for the gateway that comes meanwhile is sent and waits in the kernel.

use std::time::Duration;

use super::{Action, Note, Occasion, Phase, Supervisor, Tally, earlier};
use crate::ids::{Moment, Pid, Signal};

/// The least time between two looks, and how many times the length of a look it is at least, so that a root
/// that takes long to look through costs no more than a few hundredths of the machine.
const PAUSE: Duration = Duration::from_secs(1);
const SHARE: u32 = 20;
/// How long a stop may take to happen.
const STOPPING: Duration = Duration::from_millis(500);
/// How long the main process stands still at most.
const STILL: Duration = Duration::from_secs(1);
/// When roots that were missing before the start are looked for again, counted from the start. The list ends,
/// so that a command that never makes them is left in peace.
const LATER: [Duration; 4] =
    [Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(180), Duration::from_secs(600)];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum State {
    #[default]
    Rests,
    /// A sweep looks and removes nothing.
    Looking { since: Moment, until: Moment },
    /// The main process was sent STOP.
    Stopping { since: Moment, until: Moment },
    /// The main process stands still, and a sweep removes.
    Still { since: Moment, until: Moment },
}

/// What is to be done about locks while the main process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Keeper {
    pub(super) state: State,
    /// Somebody died who may have left a lock.
    pub(super) wanted: bool,
    /// No look begins before this.
    not_before: Moment,
    /// Locks that were handed over are the gateway's to find until then.
    pub(super) spare_until: Option<Moment>,
    /// When a missing root is looked for again, and how often it was.
    later: Option<(Moment, usize)>,
    /// When the main process was started.
    started: Moment,
}

impl Keeper {
    /// When it wants to be looked at again.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Looking { until, .. } | State::Stopping { until, .. } | State::Still { until, .. } => {
                Some(until)
            }
            State::Rests => {
                let wanted = self.wanted.then_some(self.not_before);
                earlier(wanted, earlier(self.spare_until, self.later.map(|(at, _)| at)))
            }
        }
    }

    /// The main process was started, and this is what the sweep before it found.
    pub(super) fn begin(&mut self, now: Moment, found: Tally, window: Duration, later: bool) {
        self.started = now;
        self.spare_until = (found.handed_over > 0).then(|| now.after(window));
        self.later = LATER.first().filter(|_| later && found.missing).map(|first| (now.after(*first), 0));
    }

    /// Whether the main process is stopped by us, or about to be.
    pub(super) fn holds_still(&self) -> bool {
        matches!(self.state, State::Stopping { .. } | State::Still { .. })
    }

    /// What has come due while nothing is being done.
    fn due(&mut self, now: Moment) {
        if self.spare_until.is_some_and(|until| now >= until) {
            self.spare_until = None;
            self.wanted = true;
        }
        if let Some((_, round)) = self.later.filter(|(at, _)| now >= *at) {
            self.later = LATER.get(round + 1).map(|next| (self.started.after(*next), round + 1));
            self.wanted = true;
        }
    }
}

impl Supervisor {
    /// Begins a look, if one is wanted and may begin.
    pub(super) fn keep(&mut self, now: Moment, out: &mut Vec<Action>) {
        let (Phase::Running { .. }, State::Rests, Some(window)) =
            (self.phase, self.keeper.state, self.policy.sweep)
        else {
            return;
        };
        self.keeper.due(now);
        if self.keeper.wanted && now >= self.keeper.not_before {
            self.keeper.wanted = false;
            self.keeper.state = State::Looking { since: now, until: now.after(window) };
            out.push(Action::Sweep(Occasion::Look { spare: self.keeper.spare_until.is_some() }));
        }
    }

    /// A sweep has ended while the main process runs.
    pub(super) fn kept(&mut self, now: Moment, pid: Pid, found: Tally, out: &mut Vec<Action>) {
        match self.keeper.state {
            State::Looking { since, .. } => {
                self.rest_until_next(since, now);
                if !found.missing {
                    self.keeper.later = None;
                }
                // One that somebody else has stopped would go on by our doing.
                if found.waiting > 0 && self.stopped.is_none() {
                    self.keeper.state = State::Stopping { since: now, until: now.after(STOPPING) };
                    out.push(Action::StandStill(pid));
                }
            }
            State::Still { since, .. } => {
                self.keeper.state = State::Rests;
                out.push(Action::GoOn { pid, stood: now.since(since) });
            }
            State::Rests | State::Stopping { .. } => {}
        }
    }

    /// The main process was stopped by `signal`. `true` if it was for us.
    pub(super) fn stands_still(&mut self, now: Moment, signal: Signal, out: &mut Vec<Action>) -> bool {
        let State::Stopping { since, .. } = self.keeper.state else {
            // A stop that is told late, after all is over.
            return false;
        };
        if signal != Signal::STOP {
            // Somebody else's stop came first, and ours has gone with it.
            self.keeper.state = State::Rests;
            return false;
        }
        let window = self.policy.sweep.unwrap_or_default().min(STILL);
        self.keeper.state = State::Still { since, until: now.after(window) };
        out.push(Action::Sweep(Occasion::Still { spare: self.keeper.spare_until.is_some() }));
        true
    }

    /// A deadline may have passed.
    pub(super) fn keeper_tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.keeper.state {
            State::Looking { since, until } if now >= until => {
                self.rest_until_next(since, now);
                out.extend([Action::AbandonSweep, Action::Note(Note::SweepOverdue(now.since(since)))]);
            }
            State::Stopping { since, until } | State::Still { since, until } if now >= until => {
                self.release(now, out);
                out.push(Action::Note(Note::SweepOverdue(now.since(since))));
            }
            State::Rests => self.keep(now, out),
            State::Looking { .. } | State::Stopping { .. } | State::Still { .. } => {}
        }
    }

    /// Whoever stands still goes on, because its time is over or something more important has come.
    pub(super) fn release(&mut self, now: Moment, out: &mut Vec<Action>) {
        let since = match self.keeper.state {
            State::Rests | State::Looking { .. } => return,
            State::Stopping { since, .. } => since,
            State::Still { since, .. } => {
                out.push(Action::AbandonSweep);
                since
            }
        };
        self.keeper.state = State::Rests;
        if let Phase::Running { pid } = self.phase {
            out.push(Action::GoOn { pid, stood: now.since(since) });
        }
    }

    /// Nothing of all this goes on any more: another sweep is about to begin.
    pub(super) fn stop_keeping(&mut self, out: &mut Vec<Action>) {
        if matches!(self.keeper.state, State::Looking { .. } | State::Still { .. }) {
            out.push(Action::AbandonSweep);
        }
        self.keeper = Keeper::default();
    }

    fn rest_until_next(&mut self, since: Moment, now: Moment) {
        self.keeper.state = State::Rests;
        self.keeper.not_before = now.after(PAUSE.max(now.since(since).saturating_mul(SHARE)));
    }
}
