//! Unix stream sockets with a name: the side that listens, and the side that connects (unix(7)).
//!
//! Nothing here ever waits for a peer, but for [`connect`], which has a limit.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, setsockopt,
    shutdown, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::types::Pid;

/// The longest name that a socket can have, in bytes (`sun_path` without its NUL, unix(7)).
pub const LONGEST_PATH: usize = 107;

/// How many connections the kernel keeps until they are accepted. A burst of tools all register.
const BACKLOG: i32 = 512;

/// The process at the other end, as the kernel says (`SO_PEERCRED`, unix(7)). For the side that accepts it is the
/// process that connected; for the side that connects it is the one that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its pid in our pid namespace; 0 if it lives outside.
    pub pid: i32,
    /// Its effective uid.
    pub uid: u32,
}

/// Whether `path` is short enough for a socket's name.
#[must_use]
pub fn fits(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() <= LONGEST_PATH
}

/// Listens at `path`, where nothing may be yet. The socket is its owner's alone from the first moment on.
///
/// # Errors
/// What socket(2), bind(2) and listen(2) say; `AddrInUse` if something lies there.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // Linux takes the permissions of the name from those of the unbound socket.
    fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    refuse_descriptors(listener.as_fd());
    // SAFETY: the descriptor is open, and the call takes plain values. (nix refuses more than the C library's
    // `SOMAXCONN`, which has nothing to do with what the kernel takes.)
    let listening = unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) };
    if listening == -1 { Err(io::Error::last_os_error()) } else { Ok(listener) }
}

/// Has the kernel refuse what descriptors a client sends, from Linux 6.16 on (`SO_PASSRIGHTS`); connections have it
/// from their listener. To close what a stranger gave can take for ever, and even what is never received is closed by
/// us.
fn refuse_descriptors(listener: BorrowedFd<'_>) {
    const SO_PASSRIGHTS: i32 = 83;
    let (no, size) = (0_i32, libc::socklen_t::try_from(size_of::<i32>()).unwrap_or_default());
    let (socket, value) = (listener.as_raw_fd(), (&raw const no).cast());
    // SAFETY: the pointer is to a number of ours, and the size is that number's. An older kernel knows no such option.
    let _ = unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, SO_PASSRIGHTS, value, size) };
}

/// Takes the next connection, if there is one. It never blocks, nor does what it gives.
///
/// # Errors
/// What accept4(2) says. A connection that was given up meanwhile is no error.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
        // SAFETY: the kernel has just given us this number, and nothing else owns it.
        Ok(number) => Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
        Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Who is at the other end.
///
/// # Errors
/// What getsockopt(2) says.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(Peer { pid: credentials.pid(), uid: credentials.uid() })
}

/// Connects to the process that listens at `path`. Waits at most `limit` while its backlog is full.
///
/// # Errors
/// What connect(2) says: `NotFound` and `ConnectionRefused` mean that no process listens there, `WouldBlock` that one
/// does and accepts no connections.
pub fn connect(path: &Path, limit: Duration) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Zero would be no limit at all.
    let limit = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX).clamp(1000, 3_600_000_000);
    let limit = TimeVal::microseconds(limit);
    setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// Whether a process has the socket at `path`: `false` if the one that lies there is a dead process's.
///
/// # Errors
/// What connect(2) says, but for the refusal that is an answer.
pub fn is_alive(path: &Path) -> io::Result<bool> {
    Ok(!matches!(knock(path)?, Knocked::Dead))
}

/// What connect(2) shows of the process that bound a socket.
enum Knocked {
    /// It listens, and the kernel took the connection.
    Connected(OwnedFd),
    /// It has the socket, but takes no connection of ours.
    Bound,
    /// No process has the socket.
    Dead,
}

/// Asks for the socket at `path`, without waiting. A stream is refused by a dead socket, and by a living one that does
/// not listen yet or takes no more connections (shutdown(2)). A datagram socket tells them apart: the kernel finds the
/// living one, and says that it is of another type (`EPROTOTYPE`, connect(2)).
fn knock(path: &Path) -> nix::Result<Knocked> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let address = UnixAddr::new(path)?;
    for kind in [SockType::Stream, SockType::Datagram] {
        let socket = socket(AddressFamily::Unix, kind, flags, None)?;
        match nix::sys::socket::connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(Knocked::Connected(socket)),
            // More wait there than it takes, or it speaks another protocol.
            Err(Errno::EAGAIN | Errno::EPROTOTYPE) => return Ok(Knocked::Bound),
            Err(Errno::ECONNREFUSED) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Knocked::Dead)
}

