//! `sexton doctor` and `sexton measure`: what sexton-watch, the program beside sexton, does by hand.
//!
//! Their options are declared here, where the manual and the completions find them, and read by that program: sexton
//! itself neither asks over a network nor draws.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use super::words::written;
use super::{Request, Usage, args, map_clap_error, subcommand};
use crate::config::setting::Table;
use crate::config::settings::Given;
use crate::config::value::Form;

const NAMES: [&str; 2] = ["doctor", "measure"];

const DOCTOR: &str = "\
Looks at everything that a gateway's stop, start and locks depend on.
One line a check: ok, warning or problem, with what it means and what to do.

  sexton doctor                              beside a sexton that runs: its own
  docker exec CONTAINER sexton doctor        in a container
  sexton doctor --stop-timeout 10s           the engine kills after ten seconds
  sexton doctor --config F -- openclaw gateway run       before the first start";

const AFTER_DOCTOR: &str = "\
Without options of sexton's and a command, they are those of the sexton that
runs, if one does. Nothing is changed, and nothing started but the gateway's
own --version. What hangs is a finding, and is left behind. The gateway's own
command line may take five times as long as a check.
Exit code: 0 no problem, maybe warnings; 1 problems; 125 usage.";

const MEASURE: &str = "\
Says in numbers how a gateway is, and of two where the second is worse.
It starts a gateway again and again, watches it, and stops it; of two, in turn.

  sexton measure -- openclaw gateway run
  sexton measure --html report.html --fail-if 'p99>1.5x' --fail-if 'start>60s' \\
      -- /old/openclaw gateway run --against -- /new/openclaw gateway run
  sexton measure --health-url http://127.0.0.1:{port}/health -- ./gw {port}";

const AFTER_MEASURE: &str = "\
{port} in any word is a free port, {state} the run's own state directory, and
{0} in --doctor-command the gateway's first word; an OpenClaw gets the first two
by its variables. Its channels and updates stay off.
Ctrl-C ends it, and reports the runs that are complete.
Exit code: 0; 1 a --fail-if came true or was not measured; 125 usage.";

/// What `sexton doctor` was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "sexton doctor",
    about = DOCTOR,
    after_help = AFTER_DOCTOR,
    override_usage = "sexton doctor [OPTIONS] [SEXTON'S OPTIONS] [-- COMMAND [ARG...]]",
    disable_version_flag = true,
    max_term_width = 80
)]
pub struct DoctorArgs {
    /// Print one JSON object, at the end
    #[arg(long)]
    pub json: bool,

    /// What Docker or Kubernetes waits for before it kills
    #[arg(long, value_name = "D", value_parser = time)]
    pub stop_timeout: Option<Duration>,

    /// What one check may take
    #[arg(long, value_name = "D", value_parser = time, default_value = "2s")]
    pub deadline: Duration,

    /// What all checks together may take
    #[arg(long, value_name = "D", value_parser = time, default_value = "30s")]
    pub total: Duration,

    /// A command line of sexton's, with its name: what is not the doctor's own
    #[arg(skip)]
    pub line: Vec<OsString>,
}

/// What `sexton measure` was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "sexton measure",
    about = MEASURE,
    after_help = AFTER_MEASURE,
    override_usage = "sexton measure [OPTIONS] -- BASE... [--against -- CANDIDATE...]",
    disable_version_flag = true,
    max_term_width = 80
)]
pub struct MeasureArgs {
    /// Runs of each; fewer than 9 prove nothing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=99), default_value = "10")]
    pub runs: u8,

    /// How long each is watched once it is well
    #[arg(long, value_name = "D", value_parser = time, default_value = "30s")]
    pub duration: Duration,

    /// When its start is given up
    #[arg(long, value_name = "D", value_parser = time, default_value = "3m")]
    pub start_within: Duration,

    /// Where it is asked; that of OpenClaw is known
    #[arg(long, value_name = "URL", value_parser = url)]
    pub health_url: Option<String>,

    /// Where it tells of its event loop; that of OpenClaw is known
    #[arg(long, value_name = "URL", value_parser = url)]
    pub ready_url: Option<String>,

    /// Its command line says its version; that of OpenClaw is known
    #[arg(long, value_name = "C", value_parser = NonEmptyStringValueParser::new())]
    pub version_command: Option<String>,

    /// Its own doctor; that of OpenClaw is known
    #[arg(long, value_name = "C", value_parser = NonEmptyStringValueParser::new())]
    pub doctor_command: Option<String>,

    /// When these two are given up
    #[arg(long, value_name = "D", value_parser = time, default_value = "30s")]
    pub command_within: Duration,

    /// Each run gets a copy of it [default: an empty one]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// End with 1: p99>1.5x, stop>20s, memory>2GiB; repeatable
    #[arg(long, value_name = "LIMIT")]
    pub fail_if: Vec<String>,

    /// The report as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// The report as Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,

    /// The report as a page with curves
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// The gateway's command, and that of a second one behind --against --
    #[arg(last = true, hide = true, value_name = "COMMAND")]
    pub commands: Vec<String>,
}

/// A duration that is more than nothing.
fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time > Duration::ZERO => Ok(time),
        _ => Err("it takes a duration such as 2s or 5m".to_owned()),
    }
}

fn url(text: &str) -> Result<String, String> {
    match text.starts_with("http://") {
        true => Ok(text.to_owned()),
        false => Err("it takes an address such as http://127.0.0.1:{port}/health".to_owned()),
    }
}

/// Both, for the manual and for completions.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    [DoctorArgs::command().name("doctor"), MeasureArgs::command().name("measure")].into_iter()
}

