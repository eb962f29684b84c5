//! The faces: the same command lines through sexton under another program's name and through that program,
//! where Debian's package of it is installed.
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

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::victim::{Mode, Victim, plan};
use common::{helper, sexton, skip};

/// What came of one command line.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(program: &Path, words: &[&str], variables: &[(&str, &str)]) -> Said {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home.path())
        .env("SEXTON_CONTROL", "off")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (mut out, mut err) = (text(output.stdout), text(output.stderr));
    // What tini itself says when it is to say more stands between the command's own lines, on standard output. Here
    // all of the log goes to standard error.
    let log = ["[INFO  tini", "[DEBUG tini", "[TRACE tini"];
    let (of_log, of_command): (Vec<&str>, Vec<&str>) =
        out.split_inclusive('\n').partition(|line| log.iter().any(|level| line.starts_with(level)));
    err.extend(of_log);
    out = of_command.concat();
    Said { code: output.status.code(), out, err }
}

/// The link by which sexton becomes `name`, and the real program, if it is here.
fn pair(dir: &Path, name: &str) -> (PathBuf, Option<PathBuf>) {
    let link = dir.join(name);
    symlink(sexton(), &link).unwrap();
    let real = Path::new("/usr/bin").join(name);
    if !real.exists() {
        skip(&format!("the Debian package of {name}"), "apt-get install tini dumb-init catatonit");
    }
    (link, Some(real).filter(|real| real.exists()))
}

/// One command line of one program: its variables, its words, the exit code, and texts that standard output
/// and standard error must have. The same is asserted of the original, so that the table cannot be wrong.
type Line<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], i32, &'a str, &'a str);

