//! Lock files as OpenClaw 2026.5.22 writes them, and finding the ones that are there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::world::World;

/// Older than every age at which OpenClaw loses patience with a lock.
const HOURS_AGO: u64 = 6;

/// Whom a lock names.
pub struct Owner {
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, which only the session lock records.
    pub starttime: u64,
}

/// A fresh session write lock.
pub fn session_text(owner: &Owner) -> String {
    let Owner { pid, starttime } = owner;
    let created = iso_time(0);
    format!(
        "{{\n  \"pid\": {pid},\n  \"createdAt\": \"{created}\",\n  \"maxHoldMs\": 1020000,\n  \"starttime\": {starttime}\n}}\n"
    )
}

/// A lock of the plugin SDK: no start time, so that OpenClaw never thinks it stale while any process at
/// all has its pid.
pub fn sidecar_text(owner: &Owner, hours_ago: u64) -> String {
    let (pid, created) = (owner.pid, iso_time(hours_ago));
    format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{created}\"\n}}\n")
}

/// Leaves behind what a gateway with this pid, dead for hours, would have: the three kinds that OpenClaw
/// itself never gets rid of when its next gateway has the same pid again.
pub fn plant_leftovers(world: &World, pid: i32) -> Vec<PathBuf> {
    let sidecar = sidecar_text(&Owner { pid, starttime: 0 }, HOURS_AGO);
    let began = before_now(HOURS_AGO).duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis();
    let usage_cost =
        format!("{{\"pid\":{pid},\"startedAt\":{began},\"token\":\"{pid}:{began}:1234567890\"}}\n");
    let leftovers = [
        ("agents/main/agent/auth-profiles.json.lock", &sidecar),
        ("locks/oauth-refresh/sha256-0123456789abcdef.lock", &sidecar),
        ("agents/main/sessions/.usage-cost-cache.json.lock", &usage_cost),
    ];
    let plant = |(name, text): (&str, &String)| {
        let path = world.state().join(name);
        fs::create_dir_all(path.parent().expect("it is below the state directory")).expect("it can be made");
        fs::write(&path, text).expect("the state directory is writable");
        let file = File::options().write(true).open(&path).expect("it was just written");
        file.set_modified(before_now(HOURS_AGO)).expect("its owner may set its time");
        path
    };
    leftovers.map(plant).into()
}

/// Every lock file below these directories. Sexton's own is not one: it stays, and is locked by the kernel.
pub fn find(roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in roots {
        collect(root, &mut found);
    }
    found.sort();
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    // The gateway lives: a directory that is gone again, or not there yet, has no lock in it.
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let name = entry.file_name();
        if kind.is_dir() {
            collect(&entry.path(), found);
        } else if name.to_string_lossy().ends_with(".lock") && name != ".sexton.lock" {
            found.push(entry.path());
        }
    }
}

/// The pid that a lock names; `None` while the lock is being written.
pub fn owner_pid(path: &Path) -> Option<i64> {
    let lock: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    lock.get("pid")?.as_i64()
}

/// The locks with their contents, for a failure's message.
pub fn describe(paths: &[PathBuf]) -> String {
    let one = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
        format!("\n{}: {text:?}", path.display())
    };
    paths.iter().map(one).collect()
}

fn before_now(hours: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(hours * 3600)
}

/// The time as JavaScript's `toISOString` writes it.
fn iso_time(hours_ago: u64) -> String {
    let date = format!("--date={hours_ago} hours ago");
    let output = Command::new("date").args(["--utc", &date, "+%Y-%m-%dT%H:%M:%S.%3NZ"]).output();
    let output = output.expect("date is in coreutils");
    String::from_utf8(output.stdout).expect("a date is text").trim_end().to_owned()
}
