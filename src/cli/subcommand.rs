//! The words that are no program's name but ask sexton itself for something.
//!
//! A word is one where it is the first that is no option, with no `--` before it: a program that has such a name
//! is run with `sexton -- NAME`, or by its path.

use std::ffi::OsString;

use clap::{Command, CommandFactory};

use super::args::Args;
use super::{Request, Usage, check, install, locks, tool};

/// One of them.
pub(super) struct Subcommand {
    name: &'static str,
    /// What the words behind it mean; the options before it are sexton's own.
    pub(super) read: fn(Args, &[OsString]) -> Result<Request, Usage>,
    /// Its options, as clap sees them.
    options: fn() -> Command,
}

const TABLE: &[Subcommand] = &[
    Subcommand { name: "check", read: check::read, options: check::CheckArgs::command },
    Subcommand { name: "install", read: install::read, options: install::InstallArgs::command },
    Subcommand { name: "locks", read: locks::read, options: locks::LocksArgs::command },
    Subcommand { name: "tool", read: tool::parse_after, options: tool::command },
];

/// All of them, as clap sees them.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    TABLE.iter().map(|subcommand| (subcommand.options)().name(subcommand.name))
}

/// The subcommand that was typed, and the words behind it. `words` is the whole command line, `command` its end
/// as far as it was taken for a command.
pub(super) fn lookup<'a>(
    words: &'a [OsString],
    command: &[OsString],
) -> Option<(&'static Subcommand, &'a [OsString])> {
    let (first, rest) = parse_typed(words, command)?;
    let subcommand = TABLE.iter().find(|subcommand| first == subcommand.name)?;
    Some((subcommand, rest))
}

/// The word that may be a subcommand, and those behind it.
pub(super) fn parse_typed<'a>(
    words: &'a [OsString],
    command: &[OsString],
) -> Option<(&'a OsString, &'a [OsString])> {
    let place = words.len().checked_sub(command.len())?;
    let dashes = place.checked_sub(1).and_then(|before| words.get(before)).is_some_and(|word| word == "--");
    words.get(place..).filter(|_| !dashes)?.split_first()
}

/// The words behind the subcommand as its parser takes them, with its whole name first.
pub(super) fn clap_command(name: &str, rest: &[OsString]) -> Vec<OsString> {
    [OsString::from(format!("sexton {name}"))].iter().chain(rest).cloned().collect()
}
