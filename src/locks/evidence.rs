//! Asks the system what it knows of a lock: who has it open, what became of its owner, what the filesystem is.
//!
//! It draws no conclusion from what it learns; that is the verdict's.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::context::SweepContext;
use super::format::{Owner, Record};
use super::verdict::{Lease, Origin, Process};
use crate::os::{files, host, lease, presence, procfs};
use crate::types::{Errno, Pid};

/// What a filesystem's type says about the proofs that hold on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    /// It belongs to this kernel alone, so that nobody can have a file open without this kernel knowing.
    pub local: bool,
    /// A flock(2) on it reaches everybody who can reach the file.
    pub carries_flock: bool,
}

/// The types that belong to one kernel (statfs(2), magic.h). What is not in the list is taken for shared: a
/// FUSE or 9p directory may be another machine's.
const LOCAL: [u32; 14] = [
    0x0000_ef53, // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlay
    0x6175_6673, // aufs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x0000_3434, // nilfs
    0x3153_464a, // jfs
    0x5265_4973, // reiserfs
    0x0000_137f, // minix
];

/// The network and cluster types whose servers know of every flock.
const CARRIES_FLOCK: [u32; 4] = [
    0x0000_6969, // nfs
    0x00c3_6400, // ceph
    0x0116_1970, // gfs2
    0x7461_636f, // ocfs2
];

/// What `file` lies on. A filesystem that does not answer is taken for shared.
pub fn filesystem(file: BorrowedFd<'_>) -> Filesystem {
    let magic = files::filesystem(file).unwrap_or(0);
    let local = LOCAL.contains(&magic);
    Filesystem { local, carries_flock: local || CARRIES_FLOCK.contains(&magic) }
}

/// Whether anybody has `file` open, which belongs to `uid`. If nobody has, whoever opens it now waits until it is
/// closed here: what was seen stays true until it was acted on.
pub fn lease(file: BorrowedFd<'_>, uid: u32) -> Lease {
    match lease::take(file, uid) {
        lease::Answer::Busy => Lease::Busy,
        lease::Answer::Granted => Lease::Granted,
        lease::Answer::Refused(Errno(number)) => Lease::NoInformation(Errno(number)),
    }
}

/// What became of the process that a lock names.
pub fn process(owner: &Owner, context: &SweepContext<'_>) -> Process {
    let pid = owner.pid;
    // Asked first: after a reboot sexton can have the very start time that its predecessor recorded.
    if pid == context.sexton || pid == context.sweeper || context.helpers.contains(&pid) {
        return Process::OwnProcess;
    }
    if let Some((_, start)) = context.unreaped.iter().find(|(corpse, _)| *corpse == pid) {
        // The number of a corpse is nobody else's; a lock of another start time is older still.
        return if owner.start.is_none_or(|recorded| recorded == *start) {
            Process::HeldZombie
        } else {
            Process::Lives(*start)
        };
    }
    // The cheapest question first: most owners of locks that were left behind are nobody any more.
    if presence::exists(pid).is_ok_and(|exists| !exists) {
        return Process::Absent;
    }
    match procfs::stat(pid) {
        Ok(Some(stat)) if stat.is_dead() => Process::Zombie,
        Ok(Some(stat)) => match owner.start {
            Some(recorded) if recorded != stat.start && procfs::in_other_time_ns(pid) => Process::OtherTimeNs,
            _ => Process::Lives(stat.start),
        },
        // /proc may be missing, or mounted so that it shows only our own processes (proc(5), hidepid).
        Ok(None) | Err(_) => missing(pid),
    }
}

/// Where the owner says that it lived. A name or a boot of our own that cannot be read is nobody's.
pub fn origin(record: &Record) -> Origin {
    let other = |recorded: &Option<Vec<u8>>, own: fn() -> Option<Vec<u8>>| {
        recorded.as_ref().is_some_and(|recorded| own().as_ref() != Some(recorded))
    };
    if record.boot.is_none() && record.host.is_none() {
        Origin::NotRecorded
    } else if other(&record.boot, host::boot_id) && host::boot_id().is_some() {
        Origin::OtherBoot
    } else if other(&record.host, host::name) || other(&record.boot, host::boot_id) {
        Origin::OtherHost
    } else {
        Origin::Here
    }
}

