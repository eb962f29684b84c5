//! Messages between us and a helper: short, kept apart, and able to carry a descriptor (unix(7)).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

use nix::unistd::pipe2;

use super::errno;
use crate::ids::Errno;

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

/// Takes one message of at most `room` bytes, with the descriptor that came with it, which is closed on
/// exec. `None` if there is no message.
pub fn receive<const ROOM: usize>(from: BorrowedFd<'_>) -> Option<([u8; ROOM], usize, Option<OwnedFd>)> {
    let mut message = [0; ROOM];
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut parts = [IoSliceMut::new(&mut message)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    let length = received.bytes;
    let mut descriptor = None;
    for control in received.cmsgs().ok()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            for number in numbers {
                // SAFETY: the kernel has just given us this number, and nobody else knows it.
                descriptor = Some(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    (length > 0).then_some((message, length, descriptor))
}
