//! What the service manager is told, as values.

use super::super::sd_notify::PAUSE;
use super::*;
use crate::types::{HealthReport, HealthState, IncidentKind};

const START_PERIOD: Duration = Duration::from_secs(180);
const WATCHDOG: Duration = Duration::from_secs(2);

fn told_of(ready: Ready) -> Policy {
    let notify = Notify { ready, watchdog: None, start_period: START_PERIOD };
    Policy { notify: Some(notify), ..policy() }
}

fn watched(ready: Ready, replace_on: Vec<IncidentKind>) -> Policy {
    let notify = Notify { ready, watchdog: Some(WATCHDOG), start_period: START_PERIOD };
    Policy { notify: Some(notify), replace_on, ..policy() }
}

/// The messages among what is asked for.
fn messages(actions: Vec<Action>) -> Vec<Message> {
    let message = |action| if let Action::Notify(message) = action { Some(message) } else { None };
    actions.into_iter().filter_map(message).collect()
}

/// Tells it, and gives the messages without their texts.
fn tell(story: &mut Story, event: Event) -> Vec<Message> {
    let bare = messages(story.tell(event)).into_iter().map(|message| Message { status: None, ..message });
    bare.filter(|message| *message != Message::default()).collect()
}

fn extend(seconds: u64) -> Message {
    Message { extend: Some(Duration::from_secs(seconds)), ..Message::default() }
}

const READY: Message =
    Message { ready: true, reloading: false, stopping: false, watchdog: false, extend: None, status: None };
const PING: Message = Message { ready: false, watchdog: true, ..READY };
const STOPPING: Message = Message { ready: false, stopping: true, ..READY };

fn health(state: HealthState) -> Event {
    Event::Health(HealthReport { state, ..HealthReport::default() })
}

#[test]
fn nothing_is_said_where_nobody_listens() {
    let mut story = Story::running(policy());
    for event in [
        Event::Executed,
        health(HealthState::Healthy),
        Event::NotifyMessage(NotifyMessage::Ready),
        Event::NotifyFailed,
    ] {
        assert_eq!(story.tell(event), []);
        assert_eq!(story.supervisor.next_deadline(), None);
    }
}

#[test]
fn it_is_ready_by_what_the_operator_chose_and_by_nothing_else() {
    let events = [Event::Executed, health(HealthState::Healthy), Event::NotifyMessage(NotifyMessage::Ready)];
    for (ready, by) in [(Ready::Started, 0), (Ready::Healthy, 1), (Ready::Notified, 2)] {
        for (event, place) in events.into_iter().zip(0..) {
            let mut story = Story::running(told_of(ready));
            let expected: &[Message] = if place == by { &[READY] } else { &[] };
            assert_eq!(tell(&mut story, event), expected, "{ready:?}, {event:?}");
            assert_eq!(tell(&mut story, event), [], "it is said once");
        }
        let mut story = Story::running(told_of(ready));
        assert_eq!(tell(&mut story, health(HealthState::Slow)), [], "{ready:?}");
    }
}

#[test]
fn each_window_is_asked_for_with_ten_seconds_more() {
    let mut story = Story::begin(told_of(Ready::Healthy));
    assert_eq!(tell(&mut story, Event::Begin), [extend(15)], "the first sweep");
    assert_eq!(tell(&mut story, SWEPT), []);
    assert_eq!(tell(&mut story, Event::Started { pid: pid(MAIN) }), [extend(190)], "the start period");
    assert_eq!(tell(&mut story, health(HealthState::Healthy)), [READY]);
    let begins = Message { extend: Some(GRACE + Duration::from_secs(10)), ..STOPPING };
    assert_eq!(tell(&mut story, sent(Signal::TERM)), [begins]);
    assert_eq!(tell(&mut story, sent(Signal::TERM)), [extend(15)], "kill_after");
    assert_eq!(tell(&mut story, sent(Signal::TERM)), [extend(20)], "KILL");
    assert_eq!(tell(&mut story, died(MAIN)), []);
    assert_eq!(tell(&mut story, Event::Remaining(Remaining::Gone)), [extend(15)], "the last sweep");
}

#[test]
fn a_message_comes_before_what_it_speaks_of() {
    let mut story = Story::begin(told_of(Ready::Started));
    for event in [Event::Begin, SWEPT] {
        let actions = story.tell(event);
        let place = actions.iter().position(|action| matches!(action, Action::Notify(_)));
        assert!(place.is_none_or(|place| place == 0), "{actions:?}");
    }
}

