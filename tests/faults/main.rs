//! Every system call of sexton, and of the helpers that it makes, made to fail from outside (`examples/injects.rs`), at one
//! moment of its life after the other. Whatever fails: it does not hang, it does not end before it was asked to once the
//! command runs, nobody is left behind, and the lock of a living owner stays.
//!
//! Lives without a fault come first: they tell which calls are made and how often, so that what is tried happens, and a
//! call that the table lacks is found.
//!
//! Some of it in every run; all of it with `SEXTON_FAULTS=all`, which takes minutes.
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

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::c_long;
use sexton::os::files::{Hold, hold};

use common::process::{look, send};
use common::victim::{Mode, plan};
use common::{PATIENCE, helper, root, skip};
use table::{CALLS, Call};

/// A life that takes longer is told of.
const SLOW: Duration = Duration::from_secs(5);

const TERM: i32 = 15;
const WINCH: i32 = 28;

/// Whose call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// Sexton itself, from its first statement on.
    Sexton,
    /// A process that it makes, until that executes another program or ends: one that sweeps, or becomes the command.
    Helper,
}

/// What fails: whose call, how, and when.
struct Fault {
    mode: Mode,
    whom: Whom,
    call: &'static Call,
    errno: Errno,
    /// The number of the call, by each process.
    first: u64,
    /// It and all later ones.
    for_good: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { mode, whom, call, errno, first, for_good } = self;
        let later = if *for_good { "+" } else { "" };
        write!(f, "{mode:?}: {whom:?} {} {errno:?} {first}{later}", call.name)
    }
}

impl Fault {
    /// The words of the tracer.
    fn words(&self) -> [String; 5] {
        let whom = if self.whom == Whom::Sexton { "sexton" } else { "helper" };
        // The kernel's brk(2) says by a break that is too low that there is no memory.
        let errno = if self.call.name == "brk" { 0 } else { self.errno as i32 };
        let last = if self.for_good { u64::MAX } else { self.first };
        [
            whom.to_owned(),
            self.call.number.to_string(),
            errno.to_string(),
            self.first.to_string(),
            last.to_string(),
        ]
    }
}

/// What was done in a life: how often whose call was made, at most by one process.
#[derive(Default)]
struct Done {
    calls: BTreeMap<(Whom, c_long), u64>,
    failed: u64,
}

/// A tracer that goes away with the test.
struct Tracer {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tracer {
    fn attach(pid: i32, fault: Option<&Fault>) -> Tracer {
        let mut command = Command::new(helper("injects"));
        command.arg(pid.to_string()).args(fault.map(Fault::words).into_iter().flatten());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut says = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        says.read_line(&mut line).unwrap();
        assert_eq!(line, "attached\n");
        Tracer { child, says }
    }

    /// What it has seen, when nobody is left that it traces.
    fn done(mut self) -> Done {
        let (mut done, mut text) = (Done::default(), String::new());
        self.says.read_to_string(&mut text).unwrap();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["failed", count] => done.failed = count.parse().unwrap(),
                [whom, call, count] => {
                    let whom = if whom == "sexton" { Whom::Sexton } else { Whom::Helper };
                    done.calls.insert((whom, call.parse().unwrap()), count.parse().unwrap());
                }
                _ => panic!("{line}"),
            }
        }
        done
    }
}

