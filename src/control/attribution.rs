//! Which unit or tool each process belongs to, as `sexton ps` and the status page show it. A tool that has ended can
//! have left processes behind. The rules are in [`super::kinship`].

use std::collections::BTreeMap;

use super::kinship::{Finished, LeftBehind, Owner, Running, Runs, TOOL_VARIABLE, by_group, by_mark};
use super::protocol::{Process, Status};

/// The variable that OpenClaw sets for the commands of its exec tool, and its value. The value is also the owner's name
/// here.
const OPENCLAW: (&str, &str) = ("OPENCLAW_SHELL", "exec");

/// Sets the owner of each process. The owner is the gateway, the unit or the tool's supervisor that the process is, or
/// else the nearest of them among its ancestors.
///
/// A process without such an ancestor was left behind. Its owner is the tool whose process group or session it is in,
/// or else the tool whose mark it bears. If neither gives an owner, its nearest ancestor with an owner by these rules
/// decides. `environment` reads a process's environment and is called only for processes that were left behind. `wall`
/// is now, in milliseconds since the epoch.
pub fn attribute(status: &mut Status, wall: u64, environment: impl Fn(i32) -> Vec<u8>) {
    let mut roots: BTreeMap<i32, Owner> = BTreeMap::new();
    for unit in std::iter::once(&status.gateway).chain(&status.units) {
        roots.extend(unit.pid.map(|pid| (pid, Owner::alive(&unit.name))));
    }
    roots.extend(status.tools.iter().map(|tool| (tool.supervisor, Owner::alive(&tool.id))));
    let places: BTreeMap<i32, usize> =
        status.processes.iter().enumerate().map(|(place, process)| (process.pid, place)).collect();
    let above = |process: &Process| {
        let parent = |below: &&Process| status.processes.get(*places.get(&below.parent)?);
        // The tree changes while it is read, so the parents that were read can form a cycle.
        let chain: Vec<i32> = std::iter::successors(status.processes.get(*places.get(&process.pid)?), parent)
            .take(status.processes.len())
            .map(|one| one.pid)
            .collect();
        Some(chain)
    };
    let tools: Vec<Running<'_>> = status.tools.iter().map(Running::from).collect();
    let ended: Vec<Finished<'_>> = status.ended.iter().map(Finished::from).collect();
    let runs = Runs { tools: &tools, ended: &ended };
    let left_behind = |process: &Process| {
        let began = wall.saturating_sub(process.age);
        let one = LeftBehind { group: process.group, session: process.session, began };
        let alive = |pid: i32| places.contains_key(&pid);
        by_group(runs, one).or_else(|| by_environment(runs, one, &environment(process.pid), &alive))
    };
    let owners: Vec<Option<Owner>> = status
        .processes
        .iter()
        .map(|process| {
            let above = above(process)?;
            above.iter().find_map(|pid| roots.get(pid).cloned()).or_else(|| {
                above.iter().find_map(|pid| left_behind(status.processes.get(*places.get(pid)?)?))
            })
        })
        .collect();
    for (process, owner) in status.processes.iter_mut().zip(owners) {
        process.orphan = owner.as_ref().is_some_and(|owner| owner.ended);
        process.of = owner.map(|owner| owner.name);
    }
}

fn by_environment(
    runs: Runs<'_>,
    one: LeftBehind,
    environment: &[u8],
    alive: &dyn Fn(i32) -> bool,
) -> Option<Owner> {
    let variables = || environment.split(|byte| *byte == 0).filter_map(|one| std::str::from_utf8(one).ok());
    let value = |name: &str| variables().find_map(|one| one.strip_prefix(name)?.strip_prefix('='));
    if let Some(mark) = value(TOOL_VARIABLE).filter(|mark| !mark.is_empty()) {
        return Some(by_mark(runs, one, mark, alive));
    }
    let exec = value(OPENCLAW.0) == Some(OPENCLAW.1);
    exec.then(|| Owner { name: OPENCLAW.1.to_owned(), ended: true })
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{ToolRecord, ToolRun, UnitStatus};
    use super::*;

    fn process(pid: i32, parent: i32, group: i32, session: i32) -> Process {
        Process { pid, parent, group, session, age: 5000, ..Process::default() }
    }

    fn whose(processes: Vec<Process>, environment: impl Fn(i32) -> &'static str) -> Vec<(i32, String, bool)> {
        let unit =
            |name: &str, pid| UnitStatus { name: name.into(), pid: Some(pid), ..UnitStatus::default() };
        let ended = ToolRecord {
            id: "old".into(),
            ended: 96_000,
            more: [("pid".to_owned(), 50.into())].into(),
            ..ToolRecord::default()
        };
        let mut status = Status {
            gateway: unit("gateway", 7),
            units: vec![unit("proxy", 8)],
            tools: vec![ToolRun { id: "t1".into(), supervisor: 20, pid: 21, ..ToolRun::default() }],
            ended: vec![ended],
            processes,
            ..Status::default()
        };
        attribute(&mut status, 100_000, |pid| environment(pid).as_bytes().to_vec());
        let shown = |one: Process| (one.pid, one.of.unwrap_or_default(), one.orphan);
        status.processes.into_iter().map(shown).collect()
    }

    #[test]
    fn whoever_is_nearest_above_owns_it() {
        let processes = vec![
            process(7, 1, 7, 7),
            process(8, 1, 8, 8),
            process(20, 7, 20, 7),
            process(21, 20, 21, 7),
            process(22, 21, 22, 22),
            process(9, 8, 8, 8),
        ];
        let not_called = |pid| panic!("{pid}");
        let found = whose(processes, not_called);
        let names: Vec<(i32, &str)> = found.iter().map(|(pid, of, _)| (*pid, of.as_str())).collect();
        let expected = [(7, "gateway"), (8, "proxy"), (20, "t1"), (21, "t1"), (22, "t1"), (9, "proxy")];
        assert_eq!(names, expected);
        assert!(found.iter().all(|(_, _, orphan)| !orphan));
    }

    #[test]
    fn what_a_tool_left_behind_is_known_by_group_session_or_mark() {
        let mut late = process(35, 1, 50, 50);
        late.age = 1000;
        let processes = vec![
            process(30, 1, 50, 7),
            process(31, 1, 31, 50),
            process(32, 1, 32, 32),
            process(33, 32, 33, 33),
            process(34, 1, 21, 7),
            late,
            process(36, 1, 36, 36),
            process(37, 1, 37, 37),
            process(38, 1, 38, 38),
        ];
        let environment = |pid| match pid {
            32 => "PATH=/bin\0SEXTON_TOOL_ID=gone\0OPENCLAW_SHELL=exec\0",
            36 => "OPENCLAW_SHELL=exec\0",
            37 => "SEXTON_TOOL_ID=t1",
            _ => "XSEXTON_TOOL_ID=no\0OPENCLAW_SHELL=execs",
        };
        let expected = [
            (30, "old", true),
            (31, "old", true),
            (32, "gone", true),
            (33, "gone", true),
            (34, "t1", false),
            (35, "", false),
            (36, "exec", true),
            (37, "t1", false),
            (38, "", false),
        ];
        let expected = expected.map(|(pid, of, orphan)| (pid, of.to_owned(), orphan));
        assert_eq!(whose(processes, environment), expected);
    }

    #[test]
    fn a_circle_ends() {
        let found = whose(vec![process(3, 4, 3, 3), process(4, 3, 4, 4)], |_| "");
        assert_eq!(found.len(), 2);
    }
}
