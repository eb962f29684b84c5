//! A tool's life: its deadline, who else can end it, and what is said of its end.

use super::super::tool::ToolPolicy;
use super::*;
use crate::types::{CancelledBy, StopStage};

const LIMIT: Duration = Duration::from_secs(60);

fn tool() -> Policy {
    Policy {
        grace: STRAGGLERS,
        stop_signals: [Signal::TERM, Signal::INT, Signal::HUP].into_iter().collect(),
        tool: Some(ToolPolicy { timeout: Some(LIMIT), shell: false }),
        sweep: None,
        can_hold: false,
        init: false,
        ..policy()
    }
}

fn running(policy: Policy) -> Story {
    let mut story = Story::begin(policy);
    assert_eq!(story.tell(Event::Begin), [Action::Start]);
    story.tell(Event::Started { pid: pid(MAIN) });
    story
}

/// The main process ends with this status, and nothing is left of the tree.
fn end(story: &mut Story, status: ExitStatus) -> Outcome {
    story.tell(Event::Died { pid: pid(MAIN), status });
    assert_eq!(story.tell(Event::QueueDrained), [Action::CountRemaining]);
    match story.tell(Event::Remaining(Remaining::Gone)).pop() {
        Some(Action::Exit(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

const HEALTHY: ExitStatus = ExitStatus::Exited(0);

#[test]
fn a_tool_that_ends_in_time_is_what_it_says() {
    assert_eq!(end(&mut running(tool()), HEALTHY), Outcome::Exited { code: 0 });
    let crash = ExitStatus::Signaled { signal: 11, core: true };
    assert_eq!(end(&mut running(tool()), crash), Outcome::Signaled { signal: 11, core: true });
}

#[test]
fn at_its_deadline_the_whole_tree_gets_term_a_window_and_kill() {
    let mut story = running(tool());
    assert_eq!(story.wait(), (LIMIT, vec![Action::SignalAll(Signal::TERM)]));
    assert_eq!(story.wait(), (STRAGGLERS, vec![Action::SignalAll(Signal::KILL)]));
    assert_eq!(end(&mut story, HEALTHY), Outcome::TimedOut { stage: StopStage::Kill });
}

#[test]
fn what_exits_well_after_its_deadline_has_timed_out() {
    let mut story = running(tool());
    story.wait();
    assert_eq!(end(&mut story, HEALTHY), Outcome::TimedOut { stage: StopStage::Grace });
}

#[test]
fn those_whom_the_leader_leaves_in_the_window_get_no_second_one() {
    let mut story = running(tool());
    story.wait();
    story.pass(STRAGGLERS / 2);
    story.tell(died(MAIN));
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), []);
    assert_eq!(story.wait_with_children(), (STRAGGLERS / 2, vec![Action::SignalAll(Signal::KILL)]));
    assert_eq!(
        story.tell(Event::Remaining(Remaining::Gone)),
        [Action::Exit(Outcome::TimedOut { stage: StopStage::Kill })]
    );
}

#[test]
fn every_way_to_cancel_ends_the_whole_tree_and_the_first_cause_counts() {
    for (event, by) in [
        (sent(Signal::TERM), CancelledBy::Signal(15)),
        (from_terminal(Signal::INT), CancelledBy::Signal(2)),
        (sent(Signal::HUP), CancelledBy::Signal(1)),
        (Event::Cancel(CancelledBy::ParentDied), CancelledBy::ParentDied),
        (Event::Cancel(CancelledBy::Request), CancelledBy::Request),
    ] {
        let mut story = running(tool());
        assert_eq!(story.tell(event), [Action::SignalAll(Signal::TERM)], "{event:?}");
        assert_eq!(story.tell(Event::Cancel(CancelledBy::Request)), [], "once is enough");
        assert_eq!(end(&mut story, HEALTHY), Outcome::Cancelled { by, stage: StopStage::Grace });
    }
}

#[test]
fn the_interrupt_key_is_for_the_command_of_a_shell_until_it_is_being_ended() {
    let shell = Policy { tool: Some(ToolPolicy { timeout: Some(LIMIT), shell: true }), ..tool() };
    let mut story = running(shell.clone());
    let key = Action::Send { pid: pid(MAIN), group: true, signal: Signal::INT, value: None };
    assert_eq!(story.tell(from_terminal(Signal::INT)), [key]);
    let by_key = ExitStatus::Signaled { signal: 2, core: false };
    assert_eq!(end(&mut story, by_key), Outcome::Signaled { signal: 2, core: false });
    // From a process it is a cancel, and then the key is one more.
    let mut story = running(shell.clone());
    assert_eq!(story.tell(sent(Signal::INT)), [Action::SignalAll(Signal::TERM)]);
    story.pass(Duration::from_secs(1));
    assert_eq!(story.tell(from_terminal(Signal::INT)), [Action::SignalAll(Signal::KILL)]);
    // And a terminal that is gone ends it.
    let mut story = running(shell);
    assert_eq!(story.tell(from_terminal(Signal::HUP)), [Action::SignalAll(Signal::TERM)]);
}

#[test]
fn a_repeated_signal_hurries_but_not_where_the_parent_died() {
    let mut story = running(tool());
    story.tell(sent(Signal::TERM));
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::SignalAll(Signal::KILL)]);
    let mut story = running(tool());
    story.wait();
    assert_eq!(story.tell(from_terminal(Signal::INT)), [Action::SignalAll(Signal::KILL)]);
    assert_eq!(end(&mut story, HEALTHY), Outcome::TimedOut { stage: StopStage::Kill });
    // As PID 1 stops it, all processes get TERM at the very moment at which the parent dies.
    let mut story = running(tool());
    story.tell(Event::Cancel(CancelledBy::ParentDied));
    assert_eq!(story.tell(sent(Signal::TERM)), []);
    story.tell(died(MAIN));
    story.tell(Event::Remaining(Remaining::Children));
    assert_eq!(story.tell(sent(Signal::TERM)), []);
    assert_eq!(story.wait_with_children().1, [Action::SignalAll(Signal::KILL)]);
}

