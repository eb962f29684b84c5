//! The last latencies, and what they come to. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// The last answers of one probe, oldest first.
#[derive(Debug, Clone)]
pub struct Window {
    kept: VecDeque<Duration>,
    most: usize,
}

/// What a window comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// The latest.
    pub last: Duration,
    /// Half of them are at most this.
    pub p50: Duration,
    /// 99 of 100 are at most this.
    pub p99: Duration,
    /// The largest.
    pub max: Duration,
}

impl Figures {
    /// The larger of each.
    pub fn worst(self, other: Figures) -> Figures {
        Figures {
            last: self.last.max(other.last),
            p50: self.p50.max(other.p50),
            p99: self.p99.max(other.p99),
            max: self.max.max(other.max),
        }
    }
}

/// The most that is kept, whatever the settings say: each scrape sorts them.
const MOST: usize = 10_000;

impl Window {
    /// A window of the last `most` latencies.
    pub fn new(most: usize) -> Window {
        Window { kept: VecDeque::new(), most: most.clamp(1, MOST) }
    }

    /// Adds the latest.
    pub fn push(&mut self, latency: Duration) {
        if self.kept.len() >= self.most {
            self.kept.pop_front();
        }
        self.kept.push_back(latency);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// What they come to; `None` before the first.
    pub fn figures(&self) -> Option<Figures> {
        let last = *self.kept.back()?;
        let mut sorted: Vec<Duration> = self.kept.iter().copied().collect();
        sorted.sort_unstable();
        // The nearest rank: the smallest that at least this part of them does not exceed.
        let rank = |percent: usize| {
            sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied().unwrap_or(last)
        };
        Some(Figures { last, p50: rank(50), p99: rank(99), max: rank(100) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(latencies: impl IntoIterator<Item = u64>, most: usize) -> [u64; 4] {
        let mut window = Window::new(most);
        latencies.into_iter().for_each(|latency| window.push(Duration::from_millis(latency)));
        let Figures { last, p50, p99, max } = window.figures().unwrap();
        [last, p50, p99, max].map(|latency| u64::try_from(latency.as_millis()).unwrap())
    }

    #[test]
    fn ranks_are_the_nearest() {
        assert!(Window::new(5).figures().is_none());
        assert_eq!(figures([7], 5), [7, 7, 7, 7]);
        assert_eq!(figures([3, 1], 5), [1, 1, 3, 3]);
        assert_eq!(figures([3, 1, 2], 5), [2, 2, 3, 3]);
        assert_eq!(figures(1..=100, 100), [100, 50, 99, 100]);
        assert_eq!(figures((1..=200).rev(), 200), [1, 100, 198, 200]);
    }

    #[test]
    fn only_the_last_count() {
        assert_eq!(figures([1000, 1, 2, 3], 3), [3, 2, 3, 3]);
        assert_eq!(figures([1000, 1], 0), [1, 1, 1, 1]);
    }
}
