use sexton::config::watch_settings::ProbeKind;

use super::HealthState::{Draining, Healthy, Slow, Starting, Unhealthy, Unknown};
use super::*;

const fn at(seconds: u64) -> MonoTime {
    MonoTime(Duration::from_secs(seconds))
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn probe(every: u64, timeout: u64, misses: u32) -> Probe {
    Probe {
        name: "p".into(),
        ask: ProbeKind::Tcp { address: String::new() },
        interval: Duration::from_secs(every),
        timeout: Duration::from_secs(timeout),
        slow_after: ms(500),
        failure_threshold: misses,
    }
}

fn machine(probes: &[Probe], start_period: u64) -> HealthFsm {
    let mut machine = HealthFsm::new(probes, Duration::from_secs(start_period));
    machine.gateway(Gateway::Runs(at(100)));
    machine
}

fn good(asked: u64, latency: u64) -> Answer {
    Answer { asked: at(asked), latency: ms(latency), outcome: Outcome::Good }
}

fn bad(asked: u64, latency: u64) -> Answer {
    Answer { asked: at(asked), latency: ms(latency), outcome: Outcome::Bad("refused".into()) }
}

fn draining(asked: u64) -> Answer {
    Answer { asked: at(asked), latency: ms(1), outcome: Outcome::Draining }
}

/// The state after each answer of one probe that is asked every 10 s and may miss 3 times.
fn course(start_period: u64, answers: &[Answer]) -> Vec<HealthState> {
    let mut machine = machine(&[probe(10, 5, 3)], start_period);
    let step = |answer| {
        machine.answered(0, answer);
        machine.verdict().state
    };
    answers.iter().map(step).collect()
}

#[test]
fn misses_count_only_in_a_row() {
    let answers = [
        good(100, 1),
        bad(110, 1),
        bad(120, 1),
        good(130, 1),
        bad(140, 1),
        bad(150, 1),
        bad(160, 1),
        good(170, 1),
    ];
    let states = [Healthy, Healthy, Healthy, Healthy, Healthy, Healthy, Unhealthy, Healthy];
    assert_eq!(course(0, &answers), states);
}

#[test]
fn late_is_slow_and_late_among_bad_is_not_failing() {
    let late = |asked| good(asked, 501);
    assert_eq!(course(0, &[good(100, 500), late(110), late(120), late(130)])[3], Slow);
    assert_eq!(course(0, &[bad(100, 1), late(110), bad(120, 1)])[2], Slow);
    // Only what is bad three times in a row is failing.
    assert_eq!(course(0, &[late(100), late(110), late(120), bad(130, 1), bad(140, 1)])[4], Slow);
    assert_eq!(course(0, &[late(100), late(110), bad(120, 1), bad(130, 1), bad(140, 1)])[4], Unhealthy);
}

/// How it is after each answer, and whether it is excused.
fn excuses(start_period: u64, answers: &[Answer]) -> Vec<(HealthState, bool)> {
    let mut machine = machine(&[probe(10, 5, 3)], start_period);
    let step = |answer| {
        machine.answered(0, answer);
        let Verdict { state, excused, .. } = machine.verdict();
        (state, excused)
    };
    answers.iter().map(step).collect()
}

/// OpenClaw 2026.5.22 answers and then stalls for 41 to 80 seconds: that is said, and nothing is done.
#[test]
fn what_is_said_counts_from_the_first_good_answer_on_and_what_is_done_after_the_start_period() {
    let stall = [
        bad(100, 1),
        bad(110, 1),
        bad(120, 1),
        bad(130, 1),
        good(140, 1),
        bad(150, 5_000),
        bad(160, 5_000),
        bad(170, 5_000),
        bad(220, 5_000),
        good(230, 1),
    ];
    let (starting, healthy, stalls) = ((Starting, false), (Healthy, false), (Unhealthy, true));
    let said = [starting, starting, starting, starting, healthy, healthy, healthy, stalls, stalls, healthy];
    assert_eq!(excuses(180, &stall), said);

    // One that hangs on is excused until enough was asked after the end.
    let hang = [good(110, 1), bad(250, 1), bad(260, 1), bad(270, 1), bad(280, 1), bad(290, 1), bad(300, 1)];
    let said = [healthy, healthy, healthy, stalls, stalls, stalls, (Unhealthy, false)];
    assert_eq!(excuses(180, &hang), said);
    let slow = [good(110, 1), good(250, 600), good(260, 600), good(270, 600), good(280, 600)];
    assert_eq!(excuses(180, &slow)[3..], [(Slow, true), (Slow, true)]);
    assert_eq!(excuses(0, &slow)[3..], [(Slow, false), (Slow, false)]);

    // Without a good answer, what is asked after its end counts, for both.
    let silent = [bad(279, 1), bad(280, 1), bad(290, 1), bad(300, 1)];
    assert_eq!(excuses(180, &silent), [starting, starting, starting, (Unhealthy, false)]);
}

#[test]
fn no_good_word_while_answers_are_wrong() {
    let mut machine = machine(&[probe(10, 5, 3)], 0);
    machine.answered(0, &good(100, 1));
    assert_eq!(machine.verdict().reason, "it answers in time");
    machine.answered(0, &bad(110, 1));
    assert_eq!(
        machine.verdict(),
        Verdict { state: Healthy, excused: false, reason: "p: refused (1 of 3 misses)".into() }
    );
}

/// A gateway that starts anew within its process: it drains, its port is closed, it says that it starts.
#[test]
fn a_restart_within_the_process_opens_one_start_period_after_a_good_answer() {
    let starting = |asked| Answer { asked: at(asked), latency: ms(1), outcome: Outcome::Starting };
    for sign in [vec![draining(310), bad(311, 1)], vec![starting(310)]] {
        let mut machine = machine(&[probe(10, 5, 1)], 180);
        machine.answered(0, &good(110, 1));
        let (last, before) = sign.split_last().unwrap();
        before.iter().for_each(|answer| assert!(!machine.answered(0, answer)));
        assert!(machine.answered(0, last), "{last:?}");
        assert_eq!(machine.verdict().state, Starting);
        for asked in 312..400 {
            assert!(!machine.answered(0, &starting(asked)));
            assert_eq!(machine.verdict().state, Starting, "no misses count");
        }
        assert!(machine.is_starting(0, at(399)));
        machine.answered(0, &good(400, 1));
        assert_eq!(machine.verdict().state, Healthy);
        assert!(!machine.is_starting(0, at(401)));
        machine.answered(0, &bad(410, 1));
        assert!(machine.verdict().excused);
        machine.answered(0, &bad(492, 1));
        assert!(!machine.verdict().excused, "the period began at {last:?}");
    }
}

#[test]
fn a_sign_that_comes_for_ever_buys_nothing() {
    let mut machine = machine(&[probe(10, 5, 3), probe(10, 5, 3)], 60);
    machine.answered(0, &good(101, 1));
    assert!(!machine.starts_anew(at(102)), "the other one has not answered yet");
    machine.answered(1, &good(102, 1));
    assert!(machine.starts_anew(at(200)));
    // What was asked before says nothing of what is there now.
    machine.answered(0, &good(199, 1));
    assert_eq!(machine.verdict().state, Starting);
    let mut asked = 200;
    while machine.verdict() != (Verdict { state: Unhealthy, excused: false, reason: "p: refused".into() }) {
        assert!(!machine.starts_anew(at(asked)), "at {asked}");
        for index in 0..2 {
            machine.answered(index, &bad(asked, 1));
        }
        asked += 1;
        assert!(asked < 264, "{:?}", machine.verdict());
    }
    machine.gateway(Gateway::Stops);
    assert!(!machine.starts_anew(at(300)));
}

#[test]
fn a_start_begins_the_start_period_anew_and_voids_what_was_known() {
    let mut machine = machine(&[probe(10, 5, 1)], 60);
    assert_eq!(machine.verdict().state, Starting);
    machine.answered(0, &bad(200, 1));
    assert_eq!(machine.verdict().state, Unhealthy);
    machine.gateway(Gateway::Stops);
    assert_eq!(machine.verdict().state, Draining);
    machine.gateway(Gateway::Absent);
    assert_eq!(machine.verdict().state, Unknown);
    // An answer that comes after the gateway has ended.
    machine.answered(0, &bad(205, 1));
    assert_eq!(machine.verdict().state, Unknown);
    machine.gateway(Gateway::Runs(at(210)));
    machine.answered(0, &bad(269, 1));
    assert_eq!(machine.verdict().state, Starting);
    machine.answered(0, &bad(270, 1));
    assert_eq!(machine.verdict().state, Unhealthy);
    // The same news again changes nothing.
    machine.gateway(Gateway::Runs(at(210)));
    assert_eq!(machine.verdict().state, Unhealthy);
}

#[test]
fn draining_is_neither_slow_nor_failing() {
    assert_eq!(course(0, &[good(100, 1), draining(110), draining(120), draining(130)])[3], Draining);
    assert_eq!(
        course(0, &[bad(100, 1), bad(110, 1), draining(120), bad(130, 1), good(140, 1)])[3..],
        [Starting, Healthy]
    );
}

#[test]
fn all_are_as_well_as_the_worst() {
    let mut machine = machine(&[probe(10, 5, 1), probe(10, 5, 1)], 0);
    machine.answered(0, &good(100, 1));
    assert_eq!(machine.verdict().state, Starting);
    machine.answered(1, &good(100, 501));
    assert_eq!(machine.verdict().state, Slow);
    assert_eq!(machine.verdict().reason, "p: answered after 501.0ms, 500.0ms is the limit");
    machine.answered(0, &draining(110));
    assert_eq!(machine.verdict().state, Draining);
    machine.answered(1, &bad(110, 1));
    assert_eq!((machine.verdict().state, machine.verdict().reason.as_str()), (Unhealthy, "p: refused"));
    machine.answered(0, &good(120, 1));
    machine.answered(1, &good(120, 1));
    assert_eq!(machine.verdict().state, Healthy);
}

#[test]
fn without_a_probe_nothing_is_known() {
    assert_eq!(machine(&[], 0).verdict().state, Unknown);
}

/// The promise: known within every x misses + timeout. It is asked at each multiple of `every` that is not
/// passed by an earlier question, and hangs from just after the first.
#[test]
fn a_hang_is_known_in_time() {
    for (every, timeout, misses) in
        [(1, 1, 3), (10, 5, 3), (1, 10, 3), (3, 10, 4), (10, 5, 1), (2, 7, 7), (1, 30, 3)]
    {
        let mut machine = machine(&[probe(every, timeout, misses)], 0);
        machine.answered(0, &good(100, 1));
        let mut asked = 100 + every;
        while machine.verdict().state != Unhealthy {
            machine.answered(0, &bad(asked, timeout * 1000));
            let known = asked + timeout;
            assert!(
                known - 100 <= every * u64::from(misses) + timeout,
                "every {every}, timeout {timeout}, misses {misses}: known after {}",
                known - 100
            );
            asked += timeout.div_ceil(every).max(1) * every;
        }
    }
}
