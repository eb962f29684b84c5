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
//! While it is `Running`, the keeper sees to the locks that orphans leave behind; it may stop the main process
//! for the blink of an eye, and always lets it go on.
//!
//! The ladder (see [`Policy`] for the windows) runs across `Running` and `Clearing`:
//!
//! ```text
//!            stop signal            window over, or again         window over, or again
//! Idle ---------------------> Grace --------------------> Stragglers -----------------> Kill
//!   \---- main died, and something is left: straight to Stragglers ----^
//! ```

#![forbid(unsafe_code)]

mod action;
mod event;
mod forwarding;
mod keeper;
mod ladder;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use action::{Action, Note, Occasion, Outcome, Rung};
pub use event::{Event, Origin, Received, Rest, Tally, Terminal};
pub use forwarding::Forwarding;

use crate::ids::{Errno, ExitStatus, Moment, Pid, Signal, SignalSet, Stage};
use forwarding::Held;
use keeper::Keeper;
use ladder::{Due, Ladder};

/// How many signals can wait for the start. Standard signals coalesce in the kernel, so that only a flood of
/// real-time ones can pass it.
const PENDING_LIMIT: usize = 1024;

/// One Ctrl-C can reach sexton twice: from the terminal, and from a parent (npm, make) that got it too and
/// passes it on. Two stop signals of different origin within this time are one.
const SAME_KEY: Duration = Duration::from_millis(500);

/// How often processes whose deaths nobody tells us are looked for.
const RECOUNT: Duration = Duration::from_millis(25);

/// The failure that may pass: a limit on processes is reached (fork(2), EAGAIN; 11 on every Linux).
const NO_PROCESS: (Stage, Errno) = (Stage::Fork, Errno(11));
/// How often the start is tried again then, and the first pause, which doubles: about three seconds in all.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What the operator asked for, and what was found out before the start.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The main process's window after a stop signal.
    pub grace: Duration,
    /// The window of everything that is left, after TERM.
    pub stragglers: Duration,
    /// Whether signals go to the main process's whole group.
    pub group: bool,
    /// The signals that start the ladder.
    pub stop_signals: SignalSet,
    /// What becomes of a signal on its way.
    pub forwarding: Forwarding,
    /// What the main process gets when it is to stop, and the window of each, in the place of the signal
    /// that came and of `grace`. Empty if that is enough.
    pub stop_sequence: Vec<(Signal, Duration)>,
    /// Whether what the main process leaves behind may live on, and is waited for.
    pub wait_all: bool,
    /// Whether the main process has a session of its own, where no key of our terminal reaches it.
    pub session: bool,
    /// Whether locks are swept, and how long a sweep may take.
    pub sweep: Option<Duration>,
    /// How long a lock that was handed over is left for the starting gateway to find; `None` if none ever is.
    pub hand_over: Option<Duration>,
    /// Whether lock roots that are missing at the start are looked for later.
    pub look_later: bool,
    /// Whether a zombie can be held while others are reaped; it takes a readable /proc.
    pub can_hold: bool,
    /// Whether sexton is the init of its pid namespace, so that nobody could resume it after a stop.
    pub init: bool,
}

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
        corpse: Corpse,
        recount: Option<Moment>,
    },
    LastSweep {
        corpse: Corpse,
        until: Moment,
    },
    Over,
}

/// A stop signal that was acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LastStop {
    signal: Signal,
    from_kernel: bool,
    at: Moment,
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
    keeper: Keeper,
    /// What the sweep before the start found.
    found_first: Tally,
}

impl Supervisor {
    /// A supervisor to which nothing has happened yet.
    #[must_use]
    pub fn new(policy: Policy) -> Supervisor {
        Supervisor {
            policy,
            phase: Phase::New,
            ladder: Ladder::Idle,
            pending: Vec::new(),
            delayed: Held::default(),
            last_stop: None,
            stopped: None,
            gave_terminal: false,
            start_failed: None,
            keeper: Keeper::default(),
            found_first: Tally::default(),
        }
    }

