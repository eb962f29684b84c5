//! A cgroup of our own, where the system lets us have one (cgroups(7), version 2).

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::procfs::{parse_pids, read_text};
use super::{directory, files};
use crate::types::Pid;

/// How many names are tried, if those before are taken by what killed sextons left behind.
const ATTEMPTS: u32 = 16;

/// How deep sextons below sextons are looked for in what one has left.
const DEEPEST: u32 = 8;

/// A cgroup below ours that holds the main process and everything that descends from it.
pub struct Cgroup {
    path: PathBuf,
    /// Locked as long as we live, so that no other sexton takes it for a dead one's: it is empty between two lives of
    /// the command.
    directory: File,
    /// It was killed, and may be in use again.
    killed: Cell<bool>,
}

impl Cgroup {
    /// Makes the cgroup `sexton-PID` below the one that we are in, or `sexton-PID-N` if that name is taken.
    ///
    /// # Errors
    /// There is no cgroup v2 here, it is not ours to write to, or its kernel has no `cgroup.kill` (before
    /// Linux 5.14).
    pub fn create(pid: Pid) -> io::Result<Cgroup> {
        let memberships = read_text("/proc/self/cgroup")?;
        let own = match default_directory(&memberships) {
            Some(own) => own,
            None => own_directory(&read_text("/proc/self/mountinfo")?, &memberships)
                .ok_or(io::ErrorKind::Unsupported)?,
        };
        for attempt in 0..ATTEMPTS {
            let suffix = if attempt == 0 { String::new() } else { format!("-{attempt}") };
            let path = own.join(format!("sexton-{pid}{suffix}"));
            match fs::create_dir(&path) {
                // Left by a sexton with our pid that was killed. The processes in it are not ours, so they are not
                // killed. An empty one is made anew, as it may have been killed (see `is_domain`).
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    remove_if_abandoned(&path, DEEPEST);
                    if fs::create_dir(&path).is_err() {
                        continue;
                    }
                }
                result => result?,
            }
            let opened = Cgroup::open(path.clone()).inspect_err(|_| {
                // An empty directory is all that is left of the attempt.
                let _ = fs::remove_dir(&path);
            });
            if let Some(cgroup) = opened? {
                return Ok(cgroup);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// `None`: it belongs to another sexton that has our number in another pid namespace, and has no process in it yet.
    /// Or another sexton is removing it, because it took it for abandoned before it was locked.
    fn open(path: PathBuf) -> io::Result<Option<Cgroup>> {
        let Some(directory) = lock(&path)? else { return Ok(None) };
        fs::metadata(path.join("cgroup.kill"))?;
        Ok(Some(Cgroup { path, directory, killed: Cell::new(false) }))
    }

    /// Removes the sibling cgroups of sextons that were killed: no process is in them, and no process has locked them.
    pub fn remove_abandoned(&self) {
        if let Some(parent) = self.path.parent() {
            remove_abandoned_in(parent, DEEPEST);
        }
    }

    /// What a child is born into by clone3(2).
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Moves the calling process into it. Async-signal-safe.
    ///
    /// # Errors
    /// What openat(2) and write(2) say.
    pub(super) fn join(&self) -> io::Result<()> {
        let procs =
            openat(&self.directory, c"cgroup.procs", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        nix::unistd::write(procs, b"0")?;
        Ok(())
    }

    /// Whether a process can be born in it. Newer kernels (6.18 was seen to) kill one that is born in a cgroup that
    /// was ever killed, if the parent's was not: they compare the number of kills of both. It can still join.
    pub(super) fn is_domain(&self) -> bool {
        !self.killed.get()
    }

    /// Kills every process in it, at once and without a chance to fork (`cgroup.kill`, Linux 5.14).
    ///
    /// # Errors
    /// What write(2) says.
    pub fn kill(&self) -> io::Result<()> {
        self.killed.set(true);
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// The processes in it; those of another pid namespace are left out.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn members(&self) -> io::Result<Vec<Pid>> {
        Ok(parse_pids(&read_text(self.path.join("cgroup.procs"))?))
    }

    /// Whether a process in it is alive (`cgroup.events`). Zombies do not count.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        is_populated(&self.path)
    }

    /// Removes it. It must be empty.
    ///
    /// # Errors
    /// What rmdir(2) says: EBUSY while there is a process in it.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.path)
    }
}

/// Removes the cgroup of a child of ours that was killed, if no process is in it.
pub fn remove_left_by(child: Pid) {
    let read = |path: &str| read_text(path).unwrap_or_default();
    if let Some(own) = own_directory(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")) {
        remove_if_abandoned(&own.join(format!("sexton-{child}")), DEEPEST);
    }
}

/// Opens and locks this cgroup. `None`: another process has locked it, or it was removed meanwhile.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let directory = File::open(path)?;
    if !files::lock_alone(directory.as_fd())? {
        return Ok(None);
    }
    let inode = |found: fs::Metadata| (found.dev(), found.ino());
    let still = fs::metadata(path)
        .is_ok_and(|found| directory.metadata().is_ok_and(|ours| inode(found) == inode(ours)));
    Ok(still.then_some(directory))
}

