//! Goes into a root: finds it, makes sure that it is a directory, and becomes its owner.
//!
//! It says in one line why a root is not entered, and it never follows a link to one: what a link points to
//! is for the operator to name.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::context::SweepContext;
use super::escape::Escaped;
use super::roots::{Root, temporary};
use crate::os::directory;
use crate::os::files::{self, FileKind, Meta};
use crate::os::privileges;

/// What is to be said of a root itself is a warning the first time and detail from then on.
macro_rules! once {
    ($context:expr, $($line:tt)+) => {
        if $context.first { tracing::warn!($($line)+) } else { tracing::debug!($($line)+) }
    };
}
pub(super) use once;

/// A root that was entered.
pub struct Entered {
    /// The directory.
    pub directory: OwnedFd,
    /// Where it lies.
    pub path: PathBuf,
}

/// Whether a sweep of `root` will end as another user than the one that began it, and so takes a process of
/// its own.
#[must_use]
pub fn drops_to_owner(root: &Root) -> bool {
    let us = privileges::effective_uid();
    let owner = || Some(look(&locate(root)?.0).ok()?.1.uid);
    us == 0 && owner().is_some_and(|owner| owner != us)
}

/// Whether the kernel remembers that none of these roots exists, so that there is nothing to sweep. It is never asked
/// of a root that the operator named: that one is missing is to be said.
///
/// No filesystem is looked at, and so this may be asked outside of a sweep's own process.
#[must_use]
pub fn are_known_missing(roots: &[Root]) -> bool {
    let missing = |places: &[PathBuf]| places.iter().all(|place| files::is_known_missing(place));
    roots.iter().all(|root| match root {
        Root::Given(_) => false,
        // Whose directory it would be, the owner of the first that exists tells.
        Root::Discovered(places) | Root::TemporaryOfOwner { states: places, .. } => missing(places),
        Root::Temporary { base, uid } => missing(&[temporary(base, *uid)]),
    })
}

/// Why a root was not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// There is no such directory yet.
    Missing,
    /// There is nothing to enter, or it cannot be entered.
    Closed,
}

/// Opens `root` and makes this process its owner's.
///
/// # Errors
/// Why that cannot be; a line in the log says so.
pub fn enter(root: &Root, context: &SweepContext<'_>) -> Result<Entered, OpenError> {
    let Some((path, owner)) = locate(root) else {
        let missing = matches!(root, Root::Discovered(_));
        return Err(if missing { OpenError::Missing } else { OpenError::Closed });
    };
    let shown = Escaped(&path);
    let (directory, meta) = match look(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if matches!(root, Root::Given(_)) {
                once!(context, name: "root-missing", root = %shown, "the lock root {shown} does not exist");
            } else {
                tracing::debug!(name: "root-missing", root = %shown, "there is no {shown}");
            }
            return Err(OpenError::Missing);
        }
        Err(error) => {
            once!(context, name: "root-unreadable", root = %shown, error = %error, "the lock root {shown} cannot be looked at: {error}");
            return Err(OpenError::Closed);
        }
    };
    match meta.kind {
        FileKind::Directory => {}
        FileKind::Symlink => {
            let target = files::target(directory.as_fd()).unwrap_or_default();
            let target = Escaped(&target);
            once!(context, name: "root-symlink", root = %shown, target_path = %target,
                "the lock root {shown} is a symbolic link to {target}, which is not followed; name the directory itself");
            return Err(OpenError::Closed);
        }
        _ => {
            once!(context, name: "root-not-directory", root = %shown, "the lock root {shown} is not a directory");
            return Err(OpenError::Closed);
        }
    }
    if let Some(expected) = owner.filter(|expected| *expected != meta.uid) {
        once!(context, name: "root-wrong-owner", root = %shown, uid = meta.uid,
            "{shown} belongs to user {} and not to user {expected}; it is not swept", meta.uid);
        return Err(OpenError::Closed);
    }
    if let Err(error) = privileges::become_user(meta.uid, meta.gid) {
        once!(context, name: "root-setuid-failed", root = %shown, uid = meta.uid, error = %error,
            "the lock root {shown} is not swept: cannot become its owner, user {}: {error}", meta.uid);
        return Err(OpenError::Closed);
    }
    // Whether it can be listed shows here and not at the first lock.
    if let Err(error) = directory::list(directory.as_fd()) {
        once!(context, name: "root-unreadable", root = %shown, error = %error, "the lock root {shown} cannot be read: {error}");
        return Err(OpenError::Closed);
    }
    Ok(Entered { directory, path })
}

/// Where `root` lies, and whose it has to be.
fn locate(root: &Root) -> Option<(PathBuf, Option<u32>)> {
    match root {
        Root::Given(path) => Some((path.clone(), None)),
        Root::Discovered(places) => Some((first(places)?.0, None)),
        Root::Temporary { base, uid } => Some((temporary(base, *uid), Some(*uid))),
        Root::TemporaryOfOwner { base, states, uid } => {
            let owner = first(states)?.1.uid;
            (owner != *uid).then(|| (temporary(base, owner), Some(owner)))
        }
    }
}

fn look(path: &Path) -> io::Result<(OwnedFd, Meta)> {
    let file = files::look(path)?;
    let meta = files::meta(file.as_fd())?;
    Ok((file, meta))
}

fn first(places: &[PathBuf]) -> Option<(PathBuf, Meta)> {
    let found = places.iter().find_map(|place| look(place).ok().map(|(_, meta)| (place.clone(), meta)));
    if found.is_none() {
        tracing::debug!(name: "root-missing", "no state directory of a gateway was found");
    }
    found
}
