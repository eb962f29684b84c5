//! Goes into a root: finds it, makes sure that it is a directory, and becomes its owner.
//!
//! It says in one line why a root is not entered. It never follows a link to a root: the operator must name the link's
//! target. And it follows no path by which another user could have led it to a directory of a third user
//! ([`safe_path`]). The user that a root is swept as is decided once, when it is first entered. Whatever is at its path
//! later, sexton never becomes another user for it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::context::SweepContext;
use super::roots::{Root, temporary};
use crate::os::directory;
use crate::os::files::{self, FileKind, Meta};
use crate::os::privileges;
use crate::os::safe_path::{self, Place, Refusal};
use crate::types::Escaped;

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

/// Whose a root is, as it was decided when it was first entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootOwner {
    /// The owner's id.
    pub uid: u32,
    /// The directory's group.
    pub gid: u32,
    /// The device that held the directory.
    pub device: u64,
    /// Its number on that device.
    pub inode: u64,
}

/// What is known of a root from earlier looks at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownRoot {
    /// Whose it is, once it was entered.
    pub owner: Option<RootOwner>,
    /// It was refused the last time, and that was said.
    pub refused: bool,
}

impl KnownRoot {
    /// Of a root that is to be entered only if it is our own.
    #[must_use]
    pub fn only_ours(refused: bool) -> KnownRoot {
        let uid = privileges::effective_uid();
        KnownRoot { owner: Some(RootOwner { uid, gid: 0, device: 0, inode: 0 }), refused }
    }
}

impl RootOwner {
    fn of(meta: &Meta) -> RootOwner {
        RootOwner { uid: meta.uid, gid: meta.gid, device: meta.device, inode: meta.inode }
    }

    fn is_same_directory(self, meta: &Meta) -> bool {
        (self.device, self.inode) == (meta.device, meta.inode)
    }
}

/// Whether a sweep of `root` will end as another user than the one that began it, and so takes a process of
/// its own.
#[must_use]
pub fn drops_to_owner(root: &Root) -> bool {
    let us = privileges::effective_uid();
    us == 0 && find(root).is_ok_and(|found| found.place.meta.uid != us)
}

/// Whether the kernel remembers that none of these roots exists, so that there is nothing to sweep. It is never asked
/// of a root that the operator named: that one is missing is to be said.
///
/// No filesystem is looked at, and so this may be asked outside of a sweep's own process.
#[must_use]
pub fn are_known_missing(roots: &[Root]) -> bool {
    let missing = |places: &[PathBuf]| places.iter().all(|place| files::is_known_missing(place));
    let is_discovered = |places: &[PathBuf]| {
        roots.iter().any(|root| matches!(root, Root::Discovered(same) if same == places))
    };
    roots.iter().all(|root| match root {
        Root::Given(_) => false,
        Root::Catalogue(path) => files::is_known_missing(path),
        Root::Discovered(places) => missing(places),
        // Whose directory it would be, the owner of the first that exists tells.
        Root::TemporaryOfOwner { states, .. } => is_discovered(states) || missing(states),
        Root::Temporary { base, uid } => files::is_known_missing(&temporary(base, *uid)),
    })
}

/// Why a root was not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// There is no such directory yet.
    Missing,
    /// There is nothing to enter, or it cannot be entered.
    Closed,
    /// Another user may have put something else in its place.
    Refused,
}

/// Where a root lies.
#[derive(Debug)]
pub struct Found {
    /// The path.
    pub path: PathBuf,
    /// What is there.
    pub place: Place,
    /// Whose it has to be.
    expected: Option<u32>,
}

impl Found {
    /// That it was seen to be whose it is, and nothing is wrong with it.
    #[must_use]
    pub fn known(&self) -> KnownRoot {
        KnownRoot { owner: Some(RootOwner::of(&self.place.meta)), refused: false }
    }
}

/// Why a root was not found.
#[derive(Debug)]
pub enum NotFound {
    /// None of the places where it could be exists.
    Nowhere,
    /// It is the same directory as another root, or would be.
    Elsewhere,
    /// This path leads nowhere, or somewhere where another user may have led us.
    Refused(PathBuf, Refusal),
}