fn remove_abandoned_in(parent: &Path, depth: u32) {
    let names = File::open(parent).and_then(|parent| directory::list(parent.as_fd()));
    let Ok(mut names) = names else { return };
    while let Some(Ok(name)) = names.next_name() {
        if is_ours(name.name.as_bytes()) {
            remove_if_abandoned(&parent.join(name.name), depth);
        }
    }
}

/// Removes it, and those of its kind below it, if no process is in them. While it is locked, no other sexton can take
/// it.
fn remove_if_abandoned(path: &Path, depth: u32) {
    if is_populated(path) {
        return;
    }
    if let Ok(Some(_locked)) = lock(path) {
        if let Some(depth) = depth.checked_sub(1) {
            remove_abandoned_in(path, depth);
        }
        // This fails if a process has entered it meanwhile.
        let _ = fs::remove_dir(path);
    }
}

/// Whether a cgroup of this name is a sexton's: `sexton-PID` or `sexton-PID-N`.
fn is_ours(name: &[u8]) -> bool {
    let number = |text: &[u8]| !text.is_empty() && text.len() <= 10 && text.iter().all(u8::is_ascii_digit);
    let Some(rest) = name.strip_prefix(b"sexton-") else { return false };
    let mut parts = rest.split(|byte| *byte == b'-');
    parts.by_ref().take(2).all(number) && parts.next().is_none()
}

/// What the kernel has counted in the cgroup of a process: of version 2 `memory.events` and `pids.events`, which count
/// those below it too, of version 1 `memory.oom_control` and `pids.events` (the kernel's cgroup documents). A number is
/// `None` where there is no such controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// Processes that were killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Forks that were refused because there were too many processes.
    pub forks_refused: Option<u64>,
}

/// Reads them for the cgroup that `pid` is in.
#[must_use]
pub fn events_of(pid: Pid) -> Events {
    let counters = Counters::of(pid);
    Events { oom_kills: counters.oom_kills(), forks_refused: counters.forks_refused() }
}

/// How many processes of the cgroup that `pid` is in were killed for want of memory; see [`Events`].
#[must_use]
pub fn oom_kills_of(pid: Pid) -> Option<u64> {
    Counters::of(pid).oom_kills()
}

/// Where the kernel counts for the cgroup that a process is in.
struct Counters {
    mounts: String,
    memberships: String,
}

impl Counters {
    fn of(pid: Pid) -> Counters {
        let read = |path: &str| read_text(path).unwrap_or_default();
        Counters { mounts: read("/proc/self/mountinfo"), memberships: read(&format!("/proc/{pid}/cgroup")) }
    }

    fn oom_kills(&self) -> Option<u64> {
        self.two("memory.events", "oom_kill").or_else(|| self.one("memory", "memory.oom_control", "oom_kill"))
    }

    fn forks_refused(&self) -> Option<u64> {
        self.two("pids.events", "max").or_else(|| self.one("pids", "pids.events", "max"))
    }

    fn two(&self, file: &str, name: &str) -> Option<u64> {
        count(own_directory(&self.mounts, &self.memberships)?, file, name)
    }

    fn one(&self, controller: &str, file: &str, name: &str) -> Option<u64> {
        count(directory_of(&self.mounts, &self.memberships, controller)?, file, name)
    }
}

