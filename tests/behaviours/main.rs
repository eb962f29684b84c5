//! The behaviour table: sexton beside tini, dumb-init and catatonit, in one run.
//!
//! `cargo test --test behaviours -- --ignored --nocapture` prints it as Markdown. Every cell of sexton's must be `yes`.
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

use std::time::{Duration, Instant};

use common::process::{children, look, queue};
use common::pty::Shell;
use common::victim::{Mode, Victim, plan};
use common::{helper, skip, wait_until};

const PROGRAMS: [&str; 4] = ["sexton", "tini", "dumb-init", "catatonit"];

/// How long a behaviour may take that is there: its absence is waited for this long.
const LIMIT: Duration = Duration::from_secs(3);

fn within(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// `command` below `program`; `options` are sexton's.
fn start(mode: Mode, program: &str, options: &[&str], command: &[&str]) -> Victim {
    let mut plan = plan(mode).unwrap();
    if program != "sexton" {
        plan = plan.instead(&format!("/usr/bin/{program}"));
    } else {
        for option in options {
            plan = plan.options([option]);
        }
    }
    plan.run(command)
}

/// An interactive shell with `program` as `$S`.
fn shell(program: &str) -> Shell {
    if program == "sexton" { Shell::start() } else { Shell::of(&format!("/usr/bin/{program}")) }
}

/// The pid of the command `sleep`, once it runs: before it, other processes come and go.
fn sleeper(victim: &Victim) -> i32 {
    let mut found = None;
    wait_until("the command runs", || {
        found = children(victim.pid()).into_iter().find(|child| child.name == "sleep");
        found.is_some()
    });
    found.unwrap().pid
}

fn code(mode: Mode, program: &str, command: &[&str]) -> i32 {
    start(mode, program, &[], command).code()
}

type Row = (&'static str, fn(&str) -> bool);

const ROWS: &[Row] = &[
    ("exit code 128+n after signal n", |program| {
        Mode::PID1_AND_NOT.iter().all(|mode| code(*mode, program, &["sh", "-c", "kill -9 $$"]) == 137)
    }),
    ("126 and 127 when the command cannot be executed", |program| {
        let codes = ["/etc/passwd", "/nope"].map(|command| code(Mode::Pid1, program, &[command]));
        codes == [126, 127]
    }),
    ("a real-time signal keeps its value", |program| {
        let mut victim = start(Mode::Tree, program, &[], &[&helper("prints_signals"), "40"]);
        victim.says("ready");
        queue(victim.pid(), 40, 7).unwrap();
        victim.code();
        victim.stdout().contains("40 7")
    }),
    ("what called setsid gets TERM before the end", |program| {
        let plan = plan(Mode::Pid1).unwrap();
        let journal = format!("journal={}", plan.path("journal"));
        let plan = if program == "sexton" { plan } else { plan.instead(&format!("/usr/bin/{program}")) };
        let leaves = helper("leaves_behind");
        let mut victim = plan.run([leaves.as_str(), &journal, "shape=setsid", "main=exits"]);
        victim.code();
        victim.read("journal").matches("got 15").count() == 3
    }),
    ("nothing is left behind, below another process too", |program| {
        let plan = plan(Mode::Tree).unwrap();
        let journal = format!("journal={}", plan.path("journal"));
        let plan = if program == "sexton" { plan } else { plan.instead(&format!("/usr/bin/{program}")) };
        let leaves = helper("leaves_behind");
        let mut victim = plan.run([leaves.as_str(), &journal, "shape=setsid", "main=exits"]);
        victim.code();
        victim.live().is_empty()
    }),
    ("a command that ignores TERM is ended after a window", |program| {
        let options = ["--grace", "200ms", "--stragglers", "200ms"];
        let mut victim = start(Mode::Tree, program, &options, &[&helper("ignores_term")]);
        victim.says("ready");
        let pid = victim.pid();
        victim.signal(15);
        within(|| look(pid).is_none_or(|process| process.dead()))
    }),
    ("a repeated TERM hurries", |program| {
        let mut victim = start(Mode::Tree, program, &[], &[&helper("ignores_term")]);
        victim.says("ready");
        let pid = victim.pid();
        within(|| {
            let _ = common::process::send(pid, 15);
            std::thread::sleep(Duration::from_millis(50));
            look(pid).is_none_or(|process| process.dead())
        })
    }),
    ("its own death takes the command with it", |program| {
        let victim = start(Mode::Tree, program, &[], &["sleep", "1000"]);
        let main = sleeper(&victim);
        victim.signal(9);
        within(|| look(main).is_none_or(|process| process.dead()))
    }),
    ("survives a parent that ignores SIGCHLD", |program| {
        let plan = plan(Mode::Tree).unwrap();
        let plan = if program == "sexton" { plan } else { plan.instead(&format!("/usr/bin/{program}")) };
        let mut victim = plan.born(["ignore=17"]).run(["sh", "-c", "exit 7"]);
        within(|| look(victim.pid()).is_none_or(|process| process.dead())) && victim.code() == 7
    }),
    ("holds no inherited descriptor open", |program| {
        let plan = plan(Mode::Tree).unwrap();
        let file = plan.path("file");
        std::fs::write(&file, "").unwrap();
        let plan = if program == "sexton" { plan } else { plan.instead(&format!("/usr/bin/{program}")) };
        let victim = plan.born([&format!("open=9:{file}")]).run([
            "sh",
            "-c",
            "test -e /proc/self/fd/9 && exec sleep 1000",
        ]);
        sleeper(&victim);
        let held = format!("/proc/{}/fd/9", victim.pid());
        within(|| !std::path::Path::new(&held).exists())
    }),
    ("does not pin its working directory", |program| {
        let victim = start(Mode::Tree, program, &[], &["sleep", "1000"]);
        sleeper(&victim);
        let cwd = format!("/proc/{}/cwd", victim.pid());
        within(|| std::fs::read_link(&cwd).is_ok_and(|cwd| cwd.as_os_str() == "/"))
    }),
    ("Ctrl-Z stops both sides", |program| {
        let mut shell = shell(program);
        shell.line("$S -- sleep 1000");
        let (init, main) = (shell.init().pid, shell.main().pid);
        shell.keys("\x1a");
        within(|| [init, main].iter().all(|pid| look(*pid).is_some_and(|process| process.state == 'T')))
    }),
    ("a background start leaves the terminal alone", |program| {
        let mut shell = shell(program);
        shell.line("$S -- sh -c 'echo there; exec sleep 1000' &");
        shell.sees("there");
        shell.foreground() == shell.pid()
    }),
    ("runs below another init without a complaint", |program| {
        let mut victim = start(Mode::Tree, program, &[], &["true"]);
        victim.code() == 0 && victim.stderr().is_empty()
    }),
];

#[test]
#[ignore = "takes minutes, and one cell is still to be made certain: the README says how to run it"]
fn every_cell_of_sextons_is_right() {
    if plan(Mode::Tree).is_none() || plan(Mode::Pid1).is_none() {
        return;
    }
    let here =
        |program: &&str| *program == "sexton" || std::path::Path::new("/usr/bin").join(program).exists();
    if !PROGRAMS.iter().all(here) {
        skip("tini, dumb-init and catatonit", "apt-get install tini dumb-init catatonit");
    }
    println!("| behaviour | {} |\n|---|---|---|---|---|", PROGRAMS.join(" | "));
    let mut wrong = Vec::new();
    for (name, shows) in ROWS {
        let cells = PROGRAMS.map(|program| match here(&program).then(|| shows(program)) {
            None => "?",
            Some(true) => "yes",
            Some(false) => "no",
        });
        println!("| {name} | {} |", cells.join(" | "));
        if cells[0] != "yes" {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "sexton does not: {wrong:?}");
}
