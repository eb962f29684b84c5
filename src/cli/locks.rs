//! `sexton locks`: lists the locks with their owners, and removes locks without a living owner, by hand.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

use super::args::{self, Args};
use super::{Request, Usage, config_path, parse, subcommand};
use crate::config::catalogue::{self, Entry};
use crate::config::file::File;
use crate::config::settings::Given;
use crate::config::{Locks, LocksCommand, Task};
use crate::locks::Action;
use crate::locks::listing::VerdictName;
use crate::os::boot;
use crate::report::table;

const ABOUT: &str = "\
Shows every lock in the lock roots: held, orphaned or unclear, and why.
'sexton locks sweep' removes the orphaned ones, where no gateway runs;
'sexton locks kinds' shows the kinds that --kinds and [locks] can name.";

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
    override_usage = "sexton locks [sweep [--dry-run] | kinds] [OPTIONS]",
    disable_version_flag = true,
    max_term_width = 80
)]
pub(super) struct LocksArgs {
    /// 'sweep', to remove what is orphaned, or 'kinds', to see which ones there are
    #[arg(value_enum, value_name = "sweep|kinds", hide = true)]
    deed: Option<Verb>,

    /// With sweep: only show what would be removed
    #[arg(long, requires = "deed")]
    dry_run: bool,

    /// A directory with locks; repeatable
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,

    /// Kinds of 'sexton locks kinds' to look for as well, or 'auto'
    #[arg(long, value_name = "K,...", value_delimiter = ',')]
    kinds: Vec<String>,

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
    Kinds,
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
            (_, Some(path)) => Task::Explain(path),
            (_, None) => Task::List(self.verdict.into_iter().map(VerdictName::from).collect()),
        };
        let mut locks = Locks {
            roots: args::lock_roots(&settings.lock_root),
            deadline: self.sweep_timeout,
            rules: file.locks.rules,
            action: Action::Remove,
            exclusive: file.locks.exclusive,
            start_window: Duration::ZERO,
            report_after: settings.lock_report_after,
            look_later: false,
            kinds: Vec::new(),
            placed: Vec::new(),
        };
        let words = if self.kinds.is_empty() { &file.locks.kinds } else { &self.kinds };
        // A developer's /tmp is not for us to look through: all that is there is meant in a container alone.
        args::add_kinds(&mut locks, words, || !boot::is_first_pid_namespace());
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
    if locks.deed == Some(Verb::Kinds) {
        return Ok(Request::Print(if locks.json { catalogue_json() } else { catalogue_table() }));
    }
    for word in &locks.kinds {
        let program = "sexton locks".to_owned();
        catalogue::check(word).map_err(|what| Usage::Word { what, program })?;
    }
    if locks.kinds.iter().any(|word| word == catalogue::AUTO) && boot::is_first_pid_namespace() {
        let what = "'auto' means what a container holds, and this is none; name the kinds".to_owned();
        return Err(Usage::Word { what, program: "sexton locks".to_owned() });
    }
    let file = config_path::file(&args, locks.config.as_deref(), config_path::When::Startup)?;
    let settings = args.settings(&file);
    let (level, format) = (settings.log, settings.log_format.into());
    Ok(Request::Locks { level, plan: locks.plan(args.environment, *file), format })
}

/// The catalogue for people.
fn catalogue_table() -> String {
    let row = |entry: Entry| {
        let places: Vec<&str> = entry.rule.iter().map(|rule| rule.path.as_str()).collect();
        let place = match places.as_slice() {
            [] => "-".to_owned(),
            _ if entry.by_rule => "[[locks.rule]]".to_owned(),
            [one] => (*one).to_owned(),
            [first, ..] => format!("{first}, ..."),
        };
        let what = entry
            .harmless
            .map_or_else(|| entry.what.clone(), |why| format!("{}; left alone: {why}", entry.what));
        [entry.name, place, what]
    };
    table::columns(["KIND", "WHERE", "WHAT"], &catalogue::all().map(row).collect::<Vec<_>>())
}

/// The whole of it.
fn catalogue_json() -> String {
    let all: Vec<Entry> = catalogue::all().collect();
    serde_json::to_string_pretty(&all).map_or_else(|error| error.to_string(), |text| text + "\n")
}
