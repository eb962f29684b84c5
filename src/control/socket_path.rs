//! Where the control socket is, and whose it is.
//!
//! The usual place is `/run/sexton`, for those who may write there, else `$XDG_RUNTIME_DIR/sexton`: a
//! directory for its owner alone, with `control.sock` in it. Where neither can be had, as in an image without /run, it
//! is `sexton-UID` in /tmp or /dev/shm. Others can make that one first, so that it is used only if it is ours and
//! closed to everybody else. (A socket whose name is no path would do without a directory, and would be seen in the whole
//! network namespace: with a host's network another container's sexton would answer.)
//!
//! A second sexton leaves the first one's socket alone and has `control-2.sock`. What a dead sexton left is replaced. All
//! that sexton starts finds its socket in the variable [`VARIABLE`].

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::os::{clock, files, poll, privileges, unix_socket};

/// What tells the gateway, and everything below it, where the socket of the sexton above it is.
///
/// It is another one than `--control`'s own, `SEXTON_CONTROL`, because a sexton below another one is not to take
/// its socket for itself.
pub const VARIABLE: &str = "SEXTON_SOCKET";

/// How many sextons can share one directory.
const NEIGHBOURS: u32 = 9;
/// How long another sexton may keep us from a directory. It needs it for some microseconds.
const PATIENCE: Duration = Duration::from_millis(200);

/// Why there is no socket at a place, in one line.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another sexton listens there.
    #[error("another sexton has the control socket {0}; name another place with --control")]
    InUse(PathBuf),
    /// Something lies there that is no socket.
    #[error("{0} is there and is no socket; remove it, or name another place with --control")]
    NotASocket(PathBuf),
    /// Another user's socket lies there, and whether anybody listens or not is that one's business.
    #[error("{path} is a socket of uid {owner}; remove it, or name another place with --control")]
    NotOwned {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The name is longer than the kernel takes.
    #[error("{0} is too long for a socket's name, which has at most 107 bytes; name another with --control")]
    TooLong(PathBuf),
    /// The directory is open to others, or a link that another user made.
    #[error(
        "the directory {0} can be written by others or is not ours; remove it, or name another with --control"
    )]
    Unsafe(PathBuf),
    /// There is no place that a sexton would use without being told.
    #[error(
        "nothing can be written in /run, $XDG_RUNTIME_DIR, /tmp and /dev/shm; name a place with --control"
    )]
    NoDirectory,
    /// The system refused.
    #[error("could not make the control socket {path}: {error}")]
    System {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
}

/// A socket that is ours, with its name.
pub struct BoundSocket {
    pub(super) listener: OwnedFd,
    path: PathBuf,
    /// Its device and inode, by which it is known when it goes.
    identity: (u64, u64),
    /// Its directory was made for it, and goes with it.
    made_directory: bool,
}

impl BoundSocket {
    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BoundSocket {
    /// Takes the name away, if it is still ours.
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|now| identity(&now) == self.identity) {
            // If it cannot be removed, the next sexton finds that nobody listens there.
            let _ = fs::remove_file(&self.path);
        }
        if let Some(directory) = self.path.parent().filter(|_| self.made_directory)
            && let Ok(Some(_kept)) = files::keep_others_out(directory)
        {
            // It stays if somebody else uses it: a directory with something in it cannot be removed (rmdir(2)).
            let _ = fs::remove_dir(directory);
        }
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Listens at `path`, whose directory is made if that alone is missing.
///
/// # Errors
/// Why not.
pub fn bind(path: &Path) -> Result<BoundSocket, BindError> {
    let system = |error| BindError::System { path: path.to_owned(), error };
    if !unix_socket::fits(path) {
        return Err(BindError::TooLong(path.to_owned()));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let made_directory = make(directory).map_err(system)?;
    // Where somebody else's link leads, he can change at any moment.
    if !made_directory
        && fs::symlink_metadata(directory).is_ok_and(|meta| meta.is_symlink() && !is_trusted(&meta))
    {
        return Err(BindError::Unsafe(directory.to_owned()));
    }
    bind_in(path, directory, made_directory)
}

/// Listens at `path`, whose directory is there. What a dead sexton has left there is replaced.
fn bind_in(path: &Path, directory: &Path, made_directory: bool) -> Result<BoundSocket, BindError> {
    let system = |error| BindError::System { path: path.to_owned(), error };
    if !unix_socket::fits(path) {
        return Err(BindError::TooLong(path.to_owned()));
    }
    // Between the name's appearance and the moment when somebody listens it looks like a dead one's; and between the look
    // at a dead one's and its replacement nobody else may do the same. Whoever keeps the directory for longer than that is
    // no sexton, and only makes us go without this care.
    let until = clock::now().after(PATIENCE);
    let mut kept = files::keep_others_out(directory);
    while matches!(kept, Ok(None)) && clock::now() < until {
        let _ = poll::any_until([], Some(clock::now().after(PATIENCE / 100)));
        kept = files::keep_others_out(directory);
    }
    let listener = match unix_socket::listen(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            make_room(path)?;
            unix_socket::listen(path)
        }
        // The sexton that had made the directory has just ended, and took it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.exists() => {
            drop(kept);
            return claim_in_new(path, directory);
        }
        listener => listener,
    };
    let listener = listener.map_err(system)?;
    let there = fs::symlink_metadata(path).map_err(system)?;
    drop(kept);
    let path = absolute(path).map_err(system)?;
    Ok(BoundSocket { listener, path, identity: identity(&there), made_directory })
}