fn missing(pid: Pid) -> Process {
    match presence::exists(pid) {
        Ok(false) => Process::Absent,
        Ok(true) | Err(_) => Process::Hidden,
    }
}

/// What one sweep keeps in mind from lock to lock.
///
/// One is its patience with locks whose owner is dead and which somebody has open all the same: another process
/// that just reads the lock to judge it lets go within microseconds, a living owner never.
#[derive(Debug)]
pub struct RetryBudget {
    /// What the last lock lay on, by its device: asking again for each would be a tenth of the sweep.
    filesystem: Option<(u64, Filesystem)>,
    /// How many more pauses this sweep takes altogether, so that a root full of living locks costs no more.
    pauses: u32,
}

impl RetryBudget {
    /// For one lock there are five more looks within about 15 ms; for a whole sweep 100 pauses.
    pub const NEW: RetryBudget = RetryBudget { filesystem: None, pauses: 100 };
    /// No other look at all.
    pub const NONE: RetryBudget = RetryBudget { filesystem: None, pauses: 0 };

    /// What `file` lies on, whose device is `device`.
    pub fn filesystem(&mut self, file: BorrowedFd<'_>, device: u64) -> Filesystem {
        match self.filesystem {
            Some((known, filesystem)) if known == device => filesystem,
            _ => {
                let found = filesystem(file);
                self.filesystem = Some((device, found));
                found
            }
        }
    }

    /// Halves the pauses that are left, for two that share a sweep.
    pub fn spend_half(&mut self) -> RetryBudget {
        let half = self.pauses / 2;
        self.pauses -= half;
        RetryBudget { filesystem: self.filesystem, pauses: half }
    }

    /// Takes back what another half has not used.
    pub fn refund(&mut self, half: &RetryBudget) {
        self.pauses += half.pauses;
    }

    /// Waits for so long. `false` if there was no pause left.
    fn pause(&mut self, milliseconds: u64) -> bool {
        let left = self.pauses > 0;
        if left {
            self.pauses -= 1;
            lease::pause(Duration::from_millis(milliseconds));
        }
        left
    }

    /// Opens something anew while the kernel refuses it for the sake of somebody's lease (open(2), `EWOULDBLOCK`):
    /// another sweep judges it just now, or was killed a moment ago and is not gone yet on a busy machine. A lock that
    /// could not be read for that alone would be left where it is, and its gateway started into it.
    ///
    /// # Errors
    /// What the last attempt said.
    pub fn open_again<T>(&mut self, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        for milliseconds in [1, 1, 2, 4, 8, 16, 32, 64, 128] {
            match open() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.pause(milliseconds) => {}
                answer => return answer,
            }
        }
        open()
    }

    /// Asks again, a few times, while the answer is [`Lease::Busy`].
    pub fn ask_again(&mut self, file: BorrowedFd<'_>, uid: u32) -> Lease {
        for milliseconds in [1, 1, 2, 4, 8] {
            if !self.pause(milliseconds) {
                break;
            }
            match lease(file, uid) {
                Lease::Busy => {}
                answer => return answer,
            }
        }
        Lease::Busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebodys_lease_keeps_shut_is_tried_again_and_nothing_else_is() {
        let open = |refusals: u32, kind: io::ErrorKind| {
            let mut attempts = 0;
            let mut retry_budget = RetryBudget::NEW;
            let answer = retry_budget.open_again(|| {
                attempts += 1;
                if attempts > refusals { Ok(()) } else { Err(io::Error::from(kind)) }
            });
            (attempts, answer.is_ok())
        };
        assert_eq!(open(0, io::ErrorKind::WouldBlock), (1, true));
        assert_eq!(open(3, io::ErrorKind::WouldBlock), (4, true));
        assert_eq!(open(u32::MAX, io::ErrorKind::WouldBlock), (10, false), "it ends");
        assert_eq!(open(3, io::ErrorKind::PermissionDenied), (1, false));
        let mut attempts = 0;
        let mut none = RetryBudget::NONE;
        let refused = none.open_again(|| {
            attempts += 1;
            Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock))
        });
        assert_eq!((attempts, refused.is_err()), (1, true), "who has no patience asks once");
    }
}
