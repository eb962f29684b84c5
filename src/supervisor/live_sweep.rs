//! Removes locks while the main process runs: scans for orphaned ones, and freezes all processes for the removal.
//!
//! ```text
//!        an orphan died           something waits            all stand still
//! Idle ----------------> Sweeping --------------> Freezing -----------------> Frozen
//!   ^------------------------/  ^--------------------/-------------------------/
//!        nothing waits               they do not: later again     removed: go on
//! ```
//!
//! A lock can be removed safely only while no process can take it over at that very instant: not the gateway, and no
//! tool or worker beside it. So every process below us is stopped for the removal. That is not enough: a process may be
//! stopped half-way in taking a lock over, after it judged the lock stale and before it removes it. So the sweep
//! watches each lock first, and removes only locks that no process has opened within [`SETTLE`].
//!
//! The processes are always continued: when the removal is done, when it takes longer than a second, when the main
//! process dies, when another process stops it, and when the ladder signals all processes. A signal for the main
//! process that comes meanwhile is sent and stays pending in the kernel. A removal that is given up may be inside its
//! last system call. So the processes are not continued before the removing process is dead or [`ENDING`] has passed.
//!
//! The same is done when the main process has died and is to be started again while units live on, because a living
//! unit could take a lock over. The next main process waits until no lock waits for removal, for as long as a sweep may
//! take.
//!
//! A sweep that takes too long is given up, and what waits for it goes on: a filesystem that hangs must not keep a
//! gateway from its start. It has not come to everything, so that another look follows as soon as it is gone. One that
//! hangs in the kernel is not gone: no look is begun beside it, or there would be more and more of them.

use std::time::Duration;

use super::shutdown::UNKNOWN;
use super::{Action, FreezeResult, Note, Phase, Supervisor, SweepSummary, SweepTrigger, earlier, gone};
use crate::types::{MonoTime, Signal};

/// The least time between two looks, and how many times the length of a look it is at least, so that a root
/// that takes long to look through costs no more than a few hundredths of the machine.
const PAUSE: Duration = Duration::from_secs(1);
const SHARE: u32 = 20;
/// While processes run, a lock is removed only if no process has opened it for this long.
const SETTLE: Duration = Duration::from_secs(1);
/// How long it may take until all processes are stopped, and the pause between two checks.
const STOPPING: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_millis(1);
/// How long a removal may take while all processes are frozen.
const STILL: Duration = Duration::from_secs(1);
/// How long the end of a removal that was given up is waited for.
const ENDING: Duration = Duration::from_millis(100);
/// How many times the pause before the next try doubles, from [`PAUSE`] on, where no quiet moment could be
/// made: to about a minute.
const DOUBLINGS: u32 = 6;
/// When roots are looked at again that were missing before the start, or whose locks are to be marked, counted from the
/// start. For the missing the list ends, so that a command that never makes them is left in peace.
const LATER: [Duration; 4] =
    [Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(180), Duration::from_secs(600)];

/// How often locks are marked when that list has ended.
const EVERY: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum State {
    #[default]
    Idle,
    /// A sweep looks, and watches what it has found.
    Sweeping { since: MonoTime, until: MonoTime },
    /// All processes are being stopped; whether they are is checked repeatedly.
    Freezing { since: MonoTime, until: MonoTime, again: MonoTime },
    /// All processes are frozen, and the sweep removes locks.
    Frozen { since: MonoTime, until: MonoTime },
    /// All processes are frozen, and the sweep was given up; its end is awaited.
    Thawing { since: MonoTime, until: MonoTime },
}

/// What is to be done about locks while the main process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct LiveSweep {
    pub(super) state: State,
    /// A process died that may have left a lock.
    pub(super) wanted: bool,
    /// No look begins before this.
    not_before: MonoTime,
    /// Locks that were handed over are the gateway's to find until then.
    pub(super) spare_until: Option<MonoTime>,
    /// When the roots are looked at again without a cause, and how often they were.
    later: Option<(MonoTime, usize)>,
    /// When the main process was started.
    started: MonoTime,
    /// How many tries to make a quiet moment have failed since the last one that did not.
    failures: u32,
    /// A sweep was given up and has not ended yet: no look is begun beside it.
    hanging: bool,
}

