//! The gateway's exec tool through sexton-sh: a turn runs out of time or is given up while its tool runs, and of
//! the tool nothing is left.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::life::{GRACE, Life};
use crate::wait::{SHORT_TIMEOUT, START, say, wait_for};
use crate::world::World;

/// How long anything of a tool may be there after its turn was given up.
const LIMIT: Duration = Duration::from_secs(6);

/// What the model asks for: something that sleeps, a daemon in a session of its own, and a loop that is deaf to
/// TERM.
const SCRIPT: &str = "#!/bin/sh
cd \"$(dirname \"$0\")\" || exit 1
setsid sh -c 'echo $$ >daemon; exec sleep 612' &
sh -c 'trap \"\" TERM; echo $$ >deaf; while :; do sleep 613; done' &
echo $$ >leader
exec sleep 611
";

/// How long a turn may take, which is longer than it takes until its tool runs.
const TURN: Duration = Duration::from_secs(15);

/// Starts turns whose tool runs, has one time out and gives the other up, and sees what becomes of the tool.
pub fn a_tool_ends_with_its_turn(world: &World) {
    let script = world.path("tool.sh");
    fs::write(&script, SCRIPT).expect("the directory is ours");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the script is ours");
    symlink(env!("CARGO_BIN_EXE_sexton"), world.path("bin/sexton-sh")).expect("the directory is ours");
    let record = world.path("tools.jsonl");
    let configuration = format!("[tools]\nshell = true\nrecord = '{}'\n", record.display());
    fs::write(world.path("sexton.toml"), configuration).expect("the directory is ours");
    world.limit_turns_to(TURN);
    let (file, socket) = (shown(world.path("sexton.toml")), shown(world.path("c.sock")));

    let mut life = Life::begin_with(world, "tools", &["--config", &file, "--control", &socket]);
    life.wait_until_ready();

    let turn = life.begin_turn_in("agent:main:late", "exec");
    wait_until_the_tool_runs(&mut life, world);
    life.wait_for("the gateway to give up a turn that takes too long", START, |life| {
        let own = fs::read_to_string(world.path("openclaw.log")).unwrap_or_default();
        (life.log() + &own).contains("embedded run timeout: ").then_some(())
    });
    let took = wait_until_the_tool_is_gone(&mut life);
    say(&format!("nothing of the tool is left {took:?} after its turn ran out of time"));
    assert!(took <= LIMIT, "{took:?}");
    assert_recorded_as_aborted(&record, 1);
    drop(turn);

    let turn = life.begin_turn("exec");
    wait_until_the_tool_runs(&mut life, world);
    drop(turn);
    let took = wait_until_the_tool_is_gone(&mut life);
    say(&format!("nothing of the tool is left {took:?} after its turn was given up"));
    assert!(took <= LIMIT, "{took:?}");
    assert_recorded_as_aborted(&record, 2);

    // In another conversation: this OpenClaw logs "embedded abort settle timed out" for a turn that is given up
    // while its tool runs, however soon the tool is gone, and keeps the lock of that session for good. That is the
    // lock held by the living which sexton reports, and restarts the gateway for if it is told to.
    let answer = life.take_turn_in("agent:main:another", "text");
    assert!(answer.contains("pong"), "the gateway goes on answering, not: {answer}");
    life.wait_until_calm();
    life.sexton().signal(Signal::SIGTERM);
    assert_eq!(life.wait_for_exit(GRACE).0, 0, "a clean stop");
}

/// Waits until each part of the tool has written its pid, which is then taken away for the next tool.
fn wait_until_the_tool_runs(life: &mut Life<'_>, world: &World) {
    let parts = ["leader", "daemon", "deaf"];
    let pids: Vec<String> = life.wait_for("the tool to run", START, |_| {
        let pid = |name| Some(fs::read_to_string(world.path(name)).ok()?.trim().to_owned());
        let pids: Vec<String> = parts.into_iter().filter_map(pid).collect();
        (pids.len() == parts.len() && pids.iter().all(|pid| !pid.is_empty())).then_some(pids)
    });
    let names = life.names_of_inmates();
    say(&format!("the tool runs as {pids:?} among {names:?}"));
    assert!(names.iter().any(|line| line.contains("sexton-sh")), "it is managed: {names:?}");
    for part in parts {
        fs::remove_file(world.path(part)).expect("the file is ours");
    }
}

/// How long that took.
fn wait_until_the_tool_is_gone(life: &mut Life<'_>) -> Duration {
    let begun = Instant::now();
    life.wait_for("nothing of the tool to be left", SHORT_TIMEOUT, |life| {
        let of_tool =
            |line: &String| ["611", "612", "613", "sexton-sh", "trap"].iter().any(|part| line.contains(part));
        (!life.names_of_inmates().iter().any(of_tool)).then_some(())
    });
    begun.elapsed()
}

/// Waits for the record of this run, counted from one.
fn assert_recorded_as_aborted(record: &Path, number: usize) {
    let outcome: Value = wait_for("the record", SHORT_TIMEOUT, || {
        let text = fs::read_to_string(record).ok()?;
        let line = text.lines().nth(number - 1)?;
        Some(serde_json::from_str::<Value>(line).expect("a record is JSON")["outcome"].clone())
    });
    say(&format!("its record says {outcome}"));
    assert!(outcome["lost"].is_object() || outcome["cancelled"].is_object(), "{outcome}");
}

fn shown(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("the directory has a plain name")
}
