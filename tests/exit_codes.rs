//! Exit codes: the main process's own, or one of the few documented ones of sexton itself.
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
use std::os::unix::fs::PermissionsExt as _;

use common::victim::{Mode, Plan, plan};
use common::{root, skip};

/// Runs `sh -c SCRIPT` and gives the exit code.
fn code_of(mode: Mode, options: &[&str], script: &str) -> Option<i32> {
    let mut plan = plan(mode)?;
    for option in options {
        plan = plan.options([option]);
    }
    Some(plan.run(["sh", "-c", script]).code())
}

#[test]
fn all_256_codes_come_through() {
    for mode in Mode::PID1_AND_NOT {
        for code in 0..256 {
            let Some(found) = code_of(mode, &[], &format!("exit {code}")) else { return };
            assert_eq!(found, code, "{mode:?}");
        }
    }
}

#[test]
fn a_death_by_signal_n_is_128_and_n() {
    // Not those that only stop or do nothing, and not the C library's own two.
    let deadly = (1..=64).filter(|signal| ![17, 18, 19, 20, 21, 22, 23, 28, 32, 33].contains(signal));
    for signal in deadly {
        for mode in Mode::PID1_AND_NOT {
            let Some(found) = code_of(mode, &[], &format!("ulimit -c 0; kill -{signal} $$")) else { return };
            assert_eq!(found, 128 + signal, "{mode:?}");
        }
    }
}

#[test]
fn e_maps_codes_to_0_and_leaves_the_others() {
    for mode in Mode::PID1_AND_NOT {
        let options = ["-e", "143", "-e", "7"];
        let map = [(0, 0), (1, 1), (7, 0), (143, 0), (142, 142), (255, 255)];
        for (code, expected) in map {
            let Some(found) = code_of(mode, &options, &format!("exit {code}")) else { return };
            assert_eq!(found, expected, "{code}, {mode:?}");
        }
        // Also when the code is a signal's.
        let Some(found) = code_of(mode, &options, "kill -TERM $$") else { return };
        assert_eq!(found, 0, "{mode:?}");
    }
}

/// The launch fails with `code`, and says it in one line that names `named`.
#[track_caller]
fn fails(code: i32, named: &str, words: &[&str]) {
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        fails_as_planned(plan, code, named, words);
    }
}

#[track_caller]
fn fails_as_planned(plan: Plan, code: i32, named: &str, words: &[&str]) {
    // The directories of the user that runs the tests may be closed to others.
    let mut victim = plan.variable("PATH", "/usr/bin:/bin").run_as_typed(words);
    victim.ends_with(code);
    let (mode, said) = (victim.mode(), victim.stderr());
    assert_eq!(said.lines().count(), 1, "{words:?}, {mode:?}: {said}");
    assert!(said.contains(named) && said.starts_with("sexton"), "{words:?}, {mode:?}: {said}");
    assert_eq!(victim.stdout(), "", "{words:?}, {mode:?}");
}

#[test]
fn a_command_that_is_not_found_is_127() {
    fails(127, "no-such-command", &["no-such-command"]);
    fails(127, "/no/such/command", &["--", "/no/such/command", "--flag"]);
    fails(127, "no-such-command", &["-e", "1", "--", "no-such-command"]);
}

#[test]
fn a_command_that_cannot_be_executed_is_126() {
    fails(126, "/etc/passwd", &["--", "/etc/passwd"]);
    fails(126, "/tmp", &["/tmp"]);
}

#[test]
fn a_script_that_does_not_name_its_interpreter_is_run_by_sh() {
    for mode in Mode::PID1_AND_NOT {
        for by_path in [false, true] {
            let Some(plan) = plan(mode) else { return };
            let script = plan.path("script");
            fs::write(&script, "echo \"$0 $1\"; exit 7\n").unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
            let path = format!("/no/such/directory:{}:/usr/bin:/bin", plan.path(""));
            let name = if by_path { "script" } else { script.as_str() };
            let mut victim = plan.variable("PATH", &path).run([name, "one"]);
            victim.ends_with(7);
            assert_eq!(victim.stdout().replace("//", "/"), format!("{script} one\n"), "{mode:?}");
        }
    }
}

#[test]
fn a_closed_directory_in_path_does_not_make_a_missing_command_one_that_cannot_be_executed() {
    if !root() {
        return skip("root", "to become a user to whom /root is closed");
    }
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let closed = plan.path("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        // As the shells have it.
        let path = format!("{closed}:/usr/bin:/bin");
        let mut victim = plan.by_user(12_345).variable("PATH", &path).run(["no-such-command"]);
        victim.ends_with(127);
        assert!(victim.stderr().contains("no-such-command"), "{}", victim.stderr());
    }
}
