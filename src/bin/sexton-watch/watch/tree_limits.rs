//! Evaluates the counts of the process tree: growth, too much memory, and parents that do not reap. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sexton::config::watch_settings::Limits;
use sexton::control::protocol::TreeStats;
use sexton::types::{MonoTime, StartTime};

/// One look at the tree.
#[derive(Debug, Clone, Default)]
pub struct Count {
    /// Processes that live.
    pub living: u64,
    /// Resident memory of all of them, in bytes.
    pub rss: u64,
    /// Proportional memory, if it could be read of each.
    pub pss: Option<u64>,
    /// Zombies whose parent is alive and is not sexton.
    pub zombies: Vec<Zombie>,
    /// How often the kernel has killed a process because memory ran out, since the cgroup was made.
    pub oom_kills: Option<u64>,
    /// How often it has refused a process.
    pub forks_refused: Option<u64>,
}

/// A zombie: its parent has not reaped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zombie {
    /// Its pid and start time, which identify it.
    pub who: (i32, StartTime),
    /// The parent that should reap it.
    pub parent: i32,
    /// The parent's name.
    pub parent_name: String,
}

/// A parent that does not reap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreapedZombies {
    /// Its name.
    pub name: String,
    /// How many zombies it has.
    pub zombies: u64,
}

/// What a count came to.
#[derive(Debug, Clone, Default)]
pub struct Assessment {
    /// The counted values.
    pub census: TreeStats,
    /// Too much memory: why, in words.
    pub memory: Option<String>,
    /// The parents that do not reap, by pid.
    pub neglect: BTreeMap<i32, UnreapedZombies>,
    /// Processes that the kernel has killed for want of memory since the first count.
    pub oom_kills: u64,
    /// Whether that has just gone on, in words.
    pub out_of_memory: Option<String>,
    /// Processes that the kernel has refused since the first count.
    pub forks_refused: u64,
}

/// The counts so far.
pub struct TreeLimits {
    limits: Limits,
    /// The resident memory over the last minutes.
    course: VecDeque<(MonoTime, u64)>,
    /// The zombies of the last count. One that is gone at the next was reaped, only a little later.
    zombies: BTreeSet<(i32, StartTime)>,
    too_much: bool,
    first: Option<(u64, u64)>,
    /// The kernel's kills at the last count, and when there was one more.
    killed: u64,
    last_kill: Option<MonoTime>,
}

/// The stretch over which growth is measured.
const STRETCH: Duration = Duration::from_secs(300);
/// The least number of counts that makes a growth.
const LEAST: usize = 3;
/// How long a kill by the kernel is worth a word.
const AFTERMATH: Duration = Duration::from_secs(60);

impl TreeLimits {
    /// Nothing was counted yet.
    pub fn new(limits: Limits) -> TreeLimits {
        TreeLimits {
            limits,
            course: VecDeque::new(),
            zombies: BTreeSet::new(),
            too_much: false,
            first: None,
            killed: 0,
            last_kill: None,
        }
    }

    /// The gateway was started again: its memory grows from nothing.
    pub fn forget_growth(&mut self) {
        self.course.clear();
    }

    /// Takes a count made at `now`; `wall` is the same in milliseconds since the epoch.
    pub fn take(&mut self, now: MonoTime, wall: u64, count: &Count) -> Assessment {
        self.course.push_back((now, count.rss));
        while self.course.front().is_some_and(|(then, _)| now.since(*then) > STRETCH) {
            self.course.pop_front();
        }
        let neglect = self.neglect(&count.zombies);
        let census = TreeStats {
            at: wall,
            processes: count.living,
            zombies: neglect.values().map(|neglect| neglect.zombies).sum(),
            rss: count.rss,
            pss: count.pss,
            growth: growth(&self.course),
        };
        let memory = self.memory(&census);
        let (kills, refused) = (count.oom_kills.unwrap_or_default(), count.forks_refused.unwrap_or_default());
        let first = *self.first.get_or_insert((kills, refused));
        let oom_kills = kills.saturating_sub(first.0);
        if oom_kills > self.killed {
            self.last_kill = Some(now);
        }
        self.killed = oom_kills;
        let recent = self.last_kill.is_some_and(|then| now.since(then) < AFTERMATH);
        let out_of_memory =
            recent.then(|| format!("the kernel has killed {oom_kills} of the tree for want of memory"));
        let forks_refused = refused.saturating_sub(first.1);
        Assessment { census, memory, neglect, oom_kills, out_of_memory, forks_refused }
    }

