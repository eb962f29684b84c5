//! The page for people: one document with everything in it, which loads itself again every few seconds.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use sexton::control::protocol::{HealthState, Incident, Process, Status, UnitState, UnitStatus};
use sexton::locks::listing::VerdictName;
use sexton::os::clock;
use sexton::report::messages::latency;
use sexton::types::Escaped;

use super::curve;
use super::metrics::{HEALTH, KINDS, UNITS, word};
use super::state::{Point, State, WatchState};
use crate::html::escape;

const STYLE: &str = include_str!("page.css");
/// The most rows of one table.
const ROWS: usize = 300;

/// The page. `status` is what sexton has said, if it did.
pub fn page(known: &WatchState, status: Option<&Status>) -> String {
    let state = known.state.borrow();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"5\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{} · sexton</title>\
         <style>{STYLE}</style></head><body><main>",
        word(&HEALTH, &state.health.state)
    );
    head(&mut html, &state, status);
    tiles(&mut html, &state, status);
    let incidents = known.incidents(&state, status);
    let over = status.into_iter().flat_map(|status| &status.incidents).filter(|one| one.ended.is_some());
    table_of_incidents(&mut html, incidents.iter().chain(over));
    curves(&mut html, &state);
    if let Some(status) = status {
        units(&mut html, status);
        tools(&mut html, status);
        tree(&mut html, status);
    }
    locks(&mut html, &state);
    let _ = writeln!(
        html,
        "<footer>sexton {} · the same for machines: <a href=\"/status\">/status</a>, <a href=\"/metrics\">/metrics</a>, \
         <a href=\"/readyz\">/readyz</a></footer></main></body></html>",
        escape(status.map_or(env!("CARGO_PKG_VERSION"), |status| &status.version))
    );
    html
}

/// What others have named, with everything visible that could hide in it.
fn foreign(text: &str) -> String {
    escape(&Escaped(Path::new(text)).to_string())
}

fn pill(class: &str, text: &str) -> String {
    format!("<span class=\"pill {class}\">{}</span>", escape(text))
}

fn colour(health: HealthState) -> &'static str {
    match health {
        HealthState::Healthy => "good",
        HealthState::Unhealthy => "bad",
        HealthState::Slow | HealthState::Draining => "warn",
        HealthState::Unknown | HealthState::Starting => "",
    }
}

fn head(html: &mut String, state: &State, status: Option<&Status>) {
    let health = &state.health;
    let _ =
        write!(html, "<header><h1>Gateway</h1>{}", pill(colour(health.state), word(&HEALTH, &health.state)));
    if let Some(unit) = status.map(|status| &status.gateway).or(state.unit.as_ref()) {
        let pid = unit.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        let text = format!("{} for {}{pid}", word(&UNITS, &unit.state), ago(unit.since));
        html.push_str(&pill("", &text));
    }
    if status.is_none() {
        html.push_str(&pill("bad", "sexton does not answer"));
    }
    let _ =
        write!(html, "</header><p class=\"why\">{} · for {}</p>", foreign(&health.reason), ago(health.since));
}

fn tiles(html: &mut String, state: &State, status: Option<&Status>) {
    html.push_str("<div class=\"tiles\">");
    let mut tile = |value: String, label: &str| {
        let _ =
            write!(html, "<div class=\"tile\"><b>{}</b><span>{}</span></div>", escape(&value), escape(label));
    };
    let health = &state.health;
    for (ms, label) in [
        (health.p50_ms, "latency, median"),
        (health.p99_ms, "latency, 99th percentile"),
        (health.max_ms, "latency, largest"),
    ] {
        if let Some(ms) = ms {
            tile(latency(ms), label);
        }
    }
    if let Some(said) = health.event_loop {
        if let Some(ms) = said.delay_p99_ms {
            tile(latency(ms), "event loop delay, p99");
        }
        if let Some(part) = said.utilization {
            tile(format!("{:.0} %", part * 100.0), "event loop busy");
        }
    }
    if let Some(tallied) = &state.tallied {
        let census = &tallied.census;
        tile(bytes(census.pss.unwrap_or(census.rss)), "memory of the tree");
        let sign = if census.growth < 0 { "−" } else { "+" };
        tile(format!("{sign}{}", bytes(census.growth.unsigned_abs())), "growth a minute");
        tile(status.map_or(census.processes, |status| status.living(census)).to_string(), "processes");
        tile(census.zombies.to_string(), "zombies not reaped");
    }
    if let Some(look) = &state.locks {
        tile(look.number.to_string(), "locks");
    }
    if let Some(status) = status {
        tile(status.counters.restarts.to_string(), "restarts");
    }
    html.push_str("</div>");
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn bytes(number: u64) -> String {
    match number {
        0..1024 => format!("{number} B"),
        1024..1_048_576 => format!("{:.0} KiB", number as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.0} MiB", number as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", number as f64 / 1_073_741_824.0),
    }
}

