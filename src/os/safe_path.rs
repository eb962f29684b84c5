//! Finds a directory by its path so that only root and our own user can lead us to another user's files.
//!
//! The path is walked name by name, each opened below the one before, as systemd-tmpfiles walks it. The owner of a
//! directory can replace anything in it. So there is no step from a directory of an unprivileged user to a file of
//! another user ("unsafe path transition"). And a link is followed only if root or our own user has made it, in a
//! directory where no other user can make one.
//!
//! Three steps are safe all the same. What is mounted on a name can neither be moved nor replaced, but by those who may
//! mount. A user who may mount can do so with FUSE only, so that a FUSE mount has no such trust. And if we are not
//! root, a directory of our own is ours to work in wherever it lies: another user can rename it, but not make it, nor
//! move it to another parent. That is how a container of a random user finds its directory in a home of the image's
//! user.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use super::files::{self, FileKind, Meta};
use super::{directory, mounts, privileges, procfs};

/// Others may add, remove and rename what a directory holds (inode(7)).
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// But only what is their own.
const STICKY: u32 = 0o1000;
/// How many links one path may lead through, as for the kernel (path_resolution(7)).
const LINKS: u32 = 40;
/// Magic numbers of statfs(2): links in /proc lead where their text does not, and FUSE is what users may mount.
const PROC: u32 = 0x9fa0;
const FUSE: u32 = 0x6573_5546;

/// What lies at a path.
#[derive(Debug)]
pub struct Place {
    /// It, opened without the right to read it (`O_PATH`). It is no link.
    pub file: OwnedFd,
    /// What it is.
    pub meta: Meta,
    /// Whether none but root can put something else at the path.
    pub only_root_decides: bool,
}

/// Why a path leads nowhere.
#[derive(Debug)]
pub enum Refusal {
    /// What the system says of this part of the path.
    Failed {
        /// The part.
        at: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// The whole path is a symbolic link.
    IsLink {
        /// Where it points.
        target: PathBuf,
        /// Its owner, who may well have put it there.
        uid: u32,
    },
    /// This part of it is a symbolic link that another user may have made.
    Link {
        /// The link.
        at: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The owner of one directory decides what lies at the next part of the path, which is another user's.
    Step {
        /// The directory.
        from: PathBuf,
        /// Its owner.
        from_uid: u32,
        /// The next part.
        to: PathBuf,
        /// Its owner.
        to_uid: u32,
    },
}

impl Refusal {
    /// Whether nothing lies at the path.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Refusal::Failed { error, .. } if error.kind() == io::ErrorKind::NotFound)
    }
}

/// What lies at `path`.
///
/// # Errors
/// Why it leads nowhere, or somewhere where another user may have led us.
pub fn find(path: &Path) -> Result<Place, Refusal> {
    Walk::begin(path)?.finish()
}

/// A path on which we are.
struct Walk {
    us: u32,
    /// Where we are, and by which way we came.
    here: OwnedFd,
    meta: Meta,
    at: PathBuf,
    /// The names that are left, the next one last.
    rest: Vec<OsString>,
    links: u32,
    only_root_decides: bool,
    outside: OnceCell<Option<Outside>>,
}

impl Walk {
    fn begin(path: &Path) -> Result<Walk, Refusal> {
        // A relative path begins in the directory in which we were started. Another user than root may have chosen it.
        let begin = if path.is_absolute() { Path::new("/") } else { Path::new(".") };
        let failed = |error| Refusal::Failed { at: path.to_owned(), error };
        if path.as_os_str().is_empty() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        let here = files::look(begin).map_err(failed)?;
        let meta = files::meta(here.as_fd()).map_err(failed)?;
        Ok(Walk {
            us: privileges::effective_uid(),
            here,
            meta,
            at: if path.is_absolute() { begin.to_owned() } else { PathBuf::new() },
            rest: names(path),
            links: 0,
            only_root_decides: path.is_absolute(),
            outside: OnceCell::new(),
        })
    }

    fn finish(mut self) -> Result<Place, Refusal> {
        while let Some(name) = self.rest.pop() {
            self.only_root_decides &= self.only_root_writes();
            let next = if name == ".." { files::enter_above(self.here.as_fd()) } else { self.open(&name) };
            let next = next.map_err(|error| self.failed(&name, error))?;
            let meta = files::meta(next.as_fd()).map_err(|error| self.failed(&name, error))?;
            if meta.kind == FileKind::Symlink {
                self.follow(&name, &next, &meta)?;
                continue;
            }
            if !self.may_step(&name, &next, &meta) {
                return Err(Refusal::Step {
                    from: self.at.clone(),
                    from_uid: self.meta.uid,
                    to: self.path_of(&name),
                    to_uid: meta.uid,
                });
            }
            if meta.kind != FileKind::Directory && !self.rest.is_empty() {
                return Err(self.failed(&name, io::ErrorKind::NotADirectory.into()));
            }
            self.at = self.path_of(&name);
            (self.here, self.meta) = (next, meta);
        }
        Ok(Place { file: self.here, meta: self.meta, only_root_decides: self.only_root_decides })
    }

