//! One connection of the side that answers: what has come over it, and what its peer has still to take.

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
    Asks,
    /// Is told of changes; the hash of the last that was told.
    Subscribes(u64),
    /// A tool's, as long as it runs.
    Tool,
    /// sexton-watch's: packets, from somebody whom we gave the socket.
    Watch,
}

/// One connection.
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) peer: Peer,
    pub(super) role: Role,
    lines: Lines,
    /// The beginning of a line has come, and since when there was more of it to come.
    pub(super) unfinished: Option<MonoTime>,
    /// What the peer has still to take, and how far it has. Others can have to take the same.
    pub(super) reply: Rc<Vec<u8>>,
    pub(super) taken: usize,
    /// That it is to end is a part of the reply.
    pub(super) cancelled: bool,
    /// Since when nothing that counts has happened.
    pub(super) quiet: MonoTime,
    /// It is closed when the reply is taken.
    pub(super) last: bool,
    /// It has a tool, and has not taken the answer to that yet.
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

    /// How much of a line it has sent that is not complete.
    pub(super) fn held(&self) -> usize {
        self.lines.held()
    }

    /// Whether it lasts however quiet it is.
    pub(super) fn lasts(&self) -> bool {
        matches!(self.role, Role::Tool | Role::Watch)
    }

    /// Sends what it takes. `false` if it is lost.
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

    /// What has come, if it is complete.
    pub(super) fn receive(&mut self) -> ReadResult {
        let result = if self.role == Role::Watch { packet(self) } else { next_line(self) };
        let since = self.unfinished.unwrap_or_else(clock::now);
        self.unfinished = (self.held() > 0).then_some(since);
        result
    }
}

/// What has come over a connection.
pub(super) enum ReadResult {
    Nothing,
    Line(Vec<u8>),
    TooLong,
    PacketTooLong,
    End,
}

/// Reads up to the end of a line and not beyond it: what follows stays with the kernel, which tells of it
/// again.
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
    // One byte more tells that a packet was cut.
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
