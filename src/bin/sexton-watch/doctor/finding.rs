//! What a check found, and how it is shown. Pure.

use serde::{Deserialize, Serialize};
use sexton::report::fold;
use sexton::types::one_line;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// All is well.
    Ok,
    /// It works, and may bite one day.
    Warning,
    /// It stops, loses or delays something now, or at the next stop or start.
    Problem,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        }
    }
}

/// The column at which a finding's text begins.
const INDENT: usize = 26;

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub grade: Severity,
    /// The check, by a name that stays.
    pub check: String,
    /// What was seen, and what it means.
    pub what: String,
    /// What to do about it; empty where there is nothing to be done.
    pub advice: String,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &str, what: impl Into<String>) -> Finding {
        Finding { grade: Severity::Ok, check: check.to_owned(), what: what.into(), advice: String::new() }
    }

    /// It may bite one day.
    pub fn warning(check: &str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { grade: Severity::Warning, advice: advice.into(), ..Finding::ok(check, what) }
    }

    /// It bites.
    pub fn problem(check: &str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { grade: Severity::Problem, ..Finding::warning(check, what, advice) }
    }

    /// Its line, whatever stands in the names of files and processes that it speaks of, folded for a terminal.
    pub fn line(&self) -> String {
        let advice = if self.advice.is_empty() { String::new() } else { format!(". {}", self.advice) };
        let text = format!("{:<8} {:<16} {}{advice}", self.grade.word(), self.check, self.what);
        fold::line(&one_line(&text), INDENT)
    }
}

/// The last line: how many of each there are.
pub fn summary(findings: &[Finding]) -> String {
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let plural = |number, word: &str| match number {
        1 => format!("1 {word}"),
        number => format!("{number} {word}s"),
    };
    match (count(Severity::Problem), count(Severity::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (problems, warnings) => format!("{}, {}", plural(problems, "problem"), plural(warnings, "warning")),
    }
}

/// The whole report as one JSON object.
pub fn as_json(findings: &[Finding]) -> String {
    let worst = findings.iter().map(|finding| finding.grade).max().unwrap_or(Severity::Ok);
    format!("{:#}\n", serde_json::json!({ "worst": worst, "findings": findings }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding::problem("health", "it is\nslow", "Wait");
        assert_eq!(finding.line(), "problem  health           it is\\nslow. Wait");
        assert_eq!(Finding::ok("role", "PID 1").line(), "ok       role             PID 1");
        let long = Finding::problem("stop windows", "word ".repeat(30).trim_end(), "Set it").line();
        assert!(long.lines().all(|line| line.len() <= fold::WIDTH), "{long}");
        assert!(long.lines().skip(1).all(|line| line.starts_with(&" ".repeat(INDENT))), "{long}");
    }

    #[test]
    fn the_summary_counts() {
        let ok = Finding::ok("a", "b");
        let (warning, problem) = (Finding::warning("a", "b", "c"), Finding::problem("a", "b", "c"));
        assert_eq!(summary(std::slice::from_ref(&ok)), "all is well");
        assert_eq!(summary(&[ok.clone(), warning.clone(), warning.clone()]), "0 problems, 2 warnings");
        assert_eq!(summary(&[problem.clone(), warning.clone()]), "1 problem, 1 warning");
        let json: serde_json::Value = serde_json::from_str(&as_json(&[ok, problem, warning])).unwrap();
        assert_eq!(json["worst"], "problem");
        assert_eq!(json["findings"][1]["advice"], "c");
    }
}