#[test]
fn an_end_of_its_own_is_the_end_unless_it_is_started_again() {
    let mut story = Story::running(told_of(Ready::Started));
    tell(&mut story, Event::Executed);
    assert_eq!(tell(&mut story, died(MAIN)), [STOPPING]);

    let restart = Restart { on: RestartOn::Always, delay: Duration::from_secs(10), ..Restart::default() };
    let mut story = Story::running(Policy { restart, ..told_of(Ready::Started) });
    tell(&mut story, Event::Executed);
    story.pass(PAUSE);
    for event in [died(MAIN), Event::Remaining(Remaining::Gone), SWEPT] {
        assert_eq!(tell(&mut story, event), [], "a manager that waits for nothing has nothing to extend");
    }
    story.pass(PAUSE);
    let Some(ManagerState::Waiting { restart: 1, limit: 5, .. }) =
        messages(story.tell(Event::Tick)).into_iter().find_map(|message| message.status)
    else {
        panic!("it says that it waits");
    };
    let stops = tell(&mut story, sent(Signal::TERM));
    assert_eq!(stops, [], "nothing is left to be waited for");
}

#[test]
fn texts_come_when_something_changes_and_at_most_once_a_second() {
    let mut story = Story::begin(told_of(Ready::Started));
    let text =
        |story: &mut Story, event| messages(story.tell(event)).into_iter().find_map(|message| message.status);
    assert_eq!(text(&mut story, Event::Begin), Some(ManagerState::Sweeping));
    assert_eq!(text(&mut story, SWEPT), None, "too soon");
    assert_eq!(text(&mut story, Event::Started { pid: pid(MAIN) }), None);
    assert_eq!(text(&mut story, Event::Executed), None);
    assert_eq!(story.supervisor.next_deadline(), Some(MonoTime::default().after(PAUSE)));
    story.pass(PAUSE);
    let running = ManagerState::Running { health: HealthState::Unknown, latency: None, said: 0 };
    assert_eq!(text(&mut story, Event::Tick), Some(running));
    assert_eq!(story.supervisor.next_deadline(), None, "nothing more is to be said");
    story.pass(PAUSE);
    assert!(matches!(
        text(&mut story, sent(Signal::TERM)),
        Some(ManagerState::Stopping { again: false, .. })
    ));
    for _ in 0..3 {
        assert_eq!(text(&mut story, Event::Tick), None);
        story.pass(PAUSE);
        assert!(text(&mut story, Event::Tick).is_some(), "the seconds that are left are counted");
    }
}

#[test]
fn signs_of_life_depend_on_the_gateway_only_if_nobody_else_acts() {
    for (replace_on, fed) in
        [(vec![], false), (vec![IncidentKind::Memory], false), (vec![IncidentKind::Unhealthy], true)]
    {
        for state in [HealthState::Unhealthy, HealthState::Slow] {
            let mut story = Story::running(watched(Ready::Started, replace_on.clone()));
            tell(&mut story, Event::Executed);
            story.pass(WATCHDOG / 2);
            assert_eq!(tell(&mut story, Event::Tick), [PING]);
            assert_eq!(tell(&mut story, health(state)), []);
            story.pass(WATCHDOG / 2);
            let expected: &[Message] = if fed { &[PING] } else { &[] };
            assert_eq!(tell(&mut story, Event::Tick), expected, "{state:?}, {replace_on:?}");
            story.pass(WATCHDOG / 2);
            assert_eq!(tell(&mut story, health(HealthState::Healthy)), [PING], "well again, and at once");
        }
    }
    for state in [HealthState::Unhealthy, HealthState::Slow] {
        let mut story = Story::running(watched(Ready::Started, Vec::new()));
        tell(&mut story, Event::Health(HealthReport { state, excused: true, latency: None }));
        story.pass(WATCHDOG / 2);
        assert!(tell(&mut story, Event::Tick).iter().any(|message| message.watchdog), "{state:?} is excused");
    }
    for state in [HealthState::Unknown, HealthState::Starting, HealthState::Draining] {
        let mut story = Story::running(watched(Ready::Started, Vec::new()));
        tell(&mut story, health(state));
        story.pass(WATCHDOG / 2);
        assert!(tell(&mut story, Event::Tick).iter().any(|message| message.watchdog), "{state:?}");
    }
}