    /// When [`Event::Tick`] is wanted, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        match self.phase {
            Phase::FirstSweep { until } | Phase::LastSweep { until, .. } => Some(until),
            Phase::Running { .. } => {
                let ladder = earlier(self.ladder.deadline(), self.delayed.deadline());
                earlier(ladder, self.keeper.deadline())
            }
            Phase::Clearing { recount, .. } => earlier(self.ladder.deadline(), recount),
            Phase::Retrying { until, .. } => Some(until),
            Phase::New | Phase::Starting { .. } | Phase::Over => None,
        }
    }

    /// Takes in what happened at `now`, and appends what is to be done to `out`.
    pub fn handle(&mut self, now: Moment, event: Event, out: &mut Vec<Action>) {
        if self.phase == Phase::Over {
            return;
        }
        match event {
            Event::Begin => self.begin(now, out),
            Event::Signal(received) => self.signal(now, received, out),
            Event::Started { pid } => self.started(now, pid, out),
            Event::StartFailed { stage, errno } => self.start_failed(now, stage, errno, out),
            Event::Died { pid, status } => self.died(now, pid, status, out),
            Event::Stopped { signal, terminal } => {
                if !self.stands_still(now, signal, out) {
                    self.main_stopped(signal, terminal, out);
                }
            }
            Event::Resumed => self.resumed(out),
            Event::Drained if matches!(self.phase, Phase::Clearing { .. }) => out.push(Action::CountRest),
            Event::Drained => self.keep(now, out),
            Event::Rest(rest) => self.rest(now, rest, out),
            Event::SweepDone(found) => self.sweep_done(now, found, out),
            Event::Tick => self.tick(now, out),
        }
    }

    fn begin(&mut self, now: Moment, out: &mut Vec<Action>) {
        if self.phase != Phase::New {
            return;
        }
        if let Some(window) = self.policy.sweep {
            self.phase = Phase::FirstSweep { until: now.after(window) };
            out.push(Action::Sweep(Occasion::Startup));
        } else {
            self.start(0, out);
        }
    }

    fn start(&mut self, tries: u32, out: &mut Vec<Action>) {
        self.phase = Phase::Starting { tries };
        out.push(Action::Start);
    }

    fn started(&mut self, now: Moment, pid: Pid, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Starting { .. }) {
            return;
        }
        self.phase = Phase::Running { pid };
        let window = self.policy.hand_over.unwrap_or_default();
        self.keeper.begin(now, self.found_first, window, self.policy.look_later);
        for received in std::mem::take(&mut self.pending) {
            self.signal(now, received, out);
        }
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
            Phase::Starting { .. } => self.exit(Outcome::StartFailed { stage, errno }, out),
            Phase::New
            | Phase::FirstSweep { .. }
            | Phase::Retrying { .. }
            | Phase::Clearing { .. }
            | Phase::LastSweep { .. }
            | Phase::Over => {}
        }
    }

    fn died(&mut self, now: Moment, pid: Pid, status: ExitStatus, out: &mut Vec<Action>) {
        if self.phase != (Phase::Running { pid }) {
            self.keeper.wanted |= self.policy.sweep.is_some() && matches!(self.phase, Phase::Running { .. });
            out.extend([Action::Reap(pid), Action::Note(Note::Reaped(pid, status))]);
            return;
        }
        self.release(now, out);
        let held = self.policy.can_hold;
        if !held {
            out.push(Action::Reap(pid));
        }
        if self.start_failed.is_none() {
            out.push(Action::Note(Note::MainEnded(pid, status)));
        }
        self.phase = Phase::Clearing { corpse: Corpse { pid, status, held }, recount: None };
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

    fn all_gone(&mut self, now: Moment, corpse: Corpse, out: &mut Vec<Action>) {
        self.ladder = Ladder::Idle;
        self.stop_keeping(out);
        // A command that never ran has left nothing.
        if let Some(window) = self.policy.sweep.filter(|_| self.start_failed.is_none()) {
            self.phase = Phase::LastSweep { corpse, until: now.after(window) };
            let clean = corpse.status == ExitStatus::Exited(0);
            let corpse = corpse.held.then_some(corpse.pid);
            out.push(Action::Sweep(Occasion::TreeGone { corpse, clean }));
        } else {
            self.finish(corpse, out);
        }
    }

    fn sweep_done(&mut self, now: Moment, found: Tally, out: &mut Vec<Action>) {
        match self.phase {
            Phase::FirstSweep { .. } => {
                self.found_first = found;
                self.start(0, out);
            }
            Phase::LastSweep { corpse, .. } => self.finish(corpse, out),
            Phase::Running { pid } => self.kept(now, pid, found, out),
            // A look that began before the main process died.
            Phase::Clearing { .. } => self.keeper = Keeper::default(),
            Phase::New | Phase::Starting { .. } | Phase::Retrying { .. } | Phase::Over => {}
        }
    }

    fn finish(&mut self, corpse: Corpse, out: &mut Vec<Action>) {
        if corpse.held {
            out.push(Action::Reap(corpse.pid));
        }
        let outcome = match self.start_failed {
            Some((stage, errno)) => Outcome::StartFailed { stage, errno },
            None => Outcome::Ended(corpse.status),
        };
        self.exit(outcome, out);
    }

    fn exit(&mut self, outcome: Outcome, out: &mut Vec<Action>) {
        self.phase = Phase::Over;
        self.ladder = Ladder::Idle;
        out.push(Action::Exit(outcome));
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.phase {
            Phase::FirstSweep { until } if now >= until => {
                self.give_sweep_up(out);
                self.start(0, out);
            }
            Phase::Retrying { until, tries } if now >= until => self.start(tries, out),
            Phase::LastSweep { corpse, until } if now >= until => {
                self.give_sweep_up(out);
                self.finish(corpse, out);
            }
            Phase::Running { pid } => {
                self.keeper_tick(now, out);
                while let Some(received) = self.delayed.take_due(now) {
                    self.deliver(now, pid, received, out);
                }
                self.climb(now, out);
            }
            Phase::Clearing { corpse, recount } => {
                if recount.is_some_and(|at| now >= at) {
                    self.phase = Phase::Clearing { corpse, recount: None };
                    out.push(Action::CountRest);
                }
                self.climb(now, out);
            }
            Phase::New
            | Phase::FirstSweep { .. }
            | Phase::LastSweep { .. }
            | Phase::Starting { .. }
            | Phase::Retrying { .. }
            | Phase::Over => {}
        }
    }

    fn give_sweep_up(&self, out: &mut Vec<Action>) {
        let window = self.policy.sweep.unwrap_or_default();
        out.extend([Action::AbandonSweep, Action::Note(Note::SweepOverdue(window))]);
    }
}

