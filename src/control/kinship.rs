//! Whose a process is that has nobody but sexton above it: the rules, which decide what is ended with a lost tool.
//!
//! A process inherits its process group, its session and its environment. Group and session keep the number of the process
//! that made them, and the kernel keeps them true. The environment carries a mark (`SEXTON_TOOL_ID`, `SEXTON_UNIT`), which
//! a program can change: it counts only where nothing speaks against it.
//!
//! It never asks the system anything.

use super::protocol::{ToolRecord, ToolRun};

/// The variable that all processes of a tool carry, with its id.
pub const TOOL_VARIABLE: &str = "SEXTON_TOOL_ID";
/// The variable that all processes of a unit carry, with the unit's name.
pub const UNIT_VARIABLE: &str = "SEXTON_UNIT";
/// What stands before a unit's name in a mark, so that it is no tool's id.
pub const UNIT: &str = "unit:";

/// Whose one is, and whether that one has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// The id of the run, or the name of the unit.
    pub(super) name: String,
    /// Whether it has ended.
    pub(super) ended: bool,
}

impl Owner {
    pub(super) fn alive(name: &str) -> Owner {
        Owner { name: name.to_owned(), ended: false }
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
pub(super) struct Runs<'a> {
    /// The former.
    pub(super) tools: &'a [Running<'a>],
    /// The latter.
    pub(super) ended: &'a [Finished<'a>],
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
pub(super) fn by_group(runs: Runs<'_>, one: LeftBehind) -> Option<Owner> {
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
pub(super) fn by_mark(runs: Runs<'_>, one: LeftBehind, mark: &str, alive: &dyn Fn(i32) -> bool) -> Owner {
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

/// Where the supervisor of a tool is: in a session and a group that the tool has not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The run's id.
    pub id: String,
    /// The supervisor's session.
    pub session: i32,
    /// Its process group.
    pub group: i32,
}

/// A process that came to sexton, and that is nobody's yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Where it is, and since when.
    pub one: LeftBehind,
    /// The mark that it bears: a tool's id, or [`UNIT`] and a unit's name.
    pub mark: Option<String>,
}

/// The process that has the number of a process group or of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// It has ended, as the first process of a lost tool has by now.
    Ended,
    /// It lives, and bears this mark or none.
    Lives(Option<String>),
}

/// The mark of each newcomer: its own, or that of another one whose kin it is.
///
/// A newcomer without a mark is kin of one with a mark if the two share a process group or a session, and if the process
/// that made that group or session has ended or bears the same mark. There are three exceptions:
///
/// 1. sexton's own group and session (`own`) make nobody kin.
/// 2. A tool can be in a group and a session that it has not made: the gateway's, or those of a daemon that started it.
///    These are the ones of its supervisor, which `supervisors` has for each run that is registered. Of a run that is not
///    registered they are not known: then those of no supervisor make kin.
/// 3. Who is older than a run that is not registered is not its kin.
///
/// `maker` says what has become of the process with this number, and is asked only where the answer counts.
pub fn marks(
    newcomers: &[Newcomer],
    own: (i32, i32),
    supervisors: &[Place],
    maker: &dyn Fn(i32) -> Maker,
) -> Vec<Option<String>> {
    let is_made_by = |number: i32, own: i32, mark: &str| {
        number > 0
            && number != own
            && !is_of_supervisor(number, mark, supervisors)
            && match maker(number) {
                Maker::Ended => true,
                Maker::Lives(borne) => borne.as_deref() == Some(mark),
            }
    };
    let kin_of = |one: &LeftBehind| {
        newcomers.iter().find_map(|other| {
            let mark = other.mark.as_deref().filter(|mark| !is_older(one, mark, supervisors))?;
            let by_group = other.one.group == one.group && is_made_by(one.group, own.0, mark);
            let by_session = || other.one.session == one.session && is_made_by(one.session, own.1, mark);
            (by_group || by_session()).then(|| mark.to_owned())
        })
    };
    newcomers.iter().map(|newcomer| newcomer.mark.clone().or_else(|| kin_of(&newcomer.one))).collect()
}

/// Whether this group or session is one that the run was started in.
fn is_of_supervisor(number: i32, mark: &str, supervisors: &[Place]) -> bool {
    let is_in = |place: &Place| place.session == number || place.group == number;
    match supervisors.iter().find(|place| place.id == mark) {
        Some(place) => is_in(place),
        None => supervisors.iter().any(is_in),
    }
}

/// Whether it began before a run that is not registered, or one of which nobody knows when it began.
fn is_older(one: &LeftBehind, mark: &str, supervisors: &[Place]) -> bool {
    let is_known = mark.starts_with(UNIT) || supervisors.iter().any(|place| place.id == mark);
    !is_known && began(mark).is_none_or(|run| one.began.saturating_add(SLACK) < run)
}

