//! A lock as it was at the instant at which it was judged, held open so that no inode's number can be given away.
//!
//! It knows what each form of lock is made of, takes that in, compares it a last time and removes it. It must
//! never read what it has not classified first, and never remove a part of a lock without the rest.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::evidence;
use super::inspect::NotALock;
use super::kind::LockShape;
use super::rule::Pattern;
use super::verdict::Lease;
use super::walk::DirEntry;
use crate::os::directory;
use crate::os::files::{self, FileKind, Meta};

/// No lock is larger; whatever is larger is not read.
const MAX_SIZE: usize = 64 * 1024;
/// How many names a directory may have that is searched for a lock's second name.
const MAX_DIR_ENTRIES: usize = 200_000;

/// One file or link.
pub struct Part {
    /// Its name.
    pub name: OsString,
    /// The open file; a link's is open without being followed.
    pub file: OwnedFd,
    /// What it was.
    pub meta: Meta,
    /// Whether a process has it open. The kernel was asked before the content was read: if no process had it open, none
    /// can have changed the content since.
    pub lease: Lease,
    /// What it held, or where it pointed.
    pub bytes: Vec<u8>,
}

/// A lock.
pub enum LockFile {
    /// A file, with the second name that its writer died before removing.
    File {
        /// The file.
        lock: Part,
        /// The second name.
        temp_link: Option<OsString>,
    },
    /// A link, and those beside it.
    Symlink {
        /// The link that names the owner.
        lock: Part,
        /// The others that are there.
        with: Vec<Part>,
    },
    /// A directory.
    Directory {
        /// The directory, open to find names in it.
        directory: OwnedFd,
        /// What it was.
        meta: Meta,
        /// Its record; without one its owner died before writing it.
        record: Option<Part>,
    },
}

/// Takes in what lies at `spot`.
///
/// # Errors
/// What the system says; `NotFound` also if it became another file meanwhile.
pub fn take(spot: &DirEntry<'_>, form: &LockShape) -> io::Result<Result<LockFile, NotALock>> {
    if spot.kind == Some(FileKind::Regular) && matches!(form, LockShape::File) {
        let lock = file(spot.directory, spot.name, None, 1)?;
        return Ok(lock.map(|lock| LockFile::File { lock, temp_link: None }));
    }
    // What is looked at here is opened by name afterwards, and compared: something that is swapped in between is
    // seen, and no driver is woken by a look.
    let seen = files::meta_in(spot.directory, spot.name)?;
    Ok(match (form, seen.kind) {
        (LockShape::File | LockShape::Linked(_), FileKind::Regular) => {
            let temp_link = match form {
                LockShape::Linked(names) if seen.links == 2 => temp_link(spot, names, &seen)?,
                _ => None,
            };
            let links = if temp_link.is_some() { 2 } else { 1 };
            file(spot.directory, spot.name, Some(&seen), links)?
                .map(|lock| LockFile::File { lock, temp_link })
        }
        (LockShape::Symlink(with), FileKind::Symlink) => links(spot, with)?,
        (LockShape::Directory(record), FileKind::Directory) => directory(spot, &seen, OsStr::new(record))?,
        (_, kind) => Err(NotALock::Kind(kind)),
    })
}

/// A regular file that has been seen, if only in a list of names, and is not yet open. Opening never waits and
/// never follows a link, and what was opened is looked at before it is read.
fn file(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    seen: Option<&Meta>,
    links: u64,
) -> io::Result<Result<Part, NotALock>> {
    if let Some(not_a_lock) = seen.and_then(|seen| not_a_lock(seen, links)) {
        return Ok(Err(not_a_lock));
    }
    let file = files::open_to_read(directory, name)?;
    let meta = files::meta(file.as_fd())?;
    if seen.is_some_and(|seen| !meta.same_file(seen)) {
        return Err(io::ErrorKind::NotFound.into());
    }
    if let Some(not_a_lock) = not_a_lock(&meta, links) {
        return Ok(Err(not_a_lock));
    }
    let lease = evidence::lease(file.as_fd(), meta.uid);
    let bytes = files::read_up_to(file.as_fd(), MAX_SIZE + 1)?;
    if bytes.len() > MAX_SIZE {
        return Ok(Err(NotALock::Size(meta.size)));
    }
    Ok(Ok(Part { name: name.to_owned(), file, meta, lease, bytes }))
}

