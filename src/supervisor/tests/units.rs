//! Units and restarts, one promise a test.

use super::*;
use crate::types::{HealthReport, HealthState, IncidentKind, UnitState};

const UNIT_WINDOW: Duration = Duration::from_secs(20);
const FIRST: i32 = 20;
const SECOND: i32 = 21;

pub(super) fn unit(after_gateway: bool, required: bool) -> UnitRule {
    UnitRule { after_gateway, required, window: UNIT_WINDOW, watches: false, restart: Restart::default() }
}

fn to_unit(raw: i32, signal: Signal) -> Action {
    Action::Send { pid: pid(raw), group: false, signal, value: None }
}

/// One unit before the gateway and one after it, all of them running.
fn with_neighbours(required: bool) -> Story {
    let units = vec![unit(false, required), unit(true, false)];
    let mut story = Story::begin(Policy { units, ..policy() });
    story.tell(Event::Begin);
    assert_eq!(story.tell(SWEPT), [Action::StartUnit(0)], "locks are swept before anything is started");
    assert_eq!(story.tell(Event::UnitStarted { unit: 0, pid: pid(FIRST) }), [Action::Start]);
    assert_eq!(story.tell(Event::Started { pid: pid(MAIN) }), [Action::StartUnit(1)]);
    assert_eq!(story.tell(Event::UnitStarted { unit: 1, pid: pid(SECOND) }), []);
    story
}

fn main_dies(story: &mut Story, code: u8) {
    story.tell(Event::Died { pid: pid(MAIN), status: ExitStatus::Exited(code) });
    assert_eq!(story.tell(Event::QueueDrained), [Action::CountRemaining]);
}

/// The gateway has died, nothing is left, and the locks are swept.
fn main_ends(story: &mut Story, code: u8) -> Vec<Action> {
    main_dies(story, code);
    assert!(matches!(story.tell(Event::Remaining(Remaining::Gone)).as_slice(), [Action::Sweep(_)]));
    story.tell(SWEPT)
}

#[test]
fn units_are_stopped_in_the_reverse_order_around_the_ladder() {
    let mut story = with_neighbours(false);
    assert_eq!(story.tell(sent(Signal::TERM)), [to_unit(SECOND, Signal::TERM)]);
    assert_eq!(story.tell(died(SECOND)), [Action::Reap(pid(SECOND)), send(Signal::TERM)]);
    main_dies(&mut story, 0);
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [to_unit(FIRST, Signal::TERM)]);
    assert_eq!(story.tell(died(FIRST)), [Action::Reap(pid(FIRST)), Action::CountRemaining]);
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [LAST_SWEEP]);
    let end = Action::Exit(Outcome::Exited { code: 0 });
    assert_eq!(story.tell(SWEPT), [Action::Reap(pid(MAIN)), end]);
}

#[test]
fn a_unit_that_hangs_is_killed_when_its_windows_are_over() {
    let mut story = with_neighbours(false);
    story.tell(sent(Signal::TERM));
    assert_eq!(story.tell(sent(Signal::TERM)), [to_unit(SECOND, Signal::TERM)], "asked again");
    assert_eq!(story.wait(), (UNIT_WINDOW, vec![to_unit(SECOND, Signal::KILL)]));
}

#[test]
fn the_end_of_a_required_unit_is_the_end_of_everything() {
    let mut story = with_neighbours(true);
    let actions = story.tell(Event::Died { pid: pid(FIRST), status: ExitStatus::Exited(3) });
    assert_eq!(actions, [Action::Reap(pid(FIRST)), to_unit(SECOND, Signal::TERM)]);
    assert_eq!(story.tell(died(SECOND)), [Action::Reap(pid(SECOND)), send(Signal::TERM)]);
    assert_eq!(
        main_ends(&mut story, 0),
        [Action::Reap(pid(MAIN)), Action::Exit(Outcome::UnitEnded { unit: 0 })]
    );
}

#[test]
fn without_a_required_unit_nothing_is_started() {
    let mut story = Story::begin(Policy { units: vec![unit(false, true)], ..policy() });
    story.tell(Event::Begin);
    story.tell(SWEPT);
    let failed = Event::UnitStartFailed { unit: 0, errno: Errno(11) };
    assert_eq!(story.tell(failed), [Action::CountRemaining]);
    assert!(matches!(story.tell(Event::Remaining(Remaining::Gone)).as_slice(), [Action::Sweep(_)]));
    assert_eq!(story.tell(SWEPT), [Action::Exit(Outcome::UnitEnded { unit: 0 })]);
}

