//! What an init costs before its command runs, and over the whole life of a command that does nothing.
//!
//! The clock starts right before the init is executed, in the process that becomes it, and is read again in the
//! first statement of the command. The same command without an init is subtracted.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::chamber::{Order, Place};
use crate::helpers::{self, Role};
use crate::stats::median;
use crate::subjects::{SEXTON, Subject};
use crate::table::{Table, Unit};
use crate::{Bench, Result, take_turns};

/// Runs of each contestant in one round.
const RUNS: usize = 10;
/// The state directory of a gateway that has been in use for a while.
const SESSIONS: usize = 100;
/// More than any kernel's `pid_max` on a machine of this size, so that nobody has it.
const DEAD: &str = r#"{"pid":4194303,"createdAt":"2026-01-01T00:00:00.000Z","starttime":1}"#;

/// How sexton is asked to treat locks. The peers know none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locks {
    /// No option, and no state directory to be found.
    Default,
    /// `--no-locks`.
    Off,
    /// A state directory with sessions, one of them locked by a dead process.
    Sweep,
}

/// One contestant; without an init it is what is subtracted.
#[derive(Debug, Clone, Copy)]
struct Contestant<'a> {
    init: Option<&'a Subject>,
    locks: Locks,
}

/// Adds the rows of both places.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let mut contestants = vec![Contestant { init: None, locks: Locks::Default }];
    for subject in &bench.subjects {
        let init = Some(subject);
        contestants.push(Contestant { init, locks: Locks::Default });
        if subject.name == SEXTON {
            contestants.push(Contestant { init, locks: Locks::Off });
            contestants.push(Contestant { init, locks: Locks::Sweep });
        }
    }
    let state = plant_sessions()?;
    for (place, place_name) in Place::ALL {
        let what = format!("startup {place_name}");
        let runs = take_turns(&what, bench.rounds, &contestants, |contestant| {
            (0..RUNS).map(|_| run(bench, *contestant, place, state.path())).collect::<Result<Vec<Run>>>()
        })?;
        let runs: Vec<(Contestant<'_>, Vec<Run>)> =
            contestants.iter().copied().zip(runs.into_iter().map(|rounds| rounds.concat())).collect();
        let key = if place == Place::Init { "startup.pid1" } else { "startup.outside" };
        add_rows(bench, table, key, place_name, &runs);
    }
    Ok(())
}

/// What one run took, in nanoseconds since the exec.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Until the command's first statement.
    command: f64,
    /// Until the init was gone.
    whole: f64,
}

fn run(bench: &Bench, contestant: Contestant<'_>, place: Place, state: &Path) -> Result<Run> {
    let stale = state.join("agents/main/sessions/0.jsonl.lock");
    let mut order =
        Order { place, launch: Role::LaunchStamped, init: contestant.init, ..Order::new(Role::Stamp) };
    match contestant.locks {
        Locks::Default => {}
        Locks::Off => order.flags = &["--no-locks"],
        Locks::Sweep => {
            fs::write(&stale, DEAD)?;
            order.state = Some(state);
        }
    }
    let mut chamber = bench.chambers.start(order)?;
    let executed = chamber.receive_moment()?;
    let ran = chamber.receive_moment()?;
    chamber.wait()?;
    let gone = helpers::now()?;
    if contestant.locks == Locks::Sweep && stale.exists() {
        return Err("sexton left the lock of a dead process".into());
    }
    Ok(Run { command: (ran - executed) as f64, whole: (gone - executed) as f64 })
}

fn add_rows(
    bench: &Bench,
    table: &mut Table,
    key: &'static str,
    place: &str,
    runs: &[(Contestant<'_>, Vec<Run>)],
) {
    type Part = fn(&Run) -> f64;
    let parts: [(&str, &str, Part); 2] = [
        ("command", "from exec to the command", |run| run.command),
        ("whole", "a whole run of nothing", |run| run.whole),
    ];
    for (part, part_name, take) in parts {
        let samples = |subject: Option<&Subject>, locks: Locks| -> Option<Vec<f64>> {
            let same = |contestant: &Contestant<'_>| {
                contestant.locks == locks
                    && contestant.init.map(|init| init.name) == subject.map(|subject| subject.name)
            };
            let (_, runs) = runs.iter().find(|(contestant, _)| same(contestant))?;
            Some(runs.iter().map(take).collect())
        };
        let alone = samples(None, Locks::Default).map_or(0.0, |samples| median(&samples));
        let variants = [
            (Locks::Default, "", ""),
            (Locks::Off, ".no-locks", ", `--no-locks`"),
            (Locks::Sweep, ".sweep", ", sweeping 100 sessions and removing 1 lock"),
        ];
        for (locks, suffix, variant) in variants {
            let columns = bench
                .subjects
                .iter()
                .map(|subject| {
                    let samples = samples(Some(subject), locks)?;
                    Some(samples.iter().map(|sample| sample - alone).collect())
                })
                .collect();
            let label = format!("Startup overhead {place}, {part_name}{variant}");
            table.spread(&format!("{key}.{part}{suffix}"), &label, Unit::Nanoseconds, columns);
        }
    }
}

/// A state directory as OpenClaw lays it out, with nothing locked.
fn plant_sessions() -> Result<TempDir> {
    let state = TempDir::with_prefix("sexton-bench-state-")?;
    let sessions = state.path().join("agents/main/sessions");
    fs::create_dir_all(&sessions)?;
    for session in 0..SESSIONS {
        fs::write(sessions.join(format!("{session}.jsonl")), "{}\n")?;
    }
    Ok(state)
}
