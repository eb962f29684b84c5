//! Which processes descend from which.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::ids::Pid;
use crate::os::procfs::{self, Stat};

/// Every process below `root`, zombies included, as /proc shows them at this moment.
///
/// A process whose parent died is found under the nearest subreaper (prctl(2)), so that with one at `root`
/// nobody can leave the tree; a process that forks while /proc is read can be missed by one reading.
///
/// # Errors
/// /proc cannot be listed.
pub fn below(root: Pid) -> io::Result<Vec<Stat>> {
    Ok(descendants(root, procfs::all()?))
}

fn descendants(root: Pid, all: Vec<Stat>) -> Vec<Stat> {
    let mut children: BTreeMap<i32, Vec<Pid>> = BTreeMap::new();
    for stat in &all {
        children.entry(stat.parent).or_default().push(stat.pid);
    }
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid.raw()).unwrap_or_default() {
            found.insert(child);
            open.push(child);
        }
    }
    all.into_iter().filter(|stat| found.contains(&stat.pid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StartTime;

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
    fn a_circle_ends() {
        // Two readings of a changing tree can contradict each other.
        assert_eq!(below_seven(&[(7, 9), (8, 7), (9, 8)]).len(), 3);
    }
}
