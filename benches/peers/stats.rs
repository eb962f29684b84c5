//! The few figures that the tables need.

use crate::Result;

/// The value that half of the samples do not exceed. 0 if there is none.
pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The value that the given part of the samples does not exceed (nearest rank). 0 if there is none.
pub fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// How likely it is to see `a` or more of the hits on the first side by chance alone, if both sides had the same
/// rate: Fisher's exact test, one-sided. Each side had `tries`.
pub fn chance_of_more(a: u32, b: u32, tries: u32) -> f64 {
    let hits = a + b;
    // The number of ways to spread the hits, by logarithm: the products themselves exceed any float.
    let ways = |left: u32| log_choose(tries, left) + log_choose(tries, hits - left);
    let all = log_choose(2 * tries, hits);
    (a..=hits.min(tries)).map(|left| (ways(left) - all).exp()).sum()
}

/// The logarithm of "n choose k"; of zero where there is no way.
fn log_choose(n: u32, k: u32) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    (0..k).map(|i| f64::from(n - i).ln() - f64::from(i + 1).ln()).sum()
}

/// Evenly spread numbers: xorshift64*, which is plenty for moments of sending.
pub struct Random(u64);

impl Random {
    /// Begins somewhere new each time.
    pub fn new() -> Result<Random> {
        // Never zero, from which it would not move.
        Ok(Random(crate::helpers::now()? | 1))
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % bound
    }
}
