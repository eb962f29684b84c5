//! Health by latency: what is told, and how soon.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use sexton::config::watch_settings::{HeldLocks, Probe, ProbeKind, WatchSettings};
use sexton::control::protocol::{HealthState, IncidentKind, Request, UnitState, UnitStatus, WatchReport};

use crate::common::process::marked;
use crate::common::wait_until;
use crate::fake::{Watched, running};
use crate::stand_in::{Mood, StandIn};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn probe(name: &str, ask: ProbeKind) -> Probe {
    let (every, timeout, latency) = (ms(100), ms(400), ms(150));
    Probe { name: name.into(), ask, interval: every, timeout, slow_after: latency, failure_threshold: 3 }
}

fn http(stand_in: &StandIn, fields: &[(&str, serde_json::Value)]) -> Probe {
    let fields = fields.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect();
    probe("readyz", ProbeKind::Http { url: stand_in.url("/readyz"), status: 200, fields })
}

fn tcp(stand_in: &StandIn) -> Probe {
    probe("port", ProbeKind::Tcp { address: format!("127.0.0.1:{}", stand_in.port) })
}

fn watching(probes: Vec<Probe>) -> WatchSettings {
    WatchSettings { health: probes, window: 100, ..WatchSettings::default() }
}

/// The whole point: a gateway that hangs has its port bound, and a probe that only connects finds it healthy.
#[test]
fn a_hang_behind_a_bound_port_is_known_in_time_and_its_end_too() {
    let stand_in = StandIn::start();
    let probe = http(&stand_in, &[("ready", json!(true))]);
    let bound = probe.interval * probe.failure_threshold + probe.timeout;
    let mut watched = Watched::start(watching(vec![tcp(&stand_in), probe]));
    watched.health(HealthState::Healthy);

    stand_in.be(Mood::Hangs);
    let begun = Instant::now();
    let condition = watched.condition(IncidentKind::Unhealthy, true);
    let took = begun.elapsed();
    assert!(took < bound + ms(500), "known after {took:?}, and {bound:?} is the promise");
    assert!(took > ms(200), "not before it can be known: {took:?}");
    assert_eq!(condition.subject, "gateway");
    assert_eq!(condition.detail, "readyz: no answer within 400ms");

    stand_in.answers(200, "{\"ready\":true}");
    assert_eq!(watched.condition(IncidentKind::Unhealthy, false).subject, "gateway");
    watched.hear_for(ms(50));
    let Some(WatchReport::Health(health)) = watched.said.iter().rev().find_map(|request| match request {
        Request::WatchReport(fact @ WatchReport::Health(_)) => Some(fact),
        _ => None,
    }) else {
        panic!("{:?}", watched.said);
    };
    assert_eq!(health.state, HealthState::Healthy);
    // The timeouts count as long as they are.
    assert!(health.max_ms.unwrap() >= 400.0 && health.p50_ms.unwrap() < 150.0, "{health:?}");
}

#[test]
fn a_heartbeat_file_counts_while_it_is_written_by_this_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let beat = dir.path().join("beat");
    let written = |ago: u64| {
        let file = std::fs::File::create(&beat).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(ago)).unwrap();
    };
    // The gateway before this one wrote it, a moment ago as it were.
    written(30);
    let ask = ProbeKind::Heartbeat { file: beat.clone(), max_age: Duration::from_secs(60) };
    let mut watched = Watched::start(watching(vec![probe("file beat", ask)]));
    let why = watched.condition(IncidentKind::Unhealthy, true).detail;
    assert!(why.ends_with("beat: last written before this run of the gateway"), "{why}");
    written(0);
    watched.health(HealthState::Healthy);
    watched.forget();
    written(90);
    let why = watched.condition(IncidentKind::Unhealthy, true).detail;
    assert!(why.contains("beat: written 1m 30s ago, 1m is the limit"), "{why}");
    written(0);
    watched.health(HealthState::Healthy);
    watched.forget();
    std::fs::remove_file(&beat).unwrap();
    let why = watched.condition(IncidentKind::Unhealthy, true).detail;
    assert!(why.contains("beat: it cannot be looked at: No such file or directory"), "{why}");
}

#[test]
fn an_answer_that_comes_too_late_is_slow() {
    let stand_in = StandIn::start();
    let mut watched = Watched::start(watching(vec![http(&stand_in, &[])]));
    watched.health(HealthState::Healthy);
    stand_in.be(Mood::Late(ms(200)));
    let condition = watched.condition(IncidentKind::Slow, true);
    assert!(condition.detail.starts_with("readyz: answered after 2"), "{}", condition.detail);
    let health = watched.health(HealthState::Slow);
    assert!(health.last_ms.unwrap() >= 200.0, "{health:?}");
    stand_in.answers(200, "{}");
    watched.condition(IncidentKind::Slow, false);
    assert!(!watched.said.iter().any(|request| matches!(
        request,
        Request::WatchReport(WatchReport::Condition(condition)) if condition.kind == IncidentKind::Unhealthy
    )));
}

