//! Ends the processes that a tool or a unit leaves behind when its supervisor was killed.
//!
//! A tool's supervisor ends its whole tree. Only if the supervisor itself is killed, as a gateway does that gives up a
//! turn, sexton adopts its processes. They are sorted by tool, and each tool has a stop ladder of its own: TERM, the
//! tool's grace period, then KILL until nothing is left.
//!
//! The kernel does not report that sexton has adopted a process. But when a supervisor dies, its main process dies with
//! it, and sexton reaps that one. So the death of any process that sexton did not start is a reason to scan: at once,
//! and again when its siblings have had time to be adopted.

use std::time::Duration;

use super::ladder::{Due, KILL_WINDOW, Ladder};
use super::{Action, Phase, Supervisor, earlier};
use crate::types::{MonoTime, Signal};

/// A number for a tool of which sexton has adopted processes. The scan assigns it.
pub type ToolKey = u32;

/// When it is looked once more, and the least time between two looks: a burst of deaths is one reason.
const AGAIN: Duration = Duration::from_millis(100);

/// How long to wait for the result of a scan, before an action that needs all orphans to be found.
const ANSWER: Duration = Duration::from_secs(1);

/// The longest grace period of processes that a killed supervisor leaves behind. The process that killed the supervisor
/// waits until the tool's pipes are closed, and wanted a quick end.
const PATIENCE: Duration = Duration::from_secs(1);

/// The tools of which processes are left, and when to scan for more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Orphans {
    stops: Vec<(ToolKey, Ladder)>,
    scan_at: Option<MonoTime>,
    /// Whether there is to be another look after that.
    scan_again: bool,
    /// No look begins before this.
    not_before: MonoTime,
    /// A scan is running, and its result is awaited no longer than this.
    answer_by: Option<MonoTime>,
}

impl Orphans {
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let stops = self.stops.iter().filter_map(|(_, ladder)| ladder.deadline());
        earlier(earlier(self.scan_at, self.answer_by), stops.min())
    }

    /// Whether a scan is due or running, or orphans are being ended.
    pub(super) fn is_busy(&self) -> bool {
        self.deadline().is_some()
    }
}

impl Supervisor {
    /// sexton may have adopted processes.
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

    /// A scan is over, and the tools it found were reported.
    pub(super) fn orphans_found(&mut self) {
        self.orphans.answer_by = None;
    }

    /// An adopted process has exited. sexton may now adopt its children.
    pub(super) fn adopted_child_died(&mut self, now: MonoTime) {
        if self.policy.adopted_deaths_trigger_scan || !self.orphans.stops.is_empty() {
            self.expect_orphans(now);
        }
    }

    /// No process is left of this tool.
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
