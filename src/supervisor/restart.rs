//! Whether and when a command is started again after its end.
//!
//! Retrying into a fault is load, not resilience: the pause grows with every restart, and there is a limit
//! to their number.

use std::collections::VecDeque;
use std::time::Duration;

use crate::types::{ExitStatus, MonoTime};

/// What follows an end that was not requested.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Restart {
    /// Which ends it follows.
    pub on: RestartOn,
    /// Exit codes that it never follows: of a configuration that will not mend itself, say.
    pub prevent_exit_codes: Vec<u8>,
    /// Exit codes that always ask for it, as a gateway does that leaves its restart to its supervisor.
    pub force_exit_codes: Vec<u8>,
    /// The first pause; each that follows is twice as long.
    pub delay: Duration,
    /// The longest pause.
    pub max_delay: Duration,
    /// How many restarts there may be within [`interval`](Restart::interval).
    pub limit: u32,
    /// The time in which they are counted. A run that lasts as long has the first pause again.
    pub interval: Duration,
}

/// The ends that a restart follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RestartOn {
    /// None.
    #[default]
    Never,
    /// Those with another code than 0, and by a signal.
    Failure,
    /// All.
    Always,
}

impl Default for Restart {
    fn default() -> Restart {
        Restart {
            on: RestartOn::Never,
            prevent_exit_codes: Vec::new(),
            force_exit_codes: Vec::new(),
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(60),
            limit: 5,
            interval: Duration::from_secs(600),
        }
    }
}

/// What follows an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is started again after this pause.
    RestartAfter(Duration),
    /// It would be started again, and was too often.
    LimitReached,
}

impl Decision {
    /// A restart that an operator asked for.
    pub(super) fn at_once() -> Decision {
        Decision::RestartAfter(Duration::ZERO)
    }
}

impl Restart {
    /// Whether an end with this status, which was not requested, is followed by a restart.
    #[must_use]
    pub fn follows(&self, status: ExitStatus) -> bool {
        let code = status.code();
        if self.force_exit_codes.contains(&code) {
            return true;
        }
        let wanted = match self.on {
            RestartOn::Never => false,
            RestartOn::Failure => status != ExitStatus::Exited(0),
            RestartOn::Always => true,
        };
        wanted && !self.prevent_exit_codes.contains(&code)
    }
}

/// The restarts so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct History {
    /// When those were that still count.
    recent: VecDeque<MonoTime>,
    /// How many there were since a run lasted.
    in_a_row: u32,
    /// The state of the jitter's generator.
    seed: u64,
}

impl History {
    /// A history without restarts. The seed makes the pauses of many sextons differ.
    pub(super) fn new(seed: u64) -> History {
        History { recent: VecDeque::new(), in_a_row: 0, seed }
    }

    /// The pause before the next restart, which is counted; or that there were too many.
    pub(super) fn again(&mut self, policy: &Restart, now: MonoTime, ran: Duration) -> Decision {
        self.recent.retain(|at| now.since(*at) < policy.interval);
        if self.recent.len() >= usize::try_from(policy.limit).unwrap_or(usize::MAX) {
            return Decision::LimitReached;
        }
        if ran >= policy.interval {
            self.in_a_row = 0;
        }
        self.recent.push_back(now);
        let doubled = policy.delay.saturating_mul(2_u32.saturating_pow(self.in_a_row));
        self.in_a_row = self.in_a_row.saturating_add(1);
        Decision::RestartAfter(self.jittered(doubled.min(policy.max_delay)))
    }

    /// How many restarts there were within the time in which they are counted, when the last one was decided.
    pub(super) fn recent(&self) -> usize {
        self.recent.len()
    }

    /// Between three quarters of the pause and the whole of it, so that sextons that failed together do not
    /// start together.
    fn jittered(&mut self, pause: Duration) -> Duration {
        // Knuth's MMIX generator; the upper bits are the better ones.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = u32::try_from(self.seed >> 56).unwrap_or(0);
        pause.saturating_sub((pause / 1024).saturating_mul(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn codes_say_what_follows() {
        let policy = |on| Restart {
            on,
            prevent_exit_codes: vec![78],
            force_exit_codes: vec![75],
            ..Restart::default()
        };
        let killed = ExitStatus::Signaled { signal: 9, core: false };
        for (status, never, failure, always) in [
            (ExitStatus::Exited(0), false, false, true),
            (ExitStatus::Exited(1), false, true, true),
            (killed, false, true, true),
            (ExitStatus::Exited(78), false, false, false),
            (ExitStatus::Exited(75), true, true, true),
        ] {
            let follows = [RestartOn::Never, RestartOn::Failure, RestartOn::Always]
                .map(|on| policy(on).follows(status));
            assert_eq!(follows, [never, failure, always], "{status:?}");
        }
    }

    #[test]
    fn pauses_grow_and_restarts_have_a_ceiling() {
        let policy = Restart { max_delay: secs(6), limit: 5, interval: secs(600), ..Restart::default() };
        let mut history = History::new(7);
        let mut now = MonoTime::default();
        for whole in [1, 2, 4, 6, 6].map(secs) {
            let Decision::RestartAfter(pause) = history.again(&policy, now, secs(1)) else {
                panic!("too early")
            };
            assert!(pause <= whole && pause >= whole * 3 / 4, "{pause:?} of {whole:?}");
            now = now.after(pause);
        }
        assert_eq!(history.again(&policy, now, secs(1)), Decision::LimitReached);
        // Old ones count no more, and a run that lasted is forgiven.
        now = now.after(secs(600));
        let Decision::RestartAfter(pause) = history.again(&policy, now, secs(600)) else { panic!("still") };
        assert!(pause <= secs(1));
    }
}
