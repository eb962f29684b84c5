//! Compares sexton with the inits that it replaces: tini (dynamic and static), dumb-init and catatonit.
//!
//! ```text
//! cargo bench --bench peers                         everything, a few minutes
//! cargo bench --bench peers -- --only reaping       one measurement
//! cargo bench --bench peers -- --rounds 5 --check   short; exit code 1 if a target is missed
//! cargo bench --bench peers -- --into benches/results   the table and the chart of docs/comparison.md
//! ```
//!
//! The peers are those that are installed (on Debian: `apt-get install tini dumb-init catatonit`). All of them
//! take turns within every round, so that whatever else the machine does hits all alike; read a row across, and
//! never a number from one run against a number from another. The table goes to standard output, progress to
//! standard error.
//!
//! Every process that a measurement needs is this program again, under a hidden first argument (see
//! [`helpers`]), so that nothing else has to be built. Each other module is one measurement.

#![expect(clippy::disallowed_methods, reason = "these rules are PID 1's; this program only looks at it")]

mod blind_window;
mod chamber;
mod chart;
mod forwarding;
mod group;
mod helpers;
mod idle;
mod machine;
mod reaping;
mod size;
mod startup;
mod stats;
mod stopping;
mod subjects;
mod table;
mod targets;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::chamber::Chambers;
use crate::subjects::Subject;
use crate::table::Table;

/// What went wrong while measuring: only ever shown, never matched on.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Compare sexton with tini, tini-static, dumb-init and catatonit, interleaved in one run.
#[derive(Debug, Parser)]
#[command(name = "peers", bin_name = "cargo bench --bench peers --")]
struct Options {
    /// How often each measurement goes round all programs
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Take this measurement only (repeatable)
    #[arg(long, value_name = "NAME")]
    only: Vec<Measurement>,

    /// The sexton to measure [default: target/dist/sexton if packaging/build-release made it, else the release
    /// build]
    #[arg(long, value_name = "PATH")]
    sexton: Option<PathBuf>,

    /// Write the table as peers.md, the chart as peers.svg and the figures as peers.json into this directory as well
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,

    /// Exit with code 1 if sexton misses one of its targets, each time it is measured
    #[arg(long)]
    check: bool,

    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be measured, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// From exec of the init to the first statement of its command, and a whole run of nothing
    Startup,
    /// How long a TERM is lost after exec, as PID 1
    BlindWindow,
    /// From a USR1 sent to the init to its command's receipt
    Forwarding,
    /// 10,000 orphans, streamed and all at once
    Reaping,
    /// From TERM to the init's end
    Stopping,
    /// Wake-ups in ten seconds, and memory
    Idle,
    /// The files
    Size,
}

/// What stands above the table in its file.
const HEAD: &str = "\
# sexton beside its peers

Made by `packaging/build-release` and `cargo bench --bench peers -- --into benches/results`, in one run.

![sexton beside its peers](peers.svg)

";

/// How often a missed target is measured before it counts: a busy moment misses now this one and now that, a
/// real fault the same one each time.
const ATTEMPTS: usize = 3;

/// What a measurement gets: who is measured, where, and how often.
struct Bench {
    subjects: Vec<Subject>,
    /// What a reader of the table has to know about them.
    notes: Vec<String>,
    chambers: Chambers,
    rounds: u32,
}

/// Calls `once` for every contestant in every round, and gathers what came of it by contestant. Each round begins
/// with the next of them, so that none always comes after the same noise.
fn take_turns<C, T>(
    what: &str,
    rounds: u32,
    contestants: &[C],
    mut once: impl FnMut(&C) -> Result<T>,
) -> Result<Vec<Vec<T>>> {
    let mut gathered: Vec<Vec<T>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        eprintln!("{what}: round {} of {rounds}", round + 1);
        let mut turn: Vec<_> = contestants.iter().zip(&mut gathered).collect();
        turn.rotate_left(round as usize % contestants.len().max(1));
        for (contestant, results) in turn {
            results.push(once(contestant).map_err(|error| format!("{what}: {error}"))?);
        }
    }
    Ok(gathered)
}

fn main() -> ExitCode {
    // A helper's start-up is part of what is measured, so it is told apart before anything else is done.
    if let Some(code) = helpers::run() {
        return code;
    }
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(2)
        }
    }
}

/// Measures and reports. `false` if a target was to be checked and was missed.
fn run(options: &Options) -> Result<bool> {
    let chambers = Chambers::prepare()?;
    let mut found = subjects::find(options.sexton.as_deref())?;
    if !chambers.are_grouped() && group::is_missed() {
        found.notes.push(
            "no cgroup could be made for the processor's scheduler, which takes a command in a session of its own \
             (dumb-init's) for another user's and wakes it sooner"
                .to_owned(),
        );
    }
    for note in &found.notes {
        eprintln!("peers: {note}");
    }
    let bench = Bench { subjects: found.subjects, notes: found.notes, chambers, rounds: options.rounds };
    let chosen = |measurement: &Measurement| options.only.is_empty() || options.only.contains(measurement);
    let table = measure(&bench, chosen)?;
    println!("{}", table.markdown());
    let mut verdicts = targets::check(&table);
    if let Some(directory) = &options.into {
        let judged: String = verdicts.iter().map(|verdict| format!("- {verdict}.\n")).collect();
        let page = format!("{HEAD}{}\n## Targets\n\n{judged}", table.markdown());
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        for (name, text) in
            [("peers.md", page), ("peers.svg", chart::svg(&table)?), ("peers.json", table.json()?)]
        {
            let path = directory.join(name);
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    if !options.check {
        return Ok(true);
    }
    for _ in 1..ATTEMPTS {
        let missed: Vec<Measurement> =
            verdicts.iter().filter(|verdict| verdict.missed()).map(|verdict| verdict.measurement).collect();
        if missed.is_empty() {
            break;
        }
        eprintln!("peers: once more what was missed");
        let table = measure(&bench, |measurement| missed.contains(measurement))?;
        for (verdict, again) in verdicts.iter_mut().zip(targets::check(&table)) {
            if verdict.missed() {
                *verdict = again;
            }
        }
    }
    for verdict in &verdicts {
        println!("- {verdict}.");
    }
    Ok(verdicts.iter().all(|verdict| !verdict.missed()))
}

/// Takes the chosen measurements.
fn measure(bench: &Bench, chosen: impl Fn(&Measurement) -> bool) -> Result<Table> {
    let mut table = Table::new(bench, machine::describe());
    for measurement in Measurement::value_variants().iter().filter(|measurement| chosen(measurement)) {
        match measurement {
            Measurement::Startup => startup::measure(bench, &mut table)?,
            Measurement::BlindWindow => blind_window::measure(bench, &mut table)?,
            Measurement::Forwarding => forwarding::measure(bench, &mut table)?,
            Measurement::Reaping => reaping::measure(bench, &mut table)?,
            Measurement::Stopping => stopping::measure(bench, &mut table)?,
            Measurement::Idle => idle::measure(bench, &mut table)?,
            Measurement::Size => size::measure(bench, &mut table)?,
        }
    }
    Ok(table)
}
