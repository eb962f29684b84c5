//! Locks while the main process runs, story by story.

use super::*;

const WAITING: Event =
    Event::SweepDone(SweepSummary { waiting: 1, handed_over: 0, missing: false, failed: None });
const SETTLE: Duration = Duration::from_secs(1);
const LOOK: Action = Action::Sweep(SweepTrigger::Live { spare: false, settle: SETTLE, gone: None });
const REMOVE: Action = Action::AllowRemoval { still: true };
const LOOK_ON: Action = Action::AllowRemoval { still: false };
const STOPPING: Duration = Duration::from_millis(200);
const STOPS: Event = Event::Stopped { signal: Signal::STOP, terminal: Terminal::None };

const ALL_STILL: Event = Event::FreezeDone(FreezeResult::Still);

fn go_on(stood: Duration) -> Action {
    Action::Thaw { stood }
}

/// A gateway that runs, and an orphan that has just died.
fn after_an_orphan() -> Story {
    let mut story = Story::running(policy());
    assert_eq!(story.tell(died(9)), [Action::Reap(pid(9))]);
    assert_eq!(story.tell(Event::QueueDrained), [LOOK]);
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
        assert_eq!(story.tell(Event::QueueDrained), []);
    }
    assert_eq!(story.wait(), (Duration::from_secs(1), vec![LOOK]));
    // One that took long is paid for with a longer pause.
    story.pass(Duration::from_millis(500));
    story.tell(SWEPT);
    story.tell(died(9));
    assert_eq!(story.tell(Event::QueueDrained), []);
    assert_eq!(story.wait(), (Duration::from_secs(10), vec![LOOK]));
}

/// The same, where something waits for a quiet moment.
fn stopping() -> Story {
    let mut story = after_an_orphan();
    assert_eq!(story.tell(Event::SweepReady), [Action::Freeze]);
    story
}

#[test]
fn where_something_waits_everybody_stands_still_for_the_removal() {
    let mut story = stopping();
    assert_eq!(story.tell(Event::FreezeDone(FreezeResult::NotYet)), []);
    assert_eq!(story.wait(), (Duration::from_millis(1), vec![Action::Freeze]));
    assert_eq!(story.tell(ALL_STILL), [REMOVE]);
    // The main process's own stop, which is told besides, is ours.
    assert_eq!(story.tell(STOPS), []);
    story.pass(Duration::from_millis(2));
    assert_eq!(story.tell(Event::SweepReady), [go_on(Duration::from_millis(3)), LOOK_ON]);
    // There may be another root with something in it.
    assert_eq!(story.tell(Event::SweepReady), [Action::Freeze]);
    assert_eq!(story.tell(ALL_STILL), [REMOVE]);
    assert_eq!(story.tell(Event::SweepReady), [go_on(Duration::ZERO), LOOK_ON]);
    assert_eq!(story.tell(SWEPT), []);
    assert_eq!(story.supervisor.next_deadline(), None);
    // What comes next comes a second later at the earliest.
    story.tell(died(9));
    assert_eq!(story.tell(Event::QueueDrained), []);
    assert_eq!(story.wait(), (Duration::from_secs(1), vec![LOOK]));
}

#[test]
fn they_go_on_when_one_does_not_stop_and_the_next_try_comes_later_each_time() {
    let mut story = stopping();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let mut waited = Duration::ZERO;
        let gone_on = loop {
            story.tell(Event::FreezeDone(FreezeResult::NotYet));
            let (pause, actions) = story.wait();
            waited += pause;
            if actions != [Action::Freeze] {
                break actions;
            }
        };
        assert_eq!((waited, gone_on), (STOPPING, vec![Action::AbandonSweep, go_on(STOPPING)]));
        assert_eq!(story.tell(Event::SweeperExited), []);
        let (pause, actions) = story.wait();
        assert_eq!(actions, [LOOK]);
        pauses.push(pause.as_secs());
        assert_eq!(story.tell(Event::SweepReady), [Action::Freeze]);
    }
    // The first ones are as long as twenty times the standstill, so that no more than a few hundredths of the
    // time are lost to it.
    assert_eq!(pauses, [4, 4, 4, 8, 16, 32, 64, 64, 64]);
    // A try that succeeds ends the matter.
    story.tell(ALL_STILL);
    story.tell(Event::SweepReady);
    story.tell(SWEPT);
    assert_eq!(story.supervisor.next_deadline(), None);
}