    fn neglect(&mut self, zombies: &[Zombie]) -> BTreeMap<i32, UnreapedZombies> {
        let mut neglect: BTreeMap<i32, UnreapedZombies> = BTreeMap::new();
        for zombie in zombies.iter().filter(|zombie| self.zombies.contains(&zombie.who)) {
            let name = || UnreapedZombies { name: zombie.parent_name.clone(), zombies: 0 };
            neglect.entry(zombie.parent).or_insert_with(name).zombies += 1;
        }
        self.zombies = zombies.iter().map(|zombie| zombie.who).collect();
        neglect
    }

    /// Too much is more than the limit, and stays too much down to nine tenths of it.
    ///
    /// Shared pages count once where that can be known: fifty processes of one program are not fifty programs.
    fn memory(&mut self, census: &TreeStats) -> Option<String> {
        let limit = self.limits.memory?;
        let has = census.pss.unwrap_or(census.rss);
        self.too_much = has > limit || (self.too_much && has > limit / 10 * 9);
        let mebibytes = |bytes: u64| bytes / (1 << 20);
        self.too_much.then(|| {
            let growth = census.growth / (1 << 20);
            format!(
                "the tree has {} MiB, {} are the limit; {growth:+} MiB a minute",
                mebibytes(has),
                mebibytes(limit)
            )
        })
    }

    /// From how many zombies of one parent on that is worth a word, if at all.
    pub fn zombie_limit(&self) -> Option<u64> {
        self.limits.zombies.map(|limit| limit.max(1))
    }
}

