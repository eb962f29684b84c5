//! The stop: TERM to the main process, then TERM to everything that is left, then KILL; never longer than
//! it takes.
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

use std::process::Command;
use std::time::{Duration, Instant};

use common::cgroup::Cgroup;
use common::log::events;
use common::process::{children, look};
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, SHORT_TIMEOUT, helper, skip, wait_until};

const TERM: i32 = 15;

/// A window that has to be waited for, short enough to do so.
const WINDOW: Duration = Duration::from_millis(600);

/// Starts `leaves_behind` with these words and waits until it is ready.
fn leaves_behind<const N: usize>(plan: Plan, words: [&str; N]) -> Victim {
    let journal = format!("journal={}", plan.path("journal"));
    let program = helper("leaves_behind");
    let mut victim = plan.run([program.as_str(), &journal].into_iter().chain(words));
    victim.says("ready");
    victim
}

fn position(journal: &str, line: &str) -> Option<usize> {
    journal.lines().position(|found| found == line)
}

/// Every escapee got TERM, and none before the main process was asked (if it was) and had left.
#[track_caller]
fn all_got_term_after_main(victim: &Victim, main_was_asked: bool) {
    let journal = victim.read("journal");
    for number in 0..3 {
        let asked = position(&journal, &format!("escapee-{number} got {TERM}"));
        assert!(asked.is_some(), "escapee-{number} did not get TERM: {journal}");
        if main_was_asked {
            assert!(position(&journal, "main leaves").is_some_and(|left| Some(left) < asked), "{journal}");
        }
    }
}

/// The eight cells of the matrix for one place of sexton.
fn matrix(mode: Mode) {
    for shape in ["setsid", "group"] {
        for escapee in ["obeys", "ignores"] {
            for main in ["exits", "obeys"] {
                let Some(plan) = plan(mode) else { return };
                let kill_after = if escapee == "obeys" { NEVER } else { "600ms" };
                // What a main process leaves in its group that ends at once, and not with 0, has the whole grace.
                let waits = [shape, escapee, main] == ["group", "ignores", "obeys"];
                let plan =
                    plan.options(["--grace", if waits { "4s" } else { NEVER }, "--kill-after", kill_after]);
                let begin = Instant::now();
                let words =
                    [&format!("shape={shape}"), &format!("escapee={escapee}"), &format!("main={main}")];
                let mut victim = leaves_behind(plan, words.map(String::as_str));
                if main == "obeys" {
                    victim.signal(TERM);
                }
                victim.ends_with(7);
                let took = begin.elapsed();
                println!("{mode:?} {shape} {escapee} {main}: {took:?}");
                all_got_term_after_main(&victim, main == "obeys");
                assert!(took < SHORT_TIMEOUT, "{words:?}, {mode:?}: {took:?}");
                if escapee == "ignores" {
                    assert!(
                        took >= WINDOW,
                        "KILL came before the window was over: {words:?}, {mode:?}: {took:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_escapee_gets_term_and_is_gone_as_pid_1() {
    matrix(Mode::Pid1);
}

#[test]
fn every_escapee_gets_term_and_is_gone_as_subreaper() {
    matrix(Mode::Tree);
}

#[test]
fn every_escapee_gets_term_and_is_gone_in_a_cgroup() {
    matrix(Mode::Cgroup);
}

#[test]
fn how_the_tree_is_reached_is_said_once() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let mut victim = plan.options(["-v", "--log-format", "json"]).run(["true"]);
        victim.ends_with(0);
        let reach = events(&victim.stderr(), "containment");
        assert_eq!(reach.len(), 1, "{}", victim.stderr());
        assert!(reach[0].fields.to_string().contains(mode.reach()), "{mode:?}: {}", victim.stderr());
    }
}

#[test]
fn a_main_process_that_ignores_term_has_its_grace_and_then_everything_gets_term_and_then_kill() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let plan = plan.options(["--grace", "600ms", "--kill-after", "600ms", "--log-format", "json"]);
        let mut victim = leaves_behind(plan, ["shape=setsid", "escapee=ignores", "main=ignores"]);
        let main = victim.main();
        let begin = Instant::now();
        victim.signal(TERM);
        victim.ends_with(128 + 9);
        let took = begin.elapsed();
        assert!(took >= 2 * WINDOW && took < SHORT_TIMEOUT, "{mode:?}: {took:?}");
        let journal = victim.read("journal");
        assert!(position(&journal, "main got 15") < position(&journal, "escapee-0 got 15"), "{journal}");
        // Before each stage after the first, one line a process: four at TERM and four at KILL.
        let alive = events(&victim.stderr(), "still-alive");
        let mut stages: Vec<String> = alive.iter().map(|line| line.field("stage")).collect();
        stages.dedup();
        assert_eq!(stages.len(), 2, "the stages come one after the other: {alive:#?}");
        for stage in stages {
            let here: Vec<_> = alive.iter().filter(|line| line.field("stage") == stage).collect();
            assert_eq!(here.len(), 4, "{stage}, {mode:?}: {alive:#?}");
            assert!(here.iter().all(|line| line.field("name") == main.name && !line.field("age").is_empty()));
            let mut pids: Vec<String> = here.iter().map(|line| line.field("pid")).collect();
            pids.sort();
            pids.dedup();
            assert_eq!(pids.len(), 4, "{stage}, {mode:?}: {alive:#?}");
            if mode != Mode::Pid1 {
                assert!(pids.contains(&main.pid.to_string()), "{pids:?} without {main:?}");
            }
        }
    }
}

/// A gateway that waits for its deaf tool, which ends before KILL is due, and then takes a while of its own.
const WAITS_FOR_ITS_TOOL: &str = r#"
mkfifo "$0"; exec 9<>"$0"
trap 'trap "" TERM; sleep 2.4; read -t 1.2 -u 9; exit 0' TERM
sleep 1000 & echo ready; while :; do wait; done"#;

#[test]
fn a_gateway_that_waited_for_its_tools_is_not_killed_while_it_ends() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let plan = plan.options(["--grace", "200ms", "--kill-after", "3s"]);
        let fifo = plan.path("fifo");
        let mut victim = plan.run(["bash", "-c", WAITS_FOR_ITS_TOOL, &fifo]);
        victim.says("ready");
        let begin = Instant::now();
        victim.signal(TERM);
        victim.ends_with(0);
        assert!(begin.elapsed() > Duration::from_millis(3200), "{mode:?}: KILL was due, and was not needed");
    }
}

