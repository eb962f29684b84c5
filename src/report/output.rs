//! What a command prints on standard output, and what it means when that cannot be written.
//!
//! A script that redirects the output into a file must learn that the file is incomplete: the exit code is then
//! [`exit_code::SEXTON_FAILED`], whatever the command did. A reader that has closed its end of a pipe wants no more
//! output, so that is no failure.

use std::io;

use super::log;
use crate::os::{pipe::Shared, startup};
use crate::types::{exit_code, printable};

/// Writes all of `text` to standard output, and waits for its reader. What could change a terminal is [escaped]: some
/// of the text can be others' words.
///
/// [escaped]: printable
///
/// It does not go through [`io::stdout`], which takes a closed descriptor for a successful write.
///
/// # Errors
/// What write(2) says; EBADF if standard output was closed when the program started.
pub fn write(text: &str) -> io::Result<()> {
    if startup::was_closed(1) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    Shared::standard(1).write_all(printable(text).as_bytes())
}

/// Writes `text` in the place of what a terminal shows: from the upper left on, and with nothing below.
///
/// # Errors
/// As of [`write()`].
pub fn redraw(text: &str) -> io::Result<()> {
    Shared::standard(1).write_all(b"\x1b[H\x1b[J")?;
    write(text)
}

/// Whether this failure only means that the reader has gone away.
#[must_use]
pub fn reader_left(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// The exit code of a command that would end with `code` and whose output was `written`. A failure is said in one
/// line on standard error.
#[must_use]
pub fn code_after(written: io::Result<()>, code: u8) -> u8 {
    match written {
        Err(error) if !reader_left(&error) => {
            log::print_error(&format!(
                "sexton: the output could not be written to standard output ({error}); what is there is incomplete"
            ));
            exit_code::SEXTON_FAILED
        }
        _ => code,
    }
}

/// Prints `text`, and gives `code`, or the code of a failure, which was said.
#[must_use]
pub fn print(text: &str, code: u8) -> u8 {
    code_after(write(text), code)
}
