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
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};

use common::victim::{Mode, plan};
use common::{KillOnDrop, command, sexton, text, unshare, wait_until};
use nix::libc::SIGKILL;
use serde_json::json;
use sexton::control::protocol::{Health, Incident, Status, ToolRecord, ToolRun, UnitStatus};
use sexton::types::IncidentKind;

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
    assert!(!made.exists(), "sexton made it, and no other process uses it");
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

/// A text that would rename a terminal's window, clear it, show a line as sexton's, and turn letters round.
const HOSTILE: &str = "\x1b]0;PWNED\x07\x1b[31mEVIL\u{9b}2J\u{7f}\u{202e}\u{2066}\u{200b}\u{2028}\r\nsexton: the gateway was stopped\t";

/// Checks that the output has nothing in it but lines, and none that another program has written.
#[track_caller]
fn is_harmless(what: &str, output: &[u8]) {
    let shown = text(output);
    let odd = |letter: char| letter != '\n' && sexton::types::is_deceptive(letter);
    assert!(!shown.contains(odd), "{what}: {shown:?}");
    assert!(!shown.lines().any(|line| line.starts_with("sexton: the gateway")), "{what}: {shown}");
    assert!(std::str::from_utf8(output).is_ok(), "{what}: {shown:?}");
}

/// Every command that asks a sexton that runs, each for people and for programs.
fn each_asks(socket: &str, tool: &str, mut look: impl FnMut(&str, &Output)) {
    let asking =
        ["status", "ps", "health", "stop", "restart", "restart UNIT", "signal USR1", "cancel UNIT", "reload"];
    for words in asking.into_iter().chain(["doctor --total 2s"]) {
        for json in [None, Some("--json")] {
            let words = words.split(' ').map(|word| if word == "UNIT" { tool } else { word }).chain(json);
            let words: Vec<&str> = words.collect();
            let output = command(&words).env("SEXTON_CONTROL", socket).output().unwrap();
            look(&format!("{words:?}"), &output);
        }
    }
}

/// An answer of another sexton version, or of another program in its place, cannot control the terminal.
#[test]
fn no_answer_of_a_sexton_reaches_the_terminal_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("c.sock");
    let unit = UnitStatus { name: HOSTILE.into(), last: Some(HOSTILE.into()), ..UnitStatus::default() };
    let status = Status {
        version: HOSTILE.into(),
        reach: HOSTILE.into(),
        watch: Some(HOSTILE.into()),
        gateway: unit.clone(),
        units: vec![unit],
        tools: vec![ToolRun {
            id: HOSTILE.into(),
            name: HOSTILE.into(),
            argv: vec![HOSTILE.into()],
            ..ToolRun::default()
        }],
        ended: vec![ToolRecord {
            id: HOSTILE.into(),
            name: HOSTILE.into(),
            outcome: json!({ HOSTILE: HOSTILE }),
            ..ToolRecord::default()
        }],
        health: Some(Health { reason: HOSTILE.into(), ..Health::default() }),
        incidents: vec![Incident {
            kind: IncidentKind::Log,
            subject: HOSTILE.into(),
            detail: HOSTILE.into(),
            began: 1,
            ended: None,
        }],
        ..Status::default()
    };
    let answers = [
        json!({ "status": status }),
        json!({ "done": HOSTILE }),
        json!({ "refused": HOSTILE }),
        json!({ "cancelled": HOSTILE }),
        json!({ HOSTILE: HOSTILE }),
        json!({ "status": { HOSTILE: HOSTILE } }),
        json!({ "status": HOSTILE }),
    ];
    for answer in &answers {
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut line = String::new();
                    // One that only checks whether a process listens is the last.
                    if BufReader::new(&stream).read_line(&mut line).unwrap_or(0) == 0 {
                        break;
                    }
                    // A client may close the connection.
                    let _ = stream.write_all(format!("{answer}\n").as_bytes());
                }
            });
            let socket = socket.to_str().unwrap();
            let asked = std::panic::catch_unwind(|| {
                each_asks(socket, HOSTILE, |words, output| {
                    is_harmless(words, &output.stdout);
                    is_harmless(words, &output.stderr);
                    if words.contains("--json") && !output.stdout.is_empty() {
                        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                        let same = json["done"] == HOSTILE || json["refused"] == HOSTILE;
                        assert!(!answer["done"].is_string() || words.contains("doctor") || same, "{json}");
                    }
                });
            });
            drop(UnixStream::connect(socket).unwrap());
            asked.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
        });
        fs::remove_file(&socket).unwrap();
    }
}

/// A tool calls itself what it likes.
#[test]
fn no_word_of_a_tool_reaches_the_terminal_or_the_log_as_it_is() {
    for format in ["text", "json"] {
        let Some(plan) = plan(Mode::Tree) else { return };
        let socket = plan.path("run/control.sock");
        let plan = plan.options(["-vv", "--log-format", format]).variable("SEXTON_CONTROL", &socket);
        let mut victim = plan.run(["sh", "-c", "trap : USR1; echo up; while :; do sleep 0.05; done"]);
        victim.says("up");
        let tool = |request: serde_json::Value| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(format!("{request}\n").as_bytes()).unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (stream, line)
        };
        let began = |id: &str| {
            tool(json!({ "op": "tool-began", "id": id, "name": HOSTILE, "argv": [HOSTILE], "supervisor": 1,
                         "pid": 4_194_303, "began": 5 }))
        };
        let (lost, _) = began("lost");
        let (_tool, answer) = began(HOSTILE);
        assert!(answer.contains("done"), "{answer}");
        drop(lost);
        let cancelled = command(["cancel", HOSTILE]).env("SEXTON_CONTROL", &socket).output().unwrap();
        assert_eq!(cancelled.status.code(), Some(0), "{cancelled:?}");
        assert!(text(&cancelled.stdout).starts_with("\\u{1b}]0;PWNED"), "{cancelled:?}");
        is_harmless("cancel", &cancelled.stdout);
        for words in
            [["status", "--json"], ["status", "--control"], ["ps", "--json"], ["cancel", "other\x1b[2J"]]
        {
            let words = words.map(|word| word.to_owned());
            let mut words: Vec<String> = words.to_vec();
            if words[1] == "--control" {
                words.push(socket.clone());
            }
            let output = command(&words).env("SEXTON_CONTROL", &socket).output().unwrap();
            is_harmless(&format!("{words:?}"), &output.stdout);
            is_harmless(&format!("{words:?}"), &output.stderr);
        }
        wait_until("the lost tool is noted", || victim.stderr().contains("tool-lost"));
        is_harmless("the log", victim.stderr().as_bytes());
        victim.signal(SIGKILL);
    }
}
