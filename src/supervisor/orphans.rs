//! What tools and units leave behind with us when their supervisor was killed.
//!
//! A tool's supervisor ends its whole tree. Only when it is killed itself, as a gateway does that gives up a
//! turn, its processes come to us. They are told apart by the tool that they are of, and each tool has a ladder
//! of its own: TERM, the tool's grace, KILL until nothing is left.
//!
//! Nobody tells us that a process has come. But when a supervisor dies, its main process dies with it and with
//! us as its parent: so every death of somebody we did not start is a reason to look, now and once more when
//! its brothers had the time to come.

use std::time::Duration;

use super::ladder::{Due, KILL_WINDOW, Ladder};
use super::{Action, Phase, Supervisor, earlier};
use crate::types::{MonoTime, Signal};

/// A tool of which a process came to us, as a number that whoever looks has given it.
pub type ToolKey = u32;

/// When it is looked once more, and the least time between two looks: a burst of deaths is one reason.
const AGAIN: Duration = Duration::from_millis(100);

/// How long the answer of a look is waited for, by those who must not begin before everybody was found.
const ANSWER: Duration = Duration::from_secs(1);

/// The longest grace of what a killed supervisor leaves behind. Whoever killed it waits for the end of the pipes
/// and had no patience.
const PATIENCE: Duration = Duration::from_secs(1);

/// The tools of which somebody is left, and when it is to be looked for more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Orphans {
    stops: Vec<(ToolKey, Ladder)>,
    scan_at: Option<MonoTime>,
    /// Whether there is to be another look after that.
    scan_again: bool,
    /// No look begins before this.
    not_before: MonoTime,
    /// A look has begun, and nobody waits for its answer any longer than this.
    answer_by: Option<MonoTime>,
}

impl Orphans {
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let stops = self.stops.iter().filter_map(|(_, ladder)| ladder.deadline());
        earlier(earlier(self.scan_at, self.answer_by), stops.min())
    }

    /// Somebody is being looked for, or ended.
    pub(super) fn is_busy(&self) -> bool {
        self.deadline().is_some()
    }
}

impl Supervisor {
    /// Somebody may have come.
    pub(super) fn expect_orphans(&mut self, now: MonoTime) {
        if self.policy.end_orphans.is_some() && matches!(self.phase, Phase::Running { .. }) {
            self.orphans.scan_at = earlier(self.orphans.scan_at, Some(now.max(self.orphans.not_before)));
            self.orphans.scan_again = true;
        }
    }

    /// One of this tool has come.
    pub(super) fn orphaned(&mut self, now: MonoTime, tool: ToolKey, out: &mut Vec<Action>) {
        let Some(grace) = self.policy.end_orphans.map(|grace| grace.min(PATIENCE)) else { return };
        if matches!(self.phase, Phase::Running { .. })
            && !self.orphans.stops.iter().any(|(known, _)| *known == tool)
        {
            self.orphans.stops.push((tool, Ladder::leftovers(now.after(grace))));
            out.push(Action::SendToOrphans { tool, signal: Signal::TERM });
        }
    }

    /// A look is over, and whoever was found was told.
    pub(super) fn orphans_found(&mut self) {
        self.orphans.answer_by = None;
    }

    /// Somebody has died whom we did not start. He may have been the last above one who comes to us now.
    pub(super) fn adopted_child_died(&mut self, now: MonoTime) {
        if self.policy.adopted_deaths_trigger_scan || !self.orphans.stops.is_empty() {
            self.expect_orphans(now);
        }
    }

    /// Nobody is left of this tool.
    pub(super) fn orphans_gone(&mut self, tool: ToolKey) {
        self.orphans.stops.retain(|(known, _)| *known != tool);
    }

    /// The main process runs no more: what the lost have left is ended with everything else.
    pub(super) fn forget_orphans(&mut self) {
        self.orphans = Orphans::default();
    }

    pub(super) fn orphans_tick(&mut self, now: MonoTime, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Running { .. }) {
            return;
        }
        if self.orphans.scan_at.is_some_and(|due| now >= due) {
            self.orphans.not_before = now.after(AGAIN);
            self.orphans.scan_at = self.orphans.scan_again.then_some(self.orphans.not_before);
            self.orphans.scan_again = false;
            self.orphans.answer_by = Some(now.after(ANSWER));
            out.push(Action::FindOrphans);
        }
        self.orphans.answer_by = self.orphans.answer_by.filter(|by| now < *by);
        self.orphans.stops.retain_mut(|(tool, ladder)| {
            let kill = Action::SendToOrphans { tool: *tool, signal: Signal::KILL };
            match ladder.due(now) {
                Due::Nothing => return true,
                Due::GiveUp => return false,
                Due::KillAgain(next)
                | Due::KillOthers { next, .. }
                | Due::Look(next)
                | Due::LookWhetherHeard(next, _) => *ladder = next,
                Due::StopSignal | Due::Leftovers | Due::Kill => *ladder = Ladder::kill(now, KILL_WINDOW),
            }
            out.push(kill);
            true
        });
    }
}
