//! Where the control socket is, and which user owns it.
//!
//! By default it is `control.sock` in `/run/sexton`, if sexton may write to /run, else in `$XDG_RUNTIME_DIR/sexton`.
//! Only the owner can enter that directory. If neither can be made, as in an image without /run, the directory is
//! `sexton-UID` in /tmp or /dev/shm. Another user can make that one first, so it is used only if it is ours and closed
//! to all other users. (A socket in the abstract namespace would need no directory. But it is visible in the whole
//! network namespace, so with the host's network the sexton of another container would answer.)
//!
//! A second sexton leaves the first one's socket alone and uses `control-2.sock`. The socket of a sexton that has ended
//! is replaced. Every process that sexton starts finds sexton's socket in the variable [`VARIABLE`].

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::os::{clock, files, poll, privileges, unix_socket};

/// The variable that tells the gateway, and every process below it, where sexton's socket is.
///
/// It differs from the variable of `--control`, `SEXTON_CONTROL`, because a sexton below another one must not use the
/// other one's socket as its own.
pub const VARIABLE: &str = "SEXTON_SOCKET";

/// How many sextons can share one directory.
const NEIGHBOURS: u32 = 9;
/// How long to wait while another sexton has the directory locked. It needs the lock for some microseconds.
const PATIENCE: Duration = Duration::from_millis(200);

/// Why there is no socket at a place, in one line.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another sexton listens there.
    #[error("another sexton has the control socket {0}; name another place with --control")]
    InUse(PathBuf),
    /// There is a file that is not a socket.
    #[error("{0} is there and is no socket; remove it, or name another place with --control")]
    NotASocket(PathBuf),
    /// There is a socket of another user, whether a process listens on it or not.
    #[error("{path} is a socket of uid {owner}; remove it, or name another place with --control")]
    NotOwned {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The path is longer than the kernel accepts.
    #[error("{0} is too long for a socket's name, which has at most 107 bytes; name another with --control")]
    TooLong(PathBuf),
    /// Other users can write to the directory, or it is a link that another user made.
    #[error(
        "the directory {0} can be written by others or is not ours; remove it, or name another with --control"
    )]
    Unsafe(PathBuf),
    /// No default directory can be used.
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

