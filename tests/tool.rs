//! `sexton tool`: its exit codes, what goes through it, what it leaves in the background, and its record.
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

use std::collections::HashSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::thread::spawn;
use std::time::{Duration, Instant};

use common::victim::{Mode, plan};
use common::{helper, sexton, wait_until};
use serde_json::Value;

/// Runs it to its end with nothing in its environment that could change what it does.
fn tool(words: &[&str]) -> Output {
    let mut command = Command::new(sexton());
    command.arg("tool").args(words).env_remove("SEXTON_SOCKET").stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn exit_codes_are_timeouts() {
    for (words, code) in [
        (&["--", "sh", "-c", "exit 7"][..], 7),
        (&["--", "sh", "-c", "kill -SEGV $$"], 139),
        (&["--timeout", "50ms", "--", "sleep", "1000"], 124),
        (&["--timeout", "50ms", "--", "sh", "-c", "trap 'exit 0' TERM; while :; do :; done"], 124),
        (
            &["--timeout", "50ms", "--grace", "50ms", "--", "sh", "-c", "trap '' TERM; while :; do :; done"],
            137,
        ),
        (&["--", "/nonexistent"], 127),
        (&["--", "/etc/passwd"], 126),
        (&["--timeout", "1", "--", "true"], 125),
        (&["--record", "/nonexistent/record", "--", "true"], 125),
        (&["--record", "77", "--", "true"], 125),
        (&[], 125),
    ] {
        let output = tool(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        // It says something of its own failures alone, and that in one line.
        let lines = String::from_utf8(output.stderr).unwrap().lines().count();
        let said = matches!(code, 125..=127);
        assert_eq!(lines, usize::from(said), "{words:?}");
    }
}

#[test]
fn what_a_tool_leaves_in_the_background_does_not_hang_the_caller() {
    let begun = Instant::now();
    let output = tool(&["--grace", "300ms", "--", "sh", "-c", "setsid sleep 1000 & echo out"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"out\n".as_slice()));
    // One that ignores TERM costs the caller the window and no more.
    let script = "(trap '' TERM; echo in; exec sleep 1000) & sleep 0.1; echo out";
    let output = tool(&["--grace", "300ms", "--", "sh", "-c", script]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"in\nout\n".as_slice()));
    assert!(begun.elapsed() < Duration::from_secs(20));
    // And who wants to wait for it does, within the deadline.
    let script = "(sleep 0.3; echo late) & echo out; exit 3";
    let output = tool(&["--wait", "all", "--", "sh", "-c", script]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"out\nlate\n".as_slice()));
    let output = tool(&["--wait", "all", "--timeout", "200ms", "--", "sh", "-c", "sleep 1000 & exit 0"]);
    assert_eq!(output.status.code(), Some(124));
}

#[test]
fn what_goes_through_a_tool_comes_out_byte_for_byte() {
    let mut command = Command::new(sexton());
    command.args(["tool", "--timeout", "60s", "--", "sh", "-c", "tee /dev/stderr"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
    let (mut input, sent) = (child.stdin.take().unwrap(), bytes.clone());
    let mut errors = child.stderr.take().unwrap();
    let writer = spawn(move || input.write_all(&sent).unwrap());
    let reader = spawn(move || {
        let mut all = Vec::new();
        errors.read_to_end(&mut all).unwrap();
        all
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.stdout == bytes && reader.join().unwrap() == bytes && output.status.success());
}

#[test]
fn a_record_is_one_line_with_all_that_is_known_and_many_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let path = path.to_str().unwrap();
    let script = "head -c 20000000 /dev/zero | tail -c 1 >/dev/null; exec sleep 0.1";
    let long = "x".repeat(20_000);
    let children: Vec<Child> = (0..20)
        .map(|number| {
            let name = format!("n{number}");
            let words = [
                "tool",
                "--name",
                &name,
                "--timeout",
                "9s",
                "--record",
                path,
                "--",
                "sh",
                "-c",
                script,
                &long,
            ];
            Command::new(sexton()).args(words).env_remove("SEXTON_SOCKET").spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let text = fs::read_to_string(path).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let distinct =
        |field: &str| records.iter().map(|record| record[field].to_string()).collect::<HashSet<_>>().len();
    assert_eq!((records.len(), distinct("id"), distinct("name"), distinct("supervisor")), (20, 20, 20, 20));
    for record in &records {
        let number = |field: &str| record[field].as_u64().unwrap_or_else(|| panic!("{field}: {record}"));
        assert_eq!(record["outcome"]["exited"]["code"], 0);
        assert_eq!(record["status"]["exited"]["code"], 0);
        assert!(number("ended") >= number("began") + 100 && number("duration") >= 100, "{record}");
        assert!(number("ended_monotonic") - number("began_monotonic") >= 100);
        assert!(number("timeout") == 9000 && number("max_rss") > 500_000 && number("pid") > 1);
        assert!(record["argv_cut"] == true && record["argv"].to_string().len() < 10_000);
        assert_eq!(record["killed"], Value::Array(Vec::new()));
    }
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "arguments can be secrets");
}

#[test]
fn a_record_through_a_descriptor_is_not_the_tools_to_touch() {
    let dir = tempfile::tempdir().unwrap();
    let script = "\"$0\" tool --record 7 -- sh -c 'test -e /proc/self/fd/7 && echo open' 7>record";
    let output = Command::new("sh")
        .args(["-c", script, sexton().to_str().unwrap()])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"", "the tool has it not");
    let record: Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("record")).unwrap()).unwrap();
    assert_eq!(record["outcome"]["exited"]["code"], 1);
}

