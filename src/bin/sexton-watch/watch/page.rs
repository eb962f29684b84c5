//! The page for people: one document with everything in it, which loads itself again every few seconds.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use sexton::control::protocol::{HealthState, Incident, Process, Status, UnitState, UnitStatus};
use sexton::locks::listing::VerdictName;
use sexton::os::clock;
use sexton::report::messages::latency;
use sexton::types::Escaped;

use super::curve;
use super::state::{Point, State, WatchState};

const STYLE: &str = include_str!("page.css");
/// The most rows of one table.
const ROWS: usize = 300;

/// The page. `status` is what sexton has said, if it did.
pub fn page(known: &WatchState, status: Option<&Status>) -> String {
    let state = known.state.borrow();
    let incidents = known.incidents(&state, status);
    let over = status.into_iter().flat_map(|status| &status.incidents).filter(|one| one.ended.is_some());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content="5";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { (state.health.state.word()) " · sexton" }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                (head(&state, status))
                (tiles(&state, status))
                (table_of_incidents(incidents.iter().chain(over)))
                (curves(&state))
                @if let Some(status) = status {
                    (units(status))
                    (tools(status))
                    (tree(status))
                }
                (locks(&state))
                footer {
                    "sexton " (status.map_or(env!("CARGO_PKG_VERSION"), |status| &status.version))
                    " · the same for machines: " a href="/status" { "/status" } ", "
                    a href="/metrics" { "/metrics" } ", " a href="/readyz" { "/readyz" }
                }
            } }
        }
    };
    page.into_string() + "\n"
}

/// What others have named, with everything visible that could hide in it.
fn foreign(text: &str) -> String {
    Escaped(Path::new(text)).to_string()
}

fn pill(class: &str, text: &str) -> Markup {
    html! { span class={ "pill " (class) } { (text) } }
}

fn colour(health: HealthState) -> &'static str {
    match health {
        HealthState::Healthy => "good",
        HealthState::Unhealthy => "bad",
        HealthState::Slow | HealthState::Draining => "warn",
        HealthState::Unknown | HealthState::Starting => "",
    }
}

fn head(state: &State, status: Option<&Status>) -> Markup {
    let health = &state.health;
    let unit = status.map(|status| &status.gateway).or(state.unit.as_ref());
    html! {
        header {
            h1 { "Gateway" }
            (pill(colour(health.state), health.state.word()))
            @if let Some(unit) = unit {
                @let pid = unit.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
                (pill("", &format!("{} for {}{pid}", unit.state.word(), ago(unit.since))))
            }
            @if status.is_none() { (pill("bad", "sexton does not answer")) }
        }
        p.why { (foreign(&health.reason)) " · for " (ago(health.since)) }
    }
}

fn tiles(state: &State, status: Option<&Status>) -> Markup {
    let mut tiles: Vec<(String, &str)> = Vec::new();
    let mut tile = |value: String, label| tiles.push((value, label));
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
    html! {
        div.tiles { @for (value, label) in &tiles { div.tile { b { (value) } span { (label) } } } }
    }
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

/// A table. `#` before a column's name means numbers.
fn section(title: &str, columns: &[&str], rows: impl Iterator<Item = Markup>) -> Markup {
    html! {
        section {
            h2 { (title) }
            table {
                tr {
                    @for column in columns {
                        th.n[column.starts_with('#')] { (column.trim_start_matches('#')) }
                    }
                }
                @for row in rows.take(ROWS) { tr { (row) } }
            }
        }
    }
}

fn table_of_incidents<'a>(incidents: impl Iterator<Item = &'a Incident>) -> Markup {
    let mut incidents = incidents.peekable();
    if incidents.peek().is_none() {
        return html! { section { h2 { "Incidents" } div.none { "None." } } };
    }
    let row = |incident: &Incident| {
        let (class, state) = match incident.ended {
            None => ("bad", format!("for {}", ago(incident.began))),
            Some(ended) => ("", format!("over since {}", ago(ended))),
        };
        html! {
            td.nw { (pill(class, incident.kind.word())) }
            td.nw { (state) }
            td.w { code { (foreign(&incident.subject)) } }
            td.w { (foreign(&incident.detail)) }
        }
    };
    section("Incidents", &["kind", "since", "of", "what"], incidents.map(row))
}