#[test]
fn what_could_not_be_removed_is_looked_at_again_later() {
    // A process has opened it meanwhile, or it cannot be watched.
    let mut story = after_an_orphan();
    story.pass(SETTLE);
    assert_eq!(story.tell(WAITING), []);
    for seconds in [1, 2, 4] {
        assert_eq!(story.wait(), (Duration::from_secs(seconds), vec![LOOK]));
        assert_eq!(story.tell(WAITING), []);
    }
    // After a sweep that breaks off all processes are continued.
    for still in [false, true] {
        let mut story = stopping();
        if still {
            story.tell(ALL_STILL);
        }
        let actions = story.tell(SWEPT);
        assert_eq!(actions.last(), Some(&go_on(Duration::ZERO)));
    }
}

#[test]
fn a_look_that_could_not_be_made_is_made_later() {
    for failed in [STARVED, BROKE_OFF] {
        let mut story = after_an_orphan();
        story.tell(failed);
        for seconds in [1, 2, 4] {
            assert_eq!(story.wait(), (Duration::from_secs(seconds), vec![LOOK]));
            assert_eq!(story.tell(failed), []);
        }
        // If it is in the middle of a removal, all processes are continued.
        let mut story = stopping();
        story.tell(ALL_STILL);
        assert_eq!(story.tell(failed), [go_on(Duration::ZERO)]);
        assert_eq!(story.wait().1, [LOOK]);
        assert_eq!(story.tell(SWEPT), []);
        assert_eq!(story.supervisor.next_deadline(), None);
    }
}

#[test]
fn where_somebody_cannot_be_stopped_nobody_stays_stopped() {
    let mut story = stopping();
    assert_eq!(
        story.tell(Event::FreezeDone(FreezeResult::Cannot)),
        [Action::AbandonSweep, go_on(Duration::ZERO)]
    );
    assert_eq!(story.tell(Event::SweeperExited), []);
    assert_eq!(story.wait(), (Duration::from_secs(1), vec![LOOK]));
    // Nothing waits any more: another process has dealt with it.
    assert_eq!(story.tell(SWEPT), []);
    assert_eq!(story.supervisor.next_deadline(), None);
    // An answer that comes too late changes nothing.
    assert_eq!(story.tell(ALL_STILL), []);
    assert_eq!(story.tell(Event::SweeperExited), []);
}

#[test]
fn nobody_goes_on_before_a_removal_that_is_given_up_is_dead_or_never_dies() {
    for dies in [true, false] {
        let mut story = stopping();
        story.tell(ALL_STILL);
        assert_eq!(story.wait(), (Duration::from_secs(1), vec![Action::AbandonSweep]));
        let (second, more) = (Duration::from_secs(1), Duration::from_millis(100));
        if dies {
            assert_eq!(story.tell(Event::SweeperExited), [go_on(second)]);
        } else {
            assert_eq!(story.wait(), (more, vec![go_on(second + more)]));
            assert_eq!(story.supervisor.next_deadline(), None, "there is never more than one that hangs");
            story.tell(Event::SweeperExited);
        }
        assert_eq!(story.wait().1, [LOOK], "it is tried again");
    }
    // A scan that hangs is given up, and no process was stopped for it.
    let mut story = after_an_orphan();
    assert_eq!(story.wait(), (SWEEP, vec![Action::AbandonSweep]));
    story.tell(Event::SweeperExited);
    assert_eq!(story.wait(), (20 * SWEEP, vec![LOOK]), "it has not come to everything");
}

#[test]
fn signals_wait_for_it_and_cont_does_not_wake_it() {
    let mut story = stopping();
    assert_eq!(story.tell(sent(Signal::CONT)), []);
    story.tell(ALL_STILL);
    assert_eq!(story.tell(sent(Signal::CONT)), []);
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::TERM)]);
    assert_eq!(story.tell(Event::SweepReady), [go_on(Duration::ZERO), LOOK_ON]);
    // The ladder signals all processes, and a stopped process would not act on its signal.
    let mut story = stopping();
    story.tell(ALL_STILL);
    story.tell(sent(Signal::TERM));
    let to_all = [Action::AbandonSweep, go_on(Duration::ZERO), Action::SignalAll(Signal::TERM)];
    assert_eq!(story.tell(sent(Signal::TERM)), to_all);
}