#[test]
fn nothing_counts_in_the_start_period_and_a_start_begins_it_anew() {
    let stand_in = StandIn::start();
    stand_in.be(Mood::Hangs);
    let start_period = ms(1500);
    let mut watched = Watched::start(WatchSettings { start_period, ..watching(vec![http(&stand_in, &[])]) });
    let begun = Instant::now();
    watched.condition(IncidentKind::Unhealthy, true);
    assert!(begun.elapsed() > start_period, "after {:?}", begun.elapsed());

    // It is stopped and started. That a stop begins mends nothing: the condition ends with the gateway.
    watched.gateway(UnitStatus { state: UnitState::Stopping, ..running(4242) });
    let said = watched.said.len();
    watched.health(HealthState::Draining);
    watched.hear_for(ms(300));
    let ends = |request: &Request| matches!(request, Request::WatchReport(WatchReport::Condition(condition)) if !condition.holds);
    assert!(!watched.said[said..].iter().any(ends), "{:?}", watched.said);
    watched.gateway(UnitStatus { state: UnitState::Ended, pid: None, ..running(4242) });
    watched.condition(IncidentKind::Unhealthy, false);
    watched.health(HealthState::Unknown);
    // What follows need not be well for a time.
    let asked = stand_in.asked.lock().unwrap().len();
    watched.hear_for(ms(300));
    assert_eq!(stand_in.asked.lock().unwrap().len(), asked, "a gateway that does not run is not probed");
    watched.gateway(running(4243));
    let begun = Instant::now();
    watched.health(HealthState::Starting);
    watched.condition(IncidentKind::Unhealthy, true);
    assert!(begun.elapsed() > start_period, "after {:?}", begun.elapsed());
}

/// What is said of a gateway is true also in its start period, and PID 1 hears that nothing is to be done about it.
#[test]
fn a_stall_after_a_good_answer_is_said_within_the_start_period_and_excused() {
    let stand_in = StandIn::start();
    let probe = http(&stand_in, &[]);
    let bound = probe.interval * probe.failure_threshold + probe.timeout;
    let mut watched = Watched::start(WatchSettings { start_period: LONG, ..watching(vec![probe]) });
    watched.health(HealthState::Healthy);
    stand_in.be(Mood::Hangs);
    let begun = Instant::now();
    let condition = watched.condition(IncidentKind::Unhealthy, true);
    assert!(begun.elapsed() < bound + ms(500), "known after {:?}", begun.elapsed());
    assert_eq!(condition.detail, "readyz: no answer within 400ms (start period)");
    let health = watched.health(HealthState::Unhealthy);
    assert!(health.excused, "{health:?}");
    stand_in.answers(200, "{}");
    assert!(!watched.health(HealthState::Healthy).excused);
}

#[test]
fn one_that_is_excused_no_longer_is_told_of_again() {
    let stand_in = StandIn::start();
    let start_period = ms(3000);
    let mut watched = Watched::start(WatchSettings { start_period, ..watching(vec![http(&stand_in, &[])]) });
    let begun = Instant::now();
    watched.health(HealthState::Healthy);
    stand_in.be(Mood::Hangs);
    assert!(watched.health(HealthState::Unhealthy).excused);
    watched.wait_for("the end of the excuse", |fact| match fact {
        WatchReport::Health(health) if health.state == HealthState::Unhealthy && !health.excused => Some(()),
        _ => None,
    });
    assert!(begun.elapsed() >= start_period, "after {:?}", begun.elapsed());
}

/// Ten minutes: longer than any test.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_gateway_that_is_being_started_is_asked_each_second_and_by_a_command_at_its_interval() {
    let stand_in = StandIn::start();
    stand_in.answers(503, "{}");
    let rare = |probe: Probe| Probe { interval: LONG, ..probe };
    let mut watched = Watched::silent();
    let file = watched.path("asked").display().to_string();
    let command = Probe { name: "script".into(), ..command(&format!("echo >> '{file}'")) };
    let probes = vec![rare(http(&stand_in, &[])), rare(command)];
    let begun = Instant::now();
    watched.brief(WatchSettings { start_period: LONG, ..watching(probes) }, Some(running(7)));
    let asked = |stand_in: &StandIn| stand_in.asked.lock().unwrap().len();
    watched.serve_until("three questions", || asked(&stand_in) == 3);
    assert!(begun.elapsed() >= ms(1900), "at most one a second: {:?}", begun.elapsed());
    stand_in.answers(200, "{}");
    watched.health(HealthState::Healthy);
    assert!(begun.elapsed() < ms(8000), "{:?}", begun.elapsed());
    let then = asked(&stand_in);
    watched.hear_for(ms(1500));
    assert_eq!(asked(&stand_in), then, "it is not asked more often than it was said once it has answered");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "\n", "the command is not asked more often");
}

