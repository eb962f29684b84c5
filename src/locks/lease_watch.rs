//! Locks that are watched for a while before they are removed beside a living gateway.
//!
//! A process that takes a stale lock over reads it, judges it, removes it and makes a new one. Freezing all processes
//! for our removal is not enough. A process may be frozen after it judged the lock stale and before it removes it.
//! After the thaw it would remove a newer lock of a third process. So a lock is removed only if no process has opened
//! it for a while. The lease that has shown that no process has it open is kept for that time, and tells of a process
//! that opens it. That process waits in open(2) until we release the lease, which we do at once.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::inspect::Judged;
use super::kind::Kind;
use super::sweep::LogFields;
use super::verdict::Orphan;
use super::walk::DirEntry;
use crate::os::{clock, lease};

/// How locks are removed while the gateway lives.
pub struct LiveSweep<'a> {
    /// A lock is removed only if no process has opened it for this long. It is longer than a process takes from judging
    /// a lock to removing it.
    pub settle: Duration,
    /// Has all processes frozen; `false` if they could not be.
    pub freeze: &'a dyn Fn() -> bool,
    /// Has them thawed.
    pub thaw: &'a dyn Fn(),
}

impl std::fmt::Debug for LiveSweep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveSweep").field("settle", &self.settle).finish_non_exhaustive()
    }
}

/// How many locks are watched at once; each takes a descriptor, of which a process has 1024. The others wait for
/// the next sweep.
const MOST: usize = 512;
/// How often to check whether a process is opening one. It waits in open(2) for at most this long.
const GLANCE: Duration = Duration::from_millis(5);

/// The locks that are watched.
#[derive(Default)]
pub(super) struct LeaseWatch<'a>(Vec<Watched<'a>>);

/// One of them.
pub(super) struct Watched<'a> {
    directory: Arc<OwnedFd>,
    name: OsString,
    path: PathBuf,
    pub(super) kind: &'a Kind,
    pub(super) why: Orphan,
    pub(super) judged: Box<Judged>,
}

impl<'a> LeaseWatch<'a> {
    /// Watches this lock from now on. What cannot be watched is given back: a link, a directory without a record,
    /// what is not ours, or too many.
    pub(super) fn watch(
        &mut self,
        spot: &DirEntry<'_>,
        kind: &'a Kind,
        why: Orphan,
        judged: Box<Judged>,
    ) -> Result<(), Box<Judged>> {
        let Some(piece) = judged.lock_file.leasable_parts().filter(|_| self.0.len() < MOST) else {
            return Err(judged);
        };
        let beside_last = self.0.last().filter(|last| last.path.parent() == spot.path.parent());
        let directory = match beside_last {
            Some(last) => Arc::clone(&last.directory),
            None => match spot.directory.try_clone_to_owned() {
                Ok(directory) => Arc::new(directory),
                Err(_) => return Err(judged),
            },
        };
        if lease::take(piece.file.as_fd(), piece.meta.uid) != lease::Answer::Granted {
            return Err(judged);
        }
        let (name, path) = (spot.name.to_owned(), spot.path.clone());
        self.0.push(Watched { directory, name, path, kind, why, judged });
        Ok(())
    }

    /// Watches for `settle`. Returns the locks that no process opened, and those that one did, whose lease was
    /// released.
    pub(super) fn keep(self, settle: Duration) -> (Vec<Watched<'a>>, Vec<Watched<'a>>) {
        let until = clock::now().after(settle);
        let (mut watched, mut wanted) = (self.0, Vec::new());
        while !watched.is_empty() && clock::now() < until {
            lease::pause(GLANCE.min(until.since(clock::now())));
            let (still, gone) = watched.into_iter().partition(Watched::is_unopened);
            watched = still;
            let gone: Vec<Watched<'a>> = gone;
            gone.iter().filter_map(Watched::file).for_each(lease::release);
            wanted.extend(gone);
        }
        (watched, wanted)
    }
}

impl Watched<'_> {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.judged.lock_file.leasable_parts().map(|piece| piece.file.as_fd())
    }

    /// Whether no process has tried to open it since the watch began.
    pub(super) fn is_unopened(&self) -> bool {
        self.file().is_some_and(lease::is_intact)
    }

    /// Where it lies.
    pub(super) fn spot(&self) -> DirEntry<'_> {
        DirEntry { directory: self.directory.as_fd(), name: &self.name, path: self.path.clone(), kind: None }
    }

    /// What a line about it says.
    pub(super) fn said(&self) -> LogFields<'_> {
        LogFields::new(&self.path, self.kind, &self.judged)
    }
}
