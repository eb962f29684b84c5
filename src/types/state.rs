//! How units and the gateway are, in the words that decisions, reports and the control socket share.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// Its turn has not come.
    #[default]
    Pending,
    /// It is being started, or locks are swept before.
    Starting,
    /// It runs.
    Running,
    /// The stop ladder is on its way.
    Stopping,
    /// It will be started again after a pause.
    Waiting,
    /// It has ended and is not started again.
    Ended,
}

/// How a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// Nobody looks, or nothing is known yet.
    #[default]
    Unknown,
    /// It has not answered well yet, and need not have: its start period is not over.
    Starting,
    /// It answers well and in time.
    Healthy,
    /// It answers well, and too late.
    Slow,
    /// It does not answer, or not well.
    Unhealthy,
    /// It answers that it takes no new work, as it does while it stops.
    Draining,
}

/// How a gateway is, as whoever asked it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HealthReport {
    /// How.
    pub state: HealthState,
    /// It is not well, and nothing is to be done about it yet: its start period is not over, or was a moment ago.
    pub excused: bool,
    /// How long its last answer took.
    pub latency: Option<Duration>,
}

/// The kinds of conditions. Metrics are labelled with them, so that there are only these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentKind {
    /// The gateway does not answer.
    Unhealthy,
    /// The gateway answers too late.
    Slow,
    /// A lock is held past its limit by an owner that lives.
    LockHeld,
    /// The tree's memory is above its soft limit.
    Memory,
    /// A live parent does not reap its zombies.
    Zombies,
    /// A pattern comes too often in a log.
    Log,
    /// The kernel killed a process of the tree for want of memory.
    OutOfMemory,
    /// The gateway was started again as often as it may be.
    RestartLimit,
    /// sexton-watch is not there.
    WatchLost,
    /// A unit has ended and is not started again.
    UnitEnded,
}

impl IncidentKind {
    /// Whether it is sexton-watch that sees it, and not sexton itself.
    #[must_use]
    pub fn is_of_watch(self) -> bool {
        !matches!(self, IncidentKind::RestartLimit | IncidentKind::WatchLost | IncidentKind::UnitEnded)
    }

    /// Its word, as in JSON and in labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            IncidentKind::Unhealthy => "unhealthy",
            IncidentKind::Slow => "slow",
            IncidentKind::LockHeld => "lock-held",
            IncidentKind::Memory => "memory",
            IncidentKind::Zombies => "zombies",
            IncidentKind::Log => "log",
            IncidentKind::OutOfMemory => "out-of-memory",
            IncidentKind::RestartLimit => "restart-limit",
            IncidentKind::WatchLost => "watch-lost",
            IncidentKind::UnitEnded => "unit-ended",
        }
    }
}
