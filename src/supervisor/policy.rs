//! What the operator asked for, resolved.

use std::time::Duration;

use super::{Forwarding, Notify, Restart, ToolPolicy, UnitRule};
use crate::types::{IncidentKind, Signal, SignalSet};

/// What the operator asked for, and what was found out before the start.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The main process's window after a stop signal.
    pub grace: Duration,
    /// The window of everything that is left, after TERM.
    pub kill_after: Duration,
    /// How long KILL is repeated, before what survives it is left alone.
    pub kill_window: Duration,
    /// Whether signals go to the main process's whole group.
    pub group: bool,
    /// The signals that start the ladder.
    pub stop_signals: SignalSet,
    /// What becomes of a signal on its way.
    pub forwarding: Forwarding,
    /// What the main process gets when it is to stop, and the window of each, in the place of the signal
    /// that came and of `grace`. Empty if that is enough.
    pub stop_sequence: Vec<(Signal, Duration)>,
    /// How long the step before that may take; `None` if there is none.
    pub before_stop: Option<Duration>,
    /// How long it may take to say whether an end with 0 is a stop, if that is asked.
    pub handoff: Option<Duration>,
    /// Whether what the main process leaves behind may live on, and is waited for.
    pub wait_all: bool,
    /// Whether the main process has a session of its own, where no key of our terminal reaches it.
    pub session: bool,
    /// What is asked of the main process if it is a tool.
    pub tool: Option<ToolPolicy>,
    /// Whether what a lost tool leaves with us is ended, and its window after TERM.
    pub end_orphans: Option<Duration>,
    /// Whether the death of an adopted process may be the only sign of a lost tool. If every tool is registered, its
    /// loss is reported, and a scan of all our children at each death would be useless.
    pub adopted_deaths_trigger_scan: bool,
    /// Whether locks are swept, and how long a sweep may take.
    pub sweep: Option<Duration>,
    /// How long a lock that was handed over is left for the starting gateway to find; `None` if none ever is.
    pub hand_over: Option<Duration>,
    /// Whether lock roots that are missing at the start are looked for later.
    pub look_later: bool,
    /// Whether lock roots are looked at now and then while the main process lives, so that locks are marked whose
    /// owners live: an init knows by that mark, in its next life, that they are dead.
    pub mark_locks: bool,
    /// Whether a zombie is held while others are reaped: a lock may depend on its number. It takes a readable /proc.
    pub can_hold: bool,
    /// Whether sexton is the init of its pid namespace, so that no process could continue it after a stop.
    pub init: bool,
    /// What follows the main process's end.
    pub restart: Restart,
    /// What makes the pauses before restarts differ from those of other sextons.
    pub seed: u64,
    /// The conditions under which the main process is replaced.
    pub replace_on: Vec<IncidentKind>,
    /// The neighbours, in their order of start.
    pub units: Vec<UnitRule>,
    /// What the service manager is told; nothing if there is none.
    pub notify: Option<Notify>,
}

impl Policy {
    /// Whether this signal starts the ladder: by itself, or by what the main process gets in its place.
    pub(super) fn is_stop(&self, signal: Signal) -> bool {
        let becomes = self.forwarding.rewritten(signal);
        self.stop_signals.contains(signal) || becomes.is_some_and(|other| self.stop_signals.contains(other))
    }
}