/// When the run with this id began, in milliseconds since the epoch: the first part of an id that sexton has made.
fn began(id: &str) -> Option<u64> {
    u64::from_str_radix(id.split_once('-')?.0, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// When the run with the id of [`RUN`] began.
    const BEGAN: u64 = 0x64;
    const RUN: &str = "64-1";

    fn newcomer(group: i32, session: i32, mark: Option<&str>) -> Newcomer {
        let one = LeftBehind { group, session, began: BEGAN + 5 };
        Newcomer { one, mark: mark.map(str::to_owned) }
    }

    fn supervisor(id: &str, group: i32, session: i32) -> Place {
        Place { id: id.to_owned(), session, group }
    }

    /// The mark of one without any that is in this group and session, beside one that bears `mark` in group 50 and
    /// session 60.
    fn kin(
        one: (i32, i32),
        mark: &str,
        supervisors: &[Place],
        maker: &dyn Fn(i32) -> Maker,
    ) -> Option<String> {
        let both = [newcomer(50, 60, Some(mark)), newcomer(one.0, one.1, None)];
        let found = marks(&both, (1, 2), supervisors, maker);
        assert_eq!(found[0].as_deref(), Some(mark), "its own mark is its own");
        found[1].clone()
    }

    #[test]
    fn who_shares_a_group_or_a_session_with_a_marked_one_is_its_kin_if_its_maker_is_gone_or_marked_alike() {
        let run = || Some(RUN.to_owned());
        let ended = |_| Maker::Ended;
        let alike = |_| Maker::Lives(run());
        let other = |_| Maker::Lives(Some("65-2".to_owned()));
        let unmarked = |_| Maker::Lives(None);
        for one in [(50, 9), (9, 60), (50, 60)] {
            assert_eq!(kin(one, RUN, &[], &ended), run(), "{one:?}");
            assert_eq!(kin(one, RUN, &[], &alike), run(), "{one:?}");
            assert_eq!(kin(one, RUN, &[], &other), None, "{one:?}: another run has made it");
            assert_eq!(kin(one, RUN, &[], &unmarked), None, "{one:?}: a daemon has made it");
        }
        assert_eq!(kin((9, 10), RUN, &[], &ended), None, "they share nothing");
        assert_eq!(kin((60, 50), RUN, &[], &ended), None, "a group is no session");
        assert_eq!(
            kin((50, 9), RUN, &[], &|number| if number == 50 { Maker::Ended } else { Maker::Lives(None) }),
            run()
        );
    }

    #[test]
    fn sextons_own_group_and_session_and_those_of_no_process_here_make_nobody_kin() {
        let ended = |_| Maker::Ended;
        for (group, session) in [(1, 9), (9, 2), (0, 9), (9, 0), (-1, 9)] {
            let both = [newcomer(group, session, Some(RUN)), newcomer(group, session, None)];
            let shared = [(group, 7), (7, session)].map(|(group, session)| newcomer(group, session, None));
            let all: Vec<Newcomer> = both.iter().take(1).cloned().chain(shared).collect();
            let found = marks(&all, (1, 2), &[], &ended);
            // Nine is a group or session that somebody has made.
            let expected =
                if group == 9 { [Some(RUN), Some(RUN), None] } else { [Some(RUN), None, Some(RUN)] };
            assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected, "{group} {session}");
        }
    }

    #[test]
    fn the_group_and_the_session_that_a_tool_was_started_in_make_nobody_kin() {
        let ended = |_| Maker::Ended;
        let run = || Some(RUN.to_owned());
        assert_eq!(kin((50, 9), RUN, &[supervisor(RUN, 50, 8)], &ended), None);
        assert_eq!(kin((9, 60), RUN, &[supervisor(RUN, 8, 60)], &ended), None);
        assert_eq!(
            kin((50, 9), RUN, &[supervisor(RUN, 8, 50)], &ended),
            None,
            "a supervisor's session can be a group"
        );
        assert_eq!(kin((50, 9), RUN, &[supervisor(RUN, 7, 8)], &ended), run());
        assert_eq!(kin((50, 9), RUN, &[supervisor(RUN, 7, 8), supervisor("65-2", 50, 60)], &ended), run());
        assert_eq!(
            kin((50, 9), RUN, &[supervisor("65-2", 50, 8)], &ended),
            None,
            "it may have been started there, too"
        );
    }

    #[test]
    fn who_is_older_than_a_run_that_nobody_knows_is_not_its_kin() {
        let ended = |_| Maker::Ended;
        let later = format!("{:x}-1", BEGAN + 5 + SLACK);
        assert_eq!(kin((50, 9), &later, &[], &ended), Some(later.clone()));
        let too_late = format!("{:x}-1", BEGAN + 6 + SLACK);
        assert_eq!(kin((50, 9), &too_late, &[], &ended), None);
        assert_eq!(kin((50, 9), &too_late, &[supervisor(&too_late, 7, 8)], &ended), Some(too_late.clone()));
        assert_eq!(kin((50, 9), "own-name", &[], &ended), None, "nobody knows when it began");
        assert_eq!(kin((50, 9), "unit:proxy", &[], &ended).as_deref(), Some("unit:proxy"));
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
}
