//! Locks while the main process runs, story by story.

use super::*;

const WAITING: Event = Event::SweepDone(Tally { waiting: 1, handed_over: 0, missing: false });
const LOOK: Action = Action::Sweep(Occasion::Look { spare: false });
const STILL_SWEEP: Action = Action::Sweep(Occasion::Still { spare: false });
const STOPS: Event = Event::Stopped { signal: Signal::STOP, terminal: Terminal::None };

fn stand_still() -> Action {
    Action::StandStill(pid(MAIN))
}

fn go_on(stood: Duration) -> Action {
    Action::GoOn { pid: pid(MAIN), stood }
}

/// A gateway that runs, and an orphan that has just died.
fn after_an_orphan() -> Story {
    let mut story = Story::running(policy());
    assert_eq!(story.tell(died(9)), [Action::Reap(pid(9))]);
    assert_eq!(story.tell(Event::Drained), [LOOK]);
    story
}

#[test]
fn a_dead_orphan_makes_one_look_and_nothing_more_where_nothing_waits() {
    let mut story = after_an_orphan();
    assert_eq!(story.tell(SWEPT), []);
    assert_eq!(story.supervisor.next_deadline(), None, "an idle supervisor never wakes up");
    // Many that die within a second make one more look.
    for _ in 0..3 {
        story.tell(died(9));
        assert_eq!(story.tell(Event::Drained), []);
    }
    assert_eq!(story.wait(), (Duration::from_secs(1), vec![LOOK]));
    // One that took long is paid for with a longer pause.
    story.pass(Duration::from_millis(500));
    story.tell(SWEPT);
    story.tell(died(9));
    assert_eq!(story.tell(Event::Drained), []);
    assert_eq!(story.wait(), (Duration::from_secs(10), vec![LOOK]));
}

#[test]
fn where_something_waits_the_gateway_stands_still_for_the_removal() {
    let mut story = after_an_orphan();
    assert_eq!(story.tell(WAITING), [stand_still()]);
    story.pass(Duration::from_millis(1));
    assert_eq!(story.tell(STOPS), [STILL_SWEEP]);
    story.pass(Duration::from_millis(2));
    assert_eq!(story.tell(SWEPT), [go_on(Duration::from_millis(3))]);
    assert_eq!(story.supervisor.next_deadline(), None);
}

#[test]
fn it_goes_on_when_it_does_not_stop_or_the_sweep_does_not_end() {
    let mut story = after_an_orphan();
    story.tell(WAITING);
    assert_eq!(story.wait(), (Duration::from_millis(500), vec![go_on(Duration::from_millis(500))]));
    let mut story = after_an_orphan();
    story.tell(WAITING);
    story.tell(STOPS);
    let given_up = vec![Action::AbandonSweep, go_on(Duration::from_secs(1))];
    assert_eq!(story.wait(), (Duration::from_secs(1), given_up));
    // A look that hangs is given up, and nobody was stopped for it.
    let mut story = after_an_orphan();
    assert_eq!(story.wait(), (SWEEP, vec![Action::AbandonSweep]));
}

#[test]
fn signals_wait_for_it_and_cont_does_not_wake_it() {
    let mut story = after_an_orphan();
    story.tell(WAITING);
    assert_eq!(story.tell(sent(Signal::CONT)), []);
    story.tell(STOPS);
    assert_eq!(story.tell(sent(Signal::CONT)), []);
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::TERM)]);
    assert_eq!(story.tell(SWEPT), [go_on(Duration::ZERO)]);
    // The ladder reaches everybody, and a stopped gateway would not be reached.
    let mut story = after_an_orphan();
    story.tell(WAITING);
    story.tell(STOPS);
    story.tell(sent(Signal::TERM));
    let to_all = [Action::AbandonSweep, go_on(Duration::ZERO), Action::SendToRest(Signal::TERM)];
    assert_eq!(story.tell(sent(Signal::TERM)), to_all);
}

#[test]
fn whom_somebody_else_has_stopped_is_left_alone() {
    let mut story = Story::running(policy());
    story.tell(STOPS);
    story.tell(died(9));
    assert_eq!(story.tell(Event::Drained), [LOOK]);
    assert_eq!(story.tell(WAITING), []);
    // Ctrl-Z comes just before our own stop: it counts, and ours goes with it.
    let mut story = after_an_orphan();
    story.tell(WAITING);
    story.tell(Event::Stopped { signal: Signal::TSTP, terminal: Terminal::None });
    assert_eq!(story.supervisor.next_deadline(), None);
    assert_eq!(story.tell(sent(Signal::CONT)).len(), 1);
}

#[test]
fn its_death_ends_everything_and_the_last_sweep_comes_alone() {
    let mut story = after_an_orphan();
    story.tell(WAITING);
    story.tell(STOPS);
    assert_eq!(story.tell(died(MAIN)), [Action::AbandonSweep, go_on(Duration::ZERO)]);
    story.tell(Event::Drained);
    assert_eq!(story.tell(Event::Rest(Rest::Gone)), [LAST_SWEEP]);
    // A look goes on until then.
    let mut story = after_an_orphan();
    assert_eq!(story.tell(died(MAIN)), []);
    assert_eq!(story.tell(Event::Rest(Rest::Gone)), [Action::AbandonSweep, LAST_SWEEP]);
}

#[test]
fn what_was_handed_over_is_the_gateways_for_a_while_and_removed_then() {
    let window = Duration::from_secs(300);
    let mut story = Story::begin(Policy { hand_over: Some(window), ..policy() });
    story.tell(Event::Begin);
    story.tell(Event::SweepDone(Tally { waiting: 0, handed_over: 2, missing: false }));
    story.tell(Event::Started { pid: pid(MAIN) });
    story.tell(died(9));
    assert_eq!(story.tell(Event::Drained), [Action::Sweep(Occasion::Look { spare: true })]);
    story.tell(SWEPT);
    assert_eq!(story.wait(), (window, vec![LOOK]));
    story.tell(WAITING);
    assert_eq!(story.tell(STOPS), [STILL_SWEEP]);
    story.tell(SWEPT);
    assert_eq!(story.supervisor.next_deadline(), None);
}

#[test]
fn a_root_that_was_missing_is_looked_for_a_few_times_and_then_no_more() {
    let missing = Event::SweepDone(Tally { waiting: 0, handed_over: 0, missing: true });
    for (look_later, looks) in [(true, 4), (false, 0)] {
        let mut story = Story::begin(Policy { look_later, ..policy() });
        story.tell(Event::Begin);
        story.tell(missing);
        story.tell(Event::Started { pid: pid(MAIN) });
        for _ in 0..looks {
            assert_eq!(story.wait().1, [LOOK]);
            story.tell(missing);
        }
        assert_eq!(story.supervisor.next_deadline(), None);
    }
    let mut story = Story::begin(Policy { look_later: true, ..policy() });
    story.tell(Event::Begin);
    story.tell(missing);
    story.tell(Event::Started { pid: pid(MAIN) });
    assert_eq!(story.wait(), (Duration::from_secs(15), vec![LOOK]));
    story.tell(SWEPT);
    assert_eq!(story.supervisor.next_deadline(), None, "it is there and registered");
}
