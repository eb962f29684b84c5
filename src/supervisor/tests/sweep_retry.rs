//! Sweeps that cannot be made: who waits for them, and how long.

use super::*;

const PAUSES: [u64; 5] = [100, 200, 400, 800, 1600];

/// Fails as often as it is tried within three seconds, and gives what follows the last failure.
fn fails(story: &mut Story, failed: Event, sweep: Action) -> Vec<Action> {
    for pause in PAUSES {
        assert_eq!(story.tell(failed), []);
        assert_eq!(story.tell(SWEPT), [], "nothing sweeps that could end");
        assert_eq!(story.wait(), (Duration::from_millis(pause), vec![sweep]));
    }
    story.tell(failed)
}

fn always() -> Policy {
    let restart = Restart { on: RestartOn::Always, limit: 1000, ..Restart::default() };
    Policy { restart, ..policy() }
}

/// The main process has died, and nothing is left of it.
fn after_its_death(policy: Policy) -> Story {
    let mut story = Story::running(policy);
    story.tell(died(MAIN));
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [LAST_SWEEP]);
    story
}

#[test]
fn the_first_start_waits_for_some_tries_and_the_sweep_follows_beside_it() {
    for failed in [STARVED, BROKE_OFF] {
        let mut story = Story::begin(policy());
        story.tell(Event::Begin);
        let startup = Action::Sweep(SweepTrigger::Startup);
        assert_eq!(fails(&mut story, failed, startup), [Action::Start]);
        story.tell(Event::Started { pid: pid(MAIN) });
        let (pause, actions) = story.wait();
        let look = SweepTrigger::Live { spare: true, settle: Duration::from_secs(1), gone: None };
        assert_eq!((pause, actions), (Duration::ZERO, vec![Action::Sweep(look)]));
    }
    // A try that comes off ends the matter.
    let mut story = Story::begin(policy());
    story.tell(Event::Begin);
    story.tell(STARVED);
    story.wait();
    assert_eq!(story.tell(SWEPT), [Action::Start]);
}

#[test]
fn the_end_waits_for_some_tries() {
    let mut story = after_its_death(policy());
    assert_eq!(fails(&mut story, STARVED, LAST_SWEEP), [Action::Reap(pid(MAIN)), ENDED]);
}

#[test]
fn a_restart_waits_for_as_long_as_there_is_nothing_to_sweep_with() {
    let mut story = after_its_death(always());
    assert_eq!(fails(&mut story, STARVED, LAST_SWEEP), []);
    for _ in 0..100 {
        assert_eq!(story.wait(), (Duration::from_millis(3200), vec![LAST_SWEEP]));
        assert_eq!(story.tell(STARVED), []);
    }
    story.wait();
    assert_eq!(story.tell(SWEPT), [Action::Reap(pid(MAIN))]);
    assert_eq!(story.wait().1, [Action::Start]);
    // One that breaks off for another reason would do so for ever.
    let mut story = after_its_death(always());
    assert_eq!(fails(&mut story, BROKE_OFF, LAST_SWEEP), [Action::Reap(pid(MAIN))]);
    assert_eq!(story.wait().1, [Action::Start]);
    // And one that hangs is given up.
    let mut story = after_its_death(always());
    story.tell(STARVED);
    story.wait();
    assert_eq!(story.wait(), (SWEEP, vec![Action::AbandonSweep, Action::Reap(pid(MAIN))]));
}

#[test]
fn a_stop_signal_ends_the_waiting_after_one_more_try() {
    let mut story = after_its_death(always());
    assert_eq!(fails(&mut story, STARVED, LAST_SWEEP), []);
    assert_eq!(story.tell(sent(Signal::TERM)), []);
    assert_eq!(story.wait(), (Duration::ZERO, vec![LAST_SWEEP]));
    assert_eq!(story.tell(STARVED), [Action::Reap(pid(MAIN)), ENDED]);
}

#[test]
fn beside_living_units_it_is_the_same() {
    let unit = UnitRule {
        after_gateway: false,
        required: false,
        window: Duration::from_secs(9),
        watches: false,
        restart: Restart::default(),
    };
    for failed in [STARVED, BROKE_OFF] {
        let mut story = Story::begin(Policy { units: vec![unit.clone()], ..always() });
        story.tell(Event::Begin);
        story.tell(SWEPT);
        story.tell(Event::UnitStarted { unit: 0, pid: pid(20) });
        story.tell(Event::Started { pid: pid(MAIN) });
        story.tell(died(MAIN));
        let gone = Some(Gone { zombie: Some(pid(MAIN)), clean: true });
        let look = Action::Sweep(SweepTrigger::Live { spare: false, settle: Duration::from_secs(1), gone });
        assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [look]);
        let begun = story.now;
        let ended = loop {
            assert_eq!(story.tell(failed), []);
            let (_, actions) = story.wait();
            if actions != [look] {
                break actions;
            }
            if failed == STARVED && story.now.since(begun) > 10 * SWEEP {
                break story.tell(SWEPT);
            }
        };
        assert_eq!(ended, [Action::Reap(pid(MAIN))]);
        assert_eq!(story.now.since(begun) > SWEEP, failed == STARVED);
    }
}

/// A command that could not be executed has left no lock, and no sweep follows it. An earlier sweep was given up.
#[test]
fn a_sweep_that_is_owed_is_made_up_for_although_a_start_failed_meanwhile() {
    let mut story = after_its_death(Policy { look_later: false, hand_over: None, ..always() });
    story.tell(SWEPT);
    assert_eq!(story.wait().1, [Action::Start]);
    story.tell(Event::Started { pid: pid(MAIN) });
    let beside = |actions: &[Action]| matches!(actions, [.., Action::Sweep(SweepTrigger::Live { .. })]);
    story.tell(died(99));
    assert!(beside(&story.tell(Event::QueueDrained)), "an orphan may have left a lock");
    assert_eq!(story.wait().1, [Action::AbandonSweep]);
    story.tell(Event::StartFailed { step: StartStep::Exec, errno: Errno(2) });
    story.tell(Event::Died { pid: pid(MAIN), status: ExitStatus::Exited(127) });
    assert_eq!(story.tell(Event::QueueDrained), [Action::CountRemaining]);
    assert_eq!(story.tell(Event::SweeperExited), []);
    story.tell(Event::Remaining(Remaining::Gone));
    assert_eq!(story.wait().1, [Action::Start]);
    story.tell(Event::Started { pid: pid(MAIN) });
    assert!(beside(&story.tick()), "at once");
}
