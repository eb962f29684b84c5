//! The datagrams of sd_notify(3): to the service manager above us, and from the gateway below.
//!
//! Neither side ever waits: what a full or a vanished socket does not take comes back as an error.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    UnixCredentials, bind, getsockname, recv, recvmsg, sendmsg, sendto, setsockopt, socket, sockopt,
};

/// The longest message, in bytes; what service managers take (`PIPE_BUF` in systemd's manager).
pub const LONGEST: usize = 4096;
/// The most descriptors that one message can carry (`SCM_MAX_FD`, include/net/scm.h). There is room for all of
/// them, so that none is left open behind a message that was cut.
const DESCRIPTORS: usize = 253;

/// The way to a service manager.
pub struct NotifySender {
    socket: OwnedFd,
    address: UnixAddr,
}

impl NotifySender {
    /// The way to the socket that `NOTIFY_SOCKET` names: a path, or `@` and a name without one (unix(7)).
    ///
    /// # Errors
    /// `InvalidInput` for any other name, a vsock address of a virtual machine included, and for one that is
    /// too long; else what socket(2) says.
    pub fn to(name: &OsStr) -> io::Result<NotifySender> {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] if !rest.is_empty() => UnixAddr::new_abstract(rest)?,
            [b'/', ..] => UnixAddr::new(name.as_bytes())?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(NotifySender { socket: datagrams()?, address })
    }

    /// Sends one message. The name is looked up anew each time, as the manager may have made its socket anew.
    ///
    /// # Errors
    /// `WouldBlock` if the manager is behind; else what sendto(2) says.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendto(self.socket.as_raw_fd(), message, &self.address, flags)?;
        Ok(())
    }

    /// Sends one message with descriptors, of which the manager gets copies.
    ///
    /// # Errors
    /// `WouldBlock` if the manager is behind; else what sendmsg(2) says.
    pub fn send_with(&self, message: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
        if descriptors.is_empty() {
            return self.send(message);
        }
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let (parts, rights) = ([IoSlice::new(message)], [ControlMessage::ScmRights(&numbers)]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendmsg(self.socket.as_raw_fd(), &parts, &rights, flags, Some(&self.address))?;
        Ok(())
    }
}

/// Where the gateway's messages come in.
pub struct NotifySocket(OwnedFd);

/// One message, and who sent it, as the kernel says (`SCM_CREDENTIALS`, unix(7)).
#[derive(Debug)]
pub struct Datagram {
    /// The text.
    pub text: Vec<u8>,
    /// The sender's pid in our pid namespace; 0 if it lives outside.
    pub pid: i32,
    /// The sender's uid.
    pub uid: u32,
    /// Descriptors came with it, and it has not been taken. A sender that waits until it was read (`BARRIER=1`) waits
    /// until these are closed.
    pub has_descriptors: bool,
}

impl NotifySocket {
    /// Opens one under a name of the kernel's choice that is no path: it needs no directory, so that a
    /// read-only root does not matter, and goes away with us. It is seen in our network namespace alone.
    ///
    /// # Errors
    /// What socket(2), setsockopt(2) and bind(2) say.
    pub fn open() -> io::Result<NotifySocket> {
        let socket = datagrams()?;
        // Before the name: credentials come only with what was sent after this.
        setsockopt(&socket, sockopt::PassCred, &true)?;
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        Ok(NotifySocket(socket))
    }

    /// What `NOTIFY_SOCKET` has to be to lead here.
    ///
    /// # Errors
    /// What getsockname(2) says.
    pub fn name(&self) -> io::Result<OsString> {
        let address: UnixAddr = getsockname(self.0.as_raw_fd())?;
        let name = address.as_abstract().ok_or(io::ErrorKind::InvalidData)?;
        Ok(OsString::from_vec([b"@", name].concat()))
    }

    /// Takes one message, unless descriptors came with it. That one stays, and is for
    /// [`take_with_descriptors`](NotifySocket::take_with_descriptors). A message that says nothing, because it was too
    /// long or its sender is unknown, has no text.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else what recvmsg(2) says.
    pub fn take(&self) -> io::Result<Datagram> {
        let look = self.look()?;
        if !look.has_descriptors {
            // It is the one that was looked at, as no other process reads here.
            recv(self.0.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT)?;
        }
        Ok(look)
    }

