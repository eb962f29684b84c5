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
        machine.state().0
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

#[test]
fn the_start_period_is_respected_also_after_a_first_good_answer() {
    let answers =
        [bad(100, 1), bad(110, 1), bad(120, 1), bad(130, 1), good(140, 1), good(150, 41_000), bad(279, 1)];
    assert_eq!(course(180, &answers), [Starting, Starting, Starting, Starting, Healthy, Healthy, Healthy]);
    // Without a good answer, what is asked after its end counts.
    let answers = [bad(279, 1), bad(280, 1), bad(290, 1), bad(300, 1)];
    assert_eq!(course(180, &answers), [Starting, Starting, Starting, Unhealthy]);
}

#[test]
fn a_start_begins_the_start_period_anew_and_voids_what_was_known() {
    let mut machine = machine(&[probe(10, 5, 1)], 60);
    assert_eq!(machine.state().0, Starting);
    machine.answered(0, &bad(200, 1));
    assert_eq!(machine.state().0, Unhealthy);
    machine.gateway(Gateway::Stops);
    assert_eq!(machine.state().0, Draining);
    machine.gateway(Gateway::Absent);
    assert_eq!(machine.state().0, Unknown);
    // An answer that comes when nobody asks any more.
    machine.answered(0, &bad(205, 1));
    assert_eq!(machine.state().0, Unknown);
    machine.gateway(Gateway::Runs(at(210)));
    machine.answered(0, &bad(269, 1));
    assert_eq!(machine.state().0, Starting);
    machine.answered(0, &bad(270, 1));
    assert_eq!(machine.state().0, Unhealthy);
    // The same news again changes nothing.
    machine.gateway(Gateway::Runs(at(210)));
    assert_eq!(machine.state().0, Unhealthy);
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
    assert_eq!(machine.state().0, Starting);
    machine.answered(1, &good(100, 501));
    assert_eq!(machine.state().0, Slow);
    assert_eq!(machine.state().1, "p: answered after 501.0ms, 500.0ms is the limit");
    machine.answered(0, &draining(110));
    assert_eq!(machine.state().0, Draining);
    machine.answered(1, &bad(110, 1));
    assert_eq!(machine.state(), (Unhealthy, "p: refused".to_owned()));
    machine.answered(0, &good(120, 1));
    machine.answered(1, &good(120, 1));
    assert_eq!(machine.state().0, Healthy);
}

#[test]
fn without_a_probe_nothing_is_known() {
    assert_eq!(machine(&[], 0).state().0, Unknown);
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
        while machine.state().0 != Unhealthy {
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
