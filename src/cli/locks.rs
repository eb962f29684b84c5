//! `sexton locks`: who holds what, and the removal of what nobody holds, by hand.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};

use super::args::lock_roots;
use crate::config::file::File;
use crate::config::{ByHand, Locks, Task};
use crate::locks::listing::Word;
use crate::locks::{Action, Family};

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
    #[arg(value_enum, hide = true)]
    deed: Option<Deed>,

    /// With sweep: only show what would be removed
    #[arg(long, requires = "deed")]
    dry_run: bool,

    /// A directory with locks; repeatable
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,

    /// Only these: held, orphaned, unclear, skipped, not-judged; repeatable
    #[arg(long, value_name = "V", hide_possible_values = true, conflicts_with = "deed")]
    verdict: Vec<Only>,

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
    #[arg(long, value_name = "D", default_value = "1m", value_parser = humantime::parse_duration)]
    sweep_deadline: Duration,

    /// More log lines
    #[arg(short, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deed {
    Sweep,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Only {
    Held,
    Orphaned,
    Unclear,
    Skipped,
    NotJudged,
}

impl From<Only> for Word {
    fn from(only: Only) -> Word {
        match only {
            Only::Held => Word::Held,
            Only::Orphaned => Word::Orphaned,
            Only::Unclear => Word::Unclear,
            Only::Skipped => Word::Skipped,
            Only::NotJudged => Word::NotJudged,
        }
    }
}

/// The words behind `locks`, if that is what was typed: the first word that is not an option, with no `--`
/// before it. `words` is the whole command line, `command` its end as far as it was taken for a command.
pub(super) fn words_of<'a>(words: &'a [OsString], command: &[OsString]) -> Option<&'a [OsString]> {
    let place = words.len().checked_sub(command.len())?;
    let dashes = place.checked_sub(1).and_then(|before| words.get(before)).is_some_and(|word| word == "--");
    let (first, rest) = words.get(place..)?.split_first()?;
    (first == "locks" && !dashes).then_some(rest)
}

impl LocksArgs {
    /// What all of it means.
    pub(super) fn plan(self, file: File) -> ByHand {
        let task = match (self.deed, self.explain) {
            (Some(Deed::Sweep), _) if self.dry_run => Task::DryRun,
            (Some(Deed::Sweep), _) => Task::Sweep,
            (None, Some(path)) => Task::Explain(path),
            (None, None) => Task::List(self.verdict.into_iter().map(Word::from).collect()),
        };
        let locks = Locks {
            roots: lock_roots(&self.root, &file.roots),
            deadline: self.sweep_deadline,
            family: Family::with(file.kinds),
            action: Action::Remove,
            start_window: Duration::ZERO,
            report_after: self.lock_report_after.or(file.report_after),
            look_later: false,
        };
        ByHand { locks, task, json: self.json }
    }
}
