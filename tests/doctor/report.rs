//! Asking the doctor, and reading what it says.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::SHORT_TIMEOUT;

/// What it said.
#[derive(Debug)]
pub struct Report {
    pub code: i32,
    /// Grade, check, what and advice of each finding.
    pub findings: Vec<[String; 4]>,
    pub took: Duration,
}

/// The command in front of the doctor, in an environment of its own.
pub fn command(line: &[String], home: &Path) -> Command {
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", home).env("TMPDIR", home).env("SEXTON_CONTROL", home.join("control.sock"));
    command.stdin(Stdio::null());
    command
}

impl Report {
    /// Runs it, and waits until everything is gone that holds its output.
    #[track_caller]
    pub fn of(command: &mut Command) -> Report {
        let begun = Instant::now();
        let Output { status, stdout, stderr } = command.output().unwrap();
        let took = begun.elapsed();
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert_eq!(stderr, "", "{stdout}");
        let json: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"));
        let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
        let findings = json["findings"].as_array().unwrap().iter();
        let findings =
            findings.map(|finding| ["grade", "check", "what", "advice"].map(|name| word(finding, name)));
        let report = Report { code: status.code().unwrap(), findings: findings.collect(), took };
        assert!(report.took < SHORT_TIMEOUT, "{report:#?}");
        let worst = report.findings.iter().any(|finding| finding[0] == "problem");
        assert_eq!(report.code, i32::from(worst), "{report:#?}");
        report
    }

    /// Everything that is not well, as "GRADE CHECK".
    pub fn wrong(&self) -> Vec<String> {
        let wrong = self.findings.iter().filter(|finding| finding[0] != "ok");
        wrong.map(|finding| format!("{} {}", finding[0], finding[1])).collect()
    }

    /// Asks again, a few times, until it was done in a second: what is measured is the doctor, and not how busy this
    /// machine is at one moment.
    #[track_caller]
    pub fn in_a_second(ask: impl Fn() -> Report) -> Report {
        let reports = std::iter::repeat_with(ask).take(10);
        let quick = reports.into_iter().find(|report| report.took < Duration::from_secs(1));
        quick.expect("ten times the doctor took longer than a second")
    }

    /// That all is well.
    #[track_caller]
    pub fn finds_nothing(&self) {
        assert_eq!(self.wrong(), Vec::<String>::new(), "{self:#?}");
    }

    /// That these things are wrong, and nothing else; and that the findings of the first say this.
    #[track_caller]
    pub fn finds(&self, wrong: &[&str], words: &[&str]) {
        assert_eq!(self.wrong(), wrong, "{self:#?}");
        let check = wrong[0].split_once(' ').unwrap().1;
        let of_it: Vec<String> = self
            .findings
            .iter()
            .filter(|finding| finding[1] == check)
            .map(|finding| finding.join(" "))
            .collect();
        for word in words {
            assert!(of_it.iter().any(|text| text.contains(word)), "{word:?} is not in {of_it:#?}");
        }
    }
}
