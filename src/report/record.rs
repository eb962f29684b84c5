//! The record of a tool run: one line of JSON with everything that is known of it.
//!
//! The line that is written names no locks, because a run's supervisor does not know them. The sexton above looks for
//! locks of ended processes after it has received the record. While the gateway runs, it removes such a lock only when
//! no process has opened it for a second. The caller does not wait that long. sexton logs what it removed, and adds it
//! to the record that it keeps, as `locks_released`.

use std::ffi::CString;

use serde::Serialize;

use crate::types::{ExitStatus, Outcome, StopStage};

/// How much of a command line is kept.
const ARGV_LIMIT: usize = 8 * 1024;
/// How many processes that had to be ended are named.
const KILLED_LIMIT: usize = 64;

/// A tool run that has ended. Times are in milliseconds, since the epoch or on the monotonic clock; sizes are in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// Unlike every other's on this machine.
    pub id: String,
    /// What it was called.
    pub name: String,
    /// The command and its arguments, as far as they are kept.
    #[serde(flatten)]
    pub argv: Argv,
    /// The process that supervised it.
    pub supervisor: i32,
    /// Its main process; none if it was not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// When it began.
    pub began: u64,
    /// When it ended, to the last of its processes.
    pub ended: u64,
    /// When it began, on the monotonic clock.
    pub began_monotonic: u64,
    /// When it ended, on the monotonic clock.
    pub ended_monotonic: u64,
    /// How long it ran.
    pub duration: u64,
    /// How long it was allowed to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// How the command itself ended, even if the outcome is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ExitStatus>,
    /// Processor time of all its processes in their own code.
    pub cpu_user: u64,
    /// Processor time of all its processes in the kernel.
    pub cpu_system: u64,
    /// The most memory that one of its processes had resident.
    pub max_rss: u64,
    /// The processes that did not end by themselves.
    #[serde(flatten)]
    pub killed: AllKilled,
}

/// A command line, cut to a length that fits into a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Argv {
    /// The words.
    pub argv: Vec<String>,
    /// Whether there were more of them, or one was longer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub argv_cut: bool,
}

impl Argv {
    /// Keeps the first 8 KiB. Bytes that are no UTF-8 are shown as U+FFFD.
    #[must_use]
    pub fn of(command: &[CString]) -> Argv {
        let mut room = ARGV_LIMIT;
        let mut argv = Vec::new();
        for word in command {
            let text = word.to_string_lossy();
            let most = room.min(text.len());
            let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            argv.push(text.get(..end).unwrap_or_default().to_owned());
            // An empty argument counts too.
            room = room.saturating_sub(end + 1);
            if end < text.len() || (room == 0 && argv.len() < command.len()) {
                return Argv { argv, argv_cut: true };
            }
        }
        Argv { argv, argv_cut: false }
    }
}

/// A process that got a signal at some stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Killed {
    /// Its pid.
    pub pid: i32,
    /// Its name, as /proc has it.
    pub name: String,
    /// The last stage at which it was alive.
    pub stage: StopStage,
}

/// All of them, as far as they are named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AllKilled {
    /// The processes.
    pub killed: Vec<Killed>,
    /// How many more there were.
    #[serde(skip_serializing_if = "is_zero")]
    pub killed_more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks in this way")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl AllKilled {
    /// Adds the processes that were alive at a stage.
    pub fn add(&mut self, stage: StopStage, alive: impl IntoIterator<Item = (i32, String)>) {
        self.killed_more = 0;
        for (pid, name) in alive {
            if let Some(known) = self.killed.iter_mut().find(|known| known.pid == pid) {
                known.stage = stage;
            } else if self.killed.len() < KILLED_LIMIT {
                self.killed.push(Killed { pid, name, stage });
            } else {
                self.killed_more += 1;
            }
        }
    }
}

impl Record {
    /// The line, with its newline.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        // Nothing in it can fail to be JSON.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<CString> {
        words.iter().map(|word| CString::new(*word).unwrap()).collect()
    }

    #[test]
    fn a_long_command_line_is_cut_and_says_so() {
        let short = Argv::of(&words(&["a", "", "b c"]));
        assert_eq!((short.argv.len(), short.argv_cut), (3, false));
        let long = "ä".repeat(ARGV_LIMIT);
        let cut = Argv::of(&words(&["a", &long, "b"]));
        assert!(cut.argv_cut && cut.argv.len() == 2);
        assert!(cut.argv.iter().map(String::len).sum::<usize>() <= ARGV_LIMIT);
        let many = words(&vec![""; ARGV_LIMIT * 2]);
        let cut = Argv::of(&many);
        assert!(cut.argv_cut && cut.argv.len() <= ARGV_LIMIT);
    }

    #[test]
    fn whoever_is_still_alive_at_a_later_rung_is_named_with_that() {
        let mut all = AllKilled::default();
        let named = |pids: std::ops::Range<i32>| pids.map(|pid| (pid, "x".to_owned())).collect::<Vec<_>>();
        all.add(StopStage::Grace, named(1..3));
        all.add(StopStage::Kill, named(2..3));
        let stages: Vec<(i32, StopStage)> =
            all.killed.iter().map(|killed| (killed.pid, killed.stage)).collect();
        assert_eq!(stages, [(1, StopStage::Grace), (2, StopStage::Kill)]);
        all.add(StopStage::Kill, named(1..1000));
        assert_eq!((all.killed.len(), all.killed_more), (KILLED_LIMIT, 999 - KILLED_LIMIT));
    }
}