/// The ladder.
impl Supervisor {
    fn climb(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.ladder.due(now) {
            Due::Nothing => {}
            Due::Stragglers => self.next_step(now, out),
            Due::Kill => self.kill(now, out),
            Due::KillAgain(ladder) => {
                self.ladder = ladder;
                out.push(Action::SendToRest(Signal::KILL));
            }
            Due::GiveUp => {
                out.push(Action::ReportAlive(Rung::GivenUp));
                match self.phase {
                    Phase::Clearing { corpse, .. } => self.all_gone(now, corpse, out),
                    // The main process itself cannot be killed. Its status is what KILL would have made it.
                    _ => self.exit(
                        Outcome::Ended(ExitStatus::Signaled { signal: Signal::KILL.number(), core: false }),
                        out,
                    ),
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

    fn stragglers(&mut self, now: Moment, window: Duration, out: &mut Vec<Action>) {
        self.release(now, out);
        self.ladder = Ladder::Stragglers { until: now.after(window) };
        self.stopped = None;
        out.extend([Action::ReportAlive(Rung::Stragglers), Action::SendToRest(Signal::TERM)]);
    }

    fn kill(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.release(now, out);
        self.ladder = Ladder::kill(now);
        out.extend([Action::ReportAlive(Rung::Kill), Action::SendToRest(Signal::KILL)]);
    }

    fn stop(&mut self, now: Moment, pid: Pid, received: Received, out: &mut Vec<Action>) {
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
        match self.ladder {
            Ladder::Idle => {
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
                out.push(Action::ReportAlive(Rung::Grace));
            }
            Ladder::Grace { .. } | Ladder::Stragglers { .. } => self.hurry(now, signal, out),
            Ladder::Kill { .. } => out.push(Action::Note(Note::Dropped(signal))),
        }
    }

    fn hurry(&mut self, now: Moment, signal: Signal, out: &mut Vec<Action>) {
        out.push(Action::Note(Note::Hurried(signal)));
        match self.ladder {
            Ladder::Grace { .. } => self.next_step(now, out),
            Ladder::Stragglers { .. } => self.kill(now, out),
            Ladder::Idle | Ladder::Kill { .. } => {}
        }
    }
}

/// Signals and the terminal.
impl Supervisor {
    fn signal(&mut self, now: Moment, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        let stops = self.policy.stop_signals.contains(signal);
        if self.policy.forwarding.rewritten(signal).is_none() {
            out.push(Action::Note(Note::Refused(signal)));
            return;
        }
        match self.phase {
            Phase::New | Phase::FirstSweep { .. } | Phase::Starting { .. } | Phase::Retrying { .. } => {
                if self.pending.len() < PENDING_LIMIT {
                    self.pending.push(received);
                    out.push(Action::Note(Note::Kept(signal)));
                } else {
                    out.push(Action::Note(Note::Dropped(signal)));
                }
            }
            Phase::Running { pid } => match self.policy.forwarding.delay(signal) {
                // Asked for twice, it is wanted now.
                Some(_) if self.delayed.take(signal).is_some() => self.deliver(now, pid, received, out),
                // A ladder that has begun is not held up.
                Some(window) if !stops || self.ladder == Ladder::Idle => {
                    self.delayed.hold(now.after(window), received);
                    out.push(Action::Note(Note::Delayed(signal, window)));
                }
                _ => self.deliver(now, pid, received, out),
            },
            // What lives on has no main process above it: the stop is theirs, with its whole window.
            Phase::Clearing { .. } if stops && self.policy.wait_all && self.ladder == Ladder::Idle => {
                self.stragglers(now, self.policy.grace, out);
            }
            Phase::Clearing { .. } if stops && matches!(self.ladder, Ladder::Stragglers { .. }) => {
                self.hurry(now, signal, out);
            }
            Phase::Clearing { .. } | Phase::LastSweep { .. } | Phase::Over => {
                out.push(Action::Note(Note::Dropped(signal)));
            }
        }
    }

    /// The signal's time has come.
    fn deliver(&mut self, now: Moment, pid: Pid, received: Received, out: &mut Vec<Action>) {
        let signal = received.signal;
        let job_control = matches!(signal, Signal::TSTP | Signal::TTIN | Signal::TTOU);
        if self.policy.stop_signals.contains(signal) {
            self.stop(now, pid, received, out);
        } else if signal == Signal::CONT && self.keeper.holds_still() {
            // It goes on in a moment anyway, and must not do so now.
            out.push(Action::Note(Note::Dropped(signal)));
        } else if signal == Signal::CONT && self.stopped.is_some() {
            self.resume(pid, out);
        } else if self.policy.session && job_control {
            // No key of our terminal reaches the other session, and no stop of it reaches our shell.
            self.send(pid, received, out);
            out.push(Action::StopSelf);
        } else if signal == Signal::TSTP && received.origin == Origin::Kernel {
            // The key means the whole job. Whether the main process obeys is told by `Stopped`.
            out.push(Action::Send { pid, group: true, signal, value: None });
        } else {
            self.send(pid, received, out);
        }
    }

    fn send(&self, pid: Pid, received: Received, out: &mut Vec<Action>) {
        let value = match received.origin {
            Origin::Queue(value) => Some(value),
            Origin::Kernel | Origin::Process => None,
        };
        let Some(signal) = self.policy.forwarding.rewritten(received.signal) else {
            return;
        };
        out.push(Action::Send { pid, group: self.policy.group, signal, value });
        out.push(Action::Note(Note::Forwarded(signal)));
    }

    /// sexton came back from a Ctrl-Z. A job that waits for the terminal goes on waiting: only a CONT, which
    /// the shell sends when it calls the job forward, says that it is time.
    fn resumed(&mut self, out: &mut Vec<Action>) {
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

    fn main_stopped(&mut self, signal: Signal, terminal: Terminal, out: &mut Vec<Action>) {
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
                out.push(Action::Suspend);
            }
            // The job is in the background: it waits as a whole until the shell calls it forward.
            Terminal::Others if wants_terminal => {
                self.stopped = Some(signal);
                self.gave_terminal = true;
                out.push(Action::Suspend);
            }
            Terminal::None | Terminal::Ours | Terminal::Main | Terminal::Others => {
                self.stopped = Some(signal)
            }
        }
    }
}

fn earlier(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
