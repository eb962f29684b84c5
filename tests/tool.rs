//! `sexton tool`: whatever a tool does, and whoever ends it, its tree is gone in time, its record says how, and
//! the caller's pipe is closed.
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
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::{Duration, Instant};

use common::cgroup::Cgroup;
use common::process::{Process, children, kill_if, marked, send};
use common::{PATIENCE, helper, sexton, unshare, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const TERM: i32 = 15;
const KILL: i32 = 9;

/// The tool's window. What ignores TERM lives so much longer, and nothing more than a second beyond.
const GRACE: Duration = Duration::from_millis(700);
const MARGIN: Duration = Duration::from_secs(1);

/// A tool, and whether it takes KILL to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Obeys,
    Ignores,
    Daemons,
    Escapee,
    Stopped,
    Bomb,
    ClosesItsDescriptors,
    Floods,
}

const KINDS: [Kind; 8] = [
    Kind::Obeys,
    Kind::Ignores,
    Kind::Daemons,
    Kind::Escapee,
    Kind::Stopped,
    Kind::Bomb,
    Kind::ClosesItsDescriptors,
    Kind::Floods,
];

impl Kind {
    /// What it is as a script; it makes the file `ready` when it is.
    fn script(self, limit: Option<&Path>) -> String {
        let script = match self {
            Kind::Obeys => "echo out; : >ready; exec sleep 1000",
            Kind::Ignores => "trap '' TERM; echo out; : >ready; while :; do sleep 1; done",
            Kind::Daemons => {
                "for n in 1 2 3; do (setsid sh -c 'trap \"\" TERM; : >daemon-$0; exec sleep 1000' $n &); done
                 until test -e daemon-1 && test -e daemon-2 && test -e daemon-3; do sleep 0.01; done
                 echo out; : >ready; sleep 1000"
            }
            Kind::Escapee => "setsid sh -c 'echo out; : >ready; exec sleep 1000' & wait",
            Kind::Stopped => "echo out; sh -c 'kill -STOP $PPID; : >ready'; sleep 1000",
            Kind::Bomb => {
                let limit = limit.expect("a bomb has a limit");
                let bomb = format!("{} bomb {}", helper("keeps_forking"), limit.display());
                return format!("echo out; {bomb} | while read _; do : >ready; done");
            }
            Kind::ClosesItsDescriptors => "echo out; exec <&- >&- 2>&-; : >ready; exec sleep 1000",
            Kind::Floods => "echo out; : >ready; exec yes",
        };
        script.to_owned()
    }

    fn takes_kill(self) -> bool {
        matches!(self, Kind::Ignores | Kind::Daemons | Kind::Bomb)
    }
}

/// How a tool is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Timeout,
    Cancel,
    ParentKilled,
    InitStops,
}

/// The first line that came through the pipe, at the pipe's end.
fn listen(mut pipe: ChildStdout) -> Receiver<String> {
    let (tell, told) = channel();
    spawn(move || {
        let (mut first, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            if first.len() < 8 {
                first.extend_from_slice(&buffer[..length.min(8)]);
            }
        }
        let _ = tell.send(String::from_utf8_lossy(&first).lines().next().unwrap_or_default().to_owned());
    });
    told
}

/// A tool with the shell that is its parent.
struct Run {
    dir: TempDir,
    begun: Instant,
    /// In the environment of everything that was started, and of the tool alone.
    all: String,
    tool: String,
    child: Child,
    output: Receiver<String>,
    group: Option<Cgroup>,
}

