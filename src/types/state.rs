//! The states of units and of the gateway, with the words that decisions, reports and the control socket share.

use std::time::Duration;

/// An enumeration whose values are written as these words, in JSON as in texts and labels.
macro_rules! words {
    (
        $(#[$outer:meta])*
        pub enum $name:ident {
            $($(#[$inner:meta])* $value:ident = $word:literal,)*
        }
    ) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$inner])* #[serde(rename = $word)] $value,)*
        }

        impl $name {
            /// Every value.
            pub const ALL: &[$name] = &[$($name::$value),*];

            /// Its word, as in JSON and in labels.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $($name::$value => $word,)*
                }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Where a unit stands.
    #[derive(Default)]
    pub enum UnitState {
        /// Its turn has not come.
        #[default]
        Pending = "pending",
        /// It is being started, or locks are swept before.
        Starting = "starting",
        /// It runs.
        Running = "running",
        /// The stop ladder has begun.
        Stopping = "stopping",
        /// It will be started again after a pause.
        Waiting = "waiting",
        /// It has ended and is not started again.
        Ended = "ended",
    }
}

words! {
    /// How a gateway is.
    #[derive(Default)]
    pub enum HealthState {
        /// It is not measured, or nothing is known yet.
        #[default]
        Unknown = "unknown",
        /// It has not answered well yet, but its start period is not over.
        Starting = "starting",
        /// It answers well and in time.
        Healthy = "healthy",
        /// It answers well, but too late.
        Slow = "slow",
        /// It does not answer, or not well.
        Unhealthy = "unhealthy",
        /// It answers that it takes no new work, as it does while it stops.
        Draining = "draining",
    }
}

/// A report on the gateway's health by sexton-watch, which probed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HealthReport {
    /// Its state.
    pub state: HealthState,
    /// It is not healthy, but no action is due yet: its start period lasts, or has just ended.
    pub excused: bool,
    /// How long its last answer took.
    pub latency: Option<Duration>,
}

words! {
    /// The kinds of conditions. They are also labels of metrics, so the list is closed.
    pub enum IncidentKind {
        /// The gateway does not answer.
        Unhealthy = "unhealthy",
        /// The gateway answers too late.
        Slow = "slow",
        /// A lock is held past its limit by an owner that lives.
        LockHeld = "lock-held",
        /// The tree's memory is above its soft limit.
        Memory = "memory",
        /// A live parent does not reap its zombies.
        Zombies = "zombies",
        /// A pattern comes too often in a log.
        Log = "log",
        /// The kernel killed a process of the tree because memory ran out.
        OutOfMemory = "out-of-memory",
        /// The gateway was started again as often as it may be.
        RestartLimit = "restart-limit",
        /// sexton-watch does not run.
        WatchLost = "watch-lost",
        /// A unit has ended and is not started again.
        UnitEnded = "unit-ended",
        /// It was not said whether the gateway's end with 0 was a stop.
        Handoff = "handoff",
    }
}

impl IncidentKind {
    /// Whether it is sexton-watch that sees it, and not sexton itself.
    #[must_use]
    pub fn is_of_watch(self) -> bool {
        !matches!(
            self,
            IncidentKind::RestartLimit
                | IncidentKind::WatchLost
                | IncidentKind::UnitEnded
                | IncidentKind::Handoff
        )
    }
}