/// Looks for `root`, as what it is there for, and follows no other user's link on the way.
///
/// # Errors
/// Why it is not found.
pub fn find(root: &Root) -> Result<Found, NotFound> {
    let at = |path: PathBuf, expected| match safe_path::find(&path) {
        Ok(place) => Ok(Found { path, place, expected }),
        Err(refusal) => Err(NotFound::Refused(path, refusal)),
    };
    match root {
        Root::Given(path) | Root::Catalogue(path) => at(path.clone(), None),
        Root::Discovered(places) => first(places),
        Root::Temporary { base, uid } => at(temporary(base, *uid), Some(*uid)),
        Root::TemporaryOfOwner { base, states, uid } => {
            let owner = match first(states) {
                Ok(found) => found.place.meta.uid,
                Err(NotFound::Refused(_, Refusal::IsLink { uid, .. })) => uid,
                // What is wrong with it is said by the root that it is itself.
                Err(_) => return Err(NotFound::Nowhere),
            };
            let elsewhere = owner == *uid;
            if elsewhere { Err(NotFound::Elsewhere) } else { at(temporary(base, owner), Some(owner)) }
        }
    }
}

/// The first of these that exists. One to which another user may have led us is not passed over.
fn first(places: &[PathBuf]) -> Result<Found, NotFound> {
    let mut unseen = NotFound::Nowhere;
    for path in places {
        match safe_path::find(path) {
            Ok(place) => return Ok(Found { path: path.clone(), place, expected: None }),
            Err(refusal) if refusal.is_missing() => {}
            Err(refusal) => {
                let failed = matches!(refusal, Refusal::Failed { .. });
                let refused = NotFound::Refused(path.clone(), refusal);
                if !failed {
                    return Err(refused);
                }
                if matches!(unseen, NotFound::Nowhere) {
                    unseen = refused;
                }
            }
        }
    }
    Err(unseen)
}

/// Opens `root` and makes this process its owner's. `decided` is told whose it is before that, if that was not known,
/// and `before` does what only we can do as who we are.
///
/// # Errors
/// Why that cannot be; a line in the log says so.
pub fn enter(
    root: &Root,
    context: &SweepContext<'_>,
    known: KnownRoot,
    decided: &mut dyn FnMut(RootOwner),
    before: &mut dyn FnMut(&Place),
) -> Result<Entered, OpenError> {
    let Found { path, place, expected } = match find(root) {
        Ok(found) => found,
        Err(not_found) => return Err(say(root, &not_found, context, known)),
    };
    let shown = Escaped(&path);
    let meta = place.meta;
    if meta.kind != FileKind::Directory {
        once!(context, name: "root-not-directory", root = %shown, "the lock root {shown} is not a directory");
        return Err(OpenError::Closed);
    }
    if let Some(expected) = expected.filter(|expected| *expected != meta.uid) {
        once!(context, name: "root-wrong-owner", root = %shown, uid = meta.uid,
            "{shown} belongs to user {} and not to user {expected}; it is not swept", meta.uid);
        return Err(OpenError::Closed);
    }
    let owner = match whose(&place, known, context.first) {
        Ok(owner) => owner,
        Err(doubt) => {
            unless_said(known, &|| {
                tracing::warn!(name: "root-owner-changed", root = %shown, uid = meta.uid,
                    "the lock root {shown} is not swept: {doubt}");
            });
            return Err(OpenError::Refused);
        }
    };
    if known.owner.is_none() {
        decided(owner);
    }
    before(&place);
    if let Err(error) = privileges::become_user(owner.uid, owner.gid) {
        once!(context, name: "root-setuid-failed", root = %shown, uid = owner.uid, error = %error,
            "the lock root {shown} is not swept: cannot become its owner, user {}: {error}", owner.uid);
        return Err(OpenError::Closed);
    }
    // Whether it can be listed shows here and not at the first lock.
    if let Err(error) = directory::list(place.file.as_fd()) {
        once!(context, name: "root-unreadable", root = %shown, error = %error, "the lock root {shown} cannot be read: {error}");
        return Err(OpenError::Closed);
    }
    Ok(Entered { directory: place.file, path })
}

fn nowhere() -> OpenError {
    tracing::debug!(name: "root-missing", "no state directory of a gateway was found");
    OpenError::Missing
}

