//! Gateways that take over stale locks by read, judge, remove and create, against sexton's removal of them.
//!
//! `lock_race MODE ROUNDS [LOCKS]`, where a round is one lock that sexton removes, and MODE is
//!
//! - `quiet`: they take turns, as before the start and after the end of a gateway, one lock each time;
//! - `still`: eight gateways run, each with locks of its own, and all are stopped, wherever they are, for each sweep;
//! - `beside`: eight gateways take each other's locks, slowly between the judgement on a stale one and its removal;
//!   only what nobody has opened for a while is removed while all are stopped, as when an orphan has died;
//! - `hasty`: the same without that while;
//! - `plain`: read, judge, unlink, and nothing else, what everybody writes first, against one gateway;
//! - `all`: `quiet`, `still`, a tenth as many rounds of `beside`, which waits in each sweep, and then the controls
//!   `hasty` and `plain`, until they have lost some.
//!
//! LOCKS is how many there are where there are several: 16 for `hasty`, so that they meet, and 512 for the others, if
//! nothing is said. It prints how many locks were removed and by whom, how many live ones were lost and how often
//! there was a second owner, and ends with 0 if both are none. The controls are expected to lose some: `all` ends with
//! 0 if both have and nobody else has. It works in `TMPDIR`, and is much faster where that is a tmpfs.

#![allow(clippy::disallowed_methods, reason = "an example starts its own processes and reads the clock")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken harness says so")]

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};
use sexton::locks::{Action, LiveSweep, LockKinds, Report, Request, Root, SweepContext, sweep};
use sexton::os::freeze::{FreezeProgress, Freezer};
use sexton::os::procfs::Stat;
use sexton::os::tree;
use sexton::types::Pid;

/// The owner of every stale lock. It never lived here.
const DEAD: i32 = 4_194_303;
/// How long nobody must have opened a lock that is removed `beside`: much longer than a rival takes.
const SETTLE: Duration = Duration::from_millis(100);
/// How many gateways there are where there are several.
const GATEWAYS: u64 = 8;
/// How many rounds the controls have at most, and how many at a time.
const TRIES: u64 = 40;
const TRY: u64 = 1_000;