    /// A directory is entered, which mounts one that is mounted on demand; anything else is only looked at.
    fn open(&self, name: &OsStr) -> io::Result<OwnedFd> {
        match files::enter(self.here.as_fd(), name) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
                match files::look_in(self.here.as_fd(), name) {
                    // A file can be mounted on a name, and a link cannot.
                    Err(other) if other.kind() == io::ErrorKind::CrossesDevices => Err(error),
                    looked => looked,
                }
            }
            opened => opened,
        }
    }

    fn follow(&mut self, name: &OsStr, link: &OwnedFd, meta: &Meta) -> Result<(), Refusal> {
        let at = self.path_of(name);
        let failed = |error| Refusal::Failed { at: at.clone(), error };
        let target = files::target(link.as_fd()).map_err(failed)?;
        if self.rest.is_empty() && self.may_step(name, link, meta) {
            return Err(Refusal::IsLink { target, uid: meta.uid });
        }
        let closed = self.meta.mode & WRITABLE_BY_OTHERS == 0;
        let trusted =
            closed && self.is_trusted() && (self.is_roots(link.as_fd(), meta) || meta.uid == self.us);
        if !trusted {
            return Err(Refusal::Link { at, uid: meta.uid });
        }
        self.links += 1;
        if self.links > LINKS {
            return Err(failed(io::Error::from_raw_os_error(libc::ELOOP)));
        }
        if files::filesystem(self.here.as_fd()).is_ok_and(|magic| magic == PROC) {
            let next = files::follow(self.here.as_fd(), name).map_err(failed)?;
            let meta = files::meta(next.as_fd()).map_err(failed)?;
            (self.here, self.meta, self.at) = (next, meta, at);
            self.only_root_decides = false;
            return Ok(());
        }
        if target.is_absolute() {
            let root = files::look(Path::new("/")).map_err(failed)?;
            let meta = files::meta(root.as_fd()).map_err(failed)?;
            (self.here, self.meta, self.at) = (root, meta, PathBuf::from("/"));
        }
        self.rest.extend(names(&target));
        Ok(())
    }

    fn may_step(&self, name: &OsStr, next: &OwnedFd, meta: &Meta) -> bool {
        let ours = self.us != 0 && meta.uid == self.us && name != "..";
        meta.uid == self.meta.uid || ours || self.is_trusted() || self.is_mounted(next)
    }

    /// Whether the next part is a mount point, and only a user that may mount can have made it: FUSE mounts do not
    /// count.
    fn is_mounted(&self, next: &OwnedFd) -> bool {
        let (here, there) = (mounts::id(self.here.as_fd()), mounts::id(next.as_fd()));
        let crosses = here.is_some() && there.is_some() && here != there;
        crosses && files::filesystem(next.as_fd()).is_ok_and(|magic| magic != FUSE)
    }

    /// Whether the current directory belongs to root or to our own user. Then only these decide what is in it, and
    /// those users whom the owner lets write.
    fn is_trusted(&self) -> bool {
        self.meta.uid == self.us || self.is_roots(self.here.as_fd(), &self.meta)
    }

    fn only_root_writes(&self) -> bool {
        let closed = self.meta.mode & WRITABLE_BY_OTHERS == 0 || self.meta.mode & STICKY != 0;
        closed && self.is_roots(self.here.as_fd(), &self.meta)
    }

    fn is_roots(&self, file: BorrowedFd<'_>, meta: &Meta) -> bool {
        meta.uid == 0 || self.is_roots_outside(file, meta)
    }

    /// Whether a file belongs to root outside of our user namespace, as far as can be told.
    ///
    /// All users that have no number in ours appear as one there, the overflow uid: root, but any other user of the
    /// machine as well. What others can write is not believed to be root's. Where that number is also a user's of our
    /// namespace, his own files are told apart by what root of the namespace may do with them.
    fn is_roots_outside(&self, file: BorrowedFd<'_>, meta: &Meta) -> bool {
        let Some(outside) = self.outside.get_or_init(Outside::look) else { return false };
        // A link has all modes and no content that changes; it lies in a directory that was asked about.
        let is_link = meta.kind == FileKind::Symlink;
        let closed = is_link || meta.mode & WRITABLE_BY_OTHERS == 0 || meta.mode & STICKY != 0;
        let foreign = || is_link || !outside.is_inside_too || self.us == 0 && is_foreign(file);
        meta.uid == outside.uid && closed && foreign()
    }

    fn path_of(&self, name: &OsStr) -> PathBuf {
        let above = (name == "..").then(|| self.at.parent()).flatten();
        above.map_or_else(|| self.at.join(name), Path::to_owned)
    }

    fn failed(&self, name: &OsStr, error: io::Error) -> Refusal {
        Refusal::Failed { at: self.path_of(name), error }
    }
}

