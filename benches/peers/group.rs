//! A group of the scheduler's for all that is measured, as every container and every service has one.
//!
//! Outside of one the kernel makes such a group for each session by itself (`sched_autogroup_enabled`, sched(7)). Of the
//! inits that are compared dumb-init alone begins a session for its command, and what is woken in another group than
//! the one that woke it runs at once: a signal that is passed on seems to take half the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// Removed when this is dropped, with nobody in it any more.
#[derive(Debug)]
pub struct Group(PathBuf);

impl Group {
    /// Makes one, where cgroups let us: version 1 with its `cpu` hierarchy, or version 2 with that controller.
    pub fn make() -> Option<Group> {
        let first = Path::new("/sys/fs/cgroup/cpu");
        let second = Path::new("/sys/fs/cgroup");
        let controllers = fs::read_to_string(second.join("cgroup.subtree_control")).unwrap_or_default();
        let parent = if first.join("cpu.shares").exists() {
            first
        } else if controllers.split_ascii_whitespace().any(|name| name == "cpu") {
            second
        } else {
            return None;
        };
        let path = parent.join(format!("sexton-bench-{}", process::id()));
        fs::create_dir(&path).ok()?;
        Some(Group(path))
    }

    /// The file that a process joins by.
    pub fn door(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that is not empty stays, and is harmless.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Whether the kernel makes groups by itself, so that not to have one bends what is measured.
pub fn is_missed() -> bool {
    fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").is_ok_and(|text| text.trim() == "1")
}