#[track_caller]
fn same(name: &str, lines: &[Line<'_>]) {
    let dir = tempfile::tempdir().unwrap();
    let (ours, original) = pair(dir.path(), name);
    for (variables, words, code, out, err) in lines {
        let mut streams = Vec::new();
        for program in [Some(&ours), original.as_ref()].into_iter().flatten() {
            let said = run(program, words, variables);
            let shown = format!("{} {variables:?} {words:?}: {said:?}", program.display());
            assert_eq!(said.code, Some(*code), "{shown}");
            assert!(said.out.contains(out) && said.err.contains(err), "{shown}, expected {out:?} {err:?}");
            streams.push((said.out.is_empty(), said.err.is_empty(), shown));
        }
        // Who redirects one of the streams gets the same on it.
        if let [ours, original] = &streams[..] {
            assert_eq!((ours.0, ours.1), (original.0, original.1), "{}\n{}", ours.2, original.2);
        }
    }
}

const TINI: &[Line<'_>] = &[
    (&[], &[], 1, "", "Usage: "),
    (&[], &["--"], 1, "", "tini version 0.19.0"),
    (&[], &["--version"], 0, "tini version 0.19.0", ""),
    (&[], &["--version", "x"], 1, "", "invalid option -- '-'"),
    (&[], &["-h"], 0, "TINI_SUBREAPER", ""),
    // The two texts that tini's own smoke test looks for.
    (&[], &["-h"], 0, "supervision of a valid init process", ""),
    (&[], &["-h"], 0, "more verbose", ""),
    (&[], &["-l"], 0, "MIT", ""),
    (&[], &["-x", "true"], 1, "", "invalid option -- 'x'"),
    (&[], &["-p"], 1, "", "option requires an argument -- 'p'"),
    (&[], &["-e", "256", "true"], 1, "", "Not a valid option for -e: 256"),
    (&[], &["-e", "-1", "true"], 1, "", "Not a valid option for -e: -1"),
    (&[], &["-e", "abc", "true"], 1, "", "Not a valid option for -e: abc"),
    (&[], &["-p", "NOPE", "true"], 1, "", "Not a valid option for -p: NOPE"),
    (&[], &["-p", "KILL", "true"], 1, "", "Not a valid option for -p: KILL"),
    (&[], &["-s", "-p", "SIGKILL", "true"], 0, "", ""),
    (&[], &["-s", "/nope"], 127, "", "exec /nope failed: No such file or directory"),
    (&[], &["-s", "nope"], 127, "", "exec nope failed: No such file or directory"),
    (&[], &["-s", "/etc/passwd"], 126, "", "exec /etc/passwd failed: Permission denied"),
    (&[], &["true"], 0, "", "zombie reaping won't work"),
    (&[], &["-s", "echo", "--", "a", "--", "b"], 0, "a -- b\n", ""),
    (&[], &["-s", "--", "echo", "-e"], 0, "", ""),
    (&[], &["-s", "--", "sh", "-c", "exit 7"], 7, "", ""),
    (&[], &["-s", "-e", "3", "-e4", "--", "sh", "-c", "exit 4"], 0, "", ""),
    (&[], &["-e", "143", "-s", "--", "sh", "-c", "kill -15 $$"], 0, "", ""),
    (&[], &["-s", "--", "sh", "-c", "kill -9 $$"], 137, "", ""),
    (&[("POSIXLY_CORRECT", "1")], &["-s", "sh", "-c", "exit 7"], 7, "", ""),
    (&[("TINI_SUBREAPER", "")], &["true"], 0, "", ""),
    (&[("TINI_VERBOSITY", "0")], &["true"], 0, "", ""),
    (&[("TINI_SUBREAPER", "")], &["--", ""], 127, "", "No such file or directory"),
    (&[], &["-s", "--version"], 1, "", "invalid option -- '-'"),
    (&[], &["--help"], 1, "", "invalid option -- '-'"),
    (&[], &["-sx", "true"], 1, "", "invalid option -- 'x'"),
    (&[], &["-hx"], 0, "TINI_VERBOSITY", ""),
    (&[], &["-lx"], 0, "MIT", ""),
    (&[], &["-se"], 1, "", "option requires an argument -- 'e'"),
    (&[], &["-sg"], 1, "", "Usage: "),
    (&[], &["-sgv", "true"], 0, "", "[INFO  tini ("),
    (&[], &["-s", "-vvv", "true"], 0, "", "Received SIGCHLD"),
    (&[], &["-se143", "-e", "130", "--", "sh", "-c", "exit 130"], 0, "", ""),
    (&[], &["-s", "-e", "", "true"], 0, "", ""),
    (&[], &["-s", "-e", " +3", "--", "sh", "-c", "exit 3"], 0, "", ""),
    (&[], &["-e", "3 ", "true"], 1, "", "Not a valid option for -e: 3 "),
    (&[], &["-e", " ", "true"], 1, "", "Not a valid option for -e:  "),
    (&[], &["-e", "0x3", "true"], 1, "", "Not a valid option for -e: 0x3"),
    (&[], &["-p", "", "true"], 1, "", "Not a valid option for -p: "),
    (&[], &["-p", "SIGRTMIN", "true"], 1, "", "Not a valid option for -p: SIGRTMIN"),
    (&[], &["-s", "--", "-"], 127, "", "exec - failed: No such file or directory"),
    (&[], &["-s", "/etc"], 126, "", "exec /etc failed: Permission denied"),
    (&[], &["-s", "/etc/passwd/x"], 1, "", "exec /etc/passwd/x failed: Not a directory"),
    (&[("POSIXLY_CORRECT", "1")], &["-s", "echo", "-g", "--"], 0, "-g --\n", ""),
    (&[("TINI_SUBREAPER", ""), ("TINI_KILL_PROCESS_GROUP", "")], &["true"], 0, "", ""),
    (&[("TINI_SUBREAPER", ""), ("TINI_VERBOSITY", "2")], &["true"], 0, "", "[INFO  tini ("),
    (&[("TINI_SUBREAPER", ""), ("TINI_VERBOSITY", " 3x")], &["true"], 0, "", "Received SIGCHLD"),
    (&[("TINI_SUBREAPER", ""), ("TINI_VERBOSITY", "-1")], &["true"], 0, "", "Received SIGCHLD"),
    (&[("TINI_VERBOSITY", "none")], &["true"], 0, "", ""),
];

#[test]
fn tinis_command_lines() {
    same("tini", TINI);
}

#[test]
fn tinis_other_names() {
    let few: Vec<_> = TINI.iter().filter(|line| line.1.len() < 2).copied().collect();
    same("tini-static", &few);
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("docker-init");
    symlink(sexton(), &link).unwrap();
    let said = run(&link, &["--version"], &[]);
    assert!(said.out.starts_with("tini version 0.19.0 - "), "{said:?}");
    assert_eq!(run(&link, &["--", "sh", "-c", "exit 7"], &[]).code, Some(7));
}

/// podman mounts the init that it was told of as /run/podman-init, whatever its own name is.
#[test]
fn podmans_name_is_catatonits() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("podman-init");
    symlink(sexton(), &link).unwrap();
    let said = run(&link, &["-V"], &[]);
    assert!(said.out.starts_with("tini version 0.1.7_catatonit"), "{said:?}");
    assert_eq!(run(&link, &["--", "sh", "-c", "exit 7"], &[]).code, Some(7));
}

#[test]
fn what_tini_would_refuse_ends_at_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let (link, _) = pair(dir.path(), "tini");
    assert_eq!(run(&link, &["-s", "sh", "-c", "exit 7"], &[]).code, Some(7));
}

