//! One connection of the side that answers: what has come over it, and what its peer has still to take.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use tracing::warn;

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
    /// Is told of changes; the last that was told.
    Subscribes(Rc<[u8]>),
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
    /// What the peer has still to take, and how far it has.
    pub(super) reply: Rc<[u8]>,
    pub(super) taken: usize,
    /// Since when nothing that counts has happened.
    pub(super) quiet: MonoTime,
    /// It is closed when the reply is taken.
    pub(super) last: bool,
    /// It has a tool, and has not taken the answer to that yet.
    pub(super) unconfirmed: bool,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, peer: Peer, role: Role) -> Client {
        let reply = Rc::from([]);
        Client {
            socket,
            peer,
            role,
            lines: Lines::default(),
            reply,
            taken: 0,
            quiet: clock::now(),
            last: false,
            unconfirmed: false,
        }
    }

    pub(super) fn has_reply(&self) -> bool {
        self.taken < self.reply.len()
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
        if self.role == Role::Watch { packet(self) } else { next_line(self) }
    }
}

/// What has come over a connection.
pub(super) enum ReadResult {
    Nothing,
    Line(Vec<u8>),
    TooLong,
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
        Ok(length) if length > LONGEST => {
            warn!(name: "watch-too-long", "sexton-watch sent a packet that is too long; it is not read");
            ReadResult::Nothing
        }
        Ok(length) => {
            packet.truncate(length);
            ReadResult::Line(packet)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ReadResult::Nothing,
        Err(_) => ReadResult::End,
    }
}
