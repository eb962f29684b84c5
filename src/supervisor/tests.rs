//! Histories as values: single promises, a table of every state with every event, and a walk through every
//! reachable state of a small world.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::shutdown::{RECOUNT, RECOUNT_CHILDREN};
use super::signals::PENDING_LIMIT;
use super::start::TRIES;
use super::*;
use crate::types::{ExitStatus, Outcome, Pid};

const GRACE: Duration = Duration::from_secs(30);
const STRAGGLERS: Duration = Duration::from_secs(5);
const SWEEP: Duration = Duration::from_secs(5);

fn policy() -> Policy {
    Policy {
        grace: GRACE,
        kill_window: KILL_WINDOW,
        kill_after: STRAGGLERS,
        group: false,
        stop_signals: [Signal::TERM, Signal::INT].into_iter().collect(),
        forwarding: Forwarding::default(),
        stop_sequence: Vec::new(),
        before_stop: None,
        handoff: None,
        wait_all: false,
        session: false,
        tool: None,
        end_orphans: None,
        adopted_deaths_trigger_scan: false,
        sweep: Some(SWEEP),
        hand_over: None,
        look_later: false,
        mark_locks: false,
        can_hold: true,
        init: true,
        restart: Restart::default(),
        seed: 1,
        replace_on: Vec::new(),
        units: Vec::new(),
        notify: None,
    }
}

fn pid(raw: i32) -> Pid {
    Pid::new(raw).unwrap()
}

const MAIN: i32 = 7;
const MAIN_PID: Pid = Pid::new(MAIN).expect("it is not 0");

fn sent(signal: Signal) -> Event {
    Event::Signal(Received { signal, origin: Origin::Process })
}

fn from_terminal(signal: Signal) -> Event {
    Event::Signal(Received { signal, origin: Origin::Kernel })
}

fn died(raw: i32) -> Event {
    Event::Died { pid: pid(raw), status: ExitStatus::Exited(0) }
}

/// The main process ends by a signal.
fn died_of(signal: Signal) -> Event {
    let status = ExitStatus::Signaled { signal: signal.number(), core: false };
    Event::Died { pid: pid(MAIN), status }
}

/// The main process ends with this code.
fn exited(code: u8) -> Event {
    Event::Died { pid: pid(MAIN), status: ExitStatus::Exited(code) }
}

/// A supervisor with a clock.
struct Story {
    supervisor: Supervisor,
    now: MonoTime,
}

impl Story {
    fn begin(policy: Policy) -> Story {
        Story { supervisor: Supervisor::new(policy), now: MonoTime::default() }
    }

    /// One whose main process runs.
    fn running(policy: Policy) -> Story {
        let mut story = Story::begin(policy);
        for event in [Event::Begin, SWEPT, Event::Started { pid: pid(MAIN) }] {
            story.tell(event);
        }
        story
    }