#[test]
fn e_takes_all_256_codes() {
    let dir = tempfile::tempdir().unwrap();
    let (link, _) = pair(dir.path(), "tini");
    for code in 0..256 {
        let (code, script) = (code.to_string(), format!("exit {code}"));
        let said = run(&link, &["-s", "-e", &code, "--", "sh", "-c", &script], &[]);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{code}");
    }
}

#[test]
fn dumb_inits_command_lines() {
    let rewrite = "Usage: -r option takes <signum>:<signum>";
    let lines: &[Line<'_>] = &[
        (&[], &[], 1, "", "Usage: "),
        (&[], &["--"], 1, "", "[option] program [args]"),
        (&[], &["-h"], 0, "", "--single-child"),
        (&[], &["--help"], 0, "", "Usage: "),
        (&[], &["-V"], 0, "", "dumb-init v1.2.5"),
        (&[], &["--version", "x"], 0, "", "dumb-init v1.2.5"),
        (&[], &["--vers"], 0, "", "dumb-init v1.2.5"),
        (&[], &["--ver"], 1, "", "option '--ver' is ambiguous; possibilities: '--verbose' '--version'"),
        (&[], &["-x"], 1, "", "invalid option -- 'x'"),
        (&[], &["--foo"], 1, "", "unrecognized option '--foo'"),
        (&[], &["--verbose=1", "true"], 1, "", "option '--verbose' doesn't allow an argument"),
        (&[], &["-r"], 1, "", "option requires an argument -- 'r'"),
        (&[], &["-r", "15", "true"], 1, "", rewrite),
        (&[], &["-r", "15:99", "true"], 1, "", rewrite),
        (&[], &["-r", "TERM:INT", "true"], 1, "", rewrite),
        (&[], &["-r", "15:", "true"], 1, "", rewrite),
        (&[], &["-r", ":3", "true"], 1, "", rewrite),
        (&[], &["-r", "0:3", "true"], 1, "", rewrite),
        (&[], &["-r", "15:32", "true"], 1, "", rewrite),
        (&[], &["-r", "15:-1", "true"], 1, "", rewrite),
        (&[], &["-r", "34:3", "true"], 1, "", rewrite),
        (&[], &["-r", "15:0", "--rewrite=2:3", "true"], 0, "", ""),
        (&[], &[""], 2, "", "No such file or directory"),
        (&[], &["nope"], 2, "", "[dumb-init] nope: No such file or directory"),
        (&[], &["/etc/passwd"], 2, "", "[dumb-init] /etc/passwd: Permission denied"),
        (&[], &["sh", "-c", "exit 7"], 7, "", ""),
        (&[], &["-c", "sh", "-c", "kill -9 $$"], 137, "", ""),
        (&[], &["echo", "-v", "--", "x"], 0, "-v -- x\n", ""),
        (&[], &["-v", "true"], 0, "", "[dumb-init] "),
        (&[("DUMB_INIT_DEBUG", "1")], &["true"], 0, "", "[dumb-init] "),
        (&[("DUMB_INIT_DEBUG", "0")], &["true"], 0, "", ""),
        (&[("DUMB_INIT_SETSID", "0")], &["sh", "-c", "exit 7"], 7, "", ""),
        (&[("DUMB_INIT_SETSID", "1")], &["sh", "-c", "exit 7"], 7, "", ""),
        (&[("POSIXLY_CORRECT", "1")], &["-c", "echo", "-v"], 0, "-v\n", ""),
        (&[], &["-hV"], 0, "", "Usage: "),
        (&[], &["-Vx"], 0, "", "dumb-init v1.2.5"),
        (&[], &["-cx"], 1, "", "invalid option -- 'x'"),
        (&[], &["-cvr15:3", "true"], 0, "", "[dumb-init] "),
        (&[], &["-r", " +15: 3x", "true"], 0, "", ""),
        (&[], &["-r", "15 :3", "true"], 1, "", rewrite),
        (&[], &["-r", "", "true"], 1, "", rewrite),
        (&[], &["--rewrite"], 1, "", "option '--rewrite' requires an argument"),
        (&[], &["--single", "true"], 0, "", ""),
        (&[], &["--help=1"], 1, "", "option '--help' doesn't allow an argument"),
        (&[], &["-"], 2, "", "[dumb-init] -: No such file or directory"),
        (&[], &["/etc"], 2, "", "[dumb-init] /etc: Permission denied"),
        (&[], &["/etc/passwd/x"], 2, "", "[dumb-init] /etc/passwd/x: Not a directory"),
    ];
    same("dumb-init", lines);
}

