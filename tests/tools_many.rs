//! Many tools, registered with the sexton above: nothing of them is left in it.
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

mod common;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::libc::SIGTERM;
use serde_json::Value;

use common::victim::{Mode, Victim, plan};
use common::{NEVER, PATIENCE, sexton, wait_until};

/// Runs before anything is measured.
const FIRST: u64 = 20;

/// How many run one after the other, and at once: 300 and 60, or as many as `SEXTON_TOOLS_IN_A_ROW` and
/// `SEXTON_TOOLS_AT_ONCE` say.
fn sizes() -> (u64, u64) {
    let size = |name, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    (size("SEXTON_TOOLS_IN_A_ROW", 300), size("SEXTON_TOOLS_AT_ONCE", 60))
}
/// What the memory of sexton may grow by, in KiB: what is remembered is bounded, and pages are four.
const GROWTH: u64 = 512;

/// The gateway: it waits for the file `go` between the parts.
fn script(sexton: &str) -> String {
    let (in_a_row, at_once) = sizes();
    format!(
        "run() {{ {sexton} tool --record records.jsonl --name \"$1\" -- \"$2\" \"$3\" || echo bad >>bad; }}
         row() {{ i=0; while [ $i -lt $1 ]; do run row true x; i=$((i + 1)); done; }}
         row {FIRST}; echo warm
         until [ -e go ]; do sleep 0.02; done
         row {in_a_row}
         i=0; while [ $i -lt {at_once} ]; do run crowd sleep 0.3 & i=$((i + 1)); done; wait
         echo done; exec sleep 1000"
    )
}

fn open_descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Resident memory in KiB.
fn memory(pid: i32) -> u64 {
    common::process::status(pid, "VmRSS").unwrap().trim_end_matches(" kB").parse().unwrap()
}

fn tools_ended(victim: &Victim, socket: &str) -> u64 {
    let asked = Command::new(sexton()).args(["status", "--json", "--control", socket]).output().unwrap();
    let status: Value = serde_json::from_slice(&asked.stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&asked.stderr), victim.stderr())
    });
    assert_eq!(status["tools"], Value::Array(Vec::new()), "none runs any more");
    status["counters"]["tools"].as_u64().unwrap()
}

#[test]
fn many_registered_tools_leave_nothing_in_the_sexton_above() {
    let all = FIRST + sizes().0 + sizes().1;
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let plan = plan.options(["--grace", NEVER, "--kill-after", NEVER]);
        let socket = plan.path("run/control.sock");
        let directory = plan.path("");
        let plan = plan.variable("SEXTON_CONTROL", &socket);
        let script = format!("cd '{directory}'\n{}", script(sexton().to_str().unwrap()));
        let mut victim = plan.run(["sh", "-c", &script]);
        victim.says("warm");
        let pid = victim.pid();
        let (descriptors, before) = (open_descriptors(pid), memory(pid));
        assert_eq!(tools_ended(&victim, &socket), FIRST);

        fs::write(format!("{directory}/go"), "").unwrap();
        let end = Instant::now() + PATIENCE + Duration::from_millis(100 * all);
        while !victim.read("stdout").contains("done") {
            assert!(Instant::now() < end, "{} of {all}", victim.read("records.jsonl").lines().count());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!fs::exists(format!("{directory}/bad")).unwrap(), "every run ended well");
        let records = victim.read("records.jsonl");
        assert_eq!(records.lines().count() as u64, all);
        assert_eq!(tools_ended(&victim, &socket), all);
        wait_until("connections are gone", || open_descriptors(pid) <= descriptors);
        wait_until("only the gateway is left", || common::process::children(pid).len() == 1);
        let after = memory(pid);
        assert!(after < before + GROWTH, "{before} KiB became {after} KiB");
        victim.signal(SIGTERM);
        victim.ends_with(143);
    }
}