#[test]
fn each_repeated_stop_signal_skips_a_rung() {
    for (mode, [first, second, third]) in
        [(Mode::Pid1, [15, 15, 15]), (Mode::Tree, [15, 2, 37]), (Mode::Cgroup, [2, 15, 2])]
    {
        let Some(plan) = plan(mode) else { return };
        let plan = plan.options(["--grace", NEVER, "--kill-after", NEVER]);
        let begin = Instant::now();
        let mut victim = leaves_behind(plan, ["escapee=ignores", "main=ignores"]);
        victim.signal(first);
        victim.notes("journal", &format!("main got {first}"));
        assert_eq!(victim.live().len(), 5);
        assert_eq!(position(&victim.read("journal"), "escapee-0 got 15"), None, "too early: {mode:?}");
        victim.signal(second);
        for escapee in ["escapee-0", "escapee-1", "escapee-2"] {
            victim.notes("journal", &format!("{escapee} got 15"));
        }
        assert_eq!(victim.live().len(), 5, "KILL came too early: {mode:?}");
        victim.signal(third);
        victim.ends_with(128 + 9);
        assert!(begin.elapsed() < SHORT_TIMEOUT, "{mode:?}: {:?}", begin.elapsed());
    }
}

#[test]
fn other_signals_do_not_begin_the_stop() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let mut victim = leaves_behind(plan.options(["--grace", "1ms"]), ["escapee=obeys", "main=obeys"]);
        for number in [1, 3, 10, 12, 28, 34] {
            victim.signal(number);
            victim.notes("journal", &format!("main got {number}"));
        }
        assert_eq!(victim.live().len(), 5, "{mode:?}");
        assert_eq!(position(&victim.read("journal"), "escapee-0 got 15"), None, "{mode:?}");
    }
}

/// Waits until as many processes of the victim are stopped.
#[track_caller]
fn stopped(victim: &Victim, count: usize) {
    wait_until("they are stopped", || {
        victim.live().iter().filter(|process| process.state == 'T').count() == count
    });
}

