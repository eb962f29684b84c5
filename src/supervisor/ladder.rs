//! The stop ladder's stages and their deadlines.

use std::time::Duration;

use super::Received;
use crate::types::{MonoTime, Signal};

/// The pause between two rounds of KILL. It is short and stays so, because a fork bomb uses it to grow.
const PAUSE: Duration = Duration::from_millis(10);
/// How long KILL is repeated. A process that survives this sits in an uninterruptible system call, and
/// nothing that sexton could do would end it.
pub const KILL_WINDOW: Duration = Duration::from_secs(10);

/// How long the main process has after the last other process has ended: a gateway that waits for its tools is only
/// then about to end by itself. KILL is put off by no more than this.
pub const AFTER_OTHERS: Duration = Duration::from_secs(2);
/// How soon after the stop signal a main process ends that only launches another, and leaves it to that one to drain. One
/// that lets the signal wait longer does not take it.
pub(super) const AT_ONCE: Duration = Duration::from_secs(1);

/// How often it is looked whether there is another, in the last of these times before KILL.
const LOOKS: Duration = Duration::from_millis(250);

/// Where the ladder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ladder {
    /// No stop was requested.
    Idle,
    /// The step that comes before this stop signal runs.
    Before { received: Received, until: MonoTime },
    /// The main process got this signal, which is the stop signal or this step of its stop sequence. At `look` it is
    /// looked whether it still waits.
    Grace { asked: Asked, until: MonoTime, step: usize, look: Option<MonoTime> },
    /// The main process died of the stop signal. What is in its process group has what is left of the grace; the
    /// others have less, and get KILL when that is over.
    Drain { until: MonoTime, others: Option<Repeat> },
    /// Everything got TERM. While the main process lives, other living processes are looked for from `look` on, and
    /// `others` is when one was last seen.
    Leftovers { until: MonoTime, look: Option<MonoTime>, others: Option<MonoTime> },
    /// Everything gets KILL, again and again.
    Kill { again: MonoTime, give_up: MonoTime },
}

/// What the main process was asked by, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) signal: Signal,
    pub(super) at: MonoTime,
    /// Its whole process group got the signal.
    pub(super) group: bool,
}

impl Asked {
    /// Whether a main process that only launches another may be the only one to get it, and not take it.
    pub(super) fn may_be_lost(self) -> bool {
        !self.group && self.signal != Signal::KILL
    }
}

/// KILL for those outside the main process's group: from when on, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Repeat {
    again: MonoTime,
    give_up: MonoTime,
}

impl Ladder {
    /// The stage after that signal. `look`: it is looked a moment later whether the main process let it wait.
    pub(super) fn grace(asked: Asked, window: Duration, step: usize, look: bool) -> Ladder {
        let look = look.then(|| asked.at.after(AT_ONCE));
        Ladder::Grace { asked, until: asked.at.after(window), step, look }
    }

    /// The stage in which the main process's group has its time until then, and the others until `others`.
    pub(super) fn drain(until: MonoTime, others: MonoTime) -> Ladder {
        Ladder::Drain { until, others: Some(Repeat { again: others, give_up: others.after(KILL_WINDOW) }) }
    }

    /// The stage after TERM to everything, without looking for other processes.
    pub(super) fn leftovers(until: MonoTime) -> Ladder {
        Ladder::Leftovers { until, look: None, others: None }
    }

    /// The same while the main process lives, who is to have [`AFTER_OTHERS`].
    pub(super) fn leftovers_with_main(now: MonoTime, until: MonoTime) -> Ladder {
        let look = now.after(until.since(now).saturating_sub(AFTER_OTHERS));
        Ladder::Leftovers { until, look: Some(look), others: None }
    }

    /// The stage of KILL, entered at `now`, which is repeated for `window`.
    pub(super) fn kill(now: MonoTime, window: Duration) -> Ladder {
        Ladder::Kill { again: now.after(PAUSE), give_up: now.after(window) }
    }

    /// When the ladder wants to be looked at again.
    pub(super) fn deadline(self) -> Option<MonoTime> {
        match self {
            Ladder::Idle => None,
            Ladder::Before { until, .. } => Some(until),
            Ladder::Grace { until, look, .. } => earlier(Some(until), look),
            Ladder::Leftovers { until, look, .. } => Some(look.unwrap_or(until)),
            Ladder::Drain { until, others } => Some(others.map_or(until, |others| others.again.min(until))),
            Ladder::Kill { again, .. } => Some(again),
        }
    }

    /// When this stage ends at the latest.
    pub(super) fn end(self) -> Option<MonoTime> {
        match self {
            Ladder::Idle => None,
            Ladder::Before { until, .. }
            | Ladder::Grace { until, .. }
            | Ladder::Drain { until, .. }
            | Ladder::Leftovers { until, .. } => Some(until),
            Ladder::Kill { give_up, .. } => Some(give_up),
        }
    }

    /// What the clock asks for.
    pub(super) fn due(self, now: MonoTime) -> Due {
        match self {
            Ladder::Before { until, .. } if now >= until => Due::StopSignal,
            Ladder::Grace { until, .. } if now >= until => Due::Leftovers,
            Ladder::Grace { asked, until, step, look: Some(look) } if now >= look => {
                Due::LookWhetherHeard(Ladder::Grace { asked, until, step, look: None }, asked.signal)
            }
            Ladder::Leftovers { until, look: Some(look), others } if now >= look => {
                let next = now.after(LOOKS).min(until);
                Due::Look(Ladder::Leftovers { until, look: (now < until).then_some(next), others })
            }
            Ladder::Drain { until, .. } | Ladder::Leftovers { until, .. } if now >= until => Due::Kill,
            Ladder::Drain { until, others: Some(Repeat { again, give_up }) } if now >= again => {
                let first = again.after(KILL_WINDOW) == give_up;
                let others = (now < give_up).then(|| Repeat { again: now.after(PAUSE), give_up });
                Due::KillOthers { next: Ladder::Drain { until, others }, first }
            }
            Ladder::Kill { give_up, .. } if now >= give_up => Due::GiveUp,
            Ladder::Kill { again, give_up } if now >= again => {
                Due::KillAgain(Ladder::Kill { again: now.after(PAUSE), give_up })
            }
            Ladder::Idle
            | Ladder::Before { .. }
            | Ladder::Grace { .. }
            | Ladder::Drain { .. }
            | Ladder::Leftovers { .. }
            | Ladder::Kill { .. } => Due::Nothing,
        }
    }
}

/// The next step of a ladder whose window has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// No window has ended.
    Nothing,
    /// The step before the stop signal has had its time.
    StopSignal,
    /// Enter the leftover processes' stage.
    Leftovers,
    /// Enter the stage of KILL.
    Kill,
    /// Send KILL to those outside the main process's group, maybe for the first time, and go on with this ladder.
    KillOthers { next: Ladder, first: bool },
    /// Look whether the main process has let this signal wait, and go on with this ladder.
    LookWhetherHeard(Ladder, Signal),
    /// Look whether anybody but the main process is left, and go on with this ladder.
    Look(Ladder),
    /// Send KILL once more and go on with this ladder.
    KillAgain(Ladder),
    /// Nothing helps.
    GiveUp,
}

/// Whichever deadline comes first.
#[inline]
pub(super) fn earlier(a: Option<MonoTime>, b: Option<MonoTime>) -> Option<MonoTime> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