/// The slope of the straight line that fits best, in bytes a minute.
fn growth(course: &VecDeque<(MonoTime, u64)>) -> i64 {
    let Some((origin, _)) = course.front().filter(|_| course.len() >= LEAST) else { return 0 };
    #[expect(clippy::cast_precision_loss, reason = "sizes of memory are far below 2^52")]
    let point = |(at, bytes): &(MonoTime, u64)| (at.since(*origin).as_secs_f64() / 60.0, *bytes as f64);
    #[expect(clippy::cast_precision_loss, reason = "there are a few thousand at most")]
    let number = course.len() as f64;
    let sum = |of: &dyn Fn((f64, f64)) -> f64| course.iter().map(point).map(of).sum::<f64>();
    let (x, y) = (sum(&|(x, _)| x) / number, sum(&|(_, y)| y) / number);
    let across = sum(&|(at, _)| (at - x) * (at - x));
    if across <= 0.0 {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a float saturates")]
    let slope = (sum(&|(at, bytes)| (at - x) * (bytes - y)) / across) as i64;
    slope
}

/// Whether a count is news after the one that was told last.
pub fn is_news(told: Option<&TreeStats>, census: &TreeStats) -> bool {
    let Some(told) = told else { return true };
    let far = |one: u64, other: u64| one.abs_diff(other) > (1 << 20).max(one / 100);
    (told.processes, told.zombies, told.pss.is_some())
        != (census.processes, census.zombies, census.pss.is_some())
        || far(told.rss, census.rss)
        || far(told.growth.unsigned_abs(), census.growth.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn tally(memory: Option<u64>) -> TreeLimits {
        TreeLimits::new(Limits { memory, zombies: Some(2), ..Limits::default() })
    }

    fn at(seconds: u64) -> MonoTime {
        MonoTime(Duration::from_secs(1000 + seconds))
    }

    fn with(rss: u64) -> Count {
        Count { rss, ..Count::default() }
    }

    #[test]
    fn growth_is_that_of_the_last_minutes() {
        let mut tally = tally(None);
        let mut take = |seconds, rss| tally.take(at(seconds), 0, &with(rss)).census.growth;
        assert_eq!([take(0, 5 * MIB), take(30, 100 * MIB)], [0, 0]);
        assert_eq!(take(600, MIB), 0);
        assert_eq!(take(630, 51 * MIB), 0);
        let hundred = 100 * i64::try_from(MIB).unwrap();
        assert_eq!(take(660, 101 * MIB), hundred);
        assert!(take(690, 101 * MIB) < hundred);
        tally.forget_growth();
        assert_eq!(tally.take(at(691), 0, &with(0)).census.growth, 0);
    }

    #[test]
    fn shrinking_is_growth_below_zero() {
        let mut tally = tally(None);
        let growths: Vec<i64> =
            (0..4).map(|step| tally.take(at(step * 60), 0, &with((10 - step) * MIB)).census.growth).collect();
        assert_eq!(growths, [0, 0, -(1 << 20), -(1 << 20)]);
        let mut still = TreeLimits::new(Limits::default());
        assert_eq!((0..5).map(|_| still.take(at(0), 0, &with(MIB)).census.growth).max(), Some(0));
    }

    #[test]
    fn too_much_ends_well_below_the_limit() {
        let mut tally = tally(Some(100 * MIB));
        let mut has = |mebibytes| tally.take(at(0), 0, &with(mebibytes * MIB)).memory.is_some();
        let course = [100, 101, 99, 91, 90, 95, 100, 101];
        assert_eq!(course.map(&mut has), [false, true, true, true, false, false, false, true]);
        // What is shared counts once, where that is known.
        let shared = Count { pss: Some(10 * MIB), ..with(500 * MIB) };
        assert!(tally.take(at(0), 0, &shared).memory.is_none());
        let words = tally.take(at(0), 0, &with(200 * MIB)).memory.unwrap();
        assert!(words.starts_with("the tree has 200 MiB, 100 are the limit; "), "{words}");
    }

    #[test]
    fn a_zombie_counts_when_it_is_seen_twice() {
        let mut tally = tally(None);
        let zombie = |pid, parent| Zombie {
            who: (pid, StartTime(u64::from(pid.unsigned_abs()))),
            parent,
            parent_name: "node".into(),
        };
        let mut take = |zombies: Vec<Zombie>| {
            let tallied = tally.take(at(0), 0, &Count { zombies, ..Count::default() });
            let by_parent: Vec<(i32, u64)> =
                tallied.neglect.iter().map(|(parent, neglect)| (*parent, neglect.zombies)).collect();
            assert_eq!(tallied.census.zombies, by_parent.iter().map(|(_, number)| number).sum::<u64>());
            by_parent
        };
        assert_eq!(take(vec![zombie(1, 7), zombie(2, 7)]), []);
        assert_eq!(take(vec![zombie(2, 7), zombie(3, 7), zombie(4, 8)]), [(7, 1)]);
        assert_eq!(take(vec![zombie(2, 7), zombie(3, 7), zombie(4, 8)]), [(7, 2), (8, 1)]);
        // The same number, another process.
        let other = Zombie { who: (2, StartTime(99)), ..zombie(2, 7) };
        assert_eq!(take(vec![other]), []);
        assert_eq!(take(vec![]), []);
    }

    #[test]
    fn a_kill_by_the_kernel_is_news_for_a_minute() {
        let mut tally = tally(None);
        let mut take = |seconds, kills| {
            let tallied = tally.take(at(seconds), 0, &Count { oom_kills: Some(kills), ..Count::default() });
            (tallied.oom_kills, tallied.out_of_memory.is_some())
        };
        // What happened before we came is not ours to tell.
        assert_eq!(take(0, 3), (0, false));
        assert_eq!(take(10, 4), (1, true));
        assert_eq!(take(69, 4), (1, true));
        assert_eq!(take(70, 4), (1, false));
        assert_eq!(take(80, 6), (3, true));
    }

    #[test]
    fn little_changes_are_no_news() {
        let census = TreeStats { processes: 3, rss: 500 * MIB, ..TreeStats::default() };
        assert!(is_news(None, &census));
        assert!(!is_news(Some(&census), &TreeStats { at: 5, rss: 504 * MIB, ..census }));
        assert!(is_news(Some(&census), &TreeStats { rss: 506 * MIB, ..census }));
        assert!(is_news(Some(&census), &TreeStats { zombies: 1, ..census }));
        assert!(is_news(Some(&census), &TreeStats { growth: -(2 << 20), ..census }));
    }
}
