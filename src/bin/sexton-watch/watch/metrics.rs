//! What `/metrics` says. The table in packaging/grafana/README.md is a list of these, and a test compares them.
//!
//! Labels are bounded: states and kinds by their types, probes, units and log rules by the configuration.

use std::time::Duration;

use sexton::control::protocol::{HealthState, IncidentKind, Status, UnitState};
use sexton::os::{process, procfs};

use super::prometheus::{Format, Labels, Page};
use super::state::{State, WatchState};

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

/// The page. `status` is what sexton has said of itself, if it did.
///
/// # Errors
///
/// If a value cannot be written in the format.
pub fn page(known: &WatchState, status: Option<&Status>, format: Format) -> Result<String, std::fmt::Error> {
    let mut page = Page::default();
    let state = known.state.borrow();
    let version = label("version", env!("CARGO_PKG_VERSION"));
    page.gauges("sexton_watch_info", "The version of sexton-watch; always 1.", [(version, true)]);
    page.gauge("sexton_up", "Whether sexton has answered.", Some(status.is_some()));
    health(&mut page, &state);
    tree(&mut page, &state);
    locks_and_logs(&mut page, &state);
    let alerts = known.alarm.counts();
    let results = [
        ("delivered", alerts.delivered),
        ("failed", alerts.failed),
        ("timed-out", alerts.timed_out),
        ("dropped", alerts.dropped),
    ];
    page.counters(
        "sexton_alerts",
        "Alerts by what became of them.",
        results.map(|(result, number)| (label("result", result), number)),
    );
    let lasting = known.incidents(&state, status);
    let active =
        |kind: &IncidentKind| lasting.iter().filter(|incident| incident.kind == *kind).count() as u64;
    let incidents = IncidentKind::ALL.iter().map(|kind| (label("kind", kind.word()), active(kind)));
    page.gauges("sexton_incidents_active", "Incidents that last, by kind.", incidents);
    if let Some(status) = status {
        sexton(&mut page, status);
    }
    let memory = procfs::resident(process::own_pid());
    page.gauge("sexton_watch_resident_memory_bytes", "The resident memory of sexton-watch itself.", memory);
    page.encode(format)
}

fn health(page: &mut Page, state: &State) {
    let health = &state.health;
    let is = HealthState::ALL.iter().map(|state| (label("state", state.word()), health.state == *state));
    page.gauges("sexton_gateway_health", "1 for the state that the gateway's health is in.", is);
    page.gauge(
        "sexton_gateway_ready",
        "Whether the gateway answers well, if too late perhaps.",
        Some(state.ready()),
    );
    let figures =
        [("last", health.last_ms), ("p50", health.p50_ms), ("p99", health.p99_ms), ("max", health.max_ms)];
    let figures = figures.into_iter().filter_map(|(stat, ms)| Some((label("stat", stat), ms? / 1000.0)));
    page.gauges(
        "sexton_gateway_latency_seconds",
        "How long the gateway took to answer: the last answer, and percentiles of the last ones.",
        figures,
    );
    let probes = || state.settings.health.iter().zip(&state.probe_stats);
    page.histograms(
        "sexton_probe_duration_seconds",
        "How long answers to a probe took; no answer counts as long as its timeout.",
        probes().map(|(probe, stats)| (label("probe", &probe.name), &stats.histogram)),
    );
    page.counters(
        "sexton_probe_failures",
        "Probes without an answer, or with a wrong one.",
        probes().map(|(probe, stats)| (label("probe", &probe.name), stats.bad)),
    );
    let Some(said) = health.event_loop else { return };
    page.gauge(
        "sexton_gateway_event_loop_degraded",
        "Whether the gateway thinks that its event loop does badly.",
        Some(said.degraded),
    );
    page.gauge(
        "sexton_gateway_event_loop_delay_p99_seconds",
        "The 99th percentile of the event loop's delay, by the gateway's own account.",
        said.delay_p99_ms.map(|ms| ms / 1000.0),
    );
    page.gauge(
        "sexton_gateway_event_loop_utilization_ratio",
        "The part of the time in which the event loop was busy, by the gateway's own account.",
        said.utilization,
    );
}

