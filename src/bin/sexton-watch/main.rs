//! `sexton-watch`: the helper that looks. sexton starts it, as who owns the lock roots, when something is to be
//! watched; what it sees goes to sexton as facts, and the decisions are made there.
//!
//! ```text
//! link        the socket to sexton             knowledge   what is known, for whoever asks
//! health      from answers to a state (pure)   window      latencies to percentiles (pure)
//! probe       asks once: HTTP, TCP, a command  guard       the process around such a command
//! doctor      `sexton doctor`, which looks once    measure     `sexton measure`, which compares
//! words       what these two read theirs with (pure)
//! ```
//!
//! One thread, on which every task runs until it waits; what may hang (a directory, a log, a look into a process's
//! memory) is done by a thread of its own, once at a time, and not waited for longer than its deadline.
//! hyper without a framework on top: there are four addresses to be answered and one kind of question to be asked.

mod alerts;
mod background;
mod census;
mod curve;
mod cutter;
mod doctor;
mod exposition;
mod follow;
mod guard;
mod health;
mod held;
mod knowledge;
mod link;
mod logs;
mod measure;
mod metrics;
mod openclaw;
mod page;
mod probe;
mod rate;
mod serve;
mod tally;
mod watch;
mod window;
mod words;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use sexton::ids::exit_code;
use sexton::os::early;
use sexton::report::log;
use sexton::runtime;
use tracing::level_filters::LevelFilter;

sexton::block_signals_before_main!();

const HELP: &str = "\
sexton-watch is started by sexton when something is to be watched, and is not
meant to be started by hand: see the README, 'Watching'. 'sexton doctor' and
'sexton measure' are done by it too.
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(plan) = guard::asked_for(&arguments) {
        // What goes wrong is the last line that the command's caller reads.
        log::install(LevelFilter::ERROR, log::Format::Text);
        return ExitCode::from(runtime::run_tool(&plan));
    }
    // A guard keeps all signals blocked and reads them; we get them as any program does.
    early::unblock();
    match arguments.first().and_then(|word| word.to_str()) {
        Some("measure") => return ExitCode::from(measure::run(arguments.get(1..).unwrap_or_default())),
        Some("doctor") => return ExitCode::from(doctor::run(arguments.get(1..).unwrap_or_default())),
        Some("--version" | "-V") => {
            let _ = writeln!(std::io::stdout(), "sexton-watch {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some("--help" | "-h") => {
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Some(word) => return complain(&format!("it takes no argument, and was given '{word}'")),
        None => {}
    }
    log::install(level(), log::Format::Text);
    match watch::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => complain(&why),
    }
}

fn complain(why: &str) -> ExitCode {
    log::complain(&format!("sexton-watch: {why}"));
    ExitCode::from(exit_code::SEXTON_FAILED)
}

/// How much is said, as for sexton itself.
fn level() -> LevelFilter {
    std::env::var("SEXTON_LOG").ok().and_then(|word| word.parse().ok()).unwrap_or(LevelFilter::WARN)
}