#[test]
fn one_unit_is_restarted_alone() {
    let mut story = with_neighbours(false);
    assert_eq!(story.tell(Event::RestartWanted { unit: Some(0) }), [to_unit(FIRST, Signal::TERM)]);
    assert_eq!(story.tell(died(FIRST)), [Action::Reap(pid(FIRST)), Action::StartUnit(0)]);
    assert_eq!(story.tell(Event::UnitStarted { unit: 0, pid: pid(FIRST) }), []);
}

fn always() -> Policy {
    let restart =
        Restart { on: RestartOn::Always, limit: 3, prevent_exit_codes: vec![78], ..Restart::default() };
    Policy { restart, replace_on: vec![IncidentKind::Unhealthy], ..policy() }
}

#[test]
fn a_gateway_is_started_again_after_the_sweep_and_a_pause() {
    let mut story = Story::running(always());
    assert_eq!(main_ends(&mut story, 1), [Action::Reap(pid(MAIN))]);
    let (pause, actions) = story.wait();
    assert!(pause <= Duration::from_secs(1) && pause >= Duration::from_millis(700), "{pause:?}");
    assert_eq!(actions, [Action::Start]);
    story.tell(Event::Started { pid: pid(MAIN) });
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::TERM)]);
    let end = Action::Exit(Outcome::Exited { code: 0 });
    assert_eq!(main_ends(&mut story, 0), [Action::Reap(pid(MAIN)), end], "a stop is a stop");
}

#[test]
fn restarts_have_a_ceiling_and_forbidden_codes() {
    let mut story = Story::running(always());
    for _ in 0..3 {
        main_ends(&mut story, 1);
        story.wait();
        story.tell(Event::Started { pid: pid(MAIN) });
    }
    let restart_limit_hit = Action::Exit(Outcome::RestartLimitHit { code: Some(1) });
    assert_eq!(main_ends(&mut story, 1), [Action::Reap(pid(MAIN)), restart_limit_hit]);

    let mut story = Story::running(always());
    let end = Action::Exit(Outcome::Exited { code: 78 });
    assert_eq!(main_ends(&mut story, 78), [Action::Reap(pid(MAIN)), end]);
}

#[test]
fn a_gateway_that_fails_is_stopped_by_its_ladder_and_started_again() {
    let mut story = Story::running(Policy { restart: Restart::default(), ..always() });
    assert_eq!(story.tell(Event::IncidentChanged { kind: IncidentKind::Slow }), [], "that was not requested");
    assert_eq!(story.tell(Event::IncidentChanged { kind: IncidentKind::Unhealthy }), [send(Signal::TERM)]);
    assert_eq!(story.tell(Event::IncidentChanged { kind: IncidentKind::Unhealthy }), [], "it is on its way");
    assert_eq!(main_ends(&mut story, 0), [Action::Reap(pid(MAIN))]);
    assert_eq!(story.wait().1, [Action::Start]);
}

/// OpenClaw 2026.5.22 stalls for a minute after its first good answer.
#[test]
fn a_gateway_that_is_excused_is_not_replaced_until_it_is_so_no_longer() {
    let mut story = Story::running(Policy { restart: Restart::default(), ..always() });
    let report = HealthReport { state: HealthState::Unhealthy, excused: true, latency: None };
    for _ in 0..3 {
        assert_eq!(story.tell(Event::Health(report)), []);
    }
    for state in [HealthState::Slow, HealthState::Starting, HealthState::Draining, HealthState::Healthy] {
        assert_eq!(story.tell(Event::Health(HealthReport { state, excused: false, latency: None })), []);
    }
    let due = Event::Health(HealthReport { excused: false, ..report });
    assert_eq!(story.tell(due), [send(Signal::TERM)]);
    assert_eq!(story.tell(due), [], "it is on its way");
    let mut story = Story::running(policy());
    assert_eq!(story.tell(due), [], "that was not requested");
}

#[test]
fn an_operators_restart_is_at_once_and_does_not_count() {
    let mut story = Story::running(Policy { restart: Restart::default(), ..policy() });
    for _ in 0..20 {
        assert_eq!(story.tell(Event::RestartWanted { unit: None }), [send(Signal::TERM)]);
        assert_eq!(main_ends(&mut story, 0), [Action::Reap(pid(MAIN))]);
        assert_eq!(story.wait(), (Duration::ZERO, vec![Action::Start]));
        story.tell(Event::Started { pid: pid(MAIN) });
    }
}

