//! `restless DIR SEXTON SEED`: a gateway that never rests, for the soak. Until TERM it takes locks below DIR and
//! releases them, runs tools through SEXTON, leaves orphans, and has helpers that die with a lock taken.
//!
//! It promises: a line in DIR/violations for each lock that was taken from a living owner, and one in DIR/left for each
//! start into locks of its predecessor. Its own locks are `own-N`, those that living helpers hold
//! `held-N`, and those that the dead have left `leak-N`; nobody but sexton ever removes the last ones.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a helper of the tests: a failure must be loud"
)]
#![allow(clippy::disallowed_methods, reason = "not PID 1: it may look at the clock and start processes")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long it thinks between two deeds.
const PACE: Duration = Duration::from_millis(30);
/// How many children it has at most, the dead that it has not reaped included.
const CHILDREN: usize = 24;

/// What its tools do: end, outlive their deadline, refuse TERM, leave somebody behind, end who watches over them.
const TOOLS: [&str; 7] = [
    "exit 3",
    "sleep 0.05",
    "trap '' TERM; sleep 5",
    "setsid sleep 5 & exit 0",
    "kill -9 $PPID; sleep 5",
    "(setsid sh -c 'sleep 0.2; exit 1' &); sleep 0.01",
    "for i in 1 2 3 4 5; do sleep 0.01 & done; wait",
];

struct Held {
    path: PathBuf,
    inode: u64,
    owner: Owner,
}

enum Owner {
    /// It is ours, and open as long as we hold it.
    Us(File),
    Helper(Child),
}

struct Restless {
    sessions: PathBuf,
    violations: PathBuf,
    sexton: String,
    random: u64,
    held: Vec<Held>,
    children: Vec<Child>,
    count: u64,
}

impl Restless {
    fn next(&mut self, below: usize) -> usize {
        // xorshift64 (Marsaglia): the same seed, the same choices.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % 1_000_003).unwrap() % below
    }

    fn violation(&self, what: &str) {
        let mut file = File::options().append(true).create(true).open(&self.violations).unwrap();
        file.write_all(format!("{} {what}\n", process::id()).as_bytes()).unwrap();
    }

    fn name(&mut self, kind: &str) -> PathBuf {
        self.count += 1;
        self.sessions.join(format!("{kind}-{}-{}.jsonl.lock", process::id(), self.count))
    }

    /// What every lock that is held must be: there, and the same file.
    fn check(&self) {
        for held in &self.held {
            match fs::metadata(&held.path) {
                Ok(found) if found.ino() == held.inode => {}
                Ok(_) => self.violation(&format!("{} is another file", held.path.display())),
                Err(error) => self.violation(&format!("{}: {error}", held.path.display())),
            }
        }
    }

    fn take(&mut self) {
        let path = self.name("own");
        let mut file = File::options().write(true).create_new(true).open(&path).unwrap();
        let inode = file.metadata().unwrap().ino();
        // At once, as a gateway does: one that is killed in between would leave half of it.
        let text = format!("{{\"pid\":{},\"createdAt\":\"2026-11-22T06:59:25.232Z\"}}\n", process::id());
        file.write_all(text.as_bytes()).unwrap();
        self.held.push(Held { path, inode, owner: Owner::Us(file) });
    }

    /// A helper that holds a lock for a while.
    fn lend(&mut self) {
        let path = self.name("held");
        let Ok(child) = self.start(&helper(), &["hold", path.to_str().unwrap()]) else { return };
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if let Ok(meta) = fs::metadata(&path)
                && meta.len() > 0
            {
                let owner = Owner::Helper(child);
                self.held.push(Held { path, inode: meta.ino(), owner });
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.children.push(child);
    }

    /// The oldest lock is given back.
    fn release(&mut self) {
        let Held { path, owner, .. } = self.held.remove(0);
        match owner {
            Owner::Us(file) => {
                drop(file);
                fs::remove_file(path).unwrap();
            }
            Owner::Helper(child) => {
                kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
                self.children.push(child);
            }
        }
    }

    fn start(&self, program: &str, words: &[&str]) -> std::io::Result<Child> {
        Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
    }

    /// One deed. A fork that is refused is the machine's affair.
    fn act(&mut self) {
        match self.next(10) {
            0 | 1 if self.held.len() < 6 => self.take(),
            2 if self.held.len() < 6 => self.lend(),
            3 | 4 if !self.held.is_empty() => self.release(),
            5 | 6 if self.children.len() < CHILDREN => {
                let (script, sexton) = (TOOLS[self.next(TOOLS.len())], self.sexton.clone());
                let words = [
                    "tool",
                    "--timeout",
                    "400ms",
                    "--grace",
                    "100ms",
                    "--name",
                    "soak",
                    "--",
                    "sh",
                    "-c",
                    script,
                ];
                self.children.extend(self.start(&sexton, &words));
            }
            7 if self.children.len() < CHILDREN => {
                let path = self.name("leak");
                self.children.extend(self.start(&helper(), &["dies", path.to_str().unwrap()]));
            }
            8 if self.children.len() < CHILDREN => {
                // Its owner is nobody's child but sexton's.
                let path = self.name("leak");
                let script = r#""$0" dies "$1" </dev/null & sleep 0.05 & exit 0"#;
                self.children.extend(self.start("sh", &["-c", script, &helper(), path.to_str().unwrap()]));
            }
            // Some of the dead are left for a while.
            _ => self.children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_)))),
        }
    }
}

fn helper() -> String {
    let path = std::env::current_exe().unwrap().with_file_name("holds_lock");
    path.into_os_string().into_string().unwrap()
}

/// The locks that a predecessor has left. Helpers take and give back theirs as they like.
fn left(sessions: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(sessions).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "lock")).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, dir, sexton, seed] = &arguments[..] else { panic!("restless DIR SEXTON SEED") };
    let over = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&over)).unwrap();
    let ignored = Arc::new(AtomicBool::new(false));
    for number in [1, 10, 12, 28, 34, 40] {
        signal_hook::flag::register(number, Arc::clone(&ignored)).unwrap();
    }
    let mut restless = Restless {
        sessions: Path::new(dir).join("sessions"),
        violations: Path::new(dir).join("violations"),
        sexton: sexton.clone(),
        random: seed.parse::<u64>().unwrap() ^ (u64::from(process::id()) << 20) | 1,
        held: Vec::new(),
        children: Vec::new(),
        count: 0,
    };
    let left = left(&restless.sessions);
    if !left.is_empty() {
        let mut file = File::options().append(true).create(true).open(Path::new(dir).join("left")).unwrap();
        writeln!(file, "{}: {left:?}", process::id()).unwrap();
    }
    File::create(Path::new(dir).join("up")).unwrap();
    while !over.load(Ordering::SeqCst) {
        restless.act();
        restless.check();
        while restless.held.len() > 5 {
            restless.release();
        }
        std::thread::sleep(PACE);
    }
    // A helper's lock goes with its helper, whom sexton asks to end.
    for held in restless.held.drain(..) {
        if let Owner::Us(file) = held.owner {
            drop(file);
            fs::remove_file(held.path).unwrap();
        }
    }
}