/// The path from the root, whose parts stay as they are: mostly it is one already.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    if path.is_absolute() { Ok(path.to_owned()) } else { std::path::absolute(path) }
}

/// Removes what a dead sexton has left at `path`.
fn make_room(path: &Path) -> Result<(), BindError> {
    let system = |error| BindError::System { path: path.to_owned(), error };
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        // It has just gone by itself.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
    };
    if !there.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    if there.uid() != privileges::effective_uid() {
        return Err(BindError::NotOwned { path: path.to_owned(), owner: there.uid() });
    }
    match unix_socket::is_alive(path) {
        Ok(true) => Err(BindError::InUse(path.to_owned())),
        Ok(false) => fs::remove_file(path).map_err(system),
        Err(error) => Err(system(error)),
    }
}

/// Listens at `path` in a directory that is not there any more, and tries only once.
fn claim_in_new(path: &Path, directory: &Path) -> Result<BoundSocket, BindError> {
    let system = |error| BindError::System { path: path.to_owned(), error };
    let made_directory = make(directory).map_err(system)?;
    let listener = unix_socket::listen(path).map_err(system)?;
    let there = fs::symlink_metadata(path).map_err(system)?;
    let path = absolute(path).map_err(system)?;
    Ok(BoundSocket { listener, path, identity: identity(&there), made_directory })
}

/// Whether it was made, and was not there before.
fn make(directory: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !directory.is_dir() => Err(error),
        Err(_) => Ok(false),
    }
}

/// Listens at the first usual place that is free.
///
/// # Errors
/// Why not at the last of them that could have been used.
pub fn bind_default() -> Result<BoundSocket, BindError> {
    let mut problem = BindError::NoDirectory;
    for Place { directory, owner } in places(&[privileges::effective_uid()]) {
        let Ok(made) = make(&directory) else { continue };
        let sound =
            || owner.map_or_else(|| made || is_safe(&directory), |owner| is_closed(&directory, owner));
        if !sound() {
            problem = BindError::Unsafe(directory);
            continue;
        }
        for path in names(&directory) {
            match bind_in(&path, &directory, made) {
                Ok(claimed) => return Ok(claimed),
                Err(taken @ BindError::InUse(_)) => problem = taken,
                Err(other) => {
                    problem = other;
                    break;
                }
            }
        }
    }
    Err(problem)
}

/// Whether only we, or root, can put something there.
fn is_safe(directory: &Path) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|meta| meta.is_dir() && is_trusted(&meta) && meta.mode() & 0o022 == 0)
}

/// Whether only this user can enter it, and no link leads there.
fn is_closed(directory: &Path, owner: u32) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == owner && meta.mode() & 0o077 == 0)
}

/// Whether it is ours or root's.
fn is_trusted(meta: &Metadata) -> bool {
    meta.uid() == privileges::effective_uid() || meta.uid() == 0
}

/// Where a sexton that was told nothing can have its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usual {
    /// The socket.
    pub path: PathBuf,
    /// It lies where everybody can put a directory: only a sexton of this user counts, and one that lives in our pid
    /// namespace. Another container can have the same /tmp.
    pub owner: Option<u32>,
}