    /// What is asked for, without the log lines and the looks before a signal.
    fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.supervisor.handle(self.now, event, &mut actions);
        actions.retain(|action| {
            !matches!(
                action,
                Action::Note(_)
                    | Action::ReportAlive(_)
                    | Action::ReportOthers { .. }
                    | Action::LookWhetherHeard { sent: false, .. }
            )
        });
        actions
    }

    /// What is looked at and sent, and in which order.
    fn looks_and_sends(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.supervisor.handle(self.now, event, &mut actions);
        actions.retain(|action| matches!(action, Action::Send { .. } | Action::LookWhetherHeard { .. }));
        actions
    }

    /// Lets the time pass that the supervisor wants to pass, and ticks.
    fn tick(&mut self) -> Vec<Action> {
        self.now = self.supervisor.next_deadline().expect("a deadline");
        self.tell(Event::Tick)
    }

    /// The same with a main process that is alone, until something is asked for besides that.
    fn wait(&mut self) -> (Duration, Vec<Action>) {
        let began = self.now;
        let mut asked = self.tick();
        if asked.pop_if(|action| matches!(action, Action::LookWhetherHeard { .. })).is_some() {
            // It hears.
            assert_eq!(asked, []);
            asked = self.wait().1;
        } else if asked.pop_if(|action| *action == LOOK).is_some() {
            asked.extend(self.tell(Event::OthersSeen { alive: false }));
            if asked.is_empty() {
                asked = self.wait().1;
            }
        }
        (self.now.since(began), asked)
    }

    /// The same with children that live on and are counted meanwhile, again and again.
    fn wait_with_children(&mut self) -> (Duration, Vec<Action>) {
        let began = self.now;
        loop {
            let (_, mut asked) = self.wait();
            if asked.pop_if(|action| *action == Action::CountRemaining).is_some() {
                assert_eq!(self.tell(Event::Remaining(Remaining::Children)), [], "nothing follows a count");
            }
            if !asked.is_empty() {
                return (self.now.since(began), asked);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }
}

fn send(signal: Signal) -> Action {
    Action::Send { pid: pid(MAIN), group: false, signal, value: None }
}

const LOOK: Action = Action::LookForOthers { main: MAIN_PID };
const ENDED: Action = Action::Exit(Outcome::Exited { code: 0 });
const LAST_SWEEP: Action =
    Action::Sweep(SweepTrigger::TreeGone(Gone { zombie: Pid::new(MAIN), clean: true }));
const SWEPT: Event =
    Event::SweepDone(SweepSummary { waiting: 0, handed_over: 0, missing: false, failed: None });
/// A sweep for which there was no process or no descriptor, and one that broke off.
const STARVED: Event = failed(SweepFailure::NoResources);
const BROKE_OFF: Event = failed(SweepFailure::BrokeOff);

const fn failed(failure: SweepFailure) -> Event {
    Event::SweepDone(SweepSummary { waiting: 0, handed_over: 0, missing: false, failed: Some(failure) })
}

#[test]
fn an_ordinary_life_sweeps_runs_sweeps_reaps_and_exits() {
    let mut story = Story::begin(policy());
    assert_eq!(story.tell(Event::Begin), [Action::Sweep(SweepTrigger::Startup)]);
    assert_eq!(story.tell(SWEPT), [Action::Start]);
    assert_eq!(story.tell(Event::Started { pid: pid(MAIN) }), []);
    assert_eq!(story.supervisor.next_deadline(), None, "an idle supervisor never wakes up");
    assert_eq!(story.tell(died(MAIN)), [], "the zombie is evidence until the last sweep");
    assert_eq!(story.tell(Event::QueueDrained), [Action::CountRemaining]);
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [LAST_SWEEP]);
    assert_eq!(story.tell(SWEPT), [Action::Reap(pid(MAIN)), ENDED]);
}

#[test]
fn without_locks_nothing_is_swept_and_without_proc_nothing_is_held() {
    let mut story = Story::begin(Policy { sweep: None, can_hold: false, ..policy() });
    assert_eq!(story.tell(Event::Begin), [Action::Start]);
    story.tell(Event::Started { pid: pid(MAIN) });
    assert_eq!(story.tell(died(MAIN)), [Action::Reap(pid(MAIN))]);
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [ENDED]);
}

#[test]
fn a_sweep_that_hangs_delays_the_start_by_its_deadline_and_no_more() {
    let mut story = Story::begin(policy());
    story.tell(Event::Begin);
    assert_eq!(story.wait(), (SWEEP, vec![Action::AbandonSweep, Action::Start]));
    assert_eq!(story.tell(SWEPT), [], "its end comes late and changes nothing");
}

#[test]
fn a_last_sweep_that_hangs_delays_the_end_by_its_deadline_and_no_more() {
    let mut story = Story::running(policy());
    story.tell(died(MAIN));
    story.tell(Event::Remaining(Remaining::Gone));
    assert_eq!(story.wait(), (SWEEP, vec![Action::AbandonSweep, Action::Reap(pid(MAIN)), ENDED]));
}

#[test]
fn signals_from_before_the_start_are_delivered_after_it_in_order() {
    let mut story = Story::begin(policy());
    let hup = Signal::HUP;
    assert_eq!(story.tell(sent(hup)), []);
    story.tell(Event::Begin);
    assert_eq!(story.tell(sent(Signal::TERM)), []);
    story.tell(SWEPT);
    assert_eq!(story.tell(Event::Started { pid: pid(MAIN) }), [send(hup), send(Signal::TERM)]);
    assert_eq!(story.wait().0, GRACE, "the window begins when the signal is delivered");
}

