//! Asks whether a process listens at the socket that a lock's owner listens at.
//!
//! A socket in a directory answers across pid namespaces and network namespaces: the kernel finds the process that has
//! bound it by the file itself (unix(7)). Through another mount it can be another file: one that was bound in an
//! overlay's merged directory is refused at the upper one, although its owner listens.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::lock_file::LockFile;
use super::rule::components;
use super::verdict::Socket;
use super::walk::DirEntry;
use crate::os::files::{self, FileKind, Meta};
use crate::os::unix_socket::{self, Listener};
use crate::os::{mounts, privileges};

/// Where the owner of a kind of lock listens: a path below the lock's directory. A `*` in it stands for what the `*` in
/// the lock's own name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPath {
    /// What stands before and after the star in the lock's name, if one does.
    around: Option<(Vec<u8>, Vec<u8>)>,
    parts: Vec<Vec<u8>>,
    /// Whether its owner listens before it takes the lock.
    first: bool,
}

/// How long before the lock such a socket was bound at most: an older one is of an earlier owner.
const BEFORE: i64 = 10;

impl SocketPath {
    /// The socket at `text` for locks whose path is `lock`. `None` if `text` is empty, absolute, or holds an empty part,
    /// `.` or `..`; or if it has a star in it, and the last part of `lock` does not have exactly one. `first`: the owner
    /// listens before it takes the lock, and not soon after it.
    #[must_use]
    pub fn new(text: &str, lock: &str, first: bool) -> Option<SocketPath> {
        let parts = components(text)?.map(|part| part.as_bytes().to_vec()).collect();
        let name = lock.rsplit('/').next().unwrap_or(lock);
        let around = name
            .split_once('*')
            .filter(|(_, after)| !after.contains('*'))
            .map(|(before, after)| (before.as_bytes().to_vec(), after.as_bytes().to_vec()));
        (around.is_some() || !text.contains('*')).then_some(SocketPath { around, parts, first })
    }

    /// The parts of the path for a lock of this name.
    fn of(&self, name: &[u8]) -> Option<Vec<OsString>> {
        let star = match &self.around {
            Some((before, after)) => name.strip_prefix(before.as_slice())?.strip_suffix(after.as_slice())?,
            None => b"",
        };
        let filled = |part: &Vec<u8>| {
            let pieces: Vec<&[u8]> = part.split(|byte| *byte == b'*').collect();
            OsString::from_vec(pieces.join(star))
        };
        Some(self.parts.iter().map(filled).collect())
    }
}

/// What the socket of the lock at `spot` says. It proves something only if it is the lock owner's, lies on the same
/// mount, and was bound by the process that took the lock: after that, or just before where its kind does so.
pub fn ask(spot: &DirEntry<'_>, lock: &LockFile, path: &SocketPath) -> Socket {
    let Ok(Some((directory, file, meta))) = found(spot, path) else { return Socket::NoAnswer };
    let asked = privileges::acting_as(lock.owner(), lock.group(), || unix_socket::listener(file.as_fd()));
    match asked {
        Ok(Listener::Lives(pid)) => Socket::Listens(pid),
        Ok(Listener::None) if proves(spot, lock, path, &directory, &meta) => Socket::Refused,
        Ok(Listener::None | Listener::NoAnswer(_)) | Err(_) => Socket::NoAnswer,
    }
}

fn proves(
    spot: &DirEntry<'_>,
    lock: &LockFile,
    path: &SocketPath,
    directory: &OwnedFd,
    socket: &Meta,
) -> bool {
    let mount = mounts::id(spot.directory);
    let same_mount = mount.is_some() && mounts::id(directory.as_fd()) == mount;
    // When a socket was bound: later changes are of its owner or its mode.
    let (bound, taken) = (socket.modified, lock.changed());
    let is_its =
        if path.first { bound <= taken && taken.0.saturating_sub(bound.0) <= BEFORE } else { bound >= taken };
    same_mount && socket.device == lock.device() && socket.uid == lock.owner() && is_its
}

/// The socket with its directory; nothing, if there is something else.
fn found(spot: &DirEntry<'_>, path: &SocketPath) -> io::Result<Option<(OwnedFd, OwnedFd, Meta)>> {
    let parts = path.of(spot.name.as_bytes()).unwrap_or_default();
    let Some((name, above)) = parts.split_last() else { return Ok(None) };
    let mut directory = spot.directory.try_clone_to_owned()?;
    for part in above {
        directory = files::enter(directory.as_fd(), part)?;
    }
    let file = files::look_in(directory.as_fd(), name)?;
    let meta = files::meta(file.as_fd())?;
    Ok((meta.kind == FileKind::Socket).then_some((directory, file, meta)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_star_stands_for_what_the_locks_star_stands_for() {
        let of = |text: &str, lock: &str, name: &str| {
            let parts = SocketPath::new(text, lock, false)?.of(name.as_bytes())?;
            Some(parts.join(OsStr::new("/")).into_string().unwrap())
        };
        assert_eq!(of(".X11-unix/X*", ".X*-lock", ".X99-lock").as_deref(), Some(".X11-unix/X99"));
        assert_eq!(
            of(".s.PGSQL.*", "pg/.s.PGSQL.*.lock", ".s.PGSQL.5432.lock").as_deref(),
            Some(".s.PGSQL.5432")
        );
        assert_eq!(of("native", "*/pulse/pid", "pid").as_deref(), Some("native"));
        assert_eq!(of("a*b*", "*.pid", "x.pid").as_deref(), Some("axbx"));
        for (text, lock) in [
            ("", "a"),
            ("/a", "a"),
            ("a//b", "a"),
            ("../a", "a"),
            ("./a", "a"),
            ("x*", "a"),
            ("x*", "*/a"),
            ("x*", "*-*"),
        ] {
            assert_eq!(SocketPath::new(text, lock, false), None, "{text} {lock}");
        }
    }
}
