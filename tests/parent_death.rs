//! Deaths from above: sexton's own, and that of its parent.
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

use common::log::events;
use common::process::{children, look, send};
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, helper, root, skip, wait_until};

const KILL: i32 = 9;

#[test]
fn when_sexton_is_killed_the_main_process_goes_with_it() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let mut victim = plan.run([helper("ignores_term")]);
        victim.says("ready");
        let main = victim.main().pid;
        send(victim.pid(), KILL).unwrap();
        wait_until("the main process is gone", || look(main).is_none_or(|process| process.dead()));
    }
}

#[test]
fn a_main_process_that_changes_its_user_goes_with_sexton_too() {
    if !root() {
        return skip("root", "it becomes another user");
    }
    for mode in [Mode::Tree, Mode::Cgroup] {
        for change in [["--reuid", "12345"], ["--regid", "12345"]] {
            let Some(plan) = plan(mode) else { return };
            let plan = plan.options(["-v", "--log-format", "json"]);
            let command = ["setpriv", change[0], change[1], "--clear-groups", "tail", "-f", "/dev/null"];
            let mut victim = plan.run(command);
            wait_until("it is seen to", || events(&victim.stderr(), "death-guard").len() == 1);
            let main = victim.main().pid;
            send(victim.pid(), KILL).unwrap();
            victim.status();
            wait_until("no process is left, the guard neither", || victim.live().is_empty());
            assert!(look(main).is_none_or(|process| process.dead()), "{mode:?} {change:?}");
        }
    }
}

#[test]
fn the_guard_is_gone_before_sexton_is() {
    if !root() {
        return skip("root", "it becomes another user");
    }
    for mode in [Mode::Tree, Mode::Cgroup] {
        let Some(plan) = plan(mode) else { return };
        let plan = plan.options(["-v", "--log-format", "json", "--grace", NEVER]);
        let mut victim =
            plan.run(["setpriv", "--reuid", "12345", "--clear-groups", "sh", "-c", "exec tail -f /dev/null"]);
        wait_until("it is seen to", || events(&victim.stderr(), "death-guard").len() == 1);
        let guard: i32 = events(&victim.stderr(), "death-guard")[0].field("pid").parse().unwrap();
        assert!(look(guard).is_some());
        // No process waits for the other end of sexton's descriptors: the guard keeps only its pipe.
        wait_until("it has let go of all that it was born with", || {
            let open = std::fs::read_dir(format!("/proc/{guard}/fd")).unwrap().flatten();
            let open = open.flat_map(|entry| std::fs::read_link(entry.path()));
            let mut open: Vec<String> = open.map(|link| link.display().to_string()).collect();
            open.retain(|link| link != "/dev/null");
            open.len() == 1 && open[0].starts_with("pipe:")
        });
        victim.signal(15);
        victim.ends_with(128 + 15);
    }
}

/// Starts sexton as the child of a shell that does nothing, kills the shell, and gives back the pid of
/// sexton.
fn orphaned(plan: Plan) -> (Victim, i32) {
    let plan = plan.through(["sh", "-c", "\"$@\" & wait", "sh"]).options(["--grace", NEVER]);
    let mut victim = plan.run([&helper("prints_signals"), "15", "9"]);
    victim.says("ready");
    let sexton = children(victim.pid()).first().unwrap().pid;
    send(victim.pid(), KILL).unwrap();
    (victim, sexton)
}

#[test]
fn p_is_the_signal_that_sexton_gets_when_its_parent_dies() {
    for name in ["SIGTERM", "TERM", "15"] {
        let Some(plan) = plan(Mode::Tree) else { return };
        let (mut victim, _) = orphaned(plan.options(["-p", name]));
        victim.status();
        wait_until("all are gone", || victim.live().is_empty());
        assert_eq!(victim.stdout(), "ready\n15\n", "{name}");
    }
}

#[test]
fn without_p_it_lives_on_when_its_parent_dies() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let (mut victim, sexton) = orphaned(plan);
    victim.status();
    send(sexton, 10).unwrap();
    // Whatever its parent's death would have sent was sent before this.
    wait_until("the command has got it", || victim.stdout() == "ready\n10\n");
}
