//! What `/metrics` says. The table in packaging/grafana/README.md is a list of these, and a test compares them.
//!
//! Labels are bounded: states and kinds by their types, probes, units and log rules by the configuration.

use std::time::Duration;

use sexton::control::protocol::{HealthState, IncidentKind, Status, UnitState, UnitStatus};
use sexton::os::{process, procfs};

use super::prometheus::{Format, Page, Sample};
use super::state::{State, WatchState};

/// Every kind, in words.
pub const KINDS: [(IncidentKind, &str); 10] = [
    (IncidentKind::Unhealthy, "unhealthy"),
    (IncidentKind::Slow, "slow"),
    (IncidentKind::LockHeld, "lock-held"),
    (IncidentKind::Memory, "memory"),
    (IncidentKind::Zombies, "zombies"),
    (IncidentKind::Log, "log"),
    (IncidentKind::OutOfMemory, "out-of-memory"),
    (IncidentKind::RestartLimit, "restart-limit"),
    (IncidentKind::WatchLost, "watch-lost"),
    (IncidentKind::UnitEnded, "unit-ended"),
];

/// Every state of the health, in words.
pub const HEALTH: [(HealthState, &str); 6] = [
    (HealthState::Unknown, "unknown"),
    (HealthState::Starting, "starting"),
    (HealthState::Healthy, "healthy"),
    (HealthState::Slow, "slow"),
    (HealthState::Unhealthy, "unhealthy"),
    (HealthState::Draining, "draining"),
];

/// Every state of a unit, in words.
pub const UNITS: [(UnitState, &str); 6] = [
    (UnitState::Pending, "pending"),
    (UnitState::Starting, "starting"),
    (UnitState::Running, "running"),
    (UnitState::Stopping, "stopping"),
    (UnitState::Waiting, "waiting"),
    (UnitState::Ended, "ended"),
];

