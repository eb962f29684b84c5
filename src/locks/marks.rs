//! Marks of locks whose owners were seen alive: what says, when they are dead, that they are.
//!
//! A plain pid file names a number, and the same number is another process's in every container. So while a lock's
//! owner is seen in our own pid namespace, the very lock is marked: its device, its number on it, its last change and
//! its bytes, with the owner's pid and start time. A lock of the same name that another container writes later is
//! another one.
//!
//! Such an owner is dead once no process of our pid namespace has its pid and its start time. It is dead as well if the
//! sexton that marked it was PID 1 of its pid namespace, and is dead: the kernel ends all others with it
//! (`pid_namespaces(7)`). A wrapper that was killed proves nothing of that kind, and neither does a mark file whose
//! content was copied elsewhere: it says which file it is.

use serde::{Deserialize, Serialize};

use super::format::Content;
use super::lock_file::LockFile;
use crate::types::{Pid, StartTime};

/// How many locks are marked at most; there is no mark of more.
pub const MOST: usize = 128;
/// The largest mark file, in bytes.
pub const MAX_SIZE: usize = 64 * 1024;
/// A lock with a longer content is not marked.
const LONGEST: usize = 256;

/// One lock, and whom it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    lock: Identity,
    /// The owner, while it may live; it is left out once the owner is dead.
    owner: Option<Process>,
}

/// A process: its number in the pid namespace of the sexton that recorded it, and the tick at which it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    pid: i32,
    start: u64,
}

/// This very lock, and no other one that ever lies at its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    bytes: String,
}

/// What a mark file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// Whether it was written by a sexton that was PID 1 of its pid namespace.
    init: bool,
    /// The device and the number of the file that this stands in.
    file: (u64, u64),
    marks: Vec<Mark>,
}

/// What a mark says of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkSays {
    /// There is none of this very lock.
    Nothing,
    /// Its owner was seen alive in our pid namespace, and lives.
    OwnerLives,
    /// Its owner was seen alive by us, and is dead.
    OwnerGone,
    /// Its owner was seen alive by a sexton that is dead, and died with it.
    LifeOver,
}

impl Identity {
    /// `None` for a lock that is not marked, because its content is long or no text.
    fn of(lock: &LockFile) -> Option<Identity> {
        let bytes = lock.bytes().filter(|bytes| bytes.len() <= LONGEST)?;
        let bytes = String::from_utf8(bytes.to_vec()).ok()?;
        Some(Identity { device: lock.device(), inode: lock.inode(), changed: lock.changed(), bytes })
    }

    /// The same without a copy.
    fn is_of(&self, lock: &LockFile) -> bool {
        (self.device, self.inode, self.changed) == (lock.device(), lock.inode(), lock.changed())
            && lock.bytes() == Some(self.bytes.as_bytes())
    }
}

impl Mark {
    /// A mark of a lock whose owner is the process that has its number now, and was started then.
    #[must_use]
    pub fn new(lock: &LockFile, content: &Content, start: StartTime) -> Option<Mark> {
        let owner = content.owner()?;
        let owner = Some(Process { pid: owner.pid.raw(), start: start.0 });
        Some(Mark { lock: Identity::of(lock)?, owner })
    }
}

impl Marks {
    /// None, to be written to the file with this device and number.
    #[must_use]
    pub fn none(init: bool, file: (u64, u64)) -> Marks {
        Marks { init, file, marks: Vec::new() }
    }

    /// The marks in the file with this device and number. A file that cannot be parsed, because it was torn, copied or
    /// made by another program, holds no marks.
    #[must_use]
    pub fn parse(bytes: &[u8], file: (u64, u64)) -> Option<Marks> {
        let marks: Marks = serde_json::from_slice(bytes).ok()?;
        (bytes.len() <= MAX_SIZE && marks.file == file && marks.marks.len() <= MOST).then_some(marks)
    }

