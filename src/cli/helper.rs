//! `sexton doctor` and `sexton measure`: what sexton-watch, the program beside sexton, does by hand.
//!
//! Their words are that program's to understand: sexton itself neither asks over a network nor draws.

use std::ffi::OsString;

use super::{Request, subcommand};

const WORDS: [&str; 2] = ["doctor", "measure"];

/// The words for sexton-watch, if one of its subcommands was typed. sexton's own options count before the word as
/// they do behind it. `words` is the whole command line, `command` its end as far as it was taken for a command.
pub(super) fn read(words: &[OsString], command: &[OsString]) -> Option<Request> {
    let (word, behind) = subcommand::typed(words, command)?;
    WORDS.iter().find(|known| word == *known)?;
    let options = words.get(1..words.len().checked_sub(command.len())?)?;
    let all = std::iter::once(word).chain(options).chain(behind);
    Some(Request::Helper(all.cloned().collect()))
}
