//! Writing to standard error without ever waiting for its reader.
//!
//! The main process shares our standard error, so that its open file description must not be made
//! non-blocking: the gateway would get EAGAIN. A pipe or a terminal is opened once more instead, which gives
//! a description of our own.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

use nix::sys::socket::{MsgFlags, send};

use crate::os::poll;

/// What a pipe takes in one piece (`PIPE_BUF`, pipe(7)). A longer line could be torn by another writer's.
pub const LONGEST_LINE: usize = 4096;

/// The variable that names the stream of the journal's.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// Whether standard error goes to systemd's journal: `JOURNAL_STREAM` names the device and the inode of the
/// stream that a service was started with (systemd.exec(5)), which may have been redirected since.
#[must_use]
pub fn is_journal() -> bool {
    let Some(stream) = std::env::var_os(JOURNAL_STREAM) else {
        return false;
    };
    stream_of(io::stderr().as_fd()).is_ok_and(|ours| ours == stream)
}

/// The name that `JOURNAL_STREAM` has for what is written to: its device and its inode.
fn stream_of(way: BorrowedFd<'_>) -> io::Result<OsString> {
    let meta = File::from(way.try_clone_to_owned()?).metadata()?;
    Ok(format!("{}:{}", meta.dev(), meta.ino()).into())
}

/// The variable by which a program sees that what it writes to `way` goes to the journal, if our standard error does.
#[must_use]
pub fn journal_stream(way: BorrowedFd<'_>) -> Option<(OsString, OsString)> {
    is_journal().then(|| stream_of(way).ok()).flatten().map(|stream| (JOURNAL_STREAM.into(), stream))
}

/// Standard error, written to without blocking.
pub enum Stderr {
    /// A pipe or a terminal, opened again as non-blocking.
    Own(File),
    /// A socket: each write says that it must not wait.
    Socket,
    /// The pipe of a helper to the sexton that started it, which takes everything: the helper waits until it has.
    Helper,
    /// A regular file never blocks. A pipe that we may not open again is asked first; another writer can
    /// fill it between the question and the write, which is the one case left in which a write can wait.
    Shared,
}

impl Stderr {
    /// Finds out how descriptor 2 is to be written to.
    #[must_use]
    pub fn open() -> Stderr {
        let Ok(file) = io::stderr().as_fd().try_clone_to_owned().map(File::from) else {
            return Stderr::Shared;
        };
        let Ok(metadata) = file.metadata() else {
            return Stderr::Shared;
        };
        let kind = metadata.file_type();
        if kind.is_socket() {
            return Stderr::Socket;
        }
        if !kind.is_fifo() && !kind.is_char_device() {
            return Stderr::Shared;
        }
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        match options.open("/proc/self/fd/2") {
            Ok(own)
                if own
                    .metadata()
                    .is_ok_and(|own| (own.dev(), own.ino()) == (metadata.dev(), metadata.ino())) =>
            {
                Stderr::Own(own)
            }
            _ => Stderr::Shared,
        }
    }

    /// Writes `line`, of at most [`LONGEST_LINE`] bytes, or nothing of it.
    ///
    /// # Errors
    /// `WouldBlock` if the reader is behind; else what write(2) says.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let shared = io::stderr();
        match self {
            Stderr::Own(file) => write_all_of(file.write(line), line),
            Stderr::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                write_all_of(send(shared.as_raw_fd(), line, flags).map_err(io::Error::from), line)
            }
            Stderr::Helper => write_all_of(write_shared(shared.as_fd(), line), line),
            Stderr::Shared if poll::is_writable(shared.as_fd()) => {
                write_all_of(write_shared(shared.as_fd(), line), line)
            }
            Stderr::Shared => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

fn write_shared(descriptor: BorrowedFd<'_>, line: &[u8]) -> io::Result<usize> {
    Ok(nix::unistd::write(descriptor, line)?)
}

fn write_all_of(written: io::Result<usize>, line: &[u8]) -> io::Result<()> {
    if written? == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
