//! The file with the marks of one root: found, locked for as long as the sexton that writes it lives, and rewritten.
//!
//! It is in the root itself, if that is our own and no other user can write there. If root sweeps another user's root,
//! it is in `/var/lib/sexton`, where that user cannot forge it. Its lock is an flock(2) lock and belongs to the open
//! file. sexton keeps the file open, and the kernel releases the lock when sexton dies.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::evidence;
use super::lock_file::LockFile;
use super::marks::{MAX_SIZE, Mark, MarkSays, Marks};
use crate::os::files::{self, FileKind, Meta};
use crate::os::safe_path::{self, Place};
use crate::os::{clock, lease, presence, privileges, procfs};
use crate::types::MonoTime;

/// The file's name in a root.
const NAME: &str = ".sexton.marks";
/// Where it lies for root where the root is another user's. Not /var/lib/sexton, which sexton@.service has as the
/// parent of its state directories: as root's alone it would keep every such service from its own.
const ELSEWHERE: &str = "/var/lib/sexton-marks";
/// How long after the lock of a PID 1 was seen free the last of the processes that lived with it may still run: the
/// kernel closes its files before it ends the others. 3.9 ms were seen.
const LAST_BREATH: Duration = Duration::from_millis(100);

enum File<'a> {
    Inherited(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl File<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            File::Inherited(file) => *file,
            File::Opened(file) => file.as_fd(),
        }
    }
}

/// The marks of a root, as long as a sweep lasts.
pub struct MarkFile<'a> {
    file: Option<File<'a>>,
    /// Where it can be made when it is needed.
    place: Option<(OwnedFd, OsString)>,
    marks: Marks,
    init: bool,
    /// Whether /proc shows the processes that the marks are about.
    proc_is_ours: bool,
    /// When those that lived with a dead PID 1 are dead as well.
    settled: MonoTime,
}

impl<'a> MarkFile<'a> {
    /// No marks, and no room for any.
    pub fn none() -> MarkFile<'a> {
        MarkFile {
            file: None,
            place: None,
            marks: Marks::default(),
            init: false,
            proc_is_ours: false,
            settled: MonoTime::default(),
        }
    }

    /// The marks of the root at `root`; to be called before we become its owner. `inherited` is the file that an
    /// earlier sweep of this sexton has opened. `init`: this sexton is PID 1 of its pid namespace. `alive`: owners may
    /// be there to be marked.
    pub fn take(root: &Place, inherited: Option<BorrowedFd<'a>>, init: bool, alive: bool) -> MarkFile<'a> {
        let settled = clock::now().after(LAST_BREATH);
        let proc_is_ours = procfs::is_of_our_namespace();
        let empty = MarkFile { init, proc_is_ours, settled, ..MarkFile::none() };
        if let Some(file) = inherited {
            let marks = read(file).unwrap_or_default();
            return MarkFile { file: Some(File::Inherited(file)), marks, ..empty };
        }
        let Some((directory, name)) = place(root, init && alive) else { return empty };
        // After the change of user it cannot be made any more.
        let at_once = init && alive && root.meta.uid != privileges::effective_uid();
        match open(directory.as_fd(), &name, at_once) {
            Ok(Some((file, marks))) => {
                let marks = marks.inherited(init);
                // Else what another sexton has seen alive would read as seen by us.
                if files::rewrite(file.as_fd(), &marks.bytes()).is_err() {
                    return empty;
                }
                MarkFile { file: Some(File::Opened(file)), marks, ..empty }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                MarkFile { place: Some((directory, name)), ..empty }
            }
            // It is another user's, or held by another sexton, or it cannot be used.
            Ok(None) | Err(_) => empty,
        }
    }

    /// Looks at them, and takes and changes nothing.
    pub fn peek(root: &Place) -> MarkFile<'a> {
        let empty = MarkFile { settled: clock::now().after(LAST_BREATH), ..MarkFile::none() };
        let Some((directory, name)) = place(root, false) else { return empty };
        match open(directory.as_fd(), &name, false) {
            Ok(Some((_, marks))) => MarkFile { marks: marks.inherited(false), ..empty },
            Ok(None) | Err(_) => empty,
        }
    }

    /// What they say of this lock.
    pub fn says(&self, lock: &LockFile) -> MarkSays {
        let lives = |pid, start| match procfs::stat(pid) {
            _ if !self.proc_is_ours => true,
            Ok(Some(stat)) => stat.start == start && !stat.is_dead(),
            // It may be hidden (proc(5), hidepid).
            Ok(None) => presence::exists(pid).unwrap_or(true),
            Err(_) => true,
        };
        let says = self.marks.says(lock, lives);
        if says == MarkSays::LifeOver {
            lease::pause(self.settled.since(clock::now()));
        }
        says
    }

    /// Whether this lock is marked.
    pub fn place_of(&self, lock: &LockFile) -> Option<usize> {
        self.marks.place_of(lock)
    }

    /// Whether owners that live can be marked, besides so many new ones.
    pub fn has_room(&self, new: usize) -> bool {
        self.proc_is_ours && (self.file.is_some() || self.place.is_some()) && self.marks.has_room(new)
    }

    /// The places of all of them.
    pub fn places(&self) -> Vec<usize> {
        self.marks.places()
    }

    /// Writes down which of the marked locks are still there, and new marks. What cannot be written is not marked.
    pub fn renew(&mut self, is_there: &[usize], new: Vec<Mark>) {
        if self.file.is_none()
            && !new.is_empty()
            && let Some((directory, name)) = self.place.take()
            && let Ok(Some((file, marks))) = open(directory.as_fd(), &name, true)
        {
            (self.marks, self.file) = (marks.inherited(self.init), Some(File::Opened(file)));
        }
        let Some(file) = &self.file else { return };
        let renewed = self.marks.renewed(is_there, new);
        if renewed != self.marks && files::rewrite(file.as_fd(), &renewed.bytes()).is_ok() {
            self.marks = renewed;
        }
    }

    /// The open file, if this sweep has opened it. The caller keeps it open as long as sexton lives.
    pub fn into_opened(self) -> Option<OwnedFd> {
        match self.file {
            Some(File::Opened(file)) => Some(file),
            Some(File::Inherited(_)) | None => None,
        }
    }
}

