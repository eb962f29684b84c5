//! `sexton health`: two exit codes, one line, one second.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failure must be loud, and tests look at the clock and start processes"
)]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use sexton::control::protocol::{Answer, Health, HealthState, Request, Status, UnitState, UnitStatus};

use common::sexton;

fn status(health: HealthState, gateway: UnitState) -> Status {
    let health = Health {
        state: health,
        reason: "readyz: as it is".into(),
        p99_ms: Some(41_400.0),
        ..Health::default()
    };
    let gateway = UnitStatus { state: gateway, ..UnitStatus::default() };
    Status { gateway, health: Some(health), ..Status::default() }
}

/// A sexton that has this status; without one it never answers.
fn answer(path: &Path, status: Option<Status>) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let Some(status) = &status else {
                silent.push(stream);
                continue;
            };
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), Request::Status);
            let answer = serde_json::to_string(&Answer::Status(Box::new(status.clone()))).unwrap();
            writeln!(stream, "{answer}").unwrap();
        }
    });
}

fn ask(socket: &Path, more: &[&str]) -> (Output, Duration) {
    let begun = Instant::now();
    let mut command = Command::new(sexton());
    let output = command.arg("health").args(more).env("SEXTON_CONTROL", socket).output().unwrap();
    (output, begun.elapsed())
}

#[test]
fn it_says_how_the_gateway_is_and_how_slow() {
    for (number, (health, gateway, code, said)) in [
        (HealthState::Healthy, UnitState::Running, 0, "healthy for "),
        (HealthState::Slow, UnitState::Running, 0, "slow for "),
        (HealthState::Unhealthy, UnitState::Running, 1, "unhealthy for "),
        (HealthState::Starting, UnitState::Running, 1, "starting for "),
        (HealthState::Draining, UnitState::Running, 1, "draining for "),
        (HealthState::Healthy, UnitState::Waiting, 1, "the gateway does not run: waiting"),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join(number.to_string());
        answer(&socket, Some(status(health, gateway)));
        let (output, took) = ask(&socket, &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with(said) && text.lines().count() == 1, "{text}");
        assert!(code == 1 || text.ends_with(": readyz: as it is; latency p99 41.4 s\n"), "{text}");
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        let (output, _) = ask(&socket, &["--json"]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["well"], code == 0);
    }
}

#[test]
fn a_sexton_that_does_not_answer_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("silent");
    answer(&socket, None);
    let (output, took) = ask(&socket, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("did not answer in time"));
    let (output, _) = ask(&dir.path().join("nobody"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no sexton answers at "));
}

#[test]
fn without_anybody_who_measures_a_gateway_that_runs_is_well() {
    let Some(plan) = common::victim::plan(common::victim::Mode::Tree) else { return };
    let socket = plan.path("control.sock");
    let mut victim = plan.variable("SEXTON_CONTROL", &socket).run(["sh", "-c", "echo up; exec sleep 1000"]);
    victim.says("up");
    let (output, _) = ask(Path::new(&socket), &[]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "the gateway runs; its health is not measured\n");
    assert_eq!(output.status.code(), Some(0));
    victim.signal(15);
    victim.ends_with(143);
}
