//! Files by descriptor: opened beneath a directory, looked at before they are opened, never through a link.
//!
//! Every call that takes a name takes one component of a path, so that no component can be swapped for
//! something else between two looks.

use std::ffi::{CStr, OsStr};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, AtFlags, FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, open, openat, openat2, readlinkat,
    renameat,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::sys::statfs::fstatfs;
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, ftruncate, unlinkat, write};

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// An ordinary file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character or block device.
    Device,
}

/// What stat(2) says, as far as sexton cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The device that holds it.
    pub device: u64,
    /// Its number on that device.
    pub inode: u64,
    /// What it is.
    pub kind: FileKind,
    /// How many names it has.
    pub links: u64,
    /// Its size in bytes; negative never, in spite of the kernel's type.
    pub size: i64,
    /// When its content last changed: seconds and nanoseconds since 1970, by the wall clock.
    pub modified: (i64, i64),
    /// When anything about it last changed (inode(7), ctime). It can be set only by setting the clock.
    pub changed: (i64, i64),
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Who may do what with it: the twelve permission bits (chmod(2)).
    pub mode: u32,
}

impl Meta {
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "the widths differ by platform")]
    fn new(stat: &FileStat) -> Meta {
        let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR => FileKind::Directory,
            SFlag::S_IFLNK => FileKind::Symlink,
            SFlag::S_IFIFO => FileKind::Fifo,
            SFlag::S_IFSOCK => FileKind::Socket,
            SFlag::S_IFCHR | SFlag::S_IFBLK => FileKind::Device,
            _ => FileKind::Regular,
        };
        Meta {
            device: stat.st_dev.into(),
            inode: stat.st_ino.into(),
            kind,
            links: stat.st_nlink as u64,
            size: stat.st_size.into(),
            modified: (stat.st_mtime.into(), stat.st_mtime_nsec.into()),
            changed: (stat.st_ctime.into(), stat.st_ctime_nsec.into()),
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
        }
    }

    /// Whether both are looks at the same file, whatever it holds.
    #[must_use]
    pub fn same_file(&self, other: &Meta) -> bool {
        (self.device, self.inode, self.kind) == (other.device, other.inode, other.kind)
    }
}

/// Opens whatever lies at `path` without opening it (`O_PATH`, open(2)): no permission on it is needed and no
/// driver is woken. A link in the last component is not followed, links before it are.
///
/// # Errors
/// What open(2) says.
pub fn look(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// The same with a link in the last component followed as well.
///
/// # Errors
/// What open(2) says.
pub fn look_through(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// [`look`] for one name in a directory. Fails with `CrossesDevices` where something is mounted on the name.
///
/// # Errors
/// What openat2(2) says.
pub fn look_in(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    open_beneath(directory, name, OFlag::O_PATH, Mode::empty(), ResolveFlag::RESOLVE_NO_XDEV)
}

/// Whether the kernel remembers that nothing lies at `path`, links before the last component followed (openat2(2),
/// `RESOLVE_CACHED`, Linux 5.12). It answers from its memory of names alone, without a look at any filesystem, and so
/// never waits for one. `false` where it does not remember, or knows no such question.
#[must_use]
pub fn is_known_missing(path: &Path) -> bool {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED));
    matches!(openat2(AT_FDCWD, path, how), Err(Errno::ENOENT))
}

/// Opens a directory to look for names in it, which takes the right to search but none to list. Mounts are
/// entered, links are not.
///
/// # Errors
/// What openat2(2) says; `NotADirectory` for anything else, a link included.
pub fn enter(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    open_beneath(directory, name, flags, Mode::empty(), ResolveFlag::empty())
}

/// Opens the directory above a directory, as [`enter`] opens one in it.
///
/// # Errors
/// What openat(2) says.
pub fn enter_above(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat(directory, "..", flags, Mode::empty())?)
}