/// The gateway's own lock, as OpenClaw 2026.9 writes it: the same pid at each start within its process.
fn write_lock(watched: &Watched, owner: u32) {
    let (new, lock) = (watched.path("new"), watched.path("gateway.state.lock"));
    let said =
        json!({"pid": 4242, "ownerId": format!("owner-{owner}"), "createdAt": "2026-11-29T12:00:00.000Z"});
    std::fs::write(&new, format!("{said:#}\n\ntoken-{owner}\n")).unwrap();
    std::fs::rename(new, lock).unwrap();
}

fn with_lock(watched: &Watched, start_period: Duration, probe: Probe) -> WatchSettings {
    let locks = HeldLocks {
        roots: vec![watched.dir.path().to_owned()],
        report_after: None,
        interval: ms(50),
        rules: vec![],
    };
    WatchSettings { start_period, locks: Some(locks), ..watching(vec![probe]) }
}

#[test]
fn a_restart_within_the_process_is_no_incident() {
    let stand_in = StandIn::start();
    let port = stand_in.port;
    let mut watched = Watched::silent();
    write_lock(&watched, 1);
    let settings = with_lock(&watched, LONG, http(&stand_in, &[]));
    watched.brief(settings, Some(running(4242)));
    watched.health(HealthState::Healthy);
    // Long enough for several looks at the locks: what is seen first is no sign.
    assert!(watched.hear_for(ms(500)).is_empty(), "{:?}", watched.said);
    drop(stand_in);
    write_lock(&watched, 2);
    watched.health(HealthState::Starting);
    watched.hear_for(ms(1000));
    let stand_in = StandIn::at(port);
    watched.health(HealthState::Healthy);
    let incident = |request: &Request| matches!(request, Request::WatchReport(WatchReport::Condition(_)));
    assert!(!watched.said.iter().any(incident), "{:?}", watched.said);
    // The next time, too.
    drop(stand_in);
    write_lock(&watched, 3);
    watched.health(HealthState::Starting);
    assert!(!watched.said.iter().any(incident), "{:?}", watched.said);
}

#[test]
fn a_lock_that_is_written_anew_for_ever_buys_no_second_start_period() {
    let stand_in = StandIn::start();
    let mut watched = Watched::silent();
    write_lock(&watched, 0);
    let start_period = ms(2000);
    let settings = with_lock(&watched, start_period, http(&stand_in, &[]));
    watched.brief(settings, Some(running(4242)));
    watched.health(HealthState::Healthy);
    watched.hear_for(ms(500));
    drop(stand_in);
    let begun = Instant::now();
    let mut owner = 0;
    let mut ended = false;
    while !ended {
        owner += 1;
        write_lock(&watched, owner);
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", watched.said);
        ended = watched.hear_for(ms(40)).iter().any(|request| {
            matches!(request, Request::WatchReport(WatchReport::Health(health))
                if health.state == HealthState::Unhealthy && !health.excused)
        });
    }
    assert!(begun.elapsed() >= start_period, "after {:?}", begun.elapsed());
}

