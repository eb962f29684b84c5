//! Counts the tree below sexton, and says what is too much.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sexton::control::protocol::{IncidentKind, TreeStats};
use sexton::os::procfs::Stat;
use sexton::os::{cgroup, clock, process, procfs, tree};
use sexton::types::Pid;
use tokio::time::{MissedTickBehavior, interval};

use super::blocking;
use super::health::Gateway;
use super::state::{SharedState, WatchState};
use super::tree_limits::{Assessment, Count, TreeLimits, Zombie, is_news};

/// How long a count may take before that is worth a line: a process that hangs in the kernel can hold it up.
const DEADLINE: Duration = Duration::from_secs(10);

/// Counts for ever.
pub async fn count_for_ever(known: SharedState) {
    let Some(sexton) = known.sexton else { return };
    let limits = known.state.borrow().settings.limits;
    let mut tally = TreeLimits::new(limits);
    let mut told: Option<TreeStats> = None;
    let mut gateway = known.gateway.subscribe();
    let mut due = interval(limits.interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        if gateway.has_changed().unwrap_or_default()
            && matches!(*gateway.borrow_and_update(), Gateway::Runs(_))
        {
            tally.forget_growth();
        }
        let Some(Some(count)) = blocking::run("the census", DEADLINE, move || count(sexton)).await else {
            continue;
        };
        let tallied = tally.take(clock::now(), clock::wall_millis(), &count);
        let first = told.is_none();
        if is_news(told.as_ref(), &tallied.census) {
            told = Some(tallied.census);
            known.outbox.census(tallied.census);
        }
        judge(&known, &tally, &tallied, first);
        known.state.borrow_mut().tallied = Some(tallied);
    }
}

fn judge(known: &WatchState, tally: &TreeLimits, tallied: &Assessment, first: bool) {
    known.condition(IncidentKind::Memory, "tree", tallied.memory.as_deref());
    known.condition(IncidentKind::OutOfMemory, "tree", tallied.out_of_memory.as_deref());
    // A zombie counts when it is seen twice.
    let Some(limit) = tally.zombie_limit().filter(|_| !first) else { return };
    let neglect = tallied.neglect.iter().filter(|(_, neglect)| neglect.zombies >= limit);
    let neglect: BTreeMap<String, String> = neglect
        .map(|(pid, neglect)| {
            let (zombies, name) = (neglect.zombies, &neglect.name);
            let number = if zombies == 1 { "a zombie".to_owned() } else { format!("{zombies} zombies") };
            (pid.to_string(), format!("{name}, pid {pid}, has {number} that it does not reap"))
        })
        .collect();
    for over in known.lasting(IncidentKind::Zombies).iter().filter(|subject| !neglect.contains_key(*subject))
    {
        known.condition(IncidentKind::Zombies, over, None);
    }
    for (subject, detail) in &neglect {
        known.condition(IncidentKind::Zombies, subject, Some(detail));
    }
}

/// One look at everything below sexton but ourselves, what we have started, and who looks after us. `None` without /proc.
fn count(sexton: Pid) -> Option<Count> {
    let all = tree::below(sexton).ok()?;
    // sexton has a helper between itself and us.
    let helper = Some(process::parent()).filter(|parent| *parent != sexton.raw());
    let ours = with_descendants(helper.unwrap_or(process::own_pid().raw()), &all);
    let all: Vec<&Stat> = all.iter().filter(|stat| !ours.contains(&stat.pid.raw())).collect();
    let names: BTreeMap<i32, &[u8]> = all.iter().map(|stat| (stat.pid.raw(), stat.name.as_slice())).collect();
    let mut count = Count { pss: Some(0), ..Count::default() };
    for stat in &all {
        // A process whose main thread alone is dead lives on in the others.
        if !stat.is_dead() {
            let Some(resident) = procfs::resident(stat.pid) else { continue };
            count.living += 1;
            count.rss += resident;
            let shared = procfs::proportional(stat.pid);
            // One that has just ended has none, and the sum is as good without it.
            let vanished = || procfs::resident(stat.pid).is_none_or(|resident| resident == 0);
            match shared {
                Some(shared) => count.pss = count.pss.map(|sum| sum + shared),
                None if vanished() => {}
                None => count.pss = None,
            }
        } else if stat.parent != sexton.raw()
            && let Some(name) = names.get(&stat.parent)
        {
            count.zombies.push(Zombie {
                who: (stat.pid.raw(), stat.start),
                parent: stat.parent,
                parent_name: String::from_utf8_lossy(name).into_owned(),
            });
        }
    }
    let events = cgroup::events_of(sexton);
    (count.oom_kills, count.forks_refused) = (events.oom_kills, events.forks_refused);
    Some(count)
}

/// A process and everything below it.
fn with_descendants(root: i32, all: &[Stat]) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([root]);
    loop {
        let children = all.iter().filter(|stat| found.contains(&stat.parent)).map(|stat| stat.pid.raw());
        let more: Vec<i32> = children.filter(|pid| !found.contains(pid)).collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}
