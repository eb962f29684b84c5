//! `[stop] before`: a command that comes before the stop signal.
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

use std::time::Instant;

use common::log::events;
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, SHORT_TIMEOUT, root, skip};

const TERM: i32 = 15;

/// A main process that says so when TERM comes, and ends with 7.
const OBEYS: &str =
    "trap 'echo got TERM; exit 7' TERM; echo $$ > main; echo ready; while :; do sleep 0.05; done";

/// Starts the main process under a configuration with `[stop]`, in the victim's own directory.
fn start(plan: Plan, stop: &str, main: &str) -> Victim {
    std::fs::write(plan.path("sexton.toml"), stop).unwrap();
    let (config, directory) = (plan.path("sexton.toml"), plan.path(""));
    let plan = plan.options([
        "--config",
        &config,
        "--grace",
        NEVER,
        "--kill-after",
        "1s",
        "-v",
        "--log-format",
        "json",
    ]);
    let mut victim = plan.through(["env", "-C", &directory]).run(["sh", "-c", main]);
    victim.says("ready");
    victim
}

/// A step that is a shell script.
fn step(script: &str, timeout: &str) -> String {
    format!("[stop]\nbefore = ['sh', '-c', '''{script}''']\nbefore_timeout = '{timeout}'\n")
}

#[test]
fn the_stop_signal_comes_when_the_step_has_ended() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        // What it reads is empty, and what it leaves behind ends with everything.
        let script = "cat; setsid sleep 1000 & sleep 0.3; kill -0 $(cat main) && echo it lives; exit 3";
        let mut victim = start(plan, &step(script, NEVER), OBEYS);
        let begun = Instant::now();
        victim.signal(TERM);
        victim.ends_with(7);
        assert_eq!(victim.stdout(), "ready\nit lives\ngot TERM\n", "{mode:?}: {}", victim.stderr());
        assert!(begun.elapsed() < SHORT_TIMEOUT);
        let failed = events(&victim.stderr(), "step-failed");
        assert!(failed.len() == 1 && failed[0].field("code") == "3", "it is said: {failed:?}");
    }
}

#[test]
fn a_step_that_hangs_is_ended_and_the_stop_goes_on() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let mut victim = start(plan, &step("trap \"\" TERM; while :; do sleep 1; done", "600ms"), OBEYS);
        let begun = Instant::now();
        victim.signal(TERM);
        victim.ends_with(7);
        assert!(begun.elapsed().as_millis() >= 600, "it had its window");
        assert!(begun.elapsed() < SHORT_TIMEOUT, "{mode:?}: {:?}", begun.elapsed());
        assert_eq!(victim.stdout(), "ready\ngot TERM\n", "{}", victim.stderr());
        assert_eq!(events(&victim.stderr(), "before-stop-overdue").len(), 1, "{}", victim.stderr());
    }
}

#[test]
fn a_second_signal_skips_the_step() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let mut victim = start(plan, &step("echo step; exec sleep 1000", NEVER), OBEYS);
        let begun = Instant::now();
        victim.signal(TERM);
        victim.says("step");
        victim.signal(TERM);
        victim.ends_with(7);
        assert!(begun.elapsed() < SHORT_TIMEOUT, "{mode:?}: {:?}", begun.elapsed());
        assert_eq!(victim.stdout(), "ready\nstep\ngot TERM\n", "{}", victim.stderr());
    }
}

#[test]
fn a_main_process_that_ends_by_itself_meanwhile_keeps_its_code_and_nothing_is_left() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let main = OBEYS.replace("exit 7' TERM", "exit 7' TERM; trap 'exit 0' USR2");
        let script = "kill -USR2 $(cat main); exec sleep 1000";
        let mut victim = start(plan, &step(script, NEVER), &main);
        let begun = Instant::now();
        victim.signal(TERM);
        victim.ends_with(0);
        assert!(begun.elapsed() < SHORT_TIMEOUT, "{mode:?}: {:?}", begun.elapsed());
        assert_eq!(victim.stdout(), "ready\n", "no signal: {}", victim.stderr());
    }
}

#[test]
fn a_step_that_cannot_be_run_is_said_and_the_stop_goes_on() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut victim = start(plan, "[stop]\nbefore = ['/no/such/program']\n", OBEYS);
    victim.signal(TERM);
    victim.ends_with(7);
    let failed = events(&victim.stderr(), "step-failed");
    assert!(failed.len() == 1 && failed[0].field("message").contains("No such file"), "{}", victim.stderr());
}

#[test]
fn a_step_runs_as_whoever_the_main_process_has_become() {
    if !root() {
        return skip("root", "to become another user");
    }
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        std::fs::write(plan.path("main"), "").unwrap();
        let main = format!(
            "exec setpriv --reuid=4711 --regid=4712 --clear-groups sh -c \"{}\"",
            OBEYS.replace("echo $$ > main; ", "")
        );
        let script = "echo $(id -u) $(id -g) $(id -G); grep CapEff /proc/self/status";
        let mut victim = start(plan, &step(script, NEVER), &main);
        victim.signal(TERM);
        victim.ends_with(7);
        let expected = "ready\n4711 4712 4712\nCapEff:\t0000000000000000\ngot TERM\n";
        assert_eq!(victim.stdout(), expected, "{mode:?}: {}", victim.stderr());
    }
}

#[test]
fn check_shows_the_step_and_a_stop_may_take_as_much_longer() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("sexton.toml");
    let check = |text: &str| {
        std::fs::write(&config, text).unwrap();
        let output =
            common::command(["check", "--json", "--config", config.to_str().unwrap()]).output().unwrap();
        (output.status.code(), common::text(&output.stdout), common::text(&output.stderr))
    };
    let (code, shown, said) = check("command = ['x']\n[stop]\nbefore = ['a', 'b c']");
    assert_eq!(code, Some(0), "{said}");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["stop"], serde_json::json!({ "before": ["a", "b c"], "before_timeout": "10s" }));
    for none in ["command = ['x']", "command = ['x']\n[stop]\nbefore = []\nbefore_timeout = '1s'"] {
        assert!(!check(none).1.contains("\"stop\""), "{none}");
    }
    for (wrong, why) in [
        ("before = ['']", "stop.before"),
        ("before = 'a b'", "a list of words"),
        ("before = ['a']\nbefore_timeout = '0s'", "stop.before_timeout"),
        ("after = ['a']", "stop.after"),
    ] {
        let (code, _, said) = check(&format!("command = ['x']\n[stop]\n{wrong}"));
        assert!(code == Some(125) && said.contains(why), "{wrong}: {said}");
    }
}