#[test]
fn catatonits_command_lines() {
    let lines: &[Line<'_>] = &[
        (&[], &[], 1, "", "missing program name"),
        (&[], &["--"], 1, "", "usage: "),
        (&[], &["-h"], 0, "", "-P "),
        (&[], &["--help"], 1, "", "unrecognized option '--help'"),
        (&[], &["-V"], 0, "tini version 0.1.7_catatonit", ""),
        (&[], &["--version"], 0, "tini version", ""),
        (&[], &["-x"], 1, "", "invalid option -- 'x'"),
        (&[], &["-L"], 0, "icens", ""),
        (&[], &["-g", "true"], 0, "", ""),
        (&[], &["-g", "--", "echo", "-g"], 0, "-g\n", ""),
        (&[], &["echo", "-g"], 0, "\n", ""),
        (&[], &[""], 1, "", "No such file or directory"),
        (&[("CATATONIT_DEBUG", "0")], &["true"], 0, "", "DEBUG (catatonit:"),
        (&[], &["nope"], 1, "", "failed to exec pid1: No such file or directory"),
        (&[], &["/etc/passwd"], 1, "", "failed to exec pid1: Permission denied"),
        (&[], &["--", "sh", "-c", "exit 7"], 7, "", ""),
        (&[], &["--", "sh", "-c", "kill -9 $$"], 137, "", ""),
        (&[("POSIXLY_CORRECT", "1")], &["echo", "-g"], 0, "-g\n", ""),
        (&[("CATATONIT_DEBUG", "")], &["-g", "true"], 0, "", "DEBUG (catatonit:"),
        (&[], &["-gV"], 0, "tini version", ""),
        (&[], &["--ver"], 0, "tini version", ""),
        (&[], &["--version=1"], 1, "", "option '--version' doesn't allow an argument"),
        (&[], &["-gx", "true"], 1, "", "invalid option -- 'x'"),
        (&[], &["--foo"], 1, "", "unrecognized option '--foo'"),
        (&[], &["-Px"], 1, "", "invalid option -- 'x'"),
        (&[], &["--", "-"], 1, "", "failed to exec pid1: No such file or directory"),
        (&[], &["/etc"], 1, "", "failed to exec pid1: Permission denied"),
        (&[], &["/etc/passwd/x"], 1, "", "failed to exec pid1: Not a directory"),
    ];
    same("catatonit", lines);
}

#[test]
fn sockets_that_were_passed_to_us_are_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, original) = pair(dir.path(), "catatonit");
    for program in [Some(ours), original].into_iter().flatten() {
        let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" -- sh -c 'test $LISTEN_PID = $$'";
        let said = run(Path::new("/bin/sh"), &["-c", script, program.to_str().unwrap()], &[]);
        assert_eq!(said.code, Some(0), "{}: {said:?}", program.display());
        // Those of another process are not.
        let words = ["--", "sh", "-c", "test $LISTEN_PID = 4000000"];
        let said = run(&program, &words, &[("LISTEN_FDS", "1"), ("LISTEN_PID", "4000000")]);
        assert_eq!(said.code, Some(0), "{}: {said:?}", program.display());
    }
}

