//! What one run has shown, and what it comes to. Pure.

use std::time::Duration;

use serde::Serialize;

use super::metric::Metric;
use super::stats;
use crate::probe::{End, Heard};

/// How the gateway's command line answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Said {
    /// How long it took; `None` if it did not end.
    pub took_ms: Option<f64>,
    /// When it first said anything.
    pub first_ms: Option<f64>,
    /// What was wrong, in words.
    pub wrong: Option<String>,
}

impl Said {
    /// Of what was heard within `limit`.
    pub fn of(heard: &Heard, limit: Duration) -> Said {
        // What it says while it is being ended, a shell's "Terminated" say, is no output in time.
        let first = heard.first.filter(|first| *first <= limit);
        let limit = humantime::format_duration(limit);
        let wrong = match (&heard.end, first) {
            (End::Code(0, _), _) => None,
            (End::Code(code, said), _) => Some(format!("ended with {code}: {said}")),
            (End::TimedOut, None) => Some(format!("no output in {limit}")),
            (End::TimedOut, Some(_)) => Some(format!("no end in {limit}")),
            (End::Failed(why), _) => Some(why.clone()),
        };
        let ended = matches!(heard.end, End::Code(..));
        Said { took_ms: ended.then(|| ms(heard.took)), first_ms: first.map(ms), wrong }
    }
}

/// A question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// When it was asked, since the launch.
    pub at_ms: f64,
    /// How long it took.
    pub took_ms: f64,
    /// Whether the answer was the right one.
    pub good: bool,
}

/// A look at the tree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LockScan {
    pub at_ms: f64,
    /// Resident memory of all processes, in bytes; pages that they share count for each.
    pub rss: u64,
    pub processes: u32,
    /// The dead whom their living parent does not reap.
    pub zombies: u32,
}

/// What the gateway says of its event loop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Loop {
    pub delay_ms: Option<f64>,
    pub busy: Option<f64>,
}

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Record {
    pub version: Option<Said>,
    pub doctor: Option<Said>,
    /// From the launch to the first good answer; `None` if there was none.
    pub start_ms: Option<f64>,
    /// The pause between two questions.
    pub pause_ms: f64,
    pub points: Vec<Point>,
    pub looks: Vec<LockScan>,
    pub loops: Vec<Loop>,
    /// From TERM until everything was gone; `None` if it ended before.
    pub stop_ms: Option<f64>,
    /// Locks that were removed after its end.
    pub locks: u32,
    /// What went wrong, in words.
    pub trouble: Option<String>,
}

