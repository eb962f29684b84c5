//! Locks while the main process runs: looking, and making a quiet moment for the removal.
//!
//! ```text
//!        an orphan died           something waits            all stand still
//! Rests ----------------> Looking --------------> Stopping -----------------> Still
//!   ^------------------------/  ^--------------------/-------------------------/
//!        nothing waits               they do not: later again     removed: go on
//! ```
//!
//! A lock can be removed safely only while nobody can take it over at that very instant: not the gateway, and
//! not a tool or a worker beside it. So everybody below us is stopped for the removal. And nobody may have
//! stopped half-way in taking it over, between the judgement on the stale lock and its removal: so the sweep has
//! watched each lock before, and removes none that anybody has opened within [`SETTLE`].
//!
//! They go on whatever happens: when the removal is done, when it takes longer than a second, when the main
//! process dies, when somebody else stops it, and when the ladder reaches everybody. A signal for the main
//! process that comes meanwhile is sent and waits in the kernel. A removal that is given up may be inside its
//! last system call: nobody goes on before it is dead, or [`ENDING`] has passed.
//!
//! The same is done when the main process has died and is to be started again while units live on: whoever
//! lives could take a lock over. Its successor waits until no lock does, for as long as a sweep may take.
//!
//! A sweep that takes too long is given up, and what waits for it goes on: a filesystem that hangs must not keep a
//! gateway from its start. It has not come to everything, so that another look follows as soon as it is gone. One that
//! hangs in the kernel is not gone: no look is begun beside it, or there would be more and more of them.

use std::time::Duration;

use super::end::UNKNOWN;
use super::{Action, Note, Occasion, Phase, Stood, Supervisor, Tally, earlier, gone};
use crate::ids::{Moment, Signal};

/// The least time between two looks, and how many times the length of a look it is at least, so that a root
/// that takes long to look through costs no more than a few hundredths of the machine.
const PAUSE: Duration = Duration::from_secs(1);
const SHARE: u32 = 20;
/// How long nobody must have opened a lock that is removed beside the living.
const SETTLE: Duration = Duration::from_secs(1);
/// How long it may take until everybody stands still, and the pause between two looks at whether they do.
const STOPPING: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_millis(1);
/// How long a removal may take while everybody stands still.
const STILL: Duration = Duration::from_secs(1);
/// How long the end of a removal that was given up is waited for.
const ENDING: Duration = Duration::from_millis(100);
/// How many times the pause before the next try doubles, from [`PAUSE`] on, where no quiet moment could be
/// made: to about a minute.
const DOUBLINGS: u32 = 6;
/// When roots that were missing before the start are looked for again, counted from the start. The list ends,
/// so that a command that never makes them is left in peace.
const LATER: [Duration; 4] =
    [Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(180), Duration::from_secs(600)];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum State {
    #[default]
    Rests,
    /// A sweep looks, and watches what it has found.
    Looking { since: Moment, until: Moment },
    /// Everybody is being stopped; whether they stand still is looked at again and again.
    Stopping { since: Moment, until: Moment, again: Moment },
    /// Everybody stands still, and the sweep removes.
    Still { since: Moment, until: Moment },
    /// Everybody stands still, and the sweep was given up; its end is waited for.
    Ending { since: Moment, until: Moment },
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
    /// How many tries to make a quiet moment have failed since the last one that did not.
    failures: u32,
    /// A sweep was given up and has not ended yet: no look is begun beside it.
    hanging: bool,
}

