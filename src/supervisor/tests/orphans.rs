//! What lost tools leave behind.

use super::*;

/// What the operator gives a tool, and what is left of that when its supervisor was killed.
const ASKED_FOR: Duration = Duration::from_secs(3);
const TOOL_GRACE: Duration = Duration::from_secs(1);

fn story() -> Story {
    Story::running(Policy {
        end_orphans: Some(ASKED_FOR),
        adopted_deaths_trigger_scan: true,
        sweep: None,
        ..policy()
    })
}

fn to(tool: u32, signal: Signal) -> Action {
    Action::SendToOrphans { tool, signal }
}

#[test]
fn a_strangers_death_makes_us_look_at_once_and_once_more() {
    let mut story = story();
    assert_eq!(story.tell(died(99)), [Action::Reap(pid(99))]);
    assert_eq!(story.tell(Event::QueueDrained), [Action::FindOrphans]);
    assert_eq!(story.wait().1, [Action::FindOrphans]);
    story.tell(Event::OrphansFound);
    assert_eq!(story.supervisor.next_deadline(), None, "there is no polling");
}

#[test]
fn a_burst_of_deaths_is_one_reason() {
    let mut story = story();
    let mut looks = 0;
    for number in 0..100 {
        story.tell(died(1000 + number));
        looks += story.tell(Event::QueueDrained).len();
        story.pass(Duration::from_millis(1));
    }
    assert_eq!(looks, 1);
    assert_eq!(story.wait().1, [Action::FindOrphans]);
}

#[test]
fn nobody_looks_where_orphans_are_only_shown() {
    let mut story = Story::running(Policy { sweep: None, adopted_deaths_trigger_scan: true, ..policy() });
    story.tell(died(99));
    assert_eq!(story.tell(Event::QueueDrained), []);
    assert_eq!(story.tell(Event::OrphanFound { tool: 1 }), []);
    assert_eq!(story.supervisor.next_deadline(), None);
}

#[test]
fn where_tools_are_registered_only_a_loss_makes_us_look() {
    let policy = Policy { end_orphans: Some(ASKED_FOR), sweep: None, ..policy() };
    let mut story = Story::running(policy);
    story.tell(died(99));
    assert_eq!(story.tell(Event::QueueDrained), []);
    assert_eq!(story.supervisor.next_deadline(), None);
    story.tell(Event::ToolLost);
    assert_eq!(story.wait().1, [Action::FindOrphans]);
    assert_eq!(story.wait().1, [Action::FindOrphans], "and once more");
}

#[test]
fn whoever_dies_while_the_lost_are_ended_may_have_left_somebody() {
    let policy = Policy { end_orphans: Some(ASKED_FOR), sweep: None, ..policy() };
    let mut story = Story::running(policy);
    story.tell(Event::OrphanFound { tool: 1 });
    story.tell(died(99));
    assert_eq!(story.tell(Event::QueueDrained), [Action::FindOrphans]);
    assert_eq!(story.wait().1, [Action::FindOrphans], "and once more");
    story.tell(Event::OrphansGone { tool: 1 });
    story.tell(Event::OrphansFound);
    story.tell(died(100));
    assert_eq!(story.tell(Event::QueueDrained), []);
}

#[test]
fn each_tool_has_a_ladder_of_its_own() {
    let mut story = story();
    assert_eq!(story.tell(Event::OrphanFound { tool: 1 }), [to(1, Signal::TERM)]);
    assert_eq!(story.tell(Event::OrphanFound { tool: 1 }), [], "its window is not begun again");
    story.pass(TOOL_GRACE / 2);
    assert_eq!(story.tell(Event::OrphanFound { tool: 2 }), [to(2, Signal::TERM)]);
    assert_eq!(story.wait(), (TOOL_GRACE / 2, vec![to(1, Signal::KILL)]));
    assert_eq!(story.wait().1, [to(1, Signal::KILL)], "again and again");
    story.tell(Event::OrphansGone { tool: 1 });
    assert_eq!(story.wait().1, [to(2, Signal::KILL)]);
    story.tell(Event::OrphansGone { tool: 2 });
    assert_eq!(story.supervisor.next_deadline(), None);
}

#[test]
fn a_stop_ends_them_with_everything_else() {
    let mut story = story();
    story.tell(Event::OrphanFound { tool: 1 });
    story.tell(died(MAIN));
    story.tell(Event::Remaining(Remaining::Children));
    assert_eq!(story.tell(Event::OrphanFound { tool: 2 }), []);
    assert_eq!(
        story.wait_with_children(),
        (STRAGGLERS, vec![Action::SignalAll(Signal::KILL)]),
        "no old window is left"
    );
}