#[test]
fn a_flood_before_the_start_is_bounded() {
    let mut story = Story::begin(policy());
    for _ in 0..2 * PENDING_LIMIT {
        story.tell(sent(Signal::RTMIN));
    }
    story.tell(Event::Begin);
    story.tell(SWEPT);
    assert_eq!(story.tell(Event::Started { pid: pid(MAIN) }).len(), PENDING_LIMIT);
}

#[test]
fn every_signal_goes_to_the_main_process_alone_and_only_stop_signals_start_the_ladder() {
    for signal in Signal::all() {
        let mut story = Story::running(policy());
        assert_eq!(story.tell(sent(signal)), [send(signal)], "{signal}");
        let stops = signal == Signal::TERM || signal == Signal::INT;
        assert_eq!(story.supervisor.next_deadline().is_some(), stops, "{signal}");
    }
}

#[test]
fn a_queued_value_and_the_group_are_kept() {
    let mut story = Story::running(Policy { group: true, ..policy() });
    let received = Received { signal: Signal::RTMIN, origin: Origin::Queue(42) };
    let expected = Action::Send { pid: pid(MAIN), group: true, signal: Signal::RTMIN, value: Some(42) };
    assert_eq!(story.tell(Event::Signal(received)), [expected]);
}

#[test]
fn the_ladder_climbs_when_nobody_obeys() {
    let mut story = Story::running(policy());
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::TERM)]);
    assert_eq!(story.wait(), (GRACE, vec![Action::SignalAll(Signal::TERM)]));
    assert_eq!(story.wait(), (STRAGGLERS, vec![Action::SignalAll(Signal::KILL)]));
    assert_eq!(story.wait().1, [Action::SignalAll(Signal::KILL)], "KILL goes on until no process is left");
    assert_eq!(story.tell(died(MAIN)), []);
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [LAST_SWEEP]);
}

#[test]
fn a_main_process_that_waited_for_the_others_has_a_moment_after_the_last_of_them() {
    let (second, look) = (Duration::from_secs(1), Duration::from_millis(250));
    let term = MonoTime::default().after(GRACE);
    let due = term.after(STRAGGLERS);
    let begin = || {
        let mut story = Story::running(policy());
        story.tell(sent(Signal::TERM));
        assert_eq!(story.wait(), (GRACE, vec![Action::SignalAll(Signal::TERM)]));
        assert_eq!(story.tick(), [LOOK]);
        assert_eq!(due.since(story.now), 2 * second, "there is no earlier look");
        story
    };
    let kill = [Action::SignalAll(Signal::KILL)];
    // A main process that is alone by then has ended the others long ago, and is not checked again.
    let mut story = begin();
    assert_eq!(story.tell(Event::OthersSeen { alive: false }), []);
    assert_eq!((story.tick(), story.now), (kill.to_vec(), due));
    // Others that live to the end are no reason to wait.
    let mut story = begin();
    for _ in 0..8 {
        assert_eq!(story.tell(Event::OthersSeen { alive: true }), []);
        assert_eq!(story.tick(), [LOOK]);
    }
    assert_eq!(story.now, due);
    assert_eq!(story.tell(Event::OthersSeen { alive: true }), kill);
    // The last of them is seen for the last time after so many looks; KILL comes two seconds after that.
    for looks in [1, 4, 8] {
        let mut story = begin();
        for _ in 1..looks {
            story.tell(Event::OthersSeen { alive: true });
            assert_eq!(story.tick(), [LOOK]);
        }
        let last = story.now;
        story.tell(Event::OthersSeen { alive: true });
        while story.now < due {
            assert_eq!(story.tick(), [LOOK], "{looks}");
            let killed = story.tell(Event::OthersSeen { alive: false });
            assert_eq!(
                killed,
                if story.now == last.after(2 * second) { kill.to_vec() } else { vec![] },
                "{looks}"
            );
        }
        if looks > 1 {
            assert_eq!((story.tick(), story.now), (kill.to_vec(), last.after(2 * second)), "{looks}");
        }
        assert!(story.now <= due.after(2 * second));
    }
    // A second signal does not wait, and a process that ends meanwhile has ended.
    for ends in [false, true] {
        let mut story = begin();
        story.tell(Event::OthersSeen { alive: true });
        while story.now < due {
            story.tick();
            story.tell(Event::OthersSeen { alive: story.now < due });
        }
        story.pass(look);
        if ends {
            assert_eq!(story.tell(died(MAIN)), []);
            assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [LAST_SWEEP]);
        } else {
            assert_eq!(story.tell(sent(Signal::TERM)), kill);
        }
    }
}

