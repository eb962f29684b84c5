//! Limits the time that sexton spends on clients.
//!
//! A turn of the loop does one small thing for a client. sexton handles signals and ended processes between two turns,
//! so that no client delays them. But a client that floods the socket would keep sexton busy. A process that sexton has
//! just signalled would then wait for a processor, because the kernel lets a busy process run for a slice of a
//! millisecond or more. So the time that each turn took is charged, and then sexton does nothing for clients for longer
//! than that. Turns are not counted: one can cost a hundred times as much as another, and the client decides which.

use std::time::Duration;

use crate::types::MonoTime;

/// Clients get 1/`PARTS` of the time. The time that it takes to wait for them is not charged and comes on top.
const PARTS: u32 = 6;
/// No pause is needed for this much charged time, so that a burst of tools that all register is served at once.
const BURST: Duration = Duration::from_millis(60);

/// The account of the time that was spent on clients.
#[derive(Debug, Default)]
pub struct RateLimiter {
    /// When sexton may serve clients again.
    free: MonoTime,
}

impl RateLimiter {
    /// Charges a turn that ended `now` and took `cost`.
    pub fn charge(&mut self, now: MonoTime, cost: Duration) {
        let oldest = MonoTime(now.0.saturating_sub(BURST));
        self.free = self.free.max(oldest).after(cost.saturating_mul(PARTS));
    }

    /// Until when sexton serves no client; `None` if it may serve them `now`.
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

    /// How many microseconds of a second are spent on a flood of turns that take `cost` microseconds each.
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