fn names(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// How the users outside of our user namespace appear in it (user_namespaces(7)).
struct Outside {
    /// As this one, the overflow uid.
    uid: u32,
    /// Which is also the number of a user in it.
    is_inside_too: bool,
}

impl Outside {
    /// `None` if no user is outside.
    fn look() -> Option<Outside> {
        let map = fs::read_to_string("/proc/self/uid_map").ok()?;
        let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        let uid = overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(65534);
        Some(Outside { uid, is_inside_too: is_mapped(&map, uid)? })
    }
}

/// Whether a user of this number is one of the namespace with this map (`uid_map`); `None` if every user is.
fn is_mapped(map: &str, uid: u32) -> Option<bool> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (first, _, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some((first, count))
    };
    let ranges: Vec<(u32, u32)> = map.lines().filter_map(range).collect();
    let has_all = ranges.iter().any(|(first, count)| *first == 0 && *count == u32::MAX);
    let is_in = |(first, count): &(u32, u32)| uid.checked_sub(*first).is_some_and(|offset| offset < *count);
    (!has_all).then(|| ranges.iter().any(is_in))
}

/// Whether a directory's owner has no number here: then we may not do what the right to act as any owner allows, which
/// we have. What is tried is to open it without a trace (`O_NOATIME`, open(2)), which changes nothing.
fn is_foreign(directory: BorrowedFd<'_>) -> bool {
    let refused = |error: io::Error| error.raw_os_error() == Some(libc::EPERM);
    may_act_as_owner() && directory::list_without_a_trace(directory).is_err_and(refused)
}

