//! `sexton-sh`: a shell to whoever calls it, and a managed tool to whoever stands above it.
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

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::process::{Process, marked, send};
use common::victim::{Mode, Plan, plan};
use common::{sexton, wait_until};
use serde_json::Value;
use tempfile::TempDir;

/// A directory with sexton-sh in it.
fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let shell = dir.path().join("sexton-sh");
    symlink(sexton(), &shell).unwrap();
    (dir, shell)
}

/// Runs it to its end, with these variables and no others that matter.
fn shell(words: &[&str], variables: &[(&str, &str)], input: &str) -> Output {
    let (_dir, shell) = place();
    let mut command = Command::new(shell);
    command.args(words).env_remove("SEXTON_SOCKET").env("SEXTON_SHELL", "/bin/sh");
    command
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that ends without reading closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn it_is_the_shell_that_it_runs() {
    let said = |words: &[&str], input: &str| {
        let output = shell(words, &[], input);
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    assert_eq!(
        said(&["-c", "echo \"$0 $*\"; exit 3", "name", "a b", "c"], ""),
        ("name a b c\n".into(), Some(3))
    );
    assert_eq!(said(&["-s", "x"], "echo \"$1\""), ("x\n".into(), Some(0)));
    assert_eq!(said(&[], "echo script; false"), ("script\n".into(), Some(1)));
    assert_eq!(said(&["-ec", "false; echo no"], ""), (String::new(), Some(1)));
    assert_eq!(said(&["-c", "cat"], "through"), ("through".into(), Some(0)));
    assert_eq!(said(&["-c", "no-such-command 2>/dev/null"], "").1, Some(127));
    let killed = shell(&["-c", "kill -SEGV $$"], &[], "");
    assert_eq!(killed.status.signal(), Some(11), "a caller sees what the shell would have shown");
}

#[test]
fn it_finds_a_shell_and_never_itself() {
    let (_dir, ours) = place();
    for named in [ours.to_str().unwrap(), ""] {
        let output = shell(&["-c", "echo ${BASH_VERSION:+bash}"], &[("SEXTON_SHELL", named)], "");
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(0), b"bash\n".as_slice()),
            "{named}"
        );
    }
    let output = shell(&["-c", "true"], &[("SEXTON_SHELL", "/nonexistent/shell")], "");
    assert_eq!(output.status.code(), Some(127));
    let output = shell(&["-c", "true"], &[("SEXTON_TOOL_TIMEOUT", "soon")], "");
    assert_eq!(output.status.code(), Some(125));
    assert!(
        String::from_utf8(output.stderr).unwrap().contains("SEXTON_TOOL_TIMEOUT"),
        "it names the variable"
    );
}

#[test]
fn a_bash_reads_no_profile_though_its_input_is_a_socket() {
    let (dir, shell) = place();
    fs::write(dir.path().join(".bashrc"), "echo rc\n").unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut command = Command::new(shell);
    command
        .args(["-c", "echo done"])
        .env("SEXTON_SHELL", "/bin/bash")
        .env("HOME", dir.path())
        .env_remove("SHLVL");
    let output = command.stdin(std::os::fd::OwnedFd::from(theirs)).output().unwrap();
    assert_eq!(output.stdout, b"done\n");
    drop(ours);
}

