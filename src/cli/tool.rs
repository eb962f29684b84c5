//! `sexton tool`: one command with a deadline, and the end of everything that it started.

use std::ffi::{CString, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Command;
use tracing::level_filters::LevelFilter;

use super::args::Args;
use super::words::{self, Words};
use super::{Request, Usage, map_clap_error};
use crate::config::settings::Settings;
use crate::config::tool::{GivenTool, WaitForTool};
use crate::config::value::WaitFor;
use crate::config::{Plan, RecordTo, ToolPlan};
use crate::report::log::Format;
use crate::types::CompatMode;

const ABOUT: &str = "\
Runs a command with a deadline, and ends everything that it started. When the
time is up, or sexton gets TERM, INT or HUP, or its parent dies: TERM to
the whole tree, a window, then KILL until nothing is left.

  $ sexton tool --timeout 2m -- npm test                 at most two minutes
  $ sexton tool --grace 1s --record runs.jsonl -- make   says how it ended
  $ sexton tool --wait all -- ./starts-daemons.sh        and what it leaves";

const AFTER: &str = "\
Exit code: the command's own; 128+n if signal n ended it; 124 timed out; 143 (or
128+n of the signal) cancelled; 137 if it took KILL; 127 not found, 126 cannot
be executed, 125 sexton failed. Durations: 500ms, 30s, 2m; 0s is no limit.
A program that is itself named 'tool' runs with: sexton -- tool";

/// Its options, as clap has them.
pub(super) fn command() -> Command {
    Command::new("sexton tool")
        .about(ABOUT)
        .after_help(AFTER)
        .override_usage("sexton tool [OPTIONS] [--] COMMAND [ARG...]")
        .disable_version_flag(true)
        .max_term_width(80)
        .arg(words::command())
        .args(words::options::<GivenTool>())
}

/// The words behind `tool`, if that is the first of them.
pub(super) fn argv_of(words: &[OsString]) -> Option<&[OsString]> {
    let (first, rest) = words.get(1..)?.split_first()?;
    (first == "tool").then_some(rest)
}

/// Reads them.
pub(super) fn read(words: &[OsString]) -> Result<Request, Usage> {
    let words: Vec<OsString> = [OsString::from("sexton tool")].iter().chain(words).cloned().collect();
    parse(&words, false)
}

/// Reads them behind options of sexton. A tool has options of its own, and only `-v` is the same on both sides.
pub(super) fn parse_after(args: Args, words: &[OsString]) -> Result<Request, Usage> {
    if let Some(flag) = args.asks_for_more() {
        let what = format!(
            "{flag} before 'tool' is not of the tool; write the tool's options behind: sexton tool --help"
        );
        return Err(Usage::Tool { what });
    }
    let more =
        (args.verbosity() > 0).then(|| OsString::from(format!("-{}", "v".repeat(args.verbosity().into()))));
    read(&more.into_iter().chain(words.iter().cloned()).collect::<Vec<_>>())
}

/// A shell's command line, run as a tool.
pub(super) fn from_shell(command: Vec<OsString>) -> Result<Request, Usage> {
    let words: Vec<OsString> = ["sexton-sh", "--"].map(OsString::from).into_iter().chain(command).collect();
    parse(&words, true)
}

/// What the words and the variables mean.
fn parse(words: &[OsString], shell: bool) -> Result<Request, Usage> {
    let parsed = Words::<GivenTool>::parse(command, words, &|_| false);
    match map_clap_error(parsed, words)? {
        Ok((words, _)) => request(*words, shell),
        Err(text) => Ok(Request::Print(text)),
    }
}

fn request(words: Words<GivenTool>, shell: bool) -> Result<Request, Usage> {
    if words.command.is_empty() {
        let what = "no command was given; write it behind the options: sexton tool -- COMMAND [ARG...]";
        return Err(Usage::Tool { what: what.to_owned() });
    }
    let record_inherited = words.line.record.is_none() && words.environment.record.is_some();
    let settings = GivenTool::merge([&words.line, &words.environment]).resolve();
    let command = Plan::command_of(words.command)?;
    let level = match settings.verbose.0 {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let name = settings.name.map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| base_name(&command));
    let plan = Plan {
        command,
        settings: Settings {
            grace: settings.grace,
            kill_after: settings.grace,
            wait: match settings.wait {
                WaitForTool::Leader => WaitFor::Main,
                WaitForTool::All => WaitFor::All,
            },
            ..Settings::without_control()
        },
        ..Plan::bare(CompatMode::Native)
    };
    let tool = ToolPlan {
        plan: Rc::new(plan),
        name,
        timeout: settings.timeout.filter(|timeout| !timeout.is_zero()),
        record: settings.record.map(|record| match record {
            RecordTo::File(path) => RecordTo::File(absolute(&path)),
            descriptor @ RecordTo::Descriptor(_) => descriptor,
        }),
        record_inherited,
        registered: true,
        shell,
        verbose: settings.verbose.0 > 0,
    };
    Ok(Request::Tool { tool: Box::new(tool), level, format: Format::Text })
}

fn base_name(command: &[CString]) -> String {
    let name = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tool(words: &[&str]) -> Result<ToolPlan, Usage> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        match read(&words)? {
            Request::Tool { tool, .. } => Ok(*tool),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_end_at_the_command() {
        let plan = tool(&["--timeout", "2s", "--", "/bin/sh", "--timeout", "x"]).unwrap();
        assert_eq!((plan.timeout, plan.name.as_str()), (Some(Duration::from_secs(2)), "sh"));
        assert_eq!(plan.plan.command.len(), 3);
        assert_eq!(
            (plan.plan.settings.grace, plan.plan.settings.kill_after),
            (Duration::from_secs(5), Duration::from_secs(5))
        );
        assert_eq!(tool(&["--timeout", "0s", "true"]).unwrap().timeout, None, "as timeout(1) has it");
    }

    #[test]
    fn a_record_goes_to_a_file_or_a_descriptor() {
        assert_eq!(tool(&["--record", "3", "x"]).unwrap().record, Some(RecordTo::Descriptor(3)));
        let file = tool(&["--record", "./3", "x"]).unwrap().record;
        assert!(matches!(file, Some(RecordTo::File(path)) if path.is_absolute() && path.ends_with("3")));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (words, has) in [
            (&["--timeout", "5x", "true"][..], "5x"),
            (&["--timeout", "5", "true"], "5"),
            (&[], "no command was given"),
            (&["--"], "sexton tool -- COMMAND"),
            (&["--deadline", "5s", "true"], "--deadline"),
            (&["--wait", "none", "true"], "none"),
            (&["--record", "", "true"], "--record"),
        ] {
            let text = tool(words).unwrap_err().to_string();
            assert!(text.contains(has) && !text.contains('\n'), "{words:?}: {text}");
        }
    }
}
