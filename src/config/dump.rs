//! A plan spelled out: as a configuration file that makes the same plan, or as JSON with the same keys.
//!
//! What has no value is left out. What no file can say, where a thing was found say, is a comment at the top, and
//! `found` in JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Plan;
use super::lock_rule::{LockFormat, LockRule};
use super::openclaw::Package;
use super::preset::Row;
use super::setting::Table;
use super::settings::Given;
use super::unit::Unit;
use super::watch_settings::{ProbeKind, WatchSettings};
use crate::locks::Root;
use crate::supervisor::{Ready, Restart, RestartOn};
use crate::types::{Escaped, IncidentKind};

/// As JSON, in one object.
#[must_use]
pub fn json(plan: &Plan) -> String {
    let mut whole = settings(plan);
    if let Some(object) = whole.as_object_mut() {
        let found = effective(plan).into_iter().map(|(key, value)| (key.to_owned(), value));
        object.insert("found".to_owned(), table(found));
    }
    format!("{whole:#}\n")
}

/// As a configuration file.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for (key, value) in effective(plan) {
        let _ = writeln!(text, "# {}: {}", key.replace('_', " "), words(&value));
    }
    if let Value::Object(table) = settings(plan) {
        write_table(&mut text, &mut Vec::new(), &table);
    }
    text
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string(),
        Value::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A table of these. One by one: collecting sorts first, and a sort is made anew for every type.
fn table(pairs: impl Iterator<Item = (String, Value)>) -> Value {
    let mut table = Map::new();
    table.extend(pairs);
    Value::Object(table)
}

/// What no file says.
fn effective(plan: &Plan) -> Vec<(&'static str, Value)> {
    let mut found = Vec::new();
    if let Some(file) = &plan.origin.file {
        found.push(("configuration_file", json!(file.to_string_lossy())));
    }
    if let Some(preset) = &plan.origin.preset {
        found.push(("preset", json!(preset)));
    }
    if let Some(row) = &plan.origin.row {
        found.push(("gateway_version", json!(gateway_version(row))));
        found.push(("settings_by_version", json!(format!("{}: {}", row.name, row.reason))));
    }
    if let Some(locks) = plan.locks.as_ref().filter(|locks| !explicit(&locks.roots)) {
        let roots = locks.roots.iter().map(ToString::to_string).collect::<Vec<_>>();
        found.push(("lock_roots_where_openclaw_would_look", json!(roots)));
    }
    if !plan.units.is_empty() {
        let names = |after: bool| {
            plan.units.iter().filter(move |unit| unit.after_gateway == after).map(|unit| &*unit.name)
        };
        let order: Vec<&str> = names(false).chain(["gateway"]).chain(names(true)).collect();
        found.push(("order_of_start", json!(order)));
    }
    found
}

/// Which version the gateway has, and who says so.
#[must_use]
pub fn gateway_version(row: &Row) -> String {
    match &row.package {
        None => "unknown, as the command does not tell; the settings are those for the newest".to_owned(),
        Some(Package { version, file }) => {
            let by = file
                .as_ref()
                .map_or("by the command".to_owned(), |file| format!("by {}", Escaped(file.as_ref())));
            let newer = if row.is_newer { ", newer than those that were tried" } else { "" };
            format!("{version}, {by}{newer}")
        }
    }
}

fn explicit(roots: &[Root]) -> bool {
    roots.iter().all(|root| matches!(root, Root::Given(_) | Root::Catalogue(_)))
}

fn time(time: Duration) -> Value {
    json!(humantime::format_duration(time).to_string())
}

/// Everything that a file can say, with the keys that say it.
pub(super) fn settings(plan: &Plan) -> Value {
    let mut whole = file_only(plan);
    if let Some(whole) = whole.as_object_mut() {
        for setting in Given::SETTINGS.iter().filter(|setting| !setting.definition.key.is_empty()) {
            let (table, key) = setting.place();
            let table = match whole.get_mut(table) {
                _ if table.is_empty() => Some(&mut *whole),
                below => below.and_then(Value::as_object_mut),
            };
            if let Some(table) = table {
                table.entry(key).or_insert_with(|| (setting.show)(&plan.settings));
            }
        }
        if plan.locks.is_none() {
            whole.insert("locks".to_owned(), json!({ "enabled": false }));
        }
    }
    prune(&mut whole);
    whole
}

