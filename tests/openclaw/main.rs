//! The real gateway under sexton: OpenClaw 2026.5.22, killed in the middle of a turn and started again.
//!
//! `tests/openclaw/run` installs what this needs and runs it. Without that, or without root, it skips itself
//! and says so; under `SEXTON_TESTS_REQUIRED=1`, which that script sets, a missing piece is a failure.
//!
//! One test in two lives, because a start of the gateway is what costs here, and because the second life is
//! about what the first one left.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the fences are for sexton; a test has clocks and processes of its own, and fails by a panic"
)]

mod cage;
#[path = "../common/mod.rs"]
mod common;
mod container;
#[path = "../docker/engine.rs"]
#[allow(dead_code, reason = "the tests of the engine use the rest")]
mod engine;
#[path = "../watch/fake.rs"]
mod fake;
mod http;
#[path = "../docker/image.rs"]
#[allow(dead_code, reason = "the tests of the engine use the rest")]
mod image;
mod life;
mod locks;
mod rival;
#[path = "../docker/shipped.rs"]
mod shipped;
mod tools;
mod wait;
mod watched;
mod whole;
mod world;

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use life::{GRACE, Life, run_under_sexton};
use rival::Rival;
use wait::{SHORT_TIMEOUT, START, say};
use world::World;

const NO_PIDS: [i32; 0] = [];

#[test]
fn a_killed_gateway_leaves_no_lock_and_the_living_keep_theirs() {
    let Some(bin) = installed_openclaw() else {
        return;
    };
    let world = World::set_up(&bin);
    let mut rival = Rival::start(&world);

    let gateway_pid = first_life_is_killed_in_the_middle_of_a_turn(&world, &mut rival);
    second_life_starts_clean_and_stops_in_time(&world, &mut rival, gateway_pid);

    // The counterpart of all that was kept: with its owner dead, the next start removes it.
    rival.kill();
    assert!(!locks::find(&world.lock_roots()).is_empty(), "the dead rival has left locks");
    // By now no process outside uses the state directory, and the operator says so.
    let config = world.path("sexton.toml");
    std::fs::write(&config, "[locks]\nsharing = \"exclusive\"\n").unwrap();
    let options = ["--config", config.to_str().unwrap()];
    assert_eq!(run_under_sexton(&world, "third", &options, &["true"]), 0);
    assert_no_locks_but(&[], &world, "a start after the rival's death");
    say("the dead rival's locks are gone");
}

#[test]
fn a_lock_that_is_handed_over_lets_the_gateway_recover_the_turn() {
    let Some(bin) = installed_openclaw() else {
        return;
    };
    let world = World::set_up(&bin);
    let hand_over = ["--lock-action", "hand-over"];
    let mut life = Life::begin_with(&world, "interrupted", &hand_over);
    life.wait_until_ready();
    let turn = life.begin_turn("hang");
    let session_lock = life.wait_for("the session lock of a turn that hangs", START, |_| {
        assert_unanswered(&turn);
        let session = the_lock(&world, ".jsonl.lock")?;
        world.asked_models().contains(&"hang".to_owned()).then_some(session)
    });
    life.gateway().signal(Signal::SIGKILL);
    assert_eq!(life.wait_for_exit(SHORT_TIMEOUT).0, 137);
    let of_nobody = Some(i64::from(i32::MAX));
    assert_eq!(locks::owner_pid(&session_lock), of_nobody, "the lock waits for the next gateway");
    assert!(the_lock(&world, "/gateway.").is_none(), "every other lock is gone");
    drop((turn, life));
    say("the turn was interrupted, and its lock handed over");

    let mut life = Life::begin_with(&world, "recovering", &hand_over);
    assert_eq!(locks::owner_pid(&session_lock), of_nobody, "it is still there when the gateway starts");
    life.wait_until_ready();
    for said in ["removed stale session lock", "interrupted main session"] {
        let line = life.wait_for(&format!("the gateway to say '{said}'"), START, |life| {
            let own = std::fs::read_to_string(world.path("openclaw.log")).unwrap_or_default();
            let all = life.log() + &own;
            all.lines().find(|line| line.contains(said)).map(str::to_owned)
        });
        say(&format!("the gateway says: {}", line.chars().take(200).collect::<String>()));
    }
    life.wait_until_calm();
    life.sexton().signal(Signal::SIGTERM);
    let (code, _) = life.wait_for_exit(GRACE);
    assert_eq!(code, 0, "a clean stop");
    assert_no_locks_but(&[], &world, "a clean stop");
}

#[test]
fn a_tool_of_a_turn_that_runs_out_of_time_or_is_given_up_is_gone_and_recorded() {
    let Some(bin) = installed_openclaw() else {
        return;
    };
    tools::a_tool_ends_with_its_turn(&World::set_up(&bin));
}

