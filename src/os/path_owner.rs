//! Whose a directory is, asked so that none but root can bring about the answer "root's".

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files::{self, FileKind};
use super::privileges::Identity;

/// Others may add, remove and rename what a directory holds (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// But only what is their own.
const STICKY: u32 = 0o1000;

/// The owner of the directory at `path`, a link there not followed. `None` where the answer would be root, but
/// somebody else may have put the directory there: then a directory above it is another user's, is writable by
/// others, or is a link.
///
/// # Errors
/// What open(2) and lstat(2) say; `NotADirectory` for anything else at `path`, a link included.
pub fn owner(path: &Path) -> io::Result<Option<Identity>> {
    let meta = files::meta(files::look(path)?.as_fd())?;
    if meta.kind != FileKind::Directory {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let owner = Identity { uid: meta.uid, gid: meta.gid };
    if meta.uid == 0 && !only_root_decides(path)? {
        return Ok(None);
    }
    Ok(Some(owner))
}

/// Whether none but root can put something else at `path`.
fn only_root_decides(path: &Path) -> io::Result<bool> {
    let mut safe = path.is_absolute();
    for above in path.ancestors().skip(1) {
        safe &= is_roots_alone(&fs::symlink_metadata(above)?);
    }
    Ok(safe)
}

fn is_roots_alone(meta: &Metadata) -> bool {
    let closed = meta.mode() & WRITABLE_BY_OTHERS == 0 || meta.mode() & STICKY != 0;
    meta.is_dir() && meta.uid() == 0 && closed
}
