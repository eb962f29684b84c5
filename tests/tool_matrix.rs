//! `sexton tool`: whatever a tool does, and whoever ends it, its tree is gone in time, its record says how, nothing
//! is a zombie, and the caller's pipe is closed.
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
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::cgroup::Cgroup;
use common::process::{Process, children, kill_if, look, marked, send};
use common::{PATIENCE, crowd, helper, sexton, unshare, wait_until};
use serde_json::Value;
use tempfile::TempDir;

const TERM: i32 = 15;
const KILL: i32 = 9;

/// The tool's window. What ignores TERM lives so much longer, and nothing more than a second beyond: where others
/// want the processors, too, as many times that second as there are who want each.
const GRACE: Duration = Duration::from_millis(700);
const MARGIN: Duration = Duration::from_secs(1);

/// A tool, and whether it takes KILL to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IncidentKind {
    Obeys,
    Ignores,
    Daemons,
    Escapee,
    Stopped,
    Bomb,
    ClosesItsDescriptors,
    Floods,
}

const KINDS: [IncidentKind; 8] = [
    IncidentKind::Obeys,
    IncidentKind::Ignores,
    IncidentKind::Daemons,
    IncidentKind::Escapee,
    IncidentKind::Stopped,
    IncidentKind::Bomb,
    IncidentKind::ClosesItsDescriptors,
    IncidentKind::Floods,
];

impl IncidentKind {
    /// What it is as a script; it makes the file `ready` when it is.
    fn script(self, limit: Option<&Path>) -> String {
        let script = match self {
            IncidentKind::Obeys => "echo out; : >ready; exec sleep 1000",
            IncidentKind::Ignores => "trap '' TERM; echo out; : >ready; while :; do sleep 1; done",
            IncidentKind::Daemons => {
                "for n in 1 2 3; do (setsid sh -c 'trap \"\" TERM; : >daemon-$0; exec sleep 1000' $n &); done
                 until test -e daemon-1 && test -e daemon-2 && test -e daemon-3; do sleep 0.01; done
                 echo out; : >ready; sleep 1000"
            }
            IncidentKind::Escapee => "setsid sh -c 'echo out; : >ready; exec sleep 1000' & wait",
            IncidentKind::Stopped => "echo out; sh -c 'kill -STOP $PPID; : >ready'; sleep 1000",
            IncidentKind::Bomb => {
                let limit = limit.expect("a bomb has a limit");
                let bomb = format!("{} bomb {}", helper("keeps_forking"), limit.display());
                return format!("echo out; {bomb} | while read _; do : >ready; done");
            }
            IncidentKind::ClosesItsDescriptors => "echo out; exec <&- >&- 2>&-; : >ready; exec sleep 1000",
            IncidentKind::Floods => "echo out; : >ready; exec yes",
        };
        script.to_owned()
    }

    fn takes_kill(self) -> bool {
        matches!(self, IncidentKind::Ignores | IncidentKind::Daemons | IncidentKind::Bomb)
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
    timeout: Duration,
    /// In the environment of everything that was started, and of the tool alone.
    all: String,
    tool: String,
    child: Child,
    output: Receiver<String>,
    group: Option<Cgroup>,
    /// `sexton tool` itself.
    supervisor: Process,
    /// All other processes of the tool that were ever seen, with their start times.
    seen: HashSet<(i32, u64)>,
}

impl Run {
    /// Starts it and waits until it is ready, which has to be before its deadline: where the machine was too busy
    /// for that, the next one has more time.
    fn start(kind: IncidentKind, end: End) -> Option<Run> {
        let timeouts: &[u64] = if end == End::Timeout { &[3, 6, 12, 24] } else { &[100] };
        for timeout in timeouts {
            let run = Run::with_timeout(kind, end, Duration::from_secs(*timeout))?;
            if run.supervisor.pid != 0 {
                return Some(run);
            }
        }
        panic!("{kind:?} {end:?}: it is not ready within {timeouts:?} s");
    }

