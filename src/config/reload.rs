//! A configuration that was read again: what of it can be had while everything runs, and what cannot.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Plan;
use super::dump::{self, Log};
use super::watch_settings::WatchSettings;

/// The settings as they are read, apart from what is asked of this run.
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// The plan.
    pub plan: Plan,
    /// What is said of log lines.
    pub log: Log,
}

/// What a new configuration comes to.
#[derive(Debug, Clone)]
pub struct Change {
    /// The old settings with what can be had of the new ones.
    pub now: Reloaded,
    /// The keys that have another value now.
    pub taken: Vec<String>,
    /// The keys whose new value only another start of sexton brings.
    pub left: Vec<String>,
}

/// What can change while everything runs: a key, or all keys of a table.
const LIVE: [&str; 17] = [
    "alerts",
    "delay",
    "grace",
    "group",
    "health",
    "limits",
    "locks.held_too_long",
    "log",
    "logs",
    "restart",
    "rewrite",
    "stop_sequence",
    "stop_signals",
    "kill_after",
    "tools",
    "wait",
    "watch",
];
/// Takes what can be had of `reloaded` over into `old`.
#[must_use]
pub fn between(old: &Reloaded, reloaded: Reloaded) -> Change {
    let (before, after) = (keys(old), keys(&reloaded));
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    let all: BTreeMap<&String, ()> = before.keys().chain(after.keys()).map(|key| (key, ())).collect();
    for key in all.into_keys().filter(|key| before.get(*key) != after.get(*key)) {
        if among(&LIVE, key) { taken.push(key.clone()) } else { left.push(key.clone()) }
    }
    let now =
        Reloaded { plan: mixed(&old.plan, reloaded.plan), log: Log { json: old.log.json, ..reloaded.log } };
    Change { now, taken, left }
}

fn mixed(old: &Plan, reloaded: Plan) -> Plan {
    let watching = match &old.watching {
        None => reloaded.watching,
        Some(before) => {
            let mut now = reloaded.watching.unwrap_or_else(WatchSettings::usual);
            // Which locks there are is settled at the start.
            now.locks.clone_from(&before.locks);
            Some(now)
        }
    };
    Plan {
        grace: reloaded.grace,
        kill_after: reloaded.kill_after,
        group: reloaded.group,
        rewrite: reloaded.rewrite,
        delay: reloaded.delay,
        stop_signals: reloaded.stop_signals,
        stop_sequence: reloaded.stop_sequence,
        wait_all: reloaded.wait_all,
        restart: reloaded.restart,
        tools: reloaded.tools,
        watching,
        replace_on: reloaded.replace_on,
        ..old.clone()
    }
}

fn among(list: &[&str], key: &str) -> bool {
    list.iter().any(|one| key.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Each key with its value, those of a table as `table.key`; a unit is one key.
fn keys(settings: &Reloaded) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    let Value::Object(whole) = dump::settings(&settings.plan, &settings.log) else { return keys };
    for (key, value) in whole {
        match value {
            Value::Object(table) => {
                keys.extend(table.into_iter().map(|(below, value)| (format!("{key}.{below}"), value)));
            }
            value => {
                keys.insert(key, value);
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing::level_filters::LevelFilter;

    use super::*;
    use crate::supervisor::{Restart, RestartOn};
    use crate::types::CompatMode;

    fn reloaded(plan: Plan) -> Reloaded {
        Reloaded { plan, log: Log { level: LevelFilter::WARN, json: false } }
    }

    fn plan() -> Plan {
        Plan { command: vec![c"true".to_owned()], ..Plan::bare(CompatMode::Native) }
    }

    #[test]
    fn what_can_change_is_taken_and_the_rest_is_named() {
        let new = Plan {
            command: vec![c"false".to_owned()],
            grace: Duration::from_secs(7),
            restart: Restart { on: RestartOn::Always, ..Restart::default() },
            env: vec![("A".into(), "b".into())],
            ..plan()
        };
        let change = between(&reloaded(plan()), reloaded(new));
        assert_eq!(change.taken, ["grace", "restart.on"]);
        assert_eq!(change.left, ["command", "env.A"]);
        assert_eq!(change.now.plan.grace, Duration::from_secs(7));
        assert_eq!((change.now.plan.command, change.now.plan.env), (plan().command, plan().env));
        let log = Log { level: LevelFilter::DEBUG, json: true };
        let change = between(&reloaded(plan()), Reloaded { log, ..reloaded(plan()) });
        assert_eq!((change.taken, change.left), (vec!["log".to_owned()], vec!["log_format".to_owned()]));
        assert!(change.now.log.level == LevelFilter::DEBUG && !change.now.log.json);
    }

    #[test]
    fn what_is_watched_can_begin_change_and_end() {
        let watching = |minutes: u64| {
            let start_period = Duration::from_secs(60 * minutes);
            Some(WatchSettings { start_period, listen: "127.0.0.1:1".parse().ok(), ..WatchSettings::usual() })
        };
        let change = between(&reloaded(plan()), reloaded(Plan { watching: watching(1), ..plan() }));
        assert!(change.left.is_empty() && change.taken.contains(&"watch.listen".to_owned()), "{change:?}");
        assert_eq!(change.now.plan.watching, watching(1));
        let old = reloaded(Plan { watching: watching(1), ..plan() });
        let change = between(&old, reloaded(plan()));
        assert!(change.left.is_empty() && change.taken.contains(&"watch.listen".to_owned()), "{change:?}");
        assert_eq!(change.now.plan.watching, Some(WatchSettings::usual()));
    }
}