#[test]
fn who_did_not_end_by_itself_is_named_with_the_rung() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record");
    let script = "(trap '' TERM; exec sleep 999) & exec sleep 1000";
    tool(&[
        "--timeout",
        "200ms",
        "--grace",
        "200ms",
        "--record",
        path.to_str().unwrap(),
        "--",
        "sh",
        "-c",
        script,
    ]);
    let record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut stages: Vec<&str> =
        record["killed"].as_array().unwrap().iter().map(|killed| killed["stage"].as_str().unwrap()).collect();
    stages.sort_unstable();
    assert_eq!(stages, ["grace", "kill"], "{record}");
}

#[test]
fn an_ignored_hang_up_stays_ignored() {
    // As nohup(1) has it.
    let script = "trap '' HUP; exec \"$0\" tool -- sh -c 'kill -HUP $PPID; exec sleep 0.2'";
    let status = Command::new("sh").args(["-c", script, sexton().to_str().unwrap()]).status().unwrap();
    assert_eq!(status.code(), Some(0));
    // One that is not ends it; the program that runs this test may have it ignored.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", sexton().to_str().unwrap(), "tool", "--", "sh", "-c"]);
    let status = command.arg("kill -HUP $PPID; exec sleep 1000").status();
    assert_eq!(status.unwrap().code(), Some(129));
}

/// One tool whose main process dies with its lock, and one whose child has to be killed with its own.
#[test]
fn the_locks_that_a_tool_left_behind_stand_in_its_record_when_they_are_removed() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let (state, socket) = (plan.path("state"), plan.path("control.sock"));
        let locks = ["one", "two"].map(|name| format!("{state}/sessions/{name}.jsonl.lock"));
        fs::create_dir_all(format!("{state}/sessions")).unwrap();
        let (program, record) = (sexton().display().to_string(), plan.path("record"));
        let holds = helper("holds_lock");
        let script = format!(
            "{program} tool --record {record} --name one -- {holds} dies {} </dev/null\n\
             {program} tool --record {record} --name two --grace 100ms -- \
               sh -c 'trap \"\" TERM; {holds} dies {} </dev/zero & wait; exit' &\n\
             until grep -q pid {} 2>/dev/null; do sleep 0.01; done; kill $!; wait $!\n\
             echo done; exec sleep 1000",
            locks[0], locks[1], locks[1]
        );
        let plan = plan.options(["-vv", "--lock-root", &state, "--control", &socket]);
        let mut victim = plan.run(["sh", "-c", &script]);
        victim.says("done");
        let ask = |words: &[&str]| {
            let mut command = Command::new(sexton());
            let output = command.args(words).env_clear().env("SEXTON_CONTROL", &socket).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let ended = || serde_json::from_str::<Value>(&ask(&["status", "--json"])).unwrap()["ended"].clone();
        let released = |name: &str| {
            let ended = ended();
            let record = ended.as_array().unwrap().iter().find(|record| record["name"] == name).cloned();
            record.unwrap()["locks_released"].clone()
        };
        for (name, path) in ["one", "two"].into_iter().zip(&locks) {
            wait_until(&format!("the record of {name} has its lock"), || !released(name).is_null());
            assert_eq!(released(name), serde_json::json!([path]), "{name}: {:#}", ended());
            assert!(!fs::exists(path).unwrap());
        }
        // A long cell of the table is folded.
        let status = ask(&["status"]).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(status.matches("; a lock was removed").count(), 2, "{status}");
        assert_eq!(victim.stderr().matches("INFO lock-of-tool: ").count(), 2, "{}", victim.stderr());
        // Each was written before anybody knew.
        assert!(
            !victim.read("record").contains("locks_released") && victim.read("record").lines().count() == 2
        );
        victim.signal(15);
        victim.ends_with(143);
    }
}
