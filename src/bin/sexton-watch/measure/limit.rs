//! `--fail-if`: what makes a measurement fail. Pure.

use std::fmt;

use super::compare::Row;
use super::metric::{Metric, Unit, names};

/// `p99>1.5x`: more than this many times the base's; `stop>20s`: more than this.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    text: String,
    metric: Metric,
    most: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Times(f64),
    Value(f64),
}

impl Limit {
    /// Whether it compares with the base, so that there has to be a candidate.
    pub fn is_relative(&self) -> bool {
        matches!(self.most, Bound::Times(_))
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, and how one looks.
    pub fn parse(text: &str) -> Result<Limit, String> {
        let wrong = |what: String| format!("--fail-if '{text}': {what}");
        let (name, most) = text.split_once('>').ok_or_else(|| {
            wrong("it has no '>'; write p99>1.5x for a ratio, or stop>20s for a value".to_owned())
        })?;
        let (name, most) = (name.trim(), most.trim());
        let metric = Metric::named(name)
            .ok_or_else(|| wrong(format!("'{name}' is not measured; there is: {}", names())))?;
        let most = match most.strip_suffix('x') {
            Some(times) => number(times).filter(|times| *times > 0.0).map(Bound::Times),
            None => value(metric.unit(), most).map(Bound::Value),
        };
        let example = match metric.unit() {
            Unit::Milliseconds => "500ms or 20s",
            Unit::Mebibytes | Unit::MebibytesAMinute => "512MiB or 2GiB",
            Unit::Percent => "80%",
            Unit::Number => "0",
        };
        let most = most.ok_or_else(|| {
            wrong(format!("behind '>' stands a ratio such as 1.5x, or a value such as {example}"))
        })?;
        Ok(Limit { text: text.to_owned(), metric, most })
    }

    /// Whether it came true; `None` where that was not measured. Of two it is the candidate that must keep to it.
    pub fn is_broken(&self, rows: &[Row]) -> Option<bool> {
        let row = rows.iter().find(|row| row.metric == self.metric)?;
        match self.most {
            Bound::Times(times) => Some(row.ratio? > times),
            Bound::Value(most) => Some(row.candidate.or(row.base)? > most),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

/// The value in the metric's own unit.
fn value(unit: Unit, text: &str) -> Option<f64> {
    match unit {
        Unit::Milliseconds => humantime::parse_duration(text).ok().map(|time| time.as_secs_f64() * 1000.0),
        Unit::Mebibytes | Unit::MebibytesAMinute => {
            let (digits, factor) = [("KiB", 1.0 / 1024.0), ("MiB", 1.0), ("GiB", 1024.0)]
                .into_iter()
                .find_map(|(name, factor)| Some((text.strip_suffix(name)?, factor)))?;
            number(digits).map(|number| number * factor)
        }
        Unit::Percent => number(text.strip_suffix('%')?),
        Unit::Number => number(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_understood() {
        for (text, metric, most) in [
            ("p99>1.5x", Metric::P99, Bound::Times(1.5)),
            ("start > 2x", Metric::Start, Bound::Times(2.0)),
            ("stop>20s", Metric::Stop, Bound::Value(20_000.0)),
            ("idle-p99>500ms", Metric::IdleP99, Bound::Value(500.0)),
            ("memory>2GiB", Metric::Memory, Bound::Value(2048.0)),
            ("growth>1MiB", Metric::Growth, Bound::Value(1.0)),
            ("loop-busy>80%", Metric::LoopBusy, Bound::Value(80.0)),
            ("locks>0", Metric::Locks, Bound::Value(0.0)),
        ] {
            let limit = Limit::parse(text).unwrap();
            assert_eq!((limit.metric, limit.most, limit.to_string().as_str()), (metric, most, text));
        }
    }

    #[test]
    fn what_is_not_is_refused_with_the_way_out() {
        for (text, words) in [
            ("p99", "it has no '>'; write p99>1.5x"),
            ("p98>1x", "'p98' is not measured; there is: version,"),
            ("p99>fast", "a ratio such as 1.5x, or a value such as 500ms or 20s"),
            ("p99>20", "a value such as 500ms or 20s"),
            ("p99>0x", "a ratio such as 1.5x"),
            ("p99>-1x", "a ratio such as 1.5x"),
            ("memory>1GB", "a value such as 512MiB or 2GiB"),
            ("locks>NaN", "a value such as 0"),
            (">", "'' is not measured"),
        ] {
            let why = Limit::parse(text).unwrap_err();
            assert!(why.contains(words) && why.contains(text), "{why}");
        }
    }

    #[test]
    fn of_two_the_candidate_has_to_keep_to_it() {
        let row = |base, candidate: Option<f64>| {
            let ratio = candidate.zip(base).map(|(candidate, base): (f64, f64)| candidate / base);
            Row { base, candidate, ratio, ..Row::of(Metric::P99, &[], None, 1) }
        };
        let broken = |text: &str, row: Row| Limit::parse(text).unwrap().is_broken(&[row]);
        assert_eq!(broken("p99>1.5x", row(Some(100.0), Some(151.0))), Some(true));
        assert_eq!(broken("p99>1.5x", row(Some(100.0), Some(150.0))), Some(false));
        assert_eq!(broken("p99>120ms", row(Some(100.0), Some(150.0))), Some(true));
        assert_eq!(broken("p99>120ms", row(Some(130.0), None)), Some(true));
        assert_eq!(broken("p99>120ms", row(None, None)), None);
        assert_eq!(broken("stop>1s", row(Some(1.0), None)), None, "that was not measured");
    }
}
