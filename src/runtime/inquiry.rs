//! What a helper finds out for us. It leaves its answer in a file in memory, and is given up if it takes too long.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sweeper::Sweeper;
use crate::os::{clock, files, signals};
use crate::types::{MonoTime, Pid, Signal};

/// A question that a helper looks into.
pub(super) struct Inquiry {
    helper: Pid,
    /// Where the helper leaves its answer.
    answer: File,
    /// When it is given up.
    until: MonoTime,
}

impl Inquiry {
    /// Has a helper find the answer. `name` is that of the file in memory.
    ///
    /// # Errors
    /// The file or the helper could not be made.
    pub(super) fn begin<T: Serialize>(
        sweeper: &mut Sweeper<'_>,
        name: &CStr,
        deadline: Duration,
        find: impl FnOnce() -> T,
    ) -> io::Result<Inquiry> {
        let answer = files::in_memory(name)?;
        let work = || {
            let told = serde_json::to_vec(&find()).map_err(io::Error::from);
            u8::from(told.and_then(|told| (&answer).write_all(&told)).is_err())
        };
        let helper = sweeper.start_helper(&[answer.as_fd()], work);
        let helper = helper.map_err(|error| io::Error::from_raw_os_error(error.0))?;
        Ok(Inquiry { helper, answer, until: clock::now().after(deadline) })
    }

    /// When it is given up.
    pub(super) fn deadline(&self) -> MonoTime {
        self.until
    }

    /// Whether it takes too long.
    pub(super) fn is_late(&self) -> bool {
        self.until <= clock::now()
    }

    /// Gives it up and returns the helper's pid. The helper may hang in the kernel, so its end is not waited for.
    pub(super) fn give_up(self) -> Pid {
        let _ = signals::send(self.helper, Signal::KILL);
        self.helper
    }

    /// Whether this helper, which has ended, was to find the answer.
    pub(super) fn is_of(&self, helper: Pid) -> bool {
        self.helper == helper
    }

    /// The answer, of which so many bytes are read at most. `None` if the helper broke off.
    pub(super) fn answer<T: DeserializeOwned>(mut self, largest: u64) -> Option<T> {
        let mut told = Vec::new();
        self.answer.rewind().and_then(|()| self.answer.take(largest).read_to_end(&mut told)).ok()?;
        serde_json::from_slice(&told).ok()
    }
}