/// What a socket file tells of the process that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// A process has it, and listens or may: its pid, if it lives in our pid namespace and the kernel says so.
    Lives(Option<Pid>),
    /// No process does.
    None,
    /// The question could not be put.
    NoAnswer(crate::types::Errno),
}

/// Whether a process has the very socket that `file` is, opened with `O_PATH`, in whatever namespace. Nothing is sent,
/// nothing is waited for, and the connection ends at once.
///
/// It is asked through /proc/self/fd, so that no other socket can take its place. One that is bound and does not listen
/// yet, or not any more, is a living process's.
#[must_use]
pub fn listener(file: BorrowedFd<'_>) -> Listener {
    match knock(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd()))) {
        Ok(Knocked::Connected(socket)) => {
            Listener::Lives(peer(socket.as_fd()).ok().and_then(|peer| Pid::new(peer.pid)))
        }
        Ok(Knocked::Bound) => Listener::Lives(None),
        Ok(Knocked::Dead) => Listener::None,
        Err(error) => Listener::NoAnswer(super::errno(error)),
    }
}

/// What has come, up to the size of `buffer`: 0 at the end. With `peek` it stays where it is.
///
/// # Errors
/// What recv(2) says; `WouldBlock` if nothing has come.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], peek: bool) -> io::Result<usize> {
    let peek = if peek { MsgFlags::MSG_PEEK } else { MsgFlags::empty() };
    Ok(nix::sys::socket::recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT | peek)?)
}

/// Sends as much of `bytes` as is taken at once, and says how much that was.
///
/// # Errors
/// What send(2) says; `WouldBlock` if nothing is taken.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    Ok(nix::sys::socket::send(socket.as_raw_fd(), bytes, flags)?)
}

/// Ends the connection for all who have a copy of it, a child that was forked meanwhile included.
pub fn hang_up(socket: &impl AsFd) {
    // One that is not connected any more is what we want.
    let _ = shutdown(socket.as_fd().as_raw_fd(), Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_socket_is_its_owners_and_lives_as_long_as_somebody_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        assert_eq!(is_alive(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(is_alive(&path).unwrap());
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        shutdown(listener.as_raw_fd(), Shutdown::Read).unwrap();
        assert!(is_alive(&path).unwrap(), "its process lives, although it takes no more");
        drop(listener);
        assert!(!is_alive(&path).unwrap());
    }

    #[test]
    fn a_socket_file_says_whether_a_process_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let ask = || listener(crate::os::files::look(&path).unwrap().as_fd());
        let stream = listen(&path).unwrap();
        assert_eq!(ask(), Listener::Lives(Some(crate::os::process::own_pid())));
        // No more may wait there than the one that was not accepted.
        nix::sys::socket::listen(&stream, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        assert_eq!(ask(), Listener::Lives(None));
        drop(stream);
        assert_eq!(ask(), Listener::None);
        std::fs::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        assert_eq!(ask(), Listener::Lives(None), "another protocol");
        drop(other);
        assert_eq!(ask(), Listener::None);
        for kind in [SockType::Stream, SockType::SeqPacket] {
            std::fs::remove_file(&path).unwrap();
            let early = socket(AddressFamily::Unix, kind, SockFlag::empty(), None).unwrap();
            bind(early.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
            assert_eq!(ask(), Listener::Lives(None), "{kind:?}: bound, and does not listen yet");
            nix::sys::socket::listen(&early, nix::sys::socket::Backlog::new(1).unwrap()).unwrap();
            shutdown(early.as_raw_fd(), Shutdown::Read).unwrap();
            assert_eq!(ask(), Listener::Lives(None), "{kind:?}: it listens no longer");
            drop(early);
            assert_eq!(ask(), Listener::None, "{kind:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(ask(), Listener::None, "which is why it has to be a socket");
    }

    #[test]
    fn both_ends_know_each_other_and_nothing_blocks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = listen(&path).unwrap();
        assert!(accept(listener.as_fd()).unwrap().is_none());
        let client = connect(&path, Duration::from_secs(1)).unwrap();
        let server = accept(listener.as_fd()).unwrap().unwrap();
        let us = crate::os::process::own_pid().raw();
        for end in [&client, &server] {
            assert_eq!(peer(end.as_fd()).unwrap().pid, us);
        }
        let mut buffer = [0; 8];
        let nothing = receive(server.as_fd(), &mut buffer, false).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(send(client.as_fd(), b"abc").unwrap(), 3);
        assert_eq!(receive(server.as_fd(), &mut buffer, true).unwrap(), 3);
        assert_eq!(receive(server.as_fd(), &mut buffer, false).unwrap(), 3);
        while send(server.as_fd(), &[0; 4096]).is_ok() {}
        hang_up(&server);
        assert_eq!(send(client.as_fd(), b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
