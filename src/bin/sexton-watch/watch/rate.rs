//! How often something happens. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use sexton::types::MonoTime;

/// Whether something happened `count` times within a window. Once it did, it goes on until a whole window has
/// passed in which it did not happen at all.
#[derive(Debug, Clone)]
pub struct Rate {
    count: usize,
    within: Duration,
    /// The latest, at most `count` of them.
    times: VecDeque<MonoTime>,
    holds: bool,
}

/// The most that is remembered: a count above it is as good as this one.
const MOST: u32 = 100_000;

impl Rate {
    /// Nothing has happened yet.
    pub fn new(count: u32, within: Duration) -> Rate {
        let count = usize::try_from(count.clamp(1, MOST)).unwrap_or(1);
        Rate { count, within, times: VecDeque::new(), holds: false }
    }

    /// It has happened.
    pub fn hit(&mut self, now: MonoTime) {
        // A quiet window before it ends what held until then.
        self.holds(now);
        if self.times.len() >= self.count {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }

    /// Whether it happens too often.
    pub fn holds(&mut self, now: MonoTime) -> bool {
        let recent = |then: Option<&MonoTime>| then.is_some_and(|then| now.since(*then) <= self.within);
        let often = self.times.len() >= self.count && recent(self.times.front());
        self.holds = often || (self.holds && recent(self.times.back()));
        self.holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoTime {
        MonoTime(Duration::from_secs(seconds))
    }

    #[test]
    fn it_takes_enough_of_them_within_the_window_and_ends_when_it_is_quiet() {
        let mut rate = Rate::new(3, Duration::from_secs(10));
        let mut hit = |seconds| {
            rate.hit(at(seconds));
            rate.holds(at(seconds))
        };
        assert_eq!([0, 6, 12].map(&mut hit), [false, false, false]);
        assert!(hit(13), "6, 12, 13");
        assert_eq!([23, 24, 34, 35].map(|seconds| rate.holds(at(seconds))), [true, false, false, false]);
        // One now and then keeps it up, and does not begin it.
        let mut rate = Rate::new(2, Duration::from_secs(10));
        let mut hit = |seconds| {
            rate.hit(at(seconds));
            rate.holds(at(seconds))
        };
        assert_eq!([0, 1, 11, 21, 31, 42].map(&mut hit), [false, true, true, true, true, false]);
    }

    #[test]
    fn a_count_of_none_is_one() {
        let mut rate = Rate::new(0, Duration::from_secs(1));
        assert!(!rate.holds(at(0)));
        rate.hit(at(0));
        assert!(rate.holds(at(1)) && !rate.holds(at(2)));
    }
}