#[test]
fn even_what_survives_kill_does_not_keep_us_for_ever() {
    for main_dies in [false, true] {
        let mut story = Story::running(policy());
        story.tell(sent(Signal::TERM));
        let begun = story.now;
        if main_dies {
            story.tell(died(MAIN));
            story.tell(Event::Remaining(Remaining::Children));
        }
        for _ in 0..2000 {
            let Some(_) = story.supervisor.next_deadline() else { break };
            story.wait();
        }
        assert_eq!(story.supervisor.next_deadline(), None, "main dies: {main_dies}");
        assert!(story.now.since(begun) < Duration::from_secs(60));
    }
}

#[test]
fn it_ends_the_moment_the_last_process_is_gone() {
    let mut story = Story::running(policy());
    story.tell(sent(Signal::TERM));
    story.tell(died(MAIN));
    assert_eq!(story.tell(Event::QueueDrained), [Action::CountRemaining]);
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [Action::SignalAll(Signal::TERM)]);
    assert_eq!(story.tell(died(9)), [Action::Reap(pid(9))]);
    assert_eq!(story.tell(Event::QueueDrained), [Action::CountRemaining]);
    assert_eq!(
        story.tell(Event::Remaining(Remaining::Gone)),
        [LAST_SWEEP],
        "at the same moment, no window slept out"
    );
}

#[test]
fn what_the_main_process_leaves_behind_gets_term_a_window_and_kill() {
    let mut story = Story::running(policy());
    story.tell(died(MAIN));
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [Action::SignalAll(Signal::TERM)]);
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [], "TERM goes out once");
    assert_eq!(story.wait_with_children(), (STRAGGLERS, vec![Action::SignalAll(Signal::KILL)]));
}

fn others(signal: Signal) -> Action {
    Action::SignalOthers { group: pid(MAIN), signal }
}

#[test]
fn what_a_launcher_leaves_in_its_group_has_the_rest_of_the_grace() {
    let second = Duration::from_secs(1);
    let mut story = Story::running(policy());
    story.tell(sent(Signal::TERM));
    story.pass(2 * second);
    story.tell(died_of(Signal::TERM));
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [Action::SignalAll(Signal::TERM)]);
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [], "TERM goes out once");
    assert_eq!(
        story.wait_with_children(),
        (STRAGGLERS, vec![others(Signal::KILL)]),
        "who left the group has less"
    );
    assert_eq!(
        story.wait_with_children().1,
        [others(Signal::KILL)],
        "KILL goes on until none of them is left"
    );
    let then = story.now;
    assert_eq!(story.tell(Event::OthersGone), []);
    let left = GRACE - 2 * second - then.since(MonoTime::default().after(2 * second));
    assert_eq!(
        story.wait_with_children(),
        (left, vec![Action::SignalAll(Signal::KILL)]),
        "all in all it is the grace"
    );
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)).len(), 1, "the sweep");
}

/// Those that fork for ever outrun a signal to each of them.
#[test]
fn where_the_group_is_empty_its_window_ends_with_that_of_the_others() {
    let mut story = Story::running(policy());
    story.tell(sent(Signal::TERM));
    story.tell(died_of(Signal::TERM));
    story.tell(Event::Remaining(Remaining::Children));
    assert_eq!(story.wait_with_children(), (STRAGGLERS, vec![others(Signal::KILL)]));
    assert_eq!(story.tell(Event::GroupGone), [Action::SignalAll(Signal::KILL)]);
}

#[test]
fn who_cannot_be_killed_outside_the_group_is_left_to_the_end() {
    let mut story = Story::running(policy());
    story.tell(sent(Signal::TERM));
    story.tell(died_of(Signal::TERM));
    story.tell(Event::Remaining(Remaining::Children));
    let mut kills = 0;
    while story.wait_with_children().1 == [others(Signal::KILL)] {
        kills += 1;
    }
    assert!((100..2000).contains(&kills), "{kills}");
    assert_eq!(story.now, MonoTime::default().after(GRACE), "the group has its time all the same");
}

