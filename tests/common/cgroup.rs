//! Control groups for one test, removed after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A cgroup of our own.
#[derive(Debug)]
pub struct Cgroup {
    pub dir: PathBuf,
}

/// The mount points of `kind` whose options hold `option`.
fn mounts(kind: &str, option: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = |line: &str| {
        // "36 35 0:39 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids": proc_pid_mountinfo(5).
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut filesystem = filesystem.split(' ');
        let fits = filesystem.next() == Some(kind)
            && (option.is_empty() || filesystem.nth(1)?.split(',').any(|found| found == option));
        fits.then(|| PathBuf::from(mount.split(' ').nth(4).unwrap()))
    };
    mounts.lines().filter_map(place).collect()
}

/// Where cgroup v2 is mounted.
pub fn v2_mount() -> Option<PathBuf> {
    mounts("cgroup2", "").into_iter().next()
}

/// Where a controller of cgroup v1 is mounted, on a machine that has them.
pub fn v1_mount(controller: &str) -> Option<PathBuf> {
    mounts("cgroup", controller).into_iter().next()
}

/// Where our own process is in the hierarchy that `prefix` names in /proc/self/cgroup.
fn own(prefix: &str) -> PathBuf {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = groups.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or("/");
    PathBuf::from(path.trim_start_matches('/'))
}

/// Removes the cgroup that the sexton of this pid has left, once the last process in it is dead.
pub fn remove_left_by(pid: i32) {
    let Some(dir) = v2_mount().map(|mount| mount.join(own("0::")).join(format!("sexton-{pid}"))) else {
        return;
    };
    let end = std::time::Instant::now() + super::PATIENCE;
    while dir.exists() && fs::remove_dir(&dir).is_err() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

impl Cgroup {
    fn below(parent: &Path) -> Option<Cgroup> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir =
            parent.join(format!("sexton-test-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&dir).ok()?;
        Some(Cgroup { dir })
    }

    /// A new cgroup v2 below our own; `None`, after a line that says so, if we may not make one.
    pub fn v2() -> Option<Cgroup> {
        let group = v2_mount().and_then(|mount| Cgroup::below(&mount.join(own("0::"))));
        if group.is_none() {
            super::skip(
                "a writable cgroup v2",
                "root on the host, or `systemd-run --user -p Delegate=yes --scope`",
            );
        }
        group
    }

    /// A new cgroup with at most `limit` processes in it; `None`, after a line that says so, if we may not
    /// make one.
    pub fn with_pids_limit(limit: u32) -> Option<Cgroup> {
        let v1 = v1_mount("pids");
        let parent = v1.or_else(|| Some(v2_mount()?.join(own("0::"))));
        let group = parent.and_then(|parent| Cgroup::below(&parent));
        let limited = group.filter(|group| fs::write(group.pids_max(), limit.to_string()).is_ok());
        if limited.is_none() {
            super::skip(
                "the pids controller in a writable cgroup",
                "root on the host; v2: +pids in subtree_control",
            );
        }
        limited
    }

    /// A new cgroup with at most `limit` bytes of memory; `None`, after a line that says so, if we may not make one.
    pub fn with_memory_limit(limit: u64) -> Option<Cgroup> {
        let v1 = v1_mount("memory");
        let (parent, file) = match v1 {
            Some(mount) => (Some(mount), "memory.limit_in_bytes"),
            None => (v2_mount().map(|mount| mount.join(own("0::"))), "memory.max"),
        };
        let group = parent.and_then(|parent| Cgroup::below(&parent));
        let limited = group.filter(|group| fs::write(group.dir.join(file), limit.to_string()).is_ok());
        if limited.is_none() {
            super::skip(
                "the memory controller in a writable cgroup",
                "root on the host; v2: +memory in subtree_control",
            );
        }
        limited
    }

    /// How many of it the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let read = |file: &str| fs::read_to_string(self.dir.join(file));
        let text = read("memory.events").or_else(|_| read("memory.oom_control")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.unwrap().trim().parse().unwrap()
    }

    /// The file with the limit.
    pub fn pids_max(&self) -> PathBuf {
        self.dir.join("pids.max")
    }

    /// The cgroups below this one.
    pub fn below_it(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).unwrap();
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Cgroup {
    /// The victim that was in it is gone by now: a victim owns its cgroups.
    fn drop(&mut self) {
        for below in self.below_it() {
            drop(Cgroup { dir: below });
        }
        let gone = (0..1000).any(|_| {
            fs::remove_dir(&self.dir).is_ok() || {
                std::thread::sleep(std::time::Duration::from_millis(2));
                false
            }
        });
        assert!(gone || std::thread::panicking(), "{} does not go away", self.dir.display());
    }
}
