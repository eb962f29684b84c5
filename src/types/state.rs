//! How units and the gateway are, in the words that decisions, reports and the control socket share.

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
        /// The stop ladder is on its way.
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
        /// Nobody looks, or nothing is known yet.
        #[default]
        Unknown = "unknown",
        /// It has not answered well yet, and need not have: its start period is not over.
        Starting = "starting",
        /// It answers well and in time.
        Healthy = "healthy",
        /// It answers well, and too late.
        Slow = "slow",
        /// It does not answer, or not well.
        Unhealthy = "unhealthy",
        /// It answers that it takes no new work, as it does while it stops.
        Draining = "draining",
    }
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

words! {
    /// The kinds of conditions. Metrics are labelled with them, so that there are only these.
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
        /// The kernel killed a process of the tree for want of memory.
        OutOfMemory = "out-of-memory",
        /// The gateway was started again as often as it may be.
        RestartLimit = "restart-limit",
        /// sexton-watch is not there.
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
