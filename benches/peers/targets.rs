//! What sexton has promised to reach, beside the others in the same run.

use std::fmt;

use crate::Measurement;
use crate::blind_window;
use crate::stats::chance_of_more;
use crate::subjects::SEXTON;
use crate::table::Table;

/// How unlikely a difference must be before it counts as one, where chance has a part in it.
const SIGNIFICANT: f64 = 0.01;
/// What counts as near the best of the others, as a multiple of theirs.
const NEAR: f64 = 1.1;

/// What became of one target.
#[derive(Debug)]
pub struct Verdict {
    /// What shows it.
    pub measurement: Measurement,
    target: String,
    /// `None` if it was not measured, or there was nobody to compare with.
    reached: Option<bool>,
    figures: String,
}

impl Verdict {
    /// Whether it was measured and not reached.
    pub fn missed(&self) -> bool {
        self.reached == Some(false)
    }

    fn new(measurement: Measurement, target: impl Into<String>, judged: Option<(bool, String)>) -> Verdict {
        let (reached, figures) =
            judged.map_or((None, String::new()), |(reached, text)| (Some(reached), text));
        Verdict { measurement, target: target.into(), reached, figures }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.reached {
            Some(true) => "reached",
            Some(false) => "MISSED",
            None => "not measured",
        };
        write!(f, "{word}: {}", self.target)?;
        if self.figures.is_empty() { Ok(()) } else { write!(f, " ({})", self.figures) }
    }
}

/// Judges every target, always in the same order.
pub fn check(table: &Table) -> Vec<Verdict> {
    let most = |measurement, key, what: &str, limit: f64, unit: &str, scale: f64| {
        let value = table.value(key, SEXTON);
        let judge = |value: f64| (value / scale <= limit, format!("{:.1} {unit}", value / scale));
        Verdict::new(measurement, format!("{what}: at most {limit} {unit}"), value.map(judge))
    };
    let near_best = |measurement, key, what: &str| {
        let judge = |factor: f64| (factor <= NEAR, format!("{factor:.2} times"));
        let best = table.best_but(key, SEXTON).zip(table.value(key, SEXTON)).map(|(best, ours)| ours / best);
        Verdict::new(
            measurement,
            format!("{what}: at most {NEAR} times the best of the others"),
            best.map(judge),
        )
    };
    let startup = "startup.outside.command";
    let startup = table.value(startup, SEXTON).zip(table.value(startup, "tini"));
    vec![
        Verdict::new(
            Measurement::Startup,
            "startup overhead outside a namespace: at most tini's",
            startup.map(|(ours, tini)| (ours <= tini, format!("{:.2} times", ours / tini))),
        ),
        blind_window(table),
        near_best(Measurement::Forwarding, "forwarding", "a signal passed on, median"),
        near_best(Measurement::Reaping, "reaping.streamed.cpu", "CPU per reap, one after another"),
        near_best(Measurement::Reaping, "reaping.burst.cpu", "CPU per reap, 10,000 at once"),
        near_best(Measurement::Stopping, "stopping.pid1", "from TERM to gone, as PID 1"),
        near_best(Measurement::Stopping, "stopping.outside", "from TERM to gone, not PID 1"),
        most(Measurement::Idle, "idle.wakeups", "idle for 10 s", 0.0, "wake-ups", 1.0),
        most(Measurement::Idle, "idle.rss", "resident memory, idle", 700.0, "KiB", 1.0),
        most(Measurement::Idle, "idle.private-dirty", "private dirty memory, idle", 48.0, "KiB", 1.0),
        most(Measurement::Size, "size", "the file", 2.5, "MB", 1e6),
    ]
}

/// As both sides lose TERMs by chance, a miss is only a difference that chance would hardly make.
fn blind_window(table: &Table) -> Verdict {
    let tries = blind_window::tries(table.rounds());
    let judge = || {
        let ours = table.value(blind_window::LOST, SEXTON)? as u32;
        let theirs = table.value(blind_window::LOST, "tini-static")? as u32;
        let chance = chance_of_more(ours, theirs, tries);
        let figures = format!(
            "{ours} lost against {theirs} of {tries} each; chance alone gives so many more, or even more, with a \
             probability of {chance:.3}"
        );
        Some((chance >= SIGNIFICANT, figures))
    };
    let target = "as PID 1, a TERM in the first 3 ms is lost no more often than under tini-static";
    Verdict::new(Measurement::BlindWindow, target, judge())
}
