//! What the runs of two gateways come to, side by side. Pure.
//!
//! A difference is called one if it is beyond the noise and worth a word: the rank test at a level of 0.001, which is
//! divided by the number of metrics (Bonferroni), as each of them has its own chance to mislead; and at least
//! 10 % between the medians.

use serde::Serialize;

use super::metric::Metric;
use super::stats;

/// The chance that of two equal gateways anything at all is called different.
const LEVEL: f64 = 0.001;
/// Smaller differences do not matter.
const WORTH_A_WORD: f64 = 1.1;
/// The least difference between medians that matters, in each metric's unit. A tenth of a millisecond does not.
const APART: f64 = 0.5;

/// What can be said of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The candidate has more of it, beyond the noise.
    Worse,
    /// Less.
    Better,
    /// Within the noise, or too little to matter.
    Same,
    /// So few runs prove nothing, however far apart they are.
    TooFew,
    /// There is nothing to compare.
    Alone,
}

impl Verdict {
    /// For people.
    pub const fn words(self, faster_is: bool) -> &'static str {
        match (self, faster_is) {
            (Verdict::Worse, true) => "slower",
            (Verdict::Worse, false) => "more",
            (Verdict::Better, true) => "faster",
            (Verdict::Better, false) => "less",
            (Verdict::Same, _) => "within the noise",
            (Verdict::TooFew, _) => "too few runs to tell",
            (Verdict::Alone, _) => "",
        }
    }
}

/// One metric of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub metric: Metric,
    /// The values, a run each; `null` in JSON for what never came.
    pub base_runs: Vec<f64>,
    pub candidate_runs: Vec<f64>,
    /// The medians.
    pub base: Option<f64>,
    pub candidate: Option<f64>,
    /// The candidate's median by the base's.
    pub ratio: Option<f64>,
    /// How often chance alone sets them so far apart.
    pub chance: Option<f64>,
    pub verdict: Verdict,
}

impl Row {
    /// Of the values of the base, and of a candidate if there is one, among so many metrics.
    pub fn of(metric: Metric, base: &[f64], candidate: Option<&[f64]>, metrics: usize) -> Row {
        let (low, high) = (stats::median(base), candidate.and_then(stats::median));
        let chance = candidate.map(|candidate| stats::rank_test(base, candidate));
        let fewest = base.len().min(candidate.map_or(0, <[f64]>::len));
        #[allow(clippy::cast_precision_loss, reason = "there are eighteen metrics")]
        let level = LEVEL / metrics.max(1) as f64;
        let verdict = match (low, high, chance) {
            (Some(low), Some(high), _) if !differ(low, high) => Verdict::Same,
            (Some(_), Some(_), _) if stats::best(fewest) > level => Verdict::TooFew,
            (Some(low), Some(high), Some(chance)) if chance <= level => {
                if high > low {
                    Verdict::Worse
                } else {
                    Verdict::Better
                }
            }
            (Some(_), Some(_), Some(_)) => Verdict::Same,
            _ => Verdict::Alone,
        };
        Row {
            metric,
            base_runs: base.to_vec(),
            candidate_runs: candidate.unwrap_or_default().to_vec(),
            base: low,
            candidate: high,
            ratio: low.zip(high).and_then(|(low, high)| ratio(low, high)),
            chance,
            verdict,
        }
    }
}

/// Whether two medians are far enough from each other to matter.
fn differ(low: f64, high: f64) -> bool {
    let (less, more) = (low.min(high), low.max(high));
    // Two values that never came do not differ, and the difference of two infinities is NaN.
    less.is_finite() && more - less >= APART && (more >= less * WORTH_A_WORD || less < 0.0)
}

fn ratio(low: f64, high: f64) -> Option<f64> {
    match (low.is_infinite(), high.is_infinite()) {
        (true, true) => None,
        (true, false) => Some(0.0),
        (false, true) => Some(f64::INFINITY),
        // Growth can be none or negative, and then has no ratio.
        (false, false) => (low > 0.0 && high >= 0.0).then(|| high / low),
    }
}

/// The number of runs from which on a difference among so many metrics can be told.
pub fn enough_runs(metrics: usize) -> usize {
    #[allow(clippy::cast_precision_loss, reason = "there are eighteen metrics")]
    let level = LEVEL / metrics.max(1) as f64;
    (1..100).find(|runs| stats::best(*runs) <= level).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generator that gives the same numbers each time (SplitMix64).
    struct Dice(u64);

    impl Dice {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// As latencies are: never below a floor, with a long tail upwards.
        fn latency(&mut self, typical: f64) -> f64 {
            typical * (0.9 + 0.2 * self.unit() + if self.unit() > 0.9 { 2.0 * self.unit() } else { 0.0 })
        }
    }

    fn verdict(base: &[f64], candidate: &[f64]) -> Verdict {
        Row::of(Metric::P99, base, Some(candidate), 18).verdict
    }

    #[test]
    fn nine_runs_are_enough_for_all_metrics() {
        assert_eq!(enough_runs(18), 9);
        assert_eq!(enough_runs(1), 7);
        let (low, high) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [20.0; 7]);
        assert_eq!(verdict(&low, &high), Verdict::TooFew);
    }

    #[test]
    fn twice_as_slow_is_always_told_and_the_same_never() {
        let mut dice = Dice(1);
        let mut wrong = 0;
        for _ in 0..60 {
            // Eighteen metrics of two equal gateways, as one measurement has.
            let mut runs = || (0..10).map(|_| dice.latency(10.0)).collect::<Vec<f64>>();
            wrong += u32::from((0..18).any(|_| verdict(&runs(), &runs()) != Verdict::Same));
            let mut steady =
                |typical: f64| (0..10).map(|_| typical * (0.8 + 0.4 * dice.unit())).collect::<Vec<f64>>();
            assert_eq!(verdict(&steady(10.0), &steady(20.0)), Verdict::Worse);
            assert_eq!(verdict(&steady(20.0), &steady(10.0)), Verdict::Better);
        }
        assert_eq!(wrong, 0, "of 60 measurements of equal gateways so many told of a difference");
    }

    #[test]
    fn what_never_comes_is_worse_than_anything() {
        let never = [f64::INFINITY; 10];
        assert_eq!(verdict(&[1.0; 10], &never), Verdict::Worse);
        assert_eq!(verdict(&never, &[1.0; 10]), Verdict::Better);
        assert_eq!(verdict(&never, &never), Verdict::Same);
        let row = Row::of(Metric::Start, &[1.0; 10], Some(&never), 18);
        assert_eq!(row.ratio, Some(f64::INFINITY));
    }

    #[test]
    fn what_is_hardly_apart_is_the_same_however_sure_it_is() {
        let (low, high) = ([100.0; 10], [109.0; 10]);
        assert_eq!(verdict(&low, &high), Verdict::Same);
        assert_eq!(verdict(&[0.1; 10], &[0.2; 10]), Verdict::Same, "a tenth of a millisecond");
        assert_eq!(verdict(&[-5.0; 10], &[5.0; 10]), Verdict::Worse, "what shrank grows");
        assert_eq!(Row::of(Metric::P99, &[-5.0; 10], Some(&[5.0; 10]), 18).ratio, None);
        assert_eq!(Row::of(Metric::P99, &[1.0], None, 18).verdict, Verdict::Alone);
    }
}