/// A duration in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Record {
    /// The value of a metric; `None` where it was not measured, infinity for what never came.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let said = |said: &Option<Said>| said.as_ref().map(|said| said.took_ms.unwrap_or(f64::INFINITY));
        let latency = |idle: bool, percent| stats::percentile(&self.latencies(idle), percent);
        let most = |of: fn(&LockScan) -> f64| self.looks.iter().map(of).reduce(f64::max);
        let of_loop = |of: fn(&Loop) -> Option<f64>| self.loops.iter().filter_map(of).reduce(f64::max);
        #[allow(clippy::cast_precision_loss, reason = "memory is shown in MiB")]
        let mib = |look: &LockScan| look.rss as f64 / f64::from(1 << 20);
        match metric {
            Metric::Version => said(&self.version),
            Metric::Doctor => said(&self.doctor),
            Metric::Start => Some(self.start_ms.unwrap_or(f64::INFINITY)),
            Metric::P50 => latency(false, 50),
            Metric::P90 => latency(false, 90),
            Metric::P99 => latency(false, 99),
            Metric::Max => latency(false, 100),
            Metric::IdleP50 => latency(true, 50),
            Metric::IdleP99 => latency(true, 99),
            Metric::LoopDelay => of_loop(|said| said.delay_ms),
            Metric::LoopBusy => of_loop(|said| said.busy.map(|busy| busy * 100.0)),
            Metric::Memory => stats::median(&self.idle_looks().map(mib).collect::<Vec<_>>()),
            Metric::MemoryPeak => self.looks.iter().map(mib).reduce(f64::max),
            Metric::Growth => {
                let points: Vec<(f64, f64)> =
                    self.idle_looks().map(|look| (look.at_ms / 60_000.0, mib(look))).collect();
                stats::slope(&points)
            }
            Metric::Processes => most(|look| f64::from(look.processes)),
            Metric::Zombies => most(|look| f64::from(look.zombies)),
            Metric::Stop => self.stop_ms,
            Metric::Locks => Some(f64::from(self.locks)),
        }
    }

    fn latencies(&self, idle: bool) -> Vec<f64> {
        let from = if idle { self.half() } else { 0.0 };
        let points = self.points.iter().filter(|point| point.at_ms >= from);
        // What was not answered rightly was not answered, however fast.
        let latency =
            |point: &Point| if point.good { point.took_ms } else { point.took_ms.max(self.pause_ms) };
        stats::as_if_always_asked(&points.map(latency).collect::<Vec<_>>(), self.pause_ms)
    }

    /// Where the second half of the time after the start begins.
    fn half(&self) -> f64 {
        let end = self.looks.last().map_or(0.0, |look| look.at_ms);
        let start = self.start_ms.unwrap_or_default();
        f64::midpoint(start, end)
    }

    fn idle_looks(&self) -> impl Iterator<Item = &LockScan> {
        let half = self.half();
        self.looks.iter().filter(move |look| look.at_ms >= half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let point = |at: u32| Point {
            at_ms: f64::from(at),
            took_ms: if at < 500 { 400.0 } else { 10.0 },
            good: true,
        };
        let look = |second: u32| LockScan {
            at_ms: f64::from(second) * 1000.0,
            rss: (100 + u64::from(second)) << 20,
            processes: 3,
            zombies: u32::from(second > 5),
        };
        Record {
            start_ms: Some(1000.0),
            pause_ms: 100.0,
            points: (0..100).map(|number| point(number * 100)).collect(),
            looks: (0..11).map(look).collect(),
            loops: vec![
                Loop { delay_ms: Some(20.0), busy: Some(0.25) },
                Loop { delay_ms: Some(30.0), busy: None },
            ],
            stop_ms: Some(70.0),
            locks: 2,
            ..Record::default()
        }
    }

    #[test]
    fn a_run_comes_to_numbers() {
        let record = record();
        let value = |metric| record.value(metric).unwrap();
        assert_eq!([Metric::P50, Metric::P99, Metric::Max].map(value), [10.0, 400.0, 400.0]);
        assert_eq!([Metric::IdleP50, Metric::IdleP99].map(value), [10.0, 10.0], "the start is over by then");
        assert_eq!([Metric::LoopDelay, Metric::LoopBusy].map(value), [30.0, 25.0]);
        assert_eq!([Metric::Memory, Metric::MemoryPeak].map(value), [108.0, 110.0]);
        assert!((value(Metric::Growth) - 60.0).abs() < 1e-6, "a MiB each second");
        assert_eq!(
            [Metric::Processes, Metric::Zombies, Metric::Stop, Metric::Locks].map(value),
            [3.0, 1.0, 70.0, 2.0]
        );
        assert_eq!(record.value(Metric::Version), None);
    }

    #[test]
    fn what_never_came_is_infinite_and_what_was_not_asked_is_nothing() {
        let silent =
            Heard { end: End::TimedOut, said: String::new(), first: None, took: Duration::from_secs(31) };
        let limit = Duration::from_secs(30);
        let said = Said::of(&silent, limit);
        assert_eq!((said.took_ms, said.wrong.as_deref()), (None, Some("no output in 30s")));
        let record = Record { doctor: Some(said), ..Record::default() };
        assert_eq!(record.value(Metric::Doctor), Some(f64::INFINITY));
        assert_eq!(record.value(Metric::Start), Some(f64::INFINITY));
        assert_eq!(
            [Metric::P99, Metric::Memory, Metric::Growth, Metric::Stop].map(|metric| record.value(metric)),
            [None; 4]
        );
        let late = Heard { first: Some(Duration::from_secs(31)), ..silent.clone() };
        assert_eq!(Said::of(&late, limit).wrong.as_deref(), Some("no output in 30s"));
        let babbles = Heard { first: Some(Duration::from_secs(1)), ..silent };
        assert_eq!(Said::of(&babbles, limit).wrong.as_deref(), Some("no end in 30s"));
        let failed = Heard { end: End::Code(1, "oh".into()), ..babbles };
        assert_eq!(Said::of(&failed, limit).wrong.as_deref(), Some("ended with 1: oh"));
    }
}
