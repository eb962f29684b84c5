//! What helpers say: the short-lived copies of sexton for what may hang, or take long.
//!
//! A helper that hangs in the kernel outlives us, and then no process may wait for it: neither a reader of our standard
//! output nor one of our standard error. So it has neither of them. It writes its log lines into a pipe of ours, and we
//! write them to standard error.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::os::spawn::{self, Output};
use crate::os::{poll, seqpacket};
use crate::report::log;
use crate::types::{Errno, Pid};

/// How much is taken from the pipe in one turn, in bytes: as much as a pipe holds.
const PIPE: u64 = 64 * 1024;

/// The way from the helpers of one run to its log.
#[derive(Default)]
pub(super) struct HelperLog {
    /// Both ends of the pipe, from the first helper on.
    pipe: Option<(File, OwnedFd)>,
    /// A line that has not come to its end.
    begun: Vec<u8>,
    /// A program has the pipe, and may write at any time.
    is_given_away: bool,
}

impl HelperLog {
    /// Starts a helper, which has nothing of ours but `keep`.
    pub(super) fn fork(&mut self, keep: &[BorrowedFd<'_>], work: impl FnOnce() -> u8) -> Result<Pid, Errno> {
        let theirs = self.theirs()?;
        spawn::fork_helper(Output::To(theirs.as_fd()), keep, log::become_helper, work)
    }

    /// What a program writes to that is a helper, too, in the place of its standard output and standard error.
    pub(super) fn for_program(&mut self) -> Result<[OwnedFd; 2], Errno> {
        let theirs = self.theirs()?;
        let copy = || theirs.try_clone().map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)));
        let writers = [copy()?, copy()?];
        self.is_given_away = true;
        Ok(writers)
    }

    /// Whether a process that is not a known helper may still write to it.
    pub(super) fn is_given_away(&self) -> bool {
        self.is_given_away
    }

    fn theirs(&mut self) -> Result<&OwnedFd, Errno> {
        let (_, theirs) = match &mut self.pipe {
            Some(pipe) => pipe,
            none => none.insert(open()?),
        };
        Ok(theirs)
    }

    /// Writes what they have said by now. `true` if there may be more.
    pub(super) fn pass_on(&mut self) -> bool {
        let Some((ours, _)) = &mut self.pipe else { return false };
        // It never waits, and never comes to an end, as we have the other one, too: without an error the limit was
        // reached.
        let may_have_more = ours.by_ref().take(PIPE).read_to_end(&mut self.begun).is_ok();
        log::pass_on(&mut self.begun);
        may_have_more
    }
}

fn open() -> Result<(File, OwnedFd), Errno> {
    let (ours, theirs) = seqpacket::pipe()?;
    // Else it is looked for whenever something else happens.
    let _ = poll::announce(ours.as_fd());
    Ok((File::from(ours), theirs))
}