#[test]
fn a_stopped_main_process_is_continued_so_that_it_can_obey() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let begin = Instant::now();
        let plan = plan.options(["--grace", NEVER, "--kill-after", NEVER]);
        let mut victim = leaves_behind(plan, ["main=obeys", "stopped=main"]);
        stopped(&victim, 1);
        victim.signal(TERM);
        victim.ends_with(7);
        assert!(begin.elapsed() < SHORT_TIMEOUT, "{mode:?}: {:?}", begin.elapsed());
        all_got_term_after_main(&victim, true);
    }
}

#[test]
fn stopped_escapees_are_continued_so_that_they_can_obey() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let begin = Instant::now();
        let plan = plan.options(["--grace", NEVER, "--kill-after", NEVER]);
        let mut victim = leaves_behind(plan, ["shape=setsid", "main=obeys", "stopped=escapees"]);
        stopped(&victim, 3);
        victim.signal(TERM);
        victim.ends_with(7);
        assert!(begin.elapsed() < SHORT_TIMEOUT, "{mode:?}: {:?}", begin.elapsed());
        all_got_term_after_main(&victim, true);
    }
}

#[test]
fn a_stopped_process_that_ignores_term_is_killed() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let plan = plan.options(["--grace", NEVER, "--kill-after", "100ms"]);
        let mut victim =
            leaves_behind(plan, ["shape=setsid", "escapee=ignores", "main=obeys", "stopped=escapees"]);
        stopped(&victim, 3);
        victim.signal(TERM);
        victim.ends_with(7);
    }
}

/// A bash script, one command, that says `ready` and drains for so many seconds when TERM comes. It starts no process.
fn drains(seconds: u32) -> String {
    format!(
        "trap \"echo asked; read -t {seconds} -u 3; echo drained; exit 0\" TERM; mkfifo go; exec 3<>go; \
         echo ready; while :; do read -t 1 -u 3; done"
    )
}

#[test]
fn what_a_launcher_leaves_in_its_group_has_the_grace() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let begin = Instant::now();
        let dir = plan.path("");
        // The launcher dies of TERM at once, as npm does; what it started is in its group.
        let script = format!("cd {dir}; bash -c '{}'; true", drains(2));
        let plan = plan.options(["-v", "--log-format", "json", "--grace", NEVER, "--kill-after", "100ms"]);
        let mut victim = plan.run(["bash", "-c", &script]);
        victim.says("ready");
        victim.signal(TERM);
        victim.ends_with(128 + TERM);
        let took = begin.elapsed();
        assert_eq!(victim.stdout(), "ready\nasked\ndrained\n", "{mode:?}, {took:?}: {}", victim.stderr());
        assert_eq!(events(&victim.stderr(), "draining").len(), 1, "{}", victim.stderr());
        assert!(took < SHORT_TIMEOUT, "{mode:?}: {took:?}");
    }
}

#[test]
fn what_left_a_launchers_group_has_the_window_of_all_others() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let journal = plan.path("journal");
        // A deaf daemon, and beside it one in the group that ends when that is gone: by then the window is over.
        let script = format!(
            "mkfifo {journal}.fifo; \
             setsid bash -c 'trap \"\" TERM; echo $$ >>{journal}; read <>{journal}.fifo' & \
             bash -c 'trap \"echo asked >>{journal}\" TERM; echo ready; \
             until [ -s {journal} ]; do :; done; read -r daemon <{journal}; \
             while kill -0 $daemon; do read -t 0.1 <>{journal}.fifo; done 2>/dev/null; echo outlived >>{journal}'; \
             true"
        );
        let begin = Instant::now();
        let plan = plan.options(["--grace", NEVER, "--kill-after", "600ms"]);
        let mut victim = plan.run(["bash", "-c", &script]);
        victim.says("ready");
        wait_until("the daemon is there", || !victim.read("journal").is_empty());
        victim.signal(TERM);
        victim.ends_with(128 + TERM);
        let took = begin.elapsed();
        let journal = victim.read("journal");
        assert!(journal.ends_with("\nasked\noutlived\n"), "{mode:?}: {journal}");
        assert!(took >= WINDOW && took < SHORT_TIMEOUT, "{mode:?}: {took:?}");
    }
}

