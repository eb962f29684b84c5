//! Waiting for descriptors or a moment.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::os::{clock, process};
use crate::types::MonoTime;

/// Whether what is put into an [`EpollSet`] announces itself by SIGIO, to a process that waits for signals alone.
static ANNOUNCED: AtomicBool = AtomicBool::new(false);
/// Whether something in an [`EpollSet`] may have become ready since it was last seen that nothing is.
static NEWS: AtomicBool = AtomicBool::new(false);

/// From now on SIGIO tells of whatever is put into an [`EpollSet`]; it has to be blocked.
pub(super) fn use_sigio() {
    ANNOUNCED.store(true, Ordering::Relaxed);
}

/// SIGIO has come.
pub(super) fn on_sigio() {
    NEWS.store(true, Ordering::Relaxed);
}

/// Whether an [`EpollSet`] can be read, `beside`, which is asked only if something has changed since it last could not.
///
/// # Errors
/// What ppoll(2) says.
pub(super) fn ready_now(beside: BorrowedFd<'_>) -> io::Result<bool> {
    if !NEWS.load(Ordering::Relaxed) {
        return Ok(false);
    }
    let ready = until(beside, Some(clock::now()))?;
    NEWS.store(ready, Ordering::Relaxed);
    Ok(ready)
}

/// Waits until `descriptor` can be read, which is `true`, or `deadline` has come; for ever if there is none.
///
/// # Errors
/// What ppoll(2) says; an interruption is not an error.
pub fn until(descriptor: BorrowedFd<'_>, deadline: Option<MonoTime>) -> io::Result<bool> {
    any_until([descriptor], deadline).map(|[ready]| ready)
}