impl LiveSweep {
    /// When it wants to be looked at again.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        match self.state {
            State::Sweeping { until, .. } | State::Frozen { until, .. } | State::Thawing { until, .. } => {
                Some(until)
            }
            State::Freezing { until, again, .. } => Some(until.min(again)),
            State::Idle if self.hanging => None,
            State::Idle => {
                let wanted = self.wanted.then_some(self.not_before);
                earlier(wanted, earlier(self.spare_until, self.later.map(|(at, _)| at)))
            }
        }
    }

    /// The main process was started, and this is what the sweep before it found. `later`: the roots are looked at again
    /// without a cause.
    pub(super) fn begin(&mut self, now: MonoTime, found: SweepSummary, window: Duration, later: bool) {
        self.started = now;
        self.spare_until = (found.handed_over > 0).then(|| now.after(window));
        self.later = LATER.first().filter(|_| later).map(|first| (now.after(*first), 0));
    }

    /// Whether the main process is stopped by us, or about to be.
    pub(super) fn is_frozen(&self) -> bool {
        matches!(self.state, State::Freezing { .. } | State::Frozen { .. } | State::Thawing { .. })
    }

    /// What has come due while nothing is being done.
    fn due(&mut self, now: MonoTime, for_ever: bool) {
        if self.spare_until.is_some_and(|until| now >= until) {
            self.spare_until = None;
            self.wanted = true;
        }
        if let Some((_, round)) = self.later.filter(|(at, _)| now >= *at) {
            let next = LATER.get(round + 1).map(|next| self.started.after(*next));
            let next = next.or_else(|| for_ever.then(|| now.after(EVERY)));
            self.later = next.map(|next| (next, round + 1));
            self.wanted = true;
        }
    }
}

impl Supervisor {
    /// Begins a look, if one is wanted and may begin.
    pub(super) fn sweep_if_wanted(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        let (Phase::Running { .. } | Phase::WaitingForSweep { .. }, State::Idle, Some(window), false) =
            (self.phase, self.live_sweep.state, self.policy.sweep, self.live_sweep.hanging)
        else {
            return;
        };
        self.live_sweep.due(now, self.policy.mark_locks);
        if self.live_sweep.wanted && now >= self.live_sweep.not_before {
            self.live_sweep.wanted = false;
            self.request_sweep(now, window);
            let spare = self.live_sweep.spare_until.is_some();
            let gone = match self.phase {
                Phase::WaitingForSweep { zombie, .. } => Some(gone(zombie)),
                _ => None,
            };
            out.push(Action::Sweep(SweepTrigger::Live { spare, settle: SETTLE, gone }));
        }
    }

    /// Starts a sweep, which may take as long as `window`.
    fn request_sweep(&mut self, now: MonoTime, window: Duration) {
        let until = now.after(window);
        let until = match self.phase {
            Phase::WaitingForSweep { until: last, .. } => until.min(last),
            _ => until,
        };
        self.live_sweep.state = State::Sweeping { since: now, until };
    }

    /// The sweep waits for all processes to be frozen, or has finished what they were frozen for.
    pub(super) fn sweep_ready(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        match self.live_sweep.state {
            // A job that a shell or another process has stopped can be continued as a whole at any moment. And when the
            // main process is dead, another sweep comes soon.
            State::Sweeping { .. } if self.stopped.is_some() || !self.is_waiting_for_removal() => {
                self.live_sweep.state = State::Idle;
                self.try_later(now);
                self.abandon_sweep(out);
            }
            State::Sweeping { .. } => {
                self.live_sweep.state =
                    State::Freezing { since: now, until: now.after(STOPPING), again: now.after(AGAIN) };
                out.push(Action::Freeze);
            }
            State::Frozen { since, .. } => {
                self.thaw(since, now, out);
                // Another root may be left.
                self.request_sweep(now, self.policy.sweep.unwrap_or_default());
                out.push(Action::AllowRemoval { still: false });
            }
            State::Idle | State::Freezing { .. } | State::Thawing { .. } => {}
        }
    }