#[test]
fn only_an_end_that_a_launcher_could_have_keeps_the_grace() {
    let [second, later] = [Duration::from_secs(1), Duration::from_millis(1001)];
    for (when, end, drains) in [
        (later, died_of(Signal::TERM), true),
        (second, exited(143), true),
        (second, exited(1), true),
        (second, died_of(Signal::QUIT), true),
        (later, exited(143), false),
        (later, died_of(Signal::KILL), false),
        (Duration::ZERO, exited(0), false),
        (GRACE - STRAGGLERS, died_of(Signal::TERM), false),
    ] {
        let mut story = Story::running(policy());
        story.tell(sent(Signal::TERM));
        story.pass(when);
        story.tell(end);
        assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [Action::SignalAll(Signal::TERM)]);
        let kill = if drains { others(Signal::KILL) } else { Action::SignalAll(Signal::KILL) };
        assert_eq!(story.wait_with_children(), (STRAGGLERS, vec![kill]), "{end:?} after {when:?}");
    }
}

#[test]
fn the_stop_signal_is_the_one_that_the_main_process_got() {
    let forwarding =
        Forwarding { rewrite: vec![(Signal::TERM, Some(Signal::QUIT))], ..Forwarding::default() };
    let steps = vec![(Signal::INT, 10 * STRAGGLERS), (Signal::TERM, STRAGGLERS)];
    let rewritten = Policy { forwarding, ..policy() };
    let in_steps = Policy { stop_sequence: steps, ..policy() };
    for (policy, by, whole) in [(rewritten, Signal::QUIT, GRACE), (in_steps, Signal::INT, 11 * STRAGGLERS)] {
        let mut story = Story::running(policy);
        story.tell(sent(Signal::TERM));
        story.pass(2 * STRAGGLERS);
        story.tell(died_of(by));
        story.tell(Event::Remaining(Remaining::Children));
        assert_eq!(story.wait_with_children(), (STRAGGLERS, vec![others(Signal::KILL)]), "{by}");
        story.tell(Event::OthersGone);
        assert_eq!(
            story.wait_with_children(),
            (whole - 3 * STRAGGLERS, vec![Action::SignalAll(Signal::KILL)]),
            "{by}"
        );
    }
}

#[test]
fn a_group_that_has_had_term_does_not_get_it_again() {
    let mut story = Story::running(Policy { group: true, ..policy() });
    story.tell(sent(Signal::TERM));
    story.tell(died_of(Signal::TERM));
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [others(Signal::TERM)]);
}

#[test]
fn a_second_stop_signal_ends_what_a_launcher_left_behind() {
    let mut story = Story::running(policy());
    story.tell(from_terminal(Signal::INT));
    story.tell(died_of(Signal::INT));
    story.tell(Event::Remaining(Remaining::Children));
    story.pass(Duration::from_millis(100));
    assert_eq!(story.tell(sent(Signal::INT)), [], "npm passes on the key that it was");
    assert_eq!(story.tell(from_terminal(Signal::INT)), [Action::SignalAll(Signal::KILL)]);
}

#[test]
fn what_is_below_a_main_process_that_does_not_hear_gets_the_signal_within_the_grace() {
    let second = Duration::from_secs(1);
    let look = |signal| Action::LookWhetherHeard { main: MAIN_PID, signal, sent: true };
    let to_group = |signal| Action::Send { pid: MAIN_PID, group: true, signal, value: None };
    let mut story = Story::running(policy());
    story.tell(sent(Signal::TERM));
    assert_eq!(story.tick(), [look(Signal::TERM)]);
    assert_eq!(story.now, MonoTime::default().after(second));
    assert_eq!(story.tell(Event::NotHeard), [to_group(Signal::TERM)]);
    assert_eq!(story.wait(), (GRACE - second, vec![Action::SignalAll(Signal::TERM)]), "asked once");

    // Each step of a sequence is looked at, and TERM does not come twice to those who got it with their group.
    let steps = vec![(Signal::INT, 10 * second), (Signal::TERM, 20 * second)];
    let mut story = Story::running(Policy { stop_sequence: steps, ..policy() });
    story.tell(sent(Signal::TERM));
    assert_eq!(story.tick(), [look(Signal::INT)]);
    assert_eq!(story.wait(), (9 * second, vec![send(Signal::TERM)]));
    assert_eq!(story.tick(), [look(Signal::TERM)]);
    assert_eq!(story.tell(Event::NotHeard), [to_group(Signal::TERM)]);
    story.tell(died_of(Signal::TERM));
    assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [others(Signal::TERM)]);
}

