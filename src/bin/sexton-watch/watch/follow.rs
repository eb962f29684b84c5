//! Follows log files: what was appended since the last look, over rotation by rename and by truncation.
//!
//! Files are polled, not watched with inotify(7): that works on every filesystem, and a log that no process writes to
//! costs one stat(2) a poll. What was in a file before the first poll is not read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use sexton::types::MonoTime;

use super::line_splitter::{Cutter, LINE};

/// The most files that one rule follows.
const FILES: usize = 64;
/// The most that one look reads of one file.
const ROUND: u64 = 8 << 20;
/// A log that is this far ahead is caught up with at its end.
const BEHIND: u64 = 64 << 20;
/// How long a file is still read after it was renamed or removed: its writer may still have it open.
const FAREWELL: Duration = Duration::from_secs(10);

/// This many bytes before the position of the next read tell whether the file still has the same text.
const COMPARED: u64 = 256;

/// The device and the inode: they identify a file whatever its name.
type Id = (u64, u64);

fn id(meta: &Metadata) -> Id {
    (meta.dev(), meta.ino())
}

/// Whether it has neither a length nor an end that could be looked at.
fn is_endless(meta: &Metadata) -> bool {
    let kind = meta.file_type();
    kind.is_fifo() || kind.is_socket() || kind.is_char_device()
}

/// The files of one rule.
pub struct Follower {
    globs: Vec<String>,
    files: BTreeMap<PathBuf, Followed>,
    leaving: Vec<(MonoTime, Followed)>,
    begun: bool,
    /// Bytes that were passed over because there were too many.
    pub passed_over: u64,
    /// What has a fitting name and is a pipe, a socket or a device, which cannot be followed.
    pub not_files: BTreeSet<PathBuf>,
}

struct Followed {
    file: File,
    id: Id,
    at: u64,
    cutter: Cutter,
    /// Its length and its time of change at the last look.
    changed: (u64, i64, i64),
    /// What stood before `at` then.
    last_bytes: Vec<u8>,
}

impl Follower {
    /// Follows what these patterns match, `*` and `?` as in a shell.
    ///
    /// # Errors
    /// The first that is no pattern, and why.
    pub fn new(globs: &[String]) -> Result<Follower, String> {
        for text in globs {
            glob::Pattern::new(text).map_err(|error| format!("'{text}' is no pattern of files: {error}"))?;
        }
        Ok(Follower {
            globs: globs.to_vec(),
            files: BTreeMap::new(),
            leaving: Vec::new(),
            begun: false,
            passed_over: 0,
            not_files: BTreeSet::new(),
        })
    }

    /// Gives `line` every line that was written since the last look, without its end, a very long one in pieces until
    /// it says that it has found something.
    pub fn look(&mut self, now: MonoTime, line: &mut dyn FnMut(&[u8]) -> bool) {
        let found = self.find();
        self.drop_lost(&found, now);
        for (path, meta) in found {
            if !self.files.contains_key(&path) && self.files.len() < FILES {
                self.start_following(path, &meta);
            }
        }
        self.begun = true;
        let passed_over = &mut self.passed_over;
        for followed in self.leaving.iter_mut().map(|(_, followed)| followed).chain(self.files.values_mut()) {
            *passed_over += followed.read(line);
        }
        self.leaving.retain(|(since, _)| now.since(*since) < FAREWELL);
    }

    /// The regular files that there are by these names.
    fn find(&mut self) -> BTreeMap<PathBuf, Metadata> {
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let mut found = BTreeMap::new();
        for text in &self.globs {
            let Ok(paths) = glob::glob_with(text, options) else { continue };
            for path in paths.flatten().take(16 * FILES) {
                let Ok(meta) = fs::metadata(&path) else { continue };
                if meta.is_file() {
                    found.insert(path, meta);
                } else if is_endless(&meta) && self.not_files.len() < FILES {
                    self.not_files.insert(path);
                }
            }
        }
        found
    }