/// A socket that this process has bound, with its path.
pub struct BoundSocket {
    pub(super) listener: OwnedFd,
    path: PathBuf,
    /// Its device and inode. They tell whether the path still leads to this socket when it is removed.
    identity: (u64, u64),
    /// Its directory was made for it, and is removed with it.
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
    /// Removes the path, if it still leads to this socket.
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|now| identity(&now) == self.identity) {
            // If it cannot be removed, the next sexton finds that no process listens there, and replaces it.
            let _ = fs::remove_file(&self.path);
        }
        if let Some(directory) = self.path.parent().filter(|_| self.made_directory)
            && let Ok(Some(_kept)) = files::keep_others_out(directory)
        {
            // It stays if another sexton uses it: a directory that is not empty cannot be removed (rmdir(2)).
            let _ = fs::remove_dir(directory);
        }
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Listens at `path`. Its directory is made if only that is missing.
///
/// # Errors
/// Why there is no socket.
pub fn bind(path: &Path) -> Result<BoundSocket, BindError> {
    let system = |error| BindError::System { path: path.to_owned(), error };
    if !unix_socket::fits(path) {
        return Err(BindError::TooLong(path.to_owned()));
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let made_directory = create_directory(directory).map_err(system)?;
    // Another user's link can be changed to lead elsewhere at any moment.
    if !made_directory
        && fs::symlink_metadata(directory).is_ok_and(|meta| meta.is_symlink() && !is_trusted(&meta))
    {
        return Err(BindError::Unsafe(directory.to_owned()));
    }
    bind_in(path, directory, made_directory)
}

/// Listens at `path`, whose directory exists. The socket of a sexton that has ended is replaced.
fn bind_in(path: &Path, directory: &Path, made_directory: bool) -> Result<BoundSocket, BindError> {
    let system = |error| BindError::System { path: path.to_owned(), error };
    if !unix_socket::fits(path) {
        return Err(BindError::TooLong(path.to_owned()));
    }
    // The directory is locked for two reasons. Between bind(2) and listen(2) a socket looks like that of a sexton that
    // has ended. And no other sexton may replace an old socket between our check of it and our replacement. A process
    // that keeps the lock for longer than `PATIENCE` is not a sexton; then we go on without the lock.
    let until = clock::now().after(PATIENCE);
    let mut kept = files::keep_others_out(directory);
    while matches!(kept, Ok(None)) && clock::now() < until {
        let _ = poll::any_until([], Some(clock::now().after(PATIENCE / 100)));
        kept = files::keep_others_out(directory);
    }
    let listener = match unix_socket::listen(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            unix_socket::listen(path)
        }
        // The sexton that had made the directory has just ended, and took it away.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.exists() => {
            drop(kept);
            return bind_in_new(path, directory);
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
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let system = |error| BindError::System { path: path.to_owned(), error };
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        // It has just been removed by another process.
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

/// Listens at `path` in a directory that has just been removed. Tries only once.
fn bind_in_new(path: &Path, directory: &Path) -> Result<BoundSocket, BindError> {
    let system = |error| BindError::System { path: path.to_owned(), error };
    let made_directory = create_directory(directory).map_err(system)?;
    let listener = unix_socket::listen(path).map_err(system)?;
    let there = fs::symlink_metadata(path).map_err(system)?;
    let path = absolute(path).map_err(system)?;
    Ok(BoundSocket { listener, path, identity: identity(&there), made_directory })
}

/// Makes the directory. `false` if it existed before.
fn create_directory(directory: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !directory.is_dir() => Err(error),
        Err(_) => Ok(false),
    }
}

/// Listens at the first default path that is free.
///
/// # Errors
/// Why there is no socket at the last path that was tried.
pub fn bind_default() -> Result<BoundSocket, BindError> {
    let mut problem = BindError::NoDirectory;
    for Place { directory, owner } in places(&[privileges::effective_uid()]) {
        let Ok(made) = create_directory(&directory) else { continue };
        let sound =
            || owner.map_or_else(|| made || is_safe(&directory), |owner| is_closed(&directory, owner));
        if !sound() {
            problem = BindError::Unsafe(directory);
            continue;
        }
        for path in candidates(&directory) {
            match bind_in(&path, &directory, made) {
                Ok(bound) => return Ok(bound),
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

/// Whether only our user or root can create files there.
fn is_safe(directory: &Path) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|meta| meta.is_dir() && is_trusted(&meta) && meta.mode() & 0o022 == 0)
}

/// Whether it is a directory, not a link, and only this user (and root) can enter it.
fn is_closed(directory: &Path, owner: u32) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == owner && meta.mode() & 0o077 == 0)
}

/// Whether its owner is our user or root.
fn is_trusted(meta: &Metadata) -> bool {
    meta.uid() == privileges::effective_uid() || meta.uid() == 0
}

/// A path at which a sexton can have its socket if `--control` names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultPath {
    /// The socket.
    pub path: PathBuf,
    /// Set if every user can make the directory. Then only a sexton of this user in our pid namespace is trusted:
    /// another container can have the same /tmp.
    pub owner: Option<u32>,
}

/// All default paths, for a client. Root also looks for the socket of PID 1's user: in a container that is the
/// gateway's user.
#[must_use]
pub fn default_paths() -> Vec<DefaultPath> {
    let us = privileges::effective_uid();
    let of_init = || fs::metadata("/proc/1").map(|meta| meta.uid()).ok();
    let users: Vec<u32> = std::iter::once(us).chain(of_init().filter(|uid| us == 0 && *uid != 0)).collect();
    let sound = |place: &Place| place.owner.is_none_or(|owner| is_closed(&place.directory, owner));
    let candidates_in = |Place { directory, owner }| {
        candidates(&directory).map(move |path| DefaultPath { path, owner }).collect::<Vec<_>>()
    };
    places(&users).filter(sound).flat_map(candidates_in).collect()
}

/// A directory for the socket.
struct Place {
    directory: PathBuf,
    /// Set if every user can make the directory: the user that must own it.
    owner: Option<u32>,
}

/// The directories in the order in which they are tried. Each is computed only if those before it could not be used: at
/// most starts that is the first one alone.
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

fn candidates(directory: &Path) -> impl Iterator<Item = PathBuf> {
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
        assert!(create_directory(&ours).unwrap());
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