/// What the words behind `doctor` ask for, or the text of its help. What is not the doctor's own is sexton's.
///
/// # Errors
/// The first thing that is wrong.
pub fn doctor(words: &[OsString]) -> Result<Result<DoctorArgs, String>, Usage> {
    let words = subcommand::clap_command("doctor", words);
    let of_sexton = args::command();
    // What stands in a variable is the plan's business.
    let of_sexton =
        of_sexton.get_arguments().filter(|option| !matches!(option.get_id().as_str(), "help" | "version"));
    let of_sexton = of_sexton.map(|option| option.clone().hide(true).env(None::<&'static str>));
    let mut command = DoctorArgs::command().args(of_sexton);
    let parsed = command.try_get_matches_from_mut(&words).and_then(|mut matches| {
        let mut asked = DoctorArgs::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        asked.line = line(&mut matches);
        Ok(asked)
    });
    map_clap_error(parsed, &words)
}

/// What the words behind `measure` ask for, or the text of its help.
///
/// # Errors
/// The first thing that is wrong.
pub fn measure(words: &[OsString]) -> Result<Result<MeasureArgs, String>, Usage> {
    let words = subcommand::clap_command("measure", words);
    let parsed = MeasureArgs::try_parse_from(&words);
    if let Some((ErrorKind::UnknownArgument, Some(ContextValue::String(word)))) =
        parsed.as_ref().err().map(|error| (error.kind(), error.get(ContextKind::InvalidArg)))
        && !word.starts_with('-')
    {
        let what =
            format!("'{word}' is not understood; options stand before '--', the gateway's command behind it");
        return Err(Usage::Word { what, program: "sexton measure".to_owned() });
    }
    map_clap_error(parsed, &words)
}

/// A command line of sexton's with what was given of its options, and the command.
fn line(matches: &mut ArgMatches) -> Vec<OsString> {
    let mut line = vec![OsString::from("sexton")];
    for setting in Given::SETTINGS {
        if matches.value_source(setting.name) != Some(ValueSource::CommandLine) {
            continue;
        }
        let option = OsString::from(setting.option());
        match setting.form {
            Form::Flag => line.push(option),
            Form::Count => line.extend(written(setting, matches).iter().map(|_| option.clone())),
            _ => line.extend(written(setting, matches).iter().map(|value| {
                let mut option = option.clone();
                option.push("=");
                option.push(value);
                option
            })),
        }
    }
    let command: Vec<OsString> = matches.remove_many("command").into_iter().flatten().collect();
    if !command.is_empty() {
        line.push("--".into());
        line.extend(command);
    }
    line
}

/// The words for sexton-watch, if one of its subcommands was typed. sexton's own options count before the word as
/// they do behind it. `words` is the whole command line, `command` its end as far as it was taken for a command.
pub(super) fn read(words: &[OsString], command: &[OsString]) -> Option<Request> {
    let (word, behind) = subcommand::parse_typed(words, command)?;
    NAMES.iter().find(|known| word == *known)?;
    let options = words.get(1..words.len().checked_sub(command.len())?)?;
    let all = std::iter::once(word).chain(options).chain(behind);
    Some(Request::ExecWatch(all.cloned().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn asked(line: &str) -> DoctorArgs {
        doctor(&words(line)).unwrap().unwrap()
    }

    #[test]
    fn what_is_not_the_doctors_own_is_sextons() {
        let one = asked("--json --grace 9s -vv --deadline=1s --no-locks --stop-timeout 10s -- gw --json");
        assert!(one.json);
        let times = (one.deadline, one.stop_timeout, one.total);
        let secs = Duration::from_secs;
        assert_eq!(times, (secs(1), Some(secs(10)), secs(30)));
        assert_eq!(one.line, ["sexton", "--grace=9s", "--no-locks", "-v", "-v", "--", "gw", "--json"]);
        assert_eq!(asked("").line, ["sexton"]);
        assert_eq!(asked("gw --json").line, ["sexton", "--", "gw", "--json"]);
    }

    #[test]
    fn a_word_that_nobody_understands_is_compared_with_all_options() {
        let refused = |line: &str| doctor(&words(line)).unwrap_err().line();
        for (line, near) in [
            ("--jsno", "--json"),
            ("--deadlin 2s", "--deadline"),
            ("--stop-timout 2s", "--stop-timeout"),
            ("--grcae 2s", "--grace"),
        ] {
            let why = refused(line);
            assert!(why.contains(&format!("did you mean '{near}'?")), "{line}: {why}");
            assert!(why.ends_with("'sexton doctor --help' lists the options"), "{why}");
        }
        assert!(refused("--grace soon").contains("soon"));
        assert!(!refused("--zzz").contains("did you mean"));
        assert!(doctor(&words("--grace 2s -- gw --jsno")).is_ok());
        for line in ["--deadline soon", "--total=0s", "--stop-timeout="] {
            let why = refused(line);
            assert!(why.contains(line.split([' ', '=']).next().unwrap()), "{why}");
            assert!(why.contains("it takes a duration such as 2s or 5m"), "{line}: {why}");
        }
        assert!(refused("--deadline").contains("a value is required for '--deadline <D>'"));
    }

    #[test]
    fn the_helps_fit_a_screen() {
        for (help, most_lines) in [
            (doctor(&words("--json -h")).unwrap().unwrap_err(), 30),
            (measure(&words("-h")).unwrap().unwrap_err(), 40),
        ] {
            assert!(help.lines().count() <= most_lines, "{help}");
            assert!(help.lines().all(|line| line.len() <= 80), "{help}");
        }
    }

    #[test]
    fn a_time_is_more_than_nothing() {
        assert_eq!(time("1m 30s"), Ok(Duration::from_secs(90)));
        for text in ["", "soon", "0s", "-1s", "5"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
