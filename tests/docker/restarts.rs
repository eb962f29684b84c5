//! A container that is started again, whose gateway has the same pid each time, and finds no lock in its way.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::common::wait_until;
use crate::engine::Engine;
use crate::image::Root;
use crate::shipped::HARDENED;

/// Held by the gateway's stand-in itself, and left by it when the engine kills everything.
const HELD: &str = "agents/main/agent/auth-profiles.json.lock";
/// Planted: of a gateway with the same pid, dead for hours.
const PLANTED: &str = "locks/oauth-refresh/sha256-0123456789abcdef.lock";

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
fn the_same_pid_finds_no_lock_three_times() {
    let Some(engine) = Engine::start() else { return };
    let root = Root::new();
    root.program(Path::new(&crate::common::helper("holds_lock")), "usr/bin/holds_lock");
    engine.image("demo", &root, &[r#"ENTRYPOINT ["sexton", "--grace", "120s", "--"]"#]);

    let state = tempfile::tempdir().unwrap();
    let (held, planted) = (state.path().join(HELD), state.path().join(PLANTED));
    for lock in [&held, &planted] {
        fs::create_dir_all(lock.parent().unwrap()).unwrap();
    }
    let owned = std::process::Command::new("chown").args(["-R", "1000:1000"]).arg(state.path()).status();
    assert!(owned.unwrap().success());
    fs::set_permissions(state.path(), Permissions::from_mode(0o700)).unwrap();

    let volume = format!("{}:/state", state.path().display());
    let place = ["--volume", &volume, "--env", "OPENCLAW_STATE_DIR=/state", "demo"];
    // It takes its lock as OpenClaw does, and fails if the file is there. A sibling keeps it from stopping in time.
    let script =
        "holds_lock hold /state/agents/main/agent/auth-profiles.json.lock sidecar & trap '' TERM; wait; wait";
    let container = engine.runs([&HARDENED[..], &place, &["sh", "-c", script]].concat());
    let mut pids = Vec::new();
    for round in 1..=4 {
        wait_until(&format!("start {round} has its lock; it said {:?}", container.says()), || {
            let ready = container.says().lines().filter(|line| *line == "ready").count();
            assert_eq!(container.shows("{{.State.Running}}"), "true", "{}", container.says());
            ready == round
        });
        let pid = owner(&held).unwrap();
        pids.push(pid);
        assert!(!planted.exists(), "start {round}: {}", container.says());
        if round < 4 {
            plant(&planted, pid);
            // The engine has no patience: everything is killed, and the lock that was held stays as well.
            container.does(&["restart", "--time", "0"]);
        }
    }
    assert_eq!(pids, [pids[0]; 4], "it has the same pid each time, or this shows nothing");
    let removed = |path: &str| {
        let says = container.says();
        let lines = says.lines().filter(|line| line.contains("lock-removed") && line.contains(path));
        lines.inspect(|line| assert!(line.contains(&format!("pid={}", pids[0])), "{line}")).count()
    };
    assert_eq!((removed(HELD), removed(PLANTED)), (3, 3), "{}", container.says());
    container.does(&["kill"]);
}