    /// The next message, which stays where it is. There is no room for descriptors, so that the kernel says that there
    /// are some and gives none.
    fn look(&self) -> io::Result<Datagram> {
        let mut text = vec![0; LONGEST];
        let mut space = nix::cmsg_space!(UnixCredentials);
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let received = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let (length, flags) = (received.bytes, received.flags);
        text.truncate(if flags.contains(MsgFlags::MSG_TRUNC) { 0 } else { length });
        let (pid, uid) = credentials(&space).unwrap_or((0, u32::MAX));
        Ok(Datagram { text, pid, uid, has_descriptors: flags.contains(MsgFlags::MSG_CTRUNC) })
    }

    /// Takes the next message for the sake of its descriptors. Only a process that may hang does so: to close what a
    /// stranger gave can take for ever, as with a connection that has data left (socket(7), `SO_LINGER`) or a file of a
    /// filesystem that does not answer.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else what recvmsg(2) says.
    pub fn take_with_descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let mut space = nix::cmsg_space!(UnixCredentials, [i32; DESCRIPTORS]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let mut nothing = [0; 1];
        let mut parts = [IoSliceMut::new(&mut nothing)];
        let received = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
        let mut descriptors = Vec::new();
        for control in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: the kernel has just given us this number, and nothing else owns it.
                descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
        }
        Ok(descriptors)
    }
}

/// The pid and the uid in a control message of credentials, the first in `space` (unix(7), `SCM_CREDENTIALS`).
fn credentials(space: &[u8]) -> Option<(i32, u32)> {
    let credentials = space.get(control_length(0)..control_length(size_of::<libc::ucred>()))?;
    // SAFETY: the bytes are as many as a header has, and any bytes are one.
    let header: libc::cmsghdr = unsafe { std::ptr::read_unaligned(space.as_ptr().cast()) };
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
        return None;
    }
    // SAFETY: the bytes are as many as the structure has, and any bytes are one.
    let sender: libc::ucred = unsafe { std::ptr::read_unaligned(credentials.as_ptr().cast()) };
    Some((sender.pid, sender.uid))
}

/// How long a control message with so many bytes is (cmsg(3)).
fn control_length(data: usize) -> usize {
    // SAFETY: it computes with a number.
    let length = unsafe { libc::CMSG_LEN(u32::try_from(data).unwrap_or(u32::MAX)) };
    usize::try_from(length).unwrap_or(usize::MAX)
}

impl AsFd for NotifySender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn datagrams() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::process;

    #[test]
    fn what_is_sent_comes_in_with_its_sender() {
        let inbox = NotifySocket::open().unwrap();
        assert_eq!(inbox.take().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let outlet = NotifySender::to(&inbox.name().unwrap()).unwrap();
        outlet.send(b"READY=1").unwrap();
        outlet.send(&[b'x'; LONGEST + 1]).unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let pid = process::own_pid().raw();
        let heard = inbox.take().unwrap();
        assert_eq!((heard.text.as_slice(), heard.pid, heard.uid), (b"READY=1".as_slice(), pid, uid));
        assert!(!heard.has_descriptors);
        assert_eq!(inbox.take().unwrap().text, b"", "what is too long says nothing");
        let (reading, writing) = nix::unistd::pipe().unwrap();
        outlet.send_with(b"FDSTORE=1", &[writing]).unwrap();
        for _ in 0..2 {
            let heard = inbox.take().unwrap();
            assert_eq!((heard.text.as_slice(), heard.pid, heard.uid), (b"FDSTORE=1".as_slice(), pid, uid));
            assert!(heard.has_descriptors, "it stays where it is");
        }
        let [kept] = <[OwnedFd; 1]>::try_from(inbox.take_with_descriptors().unwrap()).unwrap();
        assert_eq!(inbox.take().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        nix::unistd::write(&kept, b"x").unwrap();
        let mut byte = [0];
        assert_eq!(nix::unistd::read(&reading, &mut byte), Ok(1), "it is a copy of the pipe's end");
    }

    #[test]
    fn a_full_and_a_vanished_socket_are_errors_and_names_of_other_kinds_are_too() {
        let inbox = NotifySocket::open().unwrap();
        let outlet = NotifySender::to(&inbox.name().unwrap()).unwrap();
        let error = (0..100_000).find_map(|_| outlet.send(b"STATUS=x").err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(inbox);
        assert_eq!(outlet.send(b"STATUS=x").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        for name in ["", "@", "relative", "vsock:2:1234"] {
            let error = NotifySender::to(OsStr::new(name)).err().map(|error| error.kind());
            assert_eq!(error, Some(io::ErrorKind::InvalidInput), "{name:?}");
        }
        assert!(NotifySender::to(OsStr::new(&format!("/{}", "x".repeat(200)))).is_err());
    }
}
