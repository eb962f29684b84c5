//! Giving privileges up, for good.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::sys::prctl;
use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups, getppid, setgroups, setresgid, setresuid};

/// Our effective uid.
#[must_use]
pub fn effective_uid() -> u32 {
    geteuid().as_raw()
}

/// Our effective gid.
#[must_use]
pub fn effective_gid() -> u32 {
    getegid().as_raw()
}

/// Turns this process into one of user `uid` and group `gid` with no supplementary groups, which for a user
/// other than root also ends every capability (capabilities(7), "Effect of user ID changes on capabilities").
/// It changes nothing for the process that already is that user, and nothing for one that is not root and
/// could not do it anyway. Afterwards execve(2) can never raise our privileges again, even if the user could not be
/// changed.
///
/// The parent-death signal, which a change of user clears (`PR_SET_PDEATHSIG`, prctl(2)), is armed again.
///
/// # Errors
/// What setgroups(2), setresgid(2), setresuid(2) and prctl(2) say; `BrokenPipe` if the parent ended meanwhile.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let changed = change_user(uid, gid);
    prctl::set_no_new_privs()?;
    changed
}

/// Does `act` as user `uid` and group `gid` with no supplementary groups, and takes all of it back. The rest of the
/// process stays who it is: credentials are a thread's (the C library alone makes them a process's).
///
/// Who already is that user just acts. The parent-death signal, which a change of user clears, is armed again.
///
/// # Errors
/// What setgroups(2), setresgid(2) and setresuid(2) say, before anything was done; `PermissionDenied` if we are not
/// root. If we could not become root again, what setresuid(2) says of that: the thread stays that user.
pub fn acting_as<T>(uid: u32, gid: u32, act: impl FnOnce() -> T) -> io::Result<T> {
    let us = geteuid();
    if us.as_raw() == uid {
        return Ok(act());
    }
    if !us.is_root() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (own_gid, groups) = (getegid().as_raw(), getgroups()?);
    let groups: Vec<u32> = groups.into_iter().map(Gid::as_raw).collect();
    let death_signal = prctl::get_pdeathsig()?;
    let done = set_groups(&[gid])
        .and_then(|()| set_effective(libc::SYS_setresgid, gid))
        .and_then(|()| set_effective(libc::SYS_setresuid, uid))
        .map(|()| act());
    // In this order: only root may change the groups.
    set_effective(libc::SYS_setresuid, us.as_raw())?;
    set_effective(libc::SYS_setresgid, own_gid)?;
    set_groups(&groups)?;
    prctl::set_pdeathsig(death_signal)?;
    done
}

/// This thread's effective id, of the kind that `call` sets.
fn set_effective(call: libc::c_long, id: u32) -> io::Result<()> {
    // SAFETY: the call takes three numbers; the first and the last one leave the real and the saved id as they are.
    let done = unsafe { libc::syscall(call, -1, id, -1) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// This thread's supplementary groups.
fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the kernel reads as many numbers from the slice as it is told, which is all of them.
    let done = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn change_user(uid: u32, gid: u32) -> io::Result<()> {
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
    Ok(())
}

/// Who a process is to run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The user's id.
    pub uid: u32,
    /// The primary group's id.
    pub gid: u32,
}

/// Turns this process into one of that user and group, with the supplementary groups that `/etc/group` gives
/// the user, and with no way back: real, effective and saved ids are the same, and the capabilities of root
/// end with it. `HOME`, `USER` and `LOGNAME` are told through `set`, as login(1) would set them.
///
/// The two files are read as container engines read them: a static program has no name services.
///
/// # Errors
/// What setgroups(2), setresgid(2) and setresuid(2) say: EPERM if we may not become that user. Who already is
/// that user and group needs no privilege, and keeps the groups that he has.
pub fn become_identity(identity: Identity, set: &dyn Fn(&OsStr, &OsStr) -> io::Result<()>) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let account = fs::read("/etc/passwd").ok().and_then(|text| account_of(&text, identity.uid));
    let already = geteuid() == uid && getegid() == gid && !uid.is_root();
    if !already {
        let name = account.as_ref().map(|(name, _)| name.as_slice());
        let text = fs::read("/etc/group").unwrap_or_default();
        let groups = name.map(|name| groups_of(&text, name)).unwrap_or_default();
        let groups: Vec<Gid> = [gid].into_iter().chain(groups.into_iter().map(Gid::from_raw)).collect();
        setgroups(&groups)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
    }
    if let Some((name, home)) = account {
        set(OsStr::new("HOME"), OsStr::from_bytes(&home))?;
        set(OsStr::new("USER"), OsStr::from_bytes(&name))?;
        set(OsStr::new("LOGNAME"), OsStr::from_bytes(&name))?;
    }
    Ok(())
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The name and the home directory of the first account with this id (passwd(5)).
fn account_of(passwd: &[u8], uid: u32) -> Option<(Vec<u8>, Vec<u8>)> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (number(fields.nth(1)?)? == uid).then_some(())?;
        Some((name.to_vec(), fields.nth(2)?.to_vec()))
    })
}

/// The groups that list this name as a member (group(5)).
fn groups_of(group: &[u8], name: &[u8]) -> Vec<u32> {
    let id = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b':');
        let id = number(fields.nth(2)?)?;
        fields.next()?.split(|byte| *byte == b',').any(|member| member == name).then_some(id)
    };
    group.split(|byte| *byte == b'\n').filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_acts_as_another_is_himself_again_afterwards() {
        let who = || (geteuid().as_raw(), getegid().as_raw(), getgroups().unwrap());
        let before = who();
        assert_eq!(acting_as(before.0, before.1, who).unwrap(), before);
        if before.0 != 0 {
            assert!(acting_as(before.0 + 1, 1, who).is_err());
            return;
        }
        prctl::set_pdeathsig(nix::sys::signal::Signal::SIGUSR1).unwrap();
        let other = acting_as(4711, 4712, who).unwrap();
        assert_eq!(other, (4711, 4712, vec![Gid::from_raw(4712)]));
        assert_eq!(who(), before);
        // A change of user clears it.
        assert_eq!(prctl::get_pdeathsig().unwrap(), Some(nix::sys::signal::Signal::SIGUSR1));
        prctl::set_pdeathsig(None).unwrap();
    }

    #[test]
    fn an_account_is_found_by_its_number() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\n\nbroken\nnode:x:1000:1000::/home/node:/bin/sh\n:x:5:5::/:";
        assert_eq!(account_of(passwd, 1000), Some((b"node".to_vec(), b"/home/node".to_vec())));
        assert_eq!(account_of(passwd, 5), None);
        assert_eq!(account_of(b"", 0), None);
    }

    #[test]
    fn groups_are_those_that_list_the_name() {
        let group = b"root:x:0:\naudio:x:29:a,node\nnode:x:1000:\nbad:x:y:node\nlong:x:30:nodes\nz:x:31:node";
        assert_eq!(groups_of(group, b"node"), [29, 31]);
        assert_eq!(groups_of(group, b""), [0, 1000]);
    }
}
