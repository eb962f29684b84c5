//! Whether the kernel has killed the main process because memory ran out.
//!
//! The kernel does not tell which processes it has killed, but counts how many in a cgroup. So what is to be known is how much
//! higher the count is at the death of the main process than it was at its start. To read it takes about as long as
//! a small part of a start does, and most commands never need it: it is read a moment after the start, when
//! a command that only does something quickly has ended, and before the memory of the start is given back.

use std::time::Duration;

use crate::os::{cgroup, clock, process};
use crate::types::{ExitStatus, MonoTime};

/// How long after the start the count is read.
const LATER: Duration = Duration::from_millis(10);

/// What is known of the kernel's kills.
#[derive(Debug, Default)]
pub(super) struct OomWatch {
    /// The count at the start of the main process, if it is known.
    before: Option<u64>,
    /// When it is read.
    due: Option<MonoTime>,
    /// The main process that ended last was killed, and the kernel has killed.
    named: bool,
}

impl OomWatch {
    /// The main process was started. The count of a container begins with the container, at 0: that is known before
    /// it is read.
    pub(super) fn began(&mut self, in_new_container: bool) {
        self.before = in_new_container.then_some(0);
        self.due = Some(clock::now().after(LATER));
    }

    /// When it wants to be looked at.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.due
    }

    /// Reads the count, if it is time.
    pub(super) fn tick(&mut self) {
        if self.due.take_if(|due| *due <= clock::now()).is_some() {
            self.before = count();
        }
    }

    /// The main process has ended so: how many the kernel has killed since its start, if that may be why.
    pub(super) fn ended(&mut self, status: ExitStatus) -> Option<u64> {
        self.due = None;
        let killed = matches!(status, ExitStatus::Signaled { signal: libc::SIGKILL, .. });
        let before = self.before.filter(|_| killed);
        let kills =
            before.and_then(|before| Some(count()?.saturating_sub(before))).filter(|kills| *kills > 0);
        self.named = kills.is_some();
        kills
    }

    /// What is to be added to the words for the last end.
    pub(super) fn words(&self) -> &'static str {
        if self.named { ", for want of memory" } else { "" }
    }
}

fn count() -> Option<u64> {
    cgroup::oom_kills_of(process::own_pid())
}
