//! What must be true at every instant, and over the whole run.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::process::{children, look};
use crate::common::victim::{Mode, Victim};

/// How long a zombie may wait for sexton, and a gateway for its successor. The machine is busy, and sexton stands still
/// now and then.
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a lock may wait for its removal: where no quiet moment can be made, on a machine that is too busy to stop
/// anybody at once, sexton tries again after up to a minute.
const LATER: Duration = Duration::from_secs(200);

/// What sexton has, at one look.
#[derive(Debug, Clone, Copy)]
struct Sample {
    descriptors: usize,
    /// Memory that is its own alone and written to, in KiB.
    dirty: u64,
    zombies: usize,
}

pub struct Checker {
    mode: Mode,
    sexton: i32,
    dir: PathBuf,
    begin: Instant,
    samples: Vec<Sample>,
    /// When what should go away was seen first.
    zombies: HashMap<(i32, u64), Instant>,
    locks: HashMap<String, Instant>,
    no_gateway: Option<Instant>,
    most: usize,
}

/// Keeps those of `seen` that are still there, and gives the one that was there for too long.
fn too_long<K: std::hash::Hash + Eq + Clone>(
    seen: &mut HashMap<K, Instant>,
    now: Vec<K>,
    bound: Duration,
) -> Option<K> {
    seen.retain(|key, _| now.contains(key));
    now.into_iter().find(|key| seen.entry(key.clone()).or_insert_with(Instant::now).elapsed() > bound)
}

impl Checker {
    pub fn new(mode: Mode, sexton: i32, dir: PathBuf) -> Checker {
        let (zombies, locks) = (HashMap::new(), HashMap::new());
        Checker {
            mode,
            sexton,
            dir,
            begin: Instant::now(),
            samples: Vec::new(),
            zombies,
            locks,
            no_gateway: None,
            most: 0,
        }
    }

    pub fn look(&mut self, victim: &Victim) {
        let mode = self.mode;
        let alive = look(self.sexton).is_some_and(|process| !process.dead());
        assert!(alive, "{mode:?}: sexton is gone: {}", victim.stderr());
        let violations = fs::read_to_string(self.dir.join("violations")).unwrap_or_default();
        assert_eq!(violations, "", "{mode:?}: {}", victim.stderr());

        let children = children(self.sexton);
        self.most = self.most.max(children.len());
        let dead = children.iter().filter(|child| child.dead()).map(|child| (child.pid, child.start));
        let zombies: Vec<_> = dead.collect();
        let sample = Sample {
            descriptors: fs::read_dir(format!("/proc/{}/fd", self.sexton)).unwrap().count(),
            dirty: dirty(self.sexton),
            zombies: zombies.len(),
        };
        self.samples.push(sample);
        let unreaped = too_long(&mut self.zombies, zombies, SHORT_TIMEOUT);
        assert_eq!(unreaped, None, "{mode:?}: a zombie that is not reaped; {}", victim.stderr());

        let names = fs::read_dir(self.dir.join("sessions")).unwrap();
        let locks = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let kept = too_long(&mut self.locks, locks, LATER);
        assert_eq!(kept, None, "{mode:?}: a lock that is not removed; {}", victim.stderr());

        if children.iter().any(|child| child.name == "restless" && !child.dead()) {
            self.no_gateway = None;
        } else {
            let since = *self.no_gateway.get_or_insert_with(Instant::now);
            assert!(since.elapsed() < SHORT_TIMEOUT, "{mode:?}: no gateway for long; {}", victim.stderr());
        }
    }

    /// After the end of everything.
    pub fn end(self, said: &str) {
        let violations = fs::read_to_string(self.dir.join("violations")).unwrap_or_default();
        assert_eq!(violations, "", "{:?}: {said}", self.mode);
        // A start into old locks is one that sexton has announced: it waits for as long as a sweep may take, and not
        // for ever.
        let starts = fs::read_to_string(self.dir.join("left")).unwrap_or_default().lines().count();
        let announced =
            |line: &&str| ["sweep-overdue", "freeze-failed"].iter().any(|event| line.contains(event));
        let announced = said.lines().filter(announced).count();
        println!(
            "{:?}: {starts} starts into old locks, {announced} sweeps that did not end in time",
            self.mode
        );
        assert!(starts <= announced, "{:?}: starts into old locks, and not a word: {said}", self.mode);
        let left: Vec<_> =
            fs::read_dir(self.dir.join("sessions")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "{:?}: locks of the dead are left: {said}", self.mode);
        // The first tenth fills what is filled once: what is remembered of tools and incidents, and the clients' lines.
        let settled = &self.samples[self.samples.len() / 10..];
        let quarter = settled.len() / 4;
        assert!(quarter > 1, "too short to tell");
        let [early, late] = [&settled[..quarter], &settled[settled.len() - quarter..]].map(medians);
        let peak = |of: fn(&Sample) -> u64| settled.iter().map(of).max().unwrap();
        println!(
            "{:?}: {} looks; first quarter {early:?}, last quarter {late:?}; at most {} descriptors, {} KiB, \
             {} zombies, {} children",
            self.mode,
            self.samples.len(),
            peak(|sample| sample.descriptors as u64),
            peak(|sample| sample.dirty),
            peak(|sample| sample.zombies as u64),
            self.most,
        );
        assert!(peak(|sample| sample.descriptors as u64) <= 100, "descriptors");
        assert!(peak(|sample| sample.dirty) <= 8 * 1024, "memory");
        // A short run is all beginning.
        if self.begin.elapsed() < Duration::from_secs(300) {
            return;
        }
        assert!(late.descriptors <= early.descriptors + 4, "descriptors grow: {early:?} {late:?}");
        assert!(late.zombies <= early.zombies + 3, "zombies grow: {early:?} {late:?}");
        assert!(late.dirty <= early.dirty + early.dirty / 4 + 64, "memory grows: {early:?} {late:?}");
    }
}

/// Of each number the one in the middle.
fn medians(samples: &[Sample]) -> Sample {
    fn middle<T: Ord + Copy>(samples: &[Sample], of: impl Fn(&Sample) -> T) -> T {
        let mut numbers: Vec<T> = samples.iter().map(of).collect();
        numbers.sort_unstable();
        numbers[numbers.len() / 2]
    }
    Sample {
        descriptors: middle(samples, |sample| sample.descriptors),
        dirty: middle(samples, |sample| sample.dirty),
        zombies: middle(samples, |sample| sample.zombies),
    }
}

fn dirty(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