#[test]
fn without_the_sexton_above_it_a_tool_has_no_window() {
    let mut story = running(tool());
    let both = [Action::SignalAll(Signal::TERM), Action::SignalAll(Signal::KILL)];
    assert_eq!(story.tell(Event::ToolAbandoned), both);
    let by = CancelledBy::ParentDied;
    assert_eq!(end(&mut story, HEALTHY), Outcome::Cancelled { by, stage: StopStage::Kill });
    let mut story = running(tool());
    story.wait();
    assert_eq!(story.tell(Event::ToolAbandoned), both[1..]);
    assert_eq!(end(&mut story, HEALTHY), Outcome::TimedOut { stage: StopStage::Kill });
    let mut story = Story::running(policy());
    assert_eq!(story.tell(Event::ToolAbandoned), [], "a gateway has no caller");
}

#[test]
fn what_a_tool_leaves_behind_is_ended_and_changes_nothing_of_its_outcome() {
    let mut story = running(tool());
    story.tell(died(MAIN));
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [Action::SignalAll(Signal::TERM)]);
    assert_eq!(story.wait_with_children(), (STRAGGLERS, vec![Action::SignalAll(Signal::KILL)]));
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [ENDED]);
}

#[test]
fn who_waits_for_all_waits_within_the_deadline() {
    let mut story = running(Policy { wait_all: true, ..tool() });
    story.pass(LIMIT / 2);
    story.tell(died(MAIN));
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), []);
    assert_eq!(story.wait_with_children(), (LIMIT / 2, vec![Action::SignalAll(Signal::TERM)]));
    let over = story.tell(Event::Remaining(Remaining::Gone));
    assert_eq!(over, [Action::Exit(Outcome::TimedOut { stage: StopStage::Grace })]);
    let mut story = running(Policy { wait_all: true, ..tool() });
    story.tell(died(MAIN));
    story.tell(Event::Remaining(Remaining::Children));
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::SignalAll(Signal::TERM)]);
    let by = CancelledBy::Signal(15);
    let over = story.tell(Event::Remaining(Remaining::Gone));
    assert_eq!(over, [Action::Exit(Outcome::Cancelled { by, stage: StopStage::Grace })]);
}

#[test]
fn what_is_cancelled_before_it_could_be_started_is_not_started() {
    let mut story = Story::begin(tool());
    story.tell(Event::Begin);
    story.tell(Event::StartFailed { step: StartStep::Fork, errno: Errno(11) });
    let over = story.tell(Event::Cancel(CancelledBy::ParentDied));
    let cancelled = Outcome::Cancelled { by: CancelledBy::ParentDied, stage: StopStage::Grace };
    assert_eq!(over, [Action::Exit(cancelled)]);
    // And one that is being started at this moment is ended as soon as it exists.
    let mut story = Story::begin(tool());
    story.tell(Event::Begin);
    assert_eq!(story.tell(Event::Cancel(CancelledBy::ParentDied)), []);
    assert_eq!(story.tell(Event::Started { pid: pid(MAIN) }), [Action::SignalAll(Signal::TERM)]);
}

#[test]
fn a_command_that_does_not_exist_was_not_started_whatever_came_after() {
    let mut story = running(tool());
    story.tell(Event::StartFailed { step: StartStep::Exec, errno: Errno(2) });
    story.tell(sent(Signal::TERM));
    let failed = Outcome::StartFailed { step: StartStep::Exec, errno: Errno(2) };
    assert_eq!(end(&mut story, ExitStatus::Exited(127)), failed);
}

#[test]
fn a_gateway_has_no_deadline_and_is_cancelled_by_nobody() {
    let mut story = Story::running(policy());
    assert_eq!(story.tell(Event::Cancel(CancelledBy::Request)), []);
    assert_eq!(story.supervisor.next_deadline(), None);
}