#[test]
fn draining_is_no_failure() {
    let stand_in = StandIn::start();
    let mut watched = Watched::start(watching(vec![http(&stand_in, &[])]));
    watched.health(HealthState::Healthy);
    stand_in.answers(503, r#"{"ready":false,"unhealthy":["gateway-draining"],"uptimeMs":5}"#);
    assert_eq!(watched.health(HealthState::Draining).reason, "readyz: it takes no new work");
    assert!(watched.hear_for(ms(600)).is_empty(), "it stays so, and that is all there is to say");
    stand_in.answers(503, r#"{"ready":false,"unhealthy":["startup"]}"#);
    assert_eq!(
        watched.condition(IncidentKind::Unhealthy, true).detail,
        "readyz: status 503 (startup) instead of 200"
    );
}

#[test]
fn what_the_answer_says_counts() {
    let stand_in = StandIn::start();
    let mut watched = Watched::start(watching(vec![http(&stand_in, &[("ready", json!(true))])]));
    stand_in.answers(
        200,
        r#"{"ready":true,"eventLoop":{"degraded":false,"reasons":[],"delayP99Ms":21.4,"utilization":0.25}}"#,
    );
    watched.health(HealthState::Healthy);
    for (mood, why) in [
        (Mood::Answers(200, "{\"ready\":false}".into()), "ready is false instead of true"),
        (Mood::Answers(200, "nonsense".into()), "the answer has no field ready"),
        (Mood::Answers(302, String::new()), "status 302 instead of 200"),
        (Mood::Babbles, "the answer's body: length limit exceeded"),
        (
            Mood::Announces,
            "the connection to 127.0.0.1:PORT broke: the answer is longer than 256 KiB with all that stands before it",
        ),
    ] {
        stand_in.be(mood);
        let detail = watched.condition(IncidentKind::Unhealthy, true).detail;
        assert_eq!(detail, format!("readyz: {}", why.replace("PORT", &stand_in.port.to_string())));
        stand_in.answers(200, "{\"ready\":true}");
        watched.condition(IncidentKind::Unhealthy, false);
    }
    let asked = stand_in.asked.lock().unwrap();
    assert!(asked.iter().all(|request| request.starts_with("GET /readyz HTTP/1.1\r\n")), "{asked:?}");
    let said = watched.said.iter().any(|request| matches!(
        request,
        Request::WatchReport(WatchReport::Health(health)) if health.event_loop.is_some_and(|said| said.delay_p99_ms == Some(21.4))
    ));
    assert!(said, "OpenClaw's own figures are kept: {:?}", watched.said);
}

#[test]
fn nobody_there_is_failing() {
    let stand_in = StandIn::start();
    let probe = tcp(&stand_in);
    drop(stand_in);
    let mut watched = Watched::start(watching(vec![probe]));
    let detail = watched.condition(IncidentKind::Unhealthy, true).detail;
    assert!(detail.contains("Connection refused"), "{detail}");
}

fn command(script: &str) -> Probe {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    Probe { slow_after: ms(5000), timeout: ms(5000), ..probe("script", ProbeKind::Command { argv }) }
}

#[test]
fn a_command_is_asked_by_its_code() {
    let mut watched = Watched::start(watching(vec![command("test ! -e \"$MARK\"")]));
    watched.health(HealthState::Healthy);
    drop(watched);
    let script = "head -c 1000000 /dev/zero >&2; echo >&2; echo 'not today' >&2; exit 3";
    let mut watched = Watched::start(watching(vec![command(script)]));
    let detail = watched.condition(IncidentKind::Unhealthy, true).detail;
    assert!(detail.starts_with("script: the command ended with 3"), "{detail}");
    drop(watched);
    let mut watched = Watched::start(watching(vec![command("echo 'not today' >&2; exit 4")]));
    assert_eq!(
        watched.condition(IncidentKind::Unhealthy, true).detail,
        "script: the command ended with 4: not today"
    );
}

#[test]
fn a_command_is_started_as_from_a_shell() {
    let script = "grep SigBlk /proc/self/status; echo \"${SEXTON_WATCH_FD-none}\"; ps -o pgid= -p $$ | tr -d ' '; echo $$";
    let mut watched = Watched::silent();
    let file = watched.path("said").display().to_string();
    let probe = command(&format!("{{ {script}; }} > '{file}.part'; mv '{file}.part' '{file}'"));
    watched.brief(watching(vec![probe]), Some(running(7)));
    watched.health(HealthState::Healthy);
    let said = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let ours = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(ours.lines().any(|line| line == lines[0]), "no signal is blocked that was not: {said}");
    assert_eq!(lines[1], "none");
    assert_eq!(lines[2], lines[3], "a process group of its own: {said}");
}

/// The processes that a script with this mark has started. The mark is unlike any other's.
fn mark(name: &str) -> (String, String) {
    let mark = format!("SEXTON_TEST_MARK={name}-{}", std::process::id());
    (format!("export {mark}; "), mark)
}

#[test]
fn a_command_that_hangs_is_ended_with_everything_that_it_started() {
    let (set, mark) = mark("hangs");
    let script = format!("{set} trap '' TERM; setsid sleep 600 & sleep 600 & sleep 600");
    let probe = Probe { timeout: ms(300), failure_threshold: 1, ..command(&script) };
    let mut watched = Watched::start(watching(vec![probe]));
    wait_until("the command runs", || marked(&mark).len() >= 3);
    let detail = watched.condition(IncidentKind::Unhealthy, true).detail;
    assert_eq!(detail, "script: no answer within 300ms");
    watched.gateway(UnitStatus { state: UnitState::Stopping, ..running(4242) });
    wait_until("all of it is gone", || marked(&mark).is_empty());
}

#[test]
fn a_killed_sexton_watch_leaves_no_command_behind() {
    let (set, mark) = mark("killed");
    let probe = Probe { timeout: ms(60_000), ..command(&format!("{set} setsid sleep 600 & sleep 600")) };
    let mut watched = Watched::start(watching(vec![probe]));
    wait_until("the command runs", || marked(&mark).len() >= 2);
    watched.child.kill().unwrap();
    watched.child.wait().unwrap();
    wait_until("all of it is gone", || marked(&mark).is_empty());
}