    /// Forgets files that have lost their name or have another one now, after a while.
    fn drop_lost(&mut self, found: &BTreeMap<PathBuf, Metadata>, now: MonoTime) {
        let gone =
            |path: &Path, followed: &Followed| found.get(path).is_none_or(|meta| id(meta) != followed.id);
        let names: BTreeSet<PathBuf> = self
            .files
            .iter()
            .filter(|(path, followed)| gone(path, followed))
            .map(|(path, _)| path.clone())
            .collect();
        for path in names {
            let Some(lost) = self.files.remove(&path) else { continue };
            let between = self.between(&path, &lost);
            self.leaving.push((now, lost));
            self.leaving.extend(between.into_iter().map(|followed| (now, followed)));
        }
        while self.leaving.len() > FILES {
            self.leaving.remove(0);
        }
    }

    /// The files that had the name of `lost` after it, and lost it to a rotation before we looked again, the oldest
    /// first. Their names begin with it, and they were made after `lost`; where the filesystem does not tell that, they
    /// were written to after it.
    fn between(&self, path: &Path, lost: &Followed) -> Vec<Followed> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
        let (Ok(entries), Ok(last)) = (fs::read_dir(directory), lost.file.metadata()) else {
            return Vec::new();
        };
        let known = |found: &Metadata| {
            let mut known = self.files.values().chain(self.leaving.iter().map(|(_, followed)| followed));
            id(found) == lost.id || known.any(|followed| followed.id == id(found))
        };
        let later = |found: &Metadata| match (found.created(), last.created()) {
            (Ok(found), Ok(last)) => found >= last,
            _ => found.modified().ok() >= last.modified().ok(),
        };
        let mut between = Vec::new();
        for entry in entries.flatten().take(16 * FILES) {
            let new = entry.file_name();
            let rest = new.as_bytes().strip_prefix(name.as_bytes()).unwrap_or_default();
            let packed = [".gz", ".xz", ".zst", ".bz2"].iter().any(|end| rest.ends_with(end.as_bytes()));
            let rotated = matches!(rest, [b'.' | b'-' | b'_', ..]) && !packed;
            let found = entry.metadata().ok().filter(|found| rotated && found.is_file());
            if found.is_some_and(|found| !known(&found) && later(&found)) {
                between.extend(Followed::open(&entry.path(), true));
            }
        }
        between.sort_by_key(|followed| followed.file.metadata().and_then(|meta| meta.modified()).ok());
        between.truncate(FILES);
        between
    }

    fn start_following(&mut self, path: PathBuf, meta: &Metadata) {
        let known = self.leaving.iter().position(|(_, followed)| followed.id == id(meta));
        if let Some(place) = known {
            // It was renamed to a name that fits as well.
            let (_, followed) = self.leaving.remove(place);
            self.files.insert(path, followed);
            return;
        }
        if self.files.values().any(|followed| followed.id == id(meta)) {
            return;
        }
        let followed = Followed::open(&path, self.begun);
        self.files.extend(followed.map(|followed| (path, followed)));
    }
}

impl Followed {
    /// Opens the file, to be read from its beginning or from where it ends by now.
    fn open(path: &Path, whole: bool) -> Option<Followed> {
        // What was a file a moment ago may be a pipe now, and is not to be waited for.
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        let meta = file.metadata().ok().filter(Metadata::is_file)?;
        // What is begun in the middle of a line is begun with the next one.
        let mut followed = Followed {
            file,
            id: id(&meta),
            at: if whole { 0 } else { meta.len() },
            cutter: Cutter::default(),
            changed: (meta.len(), meta.mtime(), meta.mtime_nsec()),
            last_bytes: Vec::new(),
        };
        followed.last_bytes = followed.before_here();
        Some(followed)
    }

