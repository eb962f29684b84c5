//! Reaping: no zombie stays, however many there are and whoever started sexton; and nobody to reap, nothing
//! to do.
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

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::process::{children, send, status};
use common::victim::{Mode, Victim, plan};
use common::{helper, wait_until};

const USR1: i32 = 10;
const TERM: i32 = 15;

/// Starts `forks_and_dies` with this many orphans, has them all die at once, and waits until none is left.
fn dies_at_once(count: usize, born: &[&str]) {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let plan = born.iter().fold(plan, |plan, word| plan.born([word]));
        let mut victim = plan.run([helper("forks_and_dies"), count.to_string()]);
        victim.says("ready");
        let (sexton, main) = (victim.pid(), victim.main().pid);
        let adopted = || children(sexton).iter().filter(|child| child.pid != main).count();
        assert_eq!(adopted(), count, "{mode:?}: sexton is not their parent");
        let begin = Instant::now();
        send(main, USR1).unwrap();
        victim.says("dead");
        wait_until("all are reaped", || adopted() == 0);
        println!("{mode:?}: {count} in {:?}", begin.elapsed());
        victim.signal(TERM);
        victim.ends_with(5);
    }
}

#[test]
fn of_ten_thousand_orphans_that_die_at_once_no_zombie_is_left_and_the_exit_code_is_kept() {
    dies_at_once(10_000, &[]);
}

#[test]
fn sigchld_ignored_or_blocked_by_whoever_started_sexton_changes_nothing() {
    for born in ["ignore=17", "block=17"] {
        dies_at_once(100, &[born]);
        for mode in Mode::PID1_AND_NOT {
            let Some(plan) = plan(mode) else { return };
            plan.born([born]).run(["sh", "-c", "exit 42"]).ends_with(42);
        }
    }
}

#[test]
fn orphans_are_reaped_while_the_main_process_runs() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let script = "i=0; while [ $i -lt 300 ]; do (true &); i=$((i + 1)); done; exec \"$0\"";
        let mut victim = plan.run(["sh", "-c", script, &helper("ignores_term")]);
        victim.says("ready");
        let sexton = victim.pid();
        wait_until("only the main process is left", || children(sexton).len() == 1);
        assert!(!victim.main().dead());
    }
}

#[test]
fn a_child_from_before_its_time_is_neither_the_main_process_nor_left_behind() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let script = format!("'{}' >/dev/null & true & exec \"$@\"", helper("ignores_term"));
        let plan = plan.through(["sh", "-c", &script, "sh"]).options(["--kill-after", "100ms"]);
        plan.run(["sh", "-c", "exit 4"]).ends_with(4);
    }
}

/// How often the processor was given to sexton and taken from it.
fn switches(victim: &Victim) -> [String; 2] {
    ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
        .map(|label| status(victim.pid(), label).unwrap())
}

#[test]
fn with_nothing_to_do_it_does_not_wake_up() {
    let plans: Vec<_> = Mode::ALL.into_iter().filter_map(plan).collect();
    let mut victims: Vec<Victim> = plans.into_iter().map(|plan| plan.run([helper("ignores_term")])).collect();
    for victim in &mut victims {
        victim.says("ready");
    }
    // Not to wait for something: a second after the start there is a last look whether the command has changed its user.
    sleep(Duration::from_millis(1200));
    for victim in &mut victims {
        let mut before = switches(victim);
        wait_until("it has come to rest", || {
            sleep(Duration::from_millis(300));
            let now = switches(victim);
            std::mem::replace(&mut before, now.clone()) == now
        });
    }
    let before: Vec<_> = victims.iter().map(switches).collect();
    // Not to wait for something: this is the time over which nothing may happen.
    sleep(Duration::from_secs(10));
    for (victim, before) in victims.iter().zip(before) {
        assert_eq!(switches(victim), before, "{:?}", victim.mode());
    }
}
