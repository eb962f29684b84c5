//! The options, as clap sees them.

mod fast_path;

use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{FalseyValueParser, OsStringValueParser, TypedValueParser};
use clap::error::Error;
use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

use super::config_path::initial_cwd;
use super::outer::Outer;
use crate::config::file::{File, Reaction};
use crate::config::unit::GATEWAY;
use crate::config::watch_settings::{HeldLocks, WatchSettings};
use crate::config::{Control, Locks, Plan, Problem, parse};
use crate::locks::{Action, Root, roots};
use crate::os::{privileges, process};
use crate::report::log::Format;
use crate::types::{CompatMode, Signal};

const USES: &str = "\
The process above an AI-agent gateway: launches, signals, reaps and stops it,
and removes the locks of processes that have ended.

  ENTRYPOINT [\"sexton\", \"--\"]                          in a container
  ExecStart=/usr/bin/sexton -- openclaw gateway run    in a systemd unit
  $ sexton -- npm run dev                              in a terminal
  $ sexton doctor; sexton locks                        what is wrong here";

const AFTER: &str = "\
Subcommands, each with --help: cancel, check, doctor, health, install, locks,
measure, ps, reload, restart, signal, status, stop, tool.

Exit code: the command's own; 128+n if signal n ended it; 127 not found, 126
cannot be executed, 125 sexton failed before it. Durations: 500ms, 30s, 2m.";

/// The command line of sexton in its own compatibility mode, which is a superset of tini's.
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

    /// The options that were given, on the command line or in the environment
    #[arg(skip)]
    given: Vec<String>,

    /// The options that were given on the command line, as flags
    #[arg(skip)]
    typed: Vec<String>,

    /// The settings of a sexton above, if this is the start of a supervisor below one
    #[arg(skip)]
    pub(super) outer: Option<&'static Outer>,

    /// Main process's window to stop
    #[arg(long, value_name = "D", default_value = "30s", value_parser = humantime::parse_duration)]
    #[arg(env = "SEXTON_GRACE", hide_env = true)]
    grace: Duration,

    /// Then TERM to all, this long; KILL
    #[arg(long, value_name = "D", default_value = "5s", value_parser = humantime::parse_duration)]
    #[arg(env = "SEXTON_KILL_AFTER", hide_env = true)]
    kill_after: Duration,

    /// Pass signals to the command's whole process group
    #[arg(short, long, env = "SEXTON_GROUP", hide_env = true, value_parser = FalseyValueParser::new())]
    group: bool,

    /// Send signal R in the place of S; 0 drops it
    #[arg(long, value_name = "S:R", env = "SEXTON_REWRITE", hide_env = true)]
    #[arg(value_parser = parse::rewrite, value_delimiter = ',')]
    rewrite: Vec<(Signal, Option<Signal>)>,

    /// Hold this signal for D before passing it on
    #[arg(long, value_name = "SIG=D", env = "SEXTON_DELAY", hide_env = true)]
    #[arg(value_parser = parse::delay, value_delimiter = ',')]
    delay: Vec<(Signal, Duration)>,

    /// Asks for a stop (TERM, INT, RTMIN+3, PWR)
    #[arg(long, value_name = "SIG", env = "SEXTON_STOP_SIGNAL", hide_env = true, value_delimiter = ',')]
    stop_signal: Vec<Signal>,

    /// In place of --grace: TERM:20s,INT:5s,KILL
    #[arg(long, value_name = "LIST", env = "SEXTON_STOP_SEQUENCE", hide_env = true)]
    #[arg(value_parser = parse::step, value_delimiter = ',')]
    stop_sequence: Vec<(Signal, Duration)>,

    /// all: wait for what the command leaves behind
    #[arg(long, value_name = "WHOM", default_value = "main", hide_possible_values = true)]
    #[arg(env = "SEXTON_WAIT", hide_env = true, hide_default_value = true)]
    wait: WaitFor,

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

    /// What a sweep may take at start
    #[arg(long, value_name = "D", default_value = "5s", value_parser = humantime::parse_duration)]
    #[arg(env = "SEXTON_SWEEP_TIMEOUT", hide_env = true)]
    sweep_timeout: Duration,

    /// Read more settings from this file
    // Empty, as a variable often is that stands for nothing, it means no file.
    #[arg(long, value_name = "FILE", env = "SEXTON_CONFIG", hide_env = true)]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(super) config: Option<PathBuf>,

    /// Begin with what suits this gateway: openclaw
    #[arg(long, value_name = "NAME", env = "SEXTON_PRESET", hide_env = true)]
    pub(super) preset: Option<String>,

    /// Run the command's tools through sexton-sh
    #[arg(long, env = "SEXTON_TOOL_SHELL", hide_env = true, value_parser = FalseyValueParser::new(), hide = true)]
    tool_shell: bool,

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
    #[arg(long, value_name = "PATH", env = "SEXTON_CONTROL", hide_env = true, hide = true)]
    #[arg(value_parser = OsStringValueParser::new().try_map(|text| Control::named(&text)))]
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
enum WaitFor {
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
    /// The words as clap understands them, and which of the options they or the environment give.
    ///
    /// Most command lines have no option at all, and to set clap up takes longer than everything else before the
    /// start.
    pub(super) fn read(words: &[OsString]) -> Result<Args, Error> {
        match fast_path::command_of(words) {
            Some(command) if !fast_path::is_set_by_environment() => Ok(Args::parse_plain(command.to_vec())),
            _ => Args::read_with_clap(words, None),
        }
    }

    /// Whether a variable may stand for an option.
    pub(super) fn is_set_by_environment() -> bool {
        fast_path::is_set_by_environment()
    }

    /// The same for the start of a supervisor below another sexton, whose own variables do not count.
    pub(super) fn read_below(words: &[OsString], outer: &'static Outer) -> Result<Args, Error> {
        Args::read_with_clap(words, Some(outer))
    }

    fn read_with_clap(words: &[OsString], outer: Option<&'static Outer>) -> Result<Args, Error> {
        let mut options = Args::command();
        if let Some(outer) = outer {
            options = options.mut_args(|option| match option.get_env() {
                Some(name) if outer.owns(name) => option.env(None::<&'static str>),
                _ => option,
            });
        }
        let matches = options.try_get_matches_from_mut(words)?;
        let mut args = Args::from_arg_matches(&matches).map_err(|error| error.format(&mut options))?;
        let given = |id: &&clap::Id| {
            let source = matches.value_source(id.as_str());
            matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        };
        // clap counts the command too, and all of them together.
        let option = |id: &&clap::Id| !matches!(id.as_str(), "command" | "Args");
        args.given = matches.ids().filter(given).filter(option).map(|id| id.as_str().to_owned()).collect();
        let typed = |option: &&clap::Arg| {
            let id = option.get_id().as_str();
            matches.value_source(id) == Some(ValueSource::CommandLine) && id != "command"
        };
        let flag = |option: &clap::Arg| match (option.get_long(), option.get_short()) {
            (Some(long), _) => format!("--{long}"),
            (None, short) => format!("-{}", short.unwrap_or_default()),
        };
        args.outer = outer;
        args.typed = options.get_arguments().filter(typed).map(flag).collect();
        Ok(args)
    }

    /// The first option on the command line that asks for more than log lines.
    pub(super) fn needs_clap(&self) -> Option<&str> {
        self.typed.iter().map(String::as_str).find(|flag| *flag != "-v")
    }

    /// The option's value if it was given, else the file's, else the option's default.
    fn or_config<T>(&self, option: &str, value: T, file: Option<T>) -> T {
        if self.given.iter().any(|given| given == option) { value } else { file.unwrap_or(value) }
    }

    /// Flags count from warnings up, as tini's do; then sexton's variable, then tini's, then the file.
    pub(super) fn level(&self, file: &File) -> LevelFilter {
        let steps = |steps: u8| match steps {
            0 => LevelFilter::ERROR,
            1 => LevelFilter::WARN,
            2 => LevelFilter::INFO,
            3 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        // -vv, at least, for the process that the service manager has started, and for none below it.
        let least = if process::is_debug_invocation() { LevelFilter::DEBUG } else { LevelFilter::OFF };
        if self.verbose > 0 {
            return steps(self.verbose.saturating_add(1)).max(least);
        }
        let of_tini = || std::env::var("TINI_VERBOSITY").ok()?.trim().parse().ok().map(steps);
        self.log.or_else(of_tini).or(file.log).unwrap_or(LevelFilter::WARN).max(least)
    }

    /// How log lines look.
    pub(super) fn log_format(&self, file: &File) -> LogFormat {
        let of_file = file.log_json.map(|json| if json { LogFormat::Json } else { LogFormat::Text });
        self.or_config("log_format", self.log_format, of_file)
    }

    /// What all of it means, with what stands in the configuration file: the command line wins over the
    /// environment, and both win over the file.
    pub(super) fn plan(self, file: File) -> Result<Plan, Problem> {
        let command = Plan::command_of(self.wanted(&file).to_vec())?;
        self.settings(file, command)
    }

    /// The same, for who only wants to see it: without a command too.
    pub(super) fn plan_for_check(self, file: File) -> Result<Plan, Problem> {
        if self.wanted(&file).is_empty() { self.settings(file, Vec::new()) } else { self.plan(file) }
    }

    /// The command line's command, else the file's.
    fn wanted<'a>(&'a self, file: &'a File) -> &'a [OsString] {
        if self.command.is_empty() { &file.command } else { &self.command }
    }

    fn settings(self, file: File, command: Vec<CString>) -> Result<Plan, Problem> {
        let locks = self.locks(&file);
        let of_tini = std::env::var_os("TINI_KILL_PROCESS_GROUP").is_some().then_some(true);
        let group = self.or_config("group", self.group, of_tini.or(file.group));
        let stop_signals = self.or_config("stop_signal", self.stop_signal.clone(), file.stop_signals);
        let wait_all = self.or_config("wait", self.wait == WaitFor::All, file.wait_all);
        let mut tools = file.tools;
        tools.shell = self.or_config("tool_shell", self.tool_shell, file.tool_shell);
        tools.record = tools.record.map(|path| initial_cwd().join(path));
        let mut units = file.units;
        for unit in &mut units {
            unit.directory = unit.directory.take().map(|path| initial_cwd().join(path));
        }
        let held_too_long = locks.as_ref().and_then(|(_, reaction)| *reaction);
        let locks = locks.map(|(locks, _)| locks);
        let watching = watching(file.watching, locks.as_ref(), held_too_long.is_some());
        Ok(Plan {
            command,
            group,
            grace: self.or_config("grace", self.grace, file.grace),
            kill_after: self.or_config("kill_after", self.kill_after, file.kill_after),
            rewrite: self.or_config("rewrite", self.rewrite.clone(), file.rewrite),
            delay: self.or_config("delay", self.delay.clone(), file.delay),
            stop_signals: (!stop_signals.is_empty()).then(|| stop_signals.into_iter().collect()),
            stop_sequence: self.or_config("stop_sequence", self.stop_sequence.clone(), file.stop_sequence),
            wait_all,
            remap: self.or_config("remap", self.remap.clone(), file.remap),
            parent_death: self.parent_death.or(file.parent_death),
            warn_reaped: self.or_config("warn_reaped", self.warn_reaped, file.warn_reaped),
            locks,
            passed: Vec::new(),
            env: file.env,
            directory: None,
            user: None,
            prefix: file.prefix.then(|| GATEWAY.to_owned()),
            restart: file.restart,
            replace_on: file.replace_on,
            units,
            tools,
            control: match self.control.or(file.control).unwrap_or_default() {
                Control::At(path) => Control::at(initial_cwd().join(path))?,
                other => other,
            },
            watching,
            ready: file.ready,
            pass_signal: file.pass_signal,
            origin: file.origin,
            ..Plan::bare(CompatMode::Native)
        })
    }

    /// What is done about locks, and what follows when one is held too long.
    fn locks(&self, file: &File) -> Option<(Locks, Option<Reaction>)> {
        let command = self.wanted(file);
        let file = &file.locks;
        let enabled = !self.or_config("no_locks", self.no_locks, file.enabled.map(|enabled| !enabled));
        let action = self.lock_action.map(|action| match action {
            LockAction::Remove => Action::Remove,
            LockAction::HandOver => Action::HandOver,
        });
        let named = !self.lock_root.is_empty() || !file.roots.is_empty();
        let locks = Locks {
            roots: absolute(lock_roots(&self.lock_root, &file.roots, self.outer)),
            deadline: self.or_config("sweep_timeout", self.sweep_timeout, file.sweep_timeout),
            rules: file.rules.clone(),
            action: action.or(file.action).unwrap_or_default(),
            exclusive: file.exclusive,
            start_window: self.or_config("start_window", self.start_window, file.start_window),
            report_after: self.lock_report_after.or(file.report_after),
            look_later: named || is_openclaw(command),
        };
        enabled.then_some((locks, file.held_too_long))
    }
}

/// How often locks held too long are looked for: their limits are minutes.
const HELD_LOCKS: Duration = Duration::from_secs(10);

/// What sexton-watch looks at, with the locks that only the plan knows.
fn watching(mut watching: WatchSettings, locks: Option<&Locks>, asked: bool) -> Option<WatchSettings> {
    if watching == WatchSettings::default() && !asked {
        return None;
    }
    for log in &mut watching.logs {
        for pattern in &mut log.files {
            *pattern = initial_cwd().join(&*pattern).to_string_lossy().into_owned();
        }
    }
    watching.locks = locks.map(|locks| HeldLocks {
        roots: locks.roots.iter().flat_map(Root::candidates).collect(),
        report_after: locks.report_after,
        interval: HELD_LOCKS,
        rules: locks.rules.clone(),
    });
    Some(watching)
}

/// The roots that were named on the command line, else those of `SEXTON_LOCK_ROOTS` (separated by colons),
/// else those of the configuration file, else those in which OpenClaw would look.
pub(super) fn lock_roots(named: &[PathBuf], configured: &[PathBuf], outer: Option<&Outer>) -> Vec<Root> {
    let given = |paths: &[PathBuf]| paths.iter().map(|path| Root::given(path)).collect();
    if !named.is_empty() {
        return given(named);
    }
    let variable = "SEXTON_LOCK_ROOTS";
    let listed =
        std::env::var_os(variable).filter(|_| !outer.is_some_and(|outer| outer.owns(variable.as_ref())));
    match listed.map(|list| roots::split(&list)) {
        Some(listed) if !listed.is_empty() => listed,
        _ if !configured.is_empty() => given(configured),
        _ => roots::discover(&|name| std::env::var_os(name), privileges::effective_uid()),
    }
}

/// A directory that is gone has nothing below it, and what is said of it then names the root as it was given.
fn absolute(roots: Vec<Root>) -> Vec<Root> {
    roots.into_iter().map(|root| root.below(initial_cwd())).collect()
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
