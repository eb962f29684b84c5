//! The real gateway before the real `sexton-watch`: its stalls after a start, its own figures, and a hang.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sexton::config::watch_settings::{Limits, Probe, ProbeKind, WatchSettings};
use sexton::control::protocol::{HealthState, IncidentKind, Request, UnitState, UnitStatus, WatchReport};

use crate::fake::{Watched, now_ms};
use crate::life::Life;
use crate::wait::{START, say};
use crate::world::World;

/// What the preset for OpenClaw has is 180 s; `SEXTON_TEST_START_PERIOD` sets another one, in seconds.
pub fn start_period() -> Duration {
    let seconds = std::env::var("SEXTON_TEST_START_PERIOD").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(45))
}

/// How long the gateway stands still; `SEXTON_TEST_STAND_STILL` sets another time, in seconds.
pub fn stand_still() -> Duration {
    let seconds = std::env::var("SEXTON_TEST_STAND_STILL").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

#[test]
fn a_gateway_that_hangs_is_seen_and_so_is_its_end() {
    let Some(bin) = crate::installed_openclaw() else {
        return;
    };
    let world = World::set_up(&bin);
    let begun = Instant::now();
    let mut life = Life::begin(&world, "watched");
    let probe = |path: &str| Probe {
        name: path.trim_matches('/').to_owned(),
        ask: ProbeKind::Http {
            url: format!("http://localhost:{}{path}", world.port),
            status: 200,
            fields: vec![],
        },
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(3),
        slow_after: Duration::from_secs(1),
        failure_threshold: 3,
    };
    let bound = Duration::from_secs(6);
    let settings = WatchSettings {
        health: vec![probe("/healthz"), probe("/readyz")],
        start_period: start_period(),
        window: 200,
        limits: Limits { interval: Duration::from_secs(2), ..Limits::default() },
        listen: Some("127.0.0.1:0".parse().expect("it is an address")),
        ..WatchSettings::default()
    };
    let mut watched = Watched::silent();
    watched.patience = START;
    let unit = |state| UnitStatus {
        name: "gateway".into(),
        state,
        pid: Some(life.gateway_pid),
        since: now_ms(),
        ..UnitStatus::default()
    };
    watched.brief(settings, Some(unit(UnitState::Running)));
    let address = watched.wait_for("its address", |fact| match fact {
        WatchReport::Listening { address } => address.parse().ok(),
        _ => None,
    });
    life.wait_until_ready();
    say(&format!("watched: ready after {:?}", begun.elapsed()));

    // Whatever the gateway does in its first seconds, nothing is to be done about it.
    while begun.elapsed() < start_period() {
        let said = watched.hear_for(Duration::from_millis(200));
        let complains = |request: &Request| {
            matches!(request, Request::WatchReport(WatchReport::Health(health))
                if matches!(health.state, HealthState::Unhealthy | HealthState::Slow) && !health.excused)
        };
        assert!(!said.iter().any(complains) || begun.elapsed() >= start_period(), "{said:?}");
    }
    life.wait_until_calm();
    watched.hear_for(Duration::from_secs(5));
    let summary = last_health(&watched);
    say(&format!("watched: calm: {summary:?}"));
    assert_eq!(summary.state, HealthState::Healthy);
    assert!(summary.p99_ms.is_some() && summary.event_loop.is_some(), "{summary:?}");

    let gateway = life.gateway();
    watched.forget();
    gateway.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    let condition = watched.condition(IncidentKind::Unhealthy, true);
    say(&format!("watched: {} after {:?}", condition.detail, stopped.elapsed()));
    assert!(stopped.elapsed() < bound + Duration::from_secs(1), "{bound:?} is the promise");
    let left = stand_still().saturating_sub(stopped.elapsed());
    let said = watched.hear_for(left);
    assert!(!format!("{said:?}").contains("holds: false"), "it lasts: {said:?}");
    watched.forget();
    gateway.signal(Signal::SIGCONT);
    let resumed = Instant::now();
    watched.condition(IncidentKind::Unhealthy, false);
    say(&format!("watched: over {:?} after it went on", resumed.elapsed()));

    let metrics = scrape(&mut watched, address);
    for name in [
        "sexton_gateway_event_loop_delay_p99_seconds ",
        "sexton_gateway_event_loop_utilization_ratio ",
        "sexton_gateway_event_loop_degraded ",
        "sexton_gateway_latency_seconds{stat=\"p99\"} ",
        "sexton_tree_resident_memory_bytes ",
    ] {
        let line = metrics.lines().find(|line| line.starts_with(name));
        say(&format!("watched: {}", line.unwrap_or_else(|| panic!("no {name}in {metrics}"))));
    }
    let rss = std::fs::read_to_string(format!("/proc/{}/status", watched.child.id())).expect("it lives");
    let rss = rss.lines().find(|line| line.starts_with("VmRSS")).expect("it has memory").to_owned();
    say(&format!("watched: sexton-watch itself: {rss}"));
}

fn last_health(watched: &Watched) -> sexton::control::protocol::Health {
    let last = watched.said.iter().rev().find_map(|request| match request {
        Request::WatchReport(WatchReport::Health(health)) => Some(health.clone()),
        _ => None,
    });
    last.expect("it has said something")
}

fn scrape(watched: &mut Watched, address: std::net::SocketAddr) -> String {
    use std::io::{Read as _, Write as _};
    let scraping = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    });
    watched.serve_until("a scrape", || scraping.is_finished());
    scraping.join().expect("it has not panicked").expect("it answers")
}