/// Returns the pid that the gateway had.
fn first_life_is_killed_in_the_middle_of_a_turn(world: &World, rival: &mut Rival) -> i32 {
    let mut life = Life::begin(world, "first");
    let pid = life.gateway_pid;
    say(&format!("first life: launched as pid {pid}"));
    life.wait_until_ready();
    say("first life: ready");

    let turn = life.begin_turn("hang");
    let session_lock = life.wait_for("the session lock of a turn that hangs", START, |_| {
        assert_unanswered(&turn);
        let session = the_lock(world, ".jsonl.lock")?;
        world.asked_models().contains(&"hang".to_owned()).then_some(session)
    });
    let gateway_lock = the_lock(world, "/gateway.").expect("a running gateway has its lock");
    for lock in [&session_lock, &gateway_lock] {
        assert_eq!(locks::owner_pid(lock), Some(pid.into()), "{} names the gateway", lock.display());
    }
    say("first life: the turn hangs, and both locks are held");

    rival.hold_under_every_pid(world, pid);
    rival.assert_untouched("before the kill");
    assert!(session_lock.exists() && gateway_lock.exists(), "both locks are there until the kill");
    life.gateway().signal(Signal::SIGKILL);
    let (code, took) = life.wait_for_exit(SHORT_TIMEOUT);
    say(&format!("first life: sexton exited {code} after {took:?}"));

    assert_eq!(code, 137, "sexton's exit code says SIGKILL");
    assert_eq!(life.pids_left(), NO_PIDS, "the whole tree is gone");
    rival.assert_untouched("after the sweep at the exit");
    assert_no_locks_but(&rival.paths(), world, "the gateway's death");
    assert_named_in_log(&life, &session_lock);
    assert_named_in_log(&life, &gateway_lock);
    pid
}

fn second_life_starts_clean_and_stops_in_time(world: &World, rival: &mut Rival, pid_of_last_time: i32) {
    let leftovers = locks::plant_leftovers(world, pid_of_last_time);
    let mut life = Life::begin(world, "second");
    say(&format!("second life: launched as pid {}", life.gateway_pid));

    // The gateway stands at the gate: what is gone, sexton has removed.
    assert_eq!(
        life.gateway_pid, pid_of_last_time,
        "the gateway has the same pid again, or this shows nothing"
    );
    rival.assert_untouched("after the sweep at the start");
    // No process keeps this one open, and it could be the rival's, which lives in another pid namespace.
    let unclear = leftovers.iter().filter(|lock| lock.ends_with(".usage-cost-cache.json.lock")).cloned();
    let kept: Vec<PathBuf> = rival.paths().into_iter().chain(unclear).collect();
    assert!(kept.len() > rival.paths().len(), "there is such a lock");
    assert_no_locks_but(&kept, world, "the sweep at the start");
    for lock in &leftovers {
        assert_named_in_log(&life, lock);
    }

    life.wait_until_ready();
    say("second life: ready");
    let answer = life.take_turn("text");
    assert!(answer.contains("pong"), "the session that was locked takes a turn again, not: {answer}");
    say("second life: the session answers");

    life.wait_until_calm();
    say("second life: calm");
    life.sexton().signal(Signal::SIGTERM);
    let (code, took) = life.wait_for_exit(GRACE);
    say(&format!("second life: sexton exited {code} {took:?} after SIGTERM"));

    assert_eq!(code, 0, "an idle gateway stops cleanly");
    assert!(took < GRACE / 4, "it stopped well inside its window of {GRACE:?}: {took:?}");
    assert_eq!(life.pids_left(), NO_PIDS, "the whole tree is gone");
    assert_no_locks_but(&kept, world, "a clean stop");
    // OpenClaw's own sweep takes session locks whose pid it can't see, alive or not. Sidecars it leaves.
    rival.forget(".jsonl.lock");
    rival.assert_untouched("after a clean stop");
}

/// The directory with `openclaw` and `node`, if this machine can run the test.
fn installed_openclaw() -> Option<PathBuf> {
    let bin = std::env::var_os("SEXTON_TEST_OPENCLAW").map(PathBuf::from);
    let missing = match &bin {
        None => "SEXTON_TEST_OPENCLAW is not set: run tests/openclaw/run, which installs OpenClaw".to_owned(),
        Some(bin) if !bin.join("openclaw").exists() => {
            format!("there is no openclaw in {}: run tests/openclaw/run", bin.display())
        }
        Some(_) if !nix::unistd::geteuid().is_root() => "a PID namespace of its own takes root".to_owned(),
        Some(_) => return bin,
    };
    assert!(std::env::var_os("SEXTON_TESTS_REQUIRED").is_none(), "{missing}");
    say(&format!("SKIPPED: {missing}"));
    None
}

/// The one lock of OpenClaw's main agent, or its gateway, whose path has this in it.
fn the_lock(world: &World, part: &str) -> Option<PathBuf> {
    let found = locks::find(&world.lock_roots());
    found.into_iter().find(|lock| lock.to_string_lossy().contains(part) && locks::owner_pid(lock).is_some())
}

fn assert_no_locks_but(expected: &[PathBuf], world: &World, after: &str) {
    let mut left = locks::find(&world.lock_roots());
    left.retain(|lock| !expected.contains(lock));
    assert!(left.is_empty(), "after {after} these locks are left:{}", locks::describe(&left));
}

fn assert_named_in_log(life: &Life<'_>, lock: &Path) {
    let path = lock.display().to_string();
    assert!(life.log().contains(&path), "sexton's log has a line for {path}");
}

/// Fails if the turn that must hang has an answer, and shows it.
fn assert_unanswered(turn: &std::net::TcpStream) {
    let mut answer = [0; 512];
    turn.set_nonblocking(true).expect("it is a socket");
    if let Ok(length) = turn.peek(&mut answer) {
        panic!("the turn did not hang: {:?}", String::from_utf8_lossy(&answer[..length]));
    }
}