    /// The main process has died, and what follows waits no longer, unless all processes are frozen.
    pub(super) fn settle(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        let (Phase::WaitingForSweep { zombie, .. }, State::Idle) = (self.phase, self.live_sweep.state) else {
            return;
        };
        if self.may_follow() {
            self.finalize(now, zombie, out);
        } else {
            // It is the end by now: there will be a quiet moment, when the units are gone.
            self.all_gone(now, zombie, out);
        }
    }

    /// A sweep has ended while the main process runs.
    pub(super) fn locks_removed(&mut self, now: MonoTime, found: SweepSummary, out: &mut Vec<Action>) {
        if let Phase::WaitingForSweep { .. } = self.phase {
            self.startup_sweep = found;
        }
        match self.live_sweep.state {
            State::Sweeping { since, .. } => {
                // To watch is no work.
                let watched = if found.waiting > 0 { SETTLE } else { Duration::ZERO };
                self.schedule_next(now.since(since).saturating_sub(watched), now);
                if !found.missing && found.failed.is_none() && !self.policy.mark_locks {
                    self.live_sweep.later = None;
                }
            }
            // It has broken off.
            State::Freezing { since, .. } | State::Frozen { since, .. } => self.thaw(since, now, out),
            State::Idle | State::Thawing { .. } => return,
        }
        if let Some(failure) = found.failed {
            let waits = self.waits_on(now, failure);
            self.try_later(now);
            if waits {
                return;
            }
        } else if found.waiting > 0 {
            self.try_later(now);
        } else {
            self.live_sweep.failures = 0;
        }
        self.settle(now, out);
    }

    /// What has become of the request to stand still.
    pub(super) fn on_frozen(&mut self, now: MonoTime, stood: FreezeResult, out: &mut Vec<Action>) {
        let State::Freezing { since, until, .. } = self.live_sweep.state else { return };
        match stood {
            FreezeResult::Still => {
                let window = self.policy.sweep.unwrap_or_default().min(STILL);
                self.live_sweep.state = State::Frozen { since, until: now.after(window) };
                out.push(Action::AllowRemoval { still: true });
            }
            FreezeResult::NotYet => {
                self.live_sweep.state = State::Freezing { since, until, again: now.after(AGAIN) };
            }
            FreezeResult::Cannot => {
                self.release(now, out);
                self.try_later(now);
            }
        }
        self.settle(now, out);
    }

    /// A sweep that was given up has ended at last.
    pub(super) fn sweep_gone(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        self.live_sweep.hanging = false;
        self.live_sweep.wanted |= self.policy.sweep.is_some();
        if let State::Thawing { .. } = self.live_sweep.state {
            self.release(now, out);
        }
        self.sweep_if_wanted(now, out);
    }

    /// The main process was stopped by `signal`. `true` if that is dealt with: it was for us.
    pub(super) fn stopped_by_freeze(&mut self, now: MonoTime, signal: Signal, out: &mut Vec<Action>) -> bool {
        let Phase::Running { pid } = self.phase else { return false };
        if !self.live_sweep.is_frozen() {
            return false;
        }
        if signal != Signal::STOP {
            // Another stop came first. It counts, and comes again when all processes are continued: a key is passed on
            // once more, and a process that waits for the terminal asks again by itself.
            self.release(now, out);
            self.try_later(now);
            if signal == Signal::TSTP {
                out.push(Action::Send { pid, group: true, signal, value: None });
            }
        }
        true
    }