fn curves(state: &State) -> Markup {
    html! {
        @for (probe, stats) in state.settings.health.iter().zip(&state.probe_stats) {
            @let points: Vec<Point> = stats.recent.iter().copied().collect();
            section {
                h2 { "Latency: " (foreign(&probe.name)) }
                (curve::draw(&probe.name, &points, probe.slow_after, clock::now()))
            }
        }
    }
}

fn unit_row(unit: &UnitStatus) -> Markup {
    let class = match unit.state {
        UnitState::Running => "good",
        UnitState::Waiting | UnitState::Stopping => "warn",
        UnitState::Pending | UnitState::Starting | UnitState::Ended => "",
    };
    html! {
        td { (foreign(&unit.name)) }
        td.nw { (pill(class, unit.state.word())) }
        // As 'sexton status' has it: a unit's own process, and not its supervisor.
        td.n { @if let Some(pid) = unit.main.or(unit.pid) { (pid) } }
        td.n { (ago(unit.since)) }
        td.n { (unit.restarts) }
        td.w { (foreign(unit.last.as_deref().unwrap_or_default())) }
    }
}

fn units(status: &Status) -> Markup {
    let rows = std::iter::once(&status.gateway).chain(&status.units).map(unit_row);
    section("Units", &["name", "state", "#pid", "#for", "#restarts", "last run"], rows)
}

fn tools(status: &Status) -> Markup {
    if status.tools.is_empty() {
        return Markup::default();
    }
    let rows = status.tools.iter().map(|tool| {
        html! {
            td { (foreign(&tool.name)) }
            td.n { (tool.pid) }
            td.n { (ago(tool.began)) }
            td.n { @if let Some(timeout) = tool.timeout { (span(timeout)) } }
            td.w { code { (foreign(&tool.argv.join(" "))) } }
        }
    });
    section("Tools", &["name", "#pid", "#for", "#deadline", "command"], rows)
}

fn tree(status: &Status) -> Markup {
    if status.processes.is_empty() {
        return Markup::default();
    }
    let mut depths: BTreeMap<i32, usize> = BTreeMap::from([(status.pid, 0)]);
    let rows = status.processes.iter().map(|process| {
        let depth = depths.get(&process.parent).map_or(0, |above| above + 1);
        depths.insert(process.pid, depth);
        tree_row(process, depth)
    });
    let columns = ["process", "#pid", "#state", "#age", "#memory", "of"];
    section(&format!("Processes: {}", status.processes.len()), &columns, rows)
}

fn tree_row(process: &Process, depth: usize) -> Markup {
    // No-break spaces, two a level.
    let indent = (depth > 1).then(|| format!("{}└ ", "\u{a0}\u{a0}".repeat(depth.min(20) - 2)));
    let state = process.state.to_string();
    html! {
        td { code { @if let Some(indent) = indent { span.twig { (indent) } } (foreign(&process.name)) } }
        td.n { (process.pid) }
        td.n { @if process.state == 'Z' { (pill("warn", &state)) } @else { (state) } }
        td.n { (span(process.age)) }
        td.n { (bytes(process.rss)) }
        td { (foreign(process.of.as_deref().unwrap_or_default())) }
    }
}

fn locks(state: &State) -> Markup {
    let Some(look) = &state.locks else { return Markup::default() };
    let rows = look.entries.iter().filter(|entry| entry.verdict != VerdictName::NotJudged).map(|entry| {
        let (class, verdict) = match entry.verdict {
            VerdictName::Held if entry.held_too_long => ("bad", "held too long"),
            VerdictName::Held => ("good", "held"),
            VerdictName::Orphaned => ("warn", "orphaned"),
            VerdictName::Unclear => ("", "unclear"),
            VerdictName::Skipped | VerdictName::NotJudged => ("", "skipped"),
        };
        let seconds =
            |seconds: Option<u64>| seconds.map(|s| span(s.saturating_mul(1000))).unwrap_or_default();
        html! {
            td.nw { (pill(class, verdict)) }
            td { (foreign(entry.kind.as_deref().unwrap_or_default())) }
            td.n { @if let Some(pid) = entry.pid { (pid) } }
            td.n { (seconds(entry.age_seconds)) }
            td.n { (seconds(entry.limit_seconds)) }
            td.w { code { (foreign(&entry.location.path)) } }
        }
    });
    section(&format!("Locks: {}", look.number), &["", "kind", "#pid", "#age", "#limit", "path"], rows)
}
