//! A container that is started again, whose gateway has a pid that locks of the dead name, and finds none in its way.

use std::fs::{self, File, Permissions};
use std::ops::RangeInclusive;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::common::wait_until;
use crate::engine::Engine;
use crate::image::Root;
use crate::shipped::HARDENED;

/// Held by the gateway's stand-in itself, and left by it when the engine kills everything.
const HELD: &str = "agents/main/agent/auth-profiles.json.lock";
/// The pids of planted locks: of gateways, dead for hours. Which one the next gateway has is not known beforehand: the
/// engine's own threads take pids in the container before sexton is there, and are not always as many.
const PIDS: RangeInclusive<i64> = 2..=20;

fn owner(path: &Path) -> Option<i64> {
    let lock: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    lock["pid"].as_i64()
}

/// A lock without a start time: as long as any process has the pid, OpenClaw never takes it for stale.
fn plant(path: &Path, pid: i64) {
    let hours_ago = SystemTime::now() - Duration::from_secs(6 * 3600);
    let created = humantime::format_rfc3339_millis(hours_ago);
    fs::write(path, format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{created}\"\n}}\n")).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(hours_ago).unwrap();
    chown(path, Some(1000), Some(1000)).unwrap();
}

#[test]
fn a_gateway_with_a_dead_ones_pid_finds_no_lock_three_times() {
    if let Some(engine) = Engine::start() {
        finds_no_lock_three_times(&engine);
    }
}

#[test]
fn nor_does_it_with_cgroups_of_version_1() {
    if let Some(engine) = Engine::start_v1() {
        finds_no_lock_three_times(&engine);
    }
}

fn finds_no_lock_three_times(engine: &Engine) {
    let root = Root::new();
    root.program(Path::new(&crate::common::helper("holds_lock")), "usr/bin/holds_lock");
    engine.image("demo", &root, &[r#"ENTRYPOINT ["sexton", "--grace", "120s", "--"]"#]);

    let state = tempfile::tempdir().unwrap();
    let held = state.path().join(HELD);
    let planted = |pid: i64| state.path().join(format!("locks/oauth-refresh/sha256-{pid:016}.lock"));
    for lock in [&held, &planted(0)] {
        fs::create_dir_all(lock.parent().unwrap()).unwrap();
    }
    let owned = std::process::Command::new("chown").args(["-R", "1000:1000"]).arg(state.path()).status();
    assert!(owned.unwrap().success());
    fs::set_permissions(state.path(), Permissions::from_mode(0o700)).unwrap();

    let volume = format!("{}:/state", state.path().display());
    let place = ["--volume", &volume, "--env", "OPENCLAW_STATE_DIR=/state", "demo"];
    // It takes its lock as OpenClaw does, and fails if the file is there. The shell catches TERM and passes nothing on; had it
    // ignored the signal, its group would get it.
    let script = "holds_lock hold /state/agents/main/agent/auth-profiles.json.lock sidecar & trap : TERM; wait; wait; wait";
    let container = engine.runs([&HARDENED[..], &place, &["sh", "-c", script]].concat());
    for round in 1..=4 {
        wait_until(&format!("start {round} has its lock; it said {:?}", container.says()), || {
            let ready = container.says().lines().filter(|line| *line == "ready").count();
            assert_eq!(container.shows("{{.State.Running}}"), "true", "{}", container.says());
            ready == round
        });
        let pid = owner(&held).unwrap();
        assert!(PIDS.contains(&pid), "no lock was planted for pid {pid}, so that this shows nothing");
        let left: Vec<i64> = PIDS.filter(|pid| planted(*pid).exists()).collect();
        assert!(left.is_empty(), "start {round}, pid {pid}, left those of {left:?}: {}", container.says());
        let removed = |path: &str| {
            let says = container.says();
            says.lines().filter(|line| line.contains("lock-removed") && line.contains(path)).count()
        };
        wait_until(
            &format!("start {round} has said what it removed; it said {:?}", container.says()),
            || removed(HELD) == round - 1 && removed("oauth-refresh") == (round - 1) * PIDS.count(),
        );
        if round < 4 {
            PIDS.for_each(|pid| plant(&planted(pid), pid));
            // The engine has no patience: everything is killed, and the lock that was held stays as well.
            container.does(&["restart", "--time", "0"]);
        }
    }
    container.does(&["kill"]);
}