#[test]
fn its_deadline_comes_from_the_environment() {
    let begun = Instant::now();
    let variables = [("SEXTON_TOOL_TIMEOUT", "100ms"), ("SEXTON_TOOL_GRACE", "100ms")];
    let output = shell(&["-c", "trap '' TERM; while :; do sleep 1; done"], &variables, "");
    assert_eq!(output.status.code(), Some(137));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

/// A sexton above a shell, whose tools are managed.
fn above(mode: Mode) -> Option<Plan> {
    let plan = plan(mode)?;
    symlink(sexton(), plan.path("sexton-sh")).unwrap();
    let (record, socket) = (plan.path("record"), plan.path("c.sock"));
    let text = format!("[tools]\nshell = true\ngrace = \"500ms\"\ntimeout = \"90s\"\nrecord = '{record}'\n");
    fs::write(plan.path("sexton.toml"), text).unwrap();
    let file = plan.path("sexton.toml");
    let path = format!("{}:{}", plan.path(""), std::env::var("PATH").unwrap());
    Some(plan.options(["--config", &file, "--control", &socket, "--no-locks"]).variable("PATH", &path))
}

#[test]
fn the_gateway_gets_it_as_its_shell() {
    let Some(plan) = above(Mode::Tree) else { return };
    let mut victim = plan.variable("SHELL", "/bin/bash").run([
        "sh",
        "-c",
        "echo $SHELL; echo $SEXTON_SHELL $SEXTON_TOOL_GRACE $SEXTON_TOOL_TIMEOUT; \"$SHELL\" -c 'echo ${SEXTON_TOOL_ID:+managed}; exit 4'",
    ]);
    assert_eq!(victim.code(), 4);
    let said = victim.stdout();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].ends_with("/sexton-sh"), "{said}");
    assert_eq!(
        lines[1..],
        ["/bin/bash 500ms 1m", "managed"].map(|line| line.replace("1m", "1m 30s")),
        "{said}"
    );
    let record: Value = serde_json::from_str(&victim.read("record")).unwrap();
    assert_eq!(record["outcome"]["exited"]["code"], 4, "{record}");
}

/// A gateway that gives its tool up as OpenClaw 2026.5 does: TERM to the group, and at once KILL to its leader.
const GIVES_UP: &str = "setsid \"$SHELL\" -c '
      setsid sh -c \"echo in >daemon; exec sleep 1000\" &
      sh -c \"trap \\\"\\\" TERM; echo in >deaf; while :; do sleep 1; done\" &
      echo in >leader; sleep 1000' & tool=$!
    until test -s daemon && test -s deaf && test -s leader; do sleep 0.01; done
    kill -TERM -$tool; kill -KILL $tool; wait $tool; echo gave up; : >gave-up; exec sleep 1001";

#[test]
fn what_a_killed_tool_leaves_with_us_is_ended_and_its_record_says_lost() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = above(mode) else { return };
        let script = format!("cd '{}' || exit 1; {GIVES_UP}", plan.path(""));
        let mut victim = plan.run(["sh", "-c", &script]);
        victim.says("gave up");
        let begun = Instant::now();
        let left = |mark: &str| -> Vec<Process> {
            let gateway = |process: &Process| process.name == "sexton" || is_gateway(process.pid);
            marked(mark).into_iter().filter(|process| !gateway(process)).collect()
        };
        wait_until("nothing of the tool is left", || left(victim.mark()).is_empty());
        // The window, a second, and what a busy machine needs.
        assert!(
            begun.elapsed() < Duration::from_millis(500) + Duration::from_secs(3),
            "{mode:?}: {:?}",
            begun.elapsed()
        );
        wait_until("the record is there", || victim.read("record").ends_with('\n'));
        let record: Value = serde_json::from_str(&victim.read("record")).unwrap();
        // TERM came a moment before KILL, and may have been heard.
        assert!(
            record["outcome"]["lost"].is_object() || record["outcome"]["cancelled"].is_object(),
            "{record}"
        );
        assert!(marked(victim.mark()).iter().any(|process| is_gateway(process.pid)), "the gateway lives on");
        victim.signal(15);
        assert_eq!(victim.code(), 143);
    }
}

fn is_gateway(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().windows(4).any(|part| part == b"1001")
}

#[test]
fn a_killed_sexton_takes_the_gateway_and_its_tools_with_it() {
    let Some(plan) = above(Mode::Tree) else { return };
    let script = format!(
        "cd '{}' || exit 1; \"$SHELL\" -c 'trap \"\" TERM; echo in >deaf; while :; do sleep 1; done' & exec sleep 1001",
        plan.path("")
    );
    let mut victim = plan.run(["sh", "-c", &script]);
    victim.notes("deaf", "in");
    let begun = Instant::now();
    send(victim.pid(), 9).unwrap();
    wait_until("everything is gone", || marked(victim.mark()).is_empty());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}