/// Opens the directory to which a link in a directory leads, by the kernel's own way: links in /proc lead to what has
/// no path that could be walked.
///
/// # Errors
/// What openat(2) says.
pub fn follow(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

/// Opens a new file in a directory that has no name and goes away with the descriptor (`O_TMPFILE`).
///
/// # Errors
/// What openat(2) says; `EOPNOTSUPP` where the filesystem has no such files.
pub fn unnamed_in(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    Ok(openat(directory, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR)?)
}

/// Opens a file for reading. A named pipe that took its place meanwhile does not block, and the time of the last
/// look at the file stays what it was, where we are its owner: so the look costs no write.
///
/// # Errors
/// What openat2(2) says.
pub fn open_to_read(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let open = |flags| open_beneath(directory, name, flags, Mode::empty(), ResolveFlag::RESOLVE_NO_XDEV);
    match open(flags | OFlag::O_NOATIME) {
        // Only the owner may ask for that (open(2)).
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => open(flags),
        opened => opened,
    }
}

/// Opens a file for reading, links followed, without waiting for another process: a named pipe needs no writer, and
/// another process's lease is not waited for. A filesystem that hangs can still block this.
///
/// # Errors
/// What open(2) says; `WouldBlock` if another process holds a lease on it (fcntl(2), "Leases").
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(path)
}

/// A file in memory, without a name and closed on exec (memfd_create(2)). To write to it and to read from it never
/// waits. `label` is what /proc shows.
///
/// # Errors
/// What memfd_create(2) says.
pub fn in_memory(label: &CStr) -> io::Result<File> {
    Ok(File::from(memfd_create(label, MFdFlags::MFD_CLOEXEC)?))
}

/// Makes a new empty file that every user may read, whatever the umask, and opens it for reading. It is never made by
/// opening one that may exist: in a directory that every user can write the kernel refuses that for a file of another
/// user's (`protected_regular`, proc_sys_fs(5)).
///
/// # Errors
/// What openat2(2) and fchmod(2) say; `AlreadyExists` for any name that is taken, a link included.
pub fn create_new(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOCTTY;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP | Mode::S_IROTH;
    let file = open_beneath(directory, name, flags, mode, ResolveFlag::RESOLVE_NO_XDEV)?;
    fchmod(&file, mode)?;
    Ok(file)
}

/// Opens a file of our own to read and rewrite it, and makes it if `make` says so, for us alone. A named pipe that lies
/// there does not block.
///
/// # Errors
/// What openat2(2) says; `NotFound` where it is not to be made.
pub fn open_private(directory: BorrowedFd<'_>, name: &OsStr, make: bool) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let open = |flags, mode| open_beneath(directory, name, flags, mode, ResolveFlag::RESOLVE_NO_XDEV);
    match open(flags, Mode::empty()) {
        Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
            open(flags | OFlag::O_CREAT | OFlag::O_EXCL, mode)
        }
        opened => opened,
    }
}