#[test]
fn what_a_gateway_leaves_that_ends_well_has_no_grace() {
    for mode in Mode::ALL {
        for shape in ["shape=setsid", "shape=group"] {
            let Some(plan) = plan(mode) else { return };
            let plan = plan.options(["--grace", NEVER, "--kill-after", "100ms"]);
            let mut victim = leaves_behind(plan, [shape, "escapee=ignores", "main=obeys", "code=0"]);
            let begin = Instant::now();
            victim.signal(TERM);
            victim.ends_with(0);
            assert!(begin.elapsed() < SHORT_TIMEOUT, "{mode:?} {shape}: {:?}", begin.elapsed());
        }
    }
}

#[test]
fn a_second_stop_signal_ends_what_a_launcher_left_behind() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let plan = plan.options(["--grace", NEVER, "--kill-after", NEVER]);
        let mut victim = leaves_behind(plan, ["shape=group", "escapee=ignores", "main=obeys"]);
        let begin = Instant::now();
        victim.signal(TERM);
        for escapee in ["escapee-0", "escapee-1", "escapee-2"] {
            victim.notes("journal", &format!("{escapee} got 15"));
        }
        assert_eq!(victim.live().len(), 4, "{mode:?}");
        victim.signal(TERM);
        victim.ends_with(7);
        assert!(begin.elapsed() < SHORT_TIMEOUT, "{mode:?}: {:?}", begin.elapsed());
    }
}

#[test]
fn npm_run_leaves_its_script_the_whole_grace() {
    if Command::new("npm").arg("--version").output().is_err() {
        return skip("npm", "Debian: npm");
    }
    let Some(plan) = plan(Mode::Tree) else { return };
    let package = serde_json::json!({"name": "x", "scripts": {"dev": format!("bash -c '{}'", drains(8))}});
    std::fs::write(plan.path("package.json"), package.to_string()).unwrap();
    let dir = plan.path("");
    // With the defaults: 30 s, and 5 s for what is left.
    let mut victim = plan.run(["npm", "--prefix", &dir, "--silent", "run", "dev"]);
    victim.says("ready");
    let begin = Instant::now();
    victim.signal(TERM);
    victim.ends_with(128 + TERM);
    let took = begin.elapsed();
    assert_eq!(victim.stdout(), "ready\nasked\ndrained\n", "{took:?}: {}", victim.stderr());
    assert!(took >= Duration::from_secs(8), "{took:?}");
}

#[test]
fn with_nothing_left_it_ends_at_once() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let begin = Instant::now();
        let mut victim =
            leaves_behind(plan.options(["--grace", NEVER, "--kill-after", NEVER]), ["count=0", "main=obeys"]);
        victim.signal(TERM);
        victim.ends_with(7);
        assert!(begin.elapsed() < SHORT_TIMEOUT);
    }
}

/// Starts processes that outrun a process that counts them, within a limit that keeps the machine alive, stops them
/// and sees them gone.
fn outrun(kind: &str, limit: u32) {
    for mode in Mode::ALL {
        let (Some(plan), Some(limit)) = (plan(mode), Cgroup::with_pids_limit(limit)) else { return };
        let file = limit.pids_max().into_os_string().into_string().unwrap();
        let plan = plan.inside(limit).options(["--grace", NEVER, "--kill-after", "200ms"]);
        let mut victim = plan.run([&helper("keeps_forking"), kind, &file]);
        victim.says("ready");
        let begin = Instant::now();
        victim.signal(TERM);
        victim.ends_with(3);
        let took = begin.elapsed();
        println!("{kind}, {mode:?}: {took:?}");
        assert!(took >= Duration::from_millis(200) && took < SHORT_TIMEOUT, "{mode:?}: {took:?}");
    }
}

#[test]
fn processes_that_fork_and_exit_for_ever_are_gone() {
    // They are never many; the limit is for the zombies of an init that does not reap in time.
    outrun("hoppers", 8000);
}

#[test]
fn a_fork_bomb_held_by_a_pids_limit_is_gone() {
    outrun("bomb", 150);
}

#[test]
fn signals_during_the_stop_still_reach_the_main_process() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let mut victim = leaves_behind(plan.options(["--grace", NEVER]), ["main=ignores", "count=0"]);
        victim.signal(TERM);
        victim.notes("journal", "main got 15");
        victim.signal(10);
        victim.notes("journal", "main got 10");
        assert!(children(victim.pid()).iter().any(|child| look(child.pid).is_some()));
    }
}
