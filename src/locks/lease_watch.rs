//! Locks that are watched for a while before they are removed beside a living gateway.
//!
//! Whoever takes a stale lock over reads it, judges it, removes it and makes a new one. That everybody stands
//! still for our removal is not enough: somebody may have been stopped between the judgement and the removal,
//! and would then remove the new lock of a third one who was faster. So nobody may have opened the lock for a
//! while. The lease that has shown that nobody has it open is kept to tell of whoever wants to: they wait in
//! open(2) until we let go of it, which we do at once.

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
    /// How long nobody must have opened a lock that is removed: longer than it takes from a judgement to the
    /// removal that follows from it.
    pub settle: Duration,
    /// Has everybody stand still; `false` if they do not.
    pub freeze: &'a dyn Fn() -> bool,
    /// Says that they need not any more.
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
/// How often it is looked whether somebody wants one, who waits as long.
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

    /// Watches for `settle`, and gives those that nobody wanted and those that somebody did, who has got them.
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

    /// Whether nobody has tried to open it since it is watched.
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
