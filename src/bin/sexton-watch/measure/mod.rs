//! `sexton measure`: how a gateway is, in numbers, and whether another one is worse.
//!
//! ```text
//! words, limit   what was asked for (pure)        run, ground    one run, and what it stands on
//! record         what a run has shown (pure)      metric         what is measured (pure)
//! stats, compare what the runs come to (pure)     report, chart  how it is shown (pure)
//! ```
//!
//! The gateways run below a sexton, so that their stop, their reaping and their locks are what an operator gets. Of two
//! the runs alternate, and so does who is first: what the machine does meanwhile is the same for both.

mod chart;
mod compare;
mod limit;
mod metric;
mod record;
mod report;
mod run;
mod sandbox;
mod stats;
mod words;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use sexton::cli;
use sexton::os::signals;
use sexton::report::{log, output};
use sexton::types::{Signal, exit_code, one_line};
use tokio::signal::unix::{SignalKind, signal};

use metric::Metric;
use record::Record;
use report::Report;
use run::Current;
use words::Asked;

/// How long an interrupted gateway has before it is asked again, and how often it is asked.
const HURRY: Duration = Duration::from_secs(3);
const HURRIES: u32 = 4;

/// Does what the words behind `measure` ask for, and gives the exit code.
pub fn run(words: &[OsString]) -> u8 {
    let args = match cli::measure(words) {
        Ok(Ok(args)) => args,
        Ok(Err(help)) => return output::print(&help, exit_code::MEASURED),
        Err(usage) => return print_error(&usage.line()),
    };
    let asked = match Asked::of(args) {
        Ok(asked) => asked,
        Err(why) => return print_error(&format!("{why}; 'sexton measure --help' lists the options")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(measure(&asked)),
        Err(error) => print_error(&format!("nothing can be waited for here: {error}")),
    }
}

fn print_error(why: &str) -> u8 {
    log::print_error(&one_line(&format!("sexton measure: {why}")));
    exit_code::SEXTON_FAILED
}

async fn measure(asked: &Asked) -> u8 {
    let (current, runs) = (Current::default(), Runs::default());
    let mut all = pin!(all(asked, &current, &runs));
    let signal = tokio::select! {
        done = &mut all => match done {
            Ok(()) => return tell(asked, &runs),
            Err(why) => return print_error(&why),
        },
        signal = interruption() => signal,
    };
    // The gateway is ended as an operator ends one who is in a hurry: each TERM skips a step of its sexton's ladder.
    current.interrupted.set(true);
    for _ in 0..HURRIES {
        if let Some(sexton) = current.sexton.get() {
            let _ = signals::send(sexton, Signal::TERM);
        }
        if tokio::time::timeout(HURRY, &mut all).await.is_ok() {
            break;
        }
    }
    // What was measured until then may be enough.
    if !runs.borrow().0.is_empty() {
        let _ = tell(asked, &runs);
    }
    u8::try_from(128 + signal.number()).unwrap_or(exit_code::SEXTON_FAILED)
}

/// Waits for a signal that asks for the end.
async fn interruption() -> Signal {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Signal::INT,
        _ = terminate.recv() => Signal::TERM,
    }
}

/// What the runs so far have shown: of the base, and of the candidate.
type Runs = RefCell<(Vec<Record>, Vec<Record>)>;

/// All runs.
async fn all(asked: &Asked, current: &Current, runs: &Runs) -> Result<(), String> {
    let sides = if asked.candidate.is_some() { 2 } else { 1 };
    for number in 0..asked.runs * sides {
        let round = number / sides;
        // Base and candidate, then candidate and base.
        let second = sides == 2 && (number + round) % 2 == 1;
        let command = asked.candidate.as_ref().filter(|_| second).unwrap_or(&asked.base);
        let record = run::run(command, asked, current).await?;
        if current.interrupted.get() {
            return Err("interrupted".to_owned());
        }
        progress(number + 1, asked.runs * sides, second, &record);
        let mut runs = runs.borrow_mut();
        if second { runs.1.push(record) } else { runs.0.push(record) }
    }
    Ok(())
}

fn progress(number: usize, all: usize, second: bool, record: &Record) {
    let side = if second { "candidate" } else { "base" };
    let show =
        |metric: Metric| record.value(metric).map_or("-".to_owned(), |value| metric.unit().show(value));
    let trouble = record.trouble.as_ref().map(|trouble| format!("; {trouble}")).unwrap_or_default();
    let line = format!(
        "run {number} of {all}, {side}: well after {}, p99 {}, memory {}, stopped in {}{trouble}",
        show(Metric::Start),
        show(Metric::P99),
        show(Metric::Memory),
        show(Metric::Stop)
    );
    let _ = writeln!(std::io::stderr(), "{}", one_line(&line));
}

/// Hands the report out in every form that was asked for, and gives the exit code.
fn tell(asked: &Asked, runs: &Runs) -> u8 {
    let (base, candidate) = runs.take();
    let commands = (asked.base.join(" "), asked.candidate.as_ref().map(|words| words.join(" ")));
    let candidate = asked.candidate.is_some().then_some(candidate);
    let report = &Report::of(base, candidate, commands, &asked.limits);
    let mut out = report.as_text();
    let forms = [
        (&asked.json, Report::as_json as fn(&Report) -> String),
        (&asked.markdown, Report::as_markdown),
        (&asked.html, chart::page),
    ];
    for (path, form) in forms.iter().filter_map(|(path, form)| Some((path.as_ref()?, form))) {
        if path == Path::new("-") {
            out = form(report);
        } else if let Err(error) = fs::write(path, form(report)) {
            let code = print_error(&format!("{}: {error}", path.display()));
            return output::print(&out, code);
        }
    }
    output::print(&out, if report.fails() { exit_code::THRESHOLD_EXCEEDED } else { exit_code::MEASURED })
}
