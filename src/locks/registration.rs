//! The file by which sextons that share a root know of each other: `.sexton.lock`, held with fcntl(2).
//!
//! A sexton that uses a root holds it shared for its whole life, and alone while it sweeps: if it gets it,
//! nobody else is there. The lock belongs to the open file description and not, as with flock(2), to a call
//! that lets the old lock go before it tries for the new one: a registration can never be lost by asking.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::os::files::{self, FileKind, FlockMode};

/// The file's name.
pub const NAME: &str = ".sexton.lock";

/// How we stand towards other sextons.
#[derive(Debug)]
pub enum Exclusivity {
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
    standing: Exclusivity,
    /// Whether we hold the lock at least shared.
    held: bool,
}

impl<'a> Registration<'a> {
    /// Tries to be alone, without waiting. `inherited` is the open file of an earlier sweep, whose lock is kept
    /// all the while; it counts only if the root's file is still the same one.
    pub fn take(root: BorrowedFd<'_>, inherited: Option<BorrowedFd<'a>>) -> Registration<'a> {
        if let Some(file) = inherited.filter(|file| is_the_roots(root, *file)) {
            let (standing, held) = stand(file);
            return Registration { file: File::Inherited(file), standing, held };
        }
        // Whoever removes the file between our open and our lock leaves us with one that nobody else sees.
        for _ in 0..3 {
            match open(root) {
                Ok(file) => {
                    let (standing, held) = stand(file.as_fd());
                    if is_the_roots(root, file.as_fd()) {
                        return Registration { file: File::Opened(file), standing, held };
                    }
                }
                Err(error) => return Registration::without(error),
            }
        }
        Registration::without(io::Error::other("it is being replaced again and again"))
    }

    /// Only looks whether anybody else is there; takes nothing and makes nothing.
    pub fn peek(root: BorrowedFd<'_>) -> Exclusivity {
        let held = files::open_to_read(root, OsStr::new(NAME)).and_then(|file| {
            if files::meta(file.as_fd())?.kind != FileKind::Regular {
                return Err(io::Error::other("it is not an ordinary file"));
            }
            files::is_held_by_others(file.as_fd())
        });
        match held {
            Ok(true) => Exclusivity::Shared,
            Ok(false) => Exclusivity::Alone,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Exclusivity::Alone,
            Err(error) => Exclusivity::Unknown(error),
        }
    }

    fn without(error: io::Error) -> Registration<'a> {
        Registration { file: File::None, standing: Exclusivity::Unknown(error), held: false }
    }

    /// How we stand.
    pub fn standing(&self) -> &Exclusivity {
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
        let shared = matches!(self.standing, Exclusivity::Shared) && self.held;
        let settled = shared || files::hold(file, FlockMode::Shared).unwrap_or(false);
        match self.file {
            File::Opened(file) if settled => Some(file),
            _ => None,
        }
    }
}

/// Tries to be alone, and else to be there at all. A file that could only be opened for reading tells nothing
/// of others, but tells them of us.
fn stand(file: BorrowedFd<'_>) -> (Exclusivity, bool) {
    let alone = files::hold(file, FlockMode::TryAlone);
    let held = matches!(alone, Ok(true)) || files::hold(file, FlockMode::TryShared).unwrap_or(false);
    let standing = match alone {
        Ok(true) => Exclusivity::Alone,
        Ok(false) => Exclusivity::Shared,
        Err(error) => Exclusivity::Unknown(error),
    };
    (standing, held)
}

fn open(root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let name = OsStr::new(NAME);
    let file = files::open_or_create(root, name)
        .or_else(|error| files::open_to_read(root, name).map_err(|_| error))?;
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
        matches!(registration.standing(), Exclusivity::Alone)
    }

    #[test]
    fn two_sextons_never_both_think_they_are_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = files::look(directory.path()).unwrap();
        let root = root.as_fd();

        let first = Registration::take(root, None);
        assert!(alone(&first));
        let first = first.settle().unwrap();

        let second = Registration::take(root, None);
        assert!(!alone(&second));
        let second = second.settle().unwrap();

        // The first sweeps again: it is not alone any more, and stays registered.
        let again = Registration::take(root, Some(first.as_fd()));
        assert!(!alone(&again));
        assert!(again.settle().is_none());
        assert!(!alone(&Registration::take(root, Some(second.as_fd()))));

        drop(second);
        let last = Registration::take(root, Some(first.as_fd()));
        assert!(alone(&last));
        assert!(matches!(Registration::peek(root), Exclusivity::Shared));
        last.settle();
        assert!(!alone(&Registration::take(root, None)));
        drop(first);
        assert!(matches!(Registration::peek(root), Exclusivity::Alone));
    }

    #[test]
    fn asking_in_vain_loses_no_registration() {
        let directory = tempfile::tempdir().unwrap();
        let root = files::look(directory.path()).unwrap();
        let root = root.as_fd();
        let first = Registration::take(root, None).settle().unwrap();
        let second = Registration::take(root, None).settle().unwrap();
        for _ in 0..1000 {
            // At no instant between these is either of them unregistered.
            assert!(!files::hold(first.as_fd(), FlockMode::TryAlone).unwrap());
            assert!(!files::hold(second.as_fd(), FlockMode::TryAlone).unwrap());
        }
    }

    #[test]
    fn a_file_that_was_replaced_or_is_odd_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let root = files::look(directory.path()).unwrap();
        let root = root.as_fd();
        let old = Registration::take(root, None).settle().unwrap();
        fs::remove_file(directory.path().join(NAME)).unwrap();
        let new = Registration::take(root, Some(old.as_fd()));
        assert!(alone(&new));
        let new = new.settle();
        assert!(new.is_some(), "it is a new file, and somebody has to keep it");

        fs::remove_file(directory.path().join(NAME)).unwrap();
        fs::create_dir(directory.path().join(NAME)).unwrap();
        let odd = Registration::take(root, None);
        assert!(matches!(odd.standing(), Exclusivity::Unknown(_)));
        assert!(odd.settle().is_none());
    }
}
