//! What becomes of signals on their way, stops in steps, and those who live on.

use super::*;

fn with(forwarding: Forwarding) -> Story {
    Story::running(Policy { forwarding, ..policy() })
}

#[test]
fn a_signal_is_rewritten_and_still_means_what_it_meant() {
    let rewrite =
        vec![(Signal::TERM, Some(Signal::INT)), (Signal::TERM, Some(Signal::QUIT)), (Signal::HUP, None)];
    let mut story = with(Forwarding { rewrite, ..Forwarding::default() });
    assert_eq!(story.tell(sent(Signal::HUP)), [], "dropped");
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::QUIT)], "the last rule counts");
    assert_eq!(story.wait(), (GRACE, vec![Action::SignalAll(Signal::TERM)]), "the stop has begun");
}

#[test]
fn a_dropped_stop_signal_stops_nothing() {
    let mut story = with(Forwarding { rewrite: vec![(Signal::TERM, None)], ..Forwarding::default() });
    assert_eq!(story.tell(sent(Signal::TERM)), []);
    assert_eq!(story.supervisor.next_deadline(), None);
}

#[test]
fn a_delayed_stop_begins_its_window_when_it_is_passed_on() {
    let delay = Duration::from_secs(10);
    let mut story = with(Forwarding { delay: vec![(Signal::TERM, delay)], ..Forwarding::default() });
    assert_eq!(story.tell(sent(Signal::TERM)), []);
    assert_eq!(story.tell(sent(Signal::HUP)), [send(Signal::HUP)], "the others go on");
    assert_eq!(story.wait(), (delay, vec![send(Signal::TERM)]));
    assert_eq!(story.wait(), (GRACE, vec![Action::SignalAll(Signal::TERM)]));
}

#[test]
fn a_delayed_signal_that_comes_again_is_wanted_now_and_once() {
    let delay = vec![(Signal::TERM, Duration::from_secs(10))];
    let mut story = with(Forwarding { delay, ..Forwarding::default() });
    story.tell(sent(Signal::TERM));
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::TERM)]);
    assert_eq!(story.wait().0, GRACE, "nothing is held any more");
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::SignalAll(Signal::KILL)], "nor is a ladder held up");
}

#[test]
fn a_delayed_signal_dies_with_the_main_process() {
    let delay = vec![(Signal::TERM, Duration::from_secs(10))];
    let mut story = with(Forwarding { delay, ..Forwarding::default() });
    story.tell(sent(Signal::TERM));
    story.tell(died(MAIN));
    assert_eq!(story.supervisor.next_deadline(), None);
}

#[test]
fn a_stop_in_steps_takes_one_after_the_other() {
    let second = Duration::from_secs(1);
    let stop_sequence =
        vec![(Signal::QUIT, 20 * second), (Signal::INT, 5 * second), (Signal::KILL, Duration::ZERO)];
    let mut story = Story::running(Policy { stop_sequence: stop_sequence.clone(), ..policy() });
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::QUIT)]);
    assert_eq!(story.wait(), (20 * second, vec![send(Signal::INT)]));
    assert_eq!(story.wait(), (5 * second, vec![send(Signal::KILL)]));
    assert_eq!(story.wait(), (Duration::ZERO, vec![Action::SignalAll(Signal::TERM)]));
    assert_eq!(story.wait(), (STRAGGLERS, vec![Action::SignalAll(Signal::KILL)]));

    let mut story = Story::running(Policy { stop_sequence, ..policy() });
    story.tell(sent(Signal::TERM));
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::INT)], "a repeated stop signal skips a step");
}

#[test]
fn those_who_live_on_are_waited_for_and_can_be_stopped() {
    let mut story = Story::running(Policy { wait_all: true, ..policy() });
    story.tell(died(MAIN));
    story.tell(Event::QueueDrained);
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), []);
    for _ in 0..1000 {
        assert_eq!(story.wait().1, [Action::CountRemaining], "for as long as they like");
        assert_eq!(story.tell(Event::Remaining(Remaining::Children)), []);
    }
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::SignalAll(Signal::TERM)]);
    assert_eq!(
        story.wait_with_children(),
        (GRACE, vec![Action::SignalAll(Signal::KILL)]),
        "with the whole window"
    );
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [LAST_SWEEP]);
}

#[test]
fn a_session_of_its_own_is_stopped_together_with_us() {
    let forwarding =
        Forwarding { rewrite: vec![(Signal::TSTP, Some(Signal::STOP))], ..Forwarding::default() };
    let mut story = Story::running(Policy { session: true, group: true, forwarding, ..policy() });
    let to_group = |signal| Action::Send { pid: pid(MAIN), group: true, signal, value: None };
    assert_eq!(story.tell(from_terminal(Signal::TSTP)), [to_group(Signal::STOP), Action::StopSelf]);
    story.tell(Event::Stopped { signal: Signal::STOP, terminal: Terminal::None });
    assert_eq!(story.tell(Event::Resumed), []);
    assert_eq!(story.tell(sent(Signal::CONT)), [to_group(Signal::CONT)]);

    let forwarding = Forwarding { rewrite: vec![(Signal::TSTP, None)], ..Forwarding::default() };
    let mut story = Story::running(Policy { session: true, forwarding, ..policy() });
    assert_eq!(story.tell(sent(Signal::TSTP)), [Action::StopSelf], "even if it gets nothing");
}

#[test]
fn a_start_for_which_there_is_no_process_is_tried_again_a_few_times() {
    let failure = Event::StartFailed { step: StartStep::Fork, errno: Errno(11) };
    let mut story = Story::begin(Policy { sweep: None, ..policy() });
    assert_eq!(story.tell(Event::Begin), [Action::Start]);
    let mut waited = Duration::ZERO;
    for _ in 0..TRIES {
        assert_eq!(story.tell(failure), []);
        assert_eq!(story.tell(sent(Signal::TERM)), [], "kept");
        let (pause, actions) = story.wait();
        assert_eq!(actions, [Action::Start]);
        waited += pause;
    }
    assert_eq!(waited, Duration::from_millis(3100));
    let outcome = Outcome::StartFailed { step: StartStep::Fork, errno: Errno(11) };
    assert_eq!(story.tell(failure), [Action::Exit(outcome)]);
}
