//! Which processes descend from which.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::os::process;
use crate::os::procfs::{self, Stat};
use crate::types::Pid;

/// Every process below us, zombies included, as /proc shows them at this moment.
///
/// A process whose parent died is found under the nearest subreaper (prctl(2)). So if we are one, no process can leave
/// the tree. A process that forks while /proc is read can be missed by one reading.
///
/// Walking from child to child costs as much as our tree is large, and not as the machine is busy. Where the
/// kernel does not list children, all of /proc is read.
///
/// # Errors
/// /proc cannot be read.
pub fn below_us() -> io::Result<Vec<Stat>> {
    below_us_while(|| true)
}

/// The same, but the look ends as soon as `go_on` says no.
///
/// # Errors
/// /proc cannot be read.
pub fn below_us_while(go_on: impl Fn() -> bool) -> io::Result<Vec<Stat>> {
    if !procfs::is_of_our_namespace() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let us = process::own_pid();
    // We have one thread, so that all our children are its.
    match procfs::children_of_thread(us, us) {
        Ok(children) => walk(us, children, go_on),
        Err(_) => Ok(descendants(us, procfs::all_while(go_on)?)),
    }
}

/// The same for every process below `root`, which may have several threads.
///
/// # Errors
/// /proc cannot be read.
pub fn below(root: Pid) -> io::Result<Vec<Stat>> {
    match procfs::children_of_thread(root, root) {
        Ok(_) => walk(root, children_of(root), || true),
        Err(_) => Ok(descendants(root, procfs::all()?)),
    }
}

/// The children of a process, those of all its threads; none if it has ended.
#[must_use]
pub fn children_of(pid: Pid) -> Vec<Pid> {
    let of_thread = |thread| procfs::children_of_thread(pid, thread).unwrap_or_default();
    procfs::threads(pid).into_iter().flat_map(of_thread).collect()
}

/// All processes in `open`, the children of `root`, and all below them. Between the listing of a number and its reading
/// another process can have got the number: a process whose parent is not in the tree is left out with everything below
/// it. A child that has got a new parent meanwhile is found below that one, by the next reading at the latest.
fn walk(root: Pid, mut open: Vec<Pid>, go_on: impl Fn() -> bool) -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    // An orphan comes to us, who are above every root.
    let mut inside = BTreeSet::from([root.raw(), process::own_pid().raw()]);
    while let Some(pid) = open.pop().filter(|_| go_on()) {
        // Two readings of a changing tree can name one process twice.
        if seen.contains(&pid) {
            continue;
        }
        let Some(stat) = procfs::stat(pid)?.filter(|stat| inside.contains(&stat.parent)) else {
            continue;
        };
        seen.insert(pid);
        inside.insert(pid.raw());
        // The dead have no children, and there can be very many of them.
        if !stat.is_dead() {
            open.extend(children_of(pid));
        }
        found.push(stat);
    }
    Ok(found)
}

/// Whether `pid` is a process below us at this moment. One that is gone is not.
#[must_use]
pub fn is_below_us(pid: Pid) -> bool {
    is_inside(pid, &[], false)
}

/// Whether `pid` is one of these children of ours, none of which is reaped meanwhile, or below one of them.
#[must_use]
pub fn is_of_children(pid: Pid, children: &[Pid]) -> bool {
    matches!(climb(pid, &[]), Climb::Below(child) if children.contains(&child))
}

/// Whether `pid` is one that we may signal: below us, or anybody if we are the init of the pid namespace; and neither
/// one of `spared` nor below one of them.
#[must_use]
pub fn is_ours_but_for(pid: Pid, spared: &[Pid]) -> bool {
    let init = process::own_pid() == Pid::INIT;
    (init && spared.is_empty()) || is_inside(pid, spared, init)
}

/// The same without an exception.
#[must_use]
pub fn is_ours(pid: Pid) -> bool {
    is_ours_but_for(pid, &[])
}

/// `outside` is the answer for one that is not below us.
fn is_inside(pid: Pid, spared: &[Pid], outside: bool) -> bool {
    match climb(pid, spared) {
        Climb::Below(one) => !spared.contains(&one),
        Climb::Outside => outside,
        Climb::Endless => false,
    }
}

/// Where the way up from a process has ended.
enum Climb {
    /// At this child of ours, or at one at which it was to end.
    Below(Pid),
    /// Outside of our tree.
    Outside,
    /// Nowhere: two readings of a changing tree can make a circle.
    Endless,
}

