//! Tells the operator's command of incidents, one after another.

use sexton::config::watch_settings::Alerts;
use tracing::warn;

use super::state::SharedState;
use crate::probe::{End, run};

/// Runs the command for each incident, for ever, and never twice at once.
pub async fn tell_for_ever(known: SharedState, alerts: Alerts) {
    loop {
        let incident = known.alarm.next().await;
        let Ok(mut json) = serde_json::to_vec(&incident) else { continue };
        json.push(b'\n');
        let end = run(&alerts.command, alerts.timeout, &json).await;
        let alarm = &known.alarm;
        let why = match end {
            End::Code(0, _) => {
                alarm.count(|counts| counts.delivered += 1);
                continue;
            }
            End::TimedOut => {
                alarm.count(|counts| counts.timed_out += 1);
                format!("it had not ended after {}", humantime::format_duration(alerts.timeout))
            }
            End::Code(code, said) => {
                alarm.count(|counts| counts.failed += 1);
                format!("it ended with {code}: {said}")
            }
            End::Failed(why) => {
                alarm.count(|counts| counts.failed += 1);
                why
            }
        };
        warn!(name: "alert-failed", kind = ?incident.kind, subject = incident.subject, "the alert command failed: {why}");
    }
}
