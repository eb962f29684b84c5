//! Giving privileges up, for good.

use std::io;

use nix::sys::prctl;
use nix::unistd::{Gid, Uid, geteuid, getppid, setgroups, setresgid, setresuid};

/// Our effective uid.
#[must_use]
pub fn effective_uid() -> u32 {
    geteuid().as_raw()
}

/// Turns this process into one of user `uid` and group `gid` with no supplementary groups, which for a user
/// other than root also ends every capability (capabilities(7), "Effect of user ID changes on capabilities").
/// It changes nothing for the process that already is that user, and nothing for one that is not root and
/// could not do it anyway. Whoever we are afterwards, execve(2) can never raise our privileges again.
///
/// The parent-death signal, which a change of user clears (`PR_SET_PDEATHSIG`, prctl(2)), is armed again.
///
/// # Errors
/// What setgroups(2), setresgid(2), setresuid(2) and prctl(2) say; `BrokenPipe` if the parent ended meanwhile.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let me = geteuid();
    if me.is_root() && me.as_raw() != uid {
        let parent = getppid();
        let death_signal = prctl::get_pdeathsig()?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        setgroups(&[gid])?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        prctl::set_pdeathsig(death_signal)?;
        if death_signal.is_some() && getppid() != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
    prctl::set_no_new_privs()?;
    Ok(())
}
