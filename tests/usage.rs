//! The command line: what it says of itself, what it refuses, and tini's own flags.
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

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Output, Stdio};

use common::victim::{Mode, plan};
use common::{helper, sexton};

/// Runs sexton as it is, and gives what came of it.
fn run<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(sexton());
    command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command
        .env("SEXTON_CONTROL", "off")
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_help_fits_on_a_screen_and_begins_with_the_three_common_uses() {
    for flag in ["-h", "--help"] {
        let output = run([flag]);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
        let help = text(&output.stdout);
        assert!(help.lines().all(|line| line.chars().count() <= 80), "wider than a terminal:\n{help}");
        assert!(help.lines().count() <= 40, "{} lines:\n{help}", help.lines().count());
        let beginning: Vec<&str> = help.lines().take(7).collect();
        for used in ["ENTRYPOINT [\"sexton\", \"--\"]", "ExecStart=/usr/bin/sexton -- ", "$ sexton -- "] {
            assert!(
                beginning.iter().any(|line| line.contains(used)),
                "{used} is not at the beginning:\n{help}"
            );
        }
        for option in [
            "--grace",
            "--kill-after",
            "--group",
            "--lock-root",
            "--no-locks",
            "--sweep-timeout",
            "--log-format",
        ] {
            assert!(help.contains(option), "{option} is not in the help:\n{help}");
        }
    }
}

