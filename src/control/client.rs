//! The side that asks: the subcommands, and the tools that say that they run.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::incidents::{escaped_length, truncate_escaped};
use super::lines::LONGEST;
use super::protocol::{Answer, Request, ToolRecord, ToolRun};
use super::socket_path::{self, Usual, VARIABLE};
use crate::os::{clock, poll, privileges, unix_socket};
use crate::types::{Escaped, MonoTime};

/// The longest answer that is taken, in bytes: several times a status with every tool that there can be.
const LONGEST_ANSWER: usize = 4 << 20;

/// Why there was no answer, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No sexton listens.
    #[error("no sexton answers at {0}; is it running, and as you? --control says where its socket is")]
    NotRunning(String),
    /// The socket is not ours to connect to, or not a socket.
    #[error("could not connect to {path}: {error}")]
    System {
        /// Where.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// Somebody else listens there.
    #[error("{0} is another user's socket, and is not trusted; --control says which one is meant")]
    WrongOwner(String),
    /// No answer in time.
    #[error("sexton did not answer in time; it may be stopped, look at its state in /proc or ps")]
    Timeout,
    /// The connection was closed.
    #[error("sexton closed the connection without an answer")]
    Closed,
    /// The answer is none.
    #[error("sexton's answer is not understood ({0}); is it of another version?")]
    Unknown(String),
}

/// A connection to a sexton.
pub struct Connection {
    socket: OwnedFd,
    come: Vec<u8>,
    path: PathBuf,
}

impl Connection {
    /// Connects to the sexton whose socket was named; else to the one that [`VARIABLE`] names; else to the
    /// first that listens at a usual place.
    ///
    /// # Errors
    /// Why not.
    pub fn open(named: Option<&Path>, deadline: MonoTime) -> Result<Connection, Failure> {
        let variable = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = named.map(Path::to_owned).or_else(variable) {
            return Connection::to(&path, deadline);
        }
        let usual = socket_path::usual();
        let mut closed = None;
        for Usual { path, owner } in &usual {
            match Connection::to(path, deadline) {
                Err(Failure::NotRunning(_)) => {}
                Ok(found) if !owner.is_none_or(|owner| found.is_of(owner)) => {}
                // Another user's sexton has this place, and ours has a later one.
                Err(Failure::System { error, path }) if error.kind() == io::ErrorKind::PermissionDenied => {
                    closed = closed.or(Some(Failure::System { error, path }));
                }
                found => return found,
            }
        }
        if let Some(closed) = closed {
            return Err(closed);
        }
        let places: Vec<String> = usual
            .iter()
            .filter(|usual| usual.path.ends_with("control.sock"))
            .map(|usual| shown(&usual.path))
            .collect();
        Err(Failure::NotRunning(places.join(" or ")))
    }

    /// Whether a process of this user, in our pid namespace, listens.
    fn is_of(&self, owner: u32) -> bool {
        unix_socket::peer(self.socket.as_fd()).is_ok_and(|peer| peer.uid == owner && peer.pid != 0)
    }