    /// The same with this deadline. Without a supervisor it was not ready before it.
    fn with_timeout(kind: IncidentKind, end: End, timeout: Duration) -> Option<Run> {
        let group = if kind == IncidentKind::Bomb { Some(Cgroup::with_pids_limit(100)?) } else { None };
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
        let (grace, limit_of_time) = (format!("{}ms", GRACE.as_millis()), format!("{}s", timeout.as_secs()));
        add(&["env", &tool, program, "tool", "--grace", &grace, "--timeout", &limit_of_time]);
        add(&["--record", "record"]);
        add(&["--", "sh", "-c", &kind.script(limit.as_deref())]);
        let (name, value) = all.split_once('=').unwrap();
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).current_dir(dir.path()).env(name, value).stdin(Stdio::null());
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = listen(child.stdout.take().unwrap());
        let nobody = Process { pid: 0, name: String::new(), state: 'X', parent: 0, threads: 0, start: 0 };
        let mut run =
            Run { dir, timeout, all, tool, child, output, group, supervisor: nobody, seen: HashSet::new() };
        // The deadline cannot come before this.
        let in_time = || begun.elapsed() < timeout;
        let is_ready = || {
            let stopped = || run.left().iter().any(|process| process.state == 'T');
            run.dir.path().join("ready").exists() && (kind != IncidentKind::Stopped || stopped())
        };
        while in_time() && !is_ready() {
            sleep(Duration::from_millis(2));
        }
        let left = run.look();
        if in_time() {
            let mut sextons = left.iter().filter(|process| process.name == "sexton");
            let above = sextons.find(|process| left.iter().all(|other| other.pid != process.parent));
            run.supervisor = above.expect("sexton tool runs").clone();
            run.seen.remove(&(run.supervisor.pid, run.supervisor.start));
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

    /// The same, and they are kept in mind.
    fn look(&mut self) -> Vec<Process> {
        let left = self.left();
        let others = left.iter().filter(|process| process.pid != self.supervisor.pid);
        self.seen.extend(others.map(|process| (process.pid, process.start)));
        left
    }

    /// The processes of the tool that were seen and still have an entry in the process table, alive or zombies.
    fn unreaped(&self) -> Vec<Process> {
        let same = |(pid, start): &(i32, u64)| look(*pid).filter(|process| process.start == *start);
        self.seen.iter().filter_map(same).collect()
    }

    /// Ends it, and waits until nothing is left. When it was ended, if that does not stand in its record.
    fn end(&mut self, end: End) -> Option<SystemTime> {
        let begun = SystemTime::now();
        match end {
            End::Timeout => {}
            End::Cancel => send(self.supervisor.pid, TERM).unwrap(),
            End::ParentKilled => send(self.supervisor.parent, KILL).unwrap(),
            End::InitStops => send(children(self.child.id().cast_signed())[0].pid, TERM).unwrap(),
        }
        wait_until("nothing is left of the tool", || self.look().is_empty());
        (end != End::Timeout).then_some(begun)
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
            wait_until("all processes are gone", || marked(&self.all).is_empty());
        }
    }
}

/// One cell of the matrix.
fn cell(kind: IncidentKind, end: End) {
    let crowded = crowd();
    let Some(mut run) = Run::start(kind, end) else { return };
    let what = format!("{kind:?} {end:?}");
    // sexton keeps the pipe open no longer than the tool does. A deadline may come before we have looked.
    let closes_early =
        kind == IncidentKind::ClosesItsDescriptors && matches!(end, End::Cancel | End::ParentKilled);
    if closes_early {
        assert_eq!(run.output.recv_timeout(PATIENCE).expect(&what), "out");
        assert!(!run.left().is_empty(), "{what}: it still runs");
    }
    let ended = run.end(end);
    let gone = SystemTime::now();
    let crowded = crowded.max(crowd());
    // sexton reaps them all before it tells anybody.
    let zombies = if end == End::InitStops { Vec::new() } else { run.unreaped() };
    assert!(zombies.is_empty(), "{what}: {zombies:#?}");
    if end == End::InitStops {
        wait_until("sexton has ended", || run.child.try_wait().unwrap().is_some());
        assert!(run.unreaped().is_empty(), "{what}: its namespace is gone");
    }
    if !closes_early {
        assert_eq!(run.output.recv_timeout(PATIENCE).expect(&what), "out", "{what}: the pipe is closed");
    }
    let text = run.file("record");
    let record: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
    // The time that it was given counts from its own beginning, however late the machine came to that.
    let began = UNIX_EPOCH + Duration::from_millis(record["began"].as_u64().unwrap());
    let latest = ended.unwrap_or(began + run.timeout) + GRACE + crowded * MARGIN;
    assert!(
        gone <= latest,
        "{what}: {:?} too late, {crowded} want each processor",
        gone.duration_since(latest)
    );
    let stage = if kind.takes_kill() { "kill" } else { "grace" };
    let outcome = &record["outcome"];
    let (word, code) = match end {
        End::Timeout => ("timed_out", 124),
        End::Cancel => ("cancelled", 143),
        End::ParentKilled | End::InitStops => ("cancelled", 0),
    };
    assert_eq!(outcome[word]["stage"], stage, "{what}: {record}");
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
        wait_until("its parent has reaped sexton tool", || {
            look(run.supervisor.pid).is_none_or(|now| now.start != run.supervisor.start)
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
