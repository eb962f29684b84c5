//! A configuration that was read again: what of it can be had while everything runs, and what cannot.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Plan;
use super::spelled::{self, Log};
use super::watching::Watching;

/// The settings as they are read, apart from what is asked of this run.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The plan.
    pub plan: Plan,
    /// What is said of log lines.
    pub log: Log,
}

/// What a new configuration comes to.
#[derive(Debug, Clone)]
pub struct Change {
    /// The old settings with what can be had of the new ones.
    pub now: Fresh,
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
    "stragglers",
    "tools",
    "wait",
    "watch",
];
/// Takes what can be had of `fresh` over into `old`.
#[must_use]
pub fn between(old: &Fresh, fresh: Fresh) -> Change {
    let (before, after) = (keys(old), keys(&fresh));
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    let all: BTreeMap<&String, ()> = before.keys().chain(after.keys()).map(|key| (key, ())).collect();
    for key in all.into_keys().filter(|key| before.get(*key) != after.get(*key)) {
        if among(&LIVE, key) { taken.push(key.clone()) } else { left.push(key.clone()) }
    }
    let now = Fresh { plan: mixed(&old.plan, fresh.plan), log: Log { json: old.log.json, ..fresh.log } };
    Change { now, taken, left }
}

fn mixed(old: &Plan, fresh: Plan) -> Plan {
    let watching = match &old.watching {
        None => fresh.watching,
        Some(before) => {
            let mut now = fresh.watching.unwrap_or_else(Watching::usual);
            // Which locks there are is settled at the start.
            now.locks.clone_from(&before.locks);
            Some(now)
        }
    };
    Plan {
        grace: fresh.grace,
        stragglers: fresh.stragglers,
        group: fresh.group,
        rewrite: fresh.rewrite,
        delay: fresh.delay,
        stop_signals: fresh.stop_signals,
        stop_sequence: fresh.stop_sequence,
        wait_all: fresh.wait_all,
        restart: fresh.restart,
        tools: fresh.tools,
        watching,
        replace_on: fresh.replace_on,
        ..old.clone()
    }
}

fn among(list: &[&str], key: &str) -> bool {
    list.iter().any(|one| key.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Each key with its value, those of a table as `table.key`; a unit is one key.
fn keys(settings: &Fresh) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    let Value::Object(whole) = spelled::settings(&settings.plan, &settings.log) else { return keys };
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
    use crate::ids::Dress;
    use crate::supervisor::{On, Restart};

    fn fresh(plan: Plan) -> Fresh {
        Fresh { plan, log: Log { level: LevelFilter::WARN, json: false } }
    }

    fn plan() -> Plan {
        Plan { command: vec![c"true".to_owned()], ..Plan::bare(Dress::Own) }
    }

    #[test]
    fn what_can_change_is_taken_and_the_rest_is_named() {
        let new = Plan {
            command: vec![c"false".to_owned()],
            grace: Duration::from_secs(7),
            restart: Restart { on: On::Always, ..Restart::default() },
            env: vec![("A".into(), "b".into())],
            ..plan()
        };
        let change = between(&fresh(plan()), fresh(new));
        assert_eq!(change.taken, ["grace", "restart.on"]);
        assert_eq!(change.left, ["command", "env.A"]);
        assert_eq!(change.now.plan.grace, Duration::from_secs(7));
        assert_eq!((change.now.plan.command, change.now.plan.env), (plan().command, plan().env));
        let log = Log { level: LevelFilter::DEBUG, json: true };
        let change = between(&fresh(plan()), Fresh { log, ..fresh(plan()) });
        assert_eq!((change.taken, change.left), (vec!["log".to_owned()], vec!["log_format".to_owned()]));
        assert!(change.now.log.level == LevelFilter::DEBUG && !change.now.log.json);
    }

    #[test]
    fn what_is_watched_can_begin_change_and_end() {
        let watching = |minutes: u64| {
            let start_period = Duration::from_secs(60 * minutes);
            Some(Watching { start_period, listen: "127.0.0.1:1".parse().ok(), ..Watching::usual() })
        };
        let change = between(&fresh(plan()), fresh(Plan { watching: watching(1), ..plan() }));
        assert!(change.left.is_empty() && change.taken.contains(&"watch.listen".to_owned()), "{change:?}");
        assert_eq!(change.now.plan.watching, watching(1));
        let old = fresh(Plan { watching: watching(1), ..plan() });
        let change = between(&old, fresh(plan()));
        assert!(change.left.is_empty() && change.taken.contains(&"watch.listen".to_owned()), "{change:?}");
        assert_eq!(change.now.plan.watching, Some(Watching::usual()));
    }
}
