//! One turn of the loop: wait, take in what happened, tell the supervisor, carry out what it asks for.

use std::convert::Infallible;
use std::os::fd::AsFd;
use std::time::Duration;

use tracing::{debug, warn};

use super::notify::Link;
use super::tool::Tool;
use super::{Runtime, carry_out};
use crate::ids::{Moment, Outcome, Pid, Signal};
use crate::os::children::{self, Change, Dead};
use crate::os::signals::{Beside, Info, Woken};
use crate::os::spawn::Started;
use crate::os::{clock, memory, poll};
use crate::supervisor::{Event, Origin, Received};

/// How many deaths one turn tells of at most. Whoever forks for ever can die faster than we reap, and must
/// not keep us from signals and deadlines.
const DEATHS_A_TURN: usize = 256;

/// How long a turn takes where it cannot be waited for signals.
const BLIND: Duration = Duration::from_millis(50);

/// Whether this is a long wait, the first of which ends the start.
fn is_far(deadline: Option<Moment>) -> bool {
    deadline.is_none_or(|deadline| deadline > clock::now().after(Duration::from_secs(1)))
}

impl Runtime<'_> {
    /// Turn after turn, until the supervisor says how it ended.
    pub(super) fn live(&mut self) -> Result<Infallible, Outcome> {
        self.tell(Event::Begin)?;
        // Children from before our time, of a shell that executed us, may have died unheard.
        self.bury(None)?;
        loop {
            self.turn()?;
        }
    }

    /// Waits for something to happen, and takes all of it in.
    fn turn(&mut self) -> Result<(), Outcome> {
        let deadline = if self.more_dead { Some(clock::now()) } else { self.next_deadline() };
        if !self.settled && self.main.is_some() && is_far(deadline) {
            memory::give_back();
            self.settled = true;
        }
        let rest = self.pace.rest(clock::now());
        let deadline = deadline.into_iter().chain(rest).min();
        // A tool has no server, and a server is above no tool.
        let server = || self.server.as_ref().map(|server| server.waits_for().as_fd());
        let above = || self.link.as_ref().map(Link::waits_for);
        let beside = self.tool.as_ref().map(Tool::beside).or_else(above).or_else(server);
        let beside = match (beside, rest) {
            (Some(beside), None) => Beside::These(beside),
            (Some(_), Some(_)) => Beside::NotNow,
            (None, _) => Beside::Nothing,
        };
        let woken = self.inlet.wait(deadline, beside).unwrap_or_else(|error| self.wait_blindly(&error));
        if woken.beside {
            self.pace.taken(clock::now());
        }
        let mut child_changed = self.more_dead;
        match woken.signal {
            Some(Info { signal: Signal::CHLD, .. }) => {
                debug!(name: "received", "Received SIGCHLD");
                child_changed = true;
            }
            Some(signal) if !self.is_a_hint(signal) => self.tell(Event::Signal(received(signal)))?,
            _ => {}
        }
        if child_changed {
            self.bury(woken.signal.and_then(|signal| signal.dead()))?;
        }
        self.hear_of_tool(woken.beside)?;
        self.kills.tick();
        let due = self.supervisor.next_deadline().is_some_and(|deadline| deadline <= clock::now());
        if due {
            self.tell(Event::Tick)?;
        }
        self.hear(woken.beside)?;
        if woken.beside { self.hear_gateway() } else { Ok(()) }
    }

    /// Waiting failed, which no kernel in use is known to do. Each turn still looks at everything, and there are so
    /// many turns in a second that deaths and deadlines are not missed for long.
    #[cold]
    fn wait_blindly(&mut self, error: &std::io::Error) -> Woken {
        if !std::mem::replace(&mut self.blind, true) {
            warn!(name: "wait-failed", %error, "could not wait for signals; they are not heard");
        }
        let _ = poll::any_until([], Some(clock::now().after(BLIND)));
        self.more_dead = true;
        Woken { signal: None, beside: true }
    }

    /// Tells of each death. SIGCHLD coalesces, so that this goes on until there is nobody left, if need be in the next
    /// turn. The main process is still a zombie then, as its pid is evidence; the others are reaped at once anyway, and
    /// the one whose death was `named` need not be looked for.
    fn bury(&mut self, named: Option<Pid>) -> Result<(), Outcome> {
        let mut told = 0;
        self.more_dead = true;
        if let Some(pid) = named
            && self.main_pid() != Some(pid)
            && let Ok(Some(dead)) = children::reap(pid)
        {
            self.reaped = Some(pid);
            self.bury_one(dead)?;
            told = 1;
        }
        while told < DEATHS_A_TURN {
            let found = match self.held {
                None => self.bury_next(),
                Some(held) => self.bury_all_but(held),
            }?;
            if found == 0 {
                self.more_dead = false;
                break;
            }
            told += found;
        }
        if told > 0 { self.tell(Event::Drained) } else { Ok(()) }
    }

    fn bury_next(&mut self) -> Result<usize, Outcome> {
        match children::peek() {
            Ok(None) => Ok(0),
            Ok(Some(change)) => self.take_in(change).map(|()| 1),
            Err(error) => {
                warn!(name: "wait-failed", %error, "could not look for dead children");
                Ok(0)
            }
        }
    }

    fn bury_all_but(&mut self, held: Pid) -> Result<usize, Outcome> {
        let changes = children::peek_all_but(held).unwrap_or_else(|error| {
            warn!(name: "wait-failed", %error, "could not look for dead children");
            Vec::new()
        });
        for change in &changes {
            self.take_in(*change)?;
        }
        Ok(changes.len())
    }

    fn take_in(&mut self, change: Change) -> Result<(), Outcome> {
        match change {
            Change::Died(dead) => self.bury_one(dead),
            Change::Stopped { pid, signal } if self.main_pid() == Some(pid) => {
                let terminal = carry_out::foreground(pid);
                debug!(name: "main-stopped", pid = pid.raw(), %signal, "the main process was stopped");
                self.tell(Event::Stopped { signal, terminal })
            }
            Change::Stopped { pid, .. } if self.sweeper.sweeps(pid) => self.tell(Event::SweepReady),
            // A stopped orphan is nobody's concern before the end, and then it gets CONT.
            Change::Stopped { .. } => Ok(()),
        }
    }

    fn bury_one(&mut self, dead: Dead) -> Result<(), Outcome> {
        if self.sweeper.owns(dead.pid) {
            self.reap(dead.pid);
            self.found_orphans(dead.pid)?;
            let ended = self.sweeper.ended(dead.pid);
            self.note_released();
            return match ended {
                Some(event) => self.tell(event),
                None => Ok(()),
            };
        }
        if self.main_pid() == Some(dead.pid) {
            self.held = Some(dead.pid);
            if let Some(tool) = &mut self.tool {
                tool.ended(dead.status);
            }
            let failure = self.main.as_mut().and_then(Started::failure);
            if let Some((stage, errno)) = failure {
                self.tell(Event::StartFailed { stage, errno })?;
            }
        }
        self.tell(Event::Died { pid: dead.pid, status: dead.status })
    }

    /// Tells the supervisor and carries out what it asks for, and what follows from that, until it is quiet.
    ///
    /// # Errors
    /// The outcome, when the supervisor has asked for the end.
    pub(super) fn tell(&mut self, event: Event) -> Result<(), Outcome> {
        // The buffer is handed round, because one reap should not cost one allocation.
        let mut actions = std::mem::take(&mut self.actions);
        self.supervisor.handle(clock::now(), event, &mut actions);
        for action in actions.drain(..) {
            if let Some(answer) = self.carry_out(action)? {
                self.tell(answer)?;
            }
        }
        self.actions = actions;
        self.tell_watch_of_gateway();
        self.note_on_board();
        Ok(())
    }
}

fn received(info: Info) -> Received {
    let origin = match info.code {
        libc::SI_KERNEL => Origin::Kernel,
        libc::SI_QUEUE => Origin::Queue(info.value),
        _ => Origin::Process,
    };
    Received { signal: info.signal, origin }
}
