//! The file by which sextons that share a root know of each other: `.sexton.lock`, locked with flock(2).
//!
//! A sexton that uses a root holds it shared for its whole life, and takes it exclusively while it sweeps: if
//! it gets it, nobody else is there. It never takes the risk of losing a registration while something that it
//! watches over lives, because flock(2) drops the old lock before it tries for the new one.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::os::files::{self, FileKind, Flock};

/// The file's name.
pub const NAME: &str = ".sexton.lock";

/// How we stand towards other sextons.
#[derive(Debug)]
pub enum Standing {
    /// Nobody else uses the root, and nobody can begin to while this lasts.
    Alone,
    /// Others use it or may use it.
    Shared,
    /// The file cannot be used.
    Unknown(io::Error),
}

enum File<'a> {
    Inherited(BorrowedFd<'a>),
    Opened(OwnedFd),
    None,
}

/// Our entry in a root.
pub struct Registration<'a> {
    file: File<'a>,
    standing: Standing,
    /// Whether we hold the lock at least shared.
    held: bool,
}

impl<'a> Registration<'a> {
    /// Tries for the exclusive lock, without waiting. `inherited` is the open file of an earlier sweep, whose
    /// lock is kept all the while; it counts only if the root's file is still the same one. Only at a `quiet`
    /// moment is a lock that is held already given up for the try.
    pub fn take(root: BorrowedFd<'_>, inherited: Option<BorrowedFd<'a>>, quiet: bool) -> Registration<'a> {
        if let Some(file) = inherited.filter(|file| is_the_roots(root, *file)) {
            // At a noisy moment this changes nothing, unless an earlier sweep was ended before it could lower
            // its lock.
            let alone = quiet && files::flock(file, Flock::TryExclusive).unwrap_or(false);
            let held = alone || files::flock(file, Flock::TryShared).unwrap_or(false);
            let standing = if alone { Standing::Alone } else { Standing::Shared };
            return Registration { file: File::Inherited(file), standing, held };
        }
        // Whoever removes the file between our open and our flock leaves us with one that nobody else sees.
        for _ in 0..3 {
            match open(root).and_then(|file| Ok((files::flock(file.as_fd(), Flock::TryExclusive)?, file))) {
                Ok((alone, file)) if is_the_roots(root, file.as_fd()) => {
                    let held = alone || files::flock(file.as_fd(), Flock::TryShared).unwrap_or(false);
                    let standing = if alone { Standing::Alone } else { Standing::Shared };
                    return Registration { file: File::Opened(file), standing, held };
                }
                Ok(_) => {}
                Err(error) => {
                    return Registration {
                        file: File::None,
                        standing: Standing::Unknown(error),
                        held: false,
                    };
                }
            }
        }
        let error = io::Error::other("it is being replaced again and again");
        Registration { file: File::None, standing: Standing::Unknown(error), held: false }
    }

    /// How we stand.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Lowers the lock to a shared one, for the others; waits for it if another sexton is sweeping at this
    /// moment. Gives the open file back if it is a new one: the lock lasts as long as any copy of it.
    pub fn settle(self) -> Option<OwnedFd> {
        let file = match &self.file {
            File::Inherited(file) => *file,
            File::Opened(file) => file.as_fd(),
            File::None => return None,
        };
        let shared = matches!(self.standing, Standing::Shared) && self.held;
        let settled = shared || files::flock(file, Flock::Shared).unwrap_or(false);
        match self.file {
            File::Opened(file) if settled => Some(file),
            _ => None,
        }
    }
}

fn open(root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let file = files::open_or_create(root, OsStr::new(NAME))?;
    match files::meta(file.as_fd())? {
        meta if meta.kind == FileKind::Regular => Ok(file),
        _ => Err(io::Error::other("it is not an ordinary file")),
    }
}

fn is_the_roots(root: BorrowedFd<'_>, file: BorrowedFd<'_>) -> bool {
    match (files::meta(file), files::meta_in(root, OsStr::new(NAME))) {
        (Ok(ours), Ok(theirs)) => ours.same_file(&theirs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn alone(registration: &Registration<'_>) -> bool {
        matches!(registration.standing(), Standing::Alone)
    }

    #[test]
    fn two_sextons_never_both_think_they_are_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = files::look(directory.path()).unwrap();
        let root = root.as_fd();

        let first = Registration::take(root, None, true);
        assert!(alone(&first));
        let first = first.settle().unwrap();

        let second = Registration::take(root, None, true);
        assert!(!alone(&second));
        let second = second.settle().unwrap();

        // The first sweeps again: it is not alone any more, and stays registered.
        let again = Registration::take(root, Some(first.as_fd()), true);
        assert!(!alone(&again));
        assert!(again.settle().is_none());
        assert!(!alone(&Registration::take(root, Some(second.as_fd()), true)));

        drop(second);
        let last = Registration::take(root, Some(first.as_fd()), true);
        assert!(alone(&last));
        last.settle();
        // At a noisy moment nobody asks, so that the registration cannot be lost.
        assert!(!alone(&Registration::take(root, Some(first.as_fd()), false)));
        assert!(!alone(&Registration::take(root, None, true)));
    }

    #[test]
    fn a_file_that_was_replaced_or_is_odd_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = files::look(directory.path()).unwrap();
        let root = root.as_fd();
        let old = Registration::take(root, None, true).settle().unwrap();
        fs::remove_file(directory.path().join(NAME)).unwrap();
        let new = Registration::take(root, Some(old.as_fd()), true);
        assert!(alone(&new));
        let new = new.settle();
        assert!(new.is_some(), "it is a new file, and somebody has to keep it");

        fs::remove_file(directory.path().join(NAME)).unwrap();
        fs::create_dir(directory.path().join(NAME)).unwrap();
        let odd = Registration::take(root, None, true);
        assert!(matches!(odd.standing(), Standing::Unknown(_)));
        assert!(odd.settle().is_none());
    }
}
