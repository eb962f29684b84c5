//! Which tool or unit an adopted process belongs to. A process is adopted when its parent ends and sexton becomes its
//! parent. These rules decide which processes sexton ends together with a lost tool.
//!
//! A process inherits its process group, its session and its environment. The id of a group or session is the pid of
//! the process that made it; the kernel guarantees that. The environment carries a mark (`SEXTON_TOOL_ID`,
//! `SEXTON_UNIT`). A program can change its mark, so a mark counts only if nothing contradicts it.
//!
//! This module is pure: it makes no system calls.

use super::protocol::{ToolRecord, ToolRun};

/// The variable that all processes of a tool carry, with its id.
pub const TOOL_VARIABLE: &str = "SEXTON_TOOL_ID";
/// The variable that all processes of a unit carry, with the unit's name.
pub const UNIT_VARIABLE: &str = "SEXTON_UNIT";
/// The prefix of a unit's name in a mark. It tells a unit's name from a tool's id.
pub const UNIT: &str = "unit:";

/// The tool run or unit that a process belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// The id of the run, or the name of the unit.
    pub(super) name: String,
    /// Whether the run has ended.
    pub(super) ended: bool,
}

impl Owner {
    pub(super) fn alive(name: &str) -> Owner {
        Owner { name: name.to_owned(), ended: false }
    }
}

/// An adopted process: sexton is its parent and did not start it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftBehind {
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// When it began, in milliseconds since the epoch.
    pub began: u64,
}

/// What the rules need to know of a registered run.
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

/// What the rules need to know of a run that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its main process, if known.
    pub pid: Option<i32>,
    /// When it ended, in milliseconds since the epoch.
    pub ended: u64,
    /// How long it ran, in milliseconds.
    pub duration: u64,
    /// Whether its supervisor died before it could report the end.
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

/// The main process of a run that has ended, if its record names it.
#[must_use]
pub fn main_process(record: &ToolRecord) -> Option<i32> {
    i32::try_from(record.more.get("pid")?.as_i64()?).ok()
}

/// Whether the record says that the run was lost: its supervisor died before it could report the end.
#[must_use]
pub fn is_lost(record: &ToolRecord) -> bool {
    record.outcome.get("lost").is_some()
}

/// The runs that sexton knows.
#[derive(Clone, Copy)]
pub(super) struct Runs<'a> {
    /// The registered ones.
    pub(super) tools: &'a [Running<'a>],
    /// Those that have ended.
    pub(super) ended: &'a [Finished<'a>],
}

/// Tolerance for comparing two times, in milliseconds. /proc counts in hundredths of a second, and the clock may have
/// been adjusted a little.
const SLACK: u64 = 20;

/// The name given to a run that cannot be determined.
const UNKNOWN: &str = "unknown";

/// The id of the run that left this process behind. The process bears `mark`. `alive` tells whether a pid is alive.
///
/// The group and the session decide first. A mark is only a variable: a shell that restores a saved environment bears
/// the mark of an older run. So a mark counts only if nothing contradicts it.
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

/// The run whose main process made the group or the session of this process. Both keep the pid of their maker.
pub(super) fn by_group(runs: Runs<'_>, one: LeftBehind) -> Option<Owner> {
    let is_its = |pid: i32| pid > 0 && (one.group == pid || one.session == pid);
    if let Some(tool) = runs.tools.iter().find(|tool| is_its(tool.pid)) {
        return Some(Owner::alive(tool.id));
    }
    let ended = runs.ended.iter().find(|record| {
        // If the process began after the run's end, the number was reused for another process.
        record.pid.is_some_and(is_its) && one.began <= record.ended.saturating_add(SLACK)
    });
    ended.map(|record| Owner { name: record.id.to_owned(), ended: true })
}

/// How many registered runs are examined, the latest ones. Each one costs a read of /proc.
const LOOKED_AT: usize = 16;