/// What only a file can say.
fn file_only(plan: &Plan) -> Value {
    let units = plan.units.iter().enumerate().map(|(index, unit)| {
        let previous = index.checked_sub(1).and_then(|one| plan.units.get(one));
        (unit.name.clone(), spelled_unit(unit, previous))
    });
    let mut whole = json!({
        "command": strings(&plan.command),
        "output": output(plan.prefix.is_some()),
        "env": environment(&plan.env),
        "restart": restart_and_handoff(plan),
        "stop": {
            "before": plan.before_stop.as_ref().map(|before| strings(&before.command)),
            "before_timeout": plan.before_stop.as_ref().map(|before| time(before.timeout)),
        },
        "units": table(units),
        "tools": {
            "timeout": plan.tools.timeout.map(time),
            "grace": time(plan.tools.grace),
            "orphans": if plan.tools.end_orphans { "end" } else { "report" },
            "record": plan.tools.record.as_ref().map(|path| path.to_string_lossy()),
        },
        "locks": locks(plan),
        "systemd": {
            "ready": match plan.ready {
                Ready::Started => "started",
                Ready::Healthy => "healthy",
                Ready::Notified => "notified",
            },
            "pass_signal": plan.pass_signal,
        },
    });
    if let (Some(whole), Some(watching)) = (whole.as_object_mut(), &plan.watching) {
        watched(whole, watching, &|kind| reaction(plan.replace_on.contains(&kind)));
    }
    whole
}

fn strings<T: AsRef<std::ffi::CStr>>(words: &[T]) -> Vec<String> {
    words.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect()
}

fn environment(env: &[(std::ffi::OsString, std::ffi::OsString)]) -> Value {
    let pair = |(name, value): &(std::ffi::OsString, std::ffi::OsString)| {
        (name.to_string_lossy().into_owned(), json!(value.to_string_lossy()))
    };
    table(env.iter().map(pair))
}

fn restart(restart: &Restart) -> Value {
    json!({
        "on": match restart.on {
            RestartOn::Never => "never",
            RestartOn::Failure => "on-failure",
            RestartOn::Always => "always",
        },
        "prevent_exit_codes": restart.prevent_exit_codes,
        "force_exit_codes": restart.force_exit_codes,
        "delay": time(restart.delay),
        "max_delay": time(restart.max_delay),
        "limit": restart.limit,
        "interval": time(restart.interval),
    })
}

fn restart_and_handoff(plan: &Plan) -> Value {
    let mut table = restart(&plan.restart);
    if let (Some(table), Some(handoff)) = (table.as_object_mut(), &plan.handoff) {
        table.insert("handoff".to_owned(), json!(strings(&handoff.command)));
        table.insert("handoff_timeout".to_owned(), time(handoff.timeout));
    }
    table
}

fn output(prefix: bool) -> &'static str {
    if prefix { "prefix" } else { "inherit" }
}

fn reaction(replaces: bool) -> &'static str {
    if replaces { "restart" } else { "report" }
}

fn spelled_unit(unit: &Unit, previous: Option<&Unit>) -> Value {
    // Each unit names the one before it, so that every reader gets the same order.
    let mut after: Vec<&str> = previous.iter().map(|unit| &*unit.name).collect();
    if unit.after_gateway && previous.is_none_or(|unit| !unit.after_gateway) {
        after.push("gateway");
    }
    json!({
        "command": strings(&unit.command),
        "after": after,
        "restart": restart(&unit.restart),
        "env": environment(&unit.env),
        "cwd": unit.directory.as_ref().map(|path| path.to_string_lossy()),
        "user": unit.user.map(|user| format!("{}:{}", user.uid, user.gid)),
        "required": unit.required,
        "output": output(unit.prefix),
        "grace": time(unit.grace),
        "kill_after": time(unit.kill_after),
    })
}

fn locks(plan: &Plan) -> Value {
    let Some(locks) = &plan.locks else { return json!({}) };
    let watched = plan.watching.as_ref().is_some_and(|watching| watching.locks.is_some());
    let rules: Vec<Value> = locks
        .rules
        .iter()
        .map(|rule| {
            let pid =
                (rule.format == Some(LockFormat::Json)).then(|| rule.pid.clone().unwrap_or("pid".to_owned()));
            let name = Some(rule.name.as_ref().unwrap_or(&rule.path).clone());
            json!(LockRule { name, pid, ..rule.clone() })
        })
        .collect();
    json!({
        "roots": explicit(&locks.roots).then(|| locks.roots.iter().filter(|root| !root.is_catalogue()).map(ToString::to_string).collect::<Vec<_>>()),
        "sharing": if locks.exclusive { "exclusive" } else { "shared" },
        "held_too_long": watched.then(|| reaction(plan.replace_on.contains(&IncidentKind::LockHeld))),
        "kinds": locks.kinds,
        "rule": rules,
    })
}