/// The word for one of a list.
pub fn word<T: PartialEq>(list: &[(T, &'static str)], of: &T) -> &'static str {
    list.iter().find(|(one, _)| one == of).map_or("unknown", |(_, word)| word)
}

#[expect(clippy::cast_precision_loss, reason = "the formats know only floating point")]
fn float(number: u64) -> f64 {
    number as f64
}

fn yes(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// The page. `status` is what sexton has said of itself, if it did.
pub fn page(known: &WatchState, status: Option<&Status>, format: Format) -> String {
    let mut page = Page::new(format);
    let state = known.state.borrow();
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    page.gauges("sexton_watch_info", "The version of sexton-watch; always 1.", [(version, 1.0)]);
    page.gauge("sexton_up", "Whether sexton has answered.", yes(status.is_some()));
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
        "sexton_alerts_total",
        "Alerts by what became of them.",
        results.map(|(result, number)| (vec![("result", result)], number)),
    );
    let lasting = known.incidents(&state, status);
    let active = |kind: &IncidentKind| lasting.iter().filter(|incident| incident.kind == *kind).count();
    let incidents = KINDS.map(|(kind, word)| (vec![("kind", word)], float(active(&kind) as u64)));
    page.gauges("sexton_incidents_active", "Incidents that last, by kind.", incidents);
    if let Some(status) = status {
        sexton(&mut page, status);
    }
    let memory = procfs::resident(process::own_pid()).map(float);
    page.gauge("sexton_watch_resident_memory_bytes", "The resident memory of sexton-watch itself.", memory);
    page.finish()
}

fn health(page: &mut Page, state: &State) {
    let health = &state.health;
    let is = HEALTH.map(|(one, word)| (vec![("state", word)], yes(health.state == one)));
    page.gauges("sexton_gateway_health", "1 for the state that the gateway's health is in.", is);
    page.gauge(
        "sexton_gateway_ready",
        "Whether the gateway answers well, if too late perhaps.",
        yes(state.ready()),
    );
    let figures =
        [("last", health.last_ms), ("p50", health.p50_ms), ("p99", health.p99_ms), ("max", health.max_ms)];
    let figures = figures.into_iter().filter_map(|(stat, ms)| Some((vec![("stat", stat)], ms? / 1000.0)));
    page.gauges(
        "sexton_gateway_latency_seconds",
        "How long the gateway took to answer: the last answer, and percentiles of the last ones.",
        figures,
    );
    let probes = || state.settings.health.iter().zip(&state.courses);
    if !state.courses.is_empty() {
        page.histograms(
            "sexton_probe_duration_seconds",
            "How long answers to a probe took; no answer counts as long as its timeout.",
            probes().map(|(probe, course)| (vec![("probe", probe.name.as_str())], &course.histogram)),
        );
    }
    page.counters(
        "sexton_probe_failures_total",
        "Probes without an answer, or with a wrong one.",
        probes().map(|(probe, course)| (vec![("probe", probe.name.as_str())], course.bad)),
    );
    let Some(said) = health.event_loop else { return };
    page.gauge(
        "sexton_gateway_event_loop_degraded",
        "Whether the gateway thinks that its event loop does badly.",
        yes(said.degraded),
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
        state.settings.limits.memory.map(float),
    );
    let Some(tallied) = &state.tallied else { return };
    let census = &tallied.census;
    page.gauge("sexton_tree_processes", "Processes below sexton that live.", float(census.processes));
    page.gauge(
        "sexton_tree_zombies",
        "Zombies that a living parent other than sexton does not reap.",
        float(census.zombies),
    );
    page.gauge(
        "sexton_tree_resident_memory_bytes",
        "Resident memory of the tree, shared pages counted every time.",
        float(census.rss),
    );
    page.gauge(
        "sexton_tree_proportional_memory_bytes",
        "Memory of the tree, shared pages counted once.",
        census.pss.map(float),
    );
    #[expect(clippy::cast_precision_loss, reason = "the formats know only floating point")]
    let growth = census.growth as f64 / 60.0;
    page.gauge(
        "sexton_tree_memory_growth_bytes_per_second",
        "How fast the resident memory has grown over the last five minutes.",
        growth,
    );
    page.counter(
        "sexton_tree_oom_kills_total",
        "Processes that the kernel has killed for want of memory.",
        tallied.oom_kills,
    );
    page.counter(
        "sexton_tree_forks_refused_total",
        "Processes that the kernel has refused because there were too many.",
        tallied.forks_refused,
    );
}

fn locks_and_logs(page: &mut Page, state: &State) {
    if let Some(look) = &state.locks {
        page.gauge("sexton_locks", "Locks in the lock roots.", float(look.number as u64));
        page.gauge(
            "sexton_locks_held_too_long",
            "Locks that a living owner holds past their limit.",
            float(look.too_long as u64),
        );
    }
    page.counters(
        "sexton_log_matches_total",
        "Lines that matched a log rule.",
        state
            .settings
            .logs
            .iter()
            .zip(&state.log_matches)
            .map(|(rule, number)| (vec![("rule", rule.name.as_str())], *number)),
    );
}

fn sexton(page: &mut Page, status: &Status) {
    let version = vec![("version", status.version.as_str())];
    page.gauges("sexton_info", "The version of sexton; always 1.", [(version, 1.0)]);
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    page.gauge(
        "sexton_start_time_seconds",
        "When sexton was started, since the epoch.",
        seconds(status.since),
    );
    let gateway = status.gateway.pid.map(|_| seconds(status.gateway.since));
    page.gauge(
        "sexton_gateway_start_time_seconds",
        "When the gateway was started, since the epoch.",
        gateway,
    );
    let counters = &status.counters;
    for (name, help, value) in [
        ("sexton_gateway_restarts_total", "How often the gateway was started again.", counters.restarts),
        ("sexton_reaped_total", "Adopted processes that were reaped.", counters.reaped),
        ("sexton_locks_removed_total", "Locks that were removed or handed over.", counters.locks_removed),
        ("sexton_signals_total", "Signals that were passed on.", counters.signals),
        ("sexton_log_lines_dropped_total", "Log lines that nobody took.", counters.log_lines_dropped),
        ("sexton_tools_total", "Tool runs that ended.", counters.tools),
    ] {
        page.counter(name, help, value);
    }
    page.gauge("sexton_tools_running", "Tool runs that are under way.", float(status.tools.len() as u64));
    let states = |unit: &'static str, of: &UnitStatus| {
        let of = of.state;
        UNITS.map(move |(one, word)| (vec![("unit", unit), ("state", word)], yes(of == one)))
    };
    let gateway = states("gateway", &status.gateway);
    let units = status.units.iter().flat_map(|unit| {
        UNITS.map(|(one, word)| (vec![("unit", unit.name.as_str()), ("state", word)], yes(unit.state == one)))
    });
    let all: Vec<Sample<'_>> = gateway.into_iter().chain(units).collect();
    page.gauges("sexton_unit_state", "1 for the state that a unit is in; the gateway is one.", all);
    page.counters(
        "sexton_unit_restarts_total",
        "How often a unit was started again.",
        status.units.iter().map(|unit| (vec![("unit", unit.name.as_str())], unit.restarts)),
    );
}
