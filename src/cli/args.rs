//! The options of sexton, and what comes of them together with the configuration file.

use std::ffi::{CString, OsStr, OsString};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use clap::error::Error;
use clap::{Arg, ArgAction, Command};
use tracing::level_filters::LevelFilter;

use super::config_path::initial_cwd;
use super::outer::Outer;
use super::words::{self, Words};
use crate::config::file::File;
use crate::config::setting::{Setting, Table};
use crate::config::settings::{Given, Settings};
use crate::config::unit::GATEWAY;
use crate::config::value::{Count, Form, LogFormat};
use crate::config::watch_settings::{HeldLocks, WatchSettings};
use crate::config::{Control, Locks, Origin, Plan, Problem};
use crate::locks::{Root, roots};
use crate::os::{privileges, process};
use crate::report::log::Format;
use crate::types::{CompatMode, Pid};

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

/// What the command line and the environment say.
pub(super) type Args = Words<Given>;

/// sexton's command line in its own compatibility mode, which is a superset of tini's, as clap has it.
pub(super) fn command() -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Print this help");
    let version = Arg::new("version").long("version").action(ArgAction::Version).help("Print the version");
    Command::new("sexton")
        .version(env!("CARGO_PKG_VERSION"))
        .about(USES)
        .after_help(AFTER)
        .override_usage("sexton [OPTIONS] [--] COMMAND [ARG...]")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .max_term_width(80)
        .next_line_help(false)
        .arg(words::command())
        .args(words::options::<Given>())
        .args([help, version])
}

impl Args {
    /// What the words say, and the environment. The variables of an outer sexton, of which this one is the start of a
    /// supervisor below, do not count.
    pub(super) fn read(words: &[OsString], outer: Option<&'static Outer>) -> Result<Box<Args>, Error> {
        let owned = |name: &OsStr| outer.is_some_and(|outer| outer.owns(name));
        let (mut args, variables) = Args::parse(command, words, &owned)?;
        let listed = variables.iter().find(|(name, _)| name == LOCK_ROOTS);
        args.environment.lock_root =
            listed.map(|(_, list)| roots::split(list)).filter(|roots| !roots.is_empty());
        Ok(args)
    }

    /// The configuration file that was named. An empty name is no file.
    pub(super) fn config(&self) -> Option<&Path> {
        self.line.config.as_ref().or(self.environment.config.as_ref())?.as_deref()
    }

    /// The preset that was named.
    pub(super) fn preset(&self) -> Option<&str> {
        self.line.preset.as_ref().or(self.environment.preset.as_ref())?.as_deref()
    }

    /// How many more kinds of log lines were asked for on the command line.
    pub(super) fn verbosity(&self) -> u8 {
        self.line.verbose.unwrap_or_default().0
    }

    /// A subcommand has a `-v` of its own, which is as good.
    pub(super) fn add_verbosity(&mut self, more: u8) {
        self.line.verbose = Some(Count(self.verbosity().saturating_add(more)));
    }

    /// The first option on the command line that asks for more than log lines.
    pub(super) fn asks_for_more(&self) -> Option<String> {
        let mut typed = Given::SETTINGS.iter().filter(|setting| (setting.is_given)(&self.line));
        typed.find(|setting| setting.form != Form::Count).map(Setting::option)
    }

    /// What is given in all places: the command line wins over the environment, both over the file, and the file
    /// over its preset.
    pub(super) fn given(&self, file: &File) -> Given {
        Given::merge([&self.line, &self.environment, &file.given, &file.preset])
    }

    /// The settings that come of it. tini's variables say less than ours.
    pub(super) fn settings(&self, file: &File) -> Settings {
        let sources = [&self.line, &self.environment, &of_tini(), &file.given, &file.preset];
        let mut settings = Given::merge(sources).resolve();
        if let more @ 1.. = settings.verbose.0 {
            settings.log = level(more.saturating_add(1));
        }
        // -vv, at least, for the process that the service manager has started, and for none below it.
        if process::is_debug_invocation() {
            settings.log = settings.log.max(LevelFilter::DEBUG);
        }
        settings
    }

    /// What all of it means, with what stands in the configuration file.
    pub(super) fn plan(&self, file: Box<File>) -> Result<Rc<Plan>, Problem> {
        let command = Plan::command_of(self.wanted(&file).to_vec())?;
        self.resolve(file, command)
    }

