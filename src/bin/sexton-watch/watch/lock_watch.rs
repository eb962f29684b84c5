//! Looks for locks that a living owner holds past their limit. What to do about one is decided by sexton; a lock
//! whose owner lives is never touched.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sexton::config::lock_rule;
use sexton::config::watch_settings::HeldLocks;
use sexton::control::protocol::IncidentKind;
use sexton::locks::listing::{Entry, Listing, list};
use sexton::locks::{KnownRoot, Root, SweepContext, drops_to_owner};
use sexton::os::{clock, files, process};
use sexton::types::{Escaped, Pid};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::blocking;
use super::health::Gateway;
use super::lock_scan::LockScan;
use super::state::{SharedState, WatchState};

/// How long a look may take before that is worth a line.
const DEADLINE: Duration = Duration::from_secs(30);
/// The most locks that the status page shows.
const SHOWN: usize = 200;

/// How long a look at the gateway's own locks may take.
const SOON: Duration = Duration::from_millis(500);
/// The most that is read of one, in bytes.
const LONGEST: usize = 64 * 1024;
/// The kind of lock that a gateway holds for its whole life, and how many of them are read.
const OF_GATEWAY: &str = "gateway";
const GATEWAYS: usize = 8;

/// Who has written the gateway's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Writer {
    pid: i64,
    /// Its `ownerId` and `createdAt`.
    life: [Value; 2],
}

/// Looks for ever.
pub async fn look_for_ever(known: SharedState, what: HeldLocks) {
    let mut due = interval(what.interval.max(Duration::from_millis(1)));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        due.tick().await;
        // Before another start sexton removes locks of processes that have ended, but none that a process has just
        // opened.
        if !matches!(*known.gateway.borrow(), Gateway::Runs(_)) {
            continue;
        }
        let what = what.clone();
        let sexton = known.sexton.unwrap_or(Pid::INIT);
        let look =
            move || what.roots.iter().map(|root| look(root, &what, sexton, first)).collect::<Vec<Listing>>();
        let Some(listings) = blocking::run("the look at the locks", DEADLINE, look).await else { continue };
        first = false;
        judge(&known, listings);
        look_at_gateway(&known).await;
    }
}

/// Has the gateway's own locks looked at, if it has any, and waits for that; not for a filesystem that hangs.
pub async fn look_at_gateway(known: &WatchState) {
    if known.state.borrow().locks.as_ref().is_none_or(|scan| scan.of_gateway.is_empty()) {
        return;
    }
    let done = known.gateway_look.done.notified();
    known.gateway_look.wanted.notify_one();
    let _ = timeout(SOON, done).await;
}

/// Looks, whenever that is asked for, whether the gateway has written its own lock anew, with the same pid: it does so
/// when it starts anew within its process (OpenClaw 2026.9 at a change of its configuration, SIGUSR2 or
/// `openclaw gateway restart`).
pub async fn look_at_gateway_for_ever(known: SharedState) {
    let mut before = BTreeMap::new();
    loop {
        known.gateway_look.wanted.notified().await;
        let paths =
            known.state.borrow().locks.as_ref().map(|scan| scan.of_gateway.clone()).unwrap_or_default();
        let seen = clock::now();
        let look = move || paths.into_iter().filter_map(|path| Some((writer_of(&path)?, path))).collect();
        let now: Vec<(Writer, PathBuf)> =
            blocking::run("the look at the gateway's lock", DEADLINE, look).await.unwrap_or_default();
        let mut anew = false;
        for (writer, path) in now {
            // One that is gone at this moment may come back, so that what it was is kept.
            anew |= before.insert(path, writer.clone()).is_some_and(|old: Writer| old.starts_anew(&writer));
        }
        if anew {
            known.starts_anew(seen);
        }
        known.gateway_look.done.notify_waiters();
    }
}

impl Writer {
    /// The same process has written it again.
    fn starts_anew(&self, later: &Writer) -> bool {
        self.pid == later.pid && self.life != later.life
    }
}

