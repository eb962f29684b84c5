//! The file by which sextons that share a root know of each other: `.sexton.lock`, held with fcntl(2).
//!
//! A sexton that uses a root holds a shared lock on the file for its whole life, and asks whether another sexton holds
//! one too. It takes the lock first and asks then. So of two sextons that start at once each sees the other. Both steps
//! need the file open for reading only, so it does not matter which user's sexton has made it. The lock belongs to the
//! open file description: closing another descriptor does not release it.
//!
//! A sexton that was alone when it asked need not be alone any more. So it asks again before a removal that depends on
//! it. Older versions of sexton held an exclusive lock while they swept; that counts as a sexton that uses the root.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::os::files::{self, FileKind, FlockMode};
use crate::os::privileges;

/// The file's name.
pub const NAME: &str = ".sexton.lock";
/// How often a file is opened that others remove and make anew at this moment.
const TRIES: u32 = 3;

/// How we stand towards other sextons.
#[derive(Debug)]
pub enum Exclusivity {
    /// No other sexton used the root when it was asked.
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

impl File<'_> {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            File::Inherited(file) => Some(*file),
            File::Opened(file) => Some(file.as_fd()),
            File::None => None,
        }
    }
}

/// Our entry in a root.
pub struct Registration<'a> {
    file: File<'a>,
    standing: Exclusivity,
    /// Whether the others see us.
    held: bool,
}

impl<'a> Registration<'a> {
    /// Registers us, without waiting, and looks who else is there. `inherited` is the open file of an earlier sweep,
    /// whose lock is kept all the while; it counts only if the root's file is still the same one.
    pub fn take(root: BorrowedFd<'_>, inherited: Option<BorrowedFd<'a>>) -> Registration<'a> {
        if let Some(file) = inherited.filter(|file| is_the_roots(root, *file)) {
            let (standing, held) = stand(file);
            return Registration { file: File::Inherited(file), standing, held };
        }
        // If a process removes the file between our open and our lock, we hold a file that no other sexton sees.
        for _ in 0..TRIES {
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
        Registration::without(replaced())
    }