#[test]
fn the_inode_of_our_pidfd_is_not_passed_on_as_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, _) = pair(dir.path(), "catatonit");
    let program = ours;
    let script =
        "LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_PIDFDID=7 exec \"$0\" -- sh -c 'test -z \"$LISTEN_PIDFDID\"'";
    let said = run(Path::new("/bin/sh"), &["-c", script, program.to_str().unwrap()], &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// Starts `words` under sexton called `name`.
fn victim(mode: Mode, name: &str, words: &[&str]) -> Option<Victim> {
    let plan = plan(mode)?.named(name);
    Some(plan.run_as_typed(words))
}

#[test]
fn a_face_bounds_no_stop_and_passes_every_signal_on() {
    let prints = helper("prints_signals");
    for (name, mode) in ["tini", "dumb-init", "catatonit"]
        .into_iter()
        .flat_map(|name| Mode::PID1_AND_NOT.map(|mode| (name, mode)))
    {
        let Some(mut victim) = victim(mode, name, &["--", &prints, "12", "5"]) else { return };
        victim.says("ready");
        for (count, signal) in (2..).zip([15, 2, 1, 15, 12]) {
            victim.signal(signal);
            common::wait_until("it has printed the signal", || victim.stdout().lines().count() == count);
        }
        victim.ends_with(5);
        assert_eq!(victim.stdout(), "ready\n15\n2\n1\n15\n12\n", "{name} {mode:?}");
    }
}

#[test]
fn a_face_bounds_a_stop_if_a_variable_says_so() {
    for name in ["tini", "dumb-init", "catatonit"] {
        let Some(plan) = plan(Mode::Pid1) else { return };
        let windows = plan.variable("SEXTON_GRACE", "200ms").variable("SEXTON_KILL_AFTER", "200ms");
        let mut victim = windows.named(name).run_as_typed(["--", &helper("ignores_term")]);
        victim.says("ready");
        victim.signal(15);
        victim.ends_with(137);
    }
}

#[test]
fn dumb_init_rewrites_and_drops() {
    let prints = helper("prints_signals");
    let words = ["-r", "15:3", "-r", "1:0", &prints, "12"];
    let Some(mut victim) = victim(Mode::Pid1, "dumb-init", &words) else { return };
    victim.says("ready");
    for (signal, seen) in [(15, "3"), (1, ""), (2, "2"), (12, "12")] {
        victim.signal(signal);
        if !seen.is_empty() {
            victim.says(seen);
        }
    }
    victim.ends_with(0);
    assert_eq!(victim.stdout(), "ready\n3\n2\n12\n");
}

#[test]
fn dumb_init_gives_the_command_a_session_unless_told_not_to() {
    let script = "test $(cut -d' ' -f6 /proc/self/stat) = $$";
    for (words, code) in [(&["sh", "-c", script][..], 0), (&["-c", "sh", "-c", script][..], 1)] {
        let Some(mut victim) = victim(Mode::Tree, "dumb-init", words) else { return };
        victim.ends_with(code);
    }
}

#[test]
fn catatonit_pauses_until_it_is_asked_to_stop() {
    for (mode, signal) in [(Mode::Pid1, 2), (Mode::Tree, 15), (Mode::Pid1, 15)] {
        let Some(mut victim) = victim(mode, "catatonit", &["-P"]) else { return };
        let pid = victim.pid();
        common::wait_until("it is there", || {
            let sexton = common::process::look(pid).is_some_and(|process| process.name == "catatonit");
            sexton && common::process::children(pid).len() == 1
        });
        victim.signal(1);
        victim.signal(signal);
        victim.ends_with(0);
    }
}

#[test]
fn tini_says_what_scripts_look_for() {
    let script = "(sleep 0 & exec true); sleep 0.3";
    let Some(mut victim) = victim(Mode::Pid1, "tini", &["-w", "-vvv", "--", "sh", "-c", script]) else {
        return;
    };
    victim.ends_with(0);
    let said = victim.stderr();
    assert!(said.contains("Received SIGCHLD"), "{said}");
    assert!(said.contains("[WARN  tini (1)] Reaped zombie process with pid="), "{said}");
    assert!(!said.contains("zombie reaping won't work"), "as PID 1 it works: {said}");
}

/// The command may be dead before the first look at the signals.
#[test]
fn tini_hears_of_the_shortest_life_too() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, original) = pair(dir.path(), "tini");
    for program in [Some(ours), original].into_iter().flatten() {
        for _ in 0..50 {
            let said = run(&program, &["-s", "true"], &[("TINI_VERBOSITY", "3"), ("SEXTON_NO_LOCKS", "1")]);
            assert!(said.err.contains("Received SIGCHLD"), "{said:?}");
        }
    }
}

/// A subreaper stays one when it executes another program.
#[test]
fn tini_does_not_warn_where_its_parent_made_it_a_subreaper() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, original) = pair(dir.path(), "tini");
    for program in [Some(ours), original].into_iter().flatten() {
        let program = program.to_str().unwrap();
        for (born, warns) in [(&["subreaper=yes", "--"][..], false), (&["--"], true)] {
            let words: Vec<&str> = born.iter().copied().chain([program, "true"]).collect();
            let said = run(Path::new(&helper("starts_with")), &words, &[]);
            assert_eq!((said.code, said.err.contains("zombie reaping")), (Some(0), warns), "{said:?}");
        }
    }
}

#[test]
fn a_face_leaves_nothing_behind_either() {
    for name in ["tini", "dumb-init", "catatonit"] {
        let Some(plan) = plan(Mode::Tree) else { return };
        let journal = format!("journal={}", plan.path("journal"));
        let leaves = helper("leaves_behind");
        let words = ["--", &leaves, &journal, "shape=setsid", "main=exits", "code=3"];
        let mut victim = plan.named(name).run_as_typed(words);
        victim.ends_with(3);
        let journal = victim.read("journal");
        assert_eq!(journal.matches("got 15").count(), 3, "{name}: each got TERM first: {journal}");
    }
}