fn count(directory: PathBuf, file: &str, name: &str) -> Option<u64> {
    parse_count(&read_text(directory.join(file)).ok()?, name)
}

/// How much of something there may be in a cgroup, and how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CgroupLimit {
    /// The limit.
    pub most: u64,
    /// What is used of it.
    pub used: u64,
}

/// The limits of the cgroup of a process and of those above it, as far as they can be seen: of several the one that
/// leaves least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct CgroupLimits {
    /// Bytes of memory. What the kernel can reclaim at once, cached files that no process uses, does not count as used.
    pub memory: Option<CgroupLimit>,
    /// Processes and threads.
    pub processes: Option<CgroupLimit>,
}

/// Reads them for the cgroup that `pid` is in.
#[must_use]
pub fn limits_of(pid: Pid) -> CgroupLimits {
    let Counters { mounts, memberships } = Counters::of(pid);
    let two = own_directory(&mounts, &memberships);
    let of = |controller: &str| directory_of(&mounts, &memberships, controller);
    let memory = |path: Option<PathBuf>, [most, used, cache]: [&str; 3]| {
        tightest_limit(path, &|level| {
            let files = count(level.to_owned(), "memory.stat", cache).unwrap_or_default();
            Some(CgroupLimit {
                most: number_in(&level.join(most))?,
                used: number_in(&level.join(used))?.saturating_sub(files),
            })
        })
    };
    let processes = |path: Option<PathBuf>| {
        tightest_limit(path, &|level| {
            let (most, used) = (level.join("pids.max"), level.join("pids.current"));
            Some(CgroupLimit { most: number_in(&most)?, used: number_in(&used)? })
        })
    };
    let of_two = ["memory.max", "memory.current", "inactive_file"];
    let of_one = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
    CgroupLimits {
        memory: memory(two.clone(), of_two).or_else(|| memory(of("memory"), of_one)),
        processes: processes(two).or_else(|| processes(of("pids"))),
    }
}

/// Of this directory and those above it, the one that leaves least.
fn tightest_limit(path: Option<PathBuf>, read: &dyn Fn(&Path) -> Option<CgroupLimit>) -> Option<CgroupLimit> {
    let path = path?;
    let rooms = path.ancestors().filter_map(read);
    // Version 1 says "no limit" with a number that no machine has.
    rooms.filter(|room| room.most < 1 << 60).min_by_key(|room| room.most.saturating_sub(room.used))
}

/// The number in a file; `None` for "max" and where there is none.
fn number_in(path: &Path) -> Option<u64> {
    read_text(path).ok()?.trim().parse().ok()
}

fn is_populated(path: &Path) -> bool {
    let events = read_text(path.join("cgroup.events")).unwrap_or_default();
    parse_count(&events, "populated") == Some(1)
}

/// The number behind `name` in a file of names and numbers, one pair a line, as `cgroup.events` is.
#[must_use]
pub fn parse_count(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

/// The same as [`own_directory`] where everything is in its usual place: in the first cgroup namespace (its number is
/// `PROC_CGROUP_INIT_INO`, include/linux/proc_ns.h), in which a membership is the whole way from the root, and with the
/// hierarchy mounted where systemd does. To list the mounts costs more than all the rest of making a cgroup.
fn default_directory(memberships: &str) -> Option<PathBuf> {
    if fs::read_link("/proc/self/ns/cgroup").ok()?.as_os_str() != "cgroup:[4026531835]" {
        return None;
    }
    let membership = memberships.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].into_iter();
    places
        .map(|place| Path::new(place).join(membership))
        .find(|path| statfs(path.as_path()).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC))
}

/// The directory of a cgroup v2, from /proc/self/mountinfo and /proc/PID/cgroup (proc(5)).
#[must_use]
pub fn own_directory(mounts: &str, memberships: &str) -> Option<PathBuf> {
    let membership = memberships.lines().find_map(|line| line.strip_prefix("0::"))?;
    directory(mounts, membership, |kind, _| kind == "cgroup2")
}

/// The same for the hierarchy of version 1 with this controller.
#[must_use]
pub fn directory_of(mounts: &str, memberships: &str, controller: &str) -> Option<PathBuf> {
    let named = |names: &str| names.split(',').any(|name| name == controller);
    let membership = memberships.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        named(names).then_some(path)
    })?;
    directory(mounts, membership, |kind, options| kind == "cgroup" && named(options))
}

