//! What a signal that reached sexton means, and who has the terminal.

use super::ladder::Ladder;
use super::restart_decision::AfterExit;
use super::sd_notify::Notifier;
use super::{Action, Note, Origin, Phase, Received, Supervisor, Terminal};
use crate::types::{CancelledBy, MonoTime, Pid, Signal};

/// How many signals can wait for the start. Standard signals coalesce in the kernel, so that only a flood of
/// real-time ones can pass it.
pub(super) const PENDING_LIMIT: usize = 1024;

impl Supervisor {
    pub(super) fn signal(&mut self, now: MonoTime, received: Received, out: &mut Vec<Action>) {
        let Some(received) = self.hang_up(received) else {
            out.push(Action::Note(Note::Dropped(received.signal)));
            return;
        };
        let signal = received.signal;
        let stops = self.stops(received);
        // dumb-init stops itself for these whatever the other session is to get.
        let suspends = self.policy.session && is_job_control(signal);
        if self.policy.forwarding.rewritten(signal).is_none() && !suspends {
            out.push(Action::Note(Note::SignalIgnored(signal)));
            return;
        }
        let followed = self.may_follow();
        if stops && matches!(self.phase, Phase::StoppingLeftovers { .. }) {
            self.after_exit = AfterExit::Shutdown;
        }
        match self.phase {
            Phase::ForkRetry { .. } if stops && self.policy.tool.is_some() => {
                self.cancel(now, CancelledBy::Signal(signal.number()), out);
            }
            Phase::New
            | Phase::FirstSweep { .. }
            | Phase::UnitsUp
            | Phase::Starting { .. }
            | Phase::ForkRetry { .. } => {
                if self.pending.len() < PENDING_LIMIT {
                    self.pending.push(received);
                    out.push(Action::Note(Note::SignalQueued(signal)));
                } else {
                    out.push(Action::Note(Note::Dropped(signal)));
                }
            }
            Phase::Running { pid } => match self.policy.forwarding.delay(signal) {
                // Asked for twice, it is wanted now.
                Some(_) if self.delayed.take(signal).is_some() => self.deliver(now, pid, received, out),
                // A ladder that has begun is not held up.
                Some(window) if !stops || self.ladder == Ladder::Idle => {
                    self.delayed.push(now.after(window), received);
                    out.push(Action::Note(Note::Delayed(signal, window)));
                }
                _ => self.deliver(now, pid, received, out),
            },
            // It was to be started again: not any more.
            Phase::StoppingLeftovers { .. } if stops && followed => {
                out.push(Action::Note(Note::RestartCancelled(signal)));
            }
            // What lives on has no main process above it: the stop is theirs, with its whole window.
            Phase::StoppingLeftovers { .. } if stops && self.tool.by_parents_death() => {
                out.push(Action::Note(Note::Dropped(signal)));
            }
            Phase::StoppingLeftovers { .. }
                if stops && self.policy.wait_all && self.ladder == Ladder::Idle =>
            {
                self.tool.note(CancelledBy::Signal(signal.number()).into());
                self.stop_leftovers(now, self.policy.grace, out);
            }
            Phase::StoppingLeftovers { .. }
                if stops && matches!(self.ladder, Ladder::Drain { .. } | Ladder::Leftovers { .. }) =>
            {
                // What npm passes on may still be on its way when the main process has died of the key itself.
                if self.is_same_key(now, received) {
                    out.push(Action::Note(Note::Dropped(signal)));
                } else {
                    self.escalate(now, signal, out);
                }
            }
            Phase::AskingHandoff { .. } if stops => {
                self.cancel_handoff(out);
                // What may live on without a stop is asked to end by one.
                if self.policy.wait_all {
                    self.stop_leftovers(now, self.policy.grace, out);
                }
            }
            Phase::UnitsDown { .. } if stops => self.escalate_unit(signal, false, out),
            Phase::RestartDelay { .. } if stops => self.shutdown(now, out),
            Phase::WaitingForSweep { .. } | Phase::LastSweep { .. } if stops => {
                out.push(Action::Note(Note::Dropped(signal)));
                self.shutdown(now, out);
            }
            Phase::AskingHandoff { .. }
            | Phase::StoppingLeftovers { .. }
            | Phase::UnitsDown { .. }
            | Phase::WaitingForSweep { .. }
            | Phase::LastSweep { .. }
            | Phase::RestartDelay { .. }
            | Phase::Exited => {
                out.push(Action::Note(Note::Dropped(signal)));
            }
        }
    }

