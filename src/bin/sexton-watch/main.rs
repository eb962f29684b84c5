//! `sexton-watch`: the helper that looks. sexton starts it, as who owns the lock roots, when something is to be
//! watched; what it sees goes to sexton as facts, and the decisions are made there.
//!
//! | folder | what it does |
//! |---|---|
//! | [`watch`] | looks at a running gateway for as long as sexton runs, and shows what it knows |
//! | [`probe`] | asks a gateway once: HTTP, TCP, a command |
//! | [`doctor`] | `sexton doctor`, which looks once at everything |
//! | [`measure`] | `sexton measure`, which compares gateways |
//!
//! One thread, on which every task runs until it waits; what may hang (a directory, a log, a look into a process's
//! memory) is done by a thread of its own, once at a time, and not waited for longer than its deadline.
//! hyper without a framework on top: there are four addresses to be answered and one kind of question to be asked.

mod doctor;
mod measure;
mod openclaw;
mod probe;
mod svg;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use sexton::os::startup;
use sexton::report::{log, output};
use sexton::runtime;
use sexton::types::exit_code;
use tracing::level_filters::LevelFilter;

sexton::block_signals_before_main!();

const HELP: &str = "\
sexton-watch is started by sexton when something is to be watched, and is not
meant to be started by hand: see docs/health.md. 'sexton doctor' and
'sexton measure' are done by it too.
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(plan) = probe::guard_asked_for(&arguments) {
        // What goes wrong is the last line that the command's caller reads.
        log::install(LevelFilter::ERROR, log::Format::Text);
        return ExitCode::from(runtime::run_tool(&plan));
    }
    // A guard keeps all signals blocked and reads them; we get them as any program does.
    startup::unblock();
    match arguments.first().and_then(|word| word.to_str()) {
        Some("measure") => return ExitCode::from(measure::run(arguments.get(1..).unwrap_or_default())),
        Some("doctor") => return ExitCode::from(doctor::run(arguments.get(1..).unwrap_or_default())),
        Some("--version" | "-V") => {
            let text = format!("sexton-watch {}\n", env!("CARGO_PKG_VERSION"));
            return ExitCode::from(output::print(&text, 0));
        }
        Some("--help" | "-h") => {
            return ExitCode::from(output::print(HELP, 0));
        }
        Some(word) => return print_error(&format!("it takes no argument, and was given '{word}'")),
        None => {}
    }
    log::install(level(), log::Format::Text);
    match watch::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => print_error(&why),
    }
}

fn print_error(why: &str) -> ExitCode {
    log::print_error(&sexton::types::one_line(&format!("sexton-watch: {why}")));
    ExitCode::from(exit_code::SEXTON_FAILED)
}

/// How much is said, as for sexton itself.
fn level() -> LevelFilter {
    std::env::var("SEXTON_LOG").ok().and_then(|word| word.parse().ok()).unwrap_or(LevelFilter::WARN)
}