#[test]
fn a_stop_signal_ends_a_restart_wherever_it_stands() {
    let ended = |code| Action::Exit(Outcome::Exited { code });
    // While the old process is on its ladder.
    let mut story = Story::running(always());
    story.tell(Event::IncidentChanged { kind: IncidentKind::Unhealthy });
    assert_eq!(story.tell(sent(Signal::TERM)), [], "it got one already");
    assert_eq!(main_ends(&mut story, 0), [Action::Reap(pid(MAIN)), ended(0)]);
    // While what it left behind is being ended.
    let mut story = Story::running(always());
    main_dies(&mut story, 1);
    story.tell(Event::Remaining(Remaining::Children));
    assert_eq!(story.tell(sent(Signal::TERM)), []);
    assert!(matches!(story.tell(Event::Remaining(Remaining::Gone)).as_slice(), [Action::Sweep(_)]));
    assert_eq!(story.tell(SWEPT), [Action::Reap(pid(MAIN)), ended(1)]);
    // During the pause.
    let mut story = Story::running(always());
    main_ends(&mut story, 1);
    assert_eq!(story.tell(sent(Signal::TERM)), [ended(1)]);
}

#[test]
fn units_live_on_while_the_gateway_is_replaced() {
    let mut story = with_neighbours(false);
    story.tell(Event::RestartWanted { unit: None });
    assert_eq!(main_ends(&mut story, 0), [Action::Reap(pid(MAIN))]);
    assert_eq!(story.wait().1, [Action::Start]);
    assert_eq!(story.tell(Event::Started { pid: pid(MAIN) }), [], "they run already");
}

const KILLED: ExitStatus = ExitStatus::Signaled { signal: 9, core: false };

/// A unit whose end by a signal is followed by a restart, twice, and what it leaves behind is ended.
fn with_a_lasting_neighbour(required: bool) -> Story {
    let restart = Restart { on: RestartOn::Failure, limit: 2, ..Restart::default() };
    let units = vec![UnitRule { restart, ..unit(false, required) }];
    let end_orphans = Some(Duration::from_millis(500));
    let mut story = Story::begin(Policy { units, end_orphans, ..policy() });
    for event in [Event::Begin, SWEPT, Event::UnitStarted { unit: 0, pid: pid(FIRST) }] {
        story.tell(event);
    }
    story.tell(Event::Started { pid: pid(MAIN) });
    story
}

/// Waits until something more than a look for orphans is asked for.
fn until_it_acts(story: &mut Story) -> (Duration, Vec<Action>) {
    let mut waited = Duration::ZERO;
    loop {
        let (time, mut actions) = story.wait();
        waited += time;
        if actions.contains(&Action::FindOrphans) {
            story.tell(Event::OrphansFound);
        }
        actions.retain(|action| *action != Action::FindOrphans);
        if !actions.is_empty() {
            return (waited, actions);
        }
    }
}

#[test]
fn a_unit_whose_supervisor_was_killed_is_started_again_when_nothing_is_left_of_it() {
    let mut story = with_a_lasting_neighbour(true);
    let killed = Event::Died { pid: pid(FIRST), status: KILLED };
    assert_eq!(story.tell(killed), [Action::Reap(pid(FIRST))], "nothing ends for that");
    assert_eq!(story.supervisor.units()[0].state, UnitState::Waiting);
    let to_orphans = |signal| Action::SendToOrphans { tool: 0, signal };
    assert_eq!(story.wait(), (Duration::ZERO, vec![Action::FindOrphans]));
    assert_eq!(story.tell(Event::OrphanFound { tool: 0 }), [to_orphans(Signal::TERM)]);
    story.tell(Event::OrphansFound);
    assert_eq!(until_it_acts(&mut story).1, [to_orphans(Signal::KILL)], "it ignores TERM");
    story.pass(Duration::from_secs(2));
    let actions = story.tell(Event::Tick);
    assert!(!actions.contains(&Action::StartUnit(0)), "it still lives: {actions:?}");
    story.tell(Event::OrphansGone { tool: 0 });
    story.tell(Event::OrphansFound);
    assert_eq!(until_it_acts(&mut story), (Duration::ZERO, vec![Action::StartUnit(0)]));
    assert_eq!(story.tell(Event::UnitStarted { unit: 0, pid: pid(SECOND) }), []);
    assert_eq!(story.supervisor.next_deadline(), None);

    // Once more after a longer pause, and then it has ended, which is the end of everything.
    story.tell(Event::Died { pid: pid(SECOND), status: KILLED });
    let (waited, actions) = until_it_acts(&mut story);
    assert_eq!(actions, [Action::StartUnit(0)]);
    assert!(waited > Duration::from_secs(1), "{waited:?}");
    story.tell(Event::UnitStarted { unit: 0, pid: pid(FIRST) });
    let actions = story.tell(Event::Died { pid: pid(FIRST), status: KILLED });
    assert_eq!(actions, [Action::Reap(pid(FIRST)), send(Signal::TERM)]);
}