    fn is_waiting_for_removal(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::WaitingForSweep { .. })
    }

    /// A deadline may have passed.
    pub(super) fn live_sweep_tick(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        if let (Phase::WaitingForSweep { until, .. }, State::Idle) = (self.phase, self.live_sweep.state)
            && now >= until
        {
            self.startup_sweep = UNKNOWN;
            out.push(Action::Note(Note::SweepOverdue(self.policy.sweep.unwrap_or_default())));
            self.settle(now, out);
            return;
        }
        match self.live_sweep.state {
            State::Sweeping { since, until } if now >= until => {
                self.schedule_next(now.since(since), now);
                self.abandon_sweep(out);
                out.push(Action::Note(Note::SweepOverdue(now.since(since))));
                if let Phase::WaitingForSweep { .. } = self.phase {
                    self.startup_sweep = UNKNOWN;
                }
                self.settle(now, out);
            }
            State::Freezing { since, until, .. } if now >= until => {
                out.push(Action::Note(Note::FreezeFailed(now.since(since))));
                self.release(now, out);
                self.try_later(now);
            }
            State::Freezing { again, .. } if now >= again => out.push(Action::Freeze),
            State::Frozen { since, until } if now >= until => {
                self.live_sweep.state = State::Thawing { since, until: now.after(ENDING) };
                self.try_later(now);
                self.abandon_sweep(out);
                out.push(Action::Note(Note::SweepOverdue(now.since(since))));
            }
            State::Thawing { until, .. } if now >= until => self.release(now, out),
            State::Idle => self.sweep_if_wanted(now, out),
            State::Sweeping { .. }
            | State::Freezing { .. }
            | State::Frozen { .. }
            | State::Thawing { .. } => {}
        }
    }

    /// Continues the frozen processes, because the time is over or something more important has come.
    pub(super) fn release(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        let since = match self.live_sweep.state {
            State::Idle | State::Sweeping { .. } => return,
            State::Thawing { since, .. } => since,
            State::Freezing { since, .. } | State::Frozen { since, .. } => {
                self.abandon_sweep(out);
                since
            }
        };
        self.thaw(since, now, out);
    }

    fn thaw(&mut self, since: MonoTime, now: MonoTime, out: &mut Vec<Action>) {
        self.schedule_next(now.since(since), now);
        out.push(Action::Thaw { stood: now.since(since) });
    }

    /// Nothing of all this goes on any more: another sweep is about to begin.
    pub(super) fn stop_live_sweep(&mut self, out: &mut Vec<Action>) {
        if let State::Sweeping { .. } = self.live_sweep.state {
            self.abandon_sweep(out);
        }
        self.forget();
    }

    /// What there was to do has no meaning any more.
    pub(super) fn forget(&mut self) {
        self.live_sweep = LiveSweep { hanging: self.live_sweep.hanging, ..LiveSweep::default() };
    }

    pub(super) fn abandon_sweep(&mut self, out: &mut Vec<Action>) {
        self.live_sweep.hanging = true;
        out.push(Action::AbandonSweep);
    }

    /// No quiet moment could be made, or it did not last: something waits, and is looked at again later.
    fn try_later(&mut self, now: MonoTime) {
        let pause = PAUSE.saturating_mul(2_u32.saturating_pow(self.live_sweep.failures.min(DOUBLINGS)));
        self.live_sweep.failures = self.live_sweep.failures.saturating_add(1);
        self.live_sweep.wanted = true;
        self.pause_after(pause, now);
    }

    fn schedule_next(&mut self, work: Duration, now: MonoTime) {
        self.live_sweep.state = State::Idle;
        self.pause_after(PAUSE.max(work.saturating_mul(SHARE)), now);
    }

    fn pause_after(&mut self, pause: Duration, now: MonoTime) {
        self.live_sweep.not_before = match self.phase {
            // The next main process waits, and only units work.
            Phase::WaitingForSweep { until, .. } => now.after(PAUSE).min(until),
            _ => self.live_sweep.not_before.max(now.after(pause)),
        };
    }
}