#[test]
fn whom_somebody_else_has_stopped_is_left_alone() {
    let mut story = Story::running(policy());
    story.tell(STOPS);
    story.tell(died(9));
    assert_eq!(story.tell(Event::QueueDrained), [LOOK]);
    assert_eq!(story.tell(Event::SweepReady), [Action::AbandonSweep]);
    story.tell(Event::SweeperExited);
    assert_eq!(story.wait(), (Duration::from_secs(1), vec![LOOK]), "it is looked at again");
    // Ctrl-Z comes just before our own stop: it counts. All go on, and the key comes once more.
    for still in [false, true] {
        let mut story = stopping();
        let mut expected = vec![Action::AbandonSweep, go_on(Duration::ZERO)];
        if still {
            story.tell(ALL_STILL);
        }
        expected.push(Action::Send { pid: pid(MAIN), group: true, signal: Signal::TSTP, value: None });
        let key = Event::Stopped { signal: Signal::TSTP, terminal: Terminal::Main };
        assert_eq!(story.tell(key), expected);
        // Now it is a stop like any other; as init there is no shell to come back to.
        assert_eq!(story.tell(key).len(), 1);
    }
    // Who waits for the terminal asks again by itself.
    let mut story = stopping();
    let wants = Event::Stopped { signal: Signal::TTIN, terminal: Terminal::Ours };
    assert_eq!(story.tell(wants), [Action::AbandonSweep, go_on(Duration::ZERO)]);
    assert_eq!(story.tell(wants).len(), 2);
}

#[test]
fn its_death_ends_everything_and_the_last_sweep_comes_alone() {
    let mut story = stopping();
    story.tell(ALL_STILL);
    assert_eq!(story.tell(died(MAIN)), [Action::AbandonSweep, go_on(Duration::ZERO)]);
    story.tell(Event::QueueDrained);
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [LAST_SWEEP]);
    // A look goes on until then.
    let mut story = after_an_orphan();
    assert_eq!(story.tell(died(MAIN)), []);
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [Action::AbandonSweep, LAST_SWEEP]);
}

#[test]
fn what_was_handed_over_is_the_gateways_for_a_while_and_removed_then() {
    let window = Duration::from_secs(300);
    let mut story = Story::begin(Policy { hand_over: Some(window), ..policy() });
    story.tell(Event::Begin);
    story.tell(Event::SweepDone(SweepSummary { handed_over: 2, ..SweepSummary::default() }));
    story.tell(Event::Started { pid: pid(MAIN) });
    story.tell(died(9));
    assert_eq!(
        story.tell(Event::QueueDrained),
        [Action::Sweep(SweepTrigger::Live { spare: true, settle: SETTLE, gone: None })]
    );
    story.tell(SWEPT);
    assert_eq!(story.wait(), (window, vec![LOOK]));
    story.tell(Event::SweepReady);
    assert_eq!(story.tell(ALL_STILL), [REMOVE]);
    story.tell(Event::SweepReady);
    story.tell(SWEPT);
    assert_eq!(story.supervisor.next_deadline(), None);
}

#[test]
fn an_init_looks_now_and_then_whose_owners_live() {
    let mut story = Story::begin(Policy { mark_locks: true, ..policy() });
    story.tell(Event::Begin);
    story.tell(SWEPT);
    story.tell(Event::Started { pid: pid(MAIN) });
    let mut at = Duration::ZERO;
    for seconds in [15, 60, 180, 600, 1200, 1800] {
        let (waited, actions) = story.wait();
        at += waited;
        assert_eq!((at, actions), (Duration::from_secs(seconds), vec![LOOK]));
        story.tell(SWEPT);
    }
}

#[test]
fn a_root_that_was_missing_is_looked_for_a_few_times_and_then_no_more() {
    let missing = Event::SweepDone(SweepSummary { missing: true, ..SweepSummary::default() });
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
