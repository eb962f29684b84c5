//! Whose a directory is, asked so that none but root can bring about the answer "root's".

use std::io;
use std::path::Path;

use super::files::FileKind;
use super::privileges::Identity;
use super::safe_path::{self, Refusal};

/// The owner of the directory at `path`, a link there not followed. `None` in doubt: where another user may have led us
/// there, and where the answer would be root, but another user may have put the directory there.
///
/// # Errors
/// What open(2) and fstat(2) say; `NotADirectory` for anything else at `path`, a link included.
pub fn owner(path: &Path) -> io::Result<Option<Identity>> {
    let place = match safe_path::find(path) {
        Ok(place) => place,
        Err(Refusal::Failed { error, .. }) => return Err(error),
        Err(Refusal::IsLink { .. }) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(Refusal::Link { .. } | Refusal::Step { .. }) => return Ok(None),
    };
    if place.meta.kind != FileKind::Directory {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let owner = Identity { uid: place.meta.uid, gid: place.meta.gid };
    Ok(Some(owner).filter(|owner| owner.uid != 0 || place.only_root_decides))
}
