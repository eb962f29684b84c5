//! One turn of the loop: wait, take in what happened, tell the supervisor, carry out what it asks for.

use std::convert::Infallible;
use std::os::fd::AsFd;
use std::time::Duration;

use tracing::{debug, warn};

use super::manager_link::ManagerLink;
use super::tool::Tool;
use super::{EventLoop, execute};
use crate::os::children::{self, Change, Dead};
use crate::os::signals::{ExtraFds, SigInfo, WakeUp};
use crate::os::spawn::Started;
use crate::os::terminal::Presence;
use crate::os::{clock, memory, poll, process, procfs};
use crate::supervisor::{Event, Origin, Received};
use crate::types::{MonoTime, Outcome, Pid, Signal};

/// How many deaths one turn handles at most. The processes of a fork bomb can die faster than we reap them, and must
/// not keep us from signals and deadlines.
const DEATHS_A_TURN: usize = 256;

/// How long a turn takes where it cannot be waited for signals.
const BLIND: Duration = Duration::from_millis(50);

/// Whether this is a long wait, the first of which ends the start.
fn is_far(deadline: Option<MonoTime>) -> bool {
    deadline.is_none_or(|deadline| deadline > clock::now().after(Duration::from_secs(1)))
}

/// Whether the kernel says by this signal that a file of ours, the log, may not grow any more (setrlimit(2),
/// `RLIMIT_FSIZE`). The write has failed, and the command has nothing to do with it.
fn is_of_our_own_write(signal: SigInfo) -> bool {
    signal.signal.number() == libc::SIGXFSZ && signal.sender == process::own_pid().raw()
}

