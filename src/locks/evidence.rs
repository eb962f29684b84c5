//! Asks the system what it knows of a lock: who has it open, what became of its owner, what the filesystem is.
//!
//! It draws no conclusion from what it learns; that is the verdict's.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::context::SweepContext;
use super::format::{Owner, Record};
use super::verdict::{Lease, Nested, Origin, Process};
use crate::os::mounts::{self, Mount};
use crate::os::{boot, files, host, lease, presence, procfs};
use crate::types::{Errno, Pid};

/// The types that belong to one kernel, as the mount table names them. What is not in the list is taken for shared:
/// a FUSE, virtiofs or 9p directory may be another machine's.
const LOCAL: [&str; 16] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "ramfs", "overlay", "aufs", "f2fs", "zfs", "bcachefs",
    "nilfs2", "jfs", "reiserfs", "minix",
];

/// The same types by their numbers (statfs(2)), for a kernel that does not say through which mount a file was opened.
const LOCAL_NUMBERS: [u32; 14] = [
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

/// Filesystems that refuse a lease also where no process has the file open: an NFSv4 client grants a write lease only while
/// the server has delegated the file to it, and an SMB client only while it has the oplock (`nfs4_setlease`, `cifs_setlease`;
/// seen of NFSv4 on Linux 6.12).
const REFUSE_LEASES: [&str; 3] = ["nfs4", "cifs", "smb3"];

/// What a directory lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// Its type in words: `ext4`; of an overlay with its upper directory's, if that is not this kernel's alone.
    pub name: String,
    /// Whether it belongs to this kernel alone, so that no process can have a file open without this kernel knowing.
    pub local: bool,
}

/// What `file` lies on. What does not answer is taken for shared.
///
/// An overlay belongs to this kernel if its upper directory does. That directory can be out of sight, as in most
/// containers; then its filesystem is taken for a local one, which is what the engines use.
#[must_use]
pub fn filesystem(file: BorrowedFd<'_>) -> Filesystem {
    let local = |mount: &Mount| LOCAL.contains(&mount.kind.as_str());
    let Some(mount) = mounts::of(file) else {
        let number = files::filesystem(file).unwrap_or(0);
        return Filesystem {
            name: format!("a filesystem of type {number:#x}"),
            local: LOCAL_NUMBERS.contains(&number),
        };
    };
    match mount.upper.as_deref().and_then(mounts::at).filter(|upper| !local(upper)) {
        Some(upper) => Filesystem {
            name: format!("{}, with its upper directory on {}", mount.kind, upper.kind),
            local: false,
        },
        None => Filesystem { local: local(&mount), name: mount.kind },
    }
}

/// Whether what `file` lies on belongs to this kernel alone, as [`filesystem`] says.
pub fn is_local(file: BorrowedFd<'_>) -> bool {
    filesystem(file).local
}

/// Whether the answer to a request for a lease shows that the filesystem knows no leases, although the kernel grants
/// them (`/proc/sys/fs/leases-enable`, proc_sys_fs(5)): its server may let others in unseen, as that of 9p does.
pub fn knows_no_leases(lease: Lease) -> bool {
    let refused = lease == Lease::NoInformation(Errno(libc::EINVAL));
    refused && std::fs::read("/proc/sys/fs/leases-enable").map_or(true, |text| text.trim_ascii() != b"0")
}

/// Whether any process has `file` open, which belongs to `uid`. If none has, one that opens it now waits until it is
/// closed here: what was seen stays true until it was acted on.
///
/// Where the filesystem refuses a lease for reasons of its own, a refusal tells nothing.
pub fn lease(file: BorrowedFd<'_>, uid: u32) -> Lease {
    match lease::take(file, uid) {
        lease::Answer::Busy if refuses_leases(mounts::of(file).as_ref()) => {
            Lease::NoInformation(Errno(libc::EAGAIN))
        }
        lease::Answer::Busy => Lease::Busy,
        lease::Answer::Granted => Lease::Granted,
        lease::Answer::Refused(Errno(number)) => Lease::NoInformation(Errno(number)),
    }
}

fn refuses_leases(mount: Option<&Mount>) -> bool {
    mount.is_some_and(|mount| REFUSE_LEASES.contains(&mount.kind.as_str()))
}

/// What became of the process that a lock names.
pub fn process(owner: &Owner, context: &SweepContext<'_>, kernel: &Kernel) -> Process {
    let pid = owner.pid;
    // Asked first: after a reboot sexton can have the very start time that its predecessor recorded.
    if pid == context.sexton || pid == context.sweeper || context.helpers.contains(&pid) {
        return Process::OwnProcess;
    }
    if let Some((_, start)) = context.unreaped.iter().find(|(corpse, _)| *corpse == pid) {
        // No other process can have a zombie's number. A lock with another start time is older still.
        return if owner.start.is_none_or(|recorded| recorded == *start) {
            Process::HeldZombie
        } else {
            Process::Lives(*start)
        };
    }
    // The cheapest question first: most owners of locks that were left behind are gone.
    if presence::exists(pid).is_ok_and(|exists| !exists) {
        return Process::Absent;
    }
    if !kernel.proc_is_ours {
        // Its numbers are those of other processes.
        return missing(pid);
    }
    match procfs::stat(pid) {
        Ok(Some(stat)) if stat.is_dead() => Process::Zombie,
        Ok(Some(stat)) => match owner.start {
            Some(recorded) if recorded != stat.start && procfs::may_be_in_other_time_ns(pid) => {
                Process::OtherTimeNs
            }
            _ => Process::Lives(stat.start),
        },
        // /proc may be missing, or mounted so that it shows only our own processes (proc(5), hidepid).
        Ok(None) | Err(_) => missing(pid),
    }
}

