//! Output for a developer's terminal: each line of a unit with the unit's name in front.
//!
//! A process for each of its two streams reads what the unit writes, and writes whole lines. A terminal that does
//! not take them makes that process wait, and the unit, and never a supervisor.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tracing::debug;

use crate::os::pipe::{self, Shared};
use crate::os::spawn::{self, Output};
use crate::os::{children, clock, poll};
use crate::types::{Errno, Pid};

/// A line that is longer is written before its end is there, and the other writers wait for that end.
const LONGEST: usize = 1 << 16;
/// How long they wait. A line that does not go on for so long is ended.
const UNFINISHED: Duration = Duration::from_secs(1);
/// When an incomplete line is shown on a terminal: it may be a prompt.
const PROMPT: Duration = Duration::from_millis(200);
/// How long the last lines may take to be written when everything else has ended.
const DRAIN: Duration = Duration::from_secs(1);
/// The colours of names (ECMA-48, SGR): those that can be read on a light and on a dark ground.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// The processes between a unit and the terminal.
pub(super) struct Relay {
    /// Ends when they have.
    ends: OwnedFd,
    /// They.
    pub(super) pids: [Pid; 2],
}

/// Where the unit writes to.
pub(super) struct PipeReaders {
    pub(super) out: OwnedFd,
    pub(super) err: OwnedFd,
}

impl Relay {
    /// Starts them for lines that are to begin with `name`.
    pub(super) fn start(name: &str) -> Result<(Relay, PipeReaders), Errno> {
        let (ends, alive) = pipe::pipe()?;
        let (from_out, out) = pipe::pipe()?;
        let (from_err, err) = pipe::pipe()?;
        let first = relay(name, &from_out, &alive, 1)?;
        let second = relay(name, &from_err, &alive, 2)?;
        Ok((Relay { ends, pids: [first, second] }, PipeReaders { out, err }))
    }

    /// Waits until they have written what they have, if that does not take too long.
    pub(super) fn drain(&self) {
        match poll::until(self.ends.as_fd(), Some(clock::now().after(DRAIN))) {
            // They are about to end. Wait, so that no later look finds them alive.
            Ok(true) => self.pids.iter().for_each(|pid| {
                let _ = children::wait_for(*pid);
            }),
            Ok(false) => debug!(name: "output-lost", "the last lines were not taken in time"),
            Err(error) => debug!(name: "output-lost", %error, "could not wait for the last lines"),
        }
    }
}

fn relay(name: &str, from: &OwnedFd, alive: &OwnedFd, to: i32) -> Result<Pid, Errno> {
    let work = || from.try_clone().map_or(1, |source| copy_output(name, File::from(source), to));
    spawn::fork_helper(Output::Inherited(to), &[from.as_fd(), alive.as_fd()], || (), work)
}

fn copy_output(name: &str, mut source: File, to: i32) -> u8 {
    let mut target = Shared::standard(to);
    let mut lines = Lines::new(name, colour(name, to));
    let mut buffer = vec![0; LONGEST];
    let on_terminal = is_terminal(to);
    loop {
        let patience = match lines.begun {
            Begun::Long => Some(UNFINISHED),
            Begun::No if on_terminal && !lines.open.is_empty() => Some(PROMPT),
            Begun::No | Begun::Prompt => None,
        };
        if let Some(patience) = patience
            && matches!(poll::until(source.as_fd(), Some(clock::now().after(patience))), Ok(false))
        {
            if target.write_alone(&lines.after_a_pause()).is_err() {
                return 1;
            }
            continue;
        }
        let length = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        lines.take(buffer.get(..length).unwrap_or_default());
        let bytes = lines.whole();
        let written = match lines.begun {
            Begun::Long => target.write_and_keep(&bytes),
            Begun::No | Begun::Prompt => target.write_alone(&bytes),
        };
        if written.is_err() {
            return 1;
        }
    }
    u8::from(target.write_alone(&lines.rest()).is_err())
}

/// The colour of a name, if the output is a terminal.
fn colour(name: &str, to: i32) -> Option<u8> {
    let seen = is_terminal(to);
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let sum = name
        .trim_end()
        .bytes()
        .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    (seen && wanted).then(|| COLOURS.get(sum % COLOURS.len()).copied().unwrap_or(36))
}

