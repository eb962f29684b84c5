//! The `sexton` program: arguments, plan, run, exit code.

use std::io::Write;
use std::process::ExitCode;

use sexton::cli::{self, Request};
use sexton::ids::exit_code;
use sexton::{control, report, runtime};

sexton::block_signals_before_main!();

fn main() -> ExitCode {
    match cli::read(std::env::args_os()) {
        Ok(Request::Run { plan, level, format }) => {
            report::log::install(level, format);
            ExitCode::from(runtime::run(&plan, &cli::read_again))
        }
        Ok(Request::Locks { plan, level, format }) => {
            report::log::install(level, format);
            ExitCode::from(runtime::look_after_locks(&plan))
        }
        Ok(Request::Tool { tool, level, format }) => {
            report::log::install(level, format);
            ExitCode::from(runtime::run_tool(&tool))
        }
        Ok(Request::Become(command)) => {
            report::log::install(tracing::level_filters::LevelFilter::ERROR, report::log::Format::Text);
            ExitCode::from(runtime::become_command(&command))
        }
        Ok(Request::Helper(words)) => {
            report::log::install(tracing::level_filters::LevelFilter::ERROR, report::log::Format::Text);
            ExitCode::from(runtime::become_watch(&words))
        }
        Ok(Request::Control(errand)) => ExitCode::from(control::errand::run(&errand)),
        Ok(Request::Complain { text, code }) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(code)
        }
        Ok(Request::Print(text)) => {
            // A reader that has gone away is no reason to complain.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(usage) => {
            let _ = writeln!(std::io::stderr(), "sexton: {usage}");
            ExitCode::from(exit_code::SEXTON_FAILED)
        }
    }
}
