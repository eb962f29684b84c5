//! The behaviour table: sexton beside tini, dumb-init and catatonit, in one run.
//!
//! `cargo test --test behaviours -- --ignored --nocapture` prints it as Markdown, as docs/comparison.md has it, and fails
//! where docs/comparison.md has it otherwise. Every cell of sexton's must be `yes`, which is a test of its own; so is that
//! the page and the README have these rows.
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

use std::cell::Cell;
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

    /// Whether it shows this behaviour. What sexton has to show is waited for as long as a busy machine may take.
    fn shows(self, behaviour: fn(Program) -> bool) -> bool {
        LIMIT.set(if self == Program::Sexton { common::PATIENCE } else { ABSENCE });
        behaviour(self)
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

/// Whether it comes true soon.
fn within(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit();
    while Instant::now() < end {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// How long an absence is waited for.
const ABSENCE: Duration = Duration::from_secs(3);

thread_local! {
    static LIMIT: Cell<Duration> = const { Cell::new(ABSENCE) };
}

/// How long is waited at this moment, for the program that is looked at.
fn limit() -> Duration {
    LIMIT.get()
}

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
            rows().filter(|row| !Program::Sexton.shows(row.1)).map(|(name, _)| name).collect();
        assert!(wrong.is_empty(), "sexton does not: {wrong:#?}");
    }
}

/// The table of docs/comparison.md: its head, the line below it, and a line for each row.
fn of_the_page() -> Vec<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/comparison.md")).unwrap();
    let table = page.lines().skip_while(|line| !line.starts_with("| behaviour |"));
    table.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

fn head() -> [String; 2] {
    [
        format!("| behaviour | {} |", Program::ALL.map(Program::name).join(" | ")),
        "|---|---|---|---|---|".to_owned(),
    ]
}

#[test]
fn the_readme_has_these_rows_and_a_yes_of_sextons_in_each() {
    let readme = include_str!("../../README.md").lines().filter(|line| line.contains(" | yes | "));
    let page = of_the_page();
    let shown: Vec<_> =
        readme.inspect(|line| assert!(page.iter().any(|row| row == line), "{line}")).collect();
    assert!(shown.len() >= 10, "the README has some of them");
    let table = of_the_page();
    assert_eq!(table[..2], head());
    let ours = |line: &String| line.split(" | ").take(2).collect::<Vec<_>>().join(" | ");
    let expected: Vec<String> = rows().map(|(name, _)| format!("| {name} | yes")).collect();
    assert_eq!(table[2..].iter().map(ours).collect::<Vec<_>>(), expected);
}

#[test]
#[ignore = "prints the table for docs/comparison.md, and takes minutes, because an absence is waited for"]
fn the_table() {
    if !possible() {
        return;
    }
    let all = Program::ALL.iter().all(|program| program.is_here());
    if !all {
        skip("tini, dumb-init and catatonit", "apt-get install tini dumb-init catatonit");
    }
    let mut table = Vec::from(head());
    println!("{}", table.join("\n"));
    for (name, behaviour) in rows() {
        let cells = Program::ALL.map(|program| match program.is_here().then(|| program.shows(*behaviour)) {
            None => "?",
            Some(true) => "yes",
            Some(false) => "no",
        });
        let row = format!("| {name} | {} |", cells.join(" | "));
        println!("{row}");
        table.push(row);
    }
    let wrong: Vec<_> = table[2..].iter().filter(|row| row.split(" | ").nth(1) != Some("yes")).collect();
    assert!(wrong.is_empty(), "sexton does not: {wrong:#?}");
    let told = of_the_page();
    let news: Vec<_> = table.iter().filter(|row| !told.contains(row)).collect();
    assert!(!all || news.is_empty(), "docs/comparison.md has it otherwise: {news:#?}");
}
