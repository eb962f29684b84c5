//! What stands between sexton and the program that is to stop: the program gets TERM within two seconds and has its whole
//! time, or the launcher's own rule is the one that is written here.
//!
//! Each test starts all of its launchers at once, so that it takes as long as one of them.
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

#[path = "../common/mod.rs"]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::victim::{Mode, Plan, plan};
use common::{root, skip, wait_until};

const TERM: i32 = 15;

/// How long the program drains, which is longer than the window of what is left (`--kill-after`, 5 s).
const DRAIN: Duration = Duration::from_secs(8);
/// How soon it is to be asked.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// What becomes of the program.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// It has its whole time.
    Drains,
    /// The same, but the launcher passes the signal on and then dies of it, as one does that passes nothing on. The
    /// program notes the second one if it comes late.
    AskedTwice,
    /// The launcher sends it TERM, and KILL this long after it.
    KillsAfter(Duration),
}
use Rule::{AskedTwice, Drains, KillsAfter};

/// One line of the table: a name, the command with `PROGRAM` in it, what becomes of the program, and where the launcher
/// comes from.
type Line = (&'static str, &'static [&'static str], Rule, &'static str);

const TWO: Duration = Duration::from_secs(2);

const LAUNCHERS: [Line; 16] = [
    ("npm run", &["npm", "--silent", "run", "dev"], Drains, "npm"),
    ("npm run, two commands", &["npm", "--silent", "run", "two"], Drains, "npm"),
    ("npx", &["npx", "--offline", "--no", "gateway"], Drains, "npm"),
    ("bash -c 'a; b'", &["bash", "-c", "PROGRAM; true"], Drains, "bash"),
    ("sh -c 'a && b'", &["sh", "-c", "PROGRAM && true"], Drains, "dash"),
    ("sudo", &["sudo", "--non-interactive", "PROGRAM"], Drains, "sudo"),
    ("su", &["su", "--command", "PROGRAM", "root"], KillsAfter(TWO), "util-linux"),
    ("runuser -u", &["runuser", "-u", "root", "--", "PROGRAM"], KillsAfter(TWO), "util-linux"),
    ("xvfb-run", &["xvfb-run", "--auto-servernum", "PROGRAM"], Drains, "xvfb xauth"),
    ("dbus-run-session", &["dbus-run-session", "--", "PROGRAM"], Drains, "dbus-daemon"),
    // TERM is for its shell alone.
    ("script", &["script", "--quiet", "--command", "exec PROGRAM", "/dev/null"], KillsAfter(TWO), "bsdutils"),
    ("timeout", &["timeout", "600", "PROGRAM"], Drains, "coreutils"),
    ("strace -f", &["strace", "-f", "-e", "trace=none", "PROGRAM"], AskedTwice, "strace"),
    ("strace -f -o", &["strace", "-f", "-o", "/dev/null", "PROGRAM"], Drains, "strace"),
    ("unshare --fork", &["unshare", "--fork", "PROGRAM"], Drains, "util-linux"),
    (
        "unshare --pid --fork",
        &["unshare", "--pid", "--fork", "--kill-child", "PROGRAM"],
        Drains,
        "util-linux",
    ),
];

/// Those that come from npm and PyPI: `tests/launchers/run` brings them.
const BROUGHT: [Line; 4] = [
    ("pnpm run", &["pnpm", "--silent", "run", "dev"], Drains, "tests/launchers/run"),
    ("pnpm exec", &["pnpm", "exec", "gateway"], Drains, "tests/launchers/run"),
    ("yarn run", &["yarn", "--silent", "run", "dev"], Drains, "tests/launchers/run"),
    (
        "uv run",
        &["uv", "run", "--quiet", "--no-project", "--offline", "--python", "/usr/bin/python3", "PROGRAM"],
        Drains,
        "tests/launchers/run",
    ),
];

/// A gateway that is one process, notes what happens to it, and drains. It never reads its input, which some launchers
/// close. Two TERMs within half a second are one: `timeout` sends it to its child, and then to its group.
fn program(plan: &Plan) -> String {
    let dir = plan.path("");
    let seconds = DRAIN.as_secs();
    let text = format!(
        "#!/bin/bash\ncd {dir}\nmkfifo go\nexec 3<>go\nlast=0\n\
         asked() {{\n\
         local now=${{EPOCHREALTIME/[.,]/}}\n\
         ((now - last < 500000)) || echo asked >>journal\n\
         last=$now\n\
         read -t {seconds} -u 3\n\
         echo drained >>journal\n\
         exit 0\n\
         }}\n\
         trap asked TERM\n\
         echo ready >>journal\nwhile :; do read -t 1 -u 3; done\n"
    );
    let path = plan.path("gateway");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A folder in which npm and its like find the program.
fn package(plan: &Plan, program: &str) {
    let scripts = serde_json::json!({"dev": program, "two": format!("{program} && true")});
    let package = serde_json::json!({"name": "x", "version": "1.0.0", "private": true, "scripts": scripts});
    fs::write(plan.path("package.json"), package.to_string()).unwrap();
    let bin = plan.path("node_modules/.bin");
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(program, format!("{bin}/gateway")).unwrap();
}

/// Whether the machine has this launcher; says so if it has not.
fn there_is(launcher: &str, package: &str) -> bool {
    let found = Command::new(launcher).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        skip(launcher, &format!("Debian: {package}"));
    }
    found.is_ok()
}

/// Stops one program through one launcher. Gives when it was asked and when it ended, and what it had noted.
fn stopped(command: &[&str]) -> Option<(Duration, Duration, String)> {
    let plan = plan(Mode::Tree)?;
    let program = program(&plan);
    package(&plan, &program);
    let dir = plan.path("");
    let words: Vec<String> = command.iter().map(|word| word.replace("PROGRAM", &program)).collect();
    // With what nobody sets: 30 s, and 5 s for what is left.
    let mut victim = plan.through(["env", "-C", &dir]).run(&words);
    victim.notes("journal", "ready");
    let begin = Instant::now();
    victim.signal(TERM);
    let mut asked = Duration::ZERO;
    wait_until("the program is asked", || {
        asked = begin.elapsed();
        victim.read("journal").contains("asked")
    });
    victim.status();
    let took = begin.elapsed();
    assert!(victim.live().is_empty(), "{command:?} left {:#?}", victim.live());
    Some((asked, took, victim.read("journal")))
}

fn table(lines: &[Line]) {
    if !root() {
        return skip("root", "sudo, su and runuser are asked for nothing by it");
    }
    let there: Vec<&Line> = lines.iter().filter(|(_, command, _, from)| there_is(command[0], from)).collect();
    let wrong: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = there.iter().map(|line| (line, scope.spawn(|| stopped(line.1)))).collect();
        let mut wrong = Vec::new();
        for ((name, _, rule, _), running) in running {
            let Some((asked, took, journal)) = running.join().expect(name) else { return wrong };
            let right = match rule {
                Drains => journal == "ready\nasked\ndrained\n" && took >= DRAIN,
                AskedTwice => journal.contains("asked\ndrained\n") && took >= DRAIN,
                KillsAfter(window) => journal == "ready\nasked\n" && took >= *window && took < DRAIN,
            };
            let line = format!("{name:24} asked after {asked:.1?}, over after {took:.1?}: {journal:?}");
            println!("{line}");
            if !right || asked > ASKED_WITHIN {
                wrong.push(line);
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn below_each_launcher_the_program_has_its_whole_time() {
    table(&LAUNCHERS);
}

#[test]
#[ignore = "tests/launchers/run brings what it needs"]
fn below_the_launchers_of_npm_and_pypi_too() {
    table(&BROUGHT);
}
