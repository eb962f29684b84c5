//! Removes one orphaned lock, if it still is the file that was judged.
//!
//! No way to remove a file by name is safe against somebody who replaces it at that very instant; this only
//! keeps the instant short. What makes it safe is the quiet moment, which is the caller's.

use std::io;
use std::os::fd::AsFd;

use super::inspect::Specimen;
use super::walk::Spot;
use crate::os::files;

/// What came of it.
#[derive(Debug)]
pub enum Removal {
    /// The lock is gone, by us.
    Done,
    /// Somebody else removed it.
    AlreadyGone,
    /// It is another file now, or holds something else.
    Changed,
    /// The kernel refused.
    Failed(io::Error),
}

/// Compares what lies at `spot` with `specimen`, content first and identity last, and removes it.
pub fn remove(spot: &Spot<'_>, specimen: &Specimen) -> Removal {
    let compared = files::read_up_to(specimen.file.as_fd(), specimen.bytes.len() + 1)
        .and_then(|bytes| Ok((bytes, files::meta_in(spot.directory, spot.name)?)));
    let removed = match compared {
        // The whole record has to be the same: file, size, time, owner, and still only one name.
        Ok((bytes, meta)) if meta == specimen.meta && bytes == specimen.bytes => {
            files::unlink(spot.directory, spot.name)
        }
        Ok(_) => return Removal::Changed,
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Removal::Done,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Removal::AlreadyGone,
        Err(error) => Removal::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn judged(root: &Path, then: impl FnOnce(&Path)) -> Removal {
        let directory = files::look(root).unwrap();
        let name = OsStr::new("a.lock");
        let path = root.join(name);
        fs::write(&path, "old").unwrap();
        let file = files::open_to_read(directory.as_fd(), name).unwrap();
        let meta = files::meta(file.as_fd()).unwrap();
        let specimen = Specimen { file, meta, bytes: b"old".to_vec() };
        then(&path);
        remove(&Spot { directory: directory.as_fd(), name, path: PathBuf::new() }, &specimen)
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
        assert!(matches!(judged(root, |path| fs::write(path, "new").unwrap()), Removal::Changed));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(matches!(
            judged(root, |path| fs::hard_link(path, root.join("b")).unwrap()),
            Removal::Changed
        ));
        assert!(path.exists());
    }
}