fn lock(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number}.jsonl.lock"))
}

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

    /// Sleeps for less than this many microseconds.
    fn sleep(&mut self, microseconds: u64) {
        std::thread::sleep(Duration::from_micros(self.next(microseconds)));
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

/// Takes the lock over as the gateway does, and holds it for a moment. The takers have a guard among
/// themselves, so that a lock can only ever be lost to sexton.
fn take(path: &Path, slow: bool, jitter: &mut Jitter, score: &mut Score) {
    let held = loop {
        if let Some(file) = create(path, std::process::id()) {
            break file;
        }
        assert!(path.parent().is_some_and(Path::exists), "whoever started us is gone");
        let guard = File::create(path.with_extension("guard")).unwrap();
        let guard = Flock::lock(guard, FlockArg::LockExclusive).unwrap();
        // Judged by its content alone.
        if fs::read_to_string(path).is_ok_and(|text| text.contains(&DEAD.to_string())) {
            if slow {
                jitter.sleep(4000)
            } else {
                jitter.pause(400)
            }
            score.reclaimed += u64::from(fs::remove_file(path).is_ok());
        }
        drop(guard);
    };
    score.taken += 1;
    if slow {
        jitter.sleep(2000)
    } else {
        jitter.pause(400)
    }
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

/// The gateway that takes turns: a step for every line of its input.
fn gateway_in_turns(directory: &Path) -> Score {
    let path = lock(directory, 0);
    let (mut score, mut jitter) = (Score::default(), Jitter(u64::from(std::process::id()) | 1));
    let mut kept: Option<File> = None;
    for line in std::io::stdin().lock().lines() {
        let _ = line.unwrap();
        if let Some(held) = kept.take() {
            // It was alive and held the lock all the while.
            let ours = held.metadata().unwrap().ino();
            score.lost += u64::from(!fs::metadata(&path).is_ok_and(|meta| meta.ino() == ours));
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
    score
}

/// A gateway that lives on and on until its input ends. The first of several starts the others.
fn gateway(directory: &Path, mode: &str, place: u64, locks: u64) -> Score {
    let others = if place == 0 && mode != "plain" { 1..GATEWAYS } else { 0..0 };
    let others: Vec<Child> = others
        .map(|place| {
            let mut other = Command::new("setsid");
            other.arg(std::env::current_exe().unwrap()).args(["gateway", directory.to_str().unwrap(), mode]);
            other.args([place.to_string(), locks.to_string()]).stdin(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    let (mut score, mut jitter) = (Score::default(), Jitter(u64::from(std::process::id()) | 1));
    let share = locks / GATEWAYS;
    while !over.load(Ordering::Relaxed) {
        match mode {
            "plain" => {
                let path = lock(directory, 0);
                plant(&path);
                // Some orphans' locks lie there for long, and some are taken over at once.
                let turns = if jitter.next(2) == 0 { 2000 } else { 60_000 };
                jitter.pause(turns);
                take(&path, false, &mut jitter, &mut score);
            }
            "still" => {
                let own = || (place * share..(place + 1) * share).map(|number| lock(directory, number));
                own().for_each(|path| plant(&path));
                jitter.sleep(2000);
                for path in own() {
                    // Some are stopped in the very middle of taking a lock over.
                    let slow = jitter.next(8) == 0;
                    take(&path, slow, &mut jitter, &mut score);
                }
            }
            _ => {
                for _ in 0..3 {
                    plant(&lock(directory, jitter.next(locks)));
                }
                jitter.sleep(10_000);
                take(&lock(directory, jitter.next(locks)), true, &mut jitter, &mut score);
            }
        }
    }
    // Each ends with its input, and has a line of its own to say.
    others.into_iter().for_each(|mut other| drop(other.wait()));
    score
}

/// One sweep at a quiet moment, or with `beside` while the others live.
fn sweep_once(
    root: &Root,
    lock_kinds: &LockKinds,
    beside: Option<LiveSweep<'_>>,
    registration: Option<&std::os::fd::OwnedFd>,
) -> Report {
    let us = Pid::new(std::process::id().cast_signed()).unwrap();
    let context = SweepContext {
        quiet: beside.is_none(),
        alive: beside.is_some(),
        patient: false,
        first: false,
        sexton: us,
        sweeper: us,
        helpers: &[],
        unreaped: &[],
        now: std::time::SystemTime::now(),
    };
    let request = Request {
        root,
        known: sexton::locks::KnownRoot::default(),
        lock_kinds,
        context,
        registration: registration.map(AsFd::as_fd),
        marks: None,
        action: Action::Remove,
        exclusive: false,
        report_after: None,
        reported: &[],
        beside,
    };
    sweep(&request, &mut |_| {})
}

/// Reads, judges by content, unlinks.
fn plain(path: &Path) -> u32 {
    let stale = fs::read_to_string(path).is_ok_and(|text| text.contains(&DEAD.to_string()));
    u32::from(stale && fs::remove_file(path).is_ok())
}

/// Everybody below us who lives.
fn living() -> Vec<Stat> {
    let mut living = tree::below_us().unwrap();
    living.retain(|stat| !stat.is_dead());
    tree::top_down(living)
}

/// Stops everybody below us, as sexton does.
fn halt() -> Freezer {
    let mut halt = Freezer::new(None);
    let quiet = (0..100_000).any(|_| halt.poll(&living()) == FreezeProgress::Still);
    assert!(quiet, "somebody does not stop");
    halt
}

/// Sweeps while everybody stands still.
fn still(sweep: impl FnOnce() -> Report) -> Report {
    let halt = halt();
    let report = sweep();
    halt.thaw(&living());
    report
}

/// Sweeps while everybody runs, and has them stand still for the removal of what nobody has opened for a while.
fn beside(settle: Duration, sweep: impl FnOnce(LiveSweep<'_>) -> Report) -> Report {
    let halted = Cell::new(None);
    let freeze = || {
        halted.set(Some(halt()));
        true
    };
    let thaw = || halted.take().into_iter().for_each(|halt: Freezer| halt.thaw(&living()));
    sweep(LiveSweep { settle, freeze: &freeze, thaw: &thaw })
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let word = |place: usize| words.get(place).map(String::as_str).unwrap_or_default();
    if word(1) == "gateway" {
        // Whoever is stopped when the race is broken off must not stay so.
        sexton::os::process::set_parent_death_signal(sexton::types::Signal::KILL).unwrap();
        let directory = Path::new(word(2));
        let score = match word(3) {
            "quiet" => gateway_in_turns(directory),
            mode => gateway(directory, mode, word(4).parse().unwrap(), word(5).parse().unwrap()),
        };
        println!("{} {} {} {}", score.taken, score.reclaimed, score.lost, score.doubled);
        return ExitCode::SUCCESS;
    }
    let rounds = word(2).parse::<u64>().expect("lock_race MODE ROUNDS [LOCKS]");
    let locks = word(3).parse().ok();
    // It comes when the gateway opens a lock that is being looked at.
    SigSet::from(Signal::SIGIO).thread_block().unwrap();
    let sound = match word(1) {
        "all" => {
            let modes = [("quiet", rounds), ("still", rounds), ("beside", rounds.div_ceil(10))];
            let kept = modes.into_iter().all(|(mode, rounds)| race(mode, rounds, locks));
            kept && ["hasty", "plain"].into_iter().all(|mode| (0..TRIES).any(|_| !race(mode, TRY, locks)))
        }
        mode => race(mode, rounds, locks),
    };
    ExitCode::from(u8::from(!sound))
}

/// Whether no live lock was lost.
fn race(mode: &str, rounds: u64, locks: Option<u64>) -> bool {
    let home = tempfile::tempdir().unwrap();
    let directory: PathBuf = home.path().to_owned();
    let (path, root, lock_kinds) = (lock(&directory, 0), Root::given(&directory), LockKinds::openclaw());
    let registration = sweep_once(&root, &lock_kinds, None, None).registration;
    let locks = locks.unwrap_or(if mode == "hasty" { 16 } else { 512 });
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["gateway", directory.to_str().unwrap(), mode, "0", &locks.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let begun = Instant::now();
    let (mut tries, mut removed, mut wrong, mut line) = (0_u64, 0_u64, 0, String::new());
    let mut jitter = Jitter(u64::from(std::process::id()) | 1);
    while removed < rounds {
        tries += 1;
        assert!(tries / 1000 <= rounds, "{mode}: nothing is removed");
        // The gateways get anywhere in what they do before the next try.
        match mode {
            "quiet" => {}
            "plain" => jitter.pause(4000),
            _ => jitter.sleep(3000),
        }
        let sweep =
            |beside: Option<LiveSweep<'_>>| sweep_once(&root, &lock_kinds, beside, registration.as_ref());
        removed += u64::from(match mode {
            "quiet" => {
                input.write_all(b"\n").unwrap();
                line.clear();
                output.read_line(&mut line).unwrap();
                let report = sweep(None);
                let expected = if line == "held\n" { (0, 1) } else { (1, 0) };
                wrong += u64::from((report.removed, report.held) != expected);
                report.removed
            }
            "still" => still(|| sweep(None)).removed,
            "beside" => beside(SETTLE, |beside| sweep(Some(beside))).removed,
            "hasty" => beside(Duration::ZERO, |beside| sweep(Some(beside))).removed,
            "plain" => plain(&path),
            other => panic!("{other} is no mode"),
        });
    }
    drop(input);
    let mut last = String::new();
    output.read_to_string(&mut last).unwrap();
    child.wait().unwrap();
    // One line from each gateway; one that takes turns has said more before.
    let numbers = |line: &str| line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>().ok();
    let sums = last
        .lines()
        .filter_map(numbers)
        .reduce(|one, other| one.iter().zip(other).map(|(one, other)| one + other).collect());
    let [taken, reclaimed, lost, doubled] = sums.unwrap().try_into().unwrap();
    println!(
        "{mode}: removed {removed}; {tries} tries in {:.0?}; gateways took {taken}, reclaimed {reclaimed}; \
         live locks lost {lost}, double owners {doubled}, wrong verdicts {wrong}",
        begun.elapsed()
    );
    lost + doubled + wrong == 0
}