    fn to(path: &Path, deadline: MonoTime) -> Result<Connection, Failure> {
        let failure = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::NotRunning(shown(path)),
            io::ErrorKind::WouldBlock => Failure::Timeout,
            _ => Failure::System { path: shown(path), error },
        };
        let socket = unix_socket::connect(path, deadline.since(clock::now())).map_err(failure)?;
        let peer = unix_socket::peer(socket.as_fd()).map_err(failure)?;
        let us = privileges::effective_uid();
        if us != 0 && peer.uid != 0 && peer.uid != us {
            return Err(Failure::WrongOwner(shown(path)));
        }
        Ok(Connection { socket, come: Vec::new(), path: path.to_owned() })
    }

    /// Its socket's name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// sexton's pid as it is here; 0 if it lives in a pid namespace that we cannot see.
    #[must_use]
    pub fn pid(&self) -> i32 {
        unix_socket::peer(self.socket.as_fd()).map_or(0, |peer| peer.pid)
    }

    /// Asks, and gives the answer.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ask(&mut self, request: &Request, deadline: MonoTime) -> Result<Answer, Failure> {
        self.send(request, deadline)?;
        self.next(deadline)
    }

    fn send(&mut self, request: &Request, deadline: MonoTime) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(request).map_err(|error| Failure::Unknown(error.to_string()))?;
        line.push(b'\n');
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            match unix_socket::send(self.socket.as_fd(), rest) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if clock::now() >= deadline {
                        return Err(Failure::Timeout);
                    }
                    // A pulse is soon enough for what never happens: a request is small.
                    let soon = clock::now().after(std::time::Duration::from_millis(10));
                    let _ = poll::any_until([], Some(soon.min(deadline)));
                }
                // What was answered before the end may say why.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// The next answer.
    ///
    /// # Errors
    /// Why there is none.
    pub fn next(&mut self, deadline: MonoTime) -> Result<Answer, Failure> {
        loop {
            if let Some(answer) = self.buffered()? {
                return Ok(answer);
            }
            let ready = poll::until(self.socket.as_fd(), Some(deadline));
            // An answer that goes on and on can be read at any moment.
            if !ready.unwrap_or(false) || clock::now() >= deadline {
                return Err(Failure::Timeout);
            }
            if !self.take()? {
                return Err(Failure::Closed);
            }
        }
    }

    /// Takes what has come, without waiting. `false` at the end.
    fn take(&mut self) -> Result<bool, Failure> {
        let mut piece = vec![0; LONGEST];
        match unix_socket::receive(self.socket.as_fd(), &mut piece, false) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.come.extend(piece.iter().take(length));
                if self.come.len() > LONGEST_ANSWER {
                    return Err(Failure::Unknown("it is too long".to_owned()));
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(_) => Ok(false),
        }
    }

    fn buffered(&mut self) -> Result<Option<Answer>, Failure> {
        let Some(end) = self.come.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.come.drain(..=end).collect();
        serde_json::from_slice(&line).map(Some).map_err(|error| Failure::Unknown(error.to_string()))
    }
}

fn shown(path: &Path) -> String {
    Escaped(path).to_string()
}

/// A tool's own connection: it shows in status while this lives, and can be cancelled.
pub struct Registration(Connection);

impl Registration {
    /// Registers a run with the sexton that is above us, as [`VARIABLE`] says. `None` if there is none, or it
    /// does not take us: the tool runs just the same. One that has not answered in time, because it stands still or is
    /// busy, will take the run later: the connection stays.
    #[must_use]
    pub fn begin(run: &ToolRun, deadline: MonoTime) -> Option<Registration> {
        let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty())?;
        let mut connection = Connection::to(Path::new(&path), deadline).ok()?;
        connection.send(&Request::ToolBegan(truncate(run)), deadline).ok()?;
        match connection.next(deadline) {
            Ok(Answer::Done(_)) | Err(Failure::Timeout) => Some(Registration(connection)),
            _ => None,
        }
    }

    /// sexton's pid as it is here; 0 if it lives in a pid namespace that we cannot see.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// By whom the tool was cancelled, if it was. Never waits. Can be read as soon as there is something; at
    /// the end of the connection it is [`gone`](Cancel::Gone), and need not be asked again.
    pub fn cancelled(&mut self) -> Cancel {
        let open = self.0.take();
        loop {
            match self.0.buffered() {
                Ok(Some(Answer::Cancelled(by))) => return Cancel::Cancelled(by),
                Ok(Some(_)) => {}
                Ok(None) if matches!(open, Ok(true)) => return Cancel::No,
                Ok(None) | Err(_) => return Cancel::Gone,
            }
        }
    }

    /// Tells how the run ended. Never waits: what is not taken is not told.
    pub fn end(mut self, record: &ToolRecord) {
        let mut record = record.clone();
        if serde_json::to_vec(&record).is_ok_and(|bytes| bytes.len() > LONGEST / 2) {
            record.more.retain(|name, _| name == "pid");
        }
        let _ = self.0.send(&Request::ToolEnded(record), MonoTime::default());
    }
}

impl AsFd for Registration {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

/// Whether a tool was cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancel {
    /// It was not.
    No,
    /// It was, by this one.
    Cancelled(String),
    /// sexton is not there any more, and nobody can cancel it.
    Gone,
}

/// The run with texts that fit into a line in any case, however they are escaped there. sexton keeps less of it.
fn truncate(run: &ToolRun) -> ToolRun {
    let mut run = run.clone();
    let mut room = LONGEST / 4;
    for text in [&mut run.id, &mut run.name].into_iter().chain(run.argv.iter_mut().take(32)) {
        truncate_escaped(text, room.min(512));
        room = room.saturating_sub(escaped_length(text));
    }
    run.argv.truncate(32);
    run
}