/// Whether we have the right to act as the owner of any file whose owner has a number here (`CAP_FOWNER`,
/// capabilities(7)).
fn may_act_as_owner() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let bits = procfs::field(&status, "CapEff").and_then(|bits| u64::from_str_radix(bits, 16).ok());
    bits.is_some_and(|bits| bits >> 3 & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    use super::*;

    /// A directory of root's that no other user can write, with what the lines say in it: a path, its owner, and either
    /// its mode or where the link points. `None` if we are not root.
    fn tree(lines: &[(&str, u32, &str)]) -> Option<tempfile::TempDir> {
        let top = tempfile::tempdir().unwrap();
        if privileges::effective_uid() != 0 {
            return None;
        }
        for (name, uid, what) in lines {
            let path = top.path().join(name);
            match u32::from_str_radix(what, 8) {
                Ok(mode) => {
                    fs::create_dir_all(&path).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                    chown(&path, Some(*uid), Some(*uid)).unwrap();
                }
                Err(_) => {
                    symlink(what.replace("TOP", top.path().to_str().unwrap()), &path).unwrap();
                    lchown(&path, Some(*uid), Some(*uid)).unwrap();
                }
            }
        }
        Some(top)
    }

    fn outcome(top: &Path, name: &str) -> String {
        let below = |path: &Path| path.strip_prefix(top).unwrap_or(path).display().to_string();
        match find(&top.join(name)) {
            Ok(place) => format!("{}{}", place.meta.uid, if place.only_root_decides { " sure" } else { "" }),
            Err(Refusal::Failed { at, error }) => format!("{}: {:?}", below(&at), error.kind()),
            Err(Refusal::IsLink { target, uid }) => format!("link of {uid} to {}", below(&target)),
            Err(Refusal::Link { at, uid }) => format!("{} by {uid}", below(&at)),
            Err(Refusal::Step { from, from_uid, to, to_uid }) => {
                format!("{} of {from_uid} to {} of {to_uid}", below(&from), below(&to))
            }
        }
    }

    #[test]
    fn no_step_leads_from_an_unprivileged_user_to_anybody_else() {
        let Some(top) = tree(&[
            ("gw", 1000, "755"),
            ("gw/own", 1000, "755"),
            ("gw/roots", 0, "755"),
            ("gw/roots/deep", 1000, "755"),
            ("gw/others", 1001, "755"),
            ("open", 0, "777"),
            ("open/gw", 1000, "755"),
            ("open/roots", 0, "755"),
            ("sticky", 0, "1777"),
            ("sticky/roots", 0, "755"),
            ("sys", 0, "755"),
            ("sys/run", 0, "755"),
        ]) else {
            return;
        };
        fs::write(top.path().join("sys/file"), "").unwrap();
        for (name, expected) in [
            ("gw", "1000 sure"),
            ("gw/own", "1000"),
            ("gw/roots", "gw of 1000 to gw/roots of 0"),
            ("gw/roots/deep", "gw of 1000 to gw/roots of 0"),
            ("gw/others", "gw of 1000 to gw/others of 1001"),
            ("gw/own/..", "1000"),
            ("gw/../sys/run", "gw of 1000 to  of 0"),
            ("open/gw", "1000"),
            ("open/roots", "0"),
            ("sticky/roots", "0 sure"),
            ("sys/run", "0 sure"),
            ("sys/./run/../run", "0 sure"),
            ("sys/file", "0 sure"),
            ("sys/file/x", "sys/file: NotADirectory"),
            ("sys/none/x", "sys/none: NotFound"),
        ] {
            assert_eq!(outcome(top.path(), name), expected, "{name}");
        }
    }

    #[test]
    fn a_link_is_followed_only_where_none_but_root_can_make_one() {
        let Some(top) = tree(&[
            ("sys", 0, "755"),
            ("sys/run", 0, "755"),
            ("gw", 1000, "755"),
            ("gw/own", 1000, "755"),
            ("gw/swap", 1000, "../sys"),
            ("gw/inner", 1000, "own"),
            ("gw/roots", 0, "own"),
            ("open", 0, "1777"),
            ("open/link", 0, "../sys"),
            ("var", 0, "755"),
            ("var/run", 0, "TOP/sys/run"),
            ("var/relative", 0, "../sys"),
            ("var/twice", 0, "relative"),
            ("var/of-user", 1000, "../sys"),
            ("var/loop", 0, "loop/x"),
            ("var/to-gw", 0, "../gw"),
        ]) else {
            return;
        };
        fs::create_dir(top.path().join("sys/run/state")).unwrap();
        for (name, expected) in [
            ("var/run/state", "0 sure"),
            ("var/relative/run", "0 sure"),
            ("var/twice/run/state", "0 sure"),
            ("var/run", "link of 0 to sys/run"),
            ("gw/inner", "link of 1000 to own"),
            ("gw/roots", "gw/roots by 0"),
            ("var/of-user/run", "var/of-user by 1000"),
            ("gw/swap/run", "gw/swap by 1000"),
            ("gw/inner/x", "gw/inner by 1000"),
            ("gw/roots/x", "gw/roots by 0"),
            ("open/link/run", "open/link by 0"),
            ("var/to-gw/own", "1000"),
            ("var/to-gw/swap/run", "gw/swap by 1000"),
        ] {
            assert_eq!(outcome(top.path(), name), expected, "{name}");
        }
        assert!(outcome(top.path(), "var/loop/x").contains("Loop"), "{}", outcome(top.path(), "var/loop/x"));
    }

    #[test]
    fn where_links_of_proc_lead_is_the_kernels_word() {
        let here = find(Path::new("/proc/self/cwd/.")).map(|place| place.meta);
        assert!(matches!(here, Err(Refusal::IsLink { .. })), "{here:?}");
        let sources = find(Path::new("/proc/self/cwd/src")).unwrap();
        assert!(
            sources.meta.same_file(&files::meta(files::look(Path::new("src")).unwrap().as_fd()).unwrap())
        );
        assert!(!sources.only_root_decides);
    }

    #[test]
    fn a_path_that_begins_where_we_are_is_no_surer_than_that() {
        assert!(!find(Path::new("src")).unwrap().only_root_decides);
        assert!(find(Path::new("")).unwrap_err().is_missing());
        assert!(find(Path::new("/")).unwrap().only_root_decides);
    }

    #[test]
    fn who_has_a_number_in_a_namespace_is_told_by_its_map() {
        for (map, expected) in [
            ("         0          0 4294967295\n", None),
            ("         0       1000          1\n", Some(false)),
            ("0 1000 1\n1 100000 65536\n", Some(true)),
            ("0 1000 1\n1 100000 65533\n", Some(false)),
            ("65534 100000 1", Some(true)),
            ("", Some(false)),
        ] {
            assert_eq!(is_mapped(map, 65534), expected, "{map}");
        }
    }
}