impl EventLoop<'_> {
    /// Turn after turn, until the supervisor says how it ended.
    pub(super) fn run_loop(&mut self) -> Result<Infallible, Outcome> {
        // Children from before our time, of a shell that executed us, may have died unheard. Those of ours are heard
        // of.
        self.reap_all(None)?;
        self.dispatch(Event::Begin)?;
        loop {
            self.run_once()?;
        }
    }

    /// Waits for something to happen, and takes all of it in.
    fn run_once(&mut self) -> Result<(), Outcome> {
        self.finish_start();
        let pending = self.reap_pending || self.log_pending;
        let deadline = if pending { Some(clock::now()) } else { self.next_deadline() };
        if !self.start_memory_released && self.main.is_some() && is_far(deadline) {
            self.containment.tidy();
            memory::give_back();
            self.start_memory_released = true;
        }
        let rest = self.rate_limiter.wait_until(clock::now());
        // Of these looks there are few, and they do not put the end of the start off.
        let pact = self.death_pact.deadline();
        let listens = self.manager.as_ref().and_then(ManagerLink::deadline);
        let deadline = deadline.into_iter().chain(rest).chain(pact).chain(listens).min();
        // A tool has no server, and a server is above no tool.
        let server = || self.server.as_ref().map(|server| server.waits_for().as_fd());
        let above = || self.manager.as_ref().map(ManagerLink::waits_for);
        let beside = self.tool.as_ref().map(Tool::beside).or_else(above).or_else(server);
        let beside = match (beside, rest) {
            (Some(beside), None) => ExtraFds::Poll(beside),
            (Some(_), Some(_)) => ExtraFds::Paused,
            (None, _) => ExtraFds::None,
        };
        let woken =
            self.signals.wait(deadline, beside).unwrap_or_else(|error| self.wait_without_signals(&error));
        self.log_pending = self.sweeper.pass_log_on();
        let mut child_changed = self.reap_pending;
        match woken.signal {
            Some(SigInfo { signal: Signal::CHLD, .. }) => {
                debug!(name: "signal-received", "Received SIGCHLD");
                child_changed = true;
            }
            Some(signal) if !self.is_a_hint(signal) && !is_of_our_own_write(signal) => {
                let received = self.received(signal);
                self.dispatch(Event::Signal(received))?;
            }
            _ => {}
        }
        if child_changed {
            self.reap_all(woken.signal.and_then(|signal| signal.dead()))?;
        }
        // What has lain there meanwhile announces itself no more.
        let again = self.manager.as_mut().is_some_and(ManagerLink::listen_again);
        let begun = (woken.beside || again).then(clock::own_time);
        self.hear_of_tool(woken.beside)?;
        self.oom.tick();
        self.check_death_pact();
        self.end_late_reload();
        self.end_late_look()?;
        let due = self.supervisor_deadline().is_some_and(|deadline| deadline <= clock::now());
        if due {
            self.dispatch(Event::Tick)?;
        }
        self.hear(woken.beside)?;
        if let Some(begun) = begun {
            self.hear_gateway()?;
            self.rate_limiter.charge(clock::now(), clock::own_time().saturating_sub(begun));
        }
        self.signal_orphans();
        Ok(())
    }

    /// Waiting failed, which no kernel in use is known to do. Each turn still looks at everything, and there are so
    /// many turns in a second that deaths and deadlines are not missed for long.
    #[cold]
    fn wait_without_signals(&mut self, error: &std::io::Error) -> WakeUp {
        if !std::mem::replace(&mut self.signal_wait_failed, true) {
            warn!(name: "wait-failed", %error, "could not wait for signals; they are not heard");
        }
        let _ = poll::any_until([], Some(clock::now().after(BLIND)));
        self.reap_pending = true;
        WakeUp { signal: None, beside: true }
    }

    /// Handles each death. SIGCHLD coalesces, so this goes on until no dead child is left, if need be in the next turn.
    /// The main process is still a zombie then, as its pid is evidence; the others are reaped at once anyway, and the
    /// one whose death was `named` need not be looked for.
    fn reap_all(&mut self, named: Option<Pid>) -> Result<(), Outcome> {
        let mut told = 0;
        self.reap_pending = true;
        if let Some(pid) = named
            && self.main_pid() != Some(pid)
            && let Ok(Some(dead)) = children::reap(pid)
        {
            self.reaped = Some(pid);
            self.reap_one(dead)?;
            told = 1;
        }
        while told < DEATHS_A_TURN {
            let found = match self.held {
                None => self.reap_next(),
                Some(held) => self.reap_others(held, DEATHS_A_TURN.saturating_sub(told)),
            }?;
            if found == 0 {
                self.reap_pending = false;
                break;
            }
            told += found;
        }
        if told > 0 { self.dispatch(Event::QueueDrained) } else { Ok(()) }
    }

    fn reap_next(&mut self) -> Result<usize, Outcome> {
        match children::peek() {
            Ok(None) => Ok(0),
            Ok(Some(change)) => self.on_child_change(change).map(|()| 1),
            Err(error) => {
                warn!(name: "wait-failed", %error, "could not look for dead children");
                Ok(0)
            }
        }
    }

    fn reap_others(&mut self, held: Pid, most: usize) -> Result<usize, Outcome> {
        let changes = children::peek_others(held, most).unwrap_or_else(|error| {
            warn!(name: "wait-failed", %error, "could not look for dead children");
            Vec::new()
        });
        for change in &changes {
            self.on_child_change(*change)?;
        }
        Ok(changes.len())
    }

    fn on_child_change(&mut self, change: Change) -> Result<(), Outcome> {
        match change {
            Change::Died(dead) => self.reap_one(dead),
            Change::Stopped { pid, signal } if self.main_pid() == Some(pid) => {
                let terminal = execute::foreground(pid);
                debug!(name: "main-stopped", pid = pid.raw(), %signal, "the main process was stopped");
                self.dispatch(Event::Stopped { signal, terminal })
            }
            Change::Stopped { pid, .. } if self.sweeper.sweeps(pid) => self.dispatch(Event::SweepReady),
            // A stopped orphan stays as it is until the end. Then it gets CONT.
            Change::Stopped { .. } => Ok(()),
        }
    }

    fn reap_one(&mut self, dead: Dead) -> Result<(), Outcome> {
        if self.sweeper.owns(dead.pid) {
            self.reap(dead.pid);
            self.death_pact.reaped(dead.pid);
            self.found_orphans(dead.pid)?;
            self.reload_read(dead.pid)?;
            self.version_read(dead.pid)?;
            let ended = self.sweeper.ended(dead.pid);
            self.note_released();
            return match ended {
                Some(event) => self.dispatch(event),
                None => Ok(()),
            };
        }
        if self.main_pid() == Some(dead.pid) {
            self.held = Some(dead.pid);
            self.remember_main();
            self.supervisor.hold(self.sweeper.may_sweep() && children::any(|_| true).is_some());
            self.death_pact.main_ended();
            if let Some(tool) = &mut self.tool {
                tool.ended(dead.status);
            }
            let failure = self.main.as_mut().and_then(Started::failure);
            if let Some((step, errno)) = failure {
                self.dispatch(Event::StartFailed { step, errno })?;
            }
        }
        self.dispatch(Event::Died { pid: dead.pid, status: dead.status })?;
        self.step_ended(dead)
    }

    /// When the supervisor wants to be told that time has passed. It is asked once after what it has been told.
    pub(super) fn supervisor_deadline(&mut self) -> Option<MonoTime> {
        *self.deadline.get_or_insert_with(|| self.supervisor.next_deadline())
    }

    /// Tells the supervisor and carries out what it asks for, and what follows from that, until it is quiet.
    ///
    /// # Errors
    /// The outcome, when the supervisor has asked for the end.
    pub(super) fn dispatch(&mut self, event: Event) -> Result<(), Outcome> {
        // The buffer is handed round, because one reap should not cost one allocation.
        let mut actions = std::mem::take(&mut self.actions);
        self.supervisor.handle(clock::now(), event, &mut actions);
        self.deadline = None;
        for action in actions.drain(..) {
            if let Some(answer) = self.execute(action)? {
                self.dispatch(answer)?;
            }
        }
        self.actions = actions;
        self.tell_watch_of_gateway();
        self.note_on_board();
        Ok(())
    }
    fn received(&self, info: SigInfo) -> Received {
        let origin = match info.code {
            _ if info.signal == Signal::HUP && self.presence.as_ref().is_some_and(Presence::is_gone) => {
                let main = self.main_pid().and_then(procfs::unheard);
                Origin::TerminalGone { ignored: main.is_some_and(|main| main.ignores(Signal::HUP)) }
            }
            libc::SI_KERNEL => Origin::Kernel,
            libc::SI_QUEUE => Origin::Queue(info.value),
            _ => Origin::Process,
        };
        Received { signal: info.signal, origin }
    }
}