    /// Reads what is new; gives the number of bytes that were passed over.
    fn read(&mut self, line: &mut dyn FnMut(&[u8]) -> bool) -> u64 {
        let Ok(meta) = self.file.metadata() else { return 0 };
        let mut passed_over = 0;
        let changed = (meta.len(), meta.mtime(), meta.mtime_nsec());
        let was_replaced = || changed != self.changed && self.before_here() != self.last_bytes;
        if meta.len() < self.at || was_replaced() {
            // It was emptied, and is written from its beginning.
            (self.at, self.cutter) = (0, Cutter::default());
        } else if meta.len() - self.at > BEHIND {
            passed_over = meta.len() - self.at;
            (self.at, self.cutter) = (meta.len(), Cutter::in_the_middle());
        }
        self.changed = changed;
        self.read_to_end(&meta, line);
        self.last_bytes = self.before_here();
        passed_over
    }

    /// The last bytes before the place where the next look begins. Where they are others than before, the file was
    /// emptied and written anew.
    fn before_here(&self) -> Vec<u8> {
        let length = self.at.min(COMPARED);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        match self.file.read_exact_at(&mut bytes, self.at - length) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    fn read_to_end(&mut self, meta: &Metadata, line: &mut dyn FnMut(&[u8]) -> bool) {
        if meta.len() == self.at || self.file.seek(SeekFrom::Start(self.at)).is_err() {
            return;
        }
        let end = self.at + ROUND.min(meta.len() - self.at);
        let mut buffer = vec![0; LINE];
        while self.at < end {
            let length = match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            self.at += length as u64;
            self.cutter.cut(buffer.get(..length).unwrap_or_default(), line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct House {
        dir: tempfile::TempDir,
        follower: Follower,
        seconds: u64,
    }

    impl House {
        fn new(glob: &str) -> House {
            let dir = tempfile::tempdir().unwrap();
            let follower = Follower::new(&[dir.path().join(glob).display().to_string()]).unwrap();
            House { dir, follower, seconds: 0 }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn append(&self, name: &str, text: &str) {
            let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn look(&mut self) -> Vec<String> {
            self.seconds += 1;
            let mut lines = Vec::new();
            let now = MonoTime(Duration::from_secs(self.seconds));
            self.follower.look(now, &mut |line| {
                lines.push(String::from_utf8_lossy(line).into_owned());
                false
            });
            lines
        }
    }

    #[test]
    fn what_was_there_is_old_and_what_comes_is_new() {
        let mut house = House::new("*.log");
        house.append("a.log", "old\n");
        assert!(house.look().is_empty());
        house.append("a.log", "one\ntw");
        house.append("b.log", "here from its beginning\n");
        house.append("c.txt", "not meant\n");
        assert_eq!(house.look(), ["one", "here from its beginning"]);
        house.append("a.log", "o\n\n");
        assert_eq!(house.look(), ["two", ""]);
        assert!(house.look().is_empty());
    }

    #[test]
    fn rotation_by_rename_loses_and_doubles_nothing() {
        for glob in ["a.log", "a.log*"] {
            let mut house = House::new(glob);
            house.append("a.log", "");
            assert!(house.look().is_empty());
            house.append("a.log", "one\n");
            let mut writer = OpenOptions::new().append(true).open(house.path("a.log")).unwrap();
            fs::rename(house.path("a.log"), house.path("a.log.1")).unwrap();
            assert_eq!(house.look(), ["one"], "{glob}");
            writer.write_all(b"two, by a writer that does not know\n").unwrap();
            house.append("a.log", "three\n");
            let mut lines = house.look();
            lines.sort();
            assert_eq!(lines, ["three", "two, by a writer that does not know"], "{glob}");
            house.append("a.log", "four\n");
            assert_eq!(house.look(), ["four"], "{glob}");
        }
    }

    #[test]
    fn what_was_rotated_twice_between_two_looks_is_read_in_its_order() {
        for glob in ["a.log", "a.log*"] {
            let mut house = House::new(glob);
            house.append("a.log.1", "from before our time\n");
            let made = |name: &str| house.path(name).metadata().unwrap().created().ok();
            house.append("a.log", "old\n");
            // The clock of files goes in steps.
            while made("a.log").is_some() && made("a.log") == made("a.log.1") {
                fs::remove_file(house.path("a.log")).unwrap();
                house.append("a.log", "old\n");
            }
            assert!(house.look().is_empty());
            let rotate = |house: &House, next: &str| {
                let names = ["a.log.3", "a.log.2", "a.log.1", "a.log"];
                for pair in names.windows(2) {
                    let _ = fs::rename(house.path(pair[1]), house.path(pair[0]));
                }
                house.append("a.log", next);
            };
            house.append("a.log", "one\n");
            rotate(&house, "two\n");
            house.append("b.log.1", "another's\n");
            house.append("a.log.gz", "packed\n");
            rotate(&house, "three\n");
            let mut lines = house.look();
            if glob == "a.log*" {
                // Of several names there is no order, and what is packed has a name that fits.
                lines.retain(|line| line != "packed");
                lines.sort_by_key(|line| ["one", "two", "three"].iter().position(|known| known == line));
            }
            assert_eq!(lines, ["one", "two", "three"], "{glob}");
            assert!(house.look().is_empty(), "{glob}");
            house.append("a.log", "four\n");
            assert_eq!(house.look(), ["four"], "{glob}");
        }
    }

    #[test]
    fn rotation_by_truncation_is_seen() {
        let mut house = House::new("a.log");
        house.append("a.log", "a long line that was there before\n");
        house.look();
        house.append("a.log", "one\npart");
        assert_eq!(house.look(), ["one"]);
        fs::write(house.path("a.log"), "two\n").unwrap();
        assert_eq!(house.look(), ["two"]);
    }

    #[test]
    fn a_huge_line_is_cut_and_the_next_one_is_whole() {
        let mut house = House::new("a.log");
        house.append("a.log", "");
        house.look();
        house.append("a.log", &format!("{}\nnext\n", "x".repeat(1 << 20)));
        let lines = house.look();
        assert!(lines.iter().all(|line| line.len() <= LINE));
        assert_eq!(lines.last().map(String::as_str), Some("next"));
        // One that never ends takes no memory.
        for _ in 0..3 {
            house.append("a.log", &"y".repeat(1 << 20));
            house.look();
        }
        assert!(house.follower.files.values().all(|followed| followed.cutter.partial.len() <= LINE));
    }

    #[test]
    fn a_file_that_was_emptied_and_is_as_long_again_is_read_anew() {
        let mut house = House::new("a.log");
        house.append("a.log", "0123456789\n");
        house.look();
        // As copytruncate does, and then as many bytes as before, and then more.
        fs::write(house.path("a.log"), "abcdefghi\n!").unwrap();
        fs::write(house.path("a.log"), "abcdefghij\n").unwrap();
        assert_eq!(house.look(), ["abcdefghij"]);
        fs::write(house.path("a.log"), "another beginning\nand more\n").unwrap();
        assert_eq!(house.look(), ["another beginning", "and more"]);
        assert!(house.look().is_empty());
    }

    #[test]
    fn a_hit_at_the_end_of_a_huge_line_is_seen() {
        let mut house = House::new("a.log");
        house.append("a.log", "");
        house.look();
        house.append("a.log", &format!("{}FATAL\nnext\n", "x".repeat(2 << 20)));
        let lines = house.look();
        assert!(lines.iter().any(|line| line.ends_with("FATAL")), "{}", lines.len());
        assert_eq!(lines.last().map(String::as_str), Some("next"));
        assert!(lines.iter().all(|line| line.len() <= LINE));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let mut house = House::new("*.log");
        nix::unistd::mkfifo(&house.path("pipe.log"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::create_dir(house.path("directory.log")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", house.path("zero.log")).unwrap();
        std::os::unix::fs::symlink(house.path("real"), house.path("link.log")).unwrap();
        house.append("real", "");
        assert!(house.look().is_empty());
        let said: Vec<_> = ["pipe.log", "zero.log"].map(|name| house.path(name)).into();
        assert_eq!(house.follower.not_files.iter().cloned().collect::<Vec<_>>(), said);
        house.append("real", "through a link\n");
        assert_eq!(house.look(), ["through a link"]);
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        assert!(Follower::new(&["/a/**b".into()]).is_err());
    }
}
