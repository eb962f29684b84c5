//! The stop ladder as it runs across the main process's life and the end of what it left behind.

use std::time::Duration;

use super::ladder::{Due, Ladder};
use super::replacement::Purpose;
use super::{Action, Corpse, Note, Origin, Phase, Received, Rung, Supervisor};
use crate::ids::{Canceller, ExitStatus, Moment, Pid, Signal};

/// One Ctrl-C can reach sexton twice: from the terminal, and from a parent (npm, make) that got it too and
/// passes it on. Two stop signals of different origin within this time are one.
const SAME_KEY: Duration = Duration::from_millis(500);

/// A stop signal that was acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LastStop {
    signal: Signal,
    from_kernel: bool,
    at: Moment,
}

impl Supervisor {
    /// What a stop signal would do, TERM if that is one of them.
    pub(super) fn asked_to_stop(&mut self, now: Moment, out: &mut Vec<Action>) {
        let stops = self.policy.stop_signals;
        let signal =
            if stops.contains(Signal::TERM) { None } else { Signal::all().find(|one| stops.contains(*one)) };
        let received = Received { signal: signal.unwrap_or(Signal::TERM), origin: Origin::Process };
        self.signal(now, received, out);
    }

    pub(super) fn climb(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.ladder.due(now) {
            Due::Nothing => {}
            Due::Stragglers => self.next_step(now, out),
            Due::Kill => self.kill(now, out),
            Due::KillAgain(ladder) => {
                self.ladder = ladder;
                out.push(Action::SendToRest(Signal::KILL));
            }
            Due::GiveUp => {
                self.reach(Rung::GivenUp, out);
                match self.phase {
                    Phase::Clearing { corpse, .. } => self.all_gone(now, corpse, out),
                    // The main process itself cannot be killed. Its status is what KILL would have made it.
                    Phase::Running { pid } => {
                        let status = ExitStatus::Signaled { signal: Signal::KILL.number(), core: false };
                        self.down(now, Some(Corpse { pid, status, held: false }), out);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The main process's window is over. Its stop sequence may have another signal for it.
    fn next_step(&mut self, now: Moment, out: &mut Vec<Action>) {
        let next = match self.ladder {
            Ladder::Grace { step, .. } => step.saturating_add(1),
            Ladder::Idle | Ladder::Stragglers { .. } | Ladder::Kill { .. } => usize::MAX,
        };
        match (self.phase, self.policy.stop_sequence.get(next)) {
            (Phase::Running { pid }, Some(&(signal, window))) => {
                self.ladder = Ladder::Grace { until: now.after(window), step: next };
                let group = self.policy.group;
                out.extend([
                    Action::Note(Note::Stopping { signal, grace: window }),
                    Action::Send { pid, group, signal, value: None },
                ]);
            }
            _ => self.stragglers(now, self.policy.stragglers, out),
        }
    }

    /// Enters a rung, and says who is alive there.
    fn reach(&mut self, rung: Rung, out: &mut Vec<Action>) {
        self.abort.reach(rung);
        out.push(Action::ReportAlive(rung));
    }

    pub(super) fn stragglers(&mut self, now: Moment, window: Duration, out: &mut Vec<Action>) {
        self.release(now, out);
        self.ladder = Ladder::Stragglers { until: now.after(window) };
        self.stopped = None;
        // A tool's tree has one window: its grace.
        self.reach(if self.policy.tool.is_some() { Rung::Grace } else { Rung::Stragglers }, out);
        out.push(Action::SendToRest(Signal::TERM));
    }

    pub(super) fn kill(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.release(now, out);
        self.ladder = Ladder::kill(now);
        self.reach(Rung::Kill, out);
        out.push(Action::SendToRest(Signal::KILL));
    }

    pub(super) fn stop(&mut self, now: Moment, pid: Pid, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        let from_kernel = received.origin == Origin::Kernel;
        let same_key = self.last_stop.is_some_and(|last| {
            last.signal == signal && last.from_kernel != from_kernel && now.since(last.at) < SAME_KEY
        });
        if same_key {
            out.push(Action::Note(Note::Dropped(signal)));
            return;
        }
        self.last_stop = Some(LastStop { signal, from_kernel, at: now });
        if matches!(self.purpose, Purpose::Replace { .. }) {
            // Whoever is being replaced is on the ladder already, and now it is for good.
            self.purpose = Purpose::End;
            out.push(Action::Note(Note::EndsInstead(signal)));
            return;
        }
        match self.ladder {
            Ladder::Idle if self.leaving.is_some() => self.hurry_unit(signal, true, out),
            Ladder::Idle if self.policy.tool.is_some() => {
                self.cancel(now, Canceller::Signal(signal.number()), out);
            }
            Ladder::Idle => self.begin_stop(now, pid, received, out),
            // Nobody is there to be impatient: this is the TERM that everybody gets where the parent died.
            Ladder::Stragglers { .. } if self.abort.by_parents_death() => {
                out.push(Action::Note(Note::Dropped(signal)));
            }
            Ladder::Grace { .. } | Ladder::Stragglers { .. } => self.hurry(now, signal, out),
            Ladder::Kill { .. } => out.push(Action::Note(Note::Dropped(signal))),
        }
    }

    /// The first rung: the main process is asked to end.
    pub(super) fn begin_ladder(&mut self, now: Moment, pid: Pid, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        let first = self.policy.stop_sequence.first().copied();
        let grace = first.map_or(self.policy.grace, |(_, window)| window);
        self.ladder = Ladder::Grace { until: now.after(grace), step: 0 };
        out.push(Action::Note(Note::Stopping { signal, grace }));
        match first {
            Some((signal, _)) => {
                out.push(Action::Send { pid, group: self.policy.group, signal, value: None });
            }
            None => self.send(pid, received, out),
        }
        if self.stopped.take().is_some() {
            // A stopped process would sleep through its whole window.
            let group = self.policy.group;
            out.push(Action::Send { pid, group, signal: Signal::CONT, value: None });
        }
        self.reach(Rung::Grace, out);
    }

    pub(super) fn hurry(&mut self, now: Moment, signal: Signal, out: &mut Vec<Action>) {
        out.push(Action::Note(Note::Hurried(signal)));
        match self.ladder {
            Ladder::Grace { .. } => self.next_step(now, out),
            Ladder::Stragglers { .. } => self.kill(now, out),
            Ladder::Idle | Ladder::Kill { .. } => {}
        }
    }
}
