//! Goes through a root and finds what the rules describe, directory by directory.
//!
//! It opens no file, follows no link, and looks at no name that cannot match.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::rule::{Cursor, NotOurs, Rules, Segment};
use crate::os::directory;
use crate::os::files::{self, FileKind};

/// How many names of one directory are read before the first of them is dealt with: a removal between two reads
/// of a directory has ext4 sort a part of it again. They take a few hundred kilobytes.
const BATCH: usize = 4096;

/// A name that fits a rule.
pub struct DirEntry<'a> {
    /// The directory it stands in.
    pub directory: BorrowedFd<'a>,
    /// The name.
    pub name: &'a OsStr,
    /// The whole path, to be shown.
    pub path: PathBuf,
    /// What it was when the directory was listed, if the listing said so.
    pub kind: Option<FileKind>,
}

impl DirEntry<'_> {
    /// The device that the directory lies on.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn device(&self) -> io::Result<u64> {
        Ok(files::meta(self.directory)?.device)
    }

    /// Whether anything lies there.
    pub fn exists(&self) -> bool {
        files::meta_in(self.directory, self.name).is_ok()
    }
}

/// What a walk comes upon.
pub enum WalkEvent<'a, T> {
    /// Names in one directory that fit rules, each with its own. At most [`BATCH`] at once.
    Matches(&'a [(DirEntry<'a>, T)]),
    /// Something that fits a rule, and that must not be touched.
    NotOurs(PathBuf, NotOurs),
    /// A directory that something might lie in, but that cannot be entered or listed.
    Closed(PathBuf, io::Error),
    /// A link where a directory is expected.
    Link(PathBuf),
}

/// Walks through `root`, which is shown as `path`, and hands everything that is found to `see`.
pub fn walk<T: Copy>(
    root: BorrowedFd<'_>,
    path: &Path,
    rules: &Rules<T>,
    see: &mut dyn FnMut(WalkEvent<'_, T>),
) {
    Walk { rules, see }.directory(root, path, &rules.start());
}

struct Walk<'w, T> {
    rules: &'w Rules<T>,
    see: &'w mut dyn FnMut(WalkEvent<'_, T>),
}

impl<T: Copy> Walk<'_, T> {
    fn directory(&mut self, directory: BorrowedFd<'_>, path: &Path, place: &Cursor) {
        let rules = self.rules;
        let mut batch = Vec::new();
        if let Some(names) = rules.only_names(place) {
            for name in names {
                batch.push((OsStr::from_bytes(name).to_owned(), None, rules.step(place, name)));
            }
            return self.names(directory, path, &mut batch);
        }
        let mut names = match directory::list(directory) {
            Ok(names) => names,
            Err(error) => return (self.see)(WalkEvent::Closed(path.to_owned(), error)),
        };
        while let Some(name) = names.next_name() {
            match name {
                Ok(name) => {
                    let step = rules.step(place, name.name.as_bytes());
                    if !step.is_nothing() {
                        batch.push((name.name.to_owned(), name.kind, step));
                    }
                    if batch.len() == BATCH {
                        self.names(directory, path, &mut batch);
                    }
                }
                // A listing that breaks off is not begun again: what was seen so far is dealt with.
                Err(error) => {
                    self.names(directory, path, &mut batch);
                    return (self.see)(WalkEvent::Closed(path.to_owned(), error));
                }
            }
        }
        self.names(directory, path, &mut batch);
    }

    fn names(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &Path,
        batch: &mut Vec<(OsString, Option<FileKind>, Segment<T>)>,
    ) {
        let found: Vec<(DirEntry<'_>, T)> = batch
            .iter()
            .filter_map(|(name, kind, step)| {
                Some((DirEntry { directory, name, path: path.join(name), kind: *kind }, step.found?))
            })
            .collect();
        if !found.is_empty() {
            (self.see)(WalkEvent::Matches(&found));
        }
        drop(found);
        for (name, kind, step) in batch.drain(..) {
            self.name(directory, path, &name, kind, step);
        }
    }

    /// What one name is besides a match.
    fn name(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        kind: Option<FileKind>,
        step: Segment<T>,
    ) {
        if let Some(why) = step.foreign
            && (kind.is_some() || files::meta_in(directory, name).is_ok())
        {
            (self.see)(WalkEvent::NotOurs(path.join(name), why));
        }
        if step.below.cannot_match() {
            return;
        }
        match kind {
            None | Some(FileKind::Directory) => {}
            Some(FileKind::Symlink) => return (self.see)(WalkEvent::Link(path.join(name))),
            Some(_) => return,
        }
        match files::enter(directory, name) {
            // The depth is that of the longest pattern.
            Ok(inner) => self.directory(inner.as_fd(), &path.join(name), &step.below),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => match files::meta_in(directory, name) {
                Ok(meta) if meta.kind == FileKind::Symlink => (self.see)(WalkEvent::Link(path.join(name))),
                Ok(meta) if meta.kind == FileKind::Directory => {
                    (self.see)(WalkEvent::Closed(path.join(name), error));
                }
                // Neither a directory any more, nor anything that could be one.
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::locks::rule::Pattern;

    #[test]
    fn finds_what_fits_and_says_what_it_could_not_enter() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in ["a/main/s", "a/main/other", "a/second/s", "elsewhere/s"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for path in
            ["a/main/s/1.lock", "a/main/s/1.jsonl", "a/second/s/2.lock", "a/second/x.lock", "top.lock"]
        {
            fs::write(root.join(path), "").unwrap();
        }
        fs::write(root.join(OsStr::from_bytes(b"a/main/s/\xff\n.lock")), "").unwrap();
        symlink("../elsewhere", root.join("a/link")).unwrap();
        fs::create_dir(root.join("a/third")).unwrap();
        symlink("../../elsewhere/s", root.join("a/third/s")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();

        let rules = Rules::new(vec![
            (Pattern::new("a/*/s/*.lock").unwrap(), 'a'),
            (Pattern::new("top.lock").unwrap(), 't'),
            (Pattern::new("none/at/all").unwrap(), 'n'),
        ]);
        let (mut found, mut links) = (Vec::new(), Vec::new());
        let handle = files::look(root).unwrap();
        walk(handle.as_fd(), Path::new(""), &rules, &mut |sight| match sight {
            WalkEvent::Matches(matches) => {
                found.extend(matches.iter().map(|(spot, what)| (spot.path.clone(), *what)));
            }
            WalkEvent::Link(path) => links.push(path),
            WalkEvent::NotOurs(path, why) => panic!("{path:?}: {why}"),
            WalkEvent::Closed(path, error) => panic!("{path:?}: {error}"),
        });
        found.sort();
        let strange = PathBuf::from(OsStr::from_bytes(b"a/main/s/\xff\n.lock"));
        let expected: [(PathBuf, char); 4] = [
            ("a/main/s/1.lock".into(), 'a'),
            (strange, 'a'),
            ("a/second/s/2.lock".into(), 'a'),
            ("top.lock".into(), 't'),
        ];
        assert_eq!(found, expected);
        links.sort();
        assert_eq!(links, [Path::new("a/link"), Path::new("a/third/s")]);
    }
}
