//! Signals: every one that can be caught reaches the command; what the command is born with is what sexton
//! was born with.
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

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use common::process::{children, look, mask, queue};
use common::victim::{Mode, Plan, Victim, plan};
use common::{NEVER, helper, sexton, wait_until};

/// Those that begin or hasten the stop: each is sent to a victim of its own.
const STOP: [i32; 2] = [2, 15];

/// Those that cannot be caught, and CHLD, which the kernel sends sexton for every dead child.
const NOT_FORWARDED: [i32; 3] = [9, 17, 19];

/// The halt signals of containers and machines: a stop of which the main process gets TERM. The last three are so as
/// PID 1.
const HALT: [i32; 5] = [30, 37, 38, 39, 40];

fn printer(mode: Mode, options: [&str; 4]) -> Option<Victim> {
    let mut victim = plan(mode)?.options(options).run([helper("prints_signals")]);
    victim.says("ready");
    Some(victim)
}

const PATIENT: [&str; 4] = ["--grace", NEVER, "--kill-after", NEVER];

#[test]
fn signals_1_to_31_arrive_in_the_order_in_which_they_were_sent() {
    for mode in Mode::PID1_AND_NOT {
        let Some(mut victim) = printer(mode, PATIENT) else { return };
        let mut expected = "ready\n".to_owned();
        let up_and_down = (1..32).chain((1..32).rev());
        for number in up_and_down.filter(|number| {
            !STOP.contains(number) && !HALT.contains(number) && !NOT_FORWARDED.contains(number)
        }) {
            victim.signal(number);
            expected.push_str(&format!("{number}\n"));
            // Several pending signals would be handed over by number.
            wait_until(&format!("{number} has arrived, {mode:?}"), || victim.stdout() == expected);
        }
        // It was forwarding, not the stop.
        assert_eq!(victim.main().state, 'S');
    }
}

#[test]
fn real_time_signals_arrive_in_order_with_their_values() {
    for mode in Mode::PID1_AND_NOT {
        let Some(victim) = printer(mode, PATIENT) else { return };
        let mut expected = "ready\n".to_owned();
        for number in (34..65).rev().filter(|number| !STOP.contains(number) && !HALT.contains(number)) {
            queue(victim.pid(), number, 1000 * number).unwrap();
            expected.push_str(&format!("{number} {}\n", 1000 * number));
            wait_until(&format!("{number} has arrived, {mode:?}"), || victim.stdout() == expected);
        }
        queue(victim.pid(), 64, -1).unwrap();
        expected.push_str("64 -1\n");
        wait_until("a negative value has arrived", || victim.stdout() == expected);
        // A standard signal can be queued with a value, too; and a real-time one sent without.
        queue(victim.pid(), 10, 77).unwrap();
        expected.push_str("10 77\n");
        wait_until("a standard signal with a value has arrived", || victim.stdout() == expected);
        victim.signal(41);
        expected.push_str("41\n");
        wait_until("a real-time signal without a value has arrived", || victim.stdout() == expected);
    }
}

#[test]
fn a_burst_of_real_time_signals_is_neither_lost_nor_shuffled() {
    for mode in Mode::PID1_AND_NOT {
        let Some(victim) = printer(mode, PATIENT) else { return };
        for value in 0..500 {
            queue(victim.pid(), 36, value).unwrap();
            queue(victim.pid(), 50, value).unwrap();
        }
        wait_until(&format!("all have arrived, {mode:?}"), || victim.stdout().lines().count() > 1000);
        for number in [36, 50] {
            let prefix = format!("{number} ");
            let values: Vec<i32> =
                victim.stdout().lines().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).collect();
            assert_eq!(values, (0..500).collect::<Vec<_>>(), "signal {number}, {mode:?}");
        }
    }
}

#[test]
fn each_stop_signal_arrives_as_itself() {
    for mode in Mode::PID1_AND_NOT {
        for number in STOP {
            let Some(mut victim) = printer(mode, PATIENT) else { return };
            victim.signal(number);
            victim.says(&number.to_string());
            assert_eq!(victim.stdout(), format!("ready\n{number}\n"), "{mode:?}");
        }
    }
}

