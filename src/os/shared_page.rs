//! A page of memory that a process shares with a copy of itself. One writes its state there, and the other reads it
//! when a request needs it. Neither ever waits.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use super::files;

/// The length of a note, in bytes.
const SIZE: usize = 1024;
/// How often a note is read that changes meanwhile.
const LOOKS: usize = 4;

/// The page, with room for one note.
pub struct SharedPage(File);

impl SharedPage {
    /// A new one with nothing on it, closed on exec.
    ///
    /// # Errors
    /// What memfd_create(2) says.
    pub fn new() -> io::Result<SharedPage> {
        files::in_memory(c"sexton-unit").map(SharedPage)
    }

    /// Puts this note in the place of the last one. One that is too long is not put there.
    pub fn store(&self, note: &[u8]) {
        let mut page = [0; SIZE];
        if let Some(room) = page.get_mut(..note.len()) {
            room.copy_from_slice(note);
            // Memory can be short; then the last note stays.
            let _ = self.0.write_all_at(&page, 0);
        }
    }

    /// The note; `None` if there is none. What two looks in a row agree on was not being written.
    #[must_use]
    pub fn read(&self) -> Option<Vec<u8>> {
        let look = || {
            let mut page = [0; SIZE];
            self.0.read_exact_at(&mut page, 0).ok().map(|()| page)
        };
        let mut last = look()?;
        for _ in 0..LOOKS {
            let next = look()?;
            if next == last {
                return Some(last.into_iter().take_while(|byte| *byte != 0).collect());
            }
            last = next;
        }
        None
    }
}

impl AsFd for SharedPage {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_is_read() {
        let board = SharedPage::new().unwrap();
        assert_eq!(board.read(), None);
        board.store(b"a longer one");
        board.store(b"short");
        assert_eq!(board.read().unwrap(), b"short");
        board.store(&[b'x'; SIZE + 1]);
        assert_eq!(board.read().unwrap(), b"short", "what has no room is not put there");
    }
}
