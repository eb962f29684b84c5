//! Status for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize as _;

use super::protocol::{Process, Status};
use super::registry::RELEASED;
use crate::report::{fold, messages, table};
use crate::types::{Outcome, one_line};

/// How many tool runs that ended, and incidents, are shown.
const SHOWN: usize = 10;

/// Everything. `wall` is now, in milliseconds since the epoch.
#[must_use]
pub fn status(status: &Status, wall: u64) -> String {
    let ago = |then: u64| time(wall.saturating_sub(then));
    let mut text = format!(
        "sexton {}, pid {}, up {}, reach {}\n",
        one_line(&status.version),
        status.pid,
        ago(status.since),
        one_line(&status.reach)
    );
    if let Some(address) = &status.watch {
        let _ = writeln!(text, "page and metrics: http://{}/", one_line(address));
    }
    units(&mut text, status, &ago);
    tools(&mut text, status, &ago);
    if let Some(health) = &status.health {
        let p99 = health.p99_ms.map(|p99| format!(", p99 {}", messages::latency(p99))).unwrap_or_default();
        let reason = if health.reason.is_empty() { String::new() } else { format!(": {}", health.reason) };
        let (state, since) = (health.state.word(), ago(health.since));
        let line = format!("health: {state} for {since}{p99}{}", one_line(&reason));
        let _ = writeln!(text, "\n{}", fold::line(&line, "health: ".len()));
    }
    if let Some(census) = &status.census {
        let _ = writeln!(
            text,
            "\ncensus: {} processes, {} zombies, {} resident, {}{} a minute",
            status.living(census),
            census.zombies,
            size(census.rss),
            if census.growth < 0 { "-" } else { "+" },
            size(census.growth.unsigned_abs())
        );
    }
    let incidents: Vec<[String; 5]> = status
        .incidents
        .iter()
        .take(SHOWN)
        .map(|incident| {
            let lasted = time(incident.ended.unwrap_or(wall).saturating_sub(incident.began));
            let ended =
                incident.ended.map_or("lasts".to_owned(), |ended| format!("ended {} ago", ago(ended)));
            [
                incident.kind.word().to_owned(),
                incident.subject.clone(),
                lasted,
                ended,
                incident.detail.clone(),
            ]
        })
        .collect();
    section(&mut text, ["INCIDENT", "OF", "FOR", "NOW", "DETAIL"], &incidents);
    let counted = &status.counters;
    let line = format!(
        "counted: {} reaped, {} signals passed on, {} restarts, {} locks removed, {} tools ended, \
         {} log lines dropped",
        counted.reaped,
        counted.signals,
        counted.restarts,
        counted.locks_removed,
        counted.tools,
        counted.log_lines_dropped
    );
    let _ = writeln!(text, "\n{}", fold::line(&line, "counted: ".len()));
    if !status.processes.is_empty() {
        text.push('\n');
        text.push_str(&processes(&status.processes));
    }
    text
}

fn units(text: &mut String, status: &Status, ago: &dyn Fn(u64) -> String) {
    let rows: Vec<[String; 6]> = std::iter::once(&status.gateway)
        .chain(&status.units)
        .map(|unit| {
            let pid = unit.main.or(unit.pid).map_or("-".to_owned(), |pid| pid.to_string());
            let last = unit.last.as_deref().unwrap_or("-").to_owned();
            [
                unit.name.clone(),
                unit.state.word().to_owned(),
                ago(unit.since),
                pid,
                unit.restarts.to_string(),
                last,
            ]
        })
        .collect();
    section(text, ["UNIT", "STATE", "FOR", "PID", "RESTARTS", "LAST RUN"], &rows);
}

fn tools(text: &mut String, status: &Status, ago: &dyn Fn(u64) -> String) {
    let running: Vec<[String; 6]> = status
        .tools
        .iter()
        .map(|tool| {
            let timeout = tool.timeout.map_or("-".to_owned(), time);
            let command = one_line(&tool.argv.join(" ")).chars().take(80).collect();
            [tool.id.clone(), tool.name.clone(), tool.pid.to_string(), ago(tool.began), timeout, command]
        })
        .collect();
    section(text, ["TOOL", "NAME", "PID", "RUNS", "TIMEOUT", "COMMAND"], &running);
    let ended: Vec<[String; 5]> = status
        .ended
        .iter()
        .take(SHOWN)
        .map(|record| {
            let released = record.more.get(RELEASED).and_then(|paths| paths.as_array()).map_or(0, Vec::len);
            let locks = match released {
                0 => String::new(),
                1 => "; a lock was removed".to_owned(),
                number => format!("; {number} locks were removed"),
            };
            let how = outcome(&record.outcome) + &locks;
            [record.id.clone(), record.name.clone(), ago(record.ended), time(record.duration), how]
        })
        .collect();
    section(text, ["ENDED TOOL", "NAME", "AGO", "TOOK", "OUTCOME"], &ended);
}

fn section<const N: usize>(text: &mut String, headings: [&str; N], rows: &[[String; N]]) {
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table::folded_columns(headings, rows));
    }
}

