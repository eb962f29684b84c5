//! How long after its exec an init, as PID 1, still loses a TERM.
//!
//! The kernel discards a signal that PID 1 has neither blocked nor caught. A `docker stop` that comes so early is
//! lost for good, and the container runs on until it is killed. Here a TERM is sent at a random moment within the
//! first three milliseconds after the exec.

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

/// Adds how many were lost, and the window that follows from when they were sent.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let mut random = Random::new()?;
    let sent = take_turns("blind window", bench.rounds, &bench.subjects, |subject| {
        let attempt = |_| {
            let delay = random.below(SPAN);
            Ok(Sent { delay, lost: is_lost(bench, subject, delay)? })
        };
        (0..TRIES).map(attempt).collect::<Result<Vec<Sent>>>()
    })?;
    let sent: Vec<Vec<Sent>> = sent.into_iter().map(|rounds| rounds.concat()).collect();
    let windows = sent.iter().map(|sent| Some(window(sent))).collect();
    table.single("blind.window", "Blind window for a TERM, as PID 1", Unit::Nanoseconds, windows);
    let label = format!("TERMs lost of {} sent within 3 ms of exec", tries(bench.rounds));
    let lost = |sent: &Vec<Sent>| Some(sent.iter().filter(|sent| sent.lost).count() as f64);
    table.single(LOST, &label, Unit::Count, sent.iter().map(lost).collect());
    Ok(())
}

/// One TERM.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Nanoseconds since the exec.
    delay: u64,
    lost: bool,
}

/// The delay that parts best what was lost from what arrived. On a quiet machine there is little to choose; on a
/// busy one it is not led astray by the few runs in which the init had to wait for a CPU.
fn window(sent: &[Sent]) -> f64 {
    let mut sent = sent.to_vec();
    sent.sort_by_key(|sent| sent.delay);
    // With the cut before all of them, every loss is on the wrong side.
    let mut wrong = sent.iter().filter(|sent| sent.lost).count();
    let mut best = (wrong, 0);
    for one in sent {
        wrong = if one.lost { wrong - 1 } else { wrong + 1 };
        best = best.min((wrong, one.delay));
    }
    best.1 as f64
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
        helpers::sleep_until(moment)?;
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
