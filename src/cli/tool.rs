//! `sexton tool`: one command with a deadline, and the end of everything that it started.

use std::ffi::{CString, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

use super::args::Args;
use super::{Request, Usage, map_clap_error};
use crate::config::settings::Settings;
use crate::config::{Plan, RecordTo, ToolPlan, value};
use crate::report::log::Format;
use crate::types::CompatMode;

const ABOUT: &str = "\
Runs a command with a deadline, and ends everything that it started. When the
time is up, or sexton gets TERM, INT or HUP, or whoever started it dies: TERM to
the whole tree, a window, then KILL until nothing is left.

  $ sexton tool --timeout 2m -- npm test                 at most two minutes
  $ sexton tool --grace 1s --record runs.jsonl -- make   says how it ended
  $ sexton tool --wait all -- ./starts-daemons.sh        and what it leaves";

const AFTER: &str = "\
Exit code: the command's own; 128+n if signal n ended it; 124 timed out; 143 (or
128+n of the signal) cancelled; 137 if it took KILL; 127 not found, 126 cannot
be executed, 125 sexton failed. Durations: 500ms, 30s, 2m; 0s is no limit.
A program that is itself named 'tool' runs with: sexton -- tool";

#[derive(Debug, Parser)]
#[command(
    name = "sexton tool",
    about = ABOUT,
    after_help = AFTER,
    override_usage = "sexton tool [OPTIONS] [--] COMMAND [ARG...]",
    disable_version_flag = true,
    max_term_width = 80
)]
pub(super) struct ToolArgs {
    /// The command; options behind it are its own
    #[arg(trailing_var_arg = true, hide = true)]
    command: Vec<OsString>,

    /// How long it may run; for ever without it
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    #[arg(env = "SEXTON_TOOL_TIMEOUT", hide_env = true)]
    timeout: Option<Duration>,

    /// Window of the whole tree after TERM
    #[arg(long, value_name = "D", default_value = "5s", value_parser = humantime::parse_duration)]
    #[arg(env = "SEXTON_TOOL_GRACE", hide_env = true)]
    grace: Duration,

    /// Its name in the record and in the status
    #[arg(long, value_name = "N")]
    name: Option<OsString>,

    /// Add one line of JSON about the run to a file, or to a descriptor
    #[arg(long, value_name = "FILE|FD", env = "SEXTON_TOOL_RECORD", hide_env = true)]
    record: Option<PathBuf>,

    /// all: wait for what it leaves behind, too
    #[arg(long, value_name = "WHOM", default_value = "leader", hide_possible_values = true)]
    wait: WaitFor,

    /// More log lines: -v info, -vv debug, -vvv trace
    #[arg(short, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum WaitFor {
    Leader,
    All,
}

/// The words behind `tool`, if that is the first of them.
pub(super) fn argv_of(words: &[OsString]) -> Option<&[OsString]> {
    let (first, rest) = words.get(1..)?.split_first()?;
    (first == "tool").then_some(rest)
}

/// Reads them.
pub(super) fn read(words: &[OsString]) -> Result<Request, Usage> {
    let words: Vec<OsString> = [OsString::from("sexton tool")].iter().chain(words).cloned().collect();
    match parse(&words)? {
        Ok((args, inherited)) => args.request(false, inherited),
        Err(text) => Ok(Request::Print(text)),
    }
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
    match parse(&words)? {
        Ok((args, inherited)) => args.request(true, inherited),
        Err(text) => Ok(Request::Print(text)),
    }
}

/// The words, and whether a variable says where the record goes.
fn parse(words: &[OsString]) -> Result<Result<(ToolArgs, bool), String>, Usage> {
    let mut options = ToolArgs::command();
    let parsed = options.try_get_matches_from_mut(words).and_then(|matches| {
        let inherited = matches.value_source("record") == Some(ValueSource::EnvVariable);
        let args = ToolArgs::from_arg_matches(&matches).map_err(|error| error.format(&mut options))?;
        Ok((args, inherited))
    });
    map_clap_error(parsed, words)
}

impl ToolArgs {
    fn request(self, shell: bool, record_inherited: bool) -> Result<Request, Usage> {
        if self.command.is_empty() {
            let what = "no command was given; write it behind the options: sexton tool -- COMMAND [ARG...]";
            return Err(Usage::Tool { what: what.to_owned() });
        }
        let command = Plan::command_of(self.command)?;
        let level = match self.verbose {
            0 => LevelFilter::ERROR,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        let name = self.name.map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| base_name(&command));
        let plan = Plan {
            command,
            settings: Settings {
                grace: self.grace,
                kill_after: self.grace,
                wait: if self.wait == WaitFor::All { value::WaitFor::All } else { value::WaitFor::Main },
                ..Settings::without_control()
            },
            ..Plan::bare(CompatMode::Native)
        };
        let tool = ToolPlan {
            plan: Rc::new(plan),
            name,
            timeout: self.timeout.filter(|timeout| !timeout.is_zero()),
            record: self.record.map(record_to),
            record_inherited,
            registered: true,
            shell,
            verbose: self.verbose > 0,
        };
        Ok(Request::Tool { tool: Box::new(tool), level, format: Format::Text })
    }
}

fn base_name(command: &[CString]) -> String {
    let name = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A number is a descriptor; a file of that name is `./3`.
fn record_to(path: PathBuf) -> RecordTo {
    match path.to_str().and_then(|text| text.parse::<u16>().ok()) {
        Some(number) => RecordTo::Descriptor(i32::from(number)),
        None => RecordTo::File(absolute(&path)),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
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
