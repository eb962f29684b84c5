//! `sexton health`: whether the gateway is healthy, in one line. It uses only what sexton knows already. Pure.

use serde_json::{Value, json};

use super::protocol::{HealthState, Incident, IncidentKind, Status, UnitState};
use super::render::time;
use crate::report::messages;
use crate::types::one_line;

/// Whether it is well, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The gateway does its work, even if slowly.
    pub well: bool,
    /// In one line.
    pub words: String,
}

/// Judges the gateway's health. `wall` is the time in milliseconds since the epoch.
///
/// A slow gateway counts as healthy, because a restart does not make it faster. If its health is not measured, a
/// gateway that runs counts as healthy.
#[must_use]
pub fn judge(status: &Status, wall: u64) -> Verdict {
    let gateway = &status.gateway;
    if gateway.state != UnitState::Running {
        let state = gateway.state.word();
        return Verdict { well: false, words: format!("the gateway does not run: {state}") };
    }
    let lost = |status: &Status| {
        let from_watch = |incident: &&Incident| incident.kind == IncidentKind::WatchLost;
        status.incidents.iter().filter(from_watch).any(|incident| incident.ended.is_none())
    };
    let unmeasured = |why: &str| Verdict { well: true, words: format!("the gateway runs; {why}") };
    let health = match &status.health {
        _ if lost(status) => {
            return unmeasured("its health is not measured, because sexton-watch does not run");
        }
        None => return unmeasured("its health is not measured"),
        Some(health) if health.state == HealthState::Unknown => {
            return unmeasured("its health is not known yet");
        }
        Some(health) => health,
    };
    let state = health.state.word();
    let since = time(wall.saturating_sub(health.since));
    let figure = |name: &str, ms: Option<f64>| ms.map(|ms| format!("{name} {}", messages::latency(ms)));
    let figures: Vec<String> =
        [figure("last", health.last_ms), figure("p50", health.p50_ms), figure("p99", health.p99_ms)]
            .into_iter()
            .flatten()
            .collect();
    let figures =
        if figures.is_empty() { String::new() } else { format!("; latency {}", figures.join(", ")) };
    Verdict {
        well: matches!(health.state, HealthState::Healthy | HealthState::Slow),
        words: format!("{state} for {since}: {}{figures}", one_line(&health.reason)),
    }
}

/// The verdict as JSON.
#[must_use]
pub fn as_json(verdict: &Verdict, status: &Status) -> Value {
    json!({ "well": verdict.well, "why": verdict.words, "gateway": status.gateway.state, "health": status.health })
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{Health, UnitStatus};
    use super::*;

    fn status(state: HealthState) -> Status {
        let health = Health {
            state,
            since: 1_000,
            reason: "readyz: as it is".into(),
            last_ms: Some(2.14),
            p99_ms: Some(41_400.0),
            ..Health::default()
        };
        let gateway = UnitStatus { state: UnitState::Running, ..UnitStatus::default() };
        Status { gateway, health: Some(health), ..Status::default() }
    }

    #[test]
    fn it_is_well_if_it_does_its_work() {
        for (state, well) in [
            (HealthState::Healthy, true),
            (HealthState::Slow, true),
            (HealthState::Starting, false),
            (HealthState::Unhealthy, false),
            (HealthState::Draining, false),
            (HealthState::Unknown, true),
        ] {
            assert_eq!(judge(&status(state), 5_000).well, well, "{state:?}");
        }
        assert_eq!(
            judge(&status(HealthState::Slow), 126_000).words,
            "slow for 2m 5s: readyz: as it is; latency last 2.1 ms, p99 41.4 s"
        );
    }

    #[test]
    fn one_that_does_not_run_is_not_well_whatever_was_measured() {
        for state in [UnitState::Stopping, UnitState::Waiting, UnitState::Starting, UnitState::Ended] {
            let mut status = status(HealthState::Healthy);
            status.gateway.state = state;
            assert!(!judge(&status, 5_000).well, "{state:?}");
        }
    }

    #[test]
    fn what_was_measured_is_void_without_a_measurer() {
        let mut status = status(HealthState::Unhealthy);
        let lost = Incident {
            kind: IncidentKind::WatchLost,
            subject: String::new(),
            detail: String::new(),
            began: 0,
            ended: None,
        };
        status.incidents = vec![lost.clone()];
        assert!(judge(&status, 5_000).well);
        status.incidents = vec![Incident { ended: Some(1), ..lost }];
        assert!(!judge(&status, 5_000).well);
        status.health = None;
        assert_eq!(judge(&status, 5_000).words, "the gateway runs; its health is not measured");
    }
}
