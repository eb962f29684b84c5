//! What a file lies on, as the mount table names it (proc_pid_mountinfo(5)).
//!
//! statfs(2) is not asked for the type: a 9p mount with `version=9p2000.L` passes on the answer of its server, and
//! so reads as ext4 (seen on Linux 6.12 and 6.18).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::{files, procfs};

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The filesystem's type, as `ext4`; a FUSE type has its subtype, as `fuse.bindfs`.
    pub kind: String,
    /// The upper directory of an overlay, by its path in the mount namespace in which it was mounted.
    pub upper: Option<PathBuf>,
}

/// The mount through which `file` was opened. `None` where the kernel does not say, as without /proc.
#[must_use]
pub fn of(file: BorrowedFd<'_>) -> Option<Mount> {
    parse(&procfs::read_text("/proc/self/mountinfo").ok()?, id(file)?)
}

/// The mount that `path` leads to, a link in its last component not followed. `None` as for [`of`], and where there is no such path.
#[must_use]
pub fn at(path: &Path) -> Option<Mount> {
    of(files::look(path).ok()?.as_fd())
}

/// The mount with this number in the text of /proc/self/mountinfo.
#[must_use]
pub fn parse(mounts: &str, id: u64) -> Option<Mount> {
    let is_it = |line: &&str| line.split(' ').next().is_some_and(|number| number.parse() == Ok(id));
    // Optional fields stand before the hyphen; the type, the source and the superblock's options behind it.
    let (_, rest) = mounts.lines().find(is_it)?.split_once(" - ")?;
    let mut rest = rest.split(' ');
    let kind = rest.next()?.to_owned();
    let options = rest.nth(1).unwrap_or_default();
    let upper = options.split(',').find_map(|option| option.strip_prefix("upperdir="));
    Some(Mount { kind, upper: upper.map(|path| PathBuf::from(unescaped(path))) })
}

/// Blanks, tabs, line ends and backslashes stand in the table as `\` and three octal digits.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The number of the mount through which `file` was opened (statx(2), `STATX_MNT_ID`, Linux 5.8). An older kernel says so
/// in /proc alone (proc_pid_fdinfo(5)).
#[must_use]
pub fn id(file: BorrowedFd<'_>) -> Option<u64> {
    asked_id(file).or_else(|| {
        let info = procfs::read_text(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
        procfs::field(&info, "mnt_id")?.parse().ok()
    })
}

fn asked_id(file: BorrowedFd<'_>) -> Option<u64> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is an empty string that ends with a NUL byte, the descriptor is open as long as it is
    // borrowed, and the kernel writes no more than the structure that it is given.
    let done = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
            libc::STATX_MNT_ID,
            found.as_mut_ptr(),
        )
    };
    // SAFETY: every bit pattern of its numbers is a value, and all of it was zero before the call.
    let found = unsafe { found.assume_init() };
    (done == 0 && found.stx_mask & libc::STATX_MNT_ID != 0).then_some(found.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TABLE: &str = "\
22 1 0:20 / /proc rw,nosuid shared:12 - proc proc rw
36 35 0:30 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/var/lib/up\\040per,workdir=/w
41 36 0:40 / /mnt rw - 9p hostshare rw,access=client,trans=virtio
43 36 0:41 / /f rw shared:1 master:2 - fuse.bindfs /src rw
";

    #[test]
    fn the_type_is_the_mount_tables() {
        let kind = |id| parse(TABLE, id).map(|mount| mount.kind);
        assert_eq!(kind(41).as_deref(), Some("9p"));
        assert_eq!(kind(43).as_deref(), Some("fuse.bindfs"));
        assert_eq!(kind(22).as_deref(), Some("proc"));
        assert_eq!((kind(4), kind(99)), (None, None), "a number is compared whole");
        let overlay = parse(TABLE, 36).unwrap();
        assert_eq!((overlay.kind.as_str(), overlay.upper), ("overlay", Some("/var/lib/up per".into())));
        assert_eq!(parse("7", 7), None);
    }

    #[test]
    fn proc_lies_on_proc() {
        let file = fs::File::open("/proc/self/stat").unwrap();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        let told = procfs::field(&info, "mnt_id").unwrap().parse().ok();
        assert_eq!(asked_id(file.as_fd()), told, "both accounts are of the same numbers");
        assert_eq!(of(file.as_fd()).unwrap().kind, "proc");
        assert_eq!(at(Path::new("/proc")).unwrap().kind, "proc");
    }
}
