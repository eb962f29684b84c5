//! The gateway's exec tool through sexton-sh: a turn is given up while its tool runs, and of the tool nothing is
//! left.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::life::{GRACE, Life};
use crate::wait::{SOON, START, say, wait_for};
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

/// Starts a turn whose tool runs, gives it up, and sees what becomes of the tool.
pub fn a_tool_ends_with_its_turn(world: &World) {
    let script = world.path("tool.sh");
    fs::write(&script, SCRIPT).expect("the directory is ours");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("the script is ours");
    symlink(env!("CARGO_BIN_EXE_sexton"), world.path("bin/sexton-sh")).expect("the directory is ours");
    let record = world.path("tools.jsonl");
    let configuration = format!("[tools]\nshell = true\nrecord = '{}'\n", record.display());
    fs::write(world.path("sexton.toml"), configuration).expect("the directory is ours");
    let (file, socket) = (shown(world.path("sexton.toml")), shown(world.path("c.sock")));

    let mut life = Life::begin_with(world, "tools", &["--config", &file, "--control", &socket]);
    life.wait_until_ready();
    let turn = life.begin_turn("exec");
    let pids: Vec<String> = life.wait_for("the tool to run", START, |_| {
        let pid = |name| Some(fs::read_to_string(world.path(name)).ok()?.trim().to_owned());
        let pids: Vec<String> = ["leader", "daemon", "deaf"].into_iter().filter_map(pid).collect();
        (pids.len() == 3 && pids.iter().all(|pid| !pid.is_empty())).then_some(pids)
    });
    let names = |life: &Life<'_>| life.names_of_inmates();
    say(&format!("the tool runs as {pids:?} among {:?}", names(&life)));
    assert!(names(&life).iter().any(|line| line.contains("sexton-sh")), "it is managed: {:?}", names(&life));

    drop(turn);
    let begun = Instant::now();
    life.wait_for("nothing of the tool to be left", SOON, |life| {
        let left = names(life);
        let of_tool = |line: &&String| {
            ["611", "612", "613", "sexton-sh", "trap"].iter().any(|part| line.contains(part))
        };
        left.iter().find(of_tool).is_none().then_some(())
    });
    let took = begun.elapsed();
    say(&format!("nothing of the tool is left after {took:?}"));
    assert!(took <= LIMIT, "{took:?}");
    let outcome: Value = wait_for("the record", SOON, || {
        let text = fs::read_to_string(&record).ok()?;
        Some(
            serde_json::from_str::<Value>(text.lines().next()?).expect("a record is JSON")["outcome"].clone(),
        )
    });
    say(&format!("its record says {outcome}"));
    assert!(outcome["lost"].is_object() || outcome["cancelled"].is_object(), "{outcome}");

    // In another conversation: this OpenClaw logs "embedded abort settle timed out" for a turn that is given up
    // while its tool runs, however soon the tool is gone, and keeps the lock of that session for good. That is the
    // lock held by the living which sexton reports, and restarts the gateway for if it is told to.
    let answer = life.take_turn_in("agent:main:another", "text");
    assert!(answer.contains("pong"), "the gateway goes on answering, not: {answer}");
    life.wait_until_calm();
    life.sexton().signal(Signal::SIGTERM);
    assert_eq!(life.wait_for_exit(GRACE).0, 0, "a clean stop");
}

fn shown(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("the directory has a plain name")
}
