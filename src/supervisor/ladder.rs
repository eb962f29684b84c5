//! The stop ladder's rungs and their deadlines.

use std::time::Duration;

use crate::ids::Moment;

/// The pause between two rounds of KILL. It is short and stays so, because a fork bomb uses it to grow.
const PAUSE: Duration = Duration::from_millis(10);
/// How long KILL is repeated. A process that survives this sits in an uninterruptible system call, and
/// nothing that sexton could do would end it.
const KILL_WINDOW: Duration = Duration::from_secs(10);

/// Where the ladder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ladder {
    /// Nobody asked for a stop.
    Idle,
    /// The main process got the stop signal, or this step of its stop sequence.
    Grace { until: Moment, step: usize },
    /// Everything got TERM.
    Stragglers { until: Moment },
    /// Everything gets KILL, again and again.
    Kill { again: Moment, give_up: Moment },
}

impl Ladder {
    /// The rung of KILL, entered at `now`.
    pub(super) fn kill(now: Moment) -> Ladder {
        Ladder::Kill { again: now.after(PAUSE), give_up: now.after(KILL_WINDOW) }
    }

    /// When the ladder wants to be looked at again.
    pub(super) fn deadline(self) -> Option<Moment> {
        match self {
            Ladder::Idle => None,
            Ladder::Grace { until, .. } | Ladder::Stragglers { until } => Some(until),
            Ladder::Kill { again, .. } => Some(again),
        }
    }

    /// When this rung ends at the latest.
    pub(super) fn end(self) -> Option<Moment> {
        match self {
            Ladder::Idle => None,
            Ladder::Grace { until, .. } | Ladder::Stragglers { until } => Some(until),
            Ladder::Kill { give_up, .. } => Some(give_up),
        }
    }

    /// What the clock asks for.
    pub(super) fn due(self, now: Moment) -> Due {
        match self {
            Ladder::Grace { until, .. } if now >= until => Due::Stragglers,
            Ladder::Stragglers { until } if now >= until => Due::Kill,
            Ladder::Kill { give_up, .. } if now >= give_up => Due::GiveUp,
            Ladder::Kill { again, give_up } if now >= again => {
                Due::KillAgain(Ladder::Kill { again: now.after(PAUSE), give_up })
            }
            Ladder::Idle | Ladder::Grace { .. } | Ladder::Stragglers { .. } | Ladder::Kill { .. } => {
                Due::Nothing
            }
        }
    }
}

/// The next step of a ladder whose window has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// No window has ended.
    Nothing,
    /// Enter the stragglers' rung.
    Stragglers,
    /// Enter the rung of KILL.
    Kill,
    /// Send KILL once more and go on with this ladder.
    KillAgain(Ladder),
    /// Nothing helps.
    GiveUp,
}

/// Whichever deadline comes first.
pub(super) fn earlier(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
