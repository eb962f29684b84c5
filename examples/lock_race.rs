//! Gateways that take over stale locks by read, judge, remove and create, against sexton's removal of them.
//!
//! `lock_race MODE ROUNDS` where MODE is
//!
//! - `quiet`: they take turns, as before the start and after the end of a gateway;
//! - `still`: the gateway and a rival elsewhere in its tree run, and everybody is stopped for each sweep, as when
//!   an orphan has died;
//! - `alone`: the same, but only the gateway is stopped;
//! - `loose`: sexton's removal without any of that;
//! - `plain`: read, judge, unlink, and nothing else: what everybody writes first;
//! - `all`: `quiet`, `still` and `plain`, one after the other.
//!
//! A round is one sweep. It prints how many locks were removed and by whom, how many live ones were lost and how
//! often there was a second owner, and ends with 0 if both are none. `alone`, `loose` and `plain` are the
//! controls: they are expected to lose some. `all` ends with 0 if the control has lost some and nobody else has.

#![allow(clippy::disallowed_methods, reason = "an example starts its own processes and reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken harness says so")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid as NixPid;
use sexton::ids::Pid;
use sexton::locks::{Action, Family, Report, Request, Root, Scene, sweep};
use sexton::os::halt::{Halt, Look};
use sexton::os::tree;

/// The owner of every stale lock. It never lived here.
const DEAD: i32 = 4_194_303;
const LOCK: &str = "one.jsonl.lock";

#[derive(Debug, Default)]
struct Score {
    /// Locks that the gateway took.
    taken: u64,
    /// Of these, the ones for which it removed a stale one itself.
    reclaimed: u64,
    /// Locks that went away while it held them.
    lost: u64,
    /// How often somebody else could have taken the lock while it held it.
    doubled: u64,
}

/// A small pseudo-random number generator (xorshift), so that both sides meet at every distance.
struct Jitter(u64);

impl Jitter {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    /// Up to this many turns of an idle loop, some nanoseconds each.
    fn pause(&mut self, turns: u64) {
        for _ in 0..self.next(turns) {
            std::hint::spin_loop();
        }
    }
}

fn text(pid: u32) -> String {
    format!("{{\"pid\":{pid},\"createdAt\":\"2026-11-22T06:59:25.232Z\"}}\n")
}

fn create(path: &Path, pid: u32) -> Option<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).ok()?;
    file.write_all(text(pid).as_bytes()).unwrap();
    Some(file)
}

/// What an orphan leaves behind: a lock that nobody has open.
fn plant(path: &Path) {
    drop(create(path, DEAD.unsigned_abs()));
}

/// Takes the lock over as the gateway does, and holds it for a moment. `guard` is what the takers have among
/// themselves, so that a lock can only ever be lost to sexton.
fn take(path: &Path, guard: &File, jitter: &mut Jitter, score: &mut Score) {
    let held = loop {
        if let Some(file) = create(path, std::process::id()) {
            break file;
        }
        guard.lock().unwrap();
        // Judged by its content alone.
        if fs::read_to_string(path).is_ok_and(|text| text.contains(&DEAD.to_string())) {
            jitter.pause(400);
            score.reclaimed += u64::from(fs::remove_file(path).is_ok());
        }
        guard.unlock().unwrap();
    };
    score.taken += 1;
    jitter.pause(400);
    let ours = held.metadata().unwrap().ino();
    let is_ours = || fs::metadata(path).is_ok_and(|meta| meta.ino() == ours);
    let second = OpenOptions::new().write(true).create_new(true).open(path);
    if second.is_ok() || !is_ours() {
        // Either we have just become the second owner ourselves, or another taker has.
        score.lost += 1;
        score.doubled += u64::from(path.exists());
    }
    drop(held);
    if second.is_ok() || is_ours() {
        let _ = fs::remove_file(path);
    }
}

