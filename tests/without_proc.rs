//! A system whose /proc is not mounted: everything that needs no /proc works.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test is loud, and not PID 1")]

mod common;

use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs `sexton OPTIONS -- sh -c SCRIPT` where /proc is an empty directory, in a pid namespace of its own or
/// not, and gives the exit code and what it said.
fn run(init: bool, options: &str, script: &str) -> (Option<i32>, String) {
    let state = tempfile::tempdir().unwrap();
    let sexton = env!("CARGO_BIN_EXE_sexton");
    let inner = format!("umount -l /proc && exec {sexton} -v {options} -- sh -c '{script}'");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--fork", "--kill-child"]);
    if init {
        command.arg("--pid");
    }
    command.args(["sh", "-c", &inner]).env("HOME", state.path()).env("OPENCLAW_STATE_DIR", state.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn it_starts_sweeps_reaps_and_ends_without_waiting_for_a_deadline() {
    if !nix::unistd::geteuid().is_root() {
        return common::skip("root", "to unmount /proc in a mount namespace");
    }
    for init in [true, false] {
        let begun = Instant::now();
        // Only as init can leftovers be reached without /proc.
        if init {
            let (code, said) = run(init, "--kill-after 100s", "sleep 1000 & (setsid sleep 1000 &); exit 5");
            assert_eq!(code, Some(5), "{said}");
        }
        let (code, said) = run(init, "", "exit 6");
        assert_eq!(code, Some(6), "{said}");
        assert!(!said.contains("overdue"), "{said}");
        assert!(begun.elapsed().as_secs() < 60, "no window was slept out");
    }
}

/// `unshare --pid` without `--mount-proc`: the numbers that /proc shows are those of other processes.
#[test]
fn another_namespaces_proc_is_taken_for_none() {
    if !nix::unistd::geteuid().is_root() {
        return common::skip("root", "to make a pid namespace");
    }
    let (sexton, state) = (env!("CARGO_BIN_EXE_sexton"), tempfile::tempdir().unwrap());
    for init in [true, false] {
        let begun = Instant::now();
        // Without a rest of the line the shell would become sexton.
        let (front, back) = if init { ("exec", "") } else { ("", "; exit $?") };
        let inner = format!("{front} {sexton} -v -- sh -c 'sleep 0.2 & exit 6'{back}");
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "sh", "-c", &inner]);
        command.env("HOME", state.path()).env("OPENCLAW_STATE_DIR", state.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{said}");
        assert!(!said.contains("still alive") && !said.contains("overdue"), "{said}");
        assert!(begun.elapsed().as_secs() < 10, "no window was slept out: {said}");
    }
}

/// A step before the stop signal is for the gateway's user, and who that is cannot be seen.
#[test]
fn root_runs_no_step_for_a_gateway_that_may_be_another_users() {
    if !nix::unistd::geteuid().is_root() {
        return common::skip("root", "to unmount /proc in a mount namespace");
    }
    let state = tempfile::tempdir().unwrap();
    let (config, mark) = (state.path().join("sexton.toml"), state.path().join("mark"));
    std::fs::write(&config, format!("[stop]\nbefore = [\"touch\", \"{}\"]\n", mark.display())).unwrap();
    let options = format!("--config {}", config.display());
    let (code, said) = run(true, &options, "trap \"exit 6\" TERM; kill -TERM 1; while :; do sleep 0.1; done");
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("stop.before was not run: it cannot be told whose the gateway is"), "{said}");
    assert!(!mark.exists());
}
