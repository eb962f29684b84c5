//! Whose each process is: a unit's, a running tool's, or that of a tool that has ended and left it behind.

use std::collections::BTreeMap;

use super::protocol::{Process, Status, ToolRecord, ToolRun};

/// The variable that all processes of a tool carry, with its id.
const TOOL: &str = "SEXTON_TOOL_ID";
/// What OpenClaw sets for what its exec tool runs, and what that is called here.
const OPENCLAW: (&str, &str) = ("OPENCLAW_SHELL", "exec");

/// Whose one is, and whether that one has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    name: String,
    ended: bool,
}

impl Owner {
    fn alive(name: &str) -> Owner {
        Owner { name: name.to_owned(), ended: false }
    }
}

/// Says of each process whose it is: whoever is nearest above it of the gateway, the units and the tools'
/// supervisors. One that has nobody but sexton above it was left behind, and belongs to the tool whose process
/// group or session it is in, else to the one whose mark it bears. `environment` gives a process's environment
/// and is asked only about such a process. `wall` is now, in milliseconds since the epoch.
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
        // Two looks at a changing tree can contradict each other, and make a circle.
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

/// A process that has nobody but sexton above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftBehind {
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// When it began, in milliseconds since the epoch.
    pub began: u64,
}

/// What counts of a run that is registered.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// Its id.
    pub id: &'a str,
    /// The process that supervises it.
    pub supervisor: i32,
    /// Its main process.
    pub pid: i32,
    /// When it began, in milliseconds since the epoch.
    pub began: u64,
}

impl<'a> From<&'a ToolRun> for Running<'a> {
    fn from(run: &'a ToolRun) -> Running<'a> {
        Running { id: &run.id, supervisor: run.supervisor, pid: run.pid, began: run.began }
    }
}

/// What counts of a run that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its main process, where that is known.
    pub pid: Option<i32>,
    /// When it ended, in milliseconds since the epoch, and how long it ran, in milliseconds.
    pub ended: u64,
    /// The latter.
    pub duration: u64,
    /// Its supervisor was killed.
    pub lost: bool,
}

impl<'a> From<&'a ToolRecord> for Finished<'a> {
    fn from(record: &'a ToolRecord) -> Finished<'a> {
        Finished {
            id: &record.id,
            pid: main_process(record),
            ended: record.ended,
            duration: record.duration,
            lost: is_lost(record),
        }
    }
}

/// The main process of a run that has ended, where its record has it.
#[must_use]
pub fn main_process(record: &ToolRecord) -> Option<i32> {
    i32::try_from(record.more.get("pid")?.as_i64()?).ok()
}

/// Whether the record says that the run's supervisor was killed.
#[must_use]
pub fn is_lost(record: &ToolRecord) -> bool {
    record.outcome.get("lost").is_some()
}

/// The runs that are known: those that are registered, and those that have ended.
#[derive(Clone, Copy)]
struct Runs<'a> {
    tools: &'a [Running<'a>],
    ended: &'a [Finished<'a>],
}

/// /proc counts in hundredths of a second, and the clock may have been set a little.
const SLACK: u64 = 20;

/// The name of a run that is not known.
const UNKNOWN: &str = "unknown";

