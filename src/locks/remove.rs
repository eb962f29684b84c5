//! Removes one orphaned lock, if it still is the file that was judged.
//!
//! A file cannot be removed by name safely while another process may replace it at that very instant. This module only
//! keeps the instant short. The removal is safe because the caller makes sure that no process can replace the lock
//! then.

use std::io;

use super::lock_file::LockFile;
use super::walk::DirEntry;

/// What came of it.
#[derive(Debug)]
pub enum Removal {
    /// The lock is gone, by us.
    Done,
    /// Another process removed it.
    AlreadyGone,
    /// It is another file now, or holds something else.
    Changed,
    /// The kernel refused.
    Failed(io::Error),
}

/// Compares what lies at `spot` with `lock_file`, content first and identity last, and removes it.
pub fn remove(spot: &DirEntry<'_>, lock_file: &LockFile) -> Removal {
    if_unchanged(spot, lock_file, || lock_file.remove(spot))
}

/// Compares, and does it to what is still the same.
pub(super) fn if_unchanged(
    spot: &DirEntry<'_>,
    lock_file: &LockFile,
    act: impl FnOnce() -> io::Result<()>,
) -> Removal {
    let done = match lock_file.is_unchanged(spot) {
        Ok(true) => act(),
        Ok(false) => return Removal::Changed,
        Err(error) => Err(error),
    };
    match done {
        Ok(()) => Removal::Done,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Removal::AlreadyGone,
        Err(error) => Removal::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs::{self, File};
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::locks::kind::LockShape;
    use crate::locks::lock_file;
    use crate::os::files;

    fn judged(root: &Path, then: impl FnOnce(&Path)) -> Removal {
        judged_while(root, |_| (), |path, ()| then(path))
    }

    fn judged_while<T>(root: &Path, before: impl FnOnce(&Path) -> T, then: impl FnOnce(&Path, T)) -> Removal {
        let directory = files::look(root).unwrap();
        let name = OsStr::new("a.lock");
        let path = root.join(name);
        fs::write(&path, "old").unwrap();
        let had = before(&path);
        let spot = DirEntry { directory: directory.as_fd(), name, path: PathBuf::new(), kind: None };
        let Ok(Ok(lock_file)) = lock_file::take(&spot, &LockShape::File) else { panic!("it is a file") };
        then(&path, had);
        remove(&spot, &lock_file)
    }

    #[test]
    fn only_the_very_file_that_was_judged_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let path = root.join("a.lock");
        assert!(matches!(judged(root, |_| {}), Removal::Done));
        assert!(!path.exists());
        assert!(matches!(judged(root, |path| fs::remove_file(path).unwrap()), Removal::AlreadyGone));

        let replace = |path: &Path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "old").unwrap();
        };
        assert!(matches!(judged(root, replace), Removal::Changed));
        assert!(path.exists());
        // While only we have it open, no process can open it to write: a process that writes has had it open before.
        let open = |path: &Path| File::options().write(true).open(path).unwrap();
        let write = |_: &Path, mut writer: File| writer.write_all(b"new").unwrap();
        assert!(matches!(judged_while(root, open, write), Removal::Changed));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(matches!(
            judged(root, |path| fs::hard_link(path, root.join("b")).unwrap()),
            Removal::Changed
        ));
        assert!(path.exists());
    }
}