#[test]
fn a_unit_that_waits_for_its_restart_is_not_started_while_everything_ends() {
    let mut story = with_a_lasting_neighbour(false);
    story.tell(Event::Died { pid: pid(FIRST), status: KILLED });
    story.tell(sent(Signal::TERM));
    assert_eq!(main_ends(&mut story, 0), [Action::Reap(pid(MAIN)), ENDED]);
}

#[test]
fn an_operator_need_not_wait_for_the_pause() {
    let mut story = with_a_lasting_neighbour(false);
    story.tell(Event::Died { pid: pid(FIRST), status: KILLED });
    assert_eq!(story.tell(Event::RestartWanted { unit: Some(0) }), [Action::StartUnit(0)]);
}

#[test]
fn a_unit_that_is_added_later_is_started_at_once_and_stopped_with_the_others() {
    let mut story = Story::running(policy());
    assert_eq!(story.supervisor.add_unit(unit(false, false)), 0);
    assert_eq!(story.wait(), (Duration::ZERO, vec![Action::StartUnit(0)]));
    story.tell(Event::UnitStarted { unit: 0, pid: pid(FIRST) });
    story.tell(sent(Signal::TERM));
    main_dies(&mut story, 0);
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [to_unit(FIRST, Signal::TERM)]);
}

#[test]
fn a_unit_is_not_started_again_before_everybody_was_looked_for() {
    let mut story = with_a_lasting_neighbour(false);
    story.tell(Event::Died { pid: pid(FIRST), status: KILLED });
    assert_eq!(story.wait().1, [Action::FindOrphans]);
    assert_eq!(story.wait().1, [Action::FindOrphans], "once more");
    story.pass(Duration::from_millis(950));
    assert_eq!(story.tell(Event::Tick), [], "there is no answer yet, and its pause is over");
    story.tell(Event::OrphansFound);
    assert_eq!(story.tell(Event::Tick), [Action::StartUnit(0)]);

    // One that never answers does not hold it up for good.
    story.tell(Event::UnitStarted { unit: 0, pid: pid(SECOND) });
    story.tell(Event::Died { pid: pid(SECOND), status: KILLED });
    let mut looks = 0;
    loop {
        match story.wait().1.as_slice() {
            [Action::FindOrphans] => looks += 1,
            [] => {}
            [Action::StartUnit(0)] => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(looks, 2);
}

/// It sat in the kernel, which KILL does not reach.
#[test]
fn a_gateway_that_dies_after_it_was_given_up_is_held_for_the_last_sweep() {
    let mut story = Story::begin(Policy { units: vec![unit(false, false)], ..policy() });
    story.tell(Event::Begin);
    story.tell(SWEPT);
    story.tell(Event::UnitStarted { unit: 0, pid: pid(FIRST) });
    story.tell(Event::Started { pid: pid(MAIN) });
    story.tell(sent(Signal::TERM));
    let to_unit = to_unit(FIRST, Signal::TERM);
    let given_up = (0..5000).any(|_| story.wait().1.contains(&to_unit));
    assert!(given_up, "the unit's turn comes");
    assert_eq!(story.tell(died(MAIN)), [], "not reaped");
    assert_eq!(story.tell(died(FIRST)), [Action::Reap(pid(FIRST)), Action::CountRemaining]);
    let zombie = Some(pid(MAIN));
    let sweep = SweepTrigger::TreeGone(Gone { zombie, clean: true });
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [Action::Sweep(sweep)]);
    assert_eq!(story.tell(SWEPT).first(), Some(&Action::Reap(pid(MAIN))));
}
