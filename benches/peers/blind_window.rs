//! How long after its exec an init, as PID 1, still loses a TERM.
//!
//! The kernel discards a signal that PID 1 has neither blocked nor caught. A `docker stop` that comes so early is
//! lost for good, and the container runs on until it is killed. Here a TERM is sent at a random moment within the
//! first three milliseconds after the exec. As the moments are spread evenly, the share that is lost, times three
//! milliseconds, is how long the window is on average.

use std::hint::spin_loop;

use nix::sys::signal::Signal;

use crate::chamber::Order;
use crate::helpers::{self, GOT_PWR, GOT_TERM, READY, Role};
use crate::stats::Random;
use crate::subjects::Subject;
use crate::table::{Table, Unit};
use crate::{Bench, Result, take_turns};

/// Tries with each init in one round.
const TRIES: u32 = 20;
/// How long after the exec the last TERM is sent, in nanoseconds.
const SPAN: u64 = 3_000_000;

/// The row of the counts.
pub const LOST: &str = "blind.lost";

/// How often each init was tried.
pub fn tries(rounds: u32) -> u32 {
    rounds * TRIES
}

/// Adds the share that was lost, and the window that follows from it.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let mut random = Random::new()?;
    let lost = take_turns("blind window", bench.rounds, &bench.subjects, |subject| {
        let mut lost = 0;
        for _ in 0..TRIES {
            lost += u32::from(is_lost(bench, subject, random.below(SPAN))?);
        }
        Ok(lost)
    })?;
    let tries = tries(bench.rounds);
    let lost: Vec<f64> = lost.iter().map(|rounds| f64::from(rounds.iter().sum::<u32>())).collect();
    let windows = lost.iter().map(|lost| Some(lost / f64::from(tries) * SPAN as f64)).collect();
    table.single("blind.window", "Blind window for a TERM, as PID 1, mean", Unit::Nanoseconds, windows);
    let label = format!("TERMs lost of {tries} sent within 3 ms of exec");
    table.single(LOST, &label, Unit::Count, lost.into_iter().map(Some).collect());
    Ok(())
}

/// Whether a TERM sent `delay` nanoseconds after the exec never arrives.
fn is_lost(bench: &Bench, subject: &Subject, delay: u64) -> Result<bool> {
    loop {
        let mut chamber =
            bench.chambers.start(Order { launch: Role::LaunchAt, ..Order::under(subject, Role::Listen) })?;
        let moment = chamber.receive_moment()? + delay;
        if helpers::now()? > moment {
            // This side was not awake in time: a later moment would not be a random one.
            continue;
        }
        while helpers::now()? < moment {
            spin_loop();
        }
        chamber.signal(Signal::SIGTERM)?;
        // A TERM that is forwarded before the command listens ends it without a word.
        let Some([READY]) = chamber.receive_or_end()? else { return Ok(false) };
        chamber.signal(Signal::SIGPWR)?;
        return match chamber.receive_or_end()? {
            None | Some([GOT_TERM]) => Ok(false),
            Some([GOT_PWR]) => Ok(true),
            Some([other]) => Err(format!("the command said {other}").into()),
        };
    }
}