/// The same for several: which of them can be read.
///
/// # Errors
/// What ppoll(2) says; an interruption is not an error.
pub fn any_until<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    deadline: Option<MonoTime>,
) -> io::Result<[bool; N]> {
    let timeout = deadline.map(|moment| clock::timespec(moment.since(clock::now())));
    let mut descriptors = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
    match ppoll(&mut descriptors, timeout, None) {
        Ok(_) => Ok(descriptors.map(|descriptor| descriptor.any().unwrap_or(false))),
        Err(nix::Error::EINTR) => Ok([false; N]),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether `descriptor` takes a write at this moment.
#[must_use]
pub fn is_writable(descriptor: BorrowedFd<'_>) -> bool {
    let mut descriptors = [PollFd::new(descriptor, PollFlags::POLLOUT)];
    nix::poll::poll(&mut descriptors, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Whether the other side of this socket or terminal is gone for good.
#[must_use]
pub fn hung_up(descriptor: BorrowedFd<'_>) -> bool {
    let mut descriptors = [PollFd::new(descriptor, PollFlags::empty())];
    // POLLHUP is told whether it was asked for or not (poll(2)).
    let asked = nix::poll::poll(&mut descriptors, PollTimeout::ZERO);
    let [told] = descriptors;
    asked.is_ok_and(|ready| ready > 0) && told.any().unwrap_or_default()
}

/// What is wanted of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// To be told when it can be read.
    Read,
    /// To be told when it can be written.
    Write,
    /// Nothing but its end.
    Nothing,
}

/// Many descriptors that are waited for as one (epoll(7)): asking costs the same however many they are, and
/// all that are ready have their turn.
pub struct EpollSet(Epoll);

impl EpollSet {
    /// An empty one.
    ///
    /// # Errors
    /// What epoll_create1(2) says.
    pub fn new() -> io::Result<EpollSet> {
        Ok(EpollSet(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Adds a socket or the reading end of a pipe under this key.
    ///
    /// # Errors
    /// What epoll_ctl(2), fcntl(2) and ioctl(2) say; ENOTTY for what cannot announce itself.
    pub fn add(&self, descriptor: &impl AsFd, key: u64, wanted: Interest) -> io::Result<()> {
        if ANNOUNCED.load(Ordering::Relaxed) {
            set_announced(descriptor.as_fd(), true)?;
        }
        self.put(descriptor, key, wanted)
    }

    /// Adds all those of another one, which announce themselves, under one key.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn add_all(&self, others: &EpollSet, key: u64) -> io::Result<()> {
        self.put(others, key, Interest::Read)
    }

    fn put(&self, descriptor: &impl AsFd, key: u64, wanted: Interest) -> io::Result<()> {
        self.0.add(descriptor, EpollEvent::new(flags(wanted), key))?;
        // It may have been ready before.
        on_sigio();
        Ok(())
    }

    /// Changes what is wanted of one.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn change(&self, descriptor: &impl AsFd, key: u64, wanted: Interest) -> io::Result<()> {
        self.0.modify(descriptor, &mut EpollEvent::new(flags(wanted), key))?;
        on_sigio();
        Ok(())
    }

    /// Takes one out. Closing it is not enough: a child that was forked meanwhile keeps it open.
    pub fn remove(&self, descriptor: &impl AsFd) {
        // One that is not in it is what we want.
        let _ = self.0.delete(descriptor);
        if ANNOUNCED.load(Ordering::Relaxed) {
            // At the worst it is looked for what is not there.
            let _ = set_announced(descriptor.as_fd(), false);
        }
    }

    /// The key of one that is ready, without waiting.
    ///
    /// # Errors
    /// What epoll_wait(2) says; an interruption is not an error.
    pub fn ready(&self) -> io::Result<Option<u64>> {
        let mut events = [EpollEvent::empty()];
        match self.0.wait(&mut events, EpollTimeout::ZERO) {
            Ok(found) => Ok(events.first().filter(|_| found > 0).map(EpollEvent::data)),
            Err(nix::Error::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// From now on SIGIO tells when `descriptor`, a socket or the reading end of a pipe, can be read.
///
/// # Errors
/// What fcntl(2) and ioctl(2) say; ENOTTY for what cannot announce itself.
pub fn announce(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    set_announced(descriptor, true)
}

/// Lets the kernel send us SIGIO when `descriptor` becomes ready or its other side goes (fcntl(2), `F_SETOWN`;
/// ioctl(2), `FIOASYNC`).
fn set_announced(descriptor: BorrowedFd<'_>, wanted: bool) -> io::Result<()> {
    let wanted = libc::c_int::from(wanted);
    // SAFETY: the descriptor is open as long as it is borrowed, and this command takes a plain value.
    let owned = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_SETOWN, process::own_pid().raw()) };
    if owned == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; the pointer is to a number of our own, which is only read.
    let set = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::FIOASYNC, &raw const wanted) };
    if set == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn flags(wanted: Interest) -> EpollFlags {
    match wanted {
        Interest::Read => EpollFlags::EPOLLIN,
        Interest::Write => EpollFlags::EPOLLOUT,
        Interest::Nothing => EpollFlags::empty(),
    }
}

impl AsFd for EpollSet {
    /// Can be read when one of them is ready.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_that_are_ready_have_their_turn() {
        let many = EpollSet::new().unwrap();
        let mut pairs: Vec<(UnixStream, UnixStream)> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
        for ((_, server), key) in pairs.iter().zip(0..) {
            many.add(server, key, Interest::Read).unwrap();
        }
        assert_eq!(many.ready().unwrap(), None);
        assert!(!until(many.as_fd(), Some(clock::now())).unwrap());
        for (client, _) in &mut pairs {
            client.write_all(b"x").unwrap();
        }
        assert!(until(many.as_fd(), None).unwrap());
        // None of them is read, and still none is reported twice before the others.
        let mut told: Vec<u64> = (0..3).map(|_| many.ready().unwrap().unwrap()).collect();
        told.sort_unstable();
        assert_eq!(told, [0, 1, 2]);
        for (_, server) in &pairs {
            many.remove(server);
        }
        let soon = clock::now().after(Duration::from_millis(1));
        assert!(!until(many.as_fd(), Some(soon)).unwrap());
    }
}
