//! The stop ladder as it runs across the main process's life and the end of what it left behind.

use std::time::Duration;

use super::ladder::{Due, Ladder};
use super::restart_decision::AfterExit;
use super::{Action, ExitedMain, Note, Origin, Phase, Received, StopStage, Supervisor};
use crate::types::{CancelledBy, ExitStatus, MonoTime, Pid, Signal};

/// One Ctrl-C can reach sexton twice: from the terminal, and from a parent (npm, make) that got it too and
/// passes it on. Two stop signals of different origin within this time are one.
const SAME_KEY: Duration = Duration::from_millis(500);

/// A stop signal that was acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LastStop {
    signal: Signal,
    from_kernel: bool,
    at: MonoTime,
}

impl Supervisor {
    /// What a stop signal would do, TERM if that is one of them.
    pub(super) fn asked_to_stop(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        let stops = self.policy.stop_signals;
        let signal =
            if stops.contains(Signal::TERM) { None } else { Signal::all().find(|one| stops.contains(*one)) };
        let received = Received { signal: signal.unwrap_or(Signal::TERM), origin: Origin::Process };
        self.signal(now, received, out);
    }

    pub(super) fn advance(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        match self.ladder.due(now) {
            Due::Nothing => {}
            Due::Leftovers => self.next_stage(now, out),
            Due::Kill => self.kill(now, out),
            Due::KillAgain(ladder) => {
                self.ladder = ladder;
                out.push(Action::SignalAll(Signal::KILL));
            }
            Due::GiveUp => {
                self.report_stage(StopStage::Unkillable, out);
                match self.phase {
                    Phase::StoppingLeftovers { zombie, .. } => self.all_gone(now, zombie, out),
                    // The main process itself cannot be killed. Its status is what KILL would have made it.
                    Phase::Running { pid } => {
                        let status = ExitStatus::Signaled { signal: Signal::KILL.number(), core: false };
                        self.enter_shutdown(now, Some(ExitedMain { pid, status, held: false }), out);
                    }
                    _ => {}
                }
            }
        }
    }

    /// The main process's window is over. Its stop sequence may have another signal for it.
    fn next_stage(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        let next = match self.ladder {
            Ladder::Grace { step, .. } => step.saturating_add(1),
            Ladder::Idle | Ladder::Leftovers { .. } | Ladder::Kill { .. } => usize::MAX,
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
            _ => self.stop_leftovers(now, self.policy.kill_after, out),
        }
    }

    /// Enters a stage, and says who is alive there.
    fn report_stage(&mut self, stage: StopStage, out: &mut Vec<Action>) {
        self.tool.reach(stage);
        out.push(Action::ReportAlive(stage));
    }

    pub(super) fn stop_leftovers(&mut self, now: MonoTime, window: Duration, out: &mut Vec<Action>) {
        self.release(now, out);
        self.ladder = Ladder::Leftovers { until: now.after(window) };
        self.stopped = None;
        // A tool's tree has one window: its grace.
        self.report_stage(
            if self.policy.tool.is_some() { StopStage::Grace } else { StopStage::Leftovers },
            out,
        );
        out.push(Action::SignalAll(Signal::TERM));
    }

    pub(super) fn kill(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        self.release(now, out);
        self.ladder = Ladder::kill(now);
        self.report_stage(StopStage::Kill, out);
        out.push(Action::SignalAll(Signal::KILL));
    }

    pub(super) fn stop(&mut self, now: MonoTime, pid: Pid, received: Received, out: &mut Vec<Action>) {
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
        if matches!(self.after_exit, AfterExit::Restart { .. }) {
            // Whoever is being replaced is on the ladder already, and now it is for good.
            self.after_exit = AfterExit::Shutdown;
            out.push(Action::Note(Note::RestartCancelled(signal)));
            return;
        }
        match self.ladder {
            Ladder::Idle if self.pending_exit_signal.is_some() => self.escalate_unit(signal, true, out),
            Ladder::Idle if self.policy.tool.is_some() => {
                self.cancel(now, CancelledBy::Signal(signal.number()), out);
            }
            Ladder::Idle => self.begin_stop(now, pid, received, out),
            // Nobody is there to be impatient: this is the TERM that everybody gets where the parent died.
            Ladder::Leftovers { .. } if self.tool.by_parents_death() => {
                out.push(Action::Note(Note::Dropped(signal)));
            }
            Ladder::Grace { .. } | Ladder::Leftovers { .. } => self.escalate(now, signal, out),
            Ladder::Kill { .. } => out.push(Action::Note(Note::Dropped(signal))),
        }
    }

    /// The first stage: the main process is asked to end.
    pub(super) fn begin_ladder(
        &mut self,
        now: MonoTime,
        pid: Pid,
        received: Received,
        out: &mut Vec<Action>,
    ) {
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
        self.report_stage(StopStage::Grace, out);
    }

    pub(super) fn escalate(&mut self, now: MonoTime, signal: Signal, out: &mut Vec<Action>) {
        out.push(Action::Note(Note::StopEscalated(signal)));
        match self.ladder {
            Ladder::Grace { .. } => self.next_stage(now, out),
            Ladder::Leftovers { .. } => self.kill(now, out),
            Ladder::Idle | Ladder::Kill { .. } => {}
        }
    }
}
