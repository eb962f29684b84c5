//! Chaos for as long as `SEXTON_SOAK` says (10s): a gateway that never rests, which is killed; its tools, orphans and
//! leaked locks; signals in bursts, hostile control clients, sexton stopped and resumed, sexton-watch killed, the wall
//! clock set forwards and backwards. A checker looks on and knows what must be true at every instant.
//!
//! `SEXTON_SOAK=30m cargo test --release --test soak -- --nocapture`; `SEXTON_SOAK_SEED` repeats the choices of a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure must be loud"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes"
)]

#[path = "../common/mod.rs"]
mod common;

mod checker;
mod mischief;

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use checker::Checker;
use common::cgroup::Cgroup;
use common::victim::{Mode, Plan, plan};
use common::{helper, sexton};
use mischief::FaultInjector;

const CONFIGURATION: &str = r#"
grace = "3s"
kill_after = "1s"
log = "info"

[restart]
on = "always"
delay = "50ms"
max_delay = "100ms"
limit = 1000000
interval = "1h"

[tools]
orphans = "end"
grace = "200ms"

[limits]
memory = "100G"
interval = "1s"

[logs.soak]
files = ["/nonexistent/*.log"]
pattern = "x"
count = 1
interval = "1m"
"#;

/// How long it lasts.
fn length() -> Duration {
    std::env::var("SEXTON_SOAK")
        .map_or(Duration::from_secs(10), |text| humantime::parse_duration(&text).unwrap())
}

fn seed() -> u64 {
    let clock = || u64::from(SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    std::env::var("SEXTON_SOAK_SEED").map_or_else(|_| clock(), |text| text.parse().unwrap())
}

/// With the library that sets a process's wall clock, if the machine has it: the file that says by how much.
fn with_clock(plan: Plan) -> (Plan, Option<String>) {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    if !Path::new(&library).exists() {
        common::skip("libfaketime, to set the clock", "Debian's package faketime");
        return (plan, None);
    }
    let file = plan.path("clock");
    fs::write(&file, "+0").unwrap();
    // What the library shares lies in /dev/shm, by pid. A killed process leaves it there, and the next one of that number
    // fails. Nobody loads it who has another /dev/shm.
    let own_memory = r#"mount -t tmpfs -o mode=1777 tmpfs /dev/shm && exec env "$@""#;
    let plan = plan.through(["unshare", "--mount", "sh", "-c", own_memory, "sh"]).through([
        &format!("LD_PRELOAD={library}"),
        &format!("FAKETIME_TIMESTAMP_FILE={file}"),
        "FAKETIME_CACHE_DURATION=1",
        // Nobody can set the clock that deadlines go by, nor the times of files.
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "NO_FAKE_STAT=1",
    ]);
    (plan, Some(file))
}

fn soak(mode: Mode) {
    let Some(plan) = plan(mode) else { return };
    let (length, seed) = (length(), seed());
    println!("{mode:?}: SEXTON_SOAK={length:?} SEXTON_SOAK_SEED={seed}");
    let [dir, config, socket] = ["world", "sexton.toml", "control.sock"].map(|name| plan.path(name));
    fs::create_dir_all(Path::new(&dir).join("sessions")).unwrap();
    fs::write(&config, CONFIGURATION).unwrap();
    let (plan, clock) = with_clock(plan);
    let Some(fence) = Cgroup::with_pids_limit(400) else { return };
    let plan = plan.inside(fence);
    let plan = plan.options(["--config", &config, "--lock-root", &dir]).variable("SEXTON_CONTROL", &socket);
    let program = sexton().into_os_string().into_string().unwrap();
    let mut victim = plan.run([&helper("restless"), &dir, &program, &seed.to_string()]);
    let up = Path::new(&dir).join("up");
    common::wait_until("the gateway is up", || up.exists());

    let mut mischief = FaultInjector::new(seed, victim.pid(), socket.into(), clock);
    let mut checker = Checker::new(mode, victim.pid(), dir.into());
    let (begin, mut looked) = (Instant::now(), Instant::now());
    while begin.elapsed() < length {
        mischief.act();
        thread::sleep(Duration::from_millis(50));
        if looked.elapsed() >= Duration::from_millis(250) {
            looked = Instant::now();
            checker.look(&victim);
        }
    }
    mischief.settle(&victim);
    victim.signal(15);
    let asked = Instant::now();
    victim.ends_with(0);
    println!("{mode:?}: {}; it ended in {:?}", mischief.tally(), asked.elapsed());
    checker.end(&victim.stderr());
}

#[test]
fn chaos_below_an_init() {
    soak(Mode::Pid1);
}

#[test]
fn chaos_below_a_wrapper() {
    soak(Mode::Tree);
}