/// Whether no process lives in our pid namespace, nor in one below it, but those that sexton runs for itself.
pub fn nobody_else(context: &SweepContext<'_>, kernel: &Kernel) -> bool {
    let ours = |pid: &Pid| *pid == context.sexton || *pid == context.sweeper || context.helpers.contains(pid);
    let are_ours = || procfs::pids().is_ok_and(|pids| pids.iter().all(ours));
    kernel.proc_is_ours && procfs::has_hidepid() == Some(false) && are_ours()
}

/// Whether a process of a pid namespace below ours is the owner, or may be.
///
/// It is asked anew for each lock, after the lock was read: an owner that began after an earlier look would be missed.
pub fn nested(owner: &Owner) -> Nested {
    let Ok(found) = procfs::with_nested_number(owner.pid) else { return Nested::NotSeen };
    let mut answer = Nested::NoOwner;
    for pid in found {
        let stat = match procfs::stat(pid) {
            Ok(Some(stat)) if !stat.is_dead() => stat,
            Ok(_) => continue,
            Err(_) => return Nested::MayBeOwner(pid),
        };
        match owner.start {
            Some(recorded) if recorded == stat.start => return Nested::Owner(pid),
            Some(_) if !procfs::may_be_in_other_time_ns(pid) => {}
            _ => answer = Nested::MayBeOwner(pid),
        }
    }
    answer
}

/// Where the owner says that it lived. If our own host name or boot id cannot be read, the recorded one counts as
/// another.
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

/// What one sweep knows of the kernel as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// /proc shows our pid namespace.
    pub proc_is_ours: bool,
    /// Every process of the kernel is visible from here.
    pub all_visible: bool,
    /// Before this instant nothing of this boot had run, in seconds since 1970; `None` if that cannot be told.
    pub booted: Option<i64>,
}

/// What one sweep keeps in mind from lock to lock.
///
/// One part is its budget for waiting. A lock whose owner is dead can still be open: another process that only reads
/// the lock to judge it closes it within microseconds, while a living owner keeps it open.
#[derive(Debug)]
pub struct RetryBudget {
    /// What the last lock lay on, by its device: asking again for each would be a tenth of the sweep.
    local: Option<(u64, bool)>,
    /// What is known of the kernel, once that was asked.
    kernel: Option<Kernel>,
    /// How many more pauses this sweep takes altogether, so that a root full of living locks costs no more.
    pauses: u32,
}

impl RetryBudget {
    /// For one lock there are five more looks within about 15 ms; for a whole sweep 100 pauses.
    pub const NEW: RetryBudget = RetryBudget { local: None, kernel: None, pauses: 100 };
    /// No other look at all.
    pub const NONE: RetryBudget = RetryBudget { local: None, kernel: None, pauses: 0 };

    /// What [`is_local`] says of `file`, whose device is `device`.
    pub fn is_local(&mut self, file: BorrowedFd<'_>, device: u64) -> bool {
        match self.local {
            Some((known, local)) if known == device => local,
            _ => {
                let found = is_local(file);
                self.local = Some((device, found));
                found
            }
        }
    }

    /// What is known of the kernel.
    pub fn kernel(&mut self) -> Kernel {
        *self.kernel.get_or_insert_with(|| Kernel {
            proc_is_ours: procfs::is_of_our_namespace(),
            all_visible: boot::every_process_is_visible(),
            booted: boot::began(),
        })
    }

    /// Halves the pauses that are left, for two that share a sweep.
    pub fn spend_half(&mut self) -> RetryBudget {
        let half = self.pauses / 2;
        self.pauses -= half;
        RetryBudget { local: self.local, kernel: self.kernel, pauses: half }
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

    /// Opens something again while the kernel refuses it because of another process's lease (open(2), `EWOULDBLOCK`).
    /// Another sweep judges it just now, or was killed a moment ago and has not ended yet on a busy machine. Without
    /// this, a lock that could not be read for that reason would stay, and its gateway would start into it.
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
    fn a_refused_lease_says_nothing_where_the_filesystem_has_reasons_of_its_own() {
        let refuses = |kind: &str| refuses_leases(Some(&Mount { kind: kind.to_owned(), upper: None }));
        for kind in ["nfs4", "cifs", "smb3"] {
            assert!(refuses(kind), "{kind}");
        }
        for kind in ["ext4", "overlay", "virtiofs", "fuse.bindfs"] {
            assert!(!refuses(kind), "{kind}: a refusal is somebody who has it open");
        }
        assert!(!refuses_leases(None), "what is not known is somebody's, and stays");
    }

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