/// Climbs from `pid` to us, or to the first one of `until` on the way.
///
/// A step upwards counts only if the parent is the same before and after the look at it: a parent that died in between
/// could have left its number to a process of ours, and its children are another's by then.
fn climb(pid: Pid, until: &[Pid]) -> Climb {
    /// No tree is as deep.
    const DEEPEST: usize = 1 << 16;
    let us = process::own_pid();
    let parent = |pid: Pid| Pid::new(procfs::stat(pid).ok()??.parent);
    let (mut one, mut above) = (pid, parent(pid));
    for _ in 0..DEEPEST {
        match above {
            _ if until.contains(&one) => return Climb::Below(one),
            Some(above) if above == us => return Climb::Below(one),
            None => return Climb::Outside,
            Some(next) => {
                let further = parent(next);
                let now = parent(one);
                (one, above) = if now == Some(next) { (next, further) } else { (one, now) };
            }
        }
    }
    Climb::Endless
}

/// The same processes, parents before their children, in an order that is otherwise kept.
#[must_use]
pub fn top_down(mut found: Vec<Stat>) -> Vec<Stat> {
    let parents: BTreeMap<i32, i32> = found.iter().map(|stat| (stat.pid.raw(), stat.parent)).collect();
    let depth = |stat: &Stat| {
        let above = std::iter::successors(Some(stat.parent), |pid| parents.get(pid).copied());
        // Two readings of a changing tree can contradict each other, and make a circle.
        above.take(parents.len()).take_while(|pid| parents.contains_key(pid)).count()
    };
    found.sort_by_cached_key(depth);
    found
}

fn descendants(root: Pid, all: Vec<Stat>) -> Vec<Stat> {
    let found = descending_from(&[root], &all);
    all.into_iter().filter(|stat| found.contains(&stat.pid)).collect()
}

/// Those of `all` who descend from one of `roots`.
#[must_use]
pub fn descending_from(roots: &[Pid], all: &[Stat]) -> BTreeSet<Pid> {
    let mut children: BTreeMap<i32, Vec<Pid>> = BTreeMap::new();
    for stat in all {
        children.entry(stat.parent).or_default().push(stat.pid);
    }
    let mut found = BTreeSet::new();
    let mut open = roots.to_vec();
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid.raw()).unwrap_or_default() {
            found.insert(child);
            open.push(child);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::StartTime;

    fn process(pid: i32, parent: i32) -> Stat {
        Stat {
            pid: Pid::new(pid).unwrap(),
            name: Vec::new(),
            state: b'S',
            parent,
            group: pid,
            session: pid,
            flags: 0,
            threads: 1,
            start: StartTime(0),
        }
    }

    fn below_seven(all: &[(i32, i32)]) -> Vec<i32> {
        let all = all.iter().map(|(pid, parent)| process(*pid, *parent)).collect();
        descendants(Pid::new(7).unwrap(), all).iter().map(|stat| stat.pid.raw()).collect()
    }

    #[test]
    fn grandchildren_belong_and_neighbours_do_not() {
        let all = [(1, 0), (7, 1), (8, 7), (9, 8), (10, 1), (11, 10), (12, 9)];
        assert_eq!(below_seven(&all), [8, 9, 12]);
        assert_eq!(below_seven(&[(1, 0)]), [0; 0]);
    }

    /// Another process has the number that was listed: our parent stands in for it.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test is not PID 1")]
    fn whoever_has_the_number_of_a_child_that_is_gone_is_left_out() {
        let parent = Pid::new(process::parent()).unwrap();
        assert_eq!(walk(process::own_pid(), vec![parent], || true).unwrap(), []);
        assert!(!is_below_us(parent));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::new(child.id().cast_signed()).unwrap();
        let found = walk(process::own_pid(), vec![parent, pid], || true).unwrap();
        assert_eq!(found.iter().map(|stat| stat.pid).collect::<Vec<_>>(), [pid]);
        assert!(is_below_us(pid) && !is_ours_but_for(pid, &[pid]));
        assert!(
            is_of_children(pid, &[pid]) && !is_of_children(pid, &[parent]) && !is_of_children(parent, &[pid])
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn parents_come_before_their_children() {
        let order = |all: &[(i32, i32)]| -> Vec<i32> {
            let all = all.iter().map(|(pid, parent)| process(*pid, *parent)).collect();
            top_down(all).iter().map(|stat| stat.pid.raw()).collect()
        };
        assert_eq!(order(&[(5, 9), (6, 5), (9, 7), (8, 7)]), [9, 8, 5, 6]);
        assert_eq!(order(&[(5, 6), (6, 5), (4, 1)]).len(), 3);
    }

    #[test]
    fn a_circle_ends() {
        // Two readings of a changing tree can contradict each other.
        assert_eq!(below_seven(&[(7, 9), (8, 7), (9, 8)]).len(), 3);
    }
}