/// The gateway: on and on until its input ends, or a step for every line of it. With `rivals`, others below it
/// do the same.
fn gateway(directory: &Path, in_turns: bool, rivals: u32) {
    let path = directory.join(LOCK);
    let (mut score, mut jitter) = (Score::default(), Jitter(u64::from(std::process::id()) | 1));
    if in_turns {
        let mut kept: Option<File> = None;
        for line in std::io::stdin().lock().lines() {
            let _ = line.unwrap();
            if let Some(held) = kept.take() {
                // It was alive and held the lock all the while.
                let ours = held.metadata().unwrap().ino();
                score.lost += u64::from(!fs::metadata(&path).is_ok_and(|meta| meta.ino() == ours));
                let _ = fs::remove_file(&path);
            }
            let _ = fs::remove_file(&path);
            if jitter.next(2) == 0 {
                plant(&path);
            } else {
                kept = create(&path, std::process::id());
                score.taken += 1;
            }
            println!("{}", if kept.is_some() { "held" } else { "stale" });
        }
    } else {
        let rivals: Vec<Child> = (0..rivals)
            .map(|_| {
                let mut rival = Command::new("setsid");
                rival.arg(std::env::current_exe().unwrap()).args(["gateway", directory.to_str().unwrap()]);
                rival.args(["rival", "0"]).stdin(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let guard = File::create(directory.join("guard")).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        std::thread::spawn(move || {
            let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
            told.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            plant(&path);
            // Some orphans' locks lie there for long, and some are taken over at once.
            let turns = if jitter.next(2) == 0 { 2000 } else { 60_000 };
            jitter.pause(turns);
            take(&path, &guard, &mut jitter, &mut score);
        }
        // Each ends with its input, and has a line of its own to say.
        rivals.into_iter().for_each(|mut rival| drop(rival.wait()));
    }
    println!("{} {} {} {}", score.taken, score.reclaimed, score.lost, score.doubled);
}

fn sweep_once(
    root: &Root,
    family: &Family,
    alive: bool,
    registration: Option<&std::os::fd::OwnedFd>,
) -> Report {
    let us = Pid::new(std::process::id().cast_signed()).unwrap();
    let scene = Scene {
        quiet: true,
        alive,
        patient: false,
        first: false,
        sexton: us,
        sweeper: us,
        helpers: &[],
        corpses: &[],
        now: std::time::SystemTime::now(),
    };
    let registration = registration.map(AsFd::as_fd);
    let reported = &[];
    let request = Request {
        root,
        family,
        scene,
        registration,
        action: Action::Remove,
        report_after: None,
        reported,
        beside: None,
    };
    sweep(&request)
}

/// Reads, judges by content, unlinks.
fn plain(path: &Path) -> u32 {
    let stale = fs::read_to_string(path).is_ok_and(|text| text.contains(&DEAD.to_string()));
    u32::from(stale && fs::remove_file(path).is_ok())
}

/// Stops the gateway alone, sweeps at that moment, lets it go on.
fn alone(child: &Child, sweep: impl FnOnce() -> Report) -> Report {
    let pid = NixPid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    waitid(Id::Pid(pid), WaitPidFlag::WSTOPPED).unwrap();
    let report = sweep();
    kill(pid, Signal::SIGCONT).unwrap();
    report
}

/// Stops everybody below us, as sexton does.
fn still(sweep: impl FnOnce() -> Report) -> Report {
    let living = || {
        let mut living = tree::below_us().unwrap();
        living.retain(|stat| !stat.is_dead());
        tree::top_down(living)
    };
    let mut halt = Halt::new(None);
    let quiet = (0..10_000).any(|_| halt.look(&living()) == Look::Still);
    assert!(quiet, "somebody does not stop");
    let report = sweep();
    halt.go_on(&living());
    report
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let word = |place: usize| words.get(place).map(String::as_str).unwrap_or_default();
    if word(1) == "gateway" {
        gateway(Path::new(word(2)), word(3) == "quiet", word(4).parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let rounds = word(2).parse::<u64>().expect("lock_race MODE ROUNDS");
    // It comes when the gateway opens a lock that is being looked at.
    SigSet::from(Signal::SIGIO).thread_block().unwrap();
    let sound = match word(1) {
        // A control that has lost nothing yet is given more time.
        "all" => {
            let kept = race("quiet", rounds) & race("still", rounds);
            kept && (0..20).any(|_| !race("plain", rounds.max(100_000)))
        }
        mode => race(mode, rounds),
    };
    ExitCode::from(u8::from(!sound))
}

/// Whether no live lock was lost.
fn race(mode: &str, rounds: u64) -> bool {
    let home = tempfile::tempdir().unwrap();
    let directory: PathBuf = home.path().to_owned();
    let (path, root, family) = (directory.join(LOCK), Root::given(&directory), Family::openclaw());
    let registration = sweep_once(&root, &family, false, None).registration;
    let rivals = if matches!(mode, "still" | "alone") { "1" } else { "0" };
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["gateway", directory.to_str().unwrap(), mode, rivals])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let begun = Instant::now();
    let (mut removed, mut wrong, mut line) = (0, 0, String::new());
    let mut jitter = Jitter(u64::from(std::process::id()) | 1);
    for _ in 0..rounds {
        // The gateway gets anywhere in what it does before the next round.
        jitter.pause(if mode == "quiet" { 1 } else { 4000 });
        let sweep = |alive| sweep_once(&root, &family, alive, registration.as_ref());
        removed += u64::from(match mode {
            "quiet" => {
                input.write_all(b"\n").unwrap();
                line.clear();
                output.read_line(&mut line).unwrap();
                let report = sweep(false);
                let expected = if line == "held\n" { (0, 1) } else { (1, 0) };
                wrong += u64::from((report.removed, report.held) != expected);
                report.removed
            }
            "still" => still(|| sweep(true)).removed,
            "alone" => alone(&child, || sweep(true)).removed,
            "loose" => sweep(true).removed,
            "plain" => plain(&path),
            other => panic!("{other} is no mode"),
        });
    }
    drop(input);
    let mut last = String::new();
    output.read_to_string(&mut last).unwrap();
    child.wait().unwrap();
    // One line from each taker; a taker in turns has said more before.
    let numbers = |line: &str| line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>().ok();
    let sums = last
        .lines()
        .filter_map(numbers)
        .reduce(|one, other| one.iter().zip(other).map(|(one, other)| one + other).collect());
    let [taken, reclaimed, lost, doubled] = sums.unwrap().try_into().unwrap();
    println!(
        "{mode}: {rounds} rounds in {:.0?}: removed {removed}; gateways took {taken}, reclaimed {reclaimed}; \
         live locks lost {lost}, double owners {doubled}, wrong verdicts {wrong}",
        begun.elapsed()
    );
    lost + doubled + wrong == 0
}