/// The id of the run that has left a process behind which bears this `mark`. `alive` tells whether a process is.
///
/// A mark is a variable, and a shell that reads an old environment back has the mark of an old run: a mark counts only where
/// nothing speaks against it.
pub fn run_of(
    tools: &[Running<'_>],
    ended: &[Finished<'_>],
    one: LeftBehind,
    mark: &str,
    alive: &dyn Fn(i32) -> bool,
) -> String {
    let runs = Runs { tools, ended };
    by_group(runs, one).unwrap_or_else(|| by_mark(runs, one, mark, alive)).name
}

/// A group and a session keep the number of the process that made them, which is the tool's.
fn by_group(runs: Runs<'_>, one: LeftBehind) -> Option<Owner> {
    let is_its = |pid: i32| pid > 0 && (one.group == pid || one.session == pid);
    if let Some(tool) = runs.tools.iter().find(|tool| is_its(tool.pid)) {
        return Some(Owner::alive(tool.id));
    }
    let ended = runs.ended.iter().find(|record| {
        // What began after the tool's end has its number by chance.
        record.pid.is_some_and(is_its) && one.began <= record.ended.saturating_add(SLACK)
    });
    ended.map(|record| Owner { name: record.id.to_owned(), ended: true })
}

/// How many of the runs that are registered are looked at, the last ones: each look reads /proc.
const LOOKED_AT: usize = 16;

/// The run that the mark names, if the process can be of it: it began while that one ran, and the supervisor is gone. Else
/// it is of a lost run, if there is one only that it can be of. A run that has ended by itself comes after those, as its
/// supervisor ends all that is of it. A mark that nobody knows is taken for what it says.
fn by_mark(runs: Runs<'_>, one: LeftBehind, mark: &str, alive: &dyn Fn(i32) -> bool) -> Owner {
    let had_begun = |began: u64| began <= one.began.saturating_add(SLACK);
    let fits = |record: &Finished<'_>| {
        had_begun(record.ended.saturating_sub(record.duration))
            && one.began <= record.ended.saturating_add(SLACK)
    };
    // What a living supervisor is above of does not come to us.
    let is_losing = |tool: &Running<'_>| had_begun(tool.began) && !alive(tool.supervisor);
    let (tool, record) =
        (runs.tools.iter().find(|tool| tool.id == mark), runs.ended.iter().find(|record| record.id == mark));
    if tool.is_some_and(is_losing) {
        return Owner::alive(mark);
    }
    let ended = |name: &str| Owner { name: name.chars().take(64).collect(), ended: true };
    if record.is_some_and(|record| record.lost && fits(record)) {
        return ended(mark);
    }
    let lost = runs.ended.iter().filter(|record| record.lost && fits(record)).map(|record| record.id);
    // A mark that is known, and not true, says that there is another run, of which nobody may have said yet that it is lost.
    let is_known = record.is_some() || tool.is_some();
    let last = runs.tools.iter().rev().take(if is_known { LOOKED_AT } else { 0 });
    let mut lost = lost.chain(last.filter(|tool| is_losing(tool)).map(|tool| tool.id));
    match (lost.next(), lost.next()) {
        (Some(only), None) => ended(only),
        _ if record.is_some_and(fits) => ended(mark),
        _ if is_known => ended(UNKNOWN),
        _ => ended(mark),
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
    if let Some(mark) = value(TOOL).filter(|mark| !mark.is_empty()) {
        return Some(by_mark(runs, one, mark, alive));
    }
    let exec = value(OPENCLAW.0) == Some(OPENCLAW.1);
    exec.then(|| Owner { name: OPENCLAW.1.to_owned(), ended: true })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::protocol::UnitStatus;
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
        let nobody_is_asked = |pid| panic!("{pid}");
        let found = whose(processes, nobody_is_asked);
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

    /// A shell has read an environment back that an older run had saved.
    #[test]
    fn a_mark_that_cannot_be_true_names_nobody_or_the_lost_run_that_it_can_be_of() {
        let running =
            ToolRun { id: "running".into(), supervisor: 20, pid: 21, began: 90_000, ..ToolRun::default() };
        let ended = |id: &str, began: u64, ended: u64, pid: i32, outcome| ToolRecord {
            id: id.into(),
            ended,
            duration: ended - began,
            outcome,
            more: [("pid".to_owned(), pid.into())].into(),
            ..ToolRecord::default()
        };
        let well = json!({ "exited": { "code": 0 } });
        let old = ended("old", 10_000, 20_000, 30, well);
        let lost = ended("lost", 50_000, 60_000, 40, json!({ "lost": {} }));
        let late = ended("late", 58_000, 70_000, 50, json!({ "lost": {} }));
        let all = [old, lost, late];
        let of = |began: u64, group: i32, mark: &str, alive: bool| {
            let one = LeftBehind { group, session: 1, began };
            run_of(
                &[Running::from(&running)],
                &all.iter().map(Finished::from).collect::<Vec<_>>(),
                one,
                mark,
                &|_| alive,
            )
        };
        // It says the truth.
        assert_eq!(of(15_000, 9, "old", true), "old");
        assert_eq!(of(55_000, 9, "lost", true), "lost");
        assert_eq!(of(91_000, 9, "running", false), "running", "its supervisor has just died");
        // It began after that run's end: there is one run that it can be of, or none, or two.
        assert_eq!(of(55_000, 9, "old", true), "lost");
        assert_eq!(of(30_000, 9, "old", true), UNKNOWN);
        assert_eq!(of(59_000, 9, "old", true), UNKNOWN);
        // The supervisor of that run lives, so that nobody of it can be ours.
        assert_eq!(of(91_000, 9, "running", true), UNKNOWN);
        assert_eq!(of(65_000, 9, "running", true), "late", "it began before that run");
        // That run has ended by itself, a moment before: its supervisor has left nothing.
        let moments = [ended("well", 10_000, 54_995, 30, json!({ "exited": { "code": 0 } })), all[1].clone()];
        let both: Vec<Finished<'_>> = moments.iter().map(Finished::from).collect();
        let one = LeftBehind { group: 9, session: 1, began: 55_000 };
        assert_eq!(run_of(&[], &both, one, "well", &|_| true), "lost");
        assert_eq!(run_of(&[], &both[..1], one, "well", &|_| true), "well");
        let dying = LeftBehind { began: 91_000, ..one };
        assert_eq!(
            run_of(&[Running::from(&running)], &both[..1], dying, "well", &|_| false),
            "running",
            "nobody has said so yet"
        );
        // The kernel knows better than the variable.
        assert_eq!(of(55_000, 50, "old", true), "late");
        // Nobody knows this run.
        assert_eq!(of(30_000, 9, "other", true), "other");
        assert_eq!(of(55_000, 9, "other", true), "lost");
    }

    #[test]
    fn a_circle_ends() {
        let found = whose(vec![process(3, 4, 3, 3), process(4, 3, 4, 4)], |_| "");
        assert_eq!(found.len(), 2);
    }
}