#[test]
fn whether_a_signal_is_ignored_is_looked_at_before_it_is_sent_and_never_after() {
    let look = |signal, sent| Action::LookWhetherHeard { main: MAIN_PID, signal, sent };
    let to_group = |signal| Action::Send { pid: MAIN_PID, group: true, signal, value: None };
    let steps = vec![(Signal::INT, 10 * Duration::from_secs(1)), (Signal::TERM, GRACE)];
    let sequence = Policy { stop_sequence: steps, ..policy() };
    for (policy, first) in [(policy(), Signal::TERM), (sequence, Signal::INT)] {
        let mut story = Story::running(policy);
        assert_eq!(story.looks_and_sends(sent(Signal::TERM)), [look(first, false), send(first)]);
        assert_eq!(story.looks_and_sends(Event::NotHeard), [to_group(first)]);
        // Once is enough: nobody looks again before the next signal.
        story.now = story.supervisor.next_deadline().unwrap();
        let next = story.looks_and_sends(Event::Tick);
        let window = if first == Signal::TERM { GRACE } else { 10 * Duration::from_secs(1) };
        assert_eq!(story.now, MonoTime::default().after(window));
        if first == Signal::INT {
            assert_eq!(
                next,
                [look(Signal::TERM, false), send(Signal::TERM)],
                "the next step has a look of its own"
            );
        }
    }
}

#[test]
fn a_signal_that_the_operator_keeps_from_the_main_process_is_kept_from_its_group() {
    let forwarding = Forwarding { rewrite: vec![(Signal::TERM, None)], ..Forwarding::default() };
    let mut story = Story::running(Policy { forwarding, ..policy() });
    assert_eq!(story.looks_and_sends(Event::RestartWanted { unit: None }), []);
    assert_eq!(story.wait(), (GRACE, vec![Action::SignalAll(Signal::TERM)]));
}

#[test]
fn nobody_looks_whether_a_signal_is_heard_that_all_have_got_or_whose_window_is_short() {
    let short = Duration::from_secs(1);
    let term_to_all = vec![Action::SignalAll(Signal::TERM)];
    for (policy, received, window) in [
        (Policy { group: true, ..policy() }, sent(Signal::TERM), GRACE),
        (policy(), from_terminal(Signal::INT), GRACE),
        (Policy { grace: short, ..policy() }, sent(Signal::TERM), short),
    ] {
        let mut story = Story::running(policy);
        story.tell(received);
        assert_eq!(story.tick(), term_to_all);
        assert_eq!(story.now, MonoTime::default().after(window));
        assert_eq!(story.tell(Event::NotHeard), [], "an answer that comes too late");
    }
}

#[test]
fn processes_whose_deaths_nobody_tells_are_looked_for() {
    let mut story = Story::running(policy());
    story.tell(died(MAIN));
    assert_eq!(story.tell(Event::Remaining(Remaining::Strangers)), [Action::SignalAll(Signal::TERM)]);
    assert_eq!(story.wait(), (RECOUNT, vec![Action::CountRemaining]));
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [LAST_SWEEP]);
}