fn is_terminal(to: i32) -> bool {
    if to == 1 { std::io::stdout().is_terminal() } else { std::io::stderr().is_terminal() }
}

/// Whether the beginning of the open line has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    No,
    /// It is long, and no other line may be written before its end.
    Long,
    /// It is shown because it may be a prompt.
    Prompt,
}

/// Lines in the making.
struct Lines {
    front: Vec<u8>,
    open: Vec<u8>,
    whole: Vec<u8>,
    begun: Begun,
}

impl Lines {
    fn new(name: &str, colour: Option<u8>) -> Lines {
        let front = match colour {
            Some(colour) => format!("\x1b[{colour}m{name} |\x1b[0m "),
            None => format!("{name} | "),
        };
        Lines { front: front.into_bytes(), open: Vec::new(), whole: Vec::new(), begun: Begun::No }
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.close();
            } else if self.open.len() >= LONGEST || self.begun != Begun::No {
                let begun = if self.begun == Begun::No { Begun::Long } else { self.begun };
                self.begin(begun);
            }
        }
    }

    /// Moves what there is of the open line to what is written next, with the name in front if it is the beginning.
    fn begin(&mut self, begun: Begun) {
        if self.begun == Begun::No {
            self.whole.extend_from_slice(&self.front);
        }
        self.whole.append(&mut self.open);
        self.begun = begun;
    }

    /// What is written when the open line does not go on: the end of a long one, for which the others wait, or the
    /// beginning of a short one, which may be a prompt.
    fn after_a_pause(&mut self) -> Vec<u8> {
        match self.begun {
            Begun::Long => self.close(),
            Begun::No | Begun::Prompt => self.begin(Begun::Prompt),
        }
        self.whole()
    }

    fn close(&mut self) {
        self.begin(Begun::No);
        if !self.whole.ends_with(b"\n") {
            self.whole.push(b'\n');
        }
    }

    /// What is complete.
    fn whole(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.whole)
    }

    /// The last line, which will not be completed any more.
    fn rest(&mut self) -> Vec<u8> {
        if !self.open.is_empty() || self.begun != Begun::No {
            self.close();
        }
        self.whole()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pieces: &[&str]) -> String {
        let mut lines = Lines::new("db", None);
        let mut said = Vec::new();
        for piece in pieces {
            lines.take(piece.as_bytes());
            said.extend(lines.whole());
        }
        said.extend(lines.rest());
        String::from_utf8(said).unwrap()
    }

    #[test]
    fn every_line_has_its_name_and_none_is_torn() {
        assert_eq!(said(&["a\nb", "c\n", "\n", "d"]), "db | a\ndb | bc\ndb | \ndb | d\n");
        assert_eq!(said(&[]), "");
    }

    #[test]
    fn a_long_line_is_one_line_and_does_not_fill_the_memory() {
        let long = "x".repeat(LONGEST / 2);
        let whole = said(&[&long, &long, &long, "\nnext\n"]);
        assert_eq!(whole, format!("db | {long}{long}{long}\ndb | next\n"));
        assert_eq!(said(&[&long, &long, &long]), format!("db | {long}{long}{long}\n"), "without an end");
        let mut lines = Lines::new("db", None);
        for _ in 0..64 {
            lines.take(long.as_bytes());
            assert!(lines.whole().len() <= 2 * LONGEST && lines.open.len() <= LONGEST);
        }
    }

    #[test]
    fn a_pause_ends_a_long_line_and_shows_a_prompt() {
        let mut lines = Lines::new("db", None);
        lines.take(b"Password: ");
        assert_eq!(lines.whole(), b"");
        assert_eq!(lines.after_a_pause(), b"db | Password: ");
        lines.take(b"ok\nnext\n");
        assert_eq!(lines.whole(), b"ok\ndb | next\n");
        lines.take("x".repeat(LONGEST).as_bytes());
        lines.whole();
        assert_eq!(lines.after_a_pause(), b"\n");
        lines.take(b"y\n");
        assert_eq!(lines.whole(), b"db | y\n");
    }
}
