//! What is shipped for Prometheus and Grafana fits what is served.

use std::collections::BTreeSet;

use serde_json::Value;
use sexton::control::protocol::IncidentKind;

use crate::faces::promtool;

const TABLE: &str = include_str!("../../packaging/grafana/README.md");
const RULES: &str = include_str!("../../packaging/grafana/sexton-alerts.yml");
const DASHBOARD: &str = include_str!("../../packaging/grafana/sexton-dashboard.json");

/// The names of sexton's metrics in an expression.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("sexton_"));
    // A histogram's parts are the histogram's.
    ours.map(|word| word.strip_suffix("_bucket").unwrap_or(word).to_owned()).collect()
}

#[test]
fn the_alert_rules_are_rules_and_there_is_one_for_each_kind() {
    let Some(directory) = tempfile::tempdir().ok() else { panic!() };
    let path = directory.path().join("rules.yml");
    std::fs::write(&path, RULES).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()], "");
    for name in metrics(RULES) {
        assert!(TABLE.contains(&format!("| `{name}` |")), "{name} is no metric of ours");
    }
    for kind in [
        IncidentKind::Unhealthy,
        IncidentKind::Slow,
        IncidentKind::LockHeld,
        IncidentKind::Memory,
        IncidentKind::Zombies,
        IncidentKind::Log,
        IncidentKind::OutOfMemory,
        IncidentKind::RestartLimit,
        IncidentKind::WatchLost,
        IncidentKind::UnitEnded,
    ] {
        let kind = serde_json::to_value(kind).unwrap();
        let selector = format!("sexton_incidents_active{{kind={kind}}}");
        assert!(RULES.contains(&selector), "there is no rule for {kind}");
    }
}

/// A rule that never fires is as good as none.
#[test]
fn the_alert_rules_fire_when_they_should() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("sexton-alerts.yml"), RULES).unwrap();
    let tests = r#"
rule_files: [sexton-alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'sexton_incidents_active{kind="unhealthy",instance="a"}'
        values: '0 0 1 1 0'
      - series: 'sexton_incidents_active{kind="slow",instance="a"}'
        values: '0 1 1 1 1 1 1 1 1'
      - series: 'sexton_up{instance="b"}'
        values: '1 0 0 0 0'
    alert_rule_test:
      - {eval_time: 1m, alertname: SextonGatewayFailing, exp_alerts: []}
      - eval_time: 2m
        alertname: SextonGatewayFailing
        exp_alerts:
          - exp_labels: {severity: critical, kind: unhealthy, instance: a}
            exp_annotations:
              summary: "a: the gateway does not answer"
              description: "Its probes have failed as often as they may. `sexton status` says why."
      - {eval_time: 4m, alertname: SextonGatewayFailing, exp_alerts: []}
      - {eval_time: 5m, alertname: SextonGatewaySlow, exp_alerts: []}
      - eval_time: 7m
        alertname: SextonGatewaySlow
        exp_alerts:
          - exp_labels: {severity: warning, kind: slow, instance: a}
            exp_annotations:
              summary: "a: the gateway answers too late"
              description: "Its answers take longer than the probes' latency allows."
      - eval_time: 4m
        alertname: SextonGone
        exp_alerts:
          - exp_labels: {severity: critical, instance: b}
            exp_annotations:
              summary: "b: sexton or sexton-watch does not answer"
              description: "The container or the service may be down; otherwise sexton is being stopped or hangs."
"#;
    let path = directory.path().join("tests.yml");
    std::fs::write(&path, tests).unwrap();
    promtool(&["test", "rules", path.to_str().unwrap()], "");
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let names = metrics(expression);
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            assert!(TABLE.contains(&format!("| `{name}` |")), "{name} is no metric of ours");
        }
    }
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
}
