//! Messages between us and a helper: short, kept apart, and able to carry a descriptor (unix(7)).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::sockopt::SockType as SockTypeOption;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, getsockopt, recv,
    recvmsg, sendmsg, socketpair,
};

use nix::unistd::pipe2;

use super::errno;
use crate::types::Errno;

/// A connected pair, closed on exec. The first side never blocks.
///
/// # Errors
/// What socketpair(2) and fcntl(2) say.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).map_err(errno)?;
    fcntl(ours.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(errno)?;
    Ok((ours, theirs))
}

/// The connected socket that our parent has given us as descriptor `number`; from now on it is closed on exec and
/// never blocks. To be called once for each number: the descriptor has one owner.
///
/// # Errors
/// EBADF if there is no such descriptor, ENOTSOCK if it is not a socket that keeps messages apart.
pub fn inherited(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD only asks; a number that is no descriptor gives an error.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if number < 3 || flags == -1 {
        return Err(Errno(libc::EBADF));
    }
    // SAFETY: it is open. What is not close-on-exec was not opened by this program, so nothing in it owns the
    // descriptor. With close-on-exec it would not have come to us.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    if getsockopt(&socket, SockTypeOption) != Ok(SockType::SeqPacket) {
        return Err(Errno(libc::ENOTSOCK));
    }
    fcntl(socket.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(errno)?;
    fcntl(socket.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(errno)?;
    Ok(socket)
}

/// Takes one message, whatever its length, up to `most` bytes; the rest of a longer one is lost. An empty message
/// is also the end of the stream. Never waits.
///
/// # Errors
/// What recv(2) says; EAGAIN if there is no message.
pub fn receive_whole(from: BorrowedFd<'_>, most: usize) -> Result<Vec<u8>, Errno> {
    // A socket that keeps messages apart tells the real length of one that does not fit (recv(2), MSG_TRUNC).
    let look = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
    let length = recv(from.as_raw_fd(), &mut [0; 1], look).map_err(errno)?;
    let mut message = vec![0; length.clamp(1, most)];
    let length = recv(from.as_raw_fd(), &mut message, MsgFlags::MSG_DONTWAIT).map_err(errno)?;
    message.truncate(length);
    Ok(message)
}

/// A pipe, closed on exec: the end to read from, which never blocks, and the end to write to.
///
/// # Errors
/// What pipe2(2) and fcntl(2) say.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(errno)?;
    fcntl(read.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(errno)?;
    Ok((read, write))
}

/// Sends one message, with a copy of `descriptor` if there is one.
///
/// # Errors
/// What sendmsg(2) says.
pub fn send(to: BorrowedFd<'_>, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let descriptor = descriptor.map(|descriptor| [descriptor.as_raw_fd()]);
    let rights = descriptor.as_ref().map(|descriptor| ControlMessage::ScmRights(descriptor));
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(message)], rights.as_slice(), flags, None).map_err(errno)?;
    Ok(())
}

/// Takes one message, as much of it as `buffer` has room for, with the descriptor that came with it, which is closed on
/// exec. `None` if there is no message.
pub fn receive<'a>(from: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Option<(&'a [u8], Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    let length = received.bytes;
    let mut descriptor = None;
    for control in received.cmsgs().ok()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                // SAFETY: the kernel has just given us this number, and nothing else owns it.
                descriptor = Some(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    Some((buffer.get(..length).filter(|message| !message.is_empty())?, descriptor))
}