/// One life with that fault, or with none: launched, poked, stopped. What it did, or what is wrong, in words.
fn live(mode: Mode, fault: Option<&Fault>) -> Result<Done, String> {
    let Some(plan) = plan(mode) else { return Ok(Done::default()) };
    let [root, fifo, up, socket] = ["root", "fifo", "up", "control.sock"].map(|name| plan.path(name));
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
    // In another pid namespace nothing but the open file speaks for its owner, if that cannot be seen, but another sexton's
    // registration.
    let mut registration = File::options();
    let registration = registration.read(true).write(true).create(true).truncate(false);
    let registration = registration.open(Path::new(&root).join(".sexton.lock")).unwrap();
    assert!(mode != Mode::Pid1 || hold(registration.as_fd(), Hold::TryShared).unwrap());
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
        .through(["sh", "-c", "echo >\"$0.ready\"; read _ <\"$0\"; exec \"$@\"", &fifo])
        .run(["sh", "-c", command, &up]);
    let holds = |path: &str| fs::metadata(path).is_ok_and(|meta| meta.len() > 0);
    let ready = format!("{fifo}.ready");
    common::wait_until("it is about to become sexton", || holds(&ready));
    let pid = victim.pid();
    let tracer = Tracer::attach(pid, fault);
    gate.write_all(b"\n").unwrap();

    let gone = || look(pid).is_none_or(|process| process.dead());
    let runs = || holds(&up);
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
        // What it does when it comes to rest for the first time is a part of its life.
        let rests = || look(pid).is_none_or(|process| process.state == 'S');
        let end = Instant::now() + Duration::from_millis(200);
        while !rests() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        // Something to do: a signal to pass on, a client, and a message that is none.
        let _ = send(pid, WINCH);
        if let Ok(mut client) = UnixStream::connect(&socket) {
            let _ = client.write_all(b"{\"op\":\"status\"}\n");
        }
        if gone() {
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
    if wrong.is_empty() {
        Ok(tracer.done())
    } else {
        Err(format!("{}; it said: {}", wrong.join("; "), end_of(&victim.stderr())))
    }
}

/// Who fails at the same thing for ever may say so for ever.
fn end_of(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Whether it cannot reach all whom it is to end then. Who may not become a subreaper says so, and without a cgroup orphans
/// are lost to one that is none. Who can never open or read a file again sees nobody, and only an init reaches whom it
/// does not see (kill(2), pid -1).
fn out_of_reach(mode: Mode, whom: Whom, call: &Call, for_good: bool) -> bool {
    let blind = for_good && ["openat", "read"].contains(&call.name) && mode != Mode::Pid1;
    whom == Whom::Sexton && (blind || call.name == "prctl" && mode == Mode::Tree)
}

/// The faults of a run, by what was done in lives without one.
fn faults(all: bool, mode: Mode, done: &Done) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, ((whom, call), count)) in done.calls.iter().enumerate() {
        let name = || panic!("{whom:?} makes the system call {call}, which is not in the table");
        let call = CALLS.iter().find(|known| known.number == *call).unwrap_or_else(name);
        let mut add = |errno: Errno, first: u64, for_good: bool| {
            if first <= *count && !out_of_reach(mode, *whom, call, for_good) {
                faults.push(Fault { mode, whom: *whom, call, errno, first, for_good });
            }
        };
        if !all {
            if let Some(errno) = call.errnos.get(number % call.errnos.len().max(1)) {
                let for_good = call.lasts(*whom, *errno);
                add(*errno, if for_good { 1 } else { 1 + number as u64 % (*count).min(3) }, for_good);
            }
            continue;
        }
        for errno in call.errnos {
            for first in [1, 2, 3, 4, 5, 7, 10, 15, 25, 40] {
                add(*errno, first, false);
            }
            for first in [1, 2, 4, 8, 20].into_iter().filter(|_| call.lasts(*whom, *errno)) {
                add(*errno, first, true);
            }
        }
    }
    faults
}

/// What every life without a fault does: the least of some.
fn calm(mode: Mode) -> Done {
    let lives = (0..3).map(|_| live(mode, None).unwrap());
    let both = |mut least: Done, other: Done| {
        least.calls.retain(|key, _| other.calls.contains_key(key));
        for (key, count) in &mut least.calls {
            *count = (*count).min(other.calls[key]);
        }
        least
    };
    lives.reduce(both).unwrap()
}

#[test]
fn whatever_fails_nobody_is_lost_and_nothing_hangs() {
    if !root() {
        return skip("to trace processes of another pid namespace", "root");
    }
    if !cfg!(target_arch = "x86_64") {
        return skip("x86-64", "the tracer knows its registers alone");
    }
    let all = std::env::var("SEXTON_FAULTS").is_ok_and(|value| value == "all");
    let mut list = Vec::new();
    for mode in Mode::ALL {
        list.extend(faults(all, mode, &calm(mode)));
    }
    let (next, failed, silent) = (AtomicUsize::new(0), Mutex::new(Vec::new()), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(fault) = list.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let lived = catch_unwind(AssertUnwindSafe(|| live(fault.mode, Some(fault))));
                    if began.elapsed() > SLOW {
                        println!("{fault}: it took {:?}", began.elapsed());
                    }
                    match lived.unwrap_or_else(|_| Err("it does not end".to_owned())) {
                        Ok(done) if done.failed == 0 => {
                            println!("{fault}: it did not come to that");
                            silent.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(_) => {}
                        Err(what) => {
                            println!("{fault}: {what}");
                            failed.lock().unwrap().push(format!("{fault}: {what}"));
                        }
                    }
                }
            });
        }
    });
    let silent = silent.into_inner();
    println!("{} faults, {silent} of them at a moment that did not come", list.len());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {}: {failed:#?}", failed.len(), list.len());
    assert!(silent <= list.len() / 20, "what is tried happens: {silent} did not");
}