fn tree(page: &mut Page, state: &State) {
    page.gauge(
        "sexton_tree_memory_limit_bytes",
        "The memory above which the tree has too much.",
        state.settings.limits.memory,
    );
    let Some(tallied) = &state.tallied else { return };
    let census = &tallied.census;
    page.gauge("sexton_tree_processes", "Processes below sexton that live.", Some(census.processes));
    page.gauge(
        "sexton_tree_zombies",
        "Zombies that a living parent other than sexton does not reap.",
        Some(census.zombies),
    );
    page.gauge(
        "sexton_tree_resident_memory_bytes",
        "Resident memory of the tree, shared pages counted every time.",
        Some(census.rss),
    );
    page.gauge(
        "sexton_tree_proportional_memory_bytes",
        "Memory of the tree, shared pages counted once.",
        census.pss,
    );
    #[expect(clippy::cast_precision_loss, reason = "the formats know only floating point")]
    let growth = census.growth as f64 / 60.0;
    page.gauge(
        "sexton_tree_memory_growth_bytes_per_second",
        "How fast the resident memory has grown over the last five minutes.",
        Some(growth),
    );
    page.counter(
        "sexton_tree_oom_kills",
        "Processes that the kernel has killed for want of memory.",
        tallied.oom_kills.into(),
    );
    page.counter(
        "sexton_tree_forks_refused",
        "Processes that the kernel has refused because there were too many.",
        tallied.forks_refused.into(),
    );
}

fn locks_and_logs(page: &mut Page, state: &State) {
    if let Some(look) = &state.locks {
        page.gauge("sexton_locks", "Locks in the lock roots.", Some(look.number as u64));
        page.gauge(
            "sexton_locks_held_too_long",
            "Locks that a living owner holds past their limit.",
            Some(look.too_long as u64),
        );
    }
    page.counters(
        "sexton_log_matches",
        "Lines that matched a log rule.",
        state
            .settings
            .logs
            .iter()
            .zip(&state.log_matches)
            .map(|(rule, number)| (label("rule", &rule.name), *number)),
    );
}

fn sexton(page: &mut Page, status: &Status) {
    let version = label("version", &status.version);
    page.gauges("sexton_info", "The version of sexton; always 1.", [(version, true)]);
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    page.gauge(
        "sexton_start_time_seconds",
        "When sexton was started, since the epoch.",
        Some(seconds(status.since)),
    );
    let gateway = status.gateway.pid.map(|_| seconds(status.gateway.since));
    page.gauge(
        "sexton_gateway_start_time_seconds",
        "When the gateway was started, since the epoch.",
        gateway,
    );
    let counters = &status.counters;
    for (name, help, value) in [
        ("sexton_gateway_restarts", "How often the gateway was started again.", counters.restarts),
        ("sexton_reaped", "Adopted processes that were reaped.", counters.reaped),
        ("sexton_locks_removed", "Locks that were removed or handed over.", counters.locks_removed),
        ("sexton_signals", "Signals that were passed on.", counters.signals),
        (
            "sexton_log_lines_dropped",
            "Log lines that standard error did not take.",
            counters.log_lines_dropped,
        ),
        ("sexton_tools", "Tool runs that ended.", counters.tools),
    ] {
        page.counter(name, help, Some(value));
    }
    page.gauge("sexton_tools_running", "Tool runs that are under way.", Some(status.tools.len() as u64));
    // The gateway may have a name of its own in the status.
    let units = || {
        let others = status.units.iter().map(|unit| (unit.name.as_str(), unit));
        std::iter::once(("gateway", &status.gateway)).chain(others)
    };
    let states = units().flat_map(|(name, unit)| {
        let labels =
            move |state: &UnitState| vec![("unit", name.to_owned()), ("state", state.word().to_owned())];
        UnitState::ALL.iter().map(move |state| (labels(state), unit.state == *state))
    });
    page.gauges("sexton_unit_state", "1 for the state that a unit is in; the gateway is one.", states);
    page.counters(
        "sexton_unit_restarts",
        "How often a unit was started again.",
        status.units.iter().map(|unit| (label("unit", &unit.name), unit.restarts)),
    );
}
