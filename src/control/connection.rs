//! One connection of the server: what has arrived over it, and what its peer has not read yet.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use super::lines::{LONGEST, Lines};
use crate::os::clock;
use crate::os::unix_socket::{self, Peer};
use crate::types::MonoTime;

/// How much is read at once.
const PIECE: usize = 4096;

/// What a connection is for.
#[derive(PartialEq)]
pub(super) enum Role {
    /// Asks and is answered.
    Client,
    /// Is told of changes; the hash of the last that was told.
    Subscribes(u64),
    /// A tool's, as long as it runs.
    Tool,
    /// sexton-watch's, over the socket that sexton gave it. It sends packets, not lines.
    Watch,
}

/// One connection.
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) peer: Peer,
    pub(super) role: Role,
    lines: Lines,
    /// Since when the rest of an incomplete line has been awaited; `None` if there is no such line.
    pub(super) unfinished: Option<MonoTime>,
    /// The reply, and how much of it the peer has read. Several connections can share one reply.
    pub(super) reply: Rc<Vec<u8>>,
    pub(super) taken: usize,
    /// The reply contains the request that the tool end.
    pub(super) cancelled: bool,
    /// The time of the last complete line or of the last bytes that the peer read.
    pub(super) quiet: MonoTime,
    /// The connection is closed after the reply has been sent.
    pub(super) last: bool,
    /// It has registered a tool, and has not read the answer yet.
    pub(super) unconfirmed: bool,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, peer: Peer, role: Role) -> Client {
        Client {
            socket,
            peer,
            role,
            lines: Lines::default(),
            unfinished: None,
            reply: Rc::default(),
            taken: 0,
            cancelled: false,
            quiet: clock::now(),
            last: false,
            unconfirmed: false,
        }
    }

    pub(super) fn has_reply(&self) -> bool {
        self.taken < self.reply.len()
    }

    /// How many bytes of an incomplete line it has sent.
    pub(super) fn held(&self) -> usize {
        self.lines.held()
    }

    /// Whether it stays open however long it is quiet.
    pub(super) fn lasts(&self) -> bool {
        matches!(self.role, Role::Tool | Role::Watch)
    }

    /// Sends as much as the socket takes. `false` if the connection is to be closed.
    pub(super) fn send(&mut self) -> bool {
        while let Some(rest) = self.reply.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match unix_socket::send(self.socket.as_fd(), rest) {
                Ok(sent) => self.taken += sent,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
            self.quiet = clock::now();
        }
        self.unconfirmed = false;
        !self.last
    }

    /// Reads from the socket: a complete line or packet, if there is one.
    pub(super) fn receive(&mut self) -> ReadResult {
        let result = if self.role == Role::Watch { packet(self) } else { next_line(self) };
        let since = self.unfinished.unwrap_or_else(clock::now);
        self.unfinished = (self.held() > 0).then_some(since);
        result
    }
}

/// The result of a read.
pub(super) enum ReadResult {
    Nothing,
    Line(Vec<u8>),
    TooLong,
    PacketTooLong,
    End,
}

/// Reads up to the end of a line and not beyond it. What follows stays in the socket, so poll(2) reports it again.
fn next_line(client: &mut Client) -> ReadResult {
    let mut piece = [0; PIECE];
    let socket = client.socket.as_fd();
    let bytes = match unix_socket::receive(socket, &mut piece, true) {
        Ok(0) => return ReadResult::End,
        Ok(length) => piece.get(..length).unwrap_or_default(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ReadResult::Nothing,
        Err(_) => return ReadResult::End,
    };
    let Ok((taken, line)) = client.lines.take(bytes) else { return ReadResult::TooLong };
    match unix_socket::receive(socket, piece.get_mut(..taken).unwrap_or_default(), false) {
        Ok(read) if read == taken => line.map_or(ReadResult::Nothing, ReadResult::Line),
        _ => ReadResult::End,
    }
}

fn packet(client: &Client) -> ReadResult {
    // The buffer has one byte more than a packet may have. If that byte is filled, the packet is too long.
    let mut packet = vec![0; LONGEST + 1];
    match unix_socket::receive(client.socket.as_fd(), &mut packet, false) {
        Ok(0) => ReadResult::End,
        Ok(length) if length > LONGEST => ReadResult::PacketTooLong,
        Ok(length) => {
            packet.truncate(length);
            ReadResult::Line(packet)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ReadResult::Nothing,
        Err(_) => ReadResult::End,
    }
}
