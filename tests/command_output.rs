//! Where the output of a command goes, and the files that sexton makes for itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they start processes, and a failure must be loud"
)]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::process::{Command, Stdio};

use common::victim::{Mode, plan};
use common::{KillOnDrop, command, sexton, text, unshare, wait_until};
use nix::libc::SIGKILL;

/// Every command that prints and needs no sexton that runs.
const PRINT: [&str; 9] = [
    "--help",
    "--version",
    "check -- true",
    "check --json -- true",
    "locks --root ROOT",
    "locks --root ROOT --json",
    "doctor --help",
    "doctor --json --total 100ms",
    "measure --help",
];

fn printing(words: &str, root: &str) -> Command {
    command(words.split(' ').map(|word| if word == "ROOT" { root } else { word }))
}

#[test]
fn output_that_could_not_be_written_is_no_success() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    for words in PRINT {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = printing(words, root).stdout(full).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(125), 1), "{words}: {said}");
        assert!(said.contains("standard output"), "{words}: {said}");

        let mut closed = Command::new("sh");
        closed.args(["-c", "exec \"$@\" >&-", "sh"]).arg(sexton());
        closed.args(words.split(' ').map(|word| if word == "ROOT" { root } else { word }));
        closed.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("SEXTON_CONTROL", "off");
        let output = closed.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{words}: {}", text(&output.stderr));
    }
}

#[test]
fn a_reader_that_has_gone_away_is_no_reason_to_complain() {
    let root = tempfile::tempdir().unwrap();
    for words in PRINT {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = printing(words, root.path().to_str().unwrap()).stdout(writer).output().unwrap();
        assert_eq!(text(&output.stderr), "", "{words}");
        assert!(matches!(output.status.code(), Some(0 | 1)), "{words}: {:?}", output.status);
    }
}

#[test]
fn an_answer_of_a_running_sexton_that_could_not_be_written_is_no_success() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let socket = plan.path("run/control.sock");
    let mut victim = plan.variable("SEXTON_CONTROL", &socket).run_as_typed([
        "sh",
        "-c",
        "trap : USR1; echo up; while :; do sleep 0.05; done",
    ]);
    victim.says("up");
    for words in ["status", "status --json", "ps", "health", "status --watch", "signal USR1"] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(words.split(' ')).env("SEXTON_CONTROL", &socket).stdout(full).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(125), 1), "{words}: {said}");
    }
    victim.signal(SIGKILL);
}

#[test]
fn a_directory_that_was_made_for_the_socket_goes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("typo");
    let there = directory.path().join("there");
    fs::create_dir(&there).unwrap();
    for place in [&made, &there] {
        let socket = place.join("c.sock");
        let script = format!("test -S '{}'", socket.display());
        let output = command([OsStr::new("--control"), socket.as_os_str()])
            .args(["--", "sh", "-c", &script])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    assert!(!made.exists(), "sexton made it, and nobody else uses it");
    assert!(there.exists(), "it was there before");
}

#[test]
fn without_dev_null_a_units_input_is_empty_and_the_watch_lives() {
    let Some(mut words) = unshare() else { return };
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    let config = format!(
        "command = ['sh', '-c', 'while [ ! -e {done} ]; do sleep 0.05; done']\n\
         [logs.l]\nfiles = ['{log}']\npattern = 'x'\n\
         [units.reads]\ncommand = ['sh', '-c', 'cat; echo cat $? >{said}; exec 8<{said}; exec sleep 1000']\n",
        done = place("done"),
        log = place("log"),
        said = place("said"),
    );
    fs::write(place("sexton.toml"), config).unwrap();
    words.extend(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"].map(str::to_owned));
    words.extend(["sh", "-c", "mount -t tmpfs none /dev && exec \"$@\"", "sh"].map(str::to_owned));
    let socket = place("c.sock");
    let log = File::create(place("err")).unwrap();
    let child = Command::new(&words[0])
        .args(&words[1..])
        .arg(sexton())
        .args(["--config", &place("sexton.toml"), "--control", &socket, "-v"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut child = KillOnDrop(child);
    let said = || fs::read_to_string(place("said")).unwrap_or_default();
    wait_until("the unit has read its input", || said().ends_with('\n'));
    assert_eq!(said(), "cat 0\n", "there was an empty input");
    wait_until("sexton-watch looks", || {
        let log = fs::read_to_string(place("err")).unwrap();
        log.contains("sexton-watch looks") || log.contains("SIGABRT") || log.contains("code=134")
    });
    fs::write(place("done"), "").unwrap();
    child.0.wait().unwrap();
    let log = fs::read_to_string(place("err")).unwrap();
    assert!(!log.contains("SIGABRT") && !log.contains("code=134"), "{log}");
}
