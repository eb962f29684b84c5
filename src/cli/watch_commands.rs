//! `sexton doctor` and `sexton measure`: what sexton-watch, the program beside sexton, does by hand.
//!
//! Their words are that program's to understand: sexton itself neither asks over a network nor draws.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use super::{Request, subcommand};

const WORDS: [&str; 2] = ["doctor", "measure"];

/// A long option, what stands for its value if it takes one, and what it is for.
type OptionSpec = (&'static str, Option<&'static str>, &'static str);

const DOCTOR: [OptionSpec; 4] = [
    ("json", None, "Print one JSON object, at the end"),
    ("stop-timeout", Some("D"), "What Docker or Kubernetes waits for before it kills"),
    ("deadline", Some("D"), "What one check may take [default: 2s]"),
    ("total", Some("D"), "What all checks together may take [default: 30s]"),
];

const MEASURE: [OptionSpec; 13] = [
    ("runs", Some("N"), "Runs of each; fewer than 9 prove nothing [default: 10]"),
    ("duration", Some("D"), "How long each is watched once it is well [default: 30s]"),
    ("start-within", Some("D"), "When its start is given up [default: 3m]"),
    ("health-url", Some("URL"), "Where it is asked; that of OpenClaw is known"),
    ("ready-url", Some("URL"), "Where it tells of its event loop; that of OpenClaw is known"),
    ("version-command", Some("C"), "Its command line says its version; that of OpenClaw is known"),
    ("doctor-command", Some("C"), "Its own doctor; that of OpenClaw is known"),
    ("command-within", Some("D"), "When these two are given up [default: 30s]"),
    ("state", Some("DIR"), "Each run gets a copy of it [default: an empty one]"),
    ("fail-if", Some("LIMIT"), "End with 1: p99>1.5x, stop>20s, memory>2GiB; repeatable"),
    ("json", Some("FILE"), "The report as JSON; - is standard output"),
    ("markdown", Some("FILE"), "The report as Markdown"),
    ("html", Some("FILE"), "The report as a page with curves"),
];

/// Both, for the manual and for completions. sexton-watch reads the words itself, and compares its help with these.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    let with = |command: Command, options: &'static [OptionSpec]| {
        let option = |(name, value, help): &OptionSpec| {
            let option = Arg::new(*name).long(*name).help(*help);
            match value {
                Some(value) => option.value_name(*value),
                None => option.action(ArgAction::SetTrue),
            }
        };
        command.args(options.iter().map(option))
    };
    let doctor = Command::new("doctor")
        .about(
            "Looks at everything that a gateway's stop, start and locks depend on.\n\
             One line a check: ok, warning or problem, with what it means and what to do.",
        )
        .override_usage("sexton doctor [OPTIONS] [SEXTON'S OPTIONS] [-- COMMAND [ARG...]]")
        .after_help("Exit code: 0 no problem, maybe warnings; 1 problems; 125 usage.");
    let measure = Command::new("measure")
        .about("Says in numbers how a gateway is, and of two where the second is worse.")
        .override_usage("sexton measure [OPTIONS] -- BASE... [--against -- CANDIDATE...]")
        .after_help("Exit code: 0; 1 a --fail-if came true or was not measured; 125 usage.");
    [with(doctor, &DOCTOR), with(measure, &MEASURE)].into_iter()
}

/// The words for sexton-watch, if one of its subcommands was typed. sexton's own options count before the word as
/// they do behind it. `words` is the whole command line, `command` its end as far as it was taken for a command.
pub(super) fn read(words: &[OsString], command: &[OsString]) -> Option<Request> {
    let (word, behind) = subcommand::parse_typed(words, command)?;
    WORDS.iter().find(|known| word == *known)?;
    let options = words.get(1..words.len().checked_sub(command.len())?)?;
    let all = std::iter::once(word).chain(options).chain(behind);
    Some(Request::ExecWatch(all.cloned().collect()))
}
