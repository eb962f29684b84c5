//! A configuration that was read again: what of it can be had while everything runs, and what cannot.

use std::collections::BTreeMap;

use serde_json::Value;

use super::watch_settings::WatchSettings;
use super::{Plan, dump, setting};

/// What a new configuration comes to.
#[derive(Debug, Clone)]
pub struct Change {
    /// The old plan with what can be had of the new one.
    pub now: Plan,
    /// The keys that have another value now.
    pub taken: Vec<String>,
    /// The keys whose new value only another start of sexton brings.
    pub left: Vec<String>,
}

/// What can change while everything runs of that which only a file can say: a key, or all keys of a table. Each of the
/// other settings says it in its definition.
const LIVE: [&str; 9] =
    ["alerts", "health", "limits", "locks.held_too_long", "logs", "restart", "stop", "tools", "watch"];

fn is_live(key: &str) -> bool {
    setting::by_key(key).map_or_else(|| among(&LIVE, key), |setting| setting.definition.live)
}

/// Takes what can be had of `reloaded` over into `old`.
#[must_use]
pub fn between(old: &Plan, reloaded: Plan) -> Change {
    let (before, after) = (keys(old), keys(&reloaded));
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    let all: BTreeMap<&String, ()> = before.keys().chain(after.keys()).map(|key| (key, ())).collect();
    for key in all.into_keys().filter(|key| before.get(*key) != after.get(*key)) {
        if is_live(key) { taken.push(key.clone()) } else { left.push(key.clone()) }
    }
    Change { now: mixed(old, reloaded), taken, left }
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
        settings: old.settings.with_live_of(&reloaded.settings),
        restart: reloaded.restart,
        handoff: reloaded.handoff,
        before_stop: reloaded.before_stop,
        tools: reloaded.tools,
        watching,
        replace_on: reloaded.replace_on,
        origin: reloaded.origin,
        ..old.clone()
    }
}

fn among(list: &[&str], key: &str) -> bool {
    list.iter().any(|one| key.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Each key with its value, those of a table as `table.key`; a unit is one key.
fn keys(plan: &Plan) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    let Value::Object(whole) = dump::settings(plan) else { return keys };
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
    use crate::config::settings::Settings;
    use crate::config::value::LogFormat;
    use crate::supervisor::{Restart, RestartOn};
    use crate::types::CompatMode;

    fn plan() -> Plan {
        Plan { command: vec![c"true".to_owned()], ..Plan::bare(CompatMode::Native) }
    }

    #[test]
    fn what_can_change_is_taken_and_the_rest_is_named() {
        let new = Plan {
            command: vec![c"false".to_owned()],
            settings: Settings { grace: Duration::from_secs(7), ..plan().settings },
            restart: Restart { on: RestartOn::Always, ..Restart::default() },
            env: vec![("A".into(), "b".into())],
            ..plan()
        };
        let change = between(&plan(), new);
        assert_eq!(change.taken, ["grace", "restart.on"]);
        assert_eq!(change.left, ["command", "env.A"]);
        assert_eq!(change.now.settings.grace, Duration::from_secs(7));
        assert_eq!((change.now.command, change.now.env), (plan().command, plan().env));
        let settings = Settings { log: LevelFilter::DEBUG, log_format: LogFormat::Json, ..plan().settings };
        let change = between(&plan(), Plan { settings, ..plan() });
        assert_eq!((change.taken, change.left), (vec!["log".to_owned()], vec!["log_format".to_owned()]));
        let now = change.now.settings;
        assert_eq!((now.log, now.log_format), (LevelFilter::DEBUG, LogFormat::Text));
    }

    #[test]
    fn what_is_watched_can_begin_change_and_end() {
        let watching = |minutes: u64| {
            let start_period = Duration::from_secs(60 * minutes);
            Some(WatchSettings { start_period, listen: "127.0.0.1:1".parse().ok(), ..WatchSettings::usual() })
        };
        let change = between(&plan(), Plan { watching: watching(1), ..plan() });
        assert!(change.left.is_empty() && change.taken.contains(&"watch.listen".to_owned()), "{change:?}");
        assert_eq!(change.now.watching, watching(1));
        let old = Plan { watching: watching(1), ..plan() };
        let change = between(&old, plan());
        assert!(change.left.is_empty() && change.taken.contains(&"watch.listen".to_owned()), "{change:?}");
        assert_eq!(change.now.watching, Some(WatchSettings::usual()));
    }
}