impl Keeper {
    /// When it wants to be looked at again.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Looking { until, .. } | State::Still { until, .. } | State::Ending { until, .. } => {
                Some(until)
            }
            State::Stopping { until, again, .. } => Some(until.min(again)),
            State::Rests if self.hanging => None,
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
        matches!(self.state, State::Stopping { .. } | State::Still { .. } | State::Ending { .. })
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
        let (Phase::Running { .. } | Phase::Settling { .. }, State::Rests, Some(window), false) =
            (self.phase, self.keeper.state, self.policy.sweep, self.keeper.hanging)
        else {
            return;
        };
        self.keeper.due(now);
        if self.keeper.wanted && now >= self.keeper.not_before {
            self.keeper.wanted = false;
            self.look(now, window);
            let spare = self.keeper.spare_until.is_some();
            let gone = match self.phase {
                Phase::Settling { corpse, .. } => Some(gone(corpse)),
                _ => None,
            };
            out.push(Action::Sweep(Occasion::Beside { spare, settle: SETTLE, gone }));
        }
    }

    /// A sweep looks, for no longer than whoever waits for it.
    fn look(&mut self, now: Moment, window: Duration) {
        let until = now.after(window);
        let until = match self.phase {
            Phase::Settling { until: last, .. } => until.min(last),
            _ => until,
        };
        self.keeper.state = State::Looking { since: now, until };
    }

    /// The sweep waits for everybody to stand still, or has done what they stood still for.
    pub(super) fn sweep_ready(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.keeper.state {
            // A job that somebody has stopped is called forward as a whole, at any moment; and when the main
            // process is dead, another sweep comes soon.
            State::Looking { .. } if self.stopped.is_some() || !self.is_kept() => {
                self.keeper.state = State::Rests;
                self.try_later(now);
                self.abandon_sweep(out);
            }
            State::Looking { .. } => {
                self.keeper.state =
                    State::Stopping { since: now, until: now.after(STOPPING), again: now.after(AGAIN) };
                out.push(Action::StandStill);
            }
            State::Still { since, .. } => {
                self.let_go(since, now, out);
                // Another root may be left.
                self.look(now, self.policy.sweep.unwrap_or_default());
                out.push(Action::Proceed { still: false });
            }
            State::Rests | State::Stopping { .. } | State::Ending { .. } => {}
        }
    }

    /// The main process has died, and what comes after it waits no longer, unless everybody stands still.
    pub(super) fn settle(&mut self, now: Moment, out: &mut Vec<Action>) {
        let (Phase::Settling { corpse, .. }, State::Rests) = (self.phase, self.keeper.state) else { return };
        if self.may_follow() {
            self.finish(now, corpse, out);
        } else {
            // It is the end by now: there will be a quiet moment, when the units are gone.
            self.all_gone(now, corpse, out);
        }
    }

    /// A sweep has ended while the main process runs.
    pub(super) fn kept(&mut self, now: Moment, found: Tally, out: &mut Vec<Action>) {
        if let Phase::Settling { .. } = self.phase {
            self.found_first = found;
        }
        match self.keeper.state {
            State::Looking { since, .. } => {
                // To watch is no work.
                let watched = if found.waiting > 0 { SETTLE } else { Duration::ZERO };
                self.rest_until_next(now.since(since).saturating_sub(watched), now);
                if !found.missing {
                    self.keeper.later = None;
                }
            }
            // It has broken off.
            State::Stopping { since, .. } | State::Still { since, .. } => self.let_go(since, now, out),
            State::Rests | State::Ending { .. } => return,
        }
        if found.waiting > 0 {
            self.try_later(now);
        } else {
            self.keeper.failures = 0;
        }
        self.settle(now, out);
    }

    /// What has become of the request to stand still.
    pub(super) fn stood(&mut self, now: Moment, stood: Stood, out: &mut Vec<Action>) {
        let State::Stopping { since, until, .. } = self.keeper.state else { return };
        match stood {
            Stood::Still => {
                let window = self.policy.sweep.unwrap_or_default().min(STILL);
                self.keeper.state = State::Still { since, until: now.after(window) };
                out.push(Action::Proceed { still: true });
            }
            Stood::NotYet => {
                self.keeper.state = State::Stopping { since, until, again: now.after(AGAIN) };
            }
            Stood::Cannot => {
                self.release(now, out);
                self.try_later(now);
            }
        }
        self.settle(now, out);
    }

    /// A sweep that was given up has ended at last.
    pub(super) fn sweep_gone(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.keeper.hanging = false;
        self.keeper.wanted |= self.policy.sweep.is_some();
        if let State::Ending { .. } = self.keeper.state {
            self.release(now, out);
        }
        self.keep(now, out);
    }

    /// The main process was stopped by `signal`. `true` if that is dealt with: it was for us.
    pub(super) fn stopped_for_us(&mut self, now: Moment, signal: Signal, out: &mut Vec<Action>) -> bool {
        let Phase::Running { pid } = self.phase else { return false };
        if !self.keeper.holds_still() {
            return false;
        }
        if signal != Signal::STOP {
            // Somebody else's stop came first. It counts, and comes again when all go on: a key is passed on
            // once more, and who waits for the terminal asks again by itself.
            self.release(now, out);
            self.try_later(now);
            if signal == Signal::TSTP {
                out.push(Action::Send { pid, group: true, signal, value: None });
            }
        }
        true
    }

    fn is_kept(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::Settling { .. })
    }

    /// A deadline may have passed.
    pub(super) fn keeper_tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        if let (Phase::Settling { until, .. }, State::Rests) = (self.phase, self.keeper.state)
            && now >= until
        {
            self.found_first = UNKNOWN;
            out.push(Action::Note(Note::SweepOverdue(self.policy.sweep.unwrap_or_default())));
            self.settle(now, out);
            return;
        }
        match self.keeper.state {
            State::Looking { since, until } if now >= until => {
                self.rest_until_next(now.since(since), now);
                self.abandon_sweep(out);
                out.push(Action::Note(Note::SweepOverdue(now.since(since))));
                if let Phase::Settling { .. } = self.phase {
                    self.found_first = UNKNOWN;
                }
                self.settle(now, out);
            }
            State::Stopping { since, until, .. } if now >= until => {
                out.push(Action::Note(Note::NotStill(now.since(since))));
                self.release(now, out);
                self.try_later(now);
            }
            State::Stopping { again, .. } if now >= again => out.push(Action::StandStill),
            State::Still { since, until } if now >= until => {
                self.keeper.state = State::Ending { since, until: now.after(ENDING) };
                self.try_later(now);
                self.abandon_sweep(out);
                out.push(Action::Note(Note::SweepOverdue(now.since(since))));
            }
            State::Ending { until, .. } if now >= until => self.release(now, out),
            State::Rests => self.keep(now, out),
            State::Looking { .. } | State::Stopping { .. } | State::Still { .. } | State::Ending { .. } => {}
        }
    }

    /// Whoever stands still goes on, because the time is over or something more important has come.
    pub(super) fn release(&mut self, now: Moment, out: &mut Vec<Action>) {
        let since = match self.keeper.state {
            State::Rests | State::Looking { .. } => return,
            State::Ending { since, .. } => since,
            State::Stopping { since, .. } | State::Still { since, .. } => {
                self.abandon_sweep(out);
                since
            }
        };
        self.let_go(since, now, out);
    }

    fn let_go(&mut self, since: Moment, now: Moment, out: &mut Vec<Action>) {
        self.rest_until_next(now.since(since), now);
        out.push(Action::GoOn { stood: now.since(since) });
    }

    /// Nothing of all this goes on any more: another sweep is about to begin.
    pub(super) fn stop_keeping(&mut self, out: &mut Vec<Action>) {
        if let State::Looking { .. } = self.keeper.state {
            self.abandon_sweep(out);
        }
        self.forget();
    }

    /// What there was to do has no meaning any more.
    pub(super) fn forget(&mut self) {
        self.keeper = Keeper { hanging: self.keeper.hanging, ..Keeper::default() };
    }

    pub(super) fn abandon_sweep(&mut self, out: &mut Vec<Action>) {
        self.keeper.hanging = true;
        out.push(Action::AbandonSweep);
    }

    /// No quiet moment could be made, or it did not last: something waits, and is looked at again later.
    fn try_later(&mut self, now: Moment) {
        let pause = PAUSE.saturating_mul(2_u32.saturating_pow(self.keeper.failures.min(DOUBLINGS)));
        self.keeper.failures = self.keeper.failures.saturating_add(1);
        self.keeper.wanted = true;
        self.rest_for(pause, now);
    }

    fn rest_until_next(&mut self, work: Duration, now: Moment) {
        self.keeper.state = State::Rests;
        self.rest_for(PAUSE.max(work.saturating_mul(SHARE)), now);
    }

    fn rest_for(&mut self, pause: Duration, now: Moment) {
        self.keeper.not_before = match self.phase {
            // A successor waits, and nobody works but units.
            Phase::Settling { until, .. } => now.after(PAUSE).min(until),
            _ => self.keeper.not_before.max(now.after(pause)),
        };
    }
}
