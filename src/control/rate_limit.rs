//! How much of sexton's time others can have.
//!
//! A turn of the loop does one small thing for a client and looks at signals and deaths between two of them, so that
//! no client delays what sexton does. But whoever floods the socket would keep sexton busy, and what sexton has just
//! signalled would wait behind it for a processor: a kernel lets a program that is busy go on for a slice of a
//! millisecond or more. So what is done for others is charged by the time that it took, and sexton rests from it for
//! longer than that. Turns are no measure: one can cost a hundred times as much as another, and whoever asks decides
//! which.

use std::time::Duration;

use crate::types::MonoTime;

/// Others have one part in so many of the time. What it takes to wait for them is not charged and comes on top.
const PARTS: u32 = 6;
/// So much of what was charged need not be rested for: a burst of tools that all register is served at once.
const BURST: Duration = Duration::from_millis(60);

/// The account of what was done for others.
#[derive(Debug, Default)]
pub struct RateLimiter {
    /// When everything that was charged will have been rested for, but for a burst.
    free: MonoTime,
}

impl RateLimiter {
    /// Something that is over `now` has taken this much time.
    pub fn charge(&mut self, now: MonoTime, cost: Duration) {
        let oldest = MonoTime(now.0.saturating_sub(BURST));
        self.free = self.free.max(oldest).after(cost.saturating_mul(PARTS));
    }

    /// Until when nothing is done for others, if nothing is `now`.
    #[must_use]
    pub fn wait_until(&self, now: MonoTime) -> Option<MonoTime> {
        (self.free > now).then_some(self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> MonoTime {
        MonoTime(Duration::from_secs(1)).after(Duration::from_micros(micros))
    }

    /// How much is done in a second for those who always want something that takes this many microseconds.
    fn flood(cost: u64) -> u64 {
        let mut limiter = RateLimiter::default();
        let (mut now, mut done) = (0, 0);
        while now < 1_000_000 {
            match limiter.wait_until(at(now)) {
                Some(until) => now = u64::try_from(until.since(at(0)).as_micros()).unwrap(),
                None => {
                    now += cost;
                    done += cost;
                    limiter.charge(at(now), Duration::from_micros(cost));
                }
            }
        }
        done
    }

    #[test]
    fn a_flood_gets_its_part_of_the_time_whatever_one_turn_costs() {
        for cost in [1, 10, 100, 1_000, 20_000, 100_000] {
            let done = flood(cost);
            assert!((166_000..=167_000 + 10_000 + cost).contains(&done), "{done} of turns of {cost}");
        }
    }

    #[test]
    fn those_who_come_seldom_never_wait() {
        let mut limiter = RateLimiter::default();
        for now in (0..10_000).map(|number| at(number * 601)) {
            assert_eq!(limiter.wait_until(now), None);
            limiter.charge(now, Duration::from_micros(100));
        }
    }

    #[test]
    fn a_burst_is_served_at_once_and_one_long_turn_is_rested_for() {
        let mut limiter = RateLimiter::default();
        for number in 0..100 {
            assert_eq!(limiter.wait_until(at(number * 100)), None, "{number}");
            limiter.charge(at((number + 1) * 100), Duration::from_micros(100));
        }
        let mut limiter = RateLimiter::default();
        limiter.charge(at(30_000), Duration::from_millis(30));
        assert_eq!(limiter.wait_until(at(30_000)), Some(at(150_000)));
        assert_eq!(limiter.wait_until(at(150_000)), None);
    }
}