#[test]
fn a_halt_signal_is_a_stop_and_the_main_process_gets_term() {
    for (mode, signals) in [(Mode::Pid1, &HALT[..]), (Mode::Tree, &HALT[..2])] {
        for number in signals {
            let Some(mut victim) = printer(mode, PATIENT) else { return };
            victim.signal(*number);
            victim.says("15");
            assert_eq!(victim.stdout(), "ready\n15\n", "{number}, {mode:?}");
        }
    }
}

#[test]
fn a_halt_signal_that_is_rewritten_to_itself_is_passed_on_as_it_is() {
    for mode in Mode::PID1_AND_NOT {
        let options = ["--rewrite", "PWR:PWR", "--grace", NEVER];
        let Some(mut victim) = printer(mode, options) else { return };
        victim.signal(30);
        victim.says("30");
        assert_eq!(victim.stdout(), "ready\n30\n", "{mode:?}");
    }
}

/// glibc keeps 32 and 33 for itself, musl 34 too. They end a process that does not know them.
#[test]
fn a_signal_that_the_c_library_keeps_for_itself_is_passed_on_and_does_not_end_sexton() {
    for mode in Mode::ALL {
        for number in 32..35 {
            let Some(plan) = plan(mode) else { return };
            let script = format!("setsid sleep {NEVER} & echo ready; wait");
            // The program that started the tests may ignore it, as Rust's standard library has its children do.
            let born = plan.born([&format!("default={number}")]).options(["--grace", NEVER]);
            let mut victim = born.run(["bash", "-c", &script]);
            victim.says("ready");
            victim.signal(number);
            // Of sexton's own death by it there would be no code, and the daemon would be left.
            victim.ends_with(128 + number);
        }
    }
}

/// A main process and another one in its group that each print their signals.
fn group(plan: Plan) -> Victim {
    let [other, printer] = [plan.path("other"), helper("prints_signals")];
    let mut victim = plan.run(["sh", "-c", "\"$0\" >\"$1\" & exec \"$0\"", &printer, &other]);
    victim.says("ready");
    victim.notes("other", "ready");
    victim
}

#[test]
fn only_the_main_process_gets_a_signal_and_with_g_its_group_does() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let mut victim = group(plan);
        victim.signal(10);
        victim.says("10");
        // What was sent to both would be there by the time that a second one is.
        victim.signal(12);
        victim.says("12");
        assert_eq!(victim.read("other"), "ready\n", "{mode:?}");
    }
    for flag in ["-g", "--group"] {
        for mode in Mode::PID1_AND_NOT {
            let Some(plan) = plan(mode) else { return };
            let mut victim = group(plan.options([flag]));
            victim.signal(10);
            victim.says("10");
            victim.notes("other", "10");
        }
    }
}

/// `SigBlk` and `SigIgn` of a command that was started like this.
fn born(plan: Plan) -> String {
    let mut victim = plan.run(["grep", "-E", "^Sig(Blk|Ign|Cgt):", "/proc/self/status"]);
    assert_eq!(victim.code(), 0, "{}", victim.stderr());
    victim.stdout()
}

#[test]
fn the_command_has_the_mask_and_the_ignored_signals_that_sexton_was_started_with() {
    let everything: Vec<String> =
        (1..65).filter(|number| ![32, 33].contains(number)).map(|number| format!("block={number}")).collect();
    let everything: Vec<&str> = everything.iter().map(String::as_str).collect();
    let cases: [&[&str]; 8] = [
        &[],
        &["ignore=1"],
        &["ignore=17"],
        &["block=17"],
        &["block=10", "block=37", "block=64"],
        &["ignore=2", "ignore=3", "block=1"],
        &["ignore=15", "block=15", "ignore=34", "ignore=64"],
        &everything,
    ];
    for mode in Mode::PID1_AND_NOT {
        for words in cases {
            let plans = [plan(mode), plan(mode)]
                .map(|plan| words.iter().fold(plan, |plan, word| plan.map(|plan| plan.born([word]))));
            let [Some(direct), Some(under_sexton)] = plans else { return };
            assert_eq!(born(direct.without_sexton()), born(under_sexton), "{words:?}, {mode:?}");
        }
    }
}

#[test]
fn sigpipe_has_its_default_action() {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        // `yes` complains about a closed pipe if SIGPIPE is ignored, and is silently ended by it if not.
        let mut victim = plan.run(["sh", "-c", "yes | head -n 1"]);
        victim.ends_with(0);
        assert_eq!((victim.stdout().as_str(), victim.stderr().as_str()), ("y\n", ""), "{mode:?}");
    }
}

