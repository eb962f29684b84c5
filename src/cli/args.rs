//! The options, as clap sees them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

use super::words;
use crate::config::file::File;
use crate::config::{Control, Locks, Plan, Problem};
use crate::ids::{Dress, Signal};
use crate::locks::{Action, Family, Root, roots};
use crate::os::privileges;
use crate::report::log::Format;

const USES: &str = "\
The process above an AI-agent gateway: launches, signals, reaps and stops it,
and clears the locks that the dead left behind.

  ENTRYPOINT [\"sexton\", \"--\"]                          in a container
  ExecStart=/usr/bin/sexton -- openclaw gateway run    in a systemd unit
  $ sexton -- npm run dev                              in a terminal
  $ sexton locks --help                                who holds which lock";

const AFTER: &str = "\
Exit code: the command's own; 128+n if signal n ended it; 127 not found, 126
cannot be executed, 125 sexton failed before it. Durations: 500ms, 30s, 2m.";

/// The command line of sexton in its own dress, which is a superset of tini's.
#[derive(Debug, Parser)]
#[command(
    name = "sexton",
    version,
    about = USES,
    after_help = AFTER,
    override_usage = "sexton [OPTIONS] [--] COMMAND [ARG...]",
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 80,
    next_line_help = false
)]
pub(super) struct Args {
    /// The command; options behind it are its own
    #[arg(trailing_var_arg = true, hide = true)]
    pub(super) command: Vec<OsString>,

    /// Window of the main process after a stop signal
    #[arg(long, value_name = "D", default_value = "30s", value_parser = humantime::parse_duration)]
    #[arg(env = "SEXTON_GRACE", hide_env = true)]
    grace: Duration,

    /// Window of what is left, after TERM; then KILL
    #[arg(long, value_name = "D", default_value = "5s", value_parser = humantime::parse_duration)]
    #[arg(env = "SEXTON_STRAGGLERS", hide_env = true)]
    stragglers: Duration,

    /// Pass signals to the command's whole process group
    #[arg(short, long, env = "SEXTON_GROUP", hide_env = true, value_parser = FalseyValueParser::new())]
    group: bool,

    /// Send signal R in the place of S; 0 drops it
    #[arg(long, value_name = "S:R", env = "SEXTON_REWRITE", hide_env = true)]
    #[arg(value_parser = words::rewrite, value_delimiter = ',')]
    rewrite: Vec<(Signal, Option<Signal>)>,

    /// Hold this signal for D before passing it on
    #[arg(long, value_name = "SIG=D", env = "SEXTON_DELAY", hide_env = true)]
    #[arg(value_parser = words::delay, value_delimiter = ',')]
    delay: Vec<(Signal, Duration)>,

    /// What asks for a stop (TERM, INT, RTMIN+3)
    #[arg(long, value_name = "SIG", env = "SEXTON_STOP_SIGNAL", hide_env = true, value_delimiter = ',')]
    stop_signal: Vec<Signal>,

    /// In place of --grace: TERM:20s,INT:5s,KILL
    #[arg(long, value_name = "LIST", env = "SEXTON_STOP_SEQUENCE", hide_env = true)]
    #[arg(value_parser = words::step, value_delimiter = ',')]
    stop_sequence: Vec<(Signal, Duration)>,

    /// all: wait for what the command leaves behind
    #[arg(long, value_name = "WHOM", default_value = "main", hide_possible_values = true)]
    #[arg(env = "SEXTON_WAIT", hide_env = true, hide_default_value = true)]
    wait: Whom,

    /// Turn this exit code into 0; repeatable
    #[arg(short = 'e', long = "remap-exit", value_name = "CODE")]
    #[arg(env = "SEXTON_REMAP_EXIT", hide_env = true, value_delimiter = ',')]
    remap: Vec<u8>,

    /// State directory with locks; repeatable. Without it, OpenClaw's is found
    #[arg(long, value_name = "DIR")]
    lock_root: Vec<PathBuf>,

    /// Leave all locks alone, whatever the roots
    #[arg(long, env = "SEXTON_NO_LOCKS", hide_env = true, value_parser = FalseyValueParser::new())]
    no_locks: bool,

    /// How long a lock sweep may delay the launch
    #[arg(long, value_name = "D", default_value = "5s", value_parser = humantime::parse_duration)]
    #[arg(env = "SEXTON_SWEEP_DEADLINE", hide_env = true)]
    sweep_deadline: Duration,

    /// Read more settings from this file
    #[arg(long, value_name = "FILE", env = "SEXTON_CONFIG", hide_env = true)]
    pub(super) config: Option<PathBuf>,

    /// Of a lock left behind: remove, or hand-over
    #[arg(long, value_name = "A", hide_possible_values = true)]
    #[arg(env = "SEXTON_LOCK_ACTION", hide_env = true)]
    lock_action: Option<LockAction>,

    /// How long a lock that was handed over is left to the starting gateway
    #[arg(long, value_name = "D", default_value = "5m", value_parser = humantime::parse_duration, hide = true)]
    #[arg(env = "SEXTON_START_WINDOW", hide_env = true)]
    start_window: Duration,

    /// Report locks that are held longer than this
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    #[arg(env = "SEXTON_LOCK_REPORT_AFTER", hide_env = true)]
    lock_report_after: Option<Duration>,

