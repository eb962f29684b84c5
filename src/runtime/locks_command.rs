//! `sexton locks`: the same judging as a sweep's, asked for by hand.
//!
//! Each root is looked at in a process of its own, as its owner, which sends back what it found and may hang without
//! blocking the command. It removes locks only where no lock is held and no other sexton uses the root. A running
//! gateway could take over the very lock that is being removed, and this command must not stop it.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{error, warn};

use crate::config::{Locks, LocksCommand, Task};
use crate::locks::listing::{Entry, Listing, Name, VerdictName, list};
use crate::locks::{self, Action, KnownRoot, Request, Root, RootOwner, SweepContext};
use crate::os::isolated::{self, ForkError};
use crate::os::{clock, process, startup};
use crate::report::{log, output, table};
use crate::types::{Escaped, exit_code};

/// Does what was asked for, prints the answer to standard output, and gives the exit code.
#[must_use]
#[inline(never)]
pub fn run(plan: &LocksCommand) -> u8 {
    // Nothing here needs the signals that were blocked for the sake of a gateway; SIGIO comes with a lease.
    startup::unblock();
    let (listings, owners) = scan(&plan.locks);
    let unknown = listings.iter().zip(&plan.locks.roots).any(|(listing, root)| match listing {
        None => true,
        Some(listing) => !listing.entered && (!listing.missing || matches!(root, Root::Given(_))),
    });
    let listings: Vec<Listing> = listings.into_iter().flatten().collect();
    let mut orphaned = count(&listings, VerdictName::Orphaned) > 0;
    let mut removed = None;
    if plan.task == Task::Sweep && orphaned {
        let done = sweep(&plan.locks, &listings, &owners);
        orphaned = done.left > 0;
        removed = Some(done);
    }
    let text = match &plan.task {
        Task::Explain(path) => match explain(&listings, path, plan.json) {
            Some(text) => text,
            None => {
                let shown = Escaped(path);
                error!(name: "lock-unknown", path = %shown,
                    "{shown} is no lock that sexton knows, in any of the lock roots; name its root with --root");
                return exit_code::LOCKS_UNKNOWN;
            }
        },
        _ if plan.json => as_json(&listings, &plan.task, removed.as_ref()),
        Task::Sweep => removed.as_ref().map_or("nothing is orphaned\n".to_owned(), SweepOutcome::words),
        // The locks of a root that could not be read are unknown; a log line names that root.
        _ if unknown && count_wanted(&listings, &plan.task) == 0 => String::new(),
        _ => as_table(&listings, &plan.task),
    };
    let code = match (orphaned, unknown) {
        (true, _) => exit_code::LOCKS_ORPHANED,
        (false, true) => exit_code::LOCKS_UNKNOWN,
        (false, false) => exit_code::LOCKS_OK,
    };
    output::print(&text, code)
}

fn count(listings: &[Listing], word: VerdictName) -> usize {
    listings.iter().flat_map(|listing| &listing.entries).filter(|entry| entry.verdict == word).count()
}

/// When it is said on a terminal that a root is waited for.
const QUIET: Duration = Duration::from_secs(2);

/// What each root holds, `None` for one that did not answer; and whose it is, `None` for one that was not entered.
fn scan(locks: &Locks) -> (Vec<Option<Listing>>, Vec<Option<RootOwner>>) {
    let shows_progress = io::stderr().is_terminal();
    let ask = |root: &Root| {
        in_a_child(root, locks.deadline, || {
            let lock_kinds = locks.lock_kinds(root, &locks.programs_here());
            if lock_kinds.is_empty() {
                return (Listing::missing(root), None);
            }
            let begun = clock::now();
            let mut said = false;
            let mut progress = |seen: usize| {
                if shows_progress
                    && seen.is_multiple_of(1000)
                    && clock::now().since(begun) > Duration::from_secs(1)
                {
                    said = true;
                    let _ = write!(io::stderr(), "\r{seen} locks looked at in {root} ");
                }
            };
            let mut known = KnownRoot::default();
            let (exclusive, after) = (locks.exclusive, locks.report_after);
            let listing = list(root, &mut known, &lock_kinds, &context(), exclusive, after, &mut progress);
            if said {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            (listing, known.owner)
        })
    };
    let seen = locks.roots.iter().map(ask).map(|seen| match seen {
        Some((listing, owner)) => (Some(listing), owner),
        None => (None, None),
    });
    seen.unzip()
}

fn context() -> SweepContext<'static> {
    SweepContext::by_hand(process::own_pid(), clock::wall())
}

