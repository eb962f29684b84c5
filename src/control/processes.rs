//! The processes below a sexton. The client reads them from /proc, and sexton itself does not. So sexton spends no time
//! on it, and reads nothing that a process of the tree may have written.

use std::collections::BTreeMap;

use super::attribution::attribute;
use super::protocol::{Process, Status};
use crate::os::procfs::Stat;
use crate::os::{clock, procfs, tree};
use crate::types::Pid;

/// Adds the processes and their owners to the status that sexton gave. `pid` is sexton's pid in our pid namespace.
/// `false` if it differs from the pid in the status: then sexton is in another pid namespace.
pub fn add(status: &mut Status, pid: i32) -> bool {
    let Some(root) = Pid::new(pid).filter(|pid| pid.raw() == status.pid) else {
        return false;
    };
    let found = tree::below(root).unwrap_or_default();
    let since_boot = u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX);
    let ticks = clock::ticks_per_second();
    let shown = |stat: &Stat| Process {
        pid: stat.pid.raw(),
        parent: stat.parent,
        group: stat.group,
        session: stat.session,
        state: char::from(stat.state),
        age: since_boot.saturating_sub(stat.start.0.saturating_mul(1000) / ticks),
        rss: procfs::resident(stat.pid).unwrap_or(0),
        name: String::from_utf8_lossy(&stat.name).into_owned(),
        of: None,
        orphan: false,
    };
    status.processes = in_order(found.iter().map(shown).collect(), root.raw());
    attribute(status, clock::wall_millis(), |pid| Pid::new(pid).map(procfs::environment).unwrap_or_default());
    true
}

/// Each process after its parent and before its next sibling, the oldest first.
fn in_order(mut processes: Vec<Process>, root: i32) -> Vec<Process> {
    processes.sort_by_key(|process| (process.age, std::cmp::Reverse(process.pid)));
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut open = children.remove(&root).unwrap_or_default();
    let mut ordered = Vec::new();
    while let Some(process) = open.pop() {
        open.extend(children.remove(&process.pid).unwrap_or_default());
        ordered.push(process);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_their_children_and_the_old_before_the_young() {
        let process = |pid, parent, age| Process { pid, parent, age, state: 'S', ..Process::default() };
        let found = vec![
            process(4, 2, 5),
            process(3, 1, 8),
            process(2, 1, 9),
            process(5, 2, 5),
            process(6, 4, 1),
            process(9, 99, 1),
        ];
        let order: Vec<i32> = in_order(found, 1).iter().map(|process| process.pid).collect();
        assert_eq!(order, [2, 4, 6, 5, 3]);
    }

    #[test]
    fn a_sexton_that_lives_elsewhere_is_not_looked_at() {
        let mut status = Status { pid: 1, ..Status::default() };
        assert!(!add(&mut status, 4321));
        assert!(!add(&mut status, 0));
        assert!(status.processes.is_empty());
    }
}
