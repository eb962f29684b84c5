//! What is measured, and how it is called. Pure.

use serde::{Deserialize, Serialize};
use sexton::report::messages::latency;

/// One thing that is measured. The larger it is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The command line says its version.
    Version,
    /// The command line's own doctor.
    Doctor,
    /// From launch to the first healthy answer.
    Start,
    /// Latencies of health answers from the launch on.
    P50,
    P90,
    P99,
    Max,
    /// The same in the last half of the time, when nothing is being started any more.
    IdleP50,
    IdleP99,
    /// The gateway's own account of its event loop: the worst.
    LoopDelay,
    LoopBusy,
    /// Resident memory of the whole tree.
    Memory,
    MemoryPeak,
    /// Its growth in the last half of the time.
    Growth,
    Processes,
    Zombies,
    /// From TERM until everything is gone.
    Stop,
    /// Locks that had to be removed when it had ended.
    Locks,
}

/// What its numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Mebibytes,
    MebibytesAMinute,
    Percent,
    Number,
}

/// All, in the order of the report.
pub const ALL: [(Metric, &str, Unit); 18] = [
    (Metric::Version, "version", Unit::Milliseconds),
    (Metric::Doctor, "doctor", Unit::Milliseconds),
    (Metric::Start, "start", Unit::Milliseconds),
    (Metric::P50, "p50", Unit::Milliseconds),
    (Metric::P90, "p90", Unit::Milliseconds),
    (Metric::P99, "p99", Unit::Milliseconds),
    (Metric::Max, "max", Unit::Milliseconds),
    (Metric::IdleP50, "idle-p50", Unit::Milliseconds),
    (Metric::IdleP99, "idle-p99", Unit::Milliseconds),
    (Metric::LoopDelay, "loop-delay", Unit::Milliseconds),
    (Metric::LoopBusy, "loop-busy", Unit::Percent),
    (Metric::Memory, "memory", Unit::Mebibytes),
    (Metric::MemoryPeak, "memory-peak", Unit::Mebibytes),
    (Metric::Growth, "growth", Unit::MebibytesAMinute),
    (Metric::Processes, "processes", Unit::Number),
    (Metric::Zombies, "zombies", Unit::Number),
    (Metric::Stop, "stop", Unit::Milliseconds),
    (Metric::Locks, "locks", Unit::Number),
];

impl Metric {
    /// The metric of this name.
    pub fn named(name: &str) -> Option<Metric> {
        ALL.iter().find(|(_, known, _)| *known == name).map(|(metric, ..)| *metric)
    }

    /// Its name, as in `--fail-if`.
    pub fn name(self) -> &'static str {
        ALL.iter().find(|(metric, ..)| *metric == self).map_or("?", |(_, name, _)| name)
    }

    /// What its numbers count.
    pub fn unit(self) -> Unit {
        ALL.iter().find(|(metric, ..)| *metric == self).map_or(Unit::Number, |(.., unit)| *unit)
    }
}

/// Every name, for the error message about an unknown one.
pub fn names() -> String {
    ALL.map(|(_, name, _)| name).join(", ")
}

impl Unit {
    /// A value for people. Infinity is what never came.
    pub fn show(self, value: f64) -> String {
        if value.is_infinite() {
            return "never".to_owned();
        }
        match self {
            Unit::Milliseconds => latency(value),
            Unit::Mebibytes => format!("{value:.0} MiB"),
            Unit::MebibytesAMinute => format!("{value:+.1} MiB/min"),
            Unit::Percent => format!("{value:.0} %"),
            Unit::Number => format!("{value:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_name_that_leads_back() {
        for (metric, name, unit) in ALL {
            assert_eq!((Metric::named(name), metric.name(), metric.unit()), (Some(metric), name, unit));
        }
        assert_eq!(Metric::named("p98"), None);
        assert!(names().contains("idle-p99, loop-delay"));
    }

    #[test]
    fn values_are_shown_as_what_they_are() {
        assert_eq!(Unit::Milliseconds.show(41_400.0), "41.4 s");
        assert_eq!(Unit::Milliseconds.show(f64::INFINITY), "never");
        assert_eq!(Unit::MebibytesAMinute.show(1.25), "+1.2 MiB/min");
        assert_eq!(Unit::Number.show(2.0), "2");
    }
}