/// The descriptors of a command that was started like this, with what they lead to and their flags.
fn descriptors(plan: Plan) -> String {
    let list = plan.path("list");
    // Through a descriptor of its own: standard output may be closed.
    let script = "exec 9>\"$0\"; for fd in /proc/$$/fd/*; do printf '%s ' ${fd##*/} >&9; readlink $fd >&9; \
        sed -n s/flags://p /proc/$$/fdinfo/${fd##*/} >&9; done";
    let mut victim = plan.run(["sh", "-c", script, &list]);
    assert_eq!(victim.code(), 0, "{}", victim.stderr());
    victim.read("list").replace(victim.path("").to_str().unwrap(), "/its/own/directory/")
}

#[test]
fn the_command_has_exactly_the_descriptors_that_sexton_was_started_with() {
    let cases: [&[&str]; 7] = [
        &[],
        &["open=5:/dev/zero", "open=20:/dev/null"],
        &["close=0"],
        &["close=1"],
        &["close=2"],
        &["close=0", "close=1", "close=2"],
        &["close=0", "close=1", "close=2", "open=7:/dev/zero"],
    ];
    for mode in Mode::PID1_AND_NOT {
        for words in cases {
            let plans = [plan(mode), plan(mode)]
                .map(|plan| words.iter().fold(plan, |plan, word| plan.map(|plan| plan.born([word]))));
            let [Some(direct), Some(under_sexton)] = plans else { return };
            assert_eq!(
                descriptors(direct.without_sexton()),
                descriptors(under_sexton),
                "{words:?}, {mode:?}"
            );
        }
    }
}

fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        spin_loop();
    }
}

/// Sends TERM at a moment that `round` chooses, some microseconds after `go`. It is not lost: the command
/// gets it, and either prints it or, if it came before the command had blocked it, is ended by it.
#[track_caller]
fn arrives(plan: Plan, round: u32, go: impl Fn(i32) -> bool) {
    let mut victim = plan.options(PATIENT).run([&helper("prints_signals"), "15", "9"]);
    let pid = victim.pid();
    let end = Instant::now() + common::PATIENCE;
    while !go(pid) {
        assert!(
            Instant::now() < end && look(pid).is_some_and(|process| !process.dead()),
            "{}",
            victim.stderr()
        );
    }
    spin(Duration::from_micros(50) * round);
    victim.signal(15);
    let (code, printed) = (victim.code(), victim.stdout());
    let arrived =
        (code == 9 && printed == "ready\n15\n") || (code == 128 + 15 && ["", "ready\n"].contains(&&*printed));
    assert!(arrived, "round {round}, {:?}: {code}, {printed:?}, {}", victim.mode(), victim.stderr());
}

/// Whether TERM is blocked. Who waits for it in sigtimedwait(2) has it shown as free, and keeps it all the same: that
/// is how sexton waits once it has a child.
fn blocks_term(pid: i32) -> bool {
    mask(pid, "SigBlk") & 1 << 14 != 0 || !children(pid).is_empty()
}

#[test]
fn a_signal_that_was_blocked_when_sexton_was_started_is_not_lost_at_any_moment() {
    let name = sexton().file_name().unwrap().to_str().unwrap().to_owned();
    for mode in Mode::PID1_AND_NOT {
        for round in 0..60 {
            let Some(plan) = plan(mode) else { return };
            // From before exec on: the kernel keeps a blocked signal, also for PID 1. (The programs before
            // `starts_with` block it, too, and unblock it again.)
            arrives(plan.born(["block=15"]), round, |pid| {
                look(pid).is_some_and(|process| ["starts_with", &name].contains(&process.name.as_str()))
                    && blocks_term(pid)
            });
        }
    }
}

#[test]
fn from_the_moment_that_sexton_blocks_or_catches_a_signal_it_is_not_lost() {
    let name = sexton().file_name().unwrap().to_str().unwrap().to_owned();
    for mode in Mode::PID1_AND_NOT {
        for round in 0..60 {
            let Some(plan) = plan(mode) else { return };
            arrives(plan, round, |pid| {
                look(pid).is_some_and(|process| process.name == name)
                    && (blocks_term(pid) || mask(pid, "SigCgt") & 1 << 14 != 0)
            });
        }
    }
}
