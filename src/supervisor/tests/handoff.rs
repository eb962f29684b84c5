//! A main process that ends with 0 for a restart as well as for a stop.

use super::*;

const WINDOW: Duration = Duration::from_secs(55);
const ASK: Action = Action::RunStep(Step::Handoff);

fn running(on: RestartOn) -> Story {
    let restart = Restart { on, limit: 1, ..Restart::default() };
    Story::running(Policy { handoff: Some(WINDOW), restart, sweep: None, can_hold: false, ..policy() })
}

/// One that has ended with 0.
fn asking(on: RestartOn) -> Story {
    let mut story = running(on);
    assert_eq!(story.tell(died(MAIN)), [Action::Reap(MAIN_PID), ASK]);
    assert_eq!(story.tell(Event::QueueDrained), [], "nobody is ended before it is known");
    story
}

const EVERY: [RestartOn; 3] = [RestartOn::Never, RestartOn::Failure, RestartOn::Always];

#[test]
fn an_accepted_restart_follows_at_once_whatever_the_policy_and_is_not_counted() {
    for on in EVERY {
        let mut story = asking(on);
        for _ in 0..5 {
            story.pass(Duration::from_secs(3));
            assert_eq!(story.tell(Event::StepEnded(StepAnswer::Restart)), [Action::CountRemaining]);
            assert!(story.supervisor.spares_sessions());
            assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), []);
            assert_eq!(story.tick(), [Action::Start]);
            story.tell(Event::Started { pid: MAIN_PID });
            assert!(!story.supervisor.spares_sessions());
            assert_eq!(story.tell(died(MAIN)), [Action::Reap(MAIN_PID), ASK]);
        }
    }
}

#[test]
fn a_stop_is_a_stop_whatever_the_policy() {
    for on in EVERY {
        let mut story = asking(on);
        assert_eq!(story.tell(Event::StepEnded(StepAnswer::Stop)), [Action::CountRemaining]);
        assert!(!story.supervisor.spares_sessions());
        let exit = Action::Exit(Outcome::Exited { code: 0 });
        assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [exit]);
    }
}

#[test]
fn a_stop_during_the_question_ends_what_may_live_on_otherwise() {
    let policy = Policy { handoff: Some(WINDOW), wait_all: true, sweep: None, can_hold: false, ..policy() };
    let mut story = Story::running(policy);
    assert_eq!(story.tell(died(MAIN)), [Action::Reap(MAIN_PID), ASK]);
    story.tell(Event::QueueDrained);
    let term = Action::SignalAll(Signal::TERM);
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::EndStep, Action::CountRemaining, term]);
    story.tell(Event::Remaining(Remaining::Children));
    let killed = (0..1000).any(|_| story.wait().1.contains(&Action::SignalAll(Signal::KILL)));
    assert!(killed, "the windows end");
}

#[test]
fn no_answer_is_a_failure() {
    for on in EVERY {
        let mut story = asking(on);
        assert_eq!(story.wait(), (WINDOW, vec![Action::EndStep, Action::CountRemaining]));
        let left = story.tell(Event::Remaining(Remaining::Gone));
        if on == RestartOn::Never {
            assert_eq!(left, [Action::Exit(Outcome::Exited { code: 0 })]);
            continue;
        }
        assert_eq!((left, story.tick()), (vec![], vec![Action::Start]));
        story.tell(Event::Started { pid: MAIN_PID });
        story.tell(died(MAIN));
        story.tell(Event::StepEnded(StepAnswer::None));
        let left = story.tell(Event::Remaining(Remaining::Gone));
        assert!(matches!(left[..], [Action::Exit(_)]), "this one was counted: {left:?}");
    }
}

#[test]
fn a_stop_signal_ends_the_question() {
    let mut story = asking(RestartOn::Always);
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::EndStep, Action::CountRemaining]);
    assert_eq!(story.tell(Event::StepEnded(StepAnswer::Restart)), [], "too late");
    let exit = Action::Exit(Outcome::Exited { code: 0 });
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [exit]);
}

#[test]
fn only_an_end_with_0_that_nobody_asked_for_is_asked_about() {
    let mut story = running(RestartOn::Failure);
    assert_eq!(story.tell(exited(1)), [Action::Reap(MAIN_PID)]);
    let mut story = running(RestartOn::Failure);
    story.tell(sent(Signal::TERM));
    assert_eq!(story.tell(died(MAIN)), [Action::Reap(MAIN_PID)]);
    let mut story = running(RestartOn::Failure);
    story.tell(Event::RestartWanted { unit: None });
    assert_eq!(story.tell(died(MAIN)), [Action::Reap(MAIN_PID)]);
}

#[test]
fn sessions_are_spared_at_a_restart_and_have_their_window_at_the_end() {
    let mut story = asking(RestartOn::Never);
    story.tell(Event::StepEnded(StepAnswer::Restart));
    assert_eq!(story.tell(Event::Remaining(Remaining::Sessions)), [], "nobody else is left");
    // A stop signal comes before the start: they are not spared any more.
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::CountRemaining]);
    assert!(!story.supervisor.spares_sessions());
    let term = Action::SignalAll(Signal::TERM);
    assert_eq!(story.tell(Event::Remaining(Remaining::Strangers)), [term]);
    let exit = Action::Exit(Outcome::Exited { code: 0 });
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [exit]);
}

#[test]
fn beside_a_session_no_moment_is_quiet() {
    let policy = Policy { restart: Restart { on: RestartOn::Always, ..Restart::default() }, ..policy() };
    let mut story = Story::running(policy);
    story.tell(exited(1));
    story.tell(Event::QueueDrained);
    let asked = story.tell(Event::Remaining(Remaining::Sessions));
    let gone = Some(Gone { zombie: Some(MAIN_PID), clean: false });
    assert!(
        matches!(asked[..], [Action::Sweep(SweepTrigger::Live { gone: found, .. })] if found == gone),
        "{asked:?}"
    );
}
