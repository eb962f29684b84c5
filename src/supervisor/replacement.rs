//! What follows the end of the main process: the end of everything, or another start.
//!
//! A restart never begins before everything that the old process left behind is gone. It waits for its locks to be
//! swept, for as long as a sweep may take, and for no filesystem that hangs longer than that.

use super::ladder::Ladder;
use super::restart::{Next, On};
use super::{Action, Corpse, Gone, Note, Origin, Phase, Received, Supervisor};
use crate::ids::{ExitStatus, Kind, Moment, Pid, Signal};

/// What the end of the main process is to mean, if somebody has said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Purpose {
    /// Nobody has: the restart policy decides.
    #[default]
    Unsaid,
    /// It is to be started again. One that an operator asked for does not count towards the ceiling.
    Replace {
        /// It counts.
        counted: bool,
    },
    /// It is the end.
    End,
}

impl Supervisor {
    /// Stops the main process by the ladder and starts it again. `false` if that is not to be had now.
    pub(super) fn replace(&mut self, now: Moment, counted: bool, out: &mut Vec<Action>) -> bool {
        match self.phase {
            Phase::Running { pid } if self.ladder == Ladder::Idle && self.leaving.is_none() => {
                self.purpose = Purpose::Replace { counted };
                let received = Received { signal: Signal::TERM, origin: Origin::Process };
                self.begin_ladder(now, pid, received, out);
                true
            }
            Phase::Waiting { .. } if !counted => {
                self.start(now, 0, out);
                true
            }
            // What runs this ladder has decided already; an unasked-for end may still become a restart.
            Phase::Clearing { .. } | Phase::Settling { .. } | Phase::LastSweep { .. }
                if self.purpose == Purpose::Unsaid =>
            {
                self.purpose = Purpose::Replace { counted };
                true
            }
            _ => matches!(self.purpose, Purpose::Replace { .. }),
        }
    }

    /// sexton-watch, or sexton itself, says that something is so.
    pub(super) fn condition(&mut self, now: Moment, kind: Kind, out: &mut Vec<Action>) {
        let running = matches!(self.phase, Phase::Running { .. }) && self.ladder == Ladder::Idle;
        if running && self.policy.replace_on.contains(&kind) {
            out.push(Action::Note(Note::Replacing(kind)));
            self.replace(now, true, out);
        }
    }

    /// Everything is to end, and nobody sent a signal for it.
    pub(super) fn end_for_good(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Running { pid } if self.ladder == Ladder::Idle => {
                let received = Received { signal: Signal::TERM, origin: Origin::Process };
                self.begin_stop(now, pid, received, out);
            }
            Phase::Waiting { corpse, .. } => self.down(now, corpse, out),
            _ => {
                self.purpose = Purpose::End;
                self.settle(now, out);
            }
        }
    }

    /// Whether the end of this process is to be followed by a start, the ceiling apart.
    fn is_followed(&self, corpse: Option<Corpse>) -> bool {
        match (self.purpose, corpse) {
            _ if self.failed_unit.is_some() => false,
            (Purpose::End, _) => false,
            (Purpose::Replace { .. }, _) => true,
            // What could not be started the first time will not be mended by trying.
            (Purpose::Unsaid, _) if self.start_failed.is_some() && self.restarts == 0 => false,
            (Purpose::Unsaid, Some(corpse)) => self.policy.restart.follows(corpse.status),
            (Purpose::Unsaid, None) => self.policy.restart.on != On::Never,
        }
    }

    /// Whether what ends now may be started again.
    pub(super) fn may_follow(&self) -> bool {
        match self.phase {
            Phase::Clearing { corpse, .. }
            | Phase::Settling { corpse, .. }
            | Phase::LastSweep { corpse, .. } => self.is_followed(corpse),
            _ => false,
        }
    }

    /// Nothing is left of what the main process made. `true` if it is the units' turn to end.
    pub(super) fn ends_with_units(&self, corpse: Option<Corpse>) -> bool {
        self.units_live(false) && !self.is_followed(corpse)
    }

    /// The locks are swept.
    pub(super) fn finish(&mut self, now: Moment, corpse: Option<Corpse>, out: &mut Vec<Action>) {
        if let Some(Corpse { pid, held: true, .. }) = corpse {
            out.push(Action::Reap(pid));
        }
        let corpse = corpse.map(|corpse| Corpse { held: false, ..corpse });
        if self.is_followed(corpse) {
            let counted = self.purpose != Purpose::Replace { counted: false };
            let ran = now.since(self.started_at);
            let next =
                if counted { self.history.again(&self.policy.restart, now, ran) } else { Next::at_once() };
            if let Next::Again(pause) = next {
                self.purpose = Purpose::Unsaid;
                self.phase = Phase::Waiting { corpse, until: now.after(pause) };
                out.push(Action::Note(Note::Again(pause)));
                return;
            }
            self.gave_up = true;
            out.push(Action::Note(Note::Ceiling(self.restarts)));
            self.purpose = Purpose::End;
        }
        self.down(now, corpse, out);
    }

    /// The end: of the units first, if one lives.
    pub(super) fn down(&mut self, now: Moment, corpse: Option<Corpse>, out: &mut Vec<Action>) {
        self.purpose = Purpose::End;
        self.forget_orphans();
        if self.units_live(false) {
            self.phase = Phase::UnitsDown { corpse };
            self.take_down(now, out);
        } else {
            self.exit(self.outcome(corpse.map(|corpse| corpse.status)), out);
        }
    }

    /// The ladder begins for good: those that were started after the main process are stopped before it.
    pub(super) fn begin_stop(&mut self, now: Moment, pid: Pid, received: Received, out: &mut Vec<Action>) {
        self.purpose = Purpose::End;
        if self.stop_next_unit(now, true, out) {
            self.leaving = Some(received);
        } else {
            self.begin_ladder(now, pid, received, out);
        }
    }
}

/// What matters to a sweep after the main process's end.
pub(super) fn gone(corpse: Option<Corpse>) -> Gone {
    let clean = corpse.is_some_and(|corpse| corpse.status == ExitStatus::Exited(0));
    let corpse = corpse.filter(|corpse| corpse.held).map(|corpse| corpse.pid);
    Gone { corpse, clean }
}