fn not_a_lock(meta: &Meta, links: u64) -> Option<NotALock> {
    if meta.kind != FileKind::Regular {
        Some(NotALock::Kind(meta.kind))
    } else if meta.links > links {
        Some(NotALock::Links(meta.links))
    } else if usize::try_from(meta.size).is_ok_and(|size| size > MAX_SIZE) {
        Some(NotALock::Size(meta.size))
    } else {
        None
    }
}

/// The other name of a file that has two, if it is one that its writer gives it.
fn temp_link(spot: &DirEntry<'_>, writers: &Pattern, seen: &Meta) -> io::Result<Option<OsString>> {
    let [writers] = writers.parts() else { return Ok(None) };
    let mut names = directory::list(spot.directory)?;
    for _ in 0..MAX_DIR_ENTRIES {
        let Some(name) = names.next_name() else { break };
        let name = name?.name;
        if writers.fits(name.as_bytes())
            && name != spot.name
            && files::meta_in(spot.directory, name).is_ok_and(|meta| meta.same_file(seen))
        {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

fn link(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Result<Part, NotALock>> {
    let file = files::look_in(directory, name)?;
    let meta = files::meta(file.as_fd())?;
    if meta.kind != FileKind::Symlink {
        return Ok(Err(NotALock::Kind(meta.kind)));
    }
    let bytes = files::target(file.as_fd())?.into_os_string().into_vec();
    Ok(Ok(Part { name: name.to_owned(), file, meta, lease: Lease::NotAFile, bytes }))
}

fn links(spot: &DirEntry<'_>, with: &[String]) -> io::Result<Result<LockFile, NotALock>> {
    let lock = match link(spot.directory, spot.name)? {
        Ok(lock) => lock,
        Err(not_a_lock) => return Ok(Err(not_a_lock)),
    };
    let mut others = Vec::new();
    for name in with {
        match link(spot.directory, OsStr::new(name)) {
            Ok(Ok(piece)) if piece.meta.uid == lock.meta.uid => others.push(piece),
            Ok(_) => return Ok(Err(NotALock::Companion)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(LockFile::Symlink { lock, with: others }))
}

fn directory(spot: &DirEntry<'_>, seen: &Meta, record: &OsStr) -> io::Result<Result<LockFile, NotALock>> {
    let directory = files::enter(spot.directory, spot.name)?;
    let meta = files::meta(directory.as_fd())?;
    if meta.device != spot.device()? {
        return Err(io::ErrorKind::CrossesDevices.into());
    }
    if !meta.same_file(seen) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut names = directory::list(directory.as_fd())?;
    while let Some(name) = names.next_name() {
        if name?.name != record {
            return Ok(Err(NotALock::Contents));
        }
    }
    let piece = match files::meta_in(directory.as_fd(), record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
        Ok(seen) => match file(directory.as_fd(), record, Some(&seen), 1)? {
            Ok(piece) => Some(piece),
            Err(_) => return Ok(Err(NotALock::Contents)),
        },
    };
    Ok(Ok(LockFile::Directory { directory, meta, record: piece }))
}

impl Part {
    /// Whether this still lies at its name in `directory`, as it was: file, size, time, owner, number of names
    /// and content, which is compared first, because the identity is what has to be true last.
    fn is_there(&self, directory: BorrowedFd<'_>) -> io::Result<bool> {
        // A link's target cannot change; another link is another inode.
        let cannot_change = self.meta.kind == FileKind::Symlink || self.lease == Lease::Granted;
        let is_same =
            cannot_change || files::read_up_to(self.file.as_fd(), self.bytes.len() + 1)? == self.bytes;
        Ok(is_same && files::meta_in(directory, &self.name)? == self.meta)
    }
}

impl LockFile {
    /// What names the owner; `None` for a directory without its record.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.lock().map(|piece| piece.bytes.as_slice())
    }

    /// The file of whom it can be asked who has it open.
    pub fn leasable_parts(&self) -> Option<&Part> {
        self.lock().filter(|piece| piece.meta.kind == FileKind::Regular)
    }

    /// When it was last written: seconds and nanoseconds since 1970.
    pub fn modified(&self) -> (i64, i64) {
        match self {
            LockFile::File { lock, .. } | LockFile::Symlink { lock, .. } => lock.meta.modified,
            LockFile::Directory { meta, record, .. } => {
                record.as_ref().map_or(meta.modified, |record| record.meta.modified)
            }
        }
    }

    /// When anything about any part of it last changed: seconds and nanoseconds since 1970 (inode(7), ctime).
    pub fn changed(&self) -> (i64, i64) {
        match self {
            LockFile::File { lock, .. } => lock.meta.changed,
            LockFile::Symlink { lock, with } => {
                with.iter().fold(lock.meta.changed, |latest, part| latest.max(part.meta.changed))
            }
            LockFile::Directory { meta, record, .. } => {
                record.iter().fold(meta.changed, |latest, part| latest.max(part.meta.changed))
            }
        }
    }

    /// The user whose it is.
    pub fn owner(&self) -> u32 {
        self.meta().uid
    }

    /// Its group.
    pub fn group(&self) -> u32 {
        self.meta().gid
    }

    /// The device on which it lies.
    pub fn device(&self) -> u64 {
        self.meta().device
    }

    /// Its number on that device.
    pub fn inode(&self) -> u64 {
        self.meta().inode
    }

    /// A number that names this very lock and no later one of the same name.
    pub fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let meta = self.meta();
        let mut hasher = DefaultHasher::new();
        (meta.device, meta.inode, self.modified()).hash(&mut hasher);
        hasher.finish()
    }

    /// What lies at the lock's own name.
    fn meta(&self) -> &Meta {
        match self {
            LockFile::File { lock, .. } | LockFile::Symlink { lock, .. } => &lock.meta,
            LockFile::Directory { meta, .. } => meta,
        }
    }

    fn lock(&self) -> Option<&Part> {
        match self {
            LockFile::File { lock, .. } | LockFile::Symlink { lock, .. } => Some(lock),
            LockFile::Directory { record, .. } => record.as_ref(),
        }
    }

    /// Whether all of it still lies at `spot`, unchanged.
    ///
    /// # Errors
    /// What the system says; `NotFound` if a part of it is gone.
    pub fn is_unchanged(&self, spot: &DirEntry<'_>) -> io::Result<bool> {
        match self {
            LockFile::File { lock, .. } => lock.is_there(spot.directory),
            LockFile::Symlink { lock, with } => {
                for piece in with {
                    if !piece.is_there(spot.directory)? {
                        return Ok(false);
                    }
                }
                lock.is_there(spot.directory)
            }
            LockFile::Directory { directory, meta, record } => {
                if let Some(record) = record
                    && !record.is_there(directory.as_fd())?
                {
                    return Ok(false);
                }
                Ok(files::meta_in(spot.directory, spot.name)? == *meta)
            }
        }
    }

    /// Removes all of it. What names the owner goes last where several names lie side by side, so that a lock
    /// of which only a part could be removed is still one that names its owner.
    ///
    /// # Errors
    /// What the system says; then what names the owner is still there, unless a directory could not be removed
    /// behind it.
    pub fn remove(&self, spot: &DirEntry<'_>) -> io::Result<()> {
        match self {
            LockFile::File { temp_link, .. } => {
                if let Some(temp_link) = temp_link {
                    gone_is_fine(files::unlink(spot.directory, temp_link))?;
                }
            }
            LockFile::Symlink { with, .. } => {
                for piece in with {
                    gone_is_fine(files::unlink(spot.directory, &piece.name))?;
                }
            }
            LockFile::Directory { directory, record, .. } => {
                if let Some(record) = record {
                    files::unlink(directory.as_fd(), &record.name)?;
                }
                return files::remove_directory(spot.directory, spot.name);
            }
        }
        files::unlink(spot.directory, spot.name)
    }
}

fn gone_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
