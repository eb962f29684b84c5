//! Every system call of sexton made to fail, from outside (strace's `--inject`), at one moment of its life after the
//! other. Whatever fails: it does not hang, it does not end before it was asked to once the command runs, nobody is left
//! behind, and the lock of a living owner stays.
//!
//! Some of it in every run; all of it with `SEXTON_FAULTS=all`, which takes about half an hour.
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

mod table;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::process::{children, look, send, status};
use common::victim::{Mode, plan};
use common::{PATIENCE, root, skip};
use table::{CALLS, Call};

const TERM: i32 = 15;
const WINCH: i32 = 28;

/// What fails: which call, how, and when, in strace's words: `3` is the third one, `3+` it and all later ones.
struct Fault {
    call: &'static str,
    errno: &'static str,
    when: String,
    children: bool,
}

/// A tracer that goes away with the test.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn attach(pid: i32, fault: &Fault, log: &Path) -> Result<Tracer, String> {
    let inject = format!("inject={}:error={}:when={}", fault.call, fault.errno, fault.when);
    let mut strace = Command::new("strace");
    if fault.children {
        strace.arg("--follow-forks");
    }
    let trace = format!("trace={}", fault.call);
    strace.args(["--quiet=all", "-e", &trace, "-e", &inject, "-p", &pid.to_string(), "-o"]).arg(log);
    let mut tracer = Tracer(strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let began = Instant::now();
    // One that was traced, and could not even load its program, is gone again.
    while look(pid).is_some_and(|process| !process.dead())
        && status(pid, "TracerPid").is_none_or(|tracer| tracer == "0")
    {
        if began.elapsed() > PATIENCE {
            let _ = tracer.0.kill();
            let mut said = String::new();
            let _ = tracer.0.stderr.take().unwrap().read_to_string(&mut said);
            return Err(format!("strace is not attached to {:?}: {said}", look(pid)));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(tracer)
}

/// One life with that fault: launched, poked, stopped. What is wrong, in words; and how often the call has failed.
fn live(mode: Mode, fault: &Fault) -> Result<usize, String> {
    let Some(plan) = plan(mode) else { return Ok(0) };
    let [root, fifo, up, socket, log] =
        ["root", "fifo", "up", "control.sock", "strace"].map(|name| plan.path(name));
    let sessions = Path::new(&root).join("sessions");
    fs::create_dir_all(&sessions).unwrap();
    let lock = |name: &str, pid: u32| {
        let path = sessions.join(name);
        let mut file = File::create(&path).unwrap();
        writeln!(file, r#"{{"pid":{pid},"createdAt":"2026-11-22T06:59:25.232Z"}}"#).unwrap();
        (path, file)
    };
    lock("dead.jsonl.lock", 4_000_000);
    let (path, live) = lock("live.jsonl.lock", std::process::id());
    nix::unistd::mkfifo(Path::new(&fifo), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Open at both ends, so that nobody waits for one who failed to open it.
    let mut gate = File::options().read(true).write(true).open(&fifo).unwrap();

    let command =
        "trap 'exit 0' TERM; (setsid sleep 1000 &); sleep 1000 & echo >\"$0\"; while :; do wait; done";
    let mut victim = plan
        .variable("SEXTON_CONTROL", &socket)
        .options([
            "--grace",
            "300ms",
            "--stragglers",
            "300ms",
            "--sweep-deadline",
            "2s",
            "--lock-root",
            &root,
        ])
        .through(["sh", "-c", "read _ <\"$0\"; exec \"$@\"", &fifo])
        .run(["sh", "-c", command, &up]);
    let pid = victim.pid();
    let tracer = attach(pid, fault, Path::new(&log))?;
    gate.write_all(b"\n").unwrap();

    let gone = || look(pid).is_none_or(|process| process.dead());
    // Who follows the children breaks the command as well, which then cannot say that it runs.
    let started = || fault.children && children(pid).iter().any(|child| child.name == "sh");
    let runs = || fs::metadata(&up).is_ok_and(|meta| meta.len() > 0) || started();
    let (began, mut hangs) = (Instant::now(), false);
    while !runs() && !gone() && !hangs {
        hangs = began.elapsed() > 2 * PATIENCE;
        thread::sleep(Duration::from_millis(5));
    }
    if hangs {
        return Err(format!("it does not start and does not give up; it said: {}", victim.stderr()));
    }
    let mut wrong = Vec::new();
    let begun = runs();
    if begun {
        // Something to do: a signal to pass on, a client, and a message that is none.
        let _ = send(pid, WINCH);
        if let Ok(mut client) = UnixStream::connect(&socket) {
            let _ = client.write_all(b"{\"op\":\"status\"}\n");
        }
        if !fault.children && gone() {
            wrong.push("it ended though nobody had asked for it".to_owned());
        }
        let _ = send(pid, TERM);
    }
    let ended = victim.status();
    if ended.code().is_none_or(|code| code == 101) {
        wrong.push(format!("it ended badly: {ended}"));
    }
    let left: Vec<_> = victim.live().into_iter().map(|process| process.name).collect();
    if begun && !left.is_empty() {
        wrong.push(format!("left behind: {left:?}"));
    }
    let inode = |path: &Path| fs::metadata(path).map(|meta| meta.ino()).ok();
    if inode(&path) != Some(live.metadata().unwrap().ino()) {
        wrong.push("the lock of a living owner is gone".to_owned());
    }
    drop(tracer);
    let failed = fs::read_to_string(&log)
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains("(INJECTED)"))
        .count();
    if wrong.is_empty() {
        Ok(failed)
    } else {
        Err(format!("{}; it said: {}", wrong.join("; "), victim.stderr()))
    }
}

/// The faults of a run.
fn faults(all: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |call: &Call, errno: &'static str, when: &str| {
        faults.push(Fault { call: call.name, errno, when: when.to_owned(), children: call.children });
    };
    for (number, call) in CALLS.iter().enumerate() {
        if !all {
            let single = ["1", "2", "3"][number % 3];
            let errno = call.errnos[number % call.errnos.len()];
            add(call, errno, if call.lasts(errno) { "1+" } else { single });
            continue;
        }
        for errno in call.errnos {
            for when in ["1", "2", "3", "4", "5", "7", "10", "15", "25", "40"] {
                add(call, errno, when);
            }
            for when in ["1+", "2+", "4+", "8+", "20+"].into_iter().filter(|_| call.lasts(errno)) {
                add(call, errno, when);
            }
        }
    }
    faults
}

#[test]
fn whatever_fails_nobody_is_lost_and_nothing_hangs() {
    if !root() {
        return skip("to trace processes of another pid namespace", "root");
    }
    if Command::new("strace").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("strace", "Debian's package strace");
    }
    let all = std::env::var("SEXTON_FAULTS").is_ok_and(|value| value == "all");
    let (faults, next) = (faults(all), AtomicUsize::new(0));
    let (failed, silent) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Who may not become a subreaper says so, and below one that is none orphans are lost.
                    // Who can never open a file again sees nobody, and only an init reaches whom it does not see.
                    let blind = fault.call == "openat" && fault.when.ends_with('+');
                    let mode = if fault.call == "prctl" || blind { Mode::Pid1 } else { Mode::Tree };
                    let Fault { call, errno, when, children } = fault;
                    let lived = catch_unwind(AssertUnwindSafe(|| live(mode, fault)));
                    match lived.unwrap_or_else(|_| Err("it does not end".to_owned())) {
                        Ok(0) => {
                            silent.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(_) => {}
                        Err(what) => {
                            let line =
                                format!("{call} {errno} when={when} children={children} {mode:?}: {what}");
                            println!("{line}");
                            failed.lock().unwrap().push(line);
                        }
                    }
                }
            });
        }
    });
    let silent = silent.into_inner();
    println!("{} faults, {silent} of them at a moment that did not come", faults.len());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), faults.len());
    assert!(silent < faults.len() / 2, "most calls are made: {silent}");
}
