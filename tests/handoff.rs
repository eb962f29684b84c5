//! `[restart] handoff`: a gateway that ends with 0 for a restart as well as for a stop, and says which when it is asked.
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

use std::process::{Command, Stdio};
use std::time::Instant;

use common::log::events;
use common::process::{marked, send};
use common::victim::{Mode, Plan, Victim, plan};
use common::{KillOnDrop, NEVER, SHORT_TIMEOUT, helper, root, skip, wait_until};

const TERM: i32 = 15;
const USR1: i32 = 10;
const USR2: i32 = 12;

/// Starts the stand-in with this restart policy; `how` is how it answers.
fn start(plan: Plan, restart: &str, how: &str, front: &[&str]) -> Victim {
    let program = helper("hands_over");
    let text = format!(
        "[restart]\n{restart}\nhandoff = ['{program}', 'consume', '--expected-pid', '{{pid}}']\n[env]\nA = 'b'\n"
    );
    std::fs::write(plan.path("sexton.toml"), text).unwrap();
    std::fs::write(plan.path("how"), how).unwrap();
    let (config, state) = (plan.path("sexton.toml"), plan.path(""));
    let plan = plan.variable("STATE", &state);
    let plan =
        plan.options(["--config", &config, "--grace", NEVER, "--kill-after", "5s", "--log-format", "json"]);
    let mut victim = plan.run(front.iter().copied().chain([program.as_str(), "run"]));
    starts(&mut victim, 1);
    victim
}

/// It has been started so often, and the last one's pid stands in the file `pid`.
#[track_caller]
fn starts(victim: &mut Victim, times: usize) {
    wait_until(&format!("start {times}"), || victim.stdout().matches("started ").count() >= times);
    assert_eq!(victim.stdout().matches("started ").count(), times, "{}", victim.stderr());
}

/// Sends the stand-in itself a signal.
fn tell(victim: &mut Victim, signal: i32) {
    let main = victim.main();
    send(main.pid, signal).unwrap();
}

#[test]
fn a_requested_restart_is_made_with_every_policy_and_not_counted() {
    for mode in Mode::ALL {
        for on in ["never", "on-failure", "always"] {
            let Some(plan) = plan(mode) else { return };
            let mut victim = start(plan, &format!("on = '{on}'\nlimit = 1"), "", &[]);
            for times in 2..5 {
                tell(&mut victim, USR2);
                starts(&mut victim, times);
            }
            // It ends by itself, and means it.
            tell(&mut victim, USR1);
            victim.ends_with(0);
            assert!(
                events(&victim.stderr(), "handoff-failed").is_empty(),
                "{mode:?} {on}: {}",
                victim.stderr()
            );
        }
    }
}

#[test]
fn what_is_rejected_is_a_stop() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let mut victim = start(plan, "on = 'always'", "rejected", &[]);
    tell(&mut victim, USR2);
    victim.ends_with(0);
    starts(&mut victim, 1);
}

#[test]
fn no_answer_an_error_and_nonsense_are_a_failure() {
    for how in ["hang", "error", "nonsense", "flood"] {
        for on in ["never", "on-failure"] {
            let Some(plan) = plan(Mode::Pid1) else { return };
            let policy = format!("on = '{on}'\nlimit = 1\ndelay = '10ms'\nhandoff_timeout = '500ms'");
            let mut victim = start(plan, &policy, how, &[]);
            let begun = Instant::now();
            tell(&mut victim, USR1);
            if on == "on-failure" {
                starts(&mut victim, 2);
                // The second one is one too many.
                tell(&mut victim, USR1);
                victim.ends_with(69);
            } else {
                victim.ends_with(0);
            }
            assert!(begun.elapsed() < SHORT_TIMEOUT, "{how}: {:?}", begun.elapsed());
            let failed = events(&victim.stderr(), "handoff-failed").len();
            assert_eq!(failed, if on == "never" { 1 } else { 2 }, "{how}: {}", victim.stderr());
        }
    }
}

#[test]
fn a_stop_signal_ends_the_question() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let mut victim = start(plan, "on = 'always'\nhandoff_timeout = '120s'", "hang", &[]);
        let begun = Instant::now();
        tell(&mut victim, USR2);
        wait_until("it is asked", || !victim.read("asked").is_empty());
        victim.signal(TERM);
        victim.ends_with(0);
        assert!(begun.elapsed() < SHORT_TIMEOUT, "{mode:?}: {:?}", begun.elapsed());
        starts(&mut victim, 1);
    }
}

#[test]
fn the_question_is_asked_as_the_gateways_user_and_by_its_number() {
    if !root() {
        return skip("root", "to become another user");
    }
    let Some(plan) = plan(Mode::Tree) else { return };
    let front = ["setpriv", "--reuid=4711", "--regid=4712", "--clear-groups"];
    let mut victim = start(plan, "on = 'never'", "", &front);
    let main = victim.main().pid;
    tell(&mut victim, USR1);
    victim.ends_with(0);
    assert_eq!(victim.read("asked"), format!("{main} as 4711"), "{}", victim.stderr());
}

/// `docker exec`: a process whose parent is outside of the pid namespace.
fn session(victim: &Victim, command: &[&str]) -> KillOnDrop {
    let target = victim.pid().to_string();
    let mut line = Command::new("nsenter");
    line.args(["--target", &target, "--pid", "--mount", "--"]).args(command);
    let (name, value) = victim.mark().split_once('=').unwrap();
    let state = victim.path("");
    KillOnDrop(
        line.env(name, value)
            .env("STATE", state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    )
}

#[test]
fn the_session_that_asked_for_a_restart_lives_to_say_so_and_ends_with_everything() {
    if !root() {
        return skip("root", "to enter a pid namespace");
    }
    let Some(plan) = plan(Mode::Pid1) else { return };
    let mut victim = start(plan, "on = 'never'", "", &[]);
    let script = "trap 'echo asked to end; exit 5' TERM; sleep 1000 & echo $! ; wait";
    let idle = session(&victim, &["sh", "-c", script]);
    let name = |wanted: &str| marked(victim.mark()).iter().filter(|one| one.name == wanted).count();
    wait_until("the session and its child live", || name("sleep") == 1);
    let asking = session(&victim, &[helper("hands_over").as_str(), "restart"]);
    let mut asking = asking;
    let output =
        std::mem::replace(&mut asking.0, Command::new("true").spawn().unwrap()).wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout == b"restarted\n", "{output:?}: {}", victim.stderr());
    starts(&mut victim, 2);
    let sleeps = marked(victim.mark()).iter().filter(|one| one.name == "sleep").count();
    assert_eq!(sleeps, 1, "what the other session has started lives, too: {}", victim.stderr());
    victim.signal(TERM);
    victim.ends_with(0);
    let mut idle = idle;
    let output =
        std::mem::replace(&mut idle.0, Command::new("true").spawn().unwrap()).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "it got TERM, and its window");
    assert!(common::text(&output.stdout).contains("asked to end"));
}
