//! Pipes, and writing to standard output or standard error without output of others in between.

use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::errno;
use crate::types::Errno;

/// A pipe, its reading end first; both are closed on exec.
///
/// # Errors
/// What pipe2(2) says.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(errno)
}

/// Standard output or standard error of this process, shared with other processes of ours that write whole lines
/// there.
pub struct Shared(ManuallyDrop<File>);

impl Shared {
    /// Standard output is descriptor 1, standard error 2.
    #[must_use]
    pub fn standard(number: RawFd) -> Shared {
        // SAFETY: the descriptor is never closed by this value, which is not dropped, and writing to a number
        // that is no descriptor gives an error.
        Shared(ManuallyDrop::new(unsafe { File::from_raw_fd(number) }))
    }

    /// Writes all of it, and waits for the reader if it must. No other process that writes in this way comes in
    /// between: by itself a pipe takes at most `PIPE_BUF` bytes in one piece (pipe(7)). A record lock works on every
    /// kind of file (fcntl(2)), and ends with its owner.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn write_alone(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.write_and_keep(bytes);
        self.lock(libc::F_UNLCK);
        written
    }

    /// The same, and keeps the others out until the next [`write_alone`](Shared::write_alone), which writes more of the
    /// same line.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn write_and_keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lock(libc::F_WRLCK);
        self.0.write_all(bytes)
    }

    /// Writes all of it, and waits for the reader if it must. Another writer can come in between.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Where there are no record locks, it is written without.
    fn lock(&self, kind: libc::c_int) {
        let Ok(kind) = i16::try_from(kind) else { return };
        let whole = libc::flock { l_type: kind, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
        let _ = fcntl(&*self.0, FcntlArg::F_SETLKW(&whole));
    }
}