#[test]
fn while_sexton_stops_it_gives_signs_of_life_for_itself() {
    let mut story = Story::running(watched(Ready::Started, Vec::new()));
    tell(&mut story, Event::Executed);
    tell(&mut story, health(HealthState::Unhealthy));
    let stop = tell(&mut story, sent(Signal::TERM));
    assert!(stop.iter().any(|message| message.stopping && message.watchdog), "{stop:?}");
    for _ in 0..10 {
        story.pass(WATCHDOG / 2);
        assert!(tell(&mut story, Event::Tick).iter().any(|message| message.watchdog));
    }
}

#[test]
fn a_gateway_that_falls_silent_is_replaced_if_that_is_wanted() {
    for (replace_on, acts) in [(vec![], false), (vec![IncidentKind::Unhealthy], true)] {
        let mut story = Story::running(watched(Ready::Notified, replace_on));
        tell(&mut story, Event::NotifyMessage(NotifyMessage::Ready));
        assert!(
            !story.supervisor.notifier.unwrap().watchdog_missed(story.now.after(WATCHDOG)),
            "it never spoke"
        );
        tell(&mut story, Event::NotifyMessage(NotifyMessage::Watchdog));
        story.pass(WATCHDOG / 2);
        tell(&mut story, Event::NotifyMessage(NotifyMessage::Watchdog));
        story.pass(WATCHDOG);
        let actions = story.tell(Event::Tick);
        assert_eq!(actions.contains(&send(Signal::TERM)), acts, "{actions:?}");
        let fed = messages(actions).iter().any(|message| message.watchdog);
        assert_eq!(fed, acts, "sexton vouches for a gateway that it sees to");
        assert_eq!(tell(&mut story, Event::NotifyMessage(NotifyMessage::Watchdog)).is_empty(), acts);
    }
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end() {
    let reloading = Message { ready: false, reloading: true, ..READY };
    let mut story = Story::running(told_of(Ready::Started));
    assert_eq!(tell(&mut story, sent(Signal::HUP)), [], "it was not ready yet");
    tell(&mut story, Event::Executed);
    assert_eq!(tell(&mut story, sent(Signal::HUP)), [reloading, READY]);

    let mut story = Story::running(told_of(Ready::Notified));
    tell(&mut story, Event::NotifyMessage(NotifyMessage::Ready));
    assert_eq!(tell(&mut story, sent(Signal::HUP)), [], "it speaks for itself");
    assert_eq!(tell(&mut story, Event::NotifyMessage(NotifyMessage::Reloading)), [reloading]);
    assert_eq!(tell(&mut story, Event::NotifyMessage(NotifyMessage::Reloading)), []);
    assert_eq!(tell(&mut story, Event::Reloaded), [], "the gateway's own is not over");
    assert_eq!(tell(&mut story, Event::NotifyMessage(NotifyMessage::Ready)), [READY]);
    assert_eq!(tell(&mut story, Event::NotifyMessage(NotifyMessage::Ready)), []);
    assert_eq!(tell(&mut story, Event::Reloaded), [reloading, READY], "sexton's own");
}

#[test]
fn what_was_not_taken_is_said_again_and_only_a_second_later() {
    let mut story = Story::running(watched(Ready::Started, Vec::new()));
    assert_eq!(tell(&mut story, Event::Executed), [READY]);
    assert_eq!(tell(&mut story, Event::NotifyFailed), []);
    assert_eq!(story.supervisor.next_deadline(), Some(story.now.after(PAUSE)));
    assert_eq!(tell(&mut story, Event::Tick), []);
    story.pass(PAUSE);
    assert_eq!(tell(&mut story, Event::Tick), [Message { watchdog: true, ..READY }]);
}

#[test]
fn a_stop_during_a_restart_is_the_end() {
    let mut story = Story::running(watched(Ready::Started, vec![IncidentKind::Unhealthy]));
    tell(&mut story, Event::Executed);
    let replaced = tell(&mut story, Event::IncidentChanged { kind: IncidentKind::Unhealthy });
    assert!(!replaced.iter().any(|message| message.stopping), "{replaced:?}");
    let ended = tell(&mut story, sent(Signal::TERM));
    assert!(ended.iter().any(|message| message.stopping), "{ended:?}");
}

#[test]
fn a_restart_beside_living_units_is_not_the_end() {
    let restart = Restart { on: RestartOn::Always, ..Restart::default() };
    let units = vec![UnitRule { window: GRACE, ..units::unit(false, false) }];
    let mut story = Story::begin(Policy { restart, units, ..told_of(Ready::Started) });
    let unit = Event::UnitStarted { unit: 0, pid: pid(9) };
    let mut told = Vec::new();
    for event in [Event::Begin, SWEPT, unit, Event::Started { pid: pid(MAIN) }, Event::Executed] {
        told.extend(tell(&mut story, event));
    }
    assert!(told.contains(&READY), "{told:?}");
    for event in [died(MAIN), Event::Remaining(Remaining::Gone), SWEPT] {
        assert_eq!(tell(&mut story, event), [], "{event:?}");
    }
}

/// A gateway that is to be ready when it answers well, and the unit that asks it.
fn asked(restart: Restart) -> Story {
    let units = vec![UnitRule { watches: true, restart, ..units::unit(false, false) }];
    let mut story = Story::begin(Policy { units, ..watched(Ready::Healthy, Vec::new()) });
    for event in [Event::Begin, SWEPT, Event::UnitStarted { unit: 0, pid: pid(9) }] {
        story.tell(event);
    }
    story
}

fn is_ready(told: &[Message]) -> bool {
    told.iter().any(|message| message.ready)
}

#[test]
fn a_gateway_whom_nobody_asks_any_more_is_ready_when_it_runs() {
    for (first, then) in [(Event::Executed, died(9)), (died(9), Event::Executed)] {
        let mut story = asked(Restart::default());
        story.tell(Event::Started { pid: pid(MAIN) });
        assert!(!is_ready(&tell(&mut story, first)), "{first:?}");
        assert!(is_ready(&tell(&mut story, then)), "{then:?}");
        assert!(!is_ready(&tell(&mut story, Event::Tick)), "it is said once");
    }
    // It could not even be started.
    let units = vec![UnitRule { watches: true, ..units::unit(false, false) }];
    let mut story = Story::begin(Policy { units, ..told_of(Ready::Healthy) });
    for event in [Event::Begin, SWEPT, Event::UnitStartFailed { unit: 0, errno: Errno(11) }] {
        story.tell(event);
    }
    tell(&mut story, Event::Started { pid: pid(MAIN) });
    assert!(is_ready(&tell(&mut story, Event::Executed)));
}

#[test]
fn that_nobody_asks_any_more_is_said_where_it_makes_a_difference() {
    let notes = |story: &mut Story| {
        let mut actions = Vec::new();
        story.supervisor.handle(story.now, died(9), &mut actions);
        actions.contains(&Action::Note(Note::HealthUnmonitored))
    };
    let mut story = asked(Restart::default());
    story.tell(Event::Started { pid: pid(MAIN) });
    assert!(notes(&mut story));
    let mut story = asked(Restart::default());
    story.tell(Event::Started { pid: pid(MAIN) });
    story.tell(health(HealthState::Healthy));
    assert!(!notes(&mut story), "it was ready before");
}

#[test]
fn a_watcher_that_comes_back_is_waited_for() {
    let mut story = asked(Restart { on: RestartOn::Always, ..Restart::default() });
    story.tell(Event::Started { pid: pid(MAIN) });
    story.tell(Event::Executed);
    let killed = ExitStatus::Signaled { signal: 9, core: false };
    assert!(!is_ready(&tell(&mut story, Event::Died { pid: pid(9), status: killed })));
    assert!(is_ready(&tell(&mut story, health(HealthState::Healthy))));
}

#[test]
fn what_nobody_measures_any_more_does_not_starve_the_watchdog() {
    let mut story = asked(Restart::default());
    for event in [Event::Started { pid: pid(MAIN) }, Event::Executed, health(HealthState::Healthy)] {
        story.tell(event);
    }
    story.tell(health(HealthState::Unhealthy));
    story.pass(WATCHDOG);
    assert!(!tell(&mut story, Event::Tick).contains(&PING), "it is not well");
    let told = tell(&mut story, died(9));
    assert!(told.iter().any(|message| message.watchdog), "{told:?}");
}