    /// The same, for who only wants to see it: without a command too.
    pub(super) fn plan_for_check(&self, file: Box<File>) -> Result<Rc<Plan>, Problem> {
        if self.wanted(&file).is_empty() { self.resolve(file, Vec::new()) } else { self.plan(file) }
    }

    /// The command line's command, else the file's.
    fn wanted<'a>(&'a self, file: &'a File) -> &'a [OsString] {
        if self.command.is_empty() { &file.command } else { &self.command }
    }

    fn resolve(&self, file: Box<File>, command: Vec<CString>) -> Result<Rc<Plan>, Problem> {
        let mut settings = self.settings(&file);
        if let Control::At(path) = settings.control {
            settings.control = Control::at(initial_cwd().join(path))?;
        }
        let locks = settings.locks.0.then(|| self.locks(&settings, &file));
        let mut tools = file.tools;
        tools.record = tools.record.map(|path| initial_cwd().join(path));
        let mut units = file.units;
        for unit in &mut units {
            unit.directory = unit.directory.take().map(|path| initial_cwd().join(path));
        }
        let held_too_long = locks.is_some() && file.locks.held_too_long.is_some();
        let windows = |given: &Given| given.grace.is_some() || given.stop_sequence.is_some();
        let own = [&self.line, &self.environment, &file.given].into_iter().any(windows);
        let windows_of_preset = windows(&file.preset) && !own;
        let watching = watching(file.watching, locks.as_ref(), held_too_long);
        Ok(Rc::new(Plan {
            command,
            settings,
            locks,
            env: file.env,
            prefix: file.prefix.then(|| GATEWAY.to_owned()),
            restart: file.restart,
            handoff: file.handoff,
            before_stop: file.before_stop,
            replace_on: file.replace_on,
            units,
            tools,
            watching,
            ready: file.ready,
            pass_signal: file.pass_signal,
            origin: Origin { windows_of_preset, ..file.origin },
            ..Plan::bare(CompatMode::Native)
        }))
    }

    /// What is done about locks.
    fn locks(&self, settings: &Settings, file: &File) -> Locks {
        let names = |given: &Given| given.lock_root.as_ref().is_some_and(|roots| !roots.is_empty());
        let named = [&self.line, &file.given, &file.preset].into_iter().any(names);
        let mut locks = Locks {
            roots: absolute(lock_roots(&settings.lock_root)),
            deadline: settings.sweep_timeout,
            rules: file.locks.rules.clone(),
            action: settings.lock_action,
            exclusive: file.locks.exclusive,
            start_window: settings.start_window,
            report_after: settings.lock_report_after,
            look_later: named || is_openclaw(self.wanted(file)),
            kinds: Vec::new(),
            placed: Vec::new(),
        };
        // 'auto' is for a container, of which we are PID 1: a developer's /tmp is not for us to look through.
        add_kinds(&mut locks, &file.locks.kinds, || process::own_pid() == Pid::INIT);
        locks
    }
}

/// The variable that lists lock roots, separated by colons.
const LOCK_ROOTS: &str = "SEXTON_LOCK_ROOTS";

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Format {
        match format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        }
    }
}

/// What tini's variables say.
fn of_tini() -> Given {
    let group = std::env::var_os("TINI_KILL_PROCESS_GROUP").map(|_| true);
    let log = || std::env::var("TINI_VERBOSITY").ok()?.trim().parse().ok().map(level);
    Given { group, log: log(), ..Given::default() }
}

/// Levels in tini's steps.
fn level(steps: u8) -> LevelFilter {
    match steps {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::WARN,
        2 => LevelFilter::INFO,
        3 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
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
        roots: locks.roots.iter().filter(|root| !root.is_catalogue()).flat_map(Root::candidates).collect(),
        report_after: locks.report_after,
        interval: HELD_LOCKS,
        rules: locks.rules.clone(),
    });
    Some(watching)
}

/// Turns kinds of the catalogue on. Whether all those whose programs are here can be meant is looked up only if there are
/// any: a start without them pays nothing.
pub(super) fn add_kinds(locks: &mut Locks, words: &[String], auto: impl FnOnce() -> bool) {
    if words.is_empty() {
        return;
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    locks.add_kinds(words, auto(), home.as_deref());
}

/// The roots that were given; if there are none, those in which OpenClaw would look.
pub(super) fn lock_roots(given: &[PathBuf]) -> Vec<Root> {
    match given {
        [] => roots::discover(&|name| std::env::var_os(name), privileges::effective_uid()),
        given => given.iter().map(|path| Root::given(path)).collect(),
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