/// Says why a root was not found.
fn say(root: &Root, not_found: &NotFound, context: &SweepContext<'_>, known: KnownRoot) -> OpenError {
    let is_searched_for = matches!(root, Root::Discovered(_));
    let (path, refusal) = match not_found {
        NotFound::Elsewhere => return OpenError::Closed,
        // Where a gateway would look is not always where we may.
        NotFound::Refused(_, Refusal::Failed { .. }) if is_searched_for => return nowhere(),
        NotFound::Nowhere => return nowhere(),
        // Where a program would have its locks; what is behind a link has a name of its own.
        NotFound::Refused(path, Refusal::Failed { .. } | Refusal::IsLink { .. })
            if matches!(root, Root::Catalogue(_)) =>
        {
            let shown = Escaped(path);
            tracing::debug!(name: "root-missing", root = %shown, "there is no {shown}");
            return OpenError::Missing;
        }
        NotFound::Refused(path, refusal) => (path, refusal),
    };
    let shown = Escaped(path);
    match refusal {
        Refusal::Failed { error, .. } if error.kind() == io::ErrorKind::NotFound => {
            if matches!(root, Root::Given(_)) {
                once!(context, name: "root-missing", root = %shown, "the lock root {shown} does not exist");
            } else {
                tracing::debug!(name: "root-missing", root = %shown, "there is no {shown}");
            }
            OpenError::Missing
        }
        Refusal::Failed { at, error } => {
            let at = Escaped(at);
            once!(context, name: "root-unreadable", root = %shown, error = %error,
                "the lock root {shown} cannot be looked at: {at}: {error}");
            OpenError::Closed
        }
        Refusal::IsLink { target, .. } => {
            let target = Escaped(target);
            once!(context, name: "root-symlink", root = %shown, target_path = %target,
                "the lock root {shown} is a symbolic link to {target}, which is not followed; name the directory itself");
            OpenError::Closed
        }
        Refusal::Link { .. } | Refusal::Step { .. } => {
            let why = Explained(refusal);
            unless_said(known, &|| {
                tracing::warn!(name: "root-unsafe-path", root = %shown,
                    "the lock root {shown} is not swept: {why}");
            });
            OpenError::Refused
        }
    }
}

/// A root that becomes another in the middle of a run is worth a warning, once.
fn unless_said(known: KnownRoot, say: &dyn Fn()) {
    if !known.refused {
        say();
    }
}

/// Why a path is not gone, and what is to be done, in words.
pub struct Explained<'a>(pub &'a Refusal);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refusal::Failed { at, error } => write!(f, "{}: {error}", Escaped(at)),
            Refusal::IsLink { target, .. } => {
                write!(f, "it is a symbolic link to {}; name the directory itself", Escaped(target))
            }
            Refusal::Link { at, uid } => write!(
                f,
                "{} on its way is a symbolic link, of user {uid}, where another user can have put it; name the \
                 directory behind it",
                Escaped(at)
            ),
            Refusal::Step { from, from_uid, to, to_uid } => write!(
                f,
                "{} on its way belongs to user {from_uid}, who can put anything in it, but {} to user {to_uid}; give \
                 both to one of them, or use a directory elsewhere",
                Escaped(from),
                Escaped(to)
            ),
        }
    }
}

/// The user that a root is swept as; in doubt, why it is not swept.
///
/// If we are not root, that is as ourselves, whatever happens. For root it is decided once, as the directory's owner:
/// what lies at the path later has to be of the same user, and if that is root, the same directory, or one that none
/// but root can have put there. The same holds for root's directory that turned up after the start.
fn whose(place: &Place, known: KnownRoot, at_start: bool) -> Result<RootOwner, String> {
    let now = RootOwner::of(&place.meta);
    if privileges::effective_uid() != 0 {
        return Ok(now);
    }
    let is_new = known.owner.map_or(!at_start, |owner| !owner.is_same_directory(&place.meta));
    match known.owner {
        Some(owner) if owner.uid != now.uid => Err(format!(
            "it belonged to user {} when it was first looked at, and belongs to user {} now; restart sexton, if that \
             is meant to be so",
            owner.uid, now.uid
        )),
        _ if now.uid == 0 && is_new && !place.only_root_decides => Err(
            "root's directory there was put there after the start, and another user may have done so; restart sexton, \
             if that is meant to be so"
                .to_owned(),
        ),
        Some(owner) => Ok(owner),
        None => Ok(now),
    }
}
