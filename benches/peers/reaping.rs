//! What it costs to reap 10,000 orphans that come one by one, and 10,000 that die at once.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::chamber::Order;
use crate::helpers::{self, Role};
use crate::subjects::Subject;
use crate::table::{Table, Unit};
use crate::{Bench, Result, take_turns};

/// How many are reaped.
const ORPHANS: u32 = 10_000;
/// How long it may take until all are.
const PATIENCE: Duration = Duration::from_secs(60);

/// Adds the time until no orphan is left, and the init's own CPU time for each.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    // One round takes seconds for each init, and its figures are averages over 10,000 already. But those of a
    // burst vary more, as 10,000 dying processes and the init are all in each other's way.
    let kinds = [
        (Role::Stream, "streamed", "one after another", bench.rounds.div_ceil(3)),
        (Role::Burst, "burst", "at once", (bench.rounds * 2).div_ceil(3)),
    ];
    for (role, key, name, rounds) in kinds {
        let results = take_turns(&format!("reaping, {name}"), rounds, &bench.subjects, |subject| {
            reap(bench, subject, role)
        })?;
        let column = |take: fn(&Reaped) -> f64| {
            results.iter().map(|rounds| Some(rounds.iter().map(take).collect())).collect()
        };
        let label = format!("CPU per reap, 10,000 orphans {name}");
        table.spread(&format!("reaping.{key}.cpu"), &label, Unit::Nanoseconds, column(|reaped| reaped.cpu));
        let label = format!("10,000 orphans {name}, until none is left");
        table.spread(&format!("reaping.{key}.time"), &label, Unit::Nanoseconds, column(|reaped| reaped.time));
        if role == Role::Stream {
            let label = format!("10,000 orphans {name}, zombies at most");
            table.spread("reaping.streamed.zombies", &label, Unit::Count, column(|reaped| reaped.zombies));
        }
    }
    Ok(())
}

/// What it took.
#[derive(Debug, Clone, Copy)]
struct Reaped {
    /// The init's CPU time for one orphan, in nanoseconds.
    cpu: f64,
    /// From the first death to the last reap, in nanoseconds.
    time: f64,
    /// How many there were at most at one of the moments that were looked at; two of those may have been alive.
    zombies: f64,
}

fn reap(bench: &Bench, subject: &Subject, role: Role) -> Result<Reaped> {
    let quiet = processes()?;
    let order = Order { number: Some(u64::from(ORPHANS)), ..Order::under(subject, role) };
    let mut chamber = bench.chambers.start(order)?;
    chamber.await_ready()?;
    let before = cpu_time(chamber.pid())?;
    let usual = processes()?;
    let mut most = usual;
    let mut began = helpers::now()?;
    chamber.go()?;
    if role == Role::Burst {
        began = chamber.receive_moment()?;
    } else {
        while !chamber.is_heard()? {
            most = most.max(processes()?);
            sleep(Duration::from_micros(100));
        }
        chamber.await_ready()?;
    }
    await_one_child(chamber.pid(), quiet)?;
    let ended = helpers::now()?;
    // The init may have a last look round before it sleeps.
    sleep(Duration::from_millis(2));
    let cpu = cpu_time(chamber.pid())? - before;
    Ok(Reaped {
        cpu: cpu as f64 / f64::from(ORPHANS),
        time: (ended - began) as f64,
        zombies: (most - usual) as f64,
    })
}

/// Waits until the init has no child but its command: neither a living one nor a zombie.
fn await_one_child(init: Pid, quiet: u64) -> Result<()> {
    let children = format!("/proc/{init}/task/{init}/children");
    let began = Instant::now();
    let mut looked = began;
    while began.elapsed() < PATIENCE {
        // To list thousands of children takes the lock that the init needs for reaping. How many processes the
        // machine has, zombies included, is cheap to learn and tells when a look does no harm.
        if processes()? < quiet + 200 || looked.elapsed() > Duration::from_secs(10) {
            if fs::read_to_string(&children)?.split_ascii_whitespace().count() <= 1 {
                return Ok(());
            }
            looked = Instant::now();
        }
        sleep(Duration::from_micros(100));
    }
    Err(format!("orphans are left after {} s", PATIENCE.as_secs()).into())
}

/// How many processes there are on the machine, zombies included: each counts as a link of /proc.
fn processes() -> Result<u64> {
    Ok(fs::metadata("/proc")?.nlink())
}

/// The CPU time of all threads of a process so far, in nanoseconds.
fn cpu_time(pid: Pid) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split_ascii_whitespace().next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(sum)
}
