//! The `sexton` program: arguments, plan, run, exit code.

#![no_main]

use std::ffi::OsString;

use sexton::cli::{self, Request};
use sexton::types::exit_code;
use sexton::{control, report, runtime};

sexton::begin_with!(run);

// What it calls is not inlined, because the stack that this function takes is never given back.
fn run(words: &[OsString]) -> u8 {
    match cli::read(words) {
        Ok(Request::Run { plan, level, format }) => {
            report::log::install(level, format);
            runtime::run(&plan, &|files| cli::reread(words, files))
        }
        Ok(Request::Locks { plan, level, format }) => {
            report::log::install(level, format);
            runtime::look_after_locks(&plan)
        }
        Ok(Request::Tool { tool, level, format }) => {
            report::log::install(level, format);
            runtime::run_tool(&tool)
        }
        Ok(Request::Exec(command)) => {
            report::log::install(tracing::level_filters::LevelFilter::ERROR, report::log::Format::Text);
            runtime::exec_command(&command)
        }
        Ok(Request::ExecWatch(words)) => {
            report::log::install(tracing::level_filters::LevelFilter::ERROR, report::log::Format::Text);
            runtime::exec_watch(&words)
        }
        Ok(Request::Install(directory)) => match runtime::install(&directory) {
            Ok(()) => 0,
            Err(why) => fails(&why),
        },
        Ok(Request::Control(errand)) => control::client_command::run(&errand),
        Ok(Request::UsageError { text, code }) => {
            report::log::print_error(&text);
            code
        }
        Ok(Request::Print(text)) => report::output::print(&text, 0),
        Err(usage) => fails(&usage.line()),
    }
}

/// Says why, in one line.
fn fails(why: &dyn std::fmt::Display) -> u8 {
    report::log::print_error(&format!("sexton: {why}"));
    exit_code::SEXTON_FAILED
}
