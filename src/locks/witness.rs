//! Asks whether the files are open that a lock's owner keeps open, where it does not keep the lock itself open.
//!
//! Chromium's lock is a link, which no process can have open; but each of its profiles has a history database open
//! as long as it runs (seen with Chromium 156). If no process has one of those open, no browser uses the directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::evidence;
use super::lock_file::LockFile;
use super::verdict::{Lease, Witness};
use super::walk::DirEntry;
use crate::os::directory;
use crate::os::files::{self, FileKind};

/// How many names beside a lock are looked through. With more of them there is no answer.
const MOST: usize = 10_000;

/// What the files of this name say, in the directories beside the lock at `spot`. Each has to be an ordinary file of
/// the lock's owner, through the same mount: others are somebody else's, and there is no answer.
pub fn ask(spot: &DirEntry<'_>, lock: &LockFile, name: &str) -> Witness {
    match answers(spot, lock, OsStr::new(name)) {
        Ok(answers) if answers.contains(&Lease::Busy) => Witness::Open,
        Ok(answers) if !answers.is_empty() && answers.iter().all(|answer| *answer == Lease::Granted) => {
            Witness::NotOpen
        }
        Ok(_) | Err(_) => Witness::NoAnswer,
    }
}

fn answers(spot: &DirEntry<'_>, lock: &LockFile, name: &OsStr) -> io::Result<Vec<Lease>> {
    let mut names = directory::list(spot.directory)?;
    let mut beside: Vec<OsString> = Vec::new();
    while let Some(found) = names.next_name() {
        let found = found?;
        if beside.len() == MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if found.kind.is_none_or(|kind| kind == FileKind::Directory) {
            beside.push(found.name.to_owned());
        }
    }
    let mut answers = Vec::new();
    for directory in beside {
        match witness(spot.directory, &directory, name, lock) {
            Ok(answer) => answers.push(answer),
            // There is no such file, or this is no directory.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}

/// The answer of one of them. The lease is given back with the file, at once.
fn witness(beside: BorrowedFd<'_>, directory: &OsStr, name: &OsStr, lock: &LockFile) -> io::Result<Lease> {
    let directory = files::enter(beside, directory)?;
    let seen = files::meta_in(directory.as_fd(), name)?;
    let file = files::open_to_read(directory.as_fd(), name)?;
    let meta = files::meta(file.as_fd())?;
    let is_the_owners = meta.uid == lock.owner() && meta.device == lock.device();
    if meta.kind != FileKind::Regular || !meta.same_file(&seen) || !is_the_owners {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(evidence::lease(file.as_fd(), meta.uid))
}