/// The run that this process belongs to, by its mark. The first rule that applies decides:
///
/// 1. The mark names a registered run that began before the process, and the run's supervisor is dead: that run.
/// 2. The mark names a lost run, and the process began during it: that run.
/// 3. Exactly one other run can have started the process: that run. Candidates are the lost runs during which the
///    process began. If the mark names a known run, the last [`LOOKED_AT`] registered runs are candidates too, as far
///    as they began before the process and their supervisors are dead.
/// 4. The mark names a run that ended by itself, and the process began during it: that run. This rule comes late,
///    because the supervisor of such a run has ended all its processes.
/// 5. The mark names a known run, and no rule above applies: [`UNKNOWN`].
/// 6. The mark names no known run: the run that it names.
pub(super) fn by_mark(runs: Runs<'_>, one: LeftBehind, mark: &str, alive: &dyn Fn(i32) -> bool) -> Owner {
    let had_begun = |began: u64| began <= one.began.saturating_add(SLACK);
    let fits = |record: &Finished<'_>| {
        had_begun(record.ended.saturating_sub(record.duration))
            && one.began <= record.ended.saturating_add(SLACK)
    };
    // A living supervisor keeps its descendants: sexton does not adopt them.
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
    // The mark names a known run, but not the right one. The right run may be lost without sexton having noticed yet.
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

/// The session and the process group of a tool's supervisor. The tool has made neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The run's id.
    pub id: String,
    /// The supervisor's session.
    pub session: i32,
    /// Its process group.
    pub group: i32,
}

/// An adopted process whose owner is not determined yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Its group and session, and when it began.
    pub one: LeftBehind,
    /// The mark that it bears: a tool's id, or [`UNIT`] and a unit's name.
    pub mark: Option<String>,
}

/// The process that made a process group or a session: its pid is the number of that group or session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    /// It has ended, as the first process of a lost tool has by now.
    Ended,
    /// It is alive, and bears this mark or none.
    Lives(Option<String>),
}

/// The mark of each newcomer: its own, or the mark of a newcomer that it is kin of.
///
/// A newcomer without a mark is kin of a newcomer with a mark if both are in the same process group or session, and the
/// process that made that group or session has ended or bears the same mark. There are three exceptions:
///
/// 1. sexton's own group and session (`own`) do not count.
/// 2. The group and the session of a run's supervisor do not count for that run. The tool can be in them without having
///    made them: they are the gateway's, or those of a daemon that started the tool. `supervisors` has them for
///    registered and lost runs. If the run is not in `supervisors`, the groups and sessions of all supervisors do not
///    count.
/// 3. A newcomer is not kin of a run that is not in `supervisors` if it began before that run, or if the run's id does
///    not say when it began. A unit's mark is always known.
///
/// `maker` tells what has become of the process with this pid. It is called only if the answer matters.
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

/// Whether this is the group or session of the supervisor of the run that `mark` names; of any supervisor, if that run
/// is not in `supervisors`.
fn is_of_supervisor(number: i32, mark: &str, supervisors: &[Place]) -> bool {
    let is_in = |place: &Place| place.session == number || place.group == number;
    match supervisors.iter().find(|place| place.id == mark) {
        Some(place) => is_in(place),
        None => supervisors.iter().any(is_in),
    }
}

/// Whether the process began before the run that `mark` names, which is not in `supervisors`. It counts as older, too,
/// if it is unknown when that run began.
fn is_older(one: &LeftBehind, mark: &str, supervisors: &[Place]) -> bool {
    let is_known = mark.starts_with(UNIT) || supervisors.iter().any(|place| place.id == mark);
    !is_known && began(mark).is_none_or(|run| one.began.saturating_add(SLACK) < run)
}

/// When the run with this id began, in milliseconds since the epoch. An id that sexton has made begins with that time.
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
            // Nine is a group or session that another process has made.
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
        assert_eq!(kin((50, 9), "own-name", &[], &ended), None, "it is unknown when it began");
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
        // The supervisor of that run is alive, so sexton adopts none of its processes.
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
            "sexton has not noticed the loss yet"
        );
        // The kernel knows better than the variable.
        assert_eq!(of(55_000, 50, "old", true), "late");
        // sexton does not know this run.
        assert_eq!(of(30_000, 9, "other", true), "other");
        assert_eq!(of(55_000, 9, "other", true), "lost");
    }
}
