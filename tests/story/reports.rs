//! What is reported once, and by whom: zombies, logs, alerts; and a sexton-watch that is killed again and again.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::process::{look, send, status as field};
use crate::common::victim::Mode;
use crate::common::wait_until;
use crate::house::{HEALTH, House, lasting, of_kind, site};

fn told(house: &House) -> Vec<Value> {
    house.victim.read("told").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn zombies_and_logs_are_incidents_of_which_the_alert_command_is_told_once() {
    let Some(site) = site(Mode::Pid1) else { return };
    let settings = "[limits]\nzombies = 20\ninterval = \"200ms\"\n\
        [logs.session-lock]\nfiles = [\"DIR/*.log\"]\npattern = \"SessionWriteLockTimeoutError\"\ncount = 3\ninterval = \"10m\"\n\
        [alerts]\ncommand = [\"sh\", \"-c\", \"cat >> DIR/told\"]\n";
    let mut house = site.start(settings);
    house.watched();
    house.shows("the census", |status| status["census"]["processes"].as_u64().filter(|number| *number == 1));
    assert_eq!(house.got("/zombies").1, "20");
    let incident = house.incident("zombies");
    let main = house.shows("its pid", |status| status["gateway"]["pid"].as_i64());
    assert_eq!(incident["subject"], main.to_string());
    let detail = format!("gateway, pid {main}, has 20 zombies that it does not reap");
    assert_eq!(incident["detail"], detail);

    // Two lines before a rotation and one after it.
    let log = house.victim.path("gateway.log");
    house.got("/log");
    wait_until("the log is followed", || holds_open(house.watched().pid, "gateway.log"));
    house.got("/log");
    fs::rename(&log, house.victim.path("gateway.log.1")).unwrap();
    house.got("/log");
    let incident = house.incident("log");
    assert_eq!(incident["subject"], "session-lock");
    house.got("/log");

    wait_until("both are told", || told(&house).len() >= 2);
    // Another sexton-watch tells of what is new, and of nothing else.
    let first = house.watched();
    send(first.pid, 9).unwrap();
    wait_until("another one looks", || house.watch().is_some_and(|now| now.start != first.start));
    house.shows("its census", |status| status["census"]["zombies"].as_u64().filter(|number| *number == 20));
    let begun: Vec<_> = told(&house).into_iter().filter(|one| one["ended"].is_null()).collect();
    let kinds: Vec<&str> = begun.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["zombies", "log"]);
    let status = house.status();
    assert_eq!(of_kind(&status, "zombies").len(), 1, "{status:#}");
    house.stop(0);
}

fn holds_open(pid: i32, name: &str) -> bool {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).any(|path| path.ends_with(name))
}

/// How long sexton-watch is killed every second. `SEXTON_TEST_KILLING` sets another time, in seconds.
fn killing() -> Duration {
    let seconds = std::env::var("SEXTON_TEST_KILLING").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

#[test]
fn a_sexton_watch_that_is_killed_every_second_costs_the_gateway_nothing() {
    let Some(site) = site(Mode::Pid1) else { return };
    let settings = format!("{HEALTH}action = \"restart\"\n[limits]\nzombies = 20\ninterval = \"100ms\"\n");
    let mut house = site.start(&settings);
    house.is_well();
    house.got("/zombies");
    house.incident("zombies");
    let gateway = house.victim.main();
    let (begun, mut kills, mut requests, mut last) = (Instant::now(), 0, 0_u32, None);
    let mut due = Instant::now();
    while begun.elapsed() < killing() {
        let (status, _) = house.got("/healthz");
        assert_eq!(status, 200);
        requests += 1;
        if Instant::now() >= due {
            if let Some(watch) = house.watch() {
                assert_ne!(Some(watch.start), last, "the killed do not come back");
                last = Some(watch.start);
                let _ = send(watch.pid, 9);
                kills += 1;
            }
            due = Instant::now() + Duration::from_secs(1);
        }
    }
    assert!(kills >= 3 && requests > 100, "{kills} kills, {requests} requests");
    // The pauses grow: it is not started every time at once.
    assert!(kills < killing().as_secs(), "{kills} kills");
    let now = house.victim.main();
    assert_eq!((now.pid, now.start), (gateway.pid, gateway.start));
    let status = house.shows("a client that looks again", |status| {
        (status["health"]["state"] == "healthy" && lasting(status, "zombies").len() == 1)
            .then(|| status.clone())
    });
    assert_eq!(status["counters"]["restarts"], 0);
    assert_eq!(of_kind(&status, "zombies").len(), 1, "{status:#}");
    assert_eq!(of_kind(&status, "unhealthy").len(), 0, "{status:#}");
    house.stop(0);
}

/// What PID 1 has of its own, in KiB, and how often it has woken.
fn cost(house: &House) -> (u64, u64) {
    let pid = house.victim.pid();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let dirty = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
    let number = |text: &str| text.trim().trim_end_matches(" kB").trim().parse().unwrap();
    (number(dirty), number(&field(pid, "voluntary_ctxt_switches").unwrap()))
}

#[test]
fn watching_costs_pid_1_hardly_any_memory_and_no_more_than_a_turn_for_each_fact() {
    let time = Duration::from_secs(30);
    let Some(site_of_one) = site(Mode::Pid1) else { return };
    let Some(site_of_other) = site(Mode::Pid1) else { return };
    let mut alone = site_of_one.start("");
    let mut watched =
        site_of_other.start(&format!("{HEALTH}[limits]\ninterval = \"500ms\"\nmemory = \"4G\"\n"));
    watched.is_well();
    watched.shows("a census", |status| status["census"]["processes"].as_u64());
    let (before, begun) = (cost(&watched).1, Instant::now());
    std::thread::sleep(time.saturating_sub(begun.elapsed()));
    let (memory, woken) = cost(&watched);
    // The summary of the health comes every 10 s. Of the sixty times that the tree is looked at, few are news: most are
    // while a busy machine still warms up.
    let most = time.as_secs() / 10 + 5;
    assert!(woken - before <= most, "{} wakes in {time:?}, {most} are due", woken - before);
    let more = memory.saturating_sub(cost(&alone).0);
    assert!(more <= 200, "{more} KiB more than without");
    assert!(look(watched.victim.pid()).is_some());
    alone.stop(0);
    watched.stop(0);
}