    /// A terminal that is gone is a stop, whatever else a HUP means. It goes once, and a shell tells of it as well as
    /// the kernel: `None` for what says it again. What the main process ignores asks it for nothing, so that it gets
    /// the usual stop signal instead.
    fn hang_up(&mut self, received: Received) -> Option<Received> {
        let Origin::TerminalGone { ignored } = received.origin else {
            return Some(received);
        };
        // One that waits for the start comes here again.
        let waits = matches!(
            self.phase,
            Phase::New
                | Phase::FirstSweep { .. }
                | Phase::UnitsUp
                | Phase::Starting { .. }
                | Phase::ForkRetry { .. }
        );
        if waits {
            return Some(received);
        }
        if std::mem::replace(&mut self.terminal_gone, true) {
            return None;
        }
        let as_it_is = self.policy.forwarding.rewritten(received.signal) == Some(received.signal);
        let usual = ignored && as_it_is && self.policy.tool.is_none();
        Some(if usual { self.usual_stop() } else { received })
    }

    /// Whether this one starts the ladder, or moves it on.
    fn stops(&self, received: Received) -> bool {
        matches!(received.origin, Origin::TerminalGone { .. }) || self.policy.is_stop(received.signal)
    }

    /// The signal's time has come.
    pub(super) fn deliver(&mut self, now: MonoTime, pid: Pid, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        if signal == Signal::HUP && !matches!(received.origin, Origin::TerminalGone { .. }) {
            self.update_notifier(Notifier::asked_to_reload);
        }
        if self.is_shell_interrupt(received) {
            self.send(pid, received, out);
        } else if self.stops(received) {
            self.stop(now, pid, received, out);
        } else if signal == Signal::CONT && self.live_sweep.is_frozen() {
            // It goes on in a moment anyway, and must not do so now.
            out.push(Action::Note(Note::Dropped(signal)));
        } else if signal == Signal::CONT && self.stopped.is_some() {
            self.resume(pid, out);
        } else if self.policy.session && is_job_control(signal) {
            // No key of our terminal reaches the other session, and no stop of it reaches our shell.
            self.send(pid, received, out);
            out.push(Action::StopSelf);
        } else {
            self.send(pid, received, out);
        }
    }

    pub(super) fn send(&self, pid: Pid, received: Received, out: &mut Vec<Action>) {
        let value = match received.origin {
            Origin::Queue(value) => Some(value),
            Origin::Kernel | Origin::TerminalGone { .. } | Origin::Process => None,
        };
        let Some(signal) = self.policy.forwarding.rewritten(received.signal) else {
            return;
        };
        // What the terminal makes, such as Ctrl-C, is for every process of the job, as below a shell: bash does not
        // end at an interrupt that the command it waits for did not get.
        let group = self.policy.group || received.origin.is_kernel();
        out.push(Action::Send { pid, group, signal, value });
        out.push(Action::Note(Note::Forwarded(signal)));
    }

    /// sexton came back from a Ctrl-Z. A job that waits for the terminal goes on waiting: only a CONT, which
    /// the shell sends when it calls the job forward, says that it is time.
    pub(super) fn resumed(&mut self, out: &mut Vec<Action>) {
        if let (Phase::Running { pid }, Some(Signal::TSTP)) = (self.phase, self.stopped) {
            self.resume(pid, out);
        }
    }

    /// The whole group goes on, and has the terminal again if it had it before.
    fn resume(&mut self, pid: Pid, out: &mut Vec<Action>) {
        self.stopped = None;
        if self.gave_terminal {
            out.push(Action::GiveTerminal(pid));
        }
        out.push(Action::Send { pid, group: true, signal: Signal::CONT, value: None });
    }

    pub(super) fn main_stopped(&mut self, signal: Signal, terminal: Terminal, out: &mut Vec<Action>) {
        let Phase::Running { pid } = self.phase else {
            return;
        };
        let go_on = Action::Send { pid, group: true, signal: Signal::CONT, value: None };
        let wants_terminal = signal == Signal::TTIN || signal == Signal::TTOU;
        match terminal {
            // It was stopped for touching the terminal, which is ours to give.
            Terminal::Ours if wants_terminal => {
                self.gave_terminal = true;
                out.extend([Action::GiveTerminal(pid), go_on]);
            }
            Terminal::Main if wants_terminal => out.push(go_on),
            // As init there is no shell above that would ever resume us.
            Terminal::Ours | Terminal::Main if signal == Signal::TSTP && self.policy.init => out.push(go_on),
            Terminal::Ours | Terminal::Main if signal == Signal::TSTP => {
                self.stopped = Some(signal);
                out.push(Action::Suspend(signal));
            }
            // The job is in the background: it waits as a whole until the shell calls it forward.
            Terminal::Others if wants_terminal => {
                self.stopped = Some(signal);
                self.gave_terminal = true;
                // A sexton above us is to learn that the terminal is wanted, and gives it to us then.
                out.push(Action::Suspend(signal));
            }
            Terminal::None | Terminal::Ours | Terminal::Main | Terminal::Others => {
                self.stopped = Some(signal)
            }
        }
    }
}

/// What stops a process unless it catches it.
fn is_job_control(signal: Signal) -> bool {
    matches!(signal, Signal::TSTP | Signal::TTIN | Signal::TTOU)
}
