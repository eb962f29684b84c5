//! The report, for people and for machines. Pure.

use std::collections::BTreeMap;

use serde_json::json;
use sexton::report::table;

use super::compare::{Row, Verdict, enough_runs};
use super::limit::Limit;
use super::metric::{ALL, Metric, Unit};
use super::record::Record;

/// Everything that was measured.
pub struct Report {
    pub base: Vec<Record>,
    pub candidate: Option<Vec<Record>>,
    pub rows: Vec<Row>,
    /// How many metrics were not always the same.
    tested: usize,
    /// The commands, as they were typed.
    pub commands: (String, Option<String>),
    /// Each limit, and whether it came true; `None` if that was not measured.
    pub limits: Vec<(Limit, Option<bool>)>,
}

impl Report {
    /// What all runs come to.
    pub fn of(
        base: Vec<Record>,
        candidate: Option<Vec<Record>>,
        commands: (String, Option<String>),
        limits: &[Limit],
    ) -> Report {
        let values = |records: &[Record], metric| {
            let values: Vec<f64> = records.iter().filter_map(|record| record.value(metric)).collect();
            values
        };
        let measured = |metric: &Metric| {
            let of = |records: &[Record]| !values(records, *metric).is_empty();
            of(&base) || candidate.as_deref().is_some_and(of)
        };
        let metrics: Vec<Metric> = ALL.iter().map(|(metric, ..)| *metric).filter(measured).collect();
        // What was always the same cannot mislead.
        let varies = |metric: &&Metric| {
            let theirs = candidate.iter().flat_map(|records| values(records, **metric));
            let all: Vec<f64> = values(&base, **metric).into_iter().chain(theirs).collect();
            all.windows(2).any(|pair| matches!(pair, [one, other] if one != other))
        };
        let tested = metrics.iter().filter(varies).count();
        let row = |metric: &Metric| {
            let theirs = candidate.as_ref().map(|records| values(records, *metric));
            Row::of(*metric, &values(&base, *metric), theirs.as_deref(), tested)
        };
        let rows: Vec<Row> = metrics.iter().map(row).collect();
        let limits = limits.iter().map(|limit| (limit.clone(), limit.is_broken(&rows))).collect();
        Report { base, candidate, rows, tested, commands, limits }
    }

    /// Whether a limit came true, or was not measured.
    pub fn fails(&self) -> bool {
        self.limits.iter().any(|(_, broken)| *broken != Some(false))
    }

