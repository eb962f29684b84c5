//! How long a signal takes through an init to its command.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::chamber::Order;
use crate::helpers::{self, Role};
use crate::stats::median;
use crate::subjects::Subject;
use crate::table::{Table, Unit};
use crate::{Bench, Result, take_turns};

/// Signals to each init in one round.
const SIGNALS: usize = 20;

/// Adds the time from kill(2) to the command's receipt.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let contestants: Vec<Option<&Subject>> =
        [None].into_iter().chain(bench.subjects.iter().map(Some)).collect();
    let samples = take_turns("forwarding", bench.rounds, &contestants, |init| forward(bench, *init))?;
    let mut samples = samples.into_iter().map(|rounds| rounds.concat());
    let alone = samples.next().map_or(0.0, |samples| median(&samples));
    let label = format!("USR1 forwarded ({:.0} µs without an init)", alone / 1000.0);
    table.spread("forwarding", &label, Unit::Nanoseconds, samples.map(Some).collect());
    Ok(())
}

fn forward(bench: &Bench, init: Option<&Subject>) -> Result<Vec<f64>> {
    let mut chamber = bench.chambers.start(Order { init, ..Order::new(Role::Answer) })?;
    chamber.await_ready()?;
    (0..SIGNALS)
        .map(|_| {
            // All sides are asleep when the signal comes, as they are in life.
            sleep(Duration::from_millis(1));
            let sent = helpers::now()?;
            chamber.signal(Signal::SIGUSR1)?;
            Ok((chamber.receive_moment()? - sent) as f64)
        })
        .collect()
}
