//! Statistics for `sexton measure`. Pure functions.
//!
//! Two sets of runs are compared by the rank test of Mann and Whitney, exactly: of all ways to deal the same values to
//! the two sides, how many set them as far apart as they are? It asks nothing of the values' distribution, takes ties
//! and "never" (infinity) as they come, and the number of runs is small enough to count them all.

/// The middle value; of an even number the lower of the two. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    percentile(values, 50)
}

/// The value that so many of a hundred do not exceed (nearest rank). `None` of nothing.
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Latencies corrected for coordinated omission, as Gil Tene's HdrHistogram does it. The prober sends the next request
/// `pause` after the last answer. So it asks a gateway that stalls for a minute only once, and that minute would count
/// as one sample of many. This adds the samples that a prober with a fixed rate would have taken.
pub fn as_if_always_asked(latencies: &[f64], pause: f64) -> Vec<f64> {
    let usual = pause + median(latencies).unwrap_or_default();
    let mut all = Vec::with_capacity(latencies.len());
    for latency in latencies {
        let mut late = *latency;
        while late > 0.0 && all.len() < 10_000_000 {
            all.push(late);
            late -= usual.max(1.0);
        }
    }
    all
}

/// How much `y` grows with each unit of `x` (least squares); `None` where nothing can be told.
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "no run has as many points as a float can count")]
    let number = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / number;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let common: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (points.len() > 2 && spread > 0.0).then(|| common / spread)
}

/// The part of all ways to deal these values to two sides of these sizes in which the sides are at least as far apart
/// as they are (two-sided): small where it is not chance.
pub fn rank_test(base: &[f64], candidate: &[f64]) -> f64 {
    let mut all: Vec<f64> = base.iter().chain(candidate).copied().collect();
    all.sort_by(f64::total_cmp);
    // Twice the middle rank of all that are equal, so that ranks are whole numbers.
    let rank = |value: f64| {
        let first = all.partition_point(|other| other.total_cmp(&value).is_lt());
        let last = all.partition_point(|other| other.total_cmp(&value).is_le());
        first + last + 1
    };
    let ranks: Vec<usize> = all.iter().map(|value| rank(*value)).collect();
    let total: usize = ranks.iter().sum();
    let seen: usize = base.iter().map(|value| rank(*value)).sum();
    let ways = ways(&ranks, base.len());
    let expected = |sum: usize| (sum * all.len()).abs_diff(total * base.len());
    let far = |(sum, ways): (usize, &f64)| if expected(sum) >= expected(seen) { *ways } else { 0.0 };
    let (extreme, every) = (ways.iter().enumerate().map(far).sum::<f64>(), ways.iter().sum::<f64>());
    if every > 0.0 { extreme / every } else { 1.0 }
}

/// For each sum, in how many ways `chosen` of these ranks have it.
fn ways(ranks: &[usize], chosen: usize) -> Vec<f64> {
    let most: usize = ranks.iter().sum();
    let mut table = vec![vec![0.0; most + 1]; chosen + 1];
    if let Some(none) = table.first_mut().and_then(|row| row.first_mut()) {
        *none = 1.0;
    }
    for rank in ranks {
        for number in (1..=chosen).rev() {
            let (below, from) = table.split_at_mut(number);
            let (Some(fewer), Some(row)) = (below.last(), from.first_mut()) else { continue };
            for (sum, ways) in row.iter_mut().enumerate().skip(*rank) {
                *ways += sum.checked_sub(*rank).and_then(|sum| fewer.get(sum)).copied().unwrap_or_default();
            }
        }
    }
    table.pop().unwrap_or_default()
}

/// What the rank test gives at best for so many runs on each side: complete separation, one way or the other.
pub fn best(runs: usize) -> f64 {
    // 2 / (2n over n)
    #[allow(clippy::cast_precision_loss, reason = "there are never so many runs")]
    let ways: f64 = (1..=runs).map(|k| (runs + k) as f64 / k as f64).product();
    (2.0 / ways).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [50, 90, 99, 100].map(|percent| percentile(&hundred, percent)),
            [50.0, 90.0, 99.0, 100.0].map(Some)
        );
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[f64::INFINITY, 1.0, f64::INFINITY]), Some(f64::INFINITY));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_stall_counts_for_everybody_who_would_have_asked_in_it() {
        assert_eq!(as_if_always_asked(&[5.0, 250.0], 95.0), [5.0, 250.0, 150.0, 50.0]);
        assert_eq!(as_if_always_asked(&[30.0; 3], 10.0), [30.0; 3], "what is always slow is no stall");
        assert_eq!(
            as_if_always_asked(&[0.1, 0.1, 3.0], 0.0).len(),
            5,
            "requests come at most once a millisecond"
        );
    }

    #[test]
    fn growth_is_a_line_through_the_points() {
        let line: Vec<(f64, f64)> = (0..10).map(f64::from).map(|x| (x, 3.0 * x + 7.0)).collect();
        assert!(close(slope(&line).unwrap(), 3.0));
        assert_eq!(slope(&line[..2]), None);
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }

    /// Values from tables, and from R's wilcox.test(exact = TRUE).
    #[test]
    fn the_rank_test_is_exact() {
        let of = |base: &[f64], candidate: &[f64]| rank_test(base, candidate);
        assert!(close(of(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 0.1));
        assert!(close(of(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]), 2.0 / 252.0));
        assert!(close(of(&[1.0, 2.0, 4.0], &[3.0, 5.0, 6.0]), 0.2));
        assert!(close(of(&[1.0, 4.0], &[2.0, 3.0]), 1.0));
        assert!(close(of(&[7.0; 4], &[7.0; 4]), 1.0), "what is all the same proves nothing");
        assert!(close(of(&[1.0, 2.0, 3.0], &[f64::INFINITY; 3]), 0.1), "never is later than everything");
        assert!(close(of(&[], &[1.0]), 1.0));
        assert!(close(best(5), 2.0 / 252.0) && close(best(3), 0.1) && close(best(0), 1.0));
    }
}