    /// For a terminal.
    pub fn as_text(&self) -> String {
        let mut text = match self.candidate {
            Some(_) => {
                table::columns(["METRIC", "BASE", "CANDIDATE", "RATIO", "CANDIDATE IS"], &self.cells())
            }
            None => table::columns(["METRIC", "MEDIAN", "LEAST", "MOST"], &self.lone_cells()),
        };
        for line in self.notes() {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// For a pull request.
    pub fn as_markdown(&self) -> String {
        let mut text = String::from("## sexton measure\n\n");
        text.push_str(&format!("base: `{}`\n", self.commands.0));
        if let Some(candidate) = &self.commands.1 {
            text.push_str(&format!("candidate: `{candidate}`\n"));
        }
        text.push('\n');
        if self.candidate.is_some() {
            text.push_str("| metric | base | candidate | ratio | candidate is |\n|---|---:|---:|---:|---|\n");
            self.cells().iter().for_each(|row| text.push_str(&format!("| {} |\n", row.join(" | "))));
        } else {
            text.push_str("| metric | median | least | most |\n|---|---:|---:|---:|\n");
            self.lone_cells().iter().for_each(|row| text.push_str(&format!("| {} |\n", row.join(" | "))));
        }
        text.push('\n');
        self.notes().iter().for_each(|line| text.push_str(&format!("- {line}\n")));
        text
    }

    /// For programs: the rows, and every run with all that was seen.
    pub fn as_json(&self) -> String {
        let limits: Vec<_> = self
            .limits
            .iter()
            .map(|(limit, broken)| json!({ "limit": limit.to_string(), "broken": broken }))
            .collect();
        let report = json!({
            "base": { "command": self.commands.0, "runs": self.base },
            "candidate": self.candidate.as_ref().map(|runs| json!({ "command": self.commands.1, "runs": runs })),
            "metrics": self.rows,
            "limits": limits,
        });
        format!("{report:#}\n")
    }

    /// The rows of the table of two.
    pub fn cells(&self) -> Vec<[String; 5]> {
        let cell = |row: &Row| {
            let unit = row.metric.unit();
            let show = |value: Option<f64>| value.map_or("-".to_owned(), |value| unit.show(value));
            let ratio = row
                .ratio
                .filter(|ratio| ratio.is_finite())
                .map_or("-".to_owned(), |ratio| format!("{ratio:.2}x"));
            let words = row.verdict.words(unit == Unit::Milliseconds);
            [row.metric.name().to_owned(), show(row.base), show(row.candidate), ratio, words.to_owned()]
        };
        self.rows.iter().map(cell).collect()
    }

    /// The rows of the table of one.
    pub fn lone_cells(&self) -> Vec<[String; 4]> {
        let cell = |row: &Row| {
            let unit = row.metric.unit();
            let show = |value: Option<f64>| value.map_or("-".to_owned(), |value| unit.show(value));
            let runs = || row.base_runs.iter().copied();
            [
                row.metric.name().to_owned(),
                show(row.base),
                show(runs().reduce(f64::min)),
                show(runs().reduce(f64::max)),
            ]
        };
        self.rows.iter().map(cell).collect()
    }

    /// What the numbers do not say.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = trouble("base", &self.base);
        notes.extend(self.candidate.iter().flat_map(|records| trouble("candidate", records)));
        if self.rows.iter().any(|row| row.verdict == Verdict::TooFew) {
            notes.push(format!(
                "with {} runs of each, differences can be told: --runs",
                enough_runs(self.tested)
            ));
        }
        if self.candidate.is_some() {
            notes.push(
                "medians of the runs; beyond the noise is what the exact rank test of Mann and Whitney says at 0.001 over \
                 all metrics together, from 10 % on"
                    .to_owned(),
            );
        }
        for (limit, broken) in &self.limits {
            notes.push(match broken {
                Some(true) => format!("FAILED: {limit}"),
                Some(false) => format!("passed: {limit}"),
                None => format!("FAILED: {limit}: it was not measured"),
            });
        }
        notes
    }
}

/// What went wrong with one side, and how often.
fn trouble(side: &str, records: &[Record]) -> Vec<String> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for record in records {
        let of = |name: &str, said: &Option<super::record::Said>| {
            said.as_ref().and_then(|said| said.wrong.as_ref().map(|wrong| format!("{name}: {wrong}")))
        };
        let all = [of("version", &record.version), of("doctor", &record.doctor), record.trouble.clone()];
        for words in all.into_iter().flatten() {
            *counted.entry(words).or_default() += 1;
        }
    }
    counted
        .iter()
        .map(|(words, times)| format!("{side}: {words} ({times} of {} runs)", records.len()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::record::{Point, Said};
    use super::*;

    fn records(latency: f64) -> Vec<Record> {
        let record = Record {
            start_ms: Some(1000.0),
            pause_ms: 1000.0,
            points: (0..10)
                .map(|number| Point { at_ms: f64::from(number), took_ms: latency, good: true })
                .collect(),
            doctor: Some(Said { took_ms: None, first_ms: None, wrong: Some("no output in 30s".into()) }),
            ..Record::default()
        };
        vec![record; 10]
    }

    fn report(limits: &[&str]) -> Report {
        let limits: Vec<Limit> = limits.iter().map(|limit| Limit::parse(limit).unwrap()).collect();
        Report::of(records(10.0), Some(records(20.0)), ("old".into(), Some("new".into())), &limits)
    }

    #[test]
    fn the_slower_one_is_called_so_in_every_form() {
        let report = report(&["p50>1.5x"]);
        let text = report.as_text();
        let line = text.lines().find(|line| line.starts_with("p50")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["p50", "10", "ms", "20", "ms", "2.00x", "slower"], "{text}");
        assert!(text.contains("doctor  never  never") || text.contains("doctor    never"), "{text}");
        assert!(text.contains("base: doctor: no output in 30s (10 of 10 runs)"), "{text}");
        assert!(text.contains("FAILED: p50>1.5x"), "{text}");
        assert!(report.as_markdown().contains("| p50 | 10 ms | 20 ms | 2.00x | slower |"));
        let json: serde_json::Value = serde_json::from_str(&report.as_json()).unwrap();
        let row = json["metrics"].as_array().unwrap().iter().find(|row| row["metric"] == "p50").unwrap();
        assert_eq!((&row["verdict"], &row["ratio"]), (&json!("worse"), &json!(2.0)));
        assert_eq!(json["limits"][0]["broken"], true);
        assert!(report.fails());
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        assert!(report(&["stop>1h"]).fails());
        assert!(!report(&["p50>3x"]).fails() && !report(&[]).fails());
    }

    #[test]
    fn one_alone_has_its_range() {
        let report = Report::of(records(10.0), None, ("old".into(), None), &[]);
        assert!(report.as_text().starts_with("METRIC"));
        assert!(report.as_markdown().contains("| p50 | 10 ms | 10 ms | 10 ms |"));
        assert!(!report.as_text().contains("Whitney"));
    }
}