/// What a removal by hand came to.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SweepOutcome {
    /// Locks that are gone.
    removed: u32,
    /// Orphaned locks that are still there.
    left: u32,
    /// Why those were not even tried.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    because: Option<String>,
}

impl SweepOutcome {
    fn words(&self) -> String {
        let because = self.because.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{} removed, {} orphaned left{because}\n", self.removed, self.left)
    }
}

/// Removes what is orphaned in every root, as whom it was listed.
fn sweep(locks: &Locks, listings: &[Listing], owners: &[Option<RootOwner>]) -> SweepOutcome {
    let entries = || listings.iter().flat_map(|listing| &listing.entries);
    let waiting = u32::try_from(count(listings, VerdictName::Orphaned)).unwrap_or(u32::MAX);
    let shared = listings.iter().find(|listing| listing.entered && !listing.alone);
    let because = match (entries().find(|entry| entry.verdict == VerdictName::Held), shared) {
        (Some(held), _) => Some(format!(
            "a process holds {}, and could take over what is being removed; stop it first",
            Escaped(Path::new(&held.location.path))
        )),
        (None, Some(listing)) => Some(format!(
            "another sexton uses {}, and removes what is to be removed there",
            Escaped(Path::new(&listing.root.path))
        )),
        (None, None) => None,
    };
    if because.is_some() {
        return SweepOutcome { removed: 0, left: waiting, because };
    }
    let mut all = SweepOutcome::default();
    for (root, owner) in locks.roots.iter().zip(owners) {
        // What was not entered was said to be so, or appeared since.
        if owner.is_none() {
            continue;
        }
        let known = KnownRoot { owner: *owner, refused: false };
        let done = in_a_child(root, locks.deadline, || {
            let lock_kinds = locks.lock_kinds(root, &locks.programs_here());
            let request = Request {
                root,
                known,
                lock_kinds: &lock_kinds,
                context: SweepContext { first: false, ..context() },
                registration: None,
                marks: None,
                action: Action::Remove,
                exclusive: locks.exclusive,
                report_after: None,
                reported: &[],
                beside: None,
            };
            let report = locks::sweep(&request, &mut |_| {});
            SweepOutcome { removed: report.removed, left: report.failed + report.waiting, because: None }
        });
        let done = done.unwrap_or(SweepOutcome { left: 1, ..SweepOutcome::default() });
        all.removed += done.removed;
        all.left += done.left;
    }
    all
}