fn watched(
    whole: &mut Map<String, Value>,
    watching: &WatchSettings,
    action: &dyn Fn(IncidentKind) -> &'static str,
) {
    let limits = &watching.limits;
    let replaced = if limits.memory.is_some() { IncidentKind::Memory } else { IncidentKind::Zombies };
    whole.insert(
        "limits".to_owned(),
        json!({
            "memory": limits.memory,
            "zombies": limits.zombies,
            "interval": time(limits.interval),
            "action": action(replaced),
        }),
    );
    let logs = watching.logs.iter().map(|log| {
        let spelled = json!({
            "files": log.files,
            "pattern": log.pattern,
            "count": log.count,
            "interval": time(log.interval),
            "action": reaction(log.restart),
        });
        (log.name.clone(), spelled)
    });
    whole.insert("logs".to_owned(), table(logs));
    if let Some(alerts) = &watching.alerts {
        let spelled = json!({ "command": alerts.command, "timeout": time(alerts.timeout) });
        whole.insert("alerts".to_owned(), spelled);
    }
    whole.insert("watch".to_owned(), json!({ "listen": watching.listen.map(|at| at.to_string()) }));
    let Some(probe) = watching.health.first() else { return };
    let asked = |wanted: &dyn Fn(&ProbeKind) -> Option<Value>| -> Vec<Value> {
        watching.health.iter().filter_map(|probe| wanted(&probe.ask)).collect()
    };
    let (status, fields) = match &probe.ask {
        ProbeKind::Http { status, fields, .. } => (Some(*status), fields.as_slice()),
        _ => (None, [].as_slice()),
    };
    let fields = table(fields.iter().cloned());
    let beats = watching.health.iter().find_map(|probe| match &probe.ask {
        ProbeKind::Heartbeat { file, max_age } => Some((file, *max_age)),
        _ => None,
    });
    let health = json!({
        "url": asked(&|ask| if let ProbeKind::Http { url, .. } = ask { Some(json!(url)) } else { None }),
        "tcp": asked(&|ask| if let ProbeKind::Tcp { address } = ask { Some(json!(address)) } else { None }),
        "file": beats.map(|(file, _)| json!(file)),
        "max_age": beats.map(|(_, max_age)| time(max_age)),
        "command": asked(&|ask| if let ProbeKind::Command { argv } = ask { Some(json!(argv)) } else { None }).pop(),
        "status": status,
        "fields": fields,
        "interval": time(probe.interval),
        "timeout": time(probe.timeout),
        "slow_after": time(probe.slow_after),
        "failure_threshold": probe.failure_threshold,
        "start_period": time(watching.start_period),
        "action": action(IncidentKind::Unhealthy),
    });
    whole.insert("health".to_owned(), health);
}

/// Takes out what has no value.
fn prune(value: &mut Value) {
    match value {
        Value::Object(table) => {
            table.values_mut().for_each(prune);
            table.retain(|_, value| match value {
                Value::Null => false,
                Value::Array(list) => !list.is_empty(),
                Value::Object(table) => !table.is_empty(),
                _ => true,
            });
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

/// A table's own values, then the tables below it.
fn write_table(text: &mut String, path: &mut Vec<String>, table: &Map<String, Value>) {
    for (key, value) in table.iter().filter(|(_, value)| !is_table(value)) {
        let _ = writeln!(text, "{} = {}", bare(key), inline(value));
    }
    for (key, value) in table.iter().filter(|(_, value)| is_table(value)) {
        path.push(bare(key));
        let name = path.join(".");
        match value {
            Value::Object(below) => {
                // One that only leads to others needs no header of its own.
                if below.values().any(|value| !is_table(value)) {
                    let _ = writeln!(text, "\n[{name}]");
                }
                write_table(text, path, below);
            }
            Value::Array(list) => {
                for below in list.iter().filter_map(Value::as_object) {
                    let _ = writeln!(text, "\n[[{name}]]");
                    write_table(text, path, below);
                }
            }
            _ => {}
        }
        path.pop();
    }
}

/// Whether it stands below a header.
fn is_table(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(list) => list.iter().any(Value::is_object),
        _ => false,
    }
}

fn bare(key: &str) -> String {
    let plain =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if plain { key.to_owned() } else { string(key) }
}

/// JSON's strings are TOML's, but for one character that TOML wants escaped.
fn string(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007f")
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