    /// Only looks whether anybody else is there; takes nothing and makes nothing.
    pub fn peek(root: BorrowedFd<'_>) -> Exclusivity {
        let held = files::open_to_read(root, OsStr::new(NAME)).and_then(|file| {
            is_ordinary(file.as_fd())?;
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

    /// Whether we are still alone in the root, asked anew: to be called just before what must not happen beside
    /// another sexton.
    pub fn still_alone(&self) -> bool {
        let was = self.held && matches!(self.standing, Exclusivity::Alone);
        was && self
            .file
            .as_fd()
            .is_some_and(|file| files::is_held_by_others(file).is_ok_and(|others| !others))
    }

    /// Sees to it that the others see us; waits for that if an older sexton is sweeping at this moment. Gives the
    /// open file back if it is a new one: the lock lasts as long as any copy of it.
    pub fn settle(self) -> Option<OwnedFd> {
        let file = self.file.as_fd()?;
        let settled = self.held || files::hold(file, FlockMode::Shared).unwrap_or(false);
        match self.file {
            File::Opened(file) if settled => Some(file),
            _ => None,
        }
    }
}

/// Takes the shared lock, then asks whether others hold one. The order matters: if two sextons asked first and locked
/// then, neither would see the other.
fn stand(file: BorrowedFd<'_>) -> (Exclusivity, bool) {
    let held = files::hold(file, FlockMode::TryShared);
    let others = match &held {
        Ok(true) => files::is_held_by_others(file),
        Ok(false) => Ok(true),
        Err(error) => Err(io::Error::new(error.kind(), format!("its filesystem refuses the lock: {error}"))),
    };
    let standing = match others {
        Ok(false) => Exclusivity::Alone,
        Ok(true) => Exclusivity::Shared,
        Err(error) => Exclusivity::Unknown(error),
    };
    (standing, held.unwrap_or(false))
}

/// Opens the root's file, and makes it if there is none.
fn open(root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let name = OsStr::new(NAME);
    for _ in 0..TRIES {
        let file = match files::open_to_read(root, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match files::create_new(root, name) {
                // Another sexton was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(|error| not_made(root, &error))?,
            },
            opened => opened.map_err(|error| not_opened(root, &error))?,
        };
        is_ordinary(file.as_fd())?;
        return Ok(file);
    }
    Err(replaced())
}

fn is_ordinary(file: BorrowedFd<'_>) -> io::Result<()> {
    match files::meta(file)?.kind {
        FileKind::Regular => Ok(()),
        _ => Err(not_ordinary()),
    }
}

fn replaced() -> io::Error {
    io::Error::other("it is being replaced again and again")
}

fn not_ordinary() -> io::Error {
    io::Error::other("it is not an ordinary file; remove it")
}

/// The same error with its cause and its mend, for a file that is there.
fn not_opened(root: BorrowedFd<'_>, error: &io::Error) -> io::Error {
    let us = privileges::effective_uid();
    match (error.kind(), files::meta_in(root, OsStr::new(NAME))) {
        (io::ErrorKind::CrossesDevices, _) => io::Error::new(error.kind(), "something is mounted on it"),
        (_, Ok(meta)) if meta.kind != FileKind::Regular => not_ordinary(),
        (io::ErrorKind::PermissionDenied, Ok(meta)) => {
            let why = format!(
                "{error}: user {} has made it with mode {:04o}, and user {us} may not read it; set its mode to 0644, \
                 or remove it while no sexton uses this root",
                meta.uid, meta.mode
            );
            io::Error::new(error.kind(), why)
        }
        _ => io::Error::new(error.kind(), error.to_string()),
    }
}

/// The same for one that is not.
fn not_made(root: BorrowedFd<'_>, error: &io::Error) -> io::Error {
    let us = privileges::effective_uid();
    match (error.kind(), files::meta(root)) {
        (io::ErrorKind::PermissionDenied, Ok(meta)) => {
            let why = format!(
                "{error}: there is none, and user {us} may make no file in this directory of user {}; put an empty \
                 file of mode 0644 there",
                meta.uid
            );
            io::Error::new(error.kind(), why)
        }
        _ => io::Error::new(error.kind(), error.to_string()),
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
    use std::sync::Barrier;

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

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
        assert!(alone(&first) && first.still_alone());

        let second = Registration::take(root, None);
        assert!(!alone(&second) && !second.still_alone());
        // It came in the middle of the first one's sweep, which sees it before it removes anything.
        assert!(alone(&first) && !first.still_alone());
        let (first, second) = (first.settle().unwrap(), second.settle().unwrap());

        // The first sweeps again: it is not alone any more, and stays registered.
        let again = Registration::take(root, Some(first.as_fd()));
        assert!(!alone(&again));
        assert!(again.settle().is_none());
        assert!(!alone(&Registration::take(root, Some(second.as_fd()))));

        drop(second);
        let last = Registration::take(root, Some(first.as_fd()));
        assert!(alone(&last) && last.still_alone());
        assert!(matches!(Registration::peek(root), Exclusivity::Shared));
        last.settle();
        assert!(!alone(&Registration::take(root, None)));
        drop(first);
        assert!(matches!(Registration::peek(root), Exclusivity::Alone));
    }

    #[test]
    fn of_two_who_come_at_once_never_both_are_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = files::look(directory.path()).unwrap();
        let (begin, end) = (Barrier::new(2), Barrier::new(2));
        let come = || {
            let mut alone = Vec::new();
            for _ in 0..500 {
                begin.wait();
                let registration = Registration::take(root.as_fd(), None);
                alone.push(registration.still_alone());
                end.wait();
            }
            alone
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(come);
            (come(), other.join().unwrap())
        });
        assert!(one.iter().zip(&other).all(|(one, other)| !(*one && *other)));
    }

    /// What a sexton does that holds the file alone while it sweeps.
    fn hold_alone(file: &fs::File) {
        let whole = libc::flock {
            l_type: i16::try_from(libc::F_WRLCK).unwrap(),
            l_whence: i16::try_from(libc::SEEK_SET).unwrap(),
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    }

    #[test]
    fn an_older_sexton_that_sweeps_alone_is_seen_and_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let root = files::look(directory.path()).unwrap();
        let root = root.as_fd();
        let older = fs::File::create(directory.path().join(NAME)).unwrap();
        hold_alone(&older);
        let ours = Registration::take(root, None);
        assert!(matches!(ours.standing(), Exclusivity::Shared) && !ours.still_alone());
        assert!(matches!(Registration::peek(root), Exclusivity::Shared));
        let ours = std::thread::scope(|scope| {
            let settled = scope.spawn(|| ours.settle());
            drop(older);
            settled.join().unwrap().unwrap()
        });
        assert!(
            files::is_held_by_others(files::open_to_read(root, OsStr::new(NAME)).unwrap().as_fd()).unwrap()
        );
        drop(ours);
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
        assert!(new.is_some(), "it is a new file, and the caller must keep it");

        fs::remove_file(directory.path().join(NAME)).unwrap();
        for make in [
            (|path| fs::create_dir(path).unwrap()) as fn(&std::path::Path),
            |path| std::os::unix::fs::symlink("elsewhere", path).unwrap(),
            |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        ] {
            let path = directory.path().join(NAME);
            make(&path);
            let odd = Registration::take(root, None);
            assert!(
                matches!(odd.standing(), Exclusivity::Unknown(error) if error.to_string().contains("ordinary file")),
                "{:?}",
                odd.standing()
            );
            assert!(!odd.still_alone() && odd.settle().is_none());
            assert!(!directory.path().join("elsewhere").exists());
            let _ = fs::remove_file(&path);
            let _ = fs::remove_dir(&path);
        }
    }
}