    /// What is to be written; the last marks are left out where there is no room.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut marks = self.clone();
        marks.marks.truncate(MOST);
        loop {
            let bytes = serde_json::to_vec(&marks).unwrap_or_default();
            if bytes.len() <= MAX_SIZE || marks.marks.pop().is_none() {
                return bytes;
            }
        }
    }

    /// The marks of a sexton that is dead, as ours. Everything that lived in the pid namespace of one that was its PID
    /// 1 is dead; of what another one has seen alive nothing is known.
    #[must_use]
    pub fn inherited(self, init: bool) -> Marks {
        let was_init = self.init;
        let marks = self.marks.into_iter().filter(|mark| was_init || mark.owner.is_none());
        let marks = marks.map(|mark| Mark { owner: None, ..mark }).collect();
        Marks { init, marks, ..self }
    }

    /// What they say of this lock. `lives` tells whether a process with this pid and start time lives in our pid
    /// namespace; in doubt it does.
    pub fn says(&self, lock: &LockFile, lives: impl Fn(Pid, StartTime) -> bool) -> MarkSays {
        let Some(mark) = self.marks.iter().find(|mark| mark.lock.is_of(lock)) else {
            return MarkSays::Nothing;
        };
        let Some(owner) = mark.owner else { return MarkSays::LifeOver };
        match Pid::new(owner.pid) {
            Some(pid) if !lives(pid, StartTime(owner.start)) => MarkSays::OwnerGone,
            _ => MarkSays::OwnerLives,
        }
    }

    /// Keeps the marks at these places, and adds others.
    #[must_use]
    pub fn renewed(&self, kept: &[usize], new: Vec<Mark>) -> Marks {
        let old = self.marks.iter().enumerate().filter(|(place, _)| kept.contains(place));
        let marks = old.map(|(_, mark)| mark.clone()).chain(new).take(MOST).collect();
        Marks { marks, init: self.init, file: self.file }
    }

    /// The place of the mark of this lock.
    #[must_use]
    pub fn place_of(&self, lock: &LockFile) -> Option<usize> {
        self.marks.iter().position(|mark| mark.lock.is_of(lock))
    }

    /// The places of all marks.
    #[must_use]
    pub fn places(&self) -> Vec<usize> {
        (0..self.marks.len()).collect()
    }

    /// Whether there is room for another one.
    #[must_use]
    pub fn has_room(&self, new: usize) -> bool {
        self.marks.len() + new < MOST
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::fd::AsFd;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::locks::format::Owner;
    use crate::locks::kind::LockShape;
    use crate::locks::lock_file;
    use crate::locks::walk::DirEntry;
    use crate::os::files;

    const FILE: (u64, u64) = (1, 2);
    const START: StartTime = StartTime(5);

    fn lock(root: &Path, name: &str) -> LockFile {
        let directory = files::look(root).unwrap();
        let spot = DirEntry {
            directory: directory.as_fd(),
            name: OsStr::new(name),
            path: PathBuf::new(),
            kind: None,
        };
        let Ok(Ok(lock)) = lock_file::take(&spot, &LockShape::File) else { panic!("it is a file") };
        lock
    }

    fn mark(lock: &LockFile) -> Mark {
        Mark::new(lock, &Content::Owner(Owner::of(Pid::INIT)), START).unwrap()
    }

    #[test]
    fn a_mark_tells_what_became_of_the_owner_of_this_very_lock() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.pid");
        std::fs::write(&path, "1\n").unwrap();
        let marked = lock(root.path(), "x.pid");
        let marks = Marks::none(true, FILE).renewed(&[], vec![mark(&marked)]);
        let lives = |pid: Pid, start| pid == Pid::INIT && start == START;
        assert_eq!(marks.says(&marked, lives), MarkSays::OwnerLives);
        assert_eq!(marks.says(&marked, |_, _| false), MarkSays::OwnerGone);
        // It is read as it was written, and only from the file that it was written to.
        let read = Marks::parse(&marks.bytes(), FILE).unwrap();
        assert_eq!((&read, Marks::parse(&marks.bytes(), (1, 3))), (&marks, None));
        // With an init all processes die that it has seen. Of those that another sexton has seen nothing is known.
        assert_eq!(read.clone().inherited(false).says(&marked, lives), MarkSays::LifeOver);
        let wrappers = Marks::none(false, FILE).renewed(&[], vec![mark(&marked)]);
        assert_eq!(wrappers.inherited(true).says(&marked, |_, _| false), MarkSays::Nothing);
        // What is once known to be dead stays so.
        assert_eq!(read.inherited(false).inherited(true).says(&marked, lives), MarkSays::LifeOver);

        // A lock that was written anew, even with the same bytes, is another one.
        std::fs::set_permissions(&path, std::fs::metadata(&path).unwrap().permissions()).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        assert_eq!(marks.says(&lock(root.path(), "x.pid"), lives), MarkSays::Nothing);
        // One whose lock is gone is not kept.
        assert_eq!(marks.renewed(&[], Vec::new()).places(), [0; 0]);
        assert_eq!(marks.renewed(&[0], Vec::new()), marks);
    }

    #[test]
    fn there_are_never_more_marks_than_there_is_room_for() {
        let root = tempfile::tempdir().unwrap();
        // As long as escapes can make it.
        std::fs::write(root.path().join("x"), "\u{1}".repeat(LONGEST)).unwrap();
        std::fs::write(root.path().join("long"), "1".repeat(LONGEST + 1)).unwrap();
        let marked = mark(&lock(root.path(), "x"));
        let many = Marks::none(true, FILE).renewed(&[], vec![marked; 3 * MOST]);
        assert_eq!(many.places().len(), MOST);
        assert!(!many.has_room(0));
        let bytes = many.bytes();
        assert!(bytes.len() <= MAX_SIZE && bytes.len() > MAX_SIZE / 2, "{}", bytes.len());
        assert!(!Marks::parse(&bytes, FILE).unwrap().places().is_empty());
        let long = lock(root.path(), "long");
        assert_eq!(Mark::new(&long, &Content::Owner(Owner::of(Pid::INIT)), START), None);
        for end in 0..bytes.len().min(500) {
            assert_eq!(Marks::parse(&bytes[..end], FILE), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(Marks::parse(&bytes, FILE), None);
        }
    }
}