fn span(ms: u64) -> String {
    let seconds = Duration::from_secs(ms / 1000);
    // The two largest units are enough for people.
    let text = humantime::format_duration(seconds).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn ago(then: u64) -> String {
    span(clock::wall_millis().saturating_sub(then))
}

fn section(html: &mut String, title: &str, columns: &[&str], rows: impl Iterator<Item = String>) {
    let _ = write!(html, "<section><h2>{}</h2><table><tr>", escape(title));
    for column in columns {
        let class = if column.starts_with('#') { " class=\"n\"" } else { "" };
        let _ = write!(html, "<th{class}>{}</th>", escape(column.trim_start_matches('#')));
    }
    html.push_str("</tr>");
    rows.take(ROWS).for_each(|row| html.push_str(&row));
    html.push_str("</table></section>");
}

fn table_of_incidents<'a>(html: &mut String, incidents: impl Iterator<Item = &'a Incident>) {
    let mut incidents = incidents.peekable();
    if incidents.peek().is_none() {
        html.push_str("<section><h2>Incidents</h2><div class=\"none\">None.</div></section>");
        return;
    }
    let row = |incident: &Incident| {
        let (class, state) = match incident.ended {
            None => ("bad", format!("for {}", ago(incident.began))),
            Some(ended) => ("", format!("over since {}", ago(ended))),
        };
        format!(
            "<tr><td class=\"nw\">{}</td><td class=\"nw\">{}</td><td class=\"w\"><code>{}</code></td><td class=\"w\">{}</td></tr>",
            pill(class, word(&KINDS, &incident.kind)),
            escape(&state),
            foreign(&incident.subject),
            foreign(&incident.detail)
        )
    };
    section(html, "Incidents", &["kind", "since", "of", "what"], incidents.map(row));
}

fn curves(html: &mut String, state: &State) {
    for (probe, course) in state.settings.health.iter().zip(&state.courses) {
        let points: Vec<Point> = course.recent.iter().copied().collect();
        let curve = curve::draw(&probe.name, &points, probe.slow_after, clock::now());
        let _ = write!(html, "<section><h2>Latency: {}</h2>{curve}</section>", foreign(&probe.name));
    }
}

fn unit_row(unit: &UnitStatus) -> String {
    let class = match unit.state {
        UnitState::Running => "good",
        UnitState::Waiting | UnitState::Stopping => "warn",
        UnitState::Pending | UnitState::Starting | UnitState::Ended => "",
    };
    format!(
        "<tr><td>{}</td><td class=\"nw\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"w\">{}</td></tr>",
        foreign(&unit.name),
        pill(class, word(&UNITS, &unit.state)),
        // As 'sexton status' has it: a unit's own process, and not its supervisor.
        unit.main.or(unit.pid).map(|pid| pid.to_string()).unwrap_or_default(),
        ago(unit.since),
        unit.restarts,
        foreign(unit.last.as_deref().unwrap_or_default())
    )
}

fn units(html: &mut String, status: &Status) {
    let rows = std::iter::once(&status.gateway).chain(&status.units).map(unit_row);
    section(html, "Units", &["name", "state", "#pid", "#for", "#restarts", "last run"], rows);
}

fn tools(html: &mut String, status: &Status) {
    if status.tools.is_empty() {
        return;
    }
    let rows = status.tools.iter().map(|tool| {
        format!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"w\"><code>{}</code></td></tr>",
            foreign(&tool.name),
            tool.pid,
            ago(tool.began),
            tool.timeout.map(span).unwrap_or_default(),
            foreign(&tool.argv.join(" "))
        )
    });
    section(html, "Tools", &["name", "#pid", "#for", "#deadline", "command"], rows);
}

fn tree(html: &mut String, status: &Status) {
    if status.processes.is_empty() {
        return;
    }
    let mut depths: BTreeMap<i32, usize> = BTreeMap::from([(status.pid, 0)]);
    let rows = status.processes.iter().map(|process| {
        let depth = depths.get(&process.parent).map_or(0, |above| above + 1);
        depths.insert(process.pid, depth);
        tree_row(process, depth)
    });
    let columns = ["process", "#pid", "#state", "#age", "#memory", "of"];
    section(html, &format!("Processes: {}", status.processes.len()), &columns, rows);
}

fn tree_row(process: &Process, depth: usize) -> String {
    let twig = match depth {
        0 | 1 => String::new(),
        depth => format!("<span class=\"twig\">{}└ </span>", "&nbsp;&nbsp;".repeat(depth.min(20) - 2)),
    };
    let state = process.state.to_string();
    let state = if process.state == 'Z' { pill("warn", &state) } else { escape(&state) };
    format!(
        "<tr><td><code>{twig}{}</code></td><td class=\"n\">{}</td><td class=\"n\">{state}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
        foreign(&process.name),
        process.pid,
        span(process.age),
        bytes(process.rss),
        foreign(process.of.as_deref().unwrap_or_default())
    )
}

fn locks(html: &mut String, state: &State) {
    let Some(look) = &state.locks else { return };
    let rows = look.entries.iter().filter(|entry| entry.verdict != VerdictName::NotJudged).map(|entry| {
        let (class, verdict) = match entry.verdict {
            VerdictName::Held if entry.held_too_long => ("bad", "held too long"),
            VerdictName::Held => ("good", "held"),
            VerdictName::Orphaned => ("warn", "orphaned"),
            VerdictName::Unclear => ("", "unclear"),
            VerdictName::Skipped | VerdictName::NotJudged => ("", "skipped"),
        };
        let seconds = |seconds: Option<u64>| seconds.map(|s| span(s.saturating_mul(1000))).unwrap_or_default();
        format!(
            "<tr><td class=\"nw\">{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"w\"><code>{}</code></td></tr>",
            pill(class, verdict),
            foreign(entry.kind.as_deref().unwrap_or_default()),
            entry.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            seconds(entry.age_seconds),
            seconds(entry.limit_seconds),
            foreign(&entry.location.path)
        )
    });
    section(html, &format!("Locks: {}", look.number), &["", "kind", "#pid", "#age", "#limit", "path"], rows);
}