    /// The control socket's path, or off
    #[arg(long, value_name = "PATH", env = "SEXTON_CONTROL", hide_env = true, value_parser = Control::named)]
    #[arg(hide = true)]
    control: Option<Control>,

    /// More log lines: -v info, -vv debug, -vvv trace
    #[arg(short, action = ArgAction::Count)]
    pub(super) verbose: u8,

    /// Log lines as text or json
    #[arg(
        long,
        value_name = "F",
        default_value = "text",
        hide_possible_values = true,
        hide_default_value = true,
        env = "SEXTON_LOG_FORMAT",
        hide_env = true
    )]
    pub(super) log_format: LogFormat,

    /// Least level to log: error, warn, info, debug, trace
    #[arg(long, value_name = "L", env = "SEXTON_LOG", hide = true)]
    pub(super) log: Option<LevelFilter>,

    /// Signal for sexton itself when its parent dies
    #[arg(short = 'p', long = "parent-death", value_name = "SIG")]
    #[arg(env = "SEXTON_PARENT_DEATH", hide_env = true)]
    parent_death: Option<Signal>,

    /// Warn about each adopted process that was reaped
    #[arg(short = 'w', long = "warn-reaped")]
    #[arg(env = "SEXTON_WARN_REAPED", hide_env = true, value_parser = FalseyValueParser::new())]
    warn_reaped: bool,

    /// Accepted for tini's sake: sexton is always a subreaper
    #[arg(short = 's', hide = true)]
    subreaper: bool,

    /// Print this help
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LockAction {
    Remove,
    HandOver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Whom {
    Main,
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Format {
        match format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }
}

impl Args {
    /// Flags count from warnings up, as tini's do; then sexton's variable, then tini's.
    pub(super) fn level(&self) -> LevelFilter {
        let steps = |steps: u8| match steps {
            0 => LevelFilter::ERROR,
            1 => LevelFilter::WARN,
            2 => LevelFilter::INFO,
            3 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        if self.verbose > 0 {
            return steps(self.verbose.saturating_add(1));
        }
        let of_tini = || std::env::var("TINI_VERBOSITY").ok()?.trim().parse().ok().map(steps);
        self.log.or_else(of_tini).unwrap_or(LevelFilter::WARN)
    }

    /// What all of it means, with what stands in the configuration file.
    pub(super) fn plan(self, file: File) -> Result<Plan, Problem> {
        let action = self.lock_action.map(|action| match action {
            LockAction::Remove => Action::Remove,
            LockAction::HandOver => Action::HandOver,
        });
        let named = !self.lock_root.is_empty() || !file.roots.is_empty();
        let locks = Locks {
            roots: absolute(lock_roots(&self.lock_root, &file.roots)),
            deadline: self.sweep_deadline,
            family: Family::with(file.kinds),
            action: action.or(file.action).unwrap_or_default(),
            start_window: self.start_window,
            report_after: self.lock_report_after.or(file.report_after),
            look_later: named || is_openclaw(&self.command),
        };
        Ok(Plan {
            command: Plan::command_of(self.command)?,
            rewrite: self.rewrite,
            delay: self.delay,
            stop_signals: (!self.stop_signal.is_empty()).then(|| self.stop_signal.into_iter().collect()),
            stop_sequence: self.stop_sequence,
            wait_all: self.wait == Whom::All,
            group: self.group || std::env::var_os("TINI_KILL_PROCESS_GROUP").is_some(),
            grace: self.grace,
            stragglers: self.stragglers,
            remap: self.remap,
            parent_death: self.parent_death,
            warn_reaped: self.warn_reaped,
            locks: (!self.no_locks).then_some(locks),
            control: self.control.unwrap_or_default(),
            ..Plan::bare(Dress::Own)
        })
    }
}

/// The roots that were named on the command line, else those of `SEXTON_LOCK_ROOTS` (separated by colons),
/// else those of the configuration file, else those in which OpenClaw would look.
pub(super) fn lock_roots(named: &[PathBuf], configured: &[PathBuf]) -> Vec<Root> {
    let given = |paths: &[PathBuf]| paths.iter().map(|path| Root::given(path)).collect();
    if !named.is_empty() {
        return given(named);
    }
    match std::env::var_os("SEXTON_LOCK_ROOTS").map(|list| roots::split(&list)) {
        Some(listed) if !listed.is_empty() => listed,
        _ if !configured.is_empty() => given(configured),
        _ => roots::discover(&|name| std::env::var_os(name), privileges::effective_uid()),
    }
}

/// A directory that is gone has nothing below it, and what is said of it then names the root as it was given.
fn absolute(roots: Vec<Root>) -> Vec<Root> {
    let here = std::env::current_dir().unwrap_or_default();
    roots.into_iter().map(|root| root.below(&here)).collect()
}

/// Whether the command, or the environment that it gets, speaks of OpenClaw or of roots that it will make.
fn is_openclaw(command: &[OsString]) -> bool {
    let named = |word: &OsString| word.to_string_lossy().contains("openclaw");
    let set = |(name, _): (OsString, OsString)| {
        let name = name.to_string_lossy();
        name.starts_with("OPENCLAW_") || name == "SEXTON_LOCK_ROOTS"
    };
    command.iter().any(named) || std::env::vars_os().any(set)
}