#[test]
fn the_version_is_the_packages() {
    let output = run(["--version"]);
    assert_eq!(text(&output.stdout), format!("sexton {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_wrong_command_line_is_125_and_names_what_is_wrong_and_starts_nothing() {
    let cases: [(&[&str], &str); 16] = [
        (&[], "COMMAND"),
        (&["--"], "COMMAND"),
        (&["-g"], "COMMAND"),
        (&["--no-such-flag", "--", "echo", "started"], "--no-such-flag"),
        (&["-x", "echo", "started"], "-x"),
        (&["--grace", "soon", "--", "echo", "started"], "soon"),
        (&["--grace", "-1s", "--", "echo", "started"], "-1"),
        (&["--grace=", "--", "echo", "started"], "--grace"),
        (&["--kill-after", "1x", "--", "echo", "started"], "1x"),
        (&["--sweep-timeout", "5 parsecs", "--", "echo", "started"], "5 parsecs"),
        (&["-e", "256", "--", "echo", "started"], "256"),
        (&["-e", "-1", "--", "echo", "started"], "-1"),
        (&["-e", "one", "--", "echo", "started"], "one"),
        (&["-p", "SIGNOPE", "--", "echo", "started"], "SIGNOPE"),
        (&["--log-format", "xml", "--", "echo", "started"], "xml"),
        (&["--grace", "1s", "--grace", "2s", "--", "echo", "started"], "--grace"),
    ];
    for (words, named) in cases {
        let output = run(words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{words:?}: {said}");
        assert!(said.contains(named), "{words:?} does not name {named}: {said}");
        assert!(said.lines().next().unwrap().starts_with("sexton"), "{words:?}: {said}");
        assert!(said.lines().count() <= 4, "{words:?}: too long: {said}");
        assert_eq!(text(&output.stdout), "", "{words:?}");
    }
}

#[test]
fn a_bad_value_in_a_variable_names_the_variable() {
    for (name, value) in [
        ("SEXTON_GRACE", "soon"),
        ("SEXTON_KILL_AFTER", "1x"),
        ("SEXTON_REWRITE", "TERM"),
        ("SEXTON_DELAY", "TERM"),
        ("SEXTON_STOP_SIGNAL", "NOPE"),
        ("SEXTON_STOP_SEQUENCE", "TERM:x"),
        ("SEXTON_WAIT", "some"),
        ("SEXTON_REMAP_EXIT", "256"),
        ("SEXTON_PARENT_DEATH", "NOPE"),
        ("SEXTON_LOG_FORMAT", "xml"),
    ] {
        let output =
            Command::new(sexton()).args(["--", "echo", "started"]).env(name, value).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{name}: {said}");
        assert!(said.contains(name) && said.lines().count() == 1, "{name}: {said}");
        assert_eq!(text(&output.stdout), "", "{name}");
    }
}

#[test]
fn durations_are_numbers_with_units() {
    for duration in ["0s", "1ms", "500ms", "30s", "2m", "1h", "1m 30s"] {
        for flag in ["--grace", "--kill-after", "--sweep-timeout"] {
            let output = run([flag, duration, "--", "true"]);
            assert_eq!(output.status.code(), Some(0), "{flag} {duration}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn what_stands_behind_the_command_belongs_to_the_command() {
    let cases: [(&[&str], &str); 6] = [
        (&["echo", "--grace", "-h", "--version"], "--grace -h --version\n"),
        (&["--", "echo", "-g", "--", "x"], "-g -- x\n"),
        (&["echo", "--", "--no-locks"], "-- --no-locks\n"),
        (&["-g", "echo", "-g"], "-g\n"),
        (&["--grace", "1s", "echo", "--grace", "soon"], "--grace soon\n"),
        (&["--", "echo"], "\n"),
    ];
    for (words, printed) in cases {
        let output = run(words);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), printed), "{words:?}");
        assert_eq!(text(&output.stderr), "", "{words:?}");
    }
}

#[test]
fn arguments_are_bytes() {
    let output = run([OsStr::new("printf"), OsStr::new("%s"), OsStr::from_bytes(b"\xff\xfe \x01")]);
    assert_eq!(output.stdout, b"\xff\xfe \x01");
}

#[test]
fn standard_input_is_the_commands() {
    let mut command = Command::new(sexton())
        .args(["--no-locks", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    command.stdin.take().unwrap().write_all(b"through").unwrap();
    let output = command.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"through"[..]));
}

#[test]
fn an_ordinary_run_says_nothing() {
    for mode in Mode::ALL {
        let Some(plan) = plan(mode) else { return };
        let mut victim = plan.run(["true"]);
        victim.ends_with(0);
        assert_eq!(victim.stderr(), "", "{mode:?}");
    }
}

#[test]
fn tinis_command_lines_work_as_they_are() {
    let cases: [&[&str]; 7] = [
        &["-s", "-g", "-w", "-v", "-e", "3", "-p", "SIGTERM", "sh", "-c", "exit 3"],
        &["-s", "--", "sh", "-c", "exit 0"],
        &["-sg", "--", "true"],
        &["-vvv", "true"],
        &["-v", "-v", "-v", "true"],
        &["-e", "143", "-e", "130", "--", "true"],
        &["true"],
    ];
    for words in cases {
        for mode in Mode::PID1_AND_NOT {
            let Some(plan) = plan(mode) else { return };
            plan.run_as_typed(words).ends_with(0);
        }
    }
}

#[test]
fn tinis_variables_work() {
    // TINI_SUBREAPER changes nothing: sexton is one anyway.
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        plan.variable("TINI_SUBREAPER", "").run(["true"]).ends_with(0);
    }
    // TINI_KILL_PROCESS_GROUP is -g.
    for mode in Mode::PID1_AND_NOT {
        let Some(plan) = plan(mode) else { return };
        let plan = plan.variable("TINI_KILL_PROCESS_GROUP", "1");
        let [other, printer] = [plan.path("other"), helper("prints_signals")];
        let mut victim = plan.run(["sh", "-c", "\"$0\" >\"$1\" & exec \"$0\"", &printer, &other]);
        victim.says("ready");
        victim.notes("other", "ready");
        victim.signal(10);
        victim.says("10");
        victim.notes("other", "10");
    }
    // TINI_VERBOSITY counts as tini's: 0 fatal, 1 warnings, 2 info, 3 debug.
    let levels = |verbosity: &str| {
        let mut victim = plan(Mode::Tree)?.variable("TINI_VERBOSITY", verbosity).run(["true"]);
        victim.ends_with(0);
        Some(
            ["INFO", "DEBUG"]
                .map(|level| victim.stderr().lines().any(|line| line.contains(&format!("] {level} ")))),
        )
    };
    for (verbosity, expected) in
        [("0", [false, false]), ("1", [false, false]), ("2", [true, false]), ("3", [true, true])]
    {
        let Some(found) = levels(verbosity) else { return };
        assert_eq!(found, expected, "TINI_VERBOSITY={verbosity}");
    }
}

/// `sexton[PID] LEVEL event-name: message`
fn event_of(line: &str) -> String {
    let head = line.split(": ").next().unwrap_or_default();
    head.rsplit(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn the_log_says_as_much_as_it_is_asked_for_in_the_form_it_is_asked_for() {
    let said = |options: &[&str], level: Option<&str>| {
        let mut plan = plan(Mode::Tree)?;
        for option in options {
            plan = plan.options([option]);
        }
        if let Some(level) = level {
            plan = plan.variable("SEXTON_LOG", level);
        }
        let mut victim = plan.run(["true"]);
        victim.ends_with(0);
        Some((victim.stderr(), victim.pid()))
    };
    for (options, level, expected) in [
        (&[][..], None, ""),
        (&["-v"], None, "INFO"),
        (&["-vv"], None, "DEBUG"),
        (&["-v", "-v"], None, "DEBUG"),
        (&[], Some("info"), "INFO"),
        (&[], Some("debug"), "DEBUG"),
        (&[], Some("error"), ""),
    ] {
        let Some((text, pid)) = said(options, level) else { return };
        assert_eq!(text.is_empty(), expected.is_empty(), "{options:?} {level:?}: {text}");
        assert!(text.contains(expected), "{options:?} {level:?}: {text}");
        for line in text.lines() {
            // sexton[PID] LEVEL event-name: message
            let rest = line.strip_prefix(&format!("sexton[{pid}] ")).unwrap_or_else(|| panic!("{line}"));
            let (head, _) = rest.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            let (level, event) = head.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level), "{line}");
            assert!(event.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{line}");
        }
        let Some((json, _)) = said(&[options, &["--log-format", "json"]].concat(), level) else { return };
        // How many signals one wake-up takes differs from run to run, and a command that ends at once may be reaped
        // before its signal is read; what else is told does not differ.
        let events = common::log::json(&json).into_iter().map(|line| line.event);
        let events: BTreeSet<String> = events.filter(|event| event != "signal-received").collect();
        let told: BTreeSet<String> =
            text.lines().map(event_of).filter(|event| event != "signal-received").collect();
        assert_eq!(events, told, "{json}");
    }
}

#[test]
fn w_warns_of_an_adopted_process_that_was_reaped() {
    for (options, expected) in [(&["-w"][..], true), (&[], false)] {
        let Some(mut plan) = plan(Mode::Pid1) else { return };
        for option in options {
            plan = plan.options([option]);
        }
        let mut victim = plan.run(["sh", "-c", "(true &); exec \"$0\"", &helper("ignores_term")]);
        victim.says("ready");
        let pid = victim.pid();
        common::wait_until("it is reaped", || common::process::children(pid).len() == 1);
        let warned = || victim.stderr().lines().any(|line| line.contains("WARN") && line.contains("eaped"));
        if expected {
            common::wait_until("it is said", warned);
        } else {
            assert!(!warned(), "{}", victim.stderr());
        }
    }
}

#[test]
fn a_bad_lock_root_is_one_line_that_names_it_and_never_the_end_of_the_launch() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    fs::write(place("file"), "").unwrap();
    fs::create_dir(place("target")).unwrap();
    symlink(place("target"), place("link")).unwrap();
    symlink(place("nowhere"), place("dangling")).unwrap();
    nix::unistd::mkfifo(place("fifo").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(place("closed")).unwrap();
    fs::set_permissions(place("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["missing", "file", "link", "dangling", "fifo", "closed"] {
        let Some(plan) = plan(Mode::Tree) else { return };
        let mut plan = plan.options(["--lock-root", &place(name)]);
        match (name, common::root()) {
            // Nothing is closed to root.
            ("closed", true) => plan = plan.by_user(12_345),
            ("closed", false) => continue,
            _ => {}
        }
        let mut victim = plan.run(["sh", "-c", "echo started; exit 6"]);
        victim.ends_with(6);
        assert_eq!(victim.stdout(), "started\n", "{name}");
        let said = victim.stderr();
        let naming = said.lines().filter(|line| line.contains(&place(name))).count();
        assert_eq!((naming, said.lines().count()), (1, 1), "{name}: {said}");
    }
    let mut variable = plan(Mode::Tree)
        .unwrap()
        .variable("SEXTON_LOCK_ROOTS", &format!("{}:{}", place("missing"), place("file")))
        .run(["true"]);
    variable.ends_with(0);
    let said = variable.stderr();
    assert_eq!(said.lines().count(), 2, "one line for each: {said}");
    assert!(said.contains(&place("missing")) && said.contains(&place("file")), "{said}");
}

#[test]
fn install_puts_programs_that_run_where_they_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name).into_os_string().into_string().unwrap();
    fs::create_dir(place("there")).unwrap();
    // Something else is there under the name, and something that a killed one left.
    fs::write(place("there/sexton"), "of long ago").unwrap();
    symlink("nowhere", place("there/.sexton-sh.unfinished")).unwrap();
    for _ in 0..2 {
        let output = run(["install", &place("there")]);
        assert_eq!((output.status.code(), output.stdout, output.stderr), (Some(0), vec![], vec![]));
        let names: BTreeSet<_> =
            fs::read_dir(place("there")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["sexton", "sexton-sh", "sexton-watch"].map(Into::into).into());
    }
    let says = |name: &str, words: &[&str]| {
        let output = Command::new(place(name)).args(words).output().unwrap();
        (output.status.code(), text(&output.stdout))
    };
    let version = says("there/sexton", &["--version"]);
    assert!(version.0 == Some(0) && version.1.starts_with("sexton "), "{version:?}");
    assert_eq!(says("there/sexton-sh", &["-c", "echo $0; exit 4"]).0, Some(4));
    assert!(says("there/sexton-watch", &["--version"]).1.starts_with("sexton-watch "));

    let missing = place("missing");
    for (words, named) in [
        (vec!["install", &missing], &*missing),
        (vec!["install"], "<DIR>"),
        (vec!["install", "a", "b"], "'b'"),
    ] {
        let output = run(&words);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(125), 1), "{said}");
        assert!(said.contains(named), "{said}");
    }
}
