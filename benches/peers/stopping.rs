//! How long a stop takes when the command obeys at once.

use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::chamber::{Order, Place};
use crate::helpers::{self, Role};
use crate::subjects::Subject;
use crate::table::{Table, Unit};
use crate::{Bench, Result, take_turns};

/// Stops of each init in one round.
const STOPS: usize = 5;

/// Adds the time from TERM to the init's end.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    for (place, name) in Place::ALL {
        let samples = take_turns(&format!("stopping {name}"), bench.rounds, &bench.subjects, |subject| {
            (0..STOPS).map(|_| stop(bench, subject, place)).collect::<Result<Vec<f64>>>()
        })?;
        let key = if place == Place::Init { "stopping.pid1" } else { "stopping.outside" };
        let samples = samples.into_iter().map(|rounds| Some(rounds.concat())).collect();
        table.spread(key, &format!("From TERM to gone, {name}"), Unit::Nanoseconds, samples);
    }
    Ok(())
}

fn stop(bench: &Bench, subject: &Subject, place: Place) -> Result<f64> {
    let mut chamber = bench.chambers.start(Order { place, ..Order::under(subject, Role::Idle) })?;
    chamber.await_ready()?;
    sleep(Duration::from_millis(1));
    let sent = helpers::now()?;
    chamber.signal(Signal::SIGTERM)?;
    chamber.wait()?;
    Ok((helpers::now()? - sent) as f64)
}