/// Who has written this lock, if it is one of OpenClaw's and not being written at this moment.
fn writer_of(path: &Path) -> Option<Writer> {
    let file = files::open_without_waiting(path).ok()?;
    let text = files::read_up_to(file.as_fd(), LONGEST).ok()?;
    // OpenClaw 2026.9 writes a line with a token after the object.
    let said: Value = serde_json::Deserializer::from_slice(&text).into_iter().next()?.ok()?;
    let field = |name: &str| said.get(name).cloned().unwrap_or_default();
    Some(Writer { pid: field("pid").as_i64()?, life: [field("ownerId"), field("createdAt")] })
}

fn look(root: &Path, what: &HeldLocks, sexton: Pid, first: bool) -> Listing {
    let path: PathBuf = root.to_owned();
    // That one does not exist is sexton's to say, who knows which of them were named.
    let root = Root::Discovered(vec![path.clone()]);
    if drops_to_owner(&root) {
        // To become its owner would be for good, and for every other root.
        if first {
            tracing::warn!(name: "root-setuid-failed", %root, "the lock root {root} is another user's, and is not looked at");
        }
        return Listing {
            root: path.as_path().into(),
            entered: false,
            missing: false,
            alone: false,
            entries: vec![],
        };
    }
    let us = process::own_pid();
    let context = SweepContext {
        alive: true,
        quiet: false,
        patient: true,
        first,
        sexton,
        sweeper: us,
        helpers: &[],
        unreaped: &[],
        now: clock::wall(),
    };
    // Nor does it become anybody's between that look and this one.
    let mut known = KnownRoot::only_ours(!first);
    let lock_kinds = lock_rule::lock_kinds(&what.rules);
    // What is held is held whether or not the operator says where owners live.
    list(&root, &mut known, &lock_kinds, &context, false, what.report_after, &mut |_| {})
}

fn judge(known: &WatchState, listings: Vec<Listing>) {
    let entries: Vec<Entry> = listings.into_iter().flat_map(|listing| listing.entries).collect();
    let late: Vec<(String, String)> = entries
        .iter()
        .filter(|entry| entry.held_too_long)
        .map(|entry| (shown(entry), detail(entry)))
        .collect();
    for over in known.lasting(IncidentKind::LockHeld) {
        if !late.iter().any(|(path, _)| *path == over) {
            known.condition(IncidentKind::LockHeld, &over, None);
        }
    }
    for (path, detail) in &late {
        known.condition(IncidentKind::LockHeld, path, Some(detail));
    }
    let (number, too_long) = (entries.len(), late.len());
    let is_of_gateway =
        |entry: &&Entry| entry.kind.as_deref() == Some(OF_GATEWAY) && entry.location.bytes.is_none();
    let of_gateway = entries.iter().filter(is_of_gateway).take(GATEWAYS);
    let of_gateway = of_gateway.map(|entry| PathBuf::from(&entry.location.path)).collect();
    let mut entries = entries;
    // Show the locks with a problem first.
    entries.sort_by_key(|entry| (!entry.held_too_long, entry.location.path.clone()));
    entries.truncate(SHOWN);
    known.state.borrow_mut().locks = Some(LockScan { entries, number, too_long, of_gateway });
}

/// The path in a form that is safe to show.
pub fn shown(entry: &Entry) -> String {
    let path = Escaped(Path::new(&entry.location.path)).to_string();
    super::state::bounded(&path, super::state::SUBJECT)
}

fn detail(entry: &Entry) -> String {
    let kind = entry.kind.as_deref().unwrap_or("unknown");
    let owner = match (entry.pid, &entry.process) {
        (Some(pid), Some(name)) => format!("pid {pid} ({})", Escaped(Path::new(name))),
        (Some(pid), None) => format!("pid {pid}"),
        (None, _) => "an unknown process".to_owned(),
    };
    let time =
        |seconds: Option<u64>| humantime::format_duration(Duration::from_secs(seconds.unwrap_or_default()));
    format!(
        "{owner} has held this lock of kind {kind} for {}, and its limit is {}",
        time(entry.age_seconds),
        time(entry.limit_seconds)
    )
}
