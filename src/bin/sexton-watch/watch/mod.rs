//! The tasks and their lifetime. They begin when sexton has sent its settings, and end with sexton.
//!
//! | file | what it owns |
//! |---|---|
//! | `pid1_link` | the socket to sexton |
//! | `state` | what is known |
//! | `health`, `latency_window`, `tree_limits`, `rate` | from what was seen to a state (pure) |
//! | `process_stats`, `lock_watch`, `lock_scan`, `logs`, `follow`, `line_splitter` | what is looked at besides the probes |
//! | `blocking` | threads for what may hang |
//! | `alert_queue`, `alerts` | the incidents that are to be told, and the command that is told |
//! | `serve`, `page`, `curve`, `metrics`, `prometheus` | the addresses that answer |

mod alert_queue;
mod alerts;
mod blocking;
mod curve;
mod follow;
mod health;
mod latency_window;
mod line_splitter;
mod lock_scan;
mod lock_watch;
mod logs;
mod metrics;
mod page;
mod pid1_link;
mod process_stats;
mod prometheus;
mod rate;
mod serve;
mod state;
mod tree_limits;

use std::rc::Rc;
use std::time::Duration;

use sexton::config::watch_settings::Probe;
use sexton::control::protocol::{WatchCommand, WatchConfig};
use sexton::os::clock;
use sexton::types::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::probe::{self, Outcome};
use health::Gateway;
use pid1_link::{Link, Outbox, Packet};
use state::{SharedState, WatchState};

/// Threads for what may hang. They are made when they are needed.
const THREADS: usize = 16;

/// Watches until sexton is gone or asks for the end.
///
/// # Errors
/// Why it cannot begin, in words.
pub fn run() -> Result<(), String> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime =
        builder.enable_all().max_blocking_threads(THREADS).thread_keep_alive(Duration::from_secs(1)).build();
    let runtime = runtime.map_err(|error| format!("it cannot begin: {error}"))?;
    let tasks = LocalSet::new();
    let done = tasks.block_on(&runtime, until_the_end());
    drop(tasks);
    // A thread that hangs in a filesystem is not waited for.
    runtime.shutdown_background();
    done
}

async fn until_the_end() -> Result<(), String> {
    let link = Link::inherited()?;
    let failed = |error: std::io::Error| format!("it cannot hear signals: {error}");
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let outbox = Rc::new(Outbox::default());
    outbox.hello();
    tokio::select! {
        () = listen(&link, &outbox) => {}
        () = link.deliver(&outbox) => {}
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

/// Hears what sexton says, until it is gone.
async fn listen(link: &Link, outbox: &Rc<Outbox>) {
    let mut known: Option<SharedState> = None;
    let mut tasks = JoinSet::new();
    while let Some(packet) = link.next().await {
        match (packet, &known) {
            (Packet::Told(WatchCommand::Settings(briefing)), _) => {
                tasks.abort_all();
                known = Some(begin(*briefing, link.sexton(), Rc::clone(outbox), &mut tasks));
            }
            (Packet::Told(packet), Some(known)) => hear(known, packet),
            (Packet::Told(_), None) => debug!(name: "packet-early", "a packet came before the settings"),
            (Packet::Malformed(why), _) => {
                warn!(name: "packet-malformed", "a packet from sexton is not understood: {why}");
            }
        }
    }
}

fn hear(known: &SharedState, packet: WatchCommand) {
    match packet {
        WatchCommand::Gateway(unit) => known.gateway_is(unit),
        WatchCommand::Incident(incident) => known.alarm.told(incident),
        WatchCommand::Status(status) => known.status_is(*status),
        WatchCommand::Settings(_) => {}
    }
}

/// Begins to watch what `briefing` says.
fn begin(
    briefing: WatchConfig,
    sexton: Option<Pid>,
    outbox: Rc<Outbox>,
    tasks: &mut JoinSet<()>,
) -> SharedState {
    if briefing.version != env!("CARGO_PKG_VERSION") {
        warn!(name: "version-mismatch", "sexton is version {}, and this is {}", briefing.version, env!("CARGO_PKG_VERSION"));
    }
    let settings = briefing.settings.clone();
    let known = WatchState::new(briefing, sexton, outbox);
    if let Some(address) = settings.listen {
        tasks.spawn_local(serve::serve_for_ever(Rc::clone(&known), address));
    }
    if let Some(alerts) = settings.alerts {
        tasks.spawn_local(alerts::tell_for_ever(Rc::clone(&known), alerts));
    }
    if !settings.limits.interval.is_zero() {
        tasks.spawn_local(process_stats::count_for_ever(Rc::clone(&known)));
    }
    if let Some(locks) = settings.locks {
        tasks.spawn_local(lock_watch::look_for_ever(Rc::clone(&known), locks));
        tasks.spawn_local(lock_watch::look_at_gateway_for_ever(Rc::clone(&known)));
    }
    for (index, rule) in settings.logs.into_iter().enumerate() {
        tasks.spawn_local(logs::follow_for_ever(Rc::clone(&known), index, rule));
    }
    for (index, probe) in settings.health.into_iter().enumerate() {
        tasks.spawn_local(ask_for_ever(Rc::clone(&known), index, probe));
    }
    known
}

/// Asks one probe's question as long as the gateway runs, again whenever it was started.
async fn ask_for_ever(known: SharedState, index: usize, probe: Probe) {
    let mut gateway = known.gateway.subscribe();
    loop {
        let started = match *gateway.borrow_and_update() {
            Gateway::Runs(since) => Some(since),
            _ => None,
        };
        let asking = async {
            let Some(started) = started else { return std::future::pending().await };
            let mut due = Instant::now();
            loop {
                sleep_until(due).await;
                let asked = probe::ask(&probe, Some(clock::now().since(started))).await;
                if let Some(answer) = asked.answer {
                    if !matches!(answer.outcome, Outcome::Good) {
                        lock_watch::look_at_gateway(&known).await;
                    }
                    known.answered(index, &answer, asked.event_loop);
                }
                // Never two questions at once: what is due while one is open is left out.
                let interval = known.interval(index, &probe);
                while due <= Instant::now() {
                    due += interval;
                }
            }
        };
        tokio::select! {
            changed = gateway.changed() => if changed.is_err() { return },
            () = asking => {}
        }
    }
}