/// All places where one can be, for whoever asks. Root asks for the sexton of PID 1's user, too: in a container that is the
/// gateway's.
#[must_use]
pub fn usual() -> Vec<Usual> {
    let us = privileges::effective_uid();
    let of_init = || fs::metadata("/proc/1").map(|meta| meta.uid()).ok();
    let users: Vec<u32> = std::iter::once(us).chain(of_init().filter(|uid| us == 0 && *uid != 0)).collect();
    let sound = |place: &Place| place.owner.is_none_or(|owner| is_closed(&place.directory, owner));
    let usual = |Place { directory, owner }| {
        names(&directory).map(move |path| Usual { path, owner }).collect::<Vec<_>>()
    };
    places(&users).filter(sound).flat_map(usual).collect()
}

/// A directory for the socket.
struct Place {
    directory: PathBuf,
    /// Where everybody can have made it: whose it has to be.
    owner: Option<u32>,
}

/// Each is put together only when those before it could not be had: a start has the first one.
fn places(users: &[u32]) -> impl Iterator<Item = Place> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let closed = [Some(PathBuf::from("/run")), own].into_iter().flatten();
    let closed = closed.map(|path| Place { directory: path.join("sexton"), owner: None });
    let open = ["/tmp", "/dev/shm"].into_iter().flat_map(|path| {
        users.iter().map(move |uid| Place {
            directory: Path::new(path).join(format!("sexton-{uid}")),
            owner: Some(*uid),
        })
    });
    closed.chain(open)
}

fn names(directory: &Path) -> impl Iterator<Item = PathBuf> {
    (1..=NEIGHBOURS).map(|number| match number {
        1 => directory.join("control.sock"),
        _ => directory.join(format!("control-{number}.sock")),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_live_socket_is_left_alone_and_a_dead_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sexton/control.sock");
        let first = bind(&path).unwrap();
        let made = fs::metadata(directory.path().join("sexton")).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o700);
        assert!(matches!(bind(&path), Err(BindError::InUse(_))));
        // As after a KILL: the name stays.
        let dead = directory.path().join("dead.sock");
        drop(unix_socket::listen(&dead).unwrap());
        assert!(dead.exists());
        let second = bind(&dead).unwrap();
        assert!(unix_socket::is_alive(&dead).unwrap());
        drop(second);
        assert!(!dead.exists(), "a name goes with its sexton");
        drop(first);
        assert!(!path.exists());
        assert!(!directory.path().join("sexton").exists(), "what was made for it goes with it");
        assert!(directory.path().exists());
    }

    #[test]
    fn a_directory_that_another_uses_by_now_stays() {
        let directory = tempfile::tempdir().unwrap();
        let first = bind(&directory.path().join("sexton/one.sock")).unwrap();
        let second = bind(&directory.path().join("sexton/two.sock")).unwrap();
        drop(first);
        assert!(second.path().exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["file", "link"] {
            let path = directory.path().join(name);
            if name == "file" {
                fs::write(&path, "mine").unwrap();
            } else {
                std::os::unix::fs::symlink("nowhere", &path).unwrap();
            }
            assert!(matches!(bind(&path), Err(BindError::NotASocket(_))));
            assert!(fs::symlink_metadata(&path).is_ok());
        }
        assert!(matches!(bind(&directory.path().join("x".repeat(110))), Err(BindError::TooLong(_))));
        assert!(matches!(bind(&directory.path().join("a/b/c.sock")), Err(BindError::System { .. })));
    }

    #[test]
    fn a_name_that_is_somebody_elses_by_now_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let first = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = bind(&path).unwrap();
        drop(first);
        assert!(unix_socket::is_alive(&path).unwrap());
        drop(second);
    }

    #[test]
    fn below_a_directory_of_everybody_only_a_closed_one_of_ours_counts() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, us) = (directory.path().join("sexton-0"), privileges::effective_uid());
        assert!(!is_closed(&ours, us), "it is not there");
        assert!(make(&ours).unwrap());
        assert!(is_closed(&ours, us) && !is_closed(&ours, us + 1));
        std::os::unix::fs::symlink(&ours, directory.path().join("link")).unwrap();
        assert!(!is_closed(&directory.path().join("link"), us));
        fs::set_permissions(&ours, PermissionsExt::from_mode(0o750)).unwrap();
        assert!(!is_closed(&ours, us));
    }

    #[test]
    fn a_directory_that_others_can_write_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_safe(directory.path()));
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(!is_safe(directory.path()));
    }
}
