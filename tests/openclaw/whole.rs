//! The real gateway below the real sexton with its sexton-watch: what an operator gets to see of it.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::life::{GRACE, Life};
use crate::wait::{SHORT_TIMEOUT, START, say, wait_for};
use crate::watched::{stand_still, start_period};
use crate::world::World;

fn settings(world: &World) -> String {
    let port = world.port;
    format!(
        "[health]\n\
         url = [\"http://127.0.0.1:{port}/healthz\", \"http://127.0.0.1:{port}/readyz\"]\n\
         interval = \"1s\"\ntimeout = \"3s\"\nfailure_threshold = 3\nstart_period = \"{}s\"\n\
         [watch]\nlisten = \"127.0.0.1:0\"\n",
        start_period().as_secs()
    )
}

fn status(world: &World) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sexton"));
    let said = command.args(["status", "--json"]).env("SEXTON_CONTROL", world.path("control.sock")).output();
    serde_json::from_slice(&said.expect("it runs").stdout).unwrap_or_default()
}

/// The incidents of this kind, those that are over included.
fn incidents(status: &Value, kind: &str) -> Vec<Value> {
    let all = status["incidents"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|one| one["kind"] == kind).collect()
}

#[test]
fn the_status_shows_how_the_real_gateway_does_and_when_it_hangs() {
    let Some(bin) = crate::installed_openclaw() else {
        return;
    };
    let world = World::set_up(&bin);
    let (file, socket) = (world.path("sexton.toml"), world.path("control.sock"));
    std::fs::write(&file, settings(&world)).expect("the directory is ours");
    let text = |path: &std::path::Path| path.to_str().expect("it is text").to_owned();
    let options = ["--preset", "openclaw", "--config", &text(&file), "--control", &text(&socket)];
    let begun = Instant::now();
    let mut life = Life::begin_with(&world, "whole", &options);
    life.wait_until_ready();
    say(&format!("whole: ready after {:?}", begun.elapsed()));

    // Its first seconds, in which it stalls, are told of and excused.
    while begun.elapsed() < start_period() {
        let now = status(&world);
        let ill = matches!(now["health"]["state"].as_str(), Some("unhealthy" | "slow"));
        let excused = now["health"]["excused"] == true;
        assert!(!ill || excused || begun.elapsed() >= start_period(), "{now:#}");
        std::thread::sleep(Duration::from_millis(500));
    }
    life.wait_until_calm();
    let well = life.wait_for("its health, with its own figures", START, |_| {
        let now = status(&world);
        let health = &now["health"];
        let all =
            health["state"] == "healthy" && health["p99_ms"].is_number() && health["event_loop"].is_object();
        (all && now["census"]["rss"].as_u64()? > 50 << 20).then_some(now)
    });
    say(&format!("whole: {} {}", well["health"], well["census"]));

    let gateway = life.gateway();
    gateway.signal(Signal::SIGSTOP);
    let stopped = Instant::now();
    let lasts = |status: &Value| incidents(status, "unhealthy").iter().any(|one| one["ended"].is_null());
    life.wait_for("the incident", SHORT_TIMEOUT, |_| lasts(&status(&world)).then_some(()));
    say(&format!("whole: it is seen to hang after {:?}", stopped.elapsed()));
    // every x misses + timeout, and what a busy machine takes to say so.
    assert!(stopped.elapsed() < Duration::from_secs(6 + 3), "{:?}", stopped.elapsed());
    while stopped.elapsed() < stand_still() {
        assert!(lasts(&status(&world)), "it lasts");
        std::thread::sleep(Duration::from_millis(500));
    }
    gateway.signal(Signal::SIGCONT);
    let resumed = Instant::now();
    wait_for("the incident's end", SHORT_TIMEOUT, || (!lasts(&status(&world))).then_some(()));
    say(&format!("whole: over {:?} after it went on", resumed.elapsed()));
    let now = status(&world);
    assert_eq!(now["counters"]["restarts"], 0, "it was only reported");
    life.sexton().signal(Signal::SIGTERM);
    assert_eq!(life.wait_for_exit(GRACE).0, 0, "a clean stop");
}
