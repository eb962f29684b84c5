//! What sexton has promised to reach, beside the others in the same run.

use std::fmt;

use crate::Measurement;
use crate::blind_window;
use crate::stats::chance_of_more;
use crate::subjects::SEXTON;
use crate::table::Table;

/// How unlikely a difference must be before it counts as one, where chance has a part in it.
const SIGNIFICANT: f64 = 0.01;
/// How much CPU time a reap may take, as a multiple of tini's.
const REAPING: f64 = 1.3;

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
    let reaping = factor(table, "reaping.burst.cpu", "tini");
    let wakeups = table.value("idle.wakeups", SEXTON);
    vec![
        blind_window(table),
        Verdict::new(
            Measurement::Reaping,
            format!("CPU per reap, 10,000 orphans at once: at most {REAPING} times tini's"),
            reaping.map(|factor| (factor <= REAPING, format!("{factor:.2} times"))),
        ),
        Verdict::new(
            Measurement::Idle,
            "no wake-up in 10 s when idle",
            wakeups.map(|count| (count == 0.0, format!("{count:.0} wake-ups"))),
        ),
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

/// How many times the other's figure sexton's is: each side's least, because whatever else the machine does can
/// only add to a CPU time.
fn factor(table: &Table, key: &str, other: &str) -> Option<f64> {
    Some(table.least(key, SEXTON)? / table.least(key, other)?)
}
