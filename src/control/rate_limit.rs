//! How much of sexton's time those who are connected can have.
//!
//! A turn of the loop does one small thing for a client and looks at signals and deaths between two of them, so that
//! no client delays what sexton does. But whoever floods the socket would keep sexton busy, and what sexton has just
//! signalled would wait behind it for a processor: a kernel lets a program that is busy go on for a slice of a
//! millisecond or more. So there are only so many turns for clients in a window of time, and sexton sleeps between.

use std::time::Duration;

use crate::types::MonoTime;

/// The time that turns are counted in.
const WINDOW: Duration = Duration::from_millis(1);
/// How many turns there are for clients in a window: some 4,000 in a second, of about 10 microseconds each.
const TURNS: u32 = 4;

/// The count of a window.
#[derive(Debug, Default)]
pub struct RateLimiter {
    began: MonoTime,
    turns: u32,
}

impl RateLimiter {
    /// A turn for clients was taken `now`.
    pub fn record(&mut self, now: MonoTime) {
        if now.since(self.began) >= WINDOW {
            *self = RateLimiter { began: now, turns: 0 };
        }
        self.turns = self.turns.saturating_add(1);
    }

    /// Until when there are no turns for clients, if there are none `now`.
    #[must_use]
    pub fn wait_until(&self, now: MonoTime) -> Option<MonoTime> {
        let over = self.began.after(WINDOW);
        (self.turns >= TURNS && now < over).then_some(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> MonoTime {
        MonoTime(Duration::from_secs(1)).after(Duration::from_micros(micros))
    }

    #[test]
    fn a_flood_gets_its_turns_and_no_more() {
        let mut rate_limiter = RateLimiter::default();
        let mut taken = 0;
        for now in (0..10_000).map(at) {
            if rate_limiter.wait_until(now).is_none() {
                rate_limiter.record(now);
                taken += 1;
            }
        }
        assert_eq!(taken, 10 * TURNS);
    }

    #[test]
    fn those_who_come_seldom_never_wait() {
        let mut rate_limiter = RateLimiter::default();
        for now in (0..10_000).map(|number| at(number * 251)) {
            assert_eq!(rate_limiter.wait_until(now), None);
            rate_limiter.record(now);
        }
    }

    #[test]
    fn a_rest_ends_with_its_window() {
        let mut rate_limiter = RateLimiter::default();
        (0..TURNS).for_each(|_| rate_limiter.record(at(0)));
        assert_eq!(rate_limiter.wait_until(at(1)), Some(at(1000)));
        assert_eq!(rate_limiter.wait_until(at(1000)), None);
    }
}