/// Does `work` in a process of its own, and takes what it says. `None`, with a line that says why, if it did
/// not say it in time.
fn in_a_child<T: Serialize + for<'a> Deserialize<'a>>(
    root: &Root,
    deadline: Duration,
    work: impl FnOnce() -> T,
) -> Option<T> {
    let limit = humantime::format_duration(deadline);
    let mut told = false;
    let mut waits = |waited: Duration| {
        if waited >= QUIET && io::stderr().is_terminal() {
            told = true;
            let seconds = waited.as_secs();
            let _ = write!(io::stderr(), "\r\x1b[Kwaiting for {root}: {seconds}s of at most {limit} ");
        }
    };
    let said = isolated::call_aloud(deadline, &mut waits, log::become_helper, work);
    if told {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
    match said {
        Ok(said) => return Some(said),
        Err(ForkError::Late(_)) => {
            warn!(name: "sweep-abandoned", %root, "the lock root {root} did not answer within {limit}: its filesystem \
                hangs, or it is large; look at its mount, or give it longer with --sweep-timeout");
        }
        Err(ForkError::Died) => {
            warn!(name: "sweep-failed", %root, "the look at the lock root {root} broke off; try again");
        }
        Err(ForkError::Refused(error)) => {
            warn!(name: "sweep-failed", %root, %error, "could not look at the lock root {root}; raise the limits on \
                processes and open files, or end some");
        }
    }
    None
}

fn is_selected(task: &Task, entry: &Entry) -> bool {
    match task {
        Task::List(words) => words.is_empty() || words.contains(&entry.verdict),
        Task::DryRun => entry.verdict == VerdictName::Orphaned,
        Task::Explain(_) | Task::Sweep => true,
    }
}

fn count_wanted(listings: &[Listing], task: &Task) -> usize {
    listings.iter().flat_map(|listing| &listing.entries).filter(|entry| is_selected(task, entry)).count()
}

fn as_table(listings: &[Listing], task: &Task) -> String {
    let mut rows: Vec<[String; 6]> = Vec::new();
    let entries = listings.iter().flat_map(|listing| &listing.entries);
    for entry in entries.filter(|entry| is_selected(task, entry)) {
        let owner = match (&entry.pid, &entry.process) {
            (Some(pid), Some(name)) => format!("{pid} {}", Escaped(Path::new(name))),
            (Some(pid), None) => pid.to_string(),
            (None, _) => "-".to_owned(),
        };
        let age = entry.age_seconds.map(Duration::from_secs).map(humantime::format_duration);
        let age = age.map_or("-".to_owned(), |age| {
            // The two largest units are enough for people.
            age.to_string().split(' ').take(2).collect::<Vec<_>>().join(" ")
        });
        let late = if entry.held_too_long { "; held past its limit" } else { "" };
        rows.push([
            entry.verdict.word().replace('-', " "),
            entry.kind.clone().unwrap_or_else(|| "-".to_owned()),
            owner,
            age,
            Escaped(Path::new(&entry.location.path)).to_string(),
            format!("{}{late}", entry.why),
        ]);
    }
    rows.sort_by(|one, other| (&one[0], &one[4]).cmp(&(&other[0], &other[4])));
    if rows.is_empty() {
        return match task {
            Task::DryRun => "nothing is orphaned\n".to_owned(),
            _ => "no locks\n".to_owned(),
        };
    }
    table::columns(["VERDICT", "KIND", "OWNER", "AGE", "PATH", "WHY"], &rows)
}

fn as_json(listings: &[Listing], task: &Task, done: Option<&SweepOutcome>) -> String {
    let wanted = |listing: &Listing| {
        let entries = listing.entries.iter().filter(|entry| is_selected(task, entry)).cloned().collect();
        Listing { entries, ..listing.clone() }
    };
    let listings: Vec<Listing> = listings.iter().map(wanted).collect();
    format!("{:#}\n", json!({ "roots": listings, "swept": done }))
}

fn explain(listings: &[Listing], path: &Path, json: bool) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let exact = |path: &Path| Some(Name::from(std::path::absolute(path).ok()?.as_path()));
    let asked = exact(&path)?;
    let is_it = |entry: &&Entry| match entry.location.bytes {
        Some(_) => entry.location == asked,
        None => exact(Path::new(&entry.location.path)).is_some_and(|lies| lies == asked),
    };
    let entry = listings.iter().flat_map(|listing| &listing.entries).find(is_it)?;
    if json {
        return Some(format!("{:#}\n", serde_json::to_value(entry).ok()?));
    }
    let kind = entry.kind.as_deref().unwrap_or("not a kind of lock that is judged");
    let mut text = format!("{}\n  kind: {kind}\n", Escaped(&path));
    if let Some(age) = entry.age_seconds {
        let age = humantime::format_duration(Duration::from_secs(age));
        let limit = entry.limit_seconds.map(|limit| humantime::format_duration(Duration::from_secs(limit)));
        let limit = limit.map(|limit| format!(" (its limit is {limit})")).unwrap_or_default();
        text.push_str(&format!("  age: {age}{limit}\n"));
    }
    for (number, step) in entry.evidence.iter().enumerate() {
        text.push_str(&format!("  {}. {}\n     {}\n", number + 1, step.asked, step.answer));
    }
    text.push_str(&format!("  {}: {}\n", entry.verdict.word().replace('-', " "), entry.why));
    Some(text)
}