/// As with CLONE_AUTOREAP: the kernel does not report that a child has died.
#[test]
fn children_whose_deaths_are_not_told_are_counted_again() {
    let ends = |mut story: Story, end: &[Action]| {
        assert_eq!(story.wait(), (RECOUNT_CHILDREN, vec![Action::CountRemaining]));
        assert_eq!(story.tell(Event::Remaining(Remaining::Children)), [], "it lives");
        assert_eq!(story.wait(), (RECOUNT_CHILDREN, vec![Action::CountRemaining]), "again");
        assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), end, "no window is slept out");
    };
    for wait_all in [false, true] {
        let mut story = Story::running(Policy { wait_all, ..policy() });
        story.tell(died(MAIN));
        story.tell(Event::Remaining(Remaining::Children));
        ends(story, &[LAST_SWEEP]);
    }
    let tool = ToolPolicy { timeout: Some(GRACE), shell: false };
    let tool = Policy { tool: Some(tool), wait_all: true, sweep: None, can_hold: false, ..policy() };
    let mut story = Story::begin(tool);
    story.tell(Event::Begin);
    story.tell(Event::Started { pid: pid(MAIN) });
    story.tell(died(MAIN));
    story.tell(Event::Remaining(Remaining::Children));
    ends(story, &[ENDED]);
}

#[test]
fn a_repeated_stop_signal_skips_a_rung_each_time() {
    let mut story = Story::running(policy());
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::TERM)]);
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::SignalAll(Signal::TERM)]);
    assert_eq!(story.tell(sent(Signal::INT)), [Action::SignalAll(Signal::KILL)]);
    assert_eq!(story.tell(sent(Signal::TERM)), []);
}

#[test]
fn a_stop_signal_hurries_the_end_of_the_leftovers_too() {
    let mut story = Story::running(policy());
    story.tell(died(MAIN));
    story.tell(Event::Remaining(Remaining::Children));
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::SignalAll(Signal::KILL)]);
    assert_eq!(story.tell(sent(Signal::HUP)), [], "the other signals have no process to go to");
}

#[test]
fn one_key_that_arrives_twice_is_one_request() {
    let mut story = Story::running(policy());
    let to_group = Action::Send { pid: pid(MAIN), group: true, signal: Signal::INT, value: None };
    assert_eq!(story.tell(from_terminal(Signal::INT)), [to_group], "a key is for the whole job");
    story.pass(Duration::from_millis(3));
    assert_eq!(story.tell(sent(Signal::INT)), [], "npm passes on what we got as well");
    story.pass(Duration::from_millis(200));
    assert_eq!(story.tell(from_terminal(Signal::INT)), [Action::SignalAll(Signal::TERM)], "a second key");
}

/// A HUP, and the terminal is gone.
fn terminal_gone(ignored: bool) -> Event {
    Event::Signal(Received { signal: Signal::HUP, origin: Origin::TerminalGone { ignored } })
}

#[test]
fn a_terminal_that_is_gone_is_one_stop_however_often_it_is_told() {
    let mut story = Story::running(policy());
    let to_group = Action::Send { pid: pid(MAIN), group: true, signal: Signal::HUP, value: None };
    assert_eq!(story.tell(terminal_gone(false)), [to_group], "it is for the whole job");
    story.pass(Duration::from_secs(1));
    assert_eq!(story.tell(terminal_gone(false)), [], "the shell tells of it, too");
    assert_eq!(story.wait(), (GRACE - Duration::from_secs(1), vec![Action::SignalAll(Signal::TERM)]));
    assert_eq!(story.tell(sent(Signal::TERM)), [Action::SignalAll(Signal::KILL)], "another one hurries");
}

#[test]
fn who_ignores_a_hang_up_is_asked_by_the_stop_signal() {
    let mut story = Story::running(policy());
    assert_eq!(story.tell(terminal_gone(true)), [send(Signal::TERM)]);
    assert_eq!(story.tell(terminal_gone(true)), []);
    let rewrite = |to| Forwarding { rewrite: vec![(Signal::HUP, to)], ..Forwarding::default() };
    let mut story = Story::running(Policy { forwarding: rewrite(Some(Signal::INT)), ..policy() });
    let to_group = Action::Send { pid: pid(MAIN), group: true, signal: Signal::INT, value: None };
    assert_eq!(story.tell(terminal_gone(true)), [to_group], "the operator knows better");
    let mut story = Story::running(Policy { forwarding: rewrite(None), ..policy() });
    assert_eq!(story.tell(terminal_gone(true)), [], "and wants no HUP to mean anything");
    assert_eq!(story.supervisor.next_deadline(), None);
}

