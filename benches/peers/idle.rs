//! What an init costs while nothing happens: wake-ups and memory.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use nix::unistd::Pid;

use crate::chamber::{Chamber, Order};
use crate::helpers::Role;
use crate::table::{Table, Unit};
use crate::{Bench, Result};

/// How long wake-ups are counted.
const WATCH: Duration = Duration::from_secs(10);

/// How often memory is measured. Where the kernel puts a stack is chance, and so how many pages it takes.
const STARTS: u32 = 9;

/// Adds wake-ups, and memory after them. All inits idle side by side.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let starts = STARTS.min(bench.rounds);
    eprintln!("idle: {} s", WATCH.as_secs() + u64::from(starts));
    for subject in &bench.subjects {
        // The pages of a file that was just built count as dirty until they are on disk.
        fs::File::open(&subject.path)?.sync_all()?;
    }
    let mut chambers = idle(bench)?;
    let switches = || chambers.iter().map(|chamber| switches(chamber.pid())).collect::<Result<Vec<u64>>>();
    let before = switches()?;
    sleep(WATCH);
    let counts = switches()?.into_iter().zip(before).map(|(after, before)| Some((after - before) as f64));
    table.single("idle.wakeups", "Wake-ups in 10 s, idle", Unit::Count, counts.collect());
    let fields = [
        ("rss", "RSS", "Rss:"),
        ("pss", "PSS", "Pss:"),
        ("private-dirty", "private dirty", "Private_Dirty:"),
    ];
    let mut sizes = fields.map(|_| vec![Some(Vec::new()); chambers.len()]);
    for start in 0..starts {
        if start > 0 {
            chambers = idle(bench)?;
        }
        for ((_, _, field), columns) in fields.iter().zip(&mut sizes) {
            for (chamber, column) in chambers.iter().zip(columns) {
                column.get_or_insert_default().push(memory(chamber, field)?);
            }
        }
    }
    for ((key, name, _), columns) in fields.iter().zip(sizes) {
        table.spread(&format!("idle.{key}"), &format!("Memory, idle: {name}"), Unit::Kibibytes, columns);
    }
    Ok(())
}

/// Starts each, and gives all a second to come to rest.
fn idle(bench: &Bench) -> Result<Vec<Chamber>> {
    let mut chambers = Vec::new();
    for subject in &bench.subjects {
        let mut chamber = bench.chambers.start(Order::under(subject, Role::Idle))?;
        chamber.await_ready()?;
        chambers.push(chamber);
    }
    sleep(Duration::from_secs(1));
    Ok(chambers)
}

/// How often any thread of the process has left the CPU, willingly or not: as often as it got it.
fn switches(pid: Pid) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        for line in status.lines() {
            if let Some((_, count)) = line.split_once("ctxt_switches:") {
                sum += count.trim().parse::<u64>()?;
            }
        }
    }
    Ok(sum)
}

/// One field of the sum over all mappings, in KiB.
fn memory(chamber: &Chamber, field: &str) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", chamber.pid()))?;
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .ok_or("a field of smaps_rollup is missing")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
