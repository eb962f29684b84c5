//! A life of sexton's, with a fault or without one.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sexton::os::files::{FlockMode, hold};

use crate::Fault;
use crate::common::process::{look, send};
use crate::common::victim::{Mode, Victim, plan};
use crate::common::{self, PATIENCE};
use crate::tracer::{Done, Tracer};

const TERM: i32 = 15;
const WINCH: i32 = 28;

/// Dies with a lock, and is sexton's child.
const ORPHAN: &str = r#"(setsid sh -c 'exec 9>"$0/sessions/orphan.jsonl.lock"; echo "{\"pid\":$$}" >&9; sleep 0.1' "$1" &);
    until [ -s "$1/sessions/orphan.jsonl.lock" ]; do :; done;"#;

/// A kind of life.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    pub mode: Mode,
    /// An orphan dies with a lock while the command runs, so that all are stopped for its removal.
    pub is_stopped: bool,
}

/// One life with that fault, or with none: launched, poked, stopped. What it did, or what is wrong, in words.
pub fn live(life: Life, fault: Option<&Fault>) -> Result<Done, String> {
    let mode = life.mode;
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
    // In another pid namespace nothing but the open file speaks for its owner, if that cannot be seen, but another
    // sexton's registration.
    let mut registration = File::options();
    let registration = registration.read(true).write(true).create(true).truncate(false);
    let registration = registration.open(Path::new(&root).join(".sexton.lock")).unwrap();
    assert!(mode != Mode::Pid1 || hold(registration.as_fd(), FlockMode::TryShared).unwrap());
    nix::unistd::mkfifo(Path::new(&fifo), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Open at both ends, so that no process waits for one that failed to open it.
    let mut gate = File::options().read(true).write(true).open(&fifo).unwrap();

    let orphan = if life.is_stopped { ORPHAN } else { "" };
    let command = format!(
        "trap 'exit 0' TERM; (setsid sleep 1000 &); {orphan} sleep 1000 & echo >\"$0\"; while :; do wait; done"
    );
    let mut victim = plan
        .variable("SEXTON_CONTROL", &socket)
        .options(["--grace", "300ms", "--kill-after", "300ms", "--sweep-timeout", "2s", "--lock-root", &root])
        .through(["sh", "-c", "echo >\"$0.ready\"; read _ <\"$0\"; exec \"$@\"", &fifo])
        .run(["sh", "-c", &command, &up, &root]);
    let holds = |path: &str| fs::metadata(path).is_ok_and(|meta| meta.len() > 0);
    let ready = format!("{fifo}.ready");
    common::wait_until("it is about to become sexton", || holds(&ready));
    let pid = victim.pid();
    let tracer = Tracer::attach(pid, &fault.map(Fault::words).unwrap_or_default());
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
        if life.is_stopped && !stood_still(&victim, &sessions) {
            wrong.push("a process is left stopped".to_owned());
        }
        // Something to do: a signal to pass on, a client, and a message that is none.
        let _ = send(pid, WINCH);
        if let Ok(mut client) = UnixStream::connect(&socket) {
            let _ = client.write_all(b"{\"op\":\"status\"}\n");
        }
        if gone() {
            wrong.push("it ended though that was not requested".to_owned());
        }
        let _ = send(pid, TERM);
    }
    let ended = victim.status();
    if ended.code().is_none_or(|code| code == 101) {
        wrong.push(format!("it ended badly: {ended}"));
    }
    let left = left(&victim);
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

/// The names of those who are left. A guard of the stopped that was sent away may take a moment to be gone, and has no
/// more to do with anybody.
fn left(victim: &Victim) -> Vec<String> {
    let sexton = common::sexton();
    let ours = |name: &String| sexton.file_name().is_some_and(|ours| ours == name.as_str());
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let left: Vec<String> = victim.live().into_iter().map(|process| process.name).collect();
        if left.is_empty() || !left.iter().all(ours) || Instant::now() > end {
            return left;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the removal has come to its end, or has not come in its time, which is no fault. Whether nobody stands
/// still after it, or at least not for long.
fn stood_still(victim: &Victim, sessions: &Path) -> bool {
    let over = Instant::now() + Duration::from_secs(4);
    let end = Instant::now() + PATIENCE;
    let removed = || !sessions.join("orphan.jsonl.lock").exists();
    while !removed() && !victim.stderr().contains("freeze-failed") && Instant::now() < over {
        thread::sleep(Duration::from_millis(5));
    }
    while victim.live().iter().any(|process| process.state == 'T') {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Who fails at the same thing for ever may say so for ever.
fn end_of(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
