//! Deaths from above: sexton's own, and that of whoever started it.
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

use common::process::{children, look, send};
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, helper, wait_until};

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