/// The processes as a tree.
#[must_use]
pub fn processes(processes: &[Process]) -> String {
    let mut depths: BTreeMap<i32, usize> = BTreeMap::new();
    let rows: Vec<[String; 7]> = processes
        .iter()
        .map(|process| {
            let depth = depths.get(&process.parent).map_or(0, |depth| depth + 1);
            depths.insert(process.pid, depth);
            let of = match (&process.of, process.orphan) {
                (Some(of), true) => format!("orphan of {of}"),
                (Some(of), false) => of.clone(),
                (None, _) => "-".to_owned(),
            };
            [
                process.pid.to_string(),
                process.group.to_string(),
                process.state.to_string(),
                time(process.age),
                size(process.rss),
                of,
                format!("{}{}", "  ".repeat(depth.min(20)), process.name),
            ]
        })
        .collect();
    table::columns(["PID", "GROUP", "STATE", "AGE", "MEMORY", "OF", "NAME"], &rows)
}

/// `{"exited":{"code":3}}` as `exited with 3`. What is none of our outcomes is shown as it is.
fn outcome(value: &serde_json::Value) -> String {
    Outcome::deserialize(value).map_or_else(|_| value.to_string(), |outcome| outcome.to_string())
}

/// The two largest units of a time in milliseconds, which is enough for people.
pub(super) fn time(millis: u64) -> String {
    let time = if millis < 1000 { Duration::from_millis(millis) } else { Duration::from_secs(millis / 1000) };
    humantime::format_duration(time).to_string().split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn size(bytes: u64) -> String {
    match bytes >> 10 {
        kibibytes @ 0..=9999 => format!("{kibibytes}K"),
        kibibytes @ 10_000..=10_239_999 => format!("{}M", kibibytes >> 10),
        kibibytes => format!("{}G", kibibytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::protocol::{
        Counters, Incident, IncidentKind, ToolRecord, ToolRun, UnitState, UnitStatus,
    };
    use super::*;

    #[test]
    fn a_tree_is_shown_with_whose_each_process_is() {
        let process = |pid, parent, of: Option<&str>, orphan, name: &str| Process {
            pid,
            parent,
            group: pid,
            session: pid,
            state: 'S',
            age: 61_000,
            rss: 20 << 20,
            name: name.to_owned(),
            of: of.map(str::to_owned),
            orphan,
        };
        let status_ = Status {
            version: "1".into(),
            pid: 1,
            since: 0,
            reach: "kill-all".into(),
            gateway: UnitStatus {
                name: "gateway".into(),
                state: UnitState::Running,
                pid: Some(7),
                since: 40_000,
                last: Some("exited with 1".into()),
                ..UnitStatus::default()
            },
            tools: vec![ToolRun {
                id: "t1".into(),
                name: "exec".into(),
                argv: vec!["sh".into(), "-c".into(), "a\n\x1b[2J".into()],
                pid: 9,
                began: 99_000,
                ..ToolRun::default()
            }],
            ended: vec![ToolRecord {
                id: "t0".into(),
                name: "exec".into(),
                ended: 90_000,
                duration: 10,
                outcome: json!({ "timed_out": { "stage": "kill" } }),
                ..ToolRecord::default()
            }],
            incidents: vec![Incident {
                kind: IncidentKind::LockHeld,
                subject: "/x.lock".into(),
                detail: "held".into(),
                began: 90_000,
                ended: None,
            }],
            counters: Counters { reaped: 3, ..Counters::default() },
            processes: vec![
                process(7, 1, Some("gateway"), false, "node"),
                process(9, 7, Some("t1"), false, "sh\u{202e}"),
                process(10, 1, Some("t0"), true, "sleep"),
                process(11, 1, None, false, "x"),
            ],
            ..Status::default()
        };
        let text = status(&status_, 100_000);
        let expected = "\
sexton 1, pid 1, up 1m 40s, reach kill-all

UNIT     STATE    FOR  PID  RESTARTS  LAST RUN
gateway  running  1m   7    0         exited with 1

TOOL  NAME  PID  RUNS  TIMEOUT  COMMAND
t1    exec  9    1s    -        sh -c a\\n\\u{1b}[2J

ENDED TOOL  NAME  AGO  TOOK  OUTCOME
t0          exec  10s  10ms  timed out and was killed

INCIDENT   OF       FOR  NOW    DETAIL
lock-held  /x.lock  10s  lasts  held

counted: 3 reaped, 0 signals passed on, 0 restarts, 0 locks removed, 0 tools
         ended, 0 log lines dropped

PID  GROUP  STATE  AGE    MEMORY  OF            NAME
7    7      S      1m 1s  20M     gateway       node
9    9      S      1m 1s  20M     t1              sh\\u{202e}
10   10     S      1m 1s  20M     orphan of t0  sleep
11   11     S      1m 1s  20M     -             x
";
        assert_eq!(text, expected);
    }

    #[test]
    fn outcomes_and_sizes_read_as_words() {
        assert_eq!(outcome(&json!({ "exited": { "code": 3 } })), "exited with 3");
        assert_eq!(outcome(&json!(Outcome::Lost {})), Outcome::Lost {}.to_string());
        assert_eq!(outcome(&json!({ "dissolved": [1] })), "{\"dissolved\":[1]}");
        assert_eq!([size(0), size(9 << 20), size(3 << 34)], ["0K", "9216K", "48G"]);
    }
}
