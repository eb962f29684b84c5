//! Which processes descend from which.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::os::process;
use crate::os::procfs::{self, Stat};
use crate::types::Pid;

/// Every process below us, zombies included, as /proc shows them at this moment.
///
/// A process whose parent died is found under the nearest subreaper (prctl(2)), so that with us as one nobody
/// can leave the tree; a process that forks while /proc is read can be missed by one reading.
///
/// Walking from child to child costs as much as our tree is large, and not as the machine is busy. Where the
/// kernel does not list children, all of /proc is read.
///
/// # Errors
/// /proc cannot be read.
pub fn below_us() -> io::Result<Vec<Stat>> {
    let us = process::own_pid();
    // We have one thread, so that all our children are its.
    match procfs::children_of_thread(us, us) {
        Ok(children) => walk(children),
        Err(_) => Ok(descendants(us, procfs::all()?)),
    }
}

/// The same for every process below `root`, which may have several threads.
///
/// # Errors
/// /proc cannot be read.
pub fn below(root: Pid) -> io::Result<Vec<Stat>> {
    match procfs::children_of_thread(root, root) {
        Ok(_) => walk(children_of(root)),
        Err(_) => Ok(descendants(root, procfs::all()?)),
    }
}

fn children_of(pid: Pid) -> Vec<Pid> {
    let of_thread = |thread| procfs::children_of_thread(pid, thread).unwrap_or_default();
    procfs::threads(pid).into_iter().flat_map(of_thread).collect()
}

/// Everybody in `open` and below.
fn walk(mut open: Vec<Pid>) -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    while let Some(pid) = open.pop() {
        // Two readings of a changing tree can name one process twice.
        if !seen.insert(pid) {
            continue;
        }
        found.extend(procfs::stat(pid)?);
        open.extend(children_of(pid));
    }
    Ok(found)
}

/// Whether `pid` is a process below us at this moment. One that is gone is not.
#[must_use]
pub fn is_below_us(pid: Pid) -> bool {
    /// No tree is as deep, and two readings of a changing one can make a circle.
    const DEEPEST: usize = 1 << 16;
    let us = process::own_pid().raw();
    let parent = |pid: &i32| procfs::stat(Pid::new(*pid)?).ok()?.map(|stat| stat.parent);
    let mut above = std::iter::successors(parent(&pid.raw()), parent).take(DEEPEST);
    above.any(|parent| parent == us)
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
