//! The step before the stop signal.

use super::*;

const WINDOW: Duration = Duration::from_secs(12);
const RUN: Action = Action::RunStep(Step::BeforeStop);

fn stepping() -> Story {
    let mut story = Story::running(Policy { before_stop: Some(WINDOW), ..policy() });
    assert_eq!(story.tell(sent(Signal::TERM)), [RUN], "no signal yet");
    story
}

const TERM: Action = Action::Send { pid: MAIN_PID, group: false, signal: Signal::TERM, value: None };

#[test]
fn the_stop_signal_follows_the_step_and_has_its_whole_grace() {
    let mut story = stepping();
    story.pass(Duration::from_secs(3));
    assert_eq!(story.tell(Event::StepEnded(StepAnswer::None)), [TERM]);
    assert_eq!(story.wait(), (GRACE, vec![Action::SignalAll(Signal::TERM)]));
}

#[test]
fn a_step_that_takes_too_long_is_ended_and_the_rest_has_its_windows() {
    let mut story = stepping();
    assert_eq!(story.wait(), (WINDOW, vec![Action::EndStep, TERM]));
    assert_eq!(story.tell(Event::StepEnded(StepAnswer::None)), [], "late");
    assert_eq!(story.wait(), (GRACE, vec![Action::SignalAll(Signal::TERM)]));
    assert_eq!(story.wait(), (STRAGGLERS, vec![Action::SignalAll(Signal::KILL)]));
}

#[test]
fn a_second_stop_signal_skips_the_step_alone() {
    let mut story = stepping();
    story.pass(Duration::from_secs(1));
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::EndStep, TERM]);
    assert_eq!(story.wait(), (GRACE, vec![Action::SignalAll(Signal::TERM)]));
}

#[test]
fn a_main_process_that_ends_during_the_step_has_ended_well() {
    let mut story = stepping();
    story.pass(Duration::from_secs(6));
    assert_eq!(story.tell(died(MAIN)), []);
    assert_eq!(story.tell(Event::QueueDrained), [Action::CountRemaining]);
    // The step itself is still there.
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [Action::SignalAll(Signal::TERM)]);
    assert_eq!(story.tell(Event::StepEnded(StepAnswer::None)), []);
    let sweep = SweepTrigger::TreeGone(Gone { zombie: Some(MAIN_PID), clean: true });
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [Action::Sweep(sweep)]);
    let exit = Action::Exit(Outcome::Exited { code: 0 });
    assert_eq!(story.tell(SWEPT), [Action::Reap(MAIN_PID), exit]);
}

#[test]
fn a_step_wakes_a_stopped_main_process_and_comes_before_a_sequence() {
    let sequence = vec![(Signal::INT, GRACE), (Signal::TERM, STRAGGLERS)];
    let policy = Policy { before_stop: Some(WINDOW), stop_sequence: sequence, ..policy() };
    let mut story = Story::running(policy);
    story.tell(Event::Stopped { signal: Signal::STOP, terminal: Terminal::None });
    let go_on = Action::Send { pid: MAIN_PID, group: false, signal: Signal::CONT, value: None };
    assert_eq!(story.tell(sent(Signal::TERM)), [go_on, RUN]);
    let send = |signal| Action::Send { pid: MAIN_PID, group: false, signal, value: None };
    assert_eq!(story.tell(Event::StepEnded(StepAnswer::None)), [send(Signal::INT)]);
    assert_eq!(story.wait(), (GRACE, vec![send(Signal::TERM)]));
}

#[test]
fn one_that_is_replaced_has_the_step_too_and_a_stop_signal_makes_it_for_good() {
    let mut story = Story::running(Policy { before_stop: Some(WINDOW), ..policy() });
    assert_eq!(story.tell(Event::RestartWanted { unit: None }), [RUN]);
    assert_eq!(story.tell(sent(Signal::TERM)), [], "it is asked already, and now for good");
    assert_eq!(story.tell(Event::StepEnded(StepAnswer::None)), [TERM]);
}

#[test]
fn a_stop_during_the_step_of_a_replacement_still_stops_the_units_after_it_first() {
    let policy = Policy { units: vec![units::unit(true, false)], before_stop: Some(WINDOW), ..policy() };
    let mut story = Story::begin(policy);
    story.tell(Event::Begin);
    assert_eq!(story.tell(SWEPT), [Action::Start]);
    assert_eq!(story.tell(Event::Started { pid: MAIN_PID }), [Action::StartUnit(0)]);
    let unit = pid(20);
    story.tell(Event::UnitStarted { unit: 0, pid: unit });
    assert_eq!(story.tell(Event::RestartWanted { unit: None }), [RUN]);
    let to_unit = Action::Send { pid: unit, group: false, signal: Signal::TERM, value: None };
    assert_eq!(story.tell(sent(Signal::TERM)), [to_unit, Action::EndStep]);
    assert_eq!(story.tell(Event::StepEnded(StepAnswer::None)), [], "late");
    assert_eq!(story.tell(died(20)), [Action::Reap(unit), RUN]);
    assert_eq!(story.tell(Event::StepEnded(StepAnswer::None)), [TERM]);
}

#[test]
fn a_unit_whose_start_was_under_way_when_the_stop_began_is_stopped_first() {
    let policy = Policy { units: vec![units::unit(true, false)], before_stop: Some(WINDOW), ..policy() };
    let mut story = Story::begin(policy);
    story.tell(Event::Begin);
    story.tell(SWEPT);
    assert_eq!(story.tell(Event::Started { pid: MAIN_PID }), [Action::StartUnit(0)]);
    assert_eq!(story.tell(sent(Signal::TERM)), [RUN]);
    let unit = pid(20);
    let to_unit = Action::Send { pid: unit, group: false, signal: Signal::TERM, value: None };
    assert_eq!(story.tell(Event::UnitStarted { unit: 0, pid: unit }), [to_unit, Action::EndStep]);
    assert_eq!(story.tell(died(20)), [Action::Reap(unit), RUN]);
}

#[test]
fn a_tool_has_no_such_step() {
    let tool = Some(ToolPolicy { timeout: None, shell: false });
    let mut story = Story::running(Policy { tool, sweep: None, ..policy() });
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::SignalAll(Signal::TERM)]);
}
