//! The stop ladder as it runs across the main process's life and the end of what it left behind.

use std::time::Duration;

use super::ladder::{AFTER_OTHERS, AT_ONCE, Asked, Due, Ladder};
use super::restart_decision::AfterExit;
use super::{Action, ExitedMain, Note, Origin, Phase, Received, Step, StepAnswer, StopStage, Supervisor};
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
        self.signal(now, self.usual_stop(), out);
    }

    /// TERM, or the first of the stop signals if that is none.
    pub(super) fn usual_stop(&self) -> Received {
        let stops = self.policy.stop_signals;
        let signal =
            if stops.contains(Signal::TERM) { None } else { Signal::all().find(|one| stops.contains(*one)) };
        Received { signal: signal.unwrap_or(Signal::TERM), origin: Origin::Process }
    }

    pub(super) fn advance(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        match self.ladder.due(now) {
            Due::Nothing => {}
            Due::StopSignal => {
                out.push(Action::Note(Note::BeforeStopOverdue));
                self.next_stage(now, out);
            }
            Due::Leftovers => self.next_stage(now, out),
            Due::Kill => self.kill(now, out),
            Due::LookWhetherHeard(next, signal) => {
                self.ladder = next;
                if let Phase::Running { pid } = self.phase {
                    out.push(Action::LookWhetherHeard { main: pid, signal, sent: true });
                }
            }
            Due::Look(next) => {
                self.ladder = next;
                match self.phase {
                    Phase::Running { pid } => out.push(Action::LookForOthers { main: pid }),
                    // The others are not waited for any more.
                    _ => self.look_no_more(),
                }
            }
            Due::KillOthers { next, first } => {
                self.ladder = next;
                self.kill_others(first, out);
            }
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

    /// The main process ignores the signal, or lets it wait. Its process group gets it, where the program is that it
    /// launched.
    pub(super) fn not_heard(&mut self, out: &mut Vec<Action>) {
        if let (Phase::Running { pid }, Ladder::Grace { asked, look, .. }) = (self.phase, &mut self.ladder) {
            asked.group = true;
            *look = None;
            let signal = asked.signal;
            out.push(Action::Note(Note::NotHeard(signal)));
            out.push(Action::Send { pid, group: true, signal, value: None });
        }
    }

    /// The window of the main process, or of the step before, is over. Its stop sequence may have another signal for it.
    fn next_stage(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        if let (Ladder::Before { received, .. }, Phase::Running { pid }) = (self.ladder, self.phase) {
            out.push(Action::EndStep);
            return self.ask_main(now, pid, received, out);
        }
        let next = match self.ladder {
            Ladder::Grace { step, .. } => step.saturating_add(1),
            Ladder::Idle
            | Ladder::Before { .. }
            | Ladder::Drain { .. }
            | Ladder::Leftovers { .. }
            | Ladder::Kill { .. } => usize::MAX,
        };
        match (self.phase, self.policy.stop_sequence.get(next)) {
            (Phase::Running { pid }, Some(&(signal, window))) => {
                let group = self.policy.group;
                let asked = Asked { signal, at: now, group };
                let look = asked.may_be_lost();
                self.ladder = Ladder::grace(asked, window, next, look);
                out.push(Action::Note(Note::Stopping { signal, grace: window }));
                if look {
                    out.push(Action::LookWhetherHeard { main: pid, signal, sent: false });
                }
                out.push(Action::Send { pid, group, signal, value: None });
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
        let until = now.after(window);
        // A tool's deadline is its own.
        let waits = matches!(self.phase, Phase::Running { .. }) && self.policy.tool.is_none();
        self.ladder = if waits { Ladder::leftovers_with_main(now, until) } else { Ladder::leftovers(until) };
        self.stopped = None;
        // A tool's tree has one window: its grace.
        self.report_stage(
            if self.policy.tool.is_some() { StopStage::Grace } else { StopStage::Leftovers },
            out,
        );
        out.push(Action::SignalAll(Signal::TERM));
    }

    fn look_no_more(&mut self) {
        if let Ladder::Leftovers { look, .. } = &mut self.ladder {
            *look = None;
        }
    }

    /// Whether anybody but the main process is left. A main process that was waiting for the others has a moment after
    /// the last of them.
    pub(super) fn others_seen(&mut self, now: MonoTime, alive: bool, out: &mut Vec<Action>) {
        let Ladder::Leftovers { until, look, others } = &mut self.ladder else { return };
        let end = others.map(|seen| seen.after(AFTER_OTHERS)).filter(|end| *end > now);
        match (now >= *until, alive, end) {
            (false, true, _) => *others = Some(now),
            (false, false, None) => *look = None,
            (true, false, Some(end)) => (*until, *look, *others) = (end, None, None),
            (true, ..) => self.kill(now, out),
            (false, false, Some(_)) => {}
        }
    }

    /// What is left when the main process has ended during its window: until when its process group may go on, if the
    /// main process has ended as one that only launches another does.
    ///
    /// A launcher dies of the stop signal, or soon after it with a code that says so, while the program below it has
    /// just begun to drain. One that ends with 0 says that its work is done, and so does one that took its time.
    fn group_may_drain(&self, now: MonoTime, zombie: Option<ExitedMain>) -> Option<MonoTime> {
        let (Ladder::Grace { asked, until, step, .. }, Some(zombie)) = (self.ladder, zombie) else {
            return None;
        };
        let launches = match zombie.status {
            ExitStatus::Signaled { signal, .. } if signal == asked.signal.number() => true,
            ExitStatus::Exited(0) => false,
            ExitStatus::Signaled { .. } | ExitStatus::Exited(_) => now.since(asked.at) <= AT_ONCE,
        };
        let later = self.policy.stop_sequence.iter().skip(step.saturating_add(1));
        let until = later.fold(until, |until, (_, window)| until.after(*window));
        (launches && until > now.after(self.policy.kill_after)).then_some(until)
    }

    /// The main process has ended while the ladder had not come to what it leaves behind.
    pub(super) fn stop_what_is_left(
        &mut self,
        now: MonoTime,
        zombie: Option<ExitedMain>,
        out: &mut Vec<Action>,
    ) {
        let (Some(until), Some(ExitedMain { pid: group, .. })) = (self.group_may_drain(now, zombie), zombie)
        else {
            return self.stop_leftovers(now, self.policy.kill_after, out);
        };
        // Two TERMs make many a program hurry.
        let has_term =
            matches!(self.ladder, Ladder::Grace { asked, .. } if asked.group && asked.signal == Signal::TERM);
        self.release(now, out);
        self.ladder = Ladder::drain(until, now.after(self.policy.kill_after));
        self.stopped = None;
        out.push(Action::Note(Note::Draining { left: until.since(now) }));
        if has_term {
            out.push(Action::ReportOthers { group, stage: StopStage::Leftovers });
            out.push(Action::SignalOthers { group, signal: Signal::TERM });
        } else {
            self.report_stage(StopStage::Leftovers, out);
            out.push(Action::SignalAll(Signal::TERM));
        }
    }

    /// The window of those outside the main process's group is over.
    fn kill_others(&mut self, first: bool, out: &mut Vec<Action>) {
        let Phase::StoppingLeftovers { zombie: Some(ExitedMain { pid: group, .. }), .. } = self.phase else {
            return;
        };
        if first {
            out.push(Action::ReportOthers { group, stage: StopStage::Kill });
        }
        out.push(Action::SignalOthers { group, signal: Signal::KILL });
    }

    /// No process outside the main process's group was left to get KILL.
    pub(super) fn others_gone(&mut self) {
        if let Ladder::Drain { others, .. } = &mut self.ladder {
            *others = None;
        }
    }

    /// No process is left that the window of the main process's group was for. The others can outrun a signal to each
    /// of them, and one to all they cannot.
    pub(super) fn group_gone(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        if matches!(self.ladder, Ladder::Drain { .. }) {
            self.kill(now, out);
        }
    }

    pub(super) fn kill(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        self.release(now, out);
        self.ladder = Ladder::kill(now, self.policy.kill_window);
        self.report_stage(StopStage::Kill, out);
        out.push(Action::SignalAll(Signal::KILL));
    }

    /// Whether this is the key that was acted on a moment ago. If not, it is now what was acted on last.
    pub(super) fn is_same_key(&mut self, now: MonoTime, received: Received) -> bool {
        let signal = received.signal;
        let from_kernel = received.origin.is_kernel();
        let same_key = self.last_stop.is_some_and(|last| {
            last.signal == signal && last.from_kernel != from_kernel && now.since(last.at) < SAME_KEY
        });
        if !same_key {
            self.last_stop = Some(LastStop { signal, from_kernel, at: now });
        }
        same_key
    }

    pub(super) fn stop(&mut self, now: MonoTime, pid: Pid, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        if self.is_same_key(now, received) {
            out.push(Action::Note(Note::Dropped(signal)));
            return;
        }
        if matches!(self.after_exit, AfterExit::Restart { .. }) {
            out.push(Action::Note(Note::RestartCancelled(signal)));
            self.make_final(now, received, out);
            return;
        }
        match self.ladder {
            Ladder::Idle if self.pending_exit_signal.is_some() => self.escalate_unit(signal, true, out),
            Ladder::Idle if self.policy.tool.is_some() => {
                self.cancel(now, CancelledBy::Signal(signal.number()), out);
            }
            Ladder::Idle => self.begin_stop(now, pid, received, out),
            // This is not an impatient operator: it is the TERM that all processes get when the parent has died.
            Ladder::Leftovers { .. } if self.tool.by_parents_death() => {
                out.push(Action::Note(Note::Dropped(signal)));
            }
            Ladder::Before { .. }
            | Ladder::Grace { .. }
            | Ladder::Drain { .. }
            | Ladder::Leftovers { .. } => {
                self.escalate(now, signal, out);
            }
            Ladder::Kill { .. } => out.push(Action::Note(Note::Dropped(signal))),
        }
    }

    /// The first stage: the step before the stop signal, or that signal if there is no step.
    pub(super) fn begin_ladder(
        &mut self,
        now: MonoTime,
        pid: Pid,
        received: Received,
        out: &mut Vec<Action>,
    ) {
        let Some(window) = self.policy.before_stop else {
            return self.ask_main(now, pid, received, out);
        };
        self.ladder = Ladder::Before { received, until: now.after(window) };
        self.wake_main(pid, out);
        out.extend([Action::Note(Note::BeforeStop(window)), Action::RunStep(Step::BeforeStop)]);
    }

    /// The step has ended, or could not be begun. Nothing is left to do if the main process has ended meanwhile.
    pub(super) fn step_ended(&mut self, now: MonoTime, answer: StepAnswer, out: &mut Vec<Action>) {
        match (self.ladder, self.phase) {
            (Ladder::Before { received, .. }, Phase::Running { pid }) => {
                self.ask_main(now, pid, received, out)
            }
            (_, Phase::AskingHandoff { .. }) => self.handoff_answered(answer, out),
            _ => {}
        }
    }

    /// The main process is asked to end.
    fn ask_main(&mut self, now: MonoTime, pid: Pid, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        let first = self.policy.stop_sequence.first().copied();
        let grace = first.map_or(self.policy.grace, |(_, window)| window);
        // Nothing is sent where the operator says so.
        let sent = first.map(|(signal, _)| signal).or_else(|| self.policy.forwarding.rewritten(signal));
        // A key of the terminal is for every process of the job.
        let group = self.policy.group || (first.is_none() && received.origin.is_kernel());
        let asked = Asked { signal: sent.unwrap_or(signal), at: now, group: group && sent.is_some() };
        let look = sent.is_some() && asked.may_be_lost();
        self.ladder = Ladder::grace(asked, grace, 0, look);
        out.push(Action::Note(Note::Stopping { signal, grace }));
        if look {
            out.push(Action::LookWhetherHeard { main: pid, signal: asked.signal, sent: false });
        }
        match first {
            Some((signal, _)) => {
                out.push(Action::Send { pid, group: self.policy.group, signal, value: None });
            }
            None => self.send(pid, received, out),
        }
        self.wake_main(pid, out);
        self.report_stage(StopStage::Grace, out);
    }

    /// A stopped process would sleep through its whole window.
    fn wake_main(&mut self, pid: Pid, out: &mut Vec<Action>) {
        if self.stopped.take().is_some() {
            let group = self.policy.group;
            out.push(Action::Send { pid, group, signal: Signal::CONT, value: None });
        }
    }

    pub(super) fn escalate(&mut self, now: MonoTime, signal: Signal, out: &mut Vec<Action>) {
        out.push(Action::Note(Note::StopEscalated(signal)));
        match self.ladder {
            Ladder::Before { .. } | Ladder::Grace { .. } => self.next_stage(now, out),
            Ladder::Drain { .. } | Ladder::Leftovers { .. } => self.kill(now, out),
            Ladder::Idle | Ladder::Kill { .. } => {}
        }
    }
}
