//! The behaviour table: sexton beside tini, dumb-init and catatonit, in one run.
//!
//! `cargo test --test behaviours -- --ignored --nocapture` prints it as Markdown, as it stands in the README. Every
//! cell of sexton's must be `yes`, which is a test of its own.
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
mod corners;
mod ending;
mod signals;
mod terminal;

use std::path::Path;
use std::time::{Duration, Instant};

use common::process::{children, look};
use common::pty::Shell;
use common::skip;
use common::victim::{Mode, Plan, Victim, plan};

/// A behaviour, and whether a program shows it.
type Row = (&'static str, fn(Program) -> bool);

/// One of the inits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Sexton,
    Tini,
    DumbInit,
    Catatonit,
}

impl Program {
    const ALL: [Program; 4] = [Program::Sexton, Program::Tini, Program::DumbInit, Program::Catatonit];

    fn name(self) -> &'static str {
        match self {
            Program::Sexton => "sexton",
            Program::Tini => "tini",
            Program::DumbInit => "dumb-init",
            Program::Catatonit => "catatonit",
        }
    }

    /// Where Debian's package puts it.
    fn path(self) -> String {
        format!("/usr/bin/{}", self.name())
    }

    fn is_here(self) -> bool {
        self == Program::Sexton || Path::new(&self.path()).exists()
    }

    /// A plan with this program.
    fn plan(self, mode: Mode) -> Plan {
        let plan = plan(mode).unwrap();
        if self == Program::Sexton { plan } else { plan.instead(&self.path()) }
    }

    /// `command` below it; `options` are sexton's.
    fn start(self, mode: Mode, options: &[&str], command: &[&str]) -> Victim {
        let ours = if self == Program::Sexton { options } else { &[] };
        ours.iter().fold(self.plan(mode), |plan, option| plan.options([*option])).run(command)
    }

    /// An interactive shell with it as `$S`.
    fn shell(self) -> Shell {
        if self == Program::Sexton { Shell::start() } else { Shell::of(&self.path()) }
    }
}

/// Whether it comes true soon. Its absence is waited for this long.
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

const LIMIT: Duration = Duration::from_secs(3);

/// The pid of the command of that name below a victim, once it runs: before it, other processes come and go.
fn command(victim: &Victim, name: &str) -> i32 {
    let mut found = None;
    common::wait_until("the command runs", || {
        found = children(victim.pid()).into_iter().find(|child| child.name == name);
        found.is_some()
    });
    found.unwrap().pid
}

fn gone(pid: i32) -> bool {
    look(pid).is_none_or(|process| process.dead())
}

fn rows() -> impl Iterator<Item = &'static Row> {
    [ending::ROWS, signals::ROWS, corners::ROWS, terminal::ROWS].into_iter().flatten()
}

/// Whether the machine can do all of it.
fn possible() -> bool {
    plan(Mode::Tree).is_some() && plan(Mode::Pid1).is_some()
}

#[test]
fn every_cell_of_sextons_is_right() {
    if possible() {
        let wrong: Vec<_> =
            rows().filter(|(_, shows)| !shows(Program::Sexton)).map(|(name, _)| name).collect();
        assert!(wrong.is_empty(), "sexton does not: {wrong:#?}");
    }
}

#[test]
#[ignore = "prints the table for the README, and takes minutes, because an absence is waited for"]
fn the_table() {
    if !possible() {
        return;
    }
    if !Program::ALL.iter().all(|program| program.is_here()) {
        skip("tini, dumb-init and catatonit", "apt-get install tini dumb-init catatonit");
    }
    println!("| behaviour | {} |\n|---|---|---|---|---|", Program::ALL.map(Program::name).join(" | "));
    let mut wrong = Vec::new();
    for (name, shows) in rows() {
        let cells = Program::ALL.map(|program| match program.is_here().then(|| shows(program)) {
            None => "?",
            Some(true) => "yes",
            Some(false) => "no",
        });
        println!("| {name} | {} |", cells.join(" | "));
        if cells[0] != "yes" {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "sexton does not: {wrong:#?}");
}