impl Run {
    /// Starts it and waits until it is ready.
    fn start(kind: Kind, end: End) -> Option<Run> {
        let group = if kind == Kind::Bomb { Some(Cgroup::with_pids_limit(100)?) } else { None };
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().display().to_string();
        let (all, tool) = (format!("SEXTON_TEST_ALL={place}"), format!("SEXTON_TEST_TOOL={place}"));
        let mut line: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(|word| (*word).to_owned()));
        let program = sexton();
        let program = program.to_str().unwrap();
        let limit = group.as_ref().map(Cgroup::pids_max);
        let procs = group.as_ref().map(|group| group.dir.join("cgroup.procs"));
        if let Some(procs) = &procs {
            add(&["sh", "-c", "echo $$ >\"$0\" && exec \"$@\"", procs.to_str().unwrap()]);
        }
        if end == End::InitStops {
            let unshare = unshare()?;
            add(&unshare.iter().map(String::as_str).collect::<Vec<_>>());
            add(&["--pid", "--fork", "--kill-child", "--mount-proc"]);
            add(&[program, "--no-locks", "--control", "off", "--"]);
        }
        // The parent keeps nothing of the pipe, says which code it saw, and stays.
        add(&[
            "sh",
            "-c",
            "\"$@\" & exec >&-; wait $!; echo $? >code.new; mv code.new code; exec sleep 1000",
            "parent",
        ]);
        let timeout = if end == End::Timeout { "3s" } else { "100s" };
        let grace = format!("{}ms", GRACE.as_millis());
        add(&["env", &tool, program, "tool", "--grace", &grace, "--timeout", timeout, "--record", "record"]);
        add(&["--", "sh", "-c", &kind.script(limit.as_deref())]);
        let (name, value) = all.split_once('=').unwrap();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).current_dir(dir.path()).env(name, value).stdin(Stdio::null());
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = listen(child.stdout.take().unwrap());
        let run = Run { dir, begun, all, tool, child, output, group };
        wait_until("the tool is ready", || run.dir.path().join("ready").exists());
        if kind == Kind::Stopped {
            wait_until("the tool is stopped", || run.left().iter().any(|process| process.state == 'T'));
        }
        Some(run)
    }

    /// Who is left of the tool, its supervisor included.
    fn left(&self) -> Vec<Process> {
        marked(&self.tool)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// `sexton tool` itself.
    fn supervisor(&self) -> Process {
        let left = self.left();
        let found = left
            .iter()
            .find(|process| process.name == "sexton" && left.iter().all(|other| other.pid != process.parent));
        found.expect("sexton tool runs").clone()
    }

    /// Ends it, and waits until nothing is left. When that had to be so at the latest.
    fn end(&self, end: End) -> Instant {
        let begun = match end {
            End::Timeout => self.begun + Duration::from_secs(3),
            _ => Instant::now(),
        };
        match end {
            End::Timeout => {}
            End::Cancel => send(self.supervisor().pid, TERM).unwrap(),
            End::ParentKilled => send(self.supervisor().parent, KILL).unwrap(),
            End::InitStops => send(children(self.child.id().cast_signed())[0].pid, TERM).unwrap(),
        }
        wait_until("nothing is left of the tool", || self.left().is_empty());
        begun + GRACE + MARGIN
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for process in marked(&self.all) {
            kill_if(process.pid, || marked(&self.all).iter().any(|left| left.pid == process.pid));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.group.is_some() {
            wait_until("everybody is gone", || marked(&self.all).is_empty());
        }
    }
}

/// One cell of the matrix.
fn cell(kind: Kind, end: End) {
    let Some(mut run) = Run::start(kind, end) else { return };
    let what = format!("{kind:?} {end:?}");
    if kind == Kind::ClosesItsDescriptors && end != End::InitStops {
        // sexton keeps the pipe open no longer than the tool does.
        assert_eq!(run.output.recv_timeout(PATIENCE).expect(&what), "out");
        assert!(!run.left().is_empty(), "{what}: it still runs");
    }
    let latest = run.end(end);
    let now = Instant::now();
    assert!(now <= latest, "{what}: {:?} too late", now - latest);
    if end == End::InitStops {
        wait_until("sexton has ended", || run.child.try_wait().unwrap().is_some());
    }
    if kind != Kind::ClosesItsDescriptors || end == End::InitStops {
        assert_eq!(run.output.recv_timeout(PATIENCE).expect(&what), "out", "{what}: the pipe is closed");
    }
    let text = run.file("record");
    let record: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
    let rung = if kind.takes_kill() { "kill" } else { "grace" };
    let outcome = &record["outcome"];
    let (word, code) = match end {
        End::Timeout => ("timed_out", 124),
        End::Cancel => ("cancelled", 143),
        End::ParentKilled | End::InitStops => ("cancelled", 0),
    };
    assert_eq!(outcome[word]["rung"], rung, "{what}: {record}");
    let by = &outcome[word]["by"];
    match end {
        End::Timeout => assert_eq!(*by, Value::Null, "{what}"),
        End::Cancel => assert_eq!(by["signal"], TERM, "{what}"),
        End::ParentKilled => assert_eq!(*by, "parent-died", "{what}"),
        // Both happen at the same moment.
        End::InitStops => assert!(*by == "parent-died" || by["signal"] == TERM, "{what}: {by}"),
    }
    if code != 0 {
        wait_until("the parent has seen the code", || !run.file("code").is_empty());
        let code = if kind.takes_kill() { 137 } else { code };
        assert_eq!(run.file("code").trim(), code.to_string(), "{what}");
        // The shell above reaps its own helpers in its own time.
        wait_until("no zombie is left", || {
            marked(&run.all).iter().all(|frame| children(frame.pid).iter().all(|child| !child.dead()))
        });
    }
}

fn column(end: End) {
    for kind in KINDS {
        cell(kind, end);
    }
}

#[test]
fn whatever_it_does_a_tool_is_gone_soon_after_its_deadline() {
    column(End::Timeout);
}

#[test]
fn whatever_it_does_a_tool_is_gone_soon_after_it_was_cancelled() {
    column(End::Cancel);
}

#[test]
fn whatever_it_does_a_tool_is_gone_soon_after_its_parent_was_killed() {
    column(End::ParentKilled);
}

#[test]
fn whatever_it_does_a_tool_is_gone_soon_after_pid_1_stops() {
    column(End::InitStops);
}

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
    let mut rungs: Vec<&str> =
        record["killed"].as_array().unwrap().iter().map(|killed| killed["rung"].as_str().unwrap()).collect();
    rungs.sort_unstable();
    assert_eq!(rungs, ["grace", "kill"], "{record}");
}

#[test]
fn an_ignored_hang_up_stays_ignored() {
    // As nohup(1) has it.
    let script = "trap '' HUP; exec \"$0\" tool -- sh -c 'kill -HUP $PPID; exec sleep 0.2'";
    let status = Command::new("sh").args(["-c", script, sexton().to_str().unwrap()]).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let status =
        Command::new(sexton()).args(["tool", "--", "sh", "-c", "kill -HUP $PPID; exec sleep 1000"]).status();
    assert_eq!(status.unwrap().code(), Some(129));
}
