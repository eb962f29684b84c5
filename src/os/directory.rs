//! The names in a directory, read as the kernel gives them (getdents64(2)).
//!
//! The C library's readdir(3) would do, but for directories of a hundred thousand names: it reads 2 to 32 KiB at a
//! time, and the safe interface to it copies every name, and ends the program if the directory cannot be closed.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

use super::files::FileKind;

/// How many bytes of names are read first, and at most at once: about 100 and about 2000 of them.
const FIRST: usize = 4 * 1024;
const AT_ONCE: usize = 64 * 1024;
/// Where the name begins in an entry, behind the inode's number, the position, the length and the type.
const NAME: usize = 19;

/// The names in a directory, in no order, without `.` and `..`.
pub struct Names {
    directory: OwnedFd,
    buffer: Vec<u8>,
    /// The entries that were read and not yet given.
    rest: Range<usize>,
    over: bool,
}

/// One name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// The name: any bytes but `/`.
    pub name: &'a OsStr,
    /// What it is, where the listing says so, as on most filesystems.
    pub kind: Option<FileKind>,
}

/// Lists a directory.
///
/// # Errors
/// What openat(2) says.
pub fn list(directory: BorrowedFd<'_>) -> io::Result<Names> {
    open_below(directory, OFlag::empty())
}

/// The same without a change of the access time (`O_NOATIME`). Only the owner may do this, or a process that may act
/// for the owner.
///
/// # Errors
/// What openat(2) says; EPERM for all others.
pub fn list_without_a_trace(directory: BorrowedFd<'_>) -> io::Result<Names> {
    open_below(directory, OFlag::O_NOATIME)
}

fn open_below(directory: BorrowedFd<'_>, how: OFlag) -> io::Result<Names> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = openat(directory, ".", flags | how, Mode::empty())?;
    Ok(Names { directory, buffer: Vec::new(), rest: 0..0, over: false })
}

/// Lists the directory at this path.
///
/// # Errors
/// What open(2) says.
pub fn list_at(path: &str) -> io::Result<Names> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(path, flags, Mode::empty())?;
    Ok(Names { directory, buffer: Vec::new(), rest: 0..0, over: false })
}

impl Names {
    /// The next name, which lasts until the one after it: an allocation for each would be felt in a directory of
    /// a million. After an error there is none.
    pub fn next_name(&mut self) -> Option<io::Result<Name<'_>>> {
        let (name, kind) = loop {
            if self.rest.is_empty() && !self.over {
                match self.read() {
                    Ok(0) => self.over = true,
                    Ok(filled) => self.rest = 0..filled,
                    Err(error) => {
                        self.over = true;
                        return Some(Err(error));
                    }
                }
            }
            let begin = self.rest.start;
            let entry = Entry::first_of(self.buffer.get(self.rest.clone())?)?;
            self.rest.start += entry.length;
            if !entry.is_dots {
                break (begin + entry.name.start..begin + entry.name.end, entry.kind);
            }
        };
        let name = OsStr::from_bytes(self.buffer.get(name)?);
        Some(Ok(Name { name, kind }))
    }

    /// Reads the kernel's next entries and returns their length in bytes. If the buffer is full, there may be more.
    fn read(&mut self) -> io::Result<usize> {
        let was_full = self.buffer.len() > self.buffer.capacity() / 2;
        let length = if was_full { AT_ONCE } else { FIRST };
        self.buffer.clear();
        self.buffer.reserve_exact(length);
        let (fd, room) = (self.directory.as_raw_fd(), self.buffer.as_mut_ptr());
        // SAFETY: the descriptor is open as long as we are, and the kernel fills no more of the room than what was
        // reserved, which it is told.
        let read = unsafe { libc::syscall(libc::SYS_getdents64, fd, room, length) };
        match usize::try_from(read) {
            Ok(read) => {
                let read = read.min(length);
                // SAFETY: the kernel has written so many bytes.
                unsafe { self.buffer.set_len(read) };
                Ok(read)
            }
            Err(_) => match io::Error::last_os_error() {
                // The directory itself was removed meanwhile, and nothing is in it any more.
                error if error.kind() == io::ErrorKind::NotFound => Ok(0),
                error => Err(error),
            },
        }
    }
}

/// Where the parts of an entry lie (getdents(2), `struct linux_dirent64`).
struct Entry {
    length: usize,
    name: Range<usize>,
    kind: Option<FileKind>,
    /// It is the directory itself or the one above it.
    is_dots: bool,
}

impl Entry {
    /// `None` for bytes that no kernel gives, of which nothing can be believed.
    fn first_of(bytes: &[u8]) -> Option<Entry> {
        let length = usize::from(u16::from_ne_bytes(bytes.get(16..18)?.try_into().ok()?));
        let name = bytes.get(NAME..length)?;
        let end = name.iter().position(|byte| *byte == 0)?;
        let kind = match *bytes.get(18)? {
            libc::DT_REG => Some(FileKind::Regular),
            libc::DT_DIR => Some(FileKind::Directory),
            libc::DT_LNK => Some(FileKind::Symlink),
            libc::DT_FIFO => Some(FileKind::Fifo),
            libc::DT_SOCK => Some(FileKind::Socket),
            libc::DT_CHR | libc::DT_BLK => Some(FileKind::Device),
            _ => None,
        };
        let is_dots = matches!(name.get(..end)?, b"." | b"..");
        Some(Entry { length, name: NAME..NAME + end, kind, is_dots })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::fs;
    use std::os::fd::AsFd;

    use super::*;
    use crate::os::files;

    #[test]
    fn every_name_comes_once_with_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        // More than are read at once, of every length.
        let mut expected = BTreeMap::new();
        for number in 0..5000 {
            let name = OsString::from(format!("{number}-{}", "x".repeat(number % 200)));
            fs::write(directory.path().join(&name), "").unwrap();
            expected.insert(name, Some(FileKind::Regular));
        }
        let odd = OsStr::from_bytes(b"a\n\xff");
        fs::create_dir(directory.path().join(odd)).unwrap();
        expected.insert(odd.to_owned(), Some(FileKind::Directory));
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        expected.insert("link".into(), Some(FileKind::Symlink));

        let mut names = list(files::look(directory.path()).unwrap().as_fd()).unwrap();
        let mut found = BTreeMap::new();
        while let Some(name) = names.next_name() {
            let name = name.unwrap();
            assert!(found.insert(name.name.to_owned(), name.kind).is_none(), "{name:?} comes twice");
        }
        assert!(found == expected, "{} names instead of {}", found.len(), expected.len());
        assert!(names.next_name().is_none());
    }

    #[test]
    fn a_directory_that_is_removed_meanwhile_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        let mut names = list(files::look(directory.path()).unwrap().as_fd()).unwrap();
        directory.close().unwrap();
        assert!(names.next_name().is_none());
    }

    #[test]
    fn what_is_no_entry_is_not_believed() {
        let entry = |length: u16, name: &[u8]| {
            let mut bytes = vec![0; 16];
            bytes.extend(length.to_ne_bytes());
            bytes.push(libc::DT_REG);
            bytes.extend(name);
            Entry::first_of(&bytes).map(|entry| bytes[entry.name].to_vec())
        };
        assert_eq!(entry(24, b"ab\0\0\0"), Some(b"ab".to_vec()));
        assert_eq!(entry(24, b"abcde"), None, "it has no end");
        assert_eq!(entry(25, b"ab\0\0\0"), None, "it is longer than what was read");
        assert_eq!(entry(0, b"ab\0\0\0"), None, "there would be no next one");
    }
}
