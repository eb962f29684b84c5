//! The `sexton` program: arguments, plan, run, exit code.

#![no_main]

use std::ffi::OsString;
use std::io::Write;

use sexton::cli::{self, Request};
use sexton::ids::exit_code;
use sexton::{control, report, runtime};

sexton::begin_with!(run);

// What it calls is not inlined, because the stack that this function takes is never given back.
fn run(words: &[OsString]) -> u8 {
    match cli::read(words) {
        Ok(Request::Run { plan, level, format }) => {
            report::log::install(level, format);
            runtime::run(&plan, &|| cli::read_again(words))
        }
        Ok(Request::Locks { plan, level, format }) => {
            report::log::install(level, format);
            runtime::look_after_locks(&plan)
        }
        Ok(Request::Tool { tool, level, format }) => {
            report::log::install(level, format);
            runtime::run_tool(&tool)
        }
        Ok(Request::Become(command)) => {
            report::log::install(tracing::level_filters::LevelFilter::ERROR, report::log::Format::Text);
            runtime::become_command(&command)
        }
        Ok(Request::Helper(words)) => {
            report::log::install(tracing::level_filters::LevelFilter::ERROR, report::log::Format::Text);
            runtime::become_watch(&words)
        }
        Ok(Request::Install(directory)) => match runtime::install(&directory) {
            Ok(()) => 0,
            Err(why) => fails(&why),
        },
        Ok(Request::Control(errand)) => control::errand::run(&errand),
        Ok(Request::Complain { text, code }) => {
            report::log::complain(&text);
            code
        }
        Ok(Request::Print(text)) => {
            // A reader that has gone away is no reason to complain.
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            0
        }
        Err(usage) => fails(&usage.line()),
    }
}

/// Says why, in one line.
fn fails(why: &dyn std::fmt::Display) -> u8 {
    report::log::complain(&format!("sexton: {why}"));
    exit_code::SEXTON_FAILED
}
