//! The figures, and how they are shown.

use std::fmt::Write as _;
use std::iter::repeat;

use serde::Serialize;

use crate::stats::quantile;
use crate::{Bench, Result};

/// What a row's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Nanoseconds; shown as µs or ms.
    Nanoseconds,
    /// KiB.
    Kibibytes,
    /// Bytes.
    Bytes,
    /// A plain number.
    Count,
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub struct Row {
    /// How a target and the JSON file name it.
    key: String,
    label: String,
    unit: Unit,
    /// By column, the only value or the median; `None` where it was not measured.
    values: Vec<Option<f64>>,
    /// The 99th percentiles, if there are several samples.
    p99: Option<Vec<Option<f64>>>,
    /// The least of them: what a figure comes to when nothing else of the machine's gets into it.
    least: Option<Vec<Option<f64>>>,
    /// How many samples stand behind each value.
    samples: Vec<usize>,
}

/// A column's heading.
#[derive(Debug, Serialize)]
struct Column {
    name: &'static str,
    path: String,
    version: String,
}

/// All that was measured in one run.
#[derive(Debug, Serialize)]
pub struct Table {
    machine: String,
    notes: Vec<String>,
    rounds: u32,
    columns: Vec<Column>,
    rows: Vec<Row>,
}

impl Table {
    /// An empty one.
    pub fn new(bench: &Bench, machine: String) -> Table {
        let columns = bench
            .subjects
            .iter()
            .map(|subject| Column {
                name: subject.name,
                path: subject.path.display().to_string(),
                version: subject.version.clone(),
            })
            .collect();
        Table { machine, notes: bench.notes.clone(), rounds: bench.rounds, columns, rows: Vec::new() }
    }

    /// The columns' names.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name).collect()
    }

    /// The machine, in one line.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// The row with this key, if it was measured.
    pub fn row(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == key)
    }

    /// How many rounds there were.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Adds a median and a 99th percentile of the samples in each column.
    pub fn spread(&mut self, key: &str, label: &str, unit: Unit, columns: Vec<Option<Vec<f64>>>) {
        let quantiles = |part| {
            let column = |samples: &Option<Vec<f64>>| samples.as_ref().map(|samples| quantile(samples, part));
            columns.iter().map(column).collect()
        };
        self.rows.push(Row {
            key: key.to_owned(),
            label: label.to_owned(),
            unit,
            values: quantiles(0.5),
            p99: Some(quantiles(0.99)),
            least: Some(quantiles(0.0)),
            samples: columns.iter().map(|column| column.as_ref().map_or(0, Vec::len)).collect(),
        });
    }

    /// Adds one value in each column.
    pub fn single(&mut self, key: &str, label: &str, unit: Unit, values: Vec<Option<f64>>) {
        let samples = values.iter().map(|value| usize::from(value.is_some())).collect();
        self.rows.push(Row {
            key: key.to_owned(),
            label: label.to_owned(),
            unit,
            values,
            p99: None,
            least: None,
            samples,
        });
    }

    /// One value, or the median of several, if it was measured.
    pub fn value(&self, key: &str, column: &str) -> Option<f64> {
        let index = self.columns.iter().position(|known| known.name == column)?;
        self.row(key)?.values.get(index).copied().flatten()
    }

    /// The least value or median of the others, if it was measured.
    pub fn best_but(&self, key: &str, column: &str) -> Option<f64> {
        let others = self.columns.iter().filter(|other| other.name != column);
        others.filter_map(|other| self.value(key, other.name)).min_by(f64::total_cmp)
    }

    /// For people.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let names = self.names();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
        for row in &self.rows {
            let _ = writeln!(text, "| {} | {} |", row.label, row.cells().join(" | "));
        }
        let _ = writeln!(text, "\n- Machine: {}.", self.machine);
        let _ = writeln!(
            text,
            "- {} rounds; median · 99th percentile (factor to the best median of the row).",
            self.rounds
        );
        for column in &self.columns {
            let _ = writeln!(text, "- {}: {} ({}).", column.name, column.path, column.version);
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}.");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl Row {
    /// By column, the only value or the median; `None` where it was not measured.
    pub fn values(&self) -> &[Option<f64>] {
        &self.values
    }

    /// A value of this row with its unit.
    pub fn show(&self, value: f64) -> String {
        self.unit.show(value)
    }

    /// The value, the 99th percentile behind it, and the factor to the best of the row, where there are such.
    fn cells(&self) -> Vec<String> {
        let best = self.values.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        let p99 = self.p99.iter().flatten().copied().chain(repeat(None));
        let cell = |(value, p99): (&Option<f64>, Option<f64>)| {
            let Some(value) = value else { return "–".to_owned() };
            let mut text = self.unit.show(*value);
            if let Some(p99) = p99 {
                text += &format!(" · {}", self.unit.show(p99));
            }
            if best > 0.0 && self.values.iter().flatten().count() > 1 {
                text += &format!(" ({:.2})", value / best);
            }
            text
        };
        self.values.iter().zip(p99).map(cell).collect()
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds if value.abs() >= 1e8 => format!("{:.0} ms", value / 1e6),
            Unit::Nanoseconds if value.abs() >= 1e6 => format!("{:.2} ms", value / 1e6),
            Unit::Nanoseconds if value.abs() >= 1e5 => format!("{:.0} µs", value / 1e3),
            Unit::Nanoseconds => format!("{:.1} µs", value / 1e3),
            Unit::Kibibytes => format!("{value:.0} KiB"),
            Unit::Bytes => format!("{:.0} kB", value / 1e3),
            Unit::Count => format!("{value:.0}"),
        }
    }
}