/// The directory of the mark file of this root, and the file's name there. `None`, if another user could write it.
fn place(root: &Place, make: bool) -> Option<(OwnedFd, OsString)> {
    let us = privileges::effective_uid();
    if is_ours_alone(&root.meta, us) {
        return Some((root.file.try_clone().ok()?, NAME.into()));
    }
    if us != 0 {
        return None;
    }
    let path = Path::new(ELSEWHERE);
    if make {
        // One that is there is looked at below.
        let _ = files::make_private_directory(path);
    }
    let found = safe_path::find(path).ok()?;
    let name = format!("marks-{:x}-{:x}", root.meta.device, root.meta.inode);
    is_ours_alone(&found.meta, us).then(|| (found.file, name.into()))
}

fn is_ours_alone(meta: &Meta, us: u32) -> bool {
    meta.kind == FileKind::Directory && meta.uid == us && meta.mode & 0o022 == 0
}

/// The file, locked, with what stands in it; nothing, if another sexton has it, or it is not one of ours.
fn open(directory: BorrowedFd<'_>, name: &OsStr, make: bool) -> io::Result<Option<(OwnedFd, Marks)>> {
    let file = files::open_private(directory, name, make)?;
    let meta = files::meta(file.as_fd())?;
    let is_ours = meta.kind == FileKind::Regular
        && meta.uid == privileges::effective_uid()
        && meta.mode & 0o077 == 0
        && meta.links == 1;
    if !is_ours || !evidence::is_local(file.as_fd()) || !files::lock_alone(file.as_fd())? {
        return Ok(None);
    }
    // Another process may have put another file there before we had the lock.
    if !files::meta_in(directory, name)?.same_file(&meta) {
        return Ok(None);
    }
    let marks = read(file.as_fd())?;
    Ok(Some((file, marks)))
}

fn read(file: BorrowedFd<'_>) -> io::Result<Marks> {
    let meta = files::meta(file)?;
    let bytes = files::read_up_to(file, MAX_SIZE + 1)?;
    let this = (meta.device, meta.inode);
    Ok(Marks::parse(&bytes, this).unwrap_or_else(|| Marks::none(false, this)))
}
