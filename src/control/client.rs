//! The clients of the control socket: the subcommands, and the tools that register themselves.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::incidents::{escaped_length, truncate_escaped};
use super::lines::LONGEST;
use super::protocol::{Answer, Request, ToolRecord, ToolRun};
use super::socket_path::{self, DefaultPath, VARIABLE};
use crate::os::{clock, poll, privileges, unix_socket};
use crate::types::{Escaped, MonoTime};

/// The longest answer that is accepted, in bytes: several times a status with the maximum number of tools.
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
    /// A process of another user listens there.
    #[error("{0} is another user's socket, and is not trusted; --control says which one is meant")]
    WrongOwner(String),
    /// No answer in time.
    #[error("sexton did not answer in time; it may be stopped, look at its state in /proc or ps")]
    Timeout,
    /// The connection was closed.
    #[error("sexton closed the connection without an answer")]
    Closed,
    /// What came is not a valid answer.
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
    /// Connects to the socket `named`; else to the one that [`VARIABLE`] names; else to the first default path at which
    /// a sexton listens.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn open(named: Option<&Path>, deadline: MonoTime) -> Result<Connection, Failure> {
        let variable = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = named.map(Path::to_owned).or_else(variable) {
            return Connection::to(&path, deadline);
        }
        let paths = socket_path::default_paths();
        let mut closed = None;
        for DefaultPath { path, owner } in &paths {
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
        let places: Vec<String> = paths
            .iter()
            .filter(|place| place.path.ends_with("control.sock"))
            .map(|place| shown(&place.path))
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

    /// sexton's pid in our pid namespace; 0 if it has none there.
    #[must_use]
    pub fn pid(&self) -> i32 {
        unix_socket::peer(self.socket.as_fd()).map_or(0, |peer| peer.pid)
    }

    /// Sends the request and waits for the answer.
    ///
    /// # Errors
    /// Why there is no answer.
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
                    // A request is small and always fits into the socket's buffer, so this can be slow.
                    let soon = clock::now().after(std::time::Duration::from_millis(10));
                    let _ = poll::any_until([], Some(soon.min(deadline)));
                }
                // An answer that came before the connection was closed may say why.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn next(&mut self, deadline: MonoTime) -> Result<Answer, Failure> {
        loop {
            if let Some(answer) = self.buffered()? {
                return Ok(answer);
            }
            let ready = poll::until(self.socket.as_fd(), Some(deadline));
            // An answer without an end keeps the socket readable, so the deadline is checked here too.
            if !ready.unwrap_or(false) || clock::now() >= deadline {
                return Err(Failure::Timeout);
            }
            if !self.take()? {
                return Err(Failure::Closed);
            }
        }
    }

    /// Reads what has arrived, without waiting. `false` at the end of the connection.
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

/// A tool's own connection. While it is open, the tool is shown in the status and can be cancelled.
pub struct Registration(Connection);

impl Registration {
    /// Registers a run with the sexton that [`VARIABLE`] names. `None` if there is none, or if it refuses: the tool
    /// runs all the same. A sexton that does not answer in time is stopped or busy. It registers the run later, so the
    /// connection is kept.
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

    /// sexton's pid in our pid namespace; 0 if it has none there.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// Whether the tool was cancelled, and by which client. Never waits. Call it when the socket is readable. After
    /// [`Cancel::Gone`] the connection has ended, and there is no need to call it again.
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

    /// Reports how the run ended. Never waits: what the socket does not take at once is lost.
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
    /// It was, by this client.
    Cancelled(String),
    /// sexton has ended, so the tool cannot be cancelled any more.
    Gone,
}

/// The run with its texts cut so that they fit into a line, however they are escaped there. sexton keeps even less.
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