#[test]
fn a_terminal_that_goes_before_the_start_ends_what_is_started() {
    let mut story = Story::begin(policy());
    story.tell(terminal_gone(false));
    story.tell(Event::Begin);
    story.tell(terminal_gone(false));
    story.tell(SWEPT);
    let to_group = Action::Send { pid: pid(MAIN), group: true, signal: Signal::HUP, value: None };
    assert_eq!(story.tell(Event::Started { pid: pid(MAIN) }), [to_group]);
    assert_eq!(story.wait().0, GRACE);
}

#[test]
fn a_stopped_main_process_is_resumed_by_a_stop_signal_only() {
    let mut story = Story::running(policy());
    story.tell(Event::Stopped { signal: Signal::STOP, terminal: Terminal::None });
    assert_eq!(story.tell(sent(Signal::HUP)), [send(Signal::HUP)]);
    assert_eq!(story.tell(sent(Signal::TERM)), [send(Signal::TERM), send(Signal::CONT)]);
}

#[test]
fn the_terminal_is_given_when_it_is_wanted_and_ours() {
    let go_on = Action::Send { pid: pid(MAIN), group: true, signal: Signal::CONT, value: None };
    for signal in [Signal::TTIN, Signal::TTOU] {
        let tell = |terminal| Story::running(policy()).tell(Event::Stopped { signal, terminal });
        assert_eq!(tell(Terminal::Ours), [Action::GiveTerminal(pid(MAIN)), go_on]);
        assert_eq!(tell(Terminal::Main), [go_on]);
        assert_eq!(tell(Terminal::Others), [Action::Suspend(signal)], "never stolen from another job");
        assert_eq!(tell(Terminal::None), []);
    }
}

#[test]
fn ctrl_z_stops_both_sides_and_the_shell_resumes_both() {
    let go_on = Action::Send { pid: pid(MAIN), group: true, signal: Signal::CONT, value: None };
    let mut story = Story::running(Policy { init: false, ..policy() });
    let to_group = Action::Send { pid: pid(MAIN), group: true, signal: Signal::TSTP, value: None };
    assert_eq!(story.tell(from_terminal(Signal::TSTP)), [to_group]);
    let stopped = Event::Stopped { signal: Signal::TSTP, terminal: Terminal::Ours };
    assert_eq!(story.tell(stopped), [Action::Suspend(Signal::TSTP)]);
    assert_eq!(story.tell(Event::Resumed), [go_on]);
    assert_eq!(story.tell(sent(Signal::CONT)), [send(Signal::CONT)], "a late CONT is passed on");
}

#[test]
fn a_job_that_waits_for_the_terminal_waits_for_the_shell() {
    let go_on = Action::Send { pid: pid(MAIN), group: true, signal: Signal::CONT, value: None };
    let mut story = Story::running(Policy { init: false, ..policy() });
    story.tell(Event::Stopped { signal: Signal::TTIN, terminal: Terminal::Others });
    assert_eq!(story.tell(Event::Resumed), []);
    assert_eq!(story.tell(sent(Signal::CONT)), [Action::GiveTerminal(pid(MAIN)), go_on]);
}

#[test]
fn as_init_nobody_could_resume_us_so_ctrl_z_stops_nobody() {
    let go_on = Action::Send { pid: pid(MAIN), group: true, signal: Signal::CONT, value: None };
    let mut story = Story::running(policy());
    assert_eq!(story.tell(Event::Stopped { signal: Signal::TSTP, terminal: Terminal::Main }), [go_on]);
}

#[test]
fn a_failed_start_is_the_outcome_and_leaves_nothing_to_sweep() {
    let failure = Event::StartFailed { step: StartStep::Exec, errno: Errno(2) };
    let outcome = Action::Exit(Outcome::StartFailed { step: StartStep::Exec, errno: Errno(2) });
    let mut story = Story::running(policy());
    assert_eq!(story.tell(failure), []);
    story.tell(died(MAIN));
    assert_eq!(story.tell(Event::Remaining(Remaining::Gone)), [Action::Reap(pid(MAIN)), outcome]);

    let mut story = Story::begin(policy());
    story.tell(Event::Begin);
    story.tell(SWEPT);
    assert_eq!(story.tell(failure), [outcome]);
}

mod before_stop;
mod handoff;
mod live_sweep;
mod model;
mod orphans;
mod sd_notify;
mod sweep_retry;
mod tool;
mod units;
mod walk;

mod forwarding;
