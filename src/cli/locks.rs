//! `sexton locks`: who holds what, and the removal of what nobody holds, by hand.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

use super::args::{self, Args};
use super::{Request, Usage, config_path, parse, subcommand};
use crate::config::file::File;
use crate::config::settings::Given;
use crate::config::{Locks, LocksCommand, Task};
use crate::locks::Action;
use crate::locks::listing::VerdictName;

const ABOUT: &str = "\
Shows every lock in the lock roots: held, orphaned or unclear, and why.
'sexton locks sweep' removes the orphaned ones, where no gateway runs.";

const AFTER: &str = "\
Without --root the roots are those of SEXTON_LOCK_ROOTS, else OpenClaw's.
Exit code: 0 nothing is orphaned; 1 something is, or could not be removed;
2 a root could not be looked at; 125 sexton failed.
A program that is itself named 'locks' runs with: sexton -- locks";

#[derive(Debug, Parser)]
#[command(
    name = "sexton locks",
    about = ABOUT,
    after_help = AFTER,
    override_usage = "sexton locks [sweep [--dry-run]] [OPTIONS]",
    disable_version_flag = true,
    max_term_width = 80
)]
pub(super) struct LocksArgs {
    /// 'sweep', to remove what is orphaned
    #[arg(value_enum, value_name = "sweep", hide = true)]
    deed: Option<Verb>,

    /// With sweep: only show what would be removed
    #[arg(long, requires = "deed")]
    dry_run: bool,

    /// A directory with locks; repeatable
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,

    /// Only these: held, orphaned, unclear, skipped, not-judged; repeatable
    #[arg(long, value_name = "V", hide_possible_values = true, conflicts_with = "deed")]
    verdict: Vec<Filter>,

    /// The evidence for one lock, step by step
    #[arg(long, value_name = "PATH", conflicts_with_all = ["deed", "verdict"])]
    explain: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Call a lock held too long after this, besides its own limit
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    lock_report_after: Option<Duration>,

    /// Read more settings from this file
    #[arg(long, value_name = "FILE", env = "SEXTON_CONFIG", hide_env = true)]
    pub(super) config: Option<PathBuf>,

    /// How long a root may take
    #[arg(long, value_name = "D", default_value = "10s", value_parser = humantime::parse_duration)]
    sweep_timeout: Duration,

    /// More log lines
    #[arg(short, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verb {
    Sweep,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Filter {
    Held,
    Orphaned,
    Unclear,
    Skipped,
    NotJudged,
}

impl From<Filter> for VerdictName {
    fn from(only: Filter) -> VerdictName {
        match only {
            Filter::Held => VerdictName::Held,
            Filter::Orphaned => VerdictName::Orphaned,
            Filter::Unclear => VerdictName::Unclear,
            Filter::Skipped => VerdictName::Skipped,
            Filter::NotJudged => VerdictName::NotJudged,
        }
    }
}

impl LocksArgs {
    /// What all of it means.
    fn plan(self, environment: Given, file: File) -> LocksCommand {
        let given = Given {
            lock_root: Some(self.root).filter(|roots| !roots.is_empty()).or(environment.lock_root),
            lock_report_after: self.lock_report_after.map(Some),
            ..Given::default()
        };
        let settings = Given::merge([&given, &file.given, &file.preset]).resolve();
        let task = match (self.deed, self.explain) {
            (Some(Verb::Sweep), _) if self.dry_run => Task::DryRun,
            (Some(Verb::Sweep), _) => Task::Sweep,
            (None, Some(path)) => Task::Explain(path),
            (None, None) => Task::List(self.verdict.into_iter().map(VerdictName::from).collect()),
        };
        let locks = Locks {
            roots: args::lock_roots(&settings.lock_root),
            deadline: self.sweep_timeout,
            rules: file.locks.rules,
            action: Action::Remove,
            exclusive: file.locks.exclusive,
            start_window: Duration::ZERO,
            report_after: settings.lock_report_after,
            look_later: false,
        };
        LocksCommand { locks, task, json: self.json }
    }
}

/// What the words behind `locks` mean.
pub(super) fn read(mut args: Args, rest: &[OsString]) -> Result<Request, Usage> {
    let locks = match parse::<LocksArgs>(&subcommand::clap_command("locks", rest))? {
        Ok(locks) => locks,
        Err(text) => return Ok(Request::Print(text)),
    };
    args.add_verbosity(locks.verbose);
    let file = config_path::file(&args, locks.config.as_deref(), config_path::When::Startup)?;
    let settings = args.settings(&file);
    let (level, format) = (settings.log, settings.log_format.into());
    Ok(Request::Locks { level, plan: locks.plan(args.environment, *file), format })
}
