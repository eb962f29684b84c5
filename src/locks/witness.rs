//! Asks whether the files are open that a lock's owner keeps open, where it does not keep the lock itself open.
//!
//! Chromium's lock is a link, which no process can have open; but each of its profiles has a history database open
//! as long as it runs (seen with Chromium 156). If no process has one of those open, no browser uses the directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use super::evidence;
use super::lock_file::LockFile;
use super::rule::{Glob, Pattern};
use super::verdict::{Lease, Witness};
use super::walk::DirEntry;
use crate::os::directory;
use crate::os::files::{self, FileKind};

/// How many names are looked through. With more of them there is no answer.
const MOST: usize = 10_000;

/// What the files at this path say, below the directory of the lock at `spot`. Each has to be an ordinary file of the
/// lock's owner, on the same device. If it is not, there is no answer.
pub fn ask(spot: &DirEntry<'_>, lock: &LockFile, path: &Pattern) -> Witness {
    let mut answers = Vec::new();
    match collect(spot.directory, path.parts(), lock, &mut { MOST }, &mut answers) {
        _ if answers.contains(&Lease::Busy) => Witness::Open,
        Ok(()) if !answers.is_empty() && answers.iter().all(|answer| *answer == Lease::Granted) => {
            Witness::NotOpen
        }
        Ok(()) | Err(_) => Witness::NoAnswer,
    }
}

/// The answers of all files whose path below `directory` has these parts. `room`: how many names may still be looked
/// at.
fn collect(
    directory: BorrowedFd<'_>,
    parts: &[Glob],
    lock: &LockFile,
    room: &mut usize,
    answers: &mut Vec<Lease>,
) -> io::Result<()> {
    let Some((first, rest)) = parts.split_first() else { return Ok(()) };
    for name in names(directory, first, rest.is_empty(), room)? {
        let done = if rest.is_empty() {
            witness(directory, &name, lock).map(|answer| answers.push(answer))
        } else {
            files::enter(directory, &name).and_then(|below| collect(below.as_fd(), rest, lock, room, answers))
        };
        match done {
            // There is no such file, or this is no directory.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            done => done?,
        }
    }
    Ok(())
}

/// The names in a directory that fit; only those of directories, if they are not the last part of a path.
fn names(directory: BorrowedFd<'_>, glob: &Glob, last: bool, room: &mut usize) -> io::Result<Vec<OsString>> {
    if let Some(name) = glob.only_name() {
        return Ok(vec![OsStr::from_bytes(name).to_owned()]);
    }
    let mut found = Vec::new();
    let mut names = directory::list(directory)?;
    while let Some(name) = names.next_name() {
        let name = name?;
        *room = room.checked_sub(1).ok_or(io::ErrorKind::FileTooLarge)?;
        let may_be = last || name.kind.is_none_or(|kind| kind == FileKind::Directory);
        if may_be && glob.fits(name.name.as_bytes()) {
            found.push(name.name.to_owned());
        }
    }
    Ok(found)
}

/// The answer of one of them. The lease is given back with the file, at once.
fn witness(directory: BorrowedFd<'_>, name: &OsStr, lock: &LockFile) -> io::Result<Lease> {
    let seen = files::meta_in(directory, name)?;
    let file = files::open_to_read(directory, name)?;
    let meta = files::meta(file.as_fd())?;
    let is_the_owners = meta.uid == lock.owner() && meta.device == lock.device();
    if meta.kind != FileKind::Regular || !meta.same_file(&seen) || !is_the_owners {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(evidence::lease(file.as_fd(), meta.uid))
}
