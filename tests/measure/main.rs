//! `sexton measure` through the whole binary, with stand-ins for gateways.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure must be loud"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::libc::SIGTERM;
use serde_json::Value;
use tempfile::TempDir;

use common::process::{marked, send};
use common::{SHORT_TIMEOUT, helper, sexton, wait_until};

/// A measurement in a directory of its own, where its traces would be seen.
struct Measurement {
    home: TempDir,
    mark: String,
}

/// What it came to.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    said: String,
    json: Value,
}

impl Measurement {
    fn new() -> Measurement {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("tmp")).unwrap();
        // Its own sextons get no variable of sexton's.
        let mark = format!("MEASURE_TEST_MARK={}", home.path().display());
        Measurement { home, mark }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A program that does this.
    fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    fn start(&self, words: &[&str]) -> Child {
        let (name, value) = self.mark.split_once('=').unwrap();
        Command::new(sexton())
            .args(["measure", "--health-url", "http://127.0.0.1:{port}/", "--json"])
            .arg(self.path("report.json"))
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.home.path())
            .env("TMPDIR", self.path("tmp"))
            // What is set for sextons of the operator's own must not matter.
            .env("SEXTON_GRACE", "1ms")
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.path("out")).unwrap())
            .stderr(fs::File::create(self.path("said")).unwrap())
            .spawn()
            .unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Nothing is left of it: no process, no file.
    #[track_caller]
    fn leaves_nothing(&self) {
        wait_until("every process has ended", || marked(&self.mark).is_empty());
        let left: Vec<_> = fs::read_dir(self.path("tmp")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Told {
        let status = self.start(words).wait().unwrap();
        let told = Told {
            code: status.code().unwrap(),
            out: self.read("out"),
            said: self.read("said"),
            json: serde_json::from_str(&self.read("report.json")).unwrap_or_default(),
        };
        self.leaves_nothing();
        told
    }
}

impl Told {
    /// The verdict on a metric, and its ratio.
    fn verdict(&self, metric: &str) -> (String, f64) {
        let rows = self.json["metrics"].as_array().unwrap_or_else(|| panic!("{self:#?}"));
        let row =
            rows.iter().find(|row| row["metric"] == metric).unwrap_or_else(|| panic!("{metric}: {self:#?}"));
        (row["verdict"].as_str().unwrap().to_owned(), row["ratio"].as_f64().unwrap_or_default())
    }

    /// The metrics that are called worse.
    fn worse(&self) -> Vec<&str> {
        let rows = self.json["metrics"].as_array().unwrap_or_else(|| panic!("{self:#?}"));
        let worse = rows.iter().filter(|row| row["verdict"] == "worse");
        worse.map(|row| row["metric"].as_str().unwrap()).collect()
    }
}

/// Two stand-ins side by side. Of ten runs each, the rank test allows for next to none that a busy machine holds up.
fn compared(measurement: &Measurement, options: &[&str], candidate: [&str; 2]) -> Told {
    let program = helper("slow_gateway");
    let base = [&program, "{port}", "100", "60", "--against", "--"];
    let words = [options, &["--runs=12", "--duration=400ms", "--"], &base, &[&program, "{port}"], &candidate];
    measurement.run(&words.concat())
}

#[test]
fn one_that_takes_twice_as_long_is_called_slower_in_every_form() {
    let measurement = Measurement::new();
    let [html, markdown] = ["report.html", "report.md"].map(|name| measurement.path(name));
    let forms = ["--html", html.to_str().unwrap(), "--markdown", markdown.to_str().unwrap()];
    let told = compared(&measurement, &[&forms[..], &["--fail-if", "p50>1.5x"]].concat(), ["200", "120"]);
    assert_eq!(told.code, 1, "{told:#?}");
    let (verdict, ratio) = told.verdict("p50");
    assert!(verdict == "worse" && ratio > 1.5, "{told:#?}");
    assert!(told.out.contains("FAILED: p50>1.5x"), "{told:#?}");
    assert_eq!(told.said.lines().count(), 24, "a line each run: {told:#?}");
    assert!(measurement.read("report.md").contains("| slower |"));
    let page = measurement.read("report.html");
    assert_eq!(page.matches("<polyline").count(), 48, "two curves of each run");
}

/// The long run: `SEXTON_MEASUREMENTS=20 cargo test --test measure -- --ignored --nocapture`.
#[test]
#[ignore = "takes half a minute each time"]
fn twice_as_slow_is_always_told_and_the_same_never() {
    let times: u32 = std::env::var("SEXTON_MEASUREMENTS").map_or(1, |times| times.parse().unwrap());
    for time in 1..=times {
        let told = compared(&Measurement::new(), &[], ["200", "120"]);
        let same = compared(&Measurement::new(), &[], ["100", "60"]);
        println!("{time}: twice as slow: {:?}; the same: {:?}", told.worse(), same.worse());
        assert!(told.worse().contains(&"p50"), "{told:#?}");
        assert_eq!(same.worse(), Vec::<&str>::new(), "{same:#?}");
    }
}

#[test]
fn a_command_line_that_hangs_is_a_result() {
    let measurement = Measurement::new();
    let slow = measurement.script("slow", "sleep 40; echo 1.0");
    let silent = measurement.script("silent", "trap '' TERM; while :; do sleep 1000; done");
    let begun = Instant::now();
    let told = measurement.run(&[
        "--runs=1",
        "--duration=100ms",
        "--command-within=500ms",
        "--version-command",
        &slow,
        "--doctor-command",
        &silent,
        "--fail-if=version>10s",
        "--",
        &helper("slow_gateway"),
        "{port}",
        "1",
        "1",
    ]);
    assert!(begun.elapsed() < SHORT_TIMEOUT, "{:?}", begun.elapsed());
    assert!(told.out.contains("base: version: no output in 500ms (1 of 1 runs)"), "{told:#?}");
    assert!(told.out.contains("base: doctor: no output in 500ms (1 of 1 runs)"), "{told:#?}");
    assert!(told.out.contains("FAILED: version>10s") && told.code == 1, "{told:#?}");
}

#[test]
fn a_gateway_that_never_gets_well_or_ends_is_a_result() {
    let measurement = Measurement::new();
    let mute = measurement.script("mute", "echo cannot bind; sleep 1000");
    let told = measurement.run(&["--runs=1", "--start-within=300ms", "--", &mute]);
    assert!(told.out.contains("it was not well within 300ms: cannot bind (1 of 1 runs)"), "{told:#?}");
    assert!(told.out.lines().any(|line| line.starts_with("start") && line.contains("never")), "{told:#?}");
    assert_eq!(told.code, 0);
    let dies = measurement.script("dies", "echo no configuration; exit 78");
    let told = measurement.run(&["--runs=1", "--fail-if=p99>1s", "--", &dies]);
    assert!(told.out.contains("it ended by itself with 78: no configuration"), "{told:#?}");
    assert!(told.out.contains("FAILED: p99>1s: it was not measured") && told.code == 1, "{told:#?}");
}

#[test]
fn locks_that_are_left_behind_are_counted() {
    let measurement = Measurement::new();
    let lock = "{state}/agents/main/sessions/one.jsonl.lock";
    let gateway = helper("slow_gateway");
    let words =
        ["--runs=1", "--duration=100ms", "--fail-if=locks>0", "--", &gateway, "{port}", "1", "1", lock];
    let told = measurement.run(&words);
    assert_eq!(told.code, 1, "{told:#?}");
    assert_eq!(told.json["base"]["runs"][0]["locks"], 1, "{told:#?}");
}

#[test]
fn an_interrupted_measurement_ends_its_gateway() {
    let measurement = Measurement::new();
    let gateway = helper("slow_gateway");
    let mut child = measurement.start(&["--duration=1000s", "--", &gateway, "{port}", "1", "1"]);
    wait_until("the gateway runs", || {
        marked(&measurement.mark).iter().any(|process| process.name == "slow_gateway")
    });
    send(child.id().cast_signed(), SIGTERM).unwrap();
    let begun = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(143), "{}", measurement.read("said"));
    assert!(begun.elapsed() < SHORT_TIMEOUT);
    measurement.leaves_nothing();
    assert!(begun.elapsed() < SHORT_TIMEOUT + Duration::from_secs(1));
}

#[test]
fn what_cannot_be_measured_is_refused_in_one_line() {
    let run = |words: &[&str]| {
        let run = Command::new(sexton()).arg("measure").args(words).stdin(Stdio::null()).output().unwrap();
        (run.status.code(), String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap())
    };
    for (words, why) in [
        (&["--", "gw"][..], "name it with --health-url"),
        (&["--fail-if", "p99>1.5", "--", "openclaw", "gateway"], "such as 500ms or 20s"),
        (&["--fail-if", "p99>2x", "--", "openclaw", "gateway"], "takes a second gateway"),
        (&[], "no gateway was given"),
    ] {
        let (code, _, said) = run(words);
        assert!(code == Some(125) && said.contains(why) && said.lines().count() == 1, "{words:?}: {said}");
    }
    let (code, said, _) = run(&["--help"]);
    assert!(code == Some(0) && said.contains("--against --") && said.lines().count() <= 40, "{said}");
}