/// Where `membership` is seen below a mount whose kind and options are wanted.
fn directory(mounts: &str, membership: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    // There may be hundreds of mounts, and this is asked at each start.
    mounts.lines().filter(|line| line.contains(" - cgroup")).find_map(|line| {
        // From the end, because what stands before the kind varies in number. Blanks within a field are escaped.
        let mut right = line.rsplitn(4, ' ');
        let (options, _source, kind, left) = (right.next()?, right.next()?, right.next()?, right.next()?);
        if !wanted(kind, options) {
            return None;
        }
        let mut fields = left.split(' ').skip(3);
        let (root, mount_point) = (fields.next().filter(|root| root.starts_with('/'))?, fields.next()?);
        // The mount may show only a part of the hierarchy, as in a container.
        let below = Path::new(membership).strip_prefix(root).ok()?;
        Some(Path::new(mount_point).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "25 1 0:22 / /sys rw - sysfs sysfs rw\n\
        30 25 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn our_directory_is_below_the_mount_point() {
        let memberships = "4:pids:/user\n0::/a.slice/b.service\n";
        let expected = PathBuf::from("/sys/fs/cgroup/unified/a.slice/b.service");
        assert_eq!(own_directory(HYBRID, memberships), Some(expected));
        assert_eq!(own_directory(HYBRID, "0::/\n"), Some(PathBuf::from("/sys/fs/cgroup/unified/")));
    }

    #[test]
    fn only_names_of_our_own_making_are_ours() {
        for name in ["sexton-1", "sexton-4194304", "sexton-17-3"] {
            assert!(is_ours(name.as_bytes()), "{name}");
        }
        for name in [
            "sexton-",
            "sexton-1-",
            "sexton-x",
            "sexton-1-2-3",
            "sexton-test-1-2",
            "sexton-1.service",
            "xsexton-1",
        ] {
            assert!(!is_ours(name.as_bytes()), "{name}");
        }
    }

    /// As Linux writes them: the names of version 2 begin alike.
    #[test]
    fn kills_are_counted_in_both_versions() {
        let two = "low 0\nhigh 0\nmax 731\noom 4\noom_kill 3\noom_group_kill 1\n";
        let one = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!((parse_count(two, "oom_kill"), parse_count(one, "oom_kill")), (Some(3), Some(2)));
    }

    #[test]
    fn the_usual_place_is_the_one_that_the_mounts_show() {
        let [mounts, memberships] =
            ["/proc/self/mountinfo", "/proc/self/cgroup"].map(|path| read_text(path).unwrap());
        if let Some(usual) = default_directory(&memberships) {
            assert_eq!(Some(usual), own_directory(&mounts, &memberships));
        }
        assert_eq!(default_directory("0::/nobody/is/here\n"), None);
        assert_eq!(default_directory("4:pids:/\n"), None);
    }

    #[test]
    fn a_mount_of_a_part_is_understood() {
        let mounts = "30 25 0:27 /docker/x /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(own_directory(mounts, "0::/docker/x/y"), Some(PathBuf::from("/sys/fs/cgroup/y")));
        assert_eq!(own_directory(mounts, "0::/elsewhere"), None);
    }

    #[test]
    fn without_version_two_there_is_none() {
        assert_eq!(own_directory("30 25 0:27 / /c rw - cgroup cgroup rw,pids\n", "4:pids:/\n"), None);
        assert_eq!(own_directory(HYBRID, "4:pids:/\n"), None);
        assert_eq!(own_directory("", ""), None);
    }

    #[test]
    fn a_controller_of_version_one_has_a_hierarchy_of_its_own() {
        let mounts = format!("{HYBRID}26 25 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
        let memberships = "4:memory:/a\n3:cpu,cpuacct:/b\n0::/c\n";
        let expected = PathBuf::from("/sys/fs/cgroup/memory/a");
        assert_eq!(directory_of(&mounts, memberships, "memory"), Some(expected));
        assert_eq!(directory_of(&mounts, memberships, "cpuacct"), None, "it is mounted nowhere");
        assert_eq!(directory_of(&mounts, "0::/c\n", "memory"), None);
    }
}
