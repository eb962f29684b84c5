//! The operator's command, told of incidents.

use std::time::Duration;

use serde_json::Value;
use sexton::config::watch_settings::{Alerts, Probe, ProbeKind, WatchSettings};
use sexton::control::protocol::{Incident, IncidentKind};

use crate::common::process::marked;
use crate::common::wait_until;
use crate::fake::Watched;
use crate::stand_in::{Mood, StandIn};

fn alerts(script: &str, timeout: u64) -> Option<Alerts> {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    Some(Alerts { command, timeout: Duration::from_millis(timeout) })
}

fn ceiling(ended: Option<u64>) -> Incident {
    Incident {
        kind: IncidentKind::RestartLimit,
        subject: "gateway".into(),
        detail: "5 restarts in 10m".into(),
        began: 7,
        ended,
    }
}

fn told(watched: &Watched) -> Vec<Value> {
    let text = std::fs::read_to_string(watched.path("told")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_command_is_told_once_of_each_beginning_and_each_end() {
    let stand_in = StandIn::start();
    let mut watched = Watched::silent();
    let probe = Probe {
        name: "readyz".into(),
        ask: ProbeKind::Http { url: stand_in.url("/readyz"), status: 200, fields: vec![] },
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(200),
        slow_after: Duration::from_millis(100),
        failure_threshold: 2,
    };
    let script = format!("cat >> '{}'", watched.path("told").display());
    let settings = WatchSettings {
        health: vec![probe],
        window: 9,
        alerts: alerts(&script, 5000),
        ..WatchSettings::default()
    };
    watched.brief(settings, Some(crate::fake::running(7)));
    stand_in.be(Mood::Hangs);
    let condition = watched.condition(IncidentKind::Unhealthy, true);
    // sexton makes an incident of it, and says so; and it has one of its own.
    let began = crate::fake::now_ms();
    let failing = Incident {
        kind: IncidentKind::Unhealthy,
        subject: "gateway".into(),
        detail: condition.detail,
        began,
        ended: None,
    };
    watched.incident(failing.clone());
    watched.incident(ceiling(None));
    watched.incident(ceiling(None));
    stand_in.answers(200, "{}");
    watched.condition(IncidentKind::Unhealthy, false);
    watched.incident(Incident { ended: Some(began + 1), ..failing });
    watched.incident(ceiling(Some(9)));
    wait_until("the command is told of all four", || told(&watched).len() >= 4);
    watched.hear_for(Duration::from_millis(300));
    let told: Vec<(String, bool)> = told(&watched)
        .iter()
        .map(|incident| (incident["kind"].as_str().unwrap().to_owned(), !incident["ended"].is_null()))
        .collect();
    let expected =
        [("unhealthy", false), ("restart-limit", false), ("unhealthy", true), ("restart-limit", true)];
    assert_eq!(told, expected.map(|(kind, ended)| (kind.to_owned(), ended)));
}

#[test]
fn a_command_that_hangs_is_ended_and_the_next_one_runs() {
    let mut watched = Watched::silent();
    let mark = format!("SEXTON_TEST_MARK=alert-{}", std::process::id());
    let file = watched.path("told").display().to_string();
    // The first hangs, whatever it is asked; never two of them at once.
    let script = format!(
        "mkdir '{file}.one' && exec sh -c 'trap \"\" TERM; export {mark}; setsid sleep 600 & sleep 600'; cat >> '{file}'"
    );
    watched.brief(WatchSettings { alerts: alerts(&script, 1000), ..WatchSettings::default() }, None);
    watched.incident(ceiling(None));
    watched.incident(ceiling(Some(9)));
    wait_until("the first one hangs", || marked(&mark).len() >= 2);
    assert!(told(&watched).is_empty(), "the second one waits");
    watched.serve_until("the second one is told", || {
        std::fs::read_to_string(watched_file(&file)).is_ok_and(|text| text.contains("\"ended\":9"))
    });
    assert!(marked(&mark).is_empty(), "the first one and all that it started are gone");
    assert!(watched.stderr().contains("alert-failed"), "{}", watched.stderr());
}

fn watched_file(path: &str) -> &std::path::Path {
    std::path::Path::new(path)
}