/// Replaces the whole content of the file. A process that dies in the middle of it leaves a part or nothing.
///
/// # Errors
/// What ftruncate(2) and pwrite(2) say.
pub fn rewrite(file: BorrowedFd<'_>, content: &[u8]) -> io::Result<()> {
    ftruncate(file, 0)?;
    let mut written = 0;
    while let Some(rest) = content.get(written..).filter(|rest| !rest.is_empty()) {
        let offset = i64::try_from(written).map_err(io::Error::other)?;
        match pwrite(file, rest, offset) {
            Ok(length) => written += length,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes a directory that only we can enter.
///
/// # Errors
/// What mkdir(2) says.
pub fn make_private_directory(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::mkdir(path, Mode::S_IRWXU)?)
}

fn open_beneath(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    flags: OFlag,
    mode: Mode,
    resolve: ResolveFlag,
) -> io::Result<OwnedFd> {
    if matches!(name.as_bytes(), b"" | b".." | b".") || name.as_bytes().contains(&b'/') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let resolve = resolve | ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    match openat2(directory, name, OpenHow::new().flags(flags).mode(mode).resolve(resolve)) {
        // Seccomp filters older than the call answer EPERM. For one component that is not followed,
        // openat(2) differs only in entering mounts.
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(openat(directory, name, flags, mode)?),
        result => Ok(result?),
    }
}

/// What an open file is.
///
/// # Errors
/// What fstat(2) says.
pub fn meta(file: BorrowedFd<'_>) -> io::Result<Meta> {
    Ok(Meta::new(&fstat(file)?))
}

/// What a name in a directory is, without following a link.
///
/// # Errors
/// What fstatat(2) says.
pub fn meta_in(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Meta> {
    Ok(Meta::new(&fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?))
}

/// Where a link that was opened with [`look`] points.
///
/// # Errors
/// What readlinkat(2) says.
pub fn target(link: BorrowedFd<'_>) -> io::Result<PathBuf> {
    Ok(PathBuf::from(readlinkat(link, "")?))
}

/// The filesystem's type: the magic number of statfs(2).
///
/// # Errors
/// What fstatfs(2) says.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers have 32 bits")]
pub fn filesystem(file: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(fstatfs(file)?.filesystem_type().0 as u32)
}

/// Reads an ordinary file from its start, at most `limit` bytes. A short read is its end: one that grows at
/// this very moment gives what was there.
///
/// # Errors
/// What pread(2) says.
pub fn read_up_to(file: BorrowedFd<'_>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Larger than nearly every lock, and soon cleared.
    let mut buffer = [0; 1024];
    while bytes.len() < limit {
        let offset = i64::try_from(bytes.len()).map_err(io::Error::other)?;
        let read = match pread(file, &mut buffer, offset) {
            Ok(0) => break,
            Ok(read) => read,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let room = limit - bytes.len();
        bytes.extend_from_slice(buffer.get(..read.min(room)).unwrap_or_default());
        if read < buffer.len() {
            break;
        }
    }
    Ok(bytes)
}

/// Removes a name that is not a directory's.
///
/// # Errors
/// What unlinkat(2) says.
pub fn unlink(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    Ok(unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?)
}

/// Puts a new file with this content in the place of `name`, with the owner and the permissions of `like`:
/// a reader sees the old one or the whole new one. `aside` is the name that it has until then.
///
/// # Errors
/// What the system says; then `name` is as it was and nothing is left under the name `aside`.
pub fn replace(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    aside: &OsStr,
    content: &[u8],
    like: &Meta,
) -> io::Result<()> {
    // A process that died in the middle of this has left one of the same name.
    let _ = unlink(directory, aside);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let file = open_beneath(directory, aside, flags, Mode::S_IRUSR | Mode::S_IWUSR, ResolveFlag::empty())?;
    let done =
        fill(file.as_fd(), content, like).and_then(|()| Ok(renameat(directory, aside, directory, name)?));
    if done.is_err() {
        let _ = unlink(directory, aside);
    }
    done
}

fn fill(file: BorrowedFd<'_>, content: &[u8], like: &Meta) -> io::Result<()> {
    let mut rest = content;
    while !rest.is_empty() {
        match write(file, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let now = meta(file)?;
    if (now.uid, now.gid) != (like.uid, like.gid) {
        fchown(file, Some(Uid::from_raw(like.uid)), Some(Gid::from_raw(like.gid)))?;
    }
    fchmod(file, Mode::from_bits_truncate(like.mode))?;
    // A filesystem that finds no room or a broken disk only now has to say so before the old file is gone.
    Ok(fsync(file)?)
}

/// Removes an empty directory.
///
/// # Errors
/// What unlinkat(2) says.
pub fn remove_directory(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    Ok(unlinkat(directory, name, UnlinkatFlags::RemoveDir)?)
}

/// How to take hold of a file together with others (fcntl(2), "Open file description locks").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlockMode {
    /// At once, or not at all.
    TryShared,
    /// Waits as long as another process has it locked exclusively.
    Shared,
}

/// Takes a shared lock on an open file. The lock belongs to every copy of the descriptor. The file must be open for
/// reading, so every user that may read it can take the lock. `false`: another process holds an exclusive lock.
///
/// # Errors
/// What fcntl(2) says.
pub fn hold(file: BorrowedFd<'_>, how: FlockMode) -> io::Result<bool> {
    let whole = whole_file(libc::F_RDLCK);
    loop {
        let command = match how {
            FlockMode::TryShared => FcntlArg::F_OFD_SETLK(&whole),
            FlockMode::Shared => FcntlArg::F_OFD_SETLKW(&whole),
        };
        match fcntl(file, command) {
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes an exclusive lock on a directory, for as long as the returned descriptor is open (flock(2)). An exclusive
/// fcntl(2) lock would need the file open for writing, which is impossible for a directory. `None`: another process has
/// the lock.
///
/// # Errors
/// What open(2) and flock(2) say.
pub fn keep_others_out(directory: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(directory, flags, Mode::empty())?;
    Ok(lock_alone(directory.as_fd())?.then_some(directory))
}

/// Takes an exclusive lock on `file`. It belongs to the open file description, until that is closed (flock(2)).
/// `false`: another process has locked it.
///
/// # Errors
/// What flock(2) says.
pub fn lock_alone(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: the call takes a descriptor, which is open as long as it is borrowed, and a number.
    let done = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if done == 0 {
        return Ok(true);
    }
    match Errno::last() {
        Errno::EWOULDBLOCK | Errno::EINTR => Ok(false),
        error => Err(error.into()),
    }
}

/// Whether others hold the file in any way, without taking anything. It may be open for reading only: the kernel
/// tests a lock that it would not grant.
///
/// # Errors
/// What fcntl(2) says.
pub fn is_held_by_others(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut whole = whole_file(libc::F_WRLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut whole))?;
    Ok(i32::from(whole.l_type) != libc::F_UNLCK)
}

#[allow(clippy::cast_possible_truncation, reason = "the constants fit the field that is made for them")]
fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_name_is_one_component_and_never_followed() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::write(directory.path().join("d/f"), "text").unwrap();
        symlink("d", directory.path().join("link")).unwrap();
        symlink("d/f", directory.path().join("flink")).unwrap();
        let root = look(directory.path()).unwrap();
        for name in ["..", ".", "", "d/f", "/etc"] {
            let error = enter(root.as_fd(), name.as_ref()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        assert!(enter(root.as_fd(), "link".as_ref()).is_err());
        assert!(open_to_read(root.as_fd(), "flink".as_ref()).is_err());
        let link = look_in(root.as_fd(), "flink".as_ref()).unwrap();
        assert_eq!(meta(link.as_fd()).unwrap().kind, FileKind::Symlink);
        assert_eq!(target(link.as_fd()).unwrap(), Path::new("d/f"));

        let inner = enter(root.as_fd(), "d".as_ref()).unwrap();
        let file = open_to_read(inner.as_fd(), "f".as_ref()).unwrap();
        let (one, other) = (meta(file.as_fd()).unwrap(), meta_in(inner.as_fd(), "f".as_ref()).unwrap());
        assert_eq!(one, other);
        assert_eq!((one.kind, one.size, one.links), (FileKind::Regular, 4, 1));
        unlink(inner.as_fd(), "f".as_ref()).unwrap();
        assert_eq!(unlink(inner.as_fd(), "f".as_ref()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_the_kernel_remembers_is_told_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("d");
        // The kernel was not asked for it yet.
        assert!(!is_known_missing(&path));
        fs::create_dir(&path).unwrap();
        assert!(!is_known_missing(&path));
        symlink("d", directory.path().join("link")).unwrap();
        assert!(!is_known_missing(&directory.path().join("link")));
        fs::remove_dir(&path).unwrap();
        // Whether it remembers depends on the filesystem; a tmpfs does not.
        let _ = is_known_missing(&path);
    }

    #[test]
    fn reading_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        for (size, limit) in [(0, 10), (10, 10), (11, 10), (4096, 9000), (9001, 9000), (5, 0)] {
            fs::write(&path, vec![b'x'; size]).unwrap();
            let file = File::open(&path).unwrap();
            assert_eq!(read_up_to(file.as_fd(), limit).unwrap().len(), size.min(limit), "{size} {limit}");
        }
    }

    #[test]
    fn a_hold_belongs_to_one_open_file_and_takes_no_right_to_write() {
        let directory = tempfile::tempdir().unwrap();
        let root = look(directory.path()).unwrap();
        let name = OsStr::new("lock");
        let one = create_new(root.as_fd(), name).unwrap();
        assert_eq!(meta(one.as_fd()).unwrap().mode, 0o644);
        assert_eq!(create_new(root.as_fd(), name).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let other = open_to_read(root.as_fd(), name).unwrap();
        let held = |file: &OwnedFd| is_held_by_others(file.as_fd()).unwrap();

        assert!(hold(one.as_fd(), FlockMode::TryShared).unwrap());
        assert!(!held(&one) && !held(&one.try_clone().unwrap()) && held(&other));
        assert!(hold(other.as_fd(), FlockMode::TryShared).unwrap());
        assert!(held(&one) && held(&other));
        drop(one);
        assert!(!held(&other));
        drop(other);

        let alone = File::options().write(true).open(directory.path().join(name)).unwrap();
        fcntl(&alone, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))).unwrap();
        let reader = open_to_read(root.as_fd(), name).unwrap();
        assert!(!hold(reader.as_fd(), FlockMode::TryShared).unwrap() && held(&reader));
    }
}
