//! `holds_lock MODE ...`: takes locks the way OpenClaw does: creates the file exclusively, writes its pid
//! in a second step, keeps the descriptor open, and to release it closes the descriptor and then removes
//! the file.
//!
//! * `hold FILE [FIELDS]`: takes FILE, prints `ready`, and keeps it until TERM or INT; then releases it.
//!   FIELDS: `session` (the default: pid, createdAt, maxHoldMs, starttime), `sidecar` (pid, createdAt) or
//!   `empty`.
//! * `dies FILE`: takes FILE, waits for the end of standard input, and is killed, as a tool is by the
//!   kernel when memory runs out.
//! * `gateway DIR VIOLATIONS SEED`: starts a rival, prints `ready`, and takes and releases locks in DIR for
//!   ever.
//! * `rival DIR VIOLATIONS SEED`: the same, and it reclaims the locks of dead owners: it reads the file,
//!   finds that the pid is gone, a zombie, or of another start time, removes the file and creates its own.
//!   After TERM it goes on for a few milliseconds and then leaves without releasing anything.
//!
//! It promises, for the last two: whoever holds a lock looks again and again whether the file is still
//! there, is the same file and bears its own token; a line in VIOLATIONS for each time that this is not so.
//! Only the rival reclaims, so that the two can never take a live lock from each other, and each violation
//! is a third one's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test helper: a failure must be loud"
)]
#![allow(clippy::disallowed_methods, reason = "not PID 1: it may look at the clock and start processes")]

use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// The names that gateway and rival fight over: few enough to meet, many enough to lose some at a kill.
const NAMES: usize = 12;

/// For how many seconds out of how many a rival is busy. Were it always, it would look at every lock in each
/// second, and sexton, which removes only what nobody has opened for one, would never come to remove any.
const BUSY: (u64, u64) = (2, 5);

struct Lock {
    path: PathBuf,
    file: File,
    content: String,
}

impl Lock {
    /// `None` if somebody has it.
    fn take(path: &Path, fields: &str, token: u64) -> Option<Lock> {
        let mut file = File::options().write(true).create_new(true).open(path).ok()?;
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let mut payload = json!({"pid": process::id(), "createdAt": now});
        match fields {
            "session" => {
                payload["maxHoldMs"] = json!(300_000);
                payload["starttime"] = json!(field(process::id(), 22).unwrap().parse::<u64>().unwrap());
                payload["token"] = json!(token);
            }
            "sidecar" => {}
            "empty" => payload = Value::Null,
            other => panic!("{other}?"),
        }
        let content = if payload.is_null() { String::new() } else { format!("{payload:#}\n") };
        file.write_all(content.as_bytes()).unwrap();
        Some(Lock { path: path.to_owned(), file, content })
    }

    /// What is wrong with a lock that we hold.
    fn violation(&self) -> Option<String> {
        let inode = self.file.metadata().unwrap().ino();
        match fs::metadata(&self.path) {
            Err(error) => return Some(format!("{}: {error}", self.path.display())),
            Ok(found) if found.ino() != inode => {
                return Some(format!("{}: another file", self.path.display()));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        (text != self.content).then(|| format!("{}: not my bytes: {text:?}", self.path.display()))
    }

    fn release(self) {
        let Lock { path, file, content } = self;
        drop(file);
        if fs::read_to_string(&path).is_ok_and(|text| text == content) {
            let _ = fs::remove_file(&path);
        }
    }
}

/// A field of /proc/PID/stat, by its number in the manual; `None` if there is no such process.
fn field(pid: u32, number: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &stat[stat.rfind(')').unwrap() + 2..];
    rest.split_whitespace().nth(number - 3).map(str::to_owned)
}

/// OpenClaw's rules, without the age: a live lock is never taken away here.
fn owner_is_dead(path: &Path) -> bool {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    let Ok(payload) = serde_json::from_str::<Value>(&text) else { return false };
    let (Ok(_), Some(pid)) = (read, payload["pid"].as_i64()) else { return false };
    let pid = i32::try_from(pid).unwrap();
    kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)
        || field(pid.unsigned_abs(), 3).is_none_or(|state| state == "Z")
        || payload["starttime"].as_u64().map(|start| start.to_string()) != field(pid.unsigned_abs(), 22)
}

/// The next lock to try: one of the usual names, or what somebody left.
fn choose(dir: &Path, random: u64) -> PathBuf {
    let (name, place) = (random as usize % NAMES, random as usize / NAMES % (2 * NAMES));
    let found = || fs::read_dir(dir).ok()?.nth(place)?.ok();
    let left =
        found().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "lock"));
    left.unwrap_or_else(|| dir.join(format!("{name}.jsonl.lock")))
}

/// Takes, checks and releases for ever; with `reclaims`, until a while after TERM.
fn contend(dir: &Path, violations: &Path, mut random: u64, reclaims: bool) {
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK).unwrap();
    let who = format!("{} {}", process::id(), if reclaims { "rival" } else { "gateway" });
    let begun = Instant::now();
    let mut end = None;
    let mut held: VecDeque<Lock> = VecDeque::new();
    let check = |lock: &Lock| {
        if let Some(what) = lock.violation() {
            let mut file = File::options().append(true).create(true).open(violations).unwrap();
            file.write_all(format!("{who}: {what}\n").as_bytes()).unwrap();
        }
    };
    while end.is_none_or(|end| Instant::now() < end) {
        // xorshift64 (Marsaglia): the same seed, the same choices.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if reclaims && begun.elapsed().as_secs() % BUSY.1 >= BUSY.0 {
            std::thread::sleep(Duration::from_millis(1));
        } else {
            let path = choose(dir, random);
            if reclaims && !held.iter().any(|lock| lock.path == path) && owner_is_dead(&path) {
                let _ = fs::remove_file(&path);
            }
            held.extend(Lock::take(&path, "session", random));
        }
        held.iter().for_each(check);
        if held.len() > NAMES / 3 {
            held.pop_front().unwrap().release();
        }
        if reclaims
            && end.is_none()
            && matches!(signals.read_signal(), Ok(Some(info)) if info.ssi_signo == 15)
        {
            end = Some(Instant::now() + Duration::from_millis(3));
        }
    }
    held.iter().for_each(check);
}

fn main() {
    SigSet::all().thread_block().unwrap();
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hold", file] | ["hold", file, "session"] => hold(file, "session"),
        ["hold", file, fields] => hold(file, fields),
        ["dies", file] => {
            let _lock = Lock::take(file.as_ref(), "session", 0);
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
        ["gateway", dir, violations, seed] => {
            // It outlives this process; sexton ends it.
            drop(
                Command::new(env::current_exe().unwrap())
                    .args(["rival", dir, violations, seed])
                    .spawn()
                    .unwrap(),
            );
            println!("ready");
            contend(dir.as_ref(), violations.as_ref(), seed.parse().unwrap(), false);
        }
        ["rival", dir, violations, seed] => {
            println!("ready");
            contend(dir.as_ref(), violations.as_ref(), !seed.parse::<u64>().unwrap(), true);
        }
        _ => panic!("holds_lock hold FILE [FIELDS] | dies FILE | gateway|rival DIR VIOLATIONS SEED"),
    }
}

fn hold(file: &str, fields: &str) {
    let lock = Lock::take(file.as_ref(), fields, 0).expect("somebody has it");
    println!("ready");
    while !matches!(SigSet::all().wait().unwrap(), Signal::SIGTERM | Signal::SIGINT) {}
    lock.release();
}
