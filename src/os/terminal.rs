//! The controlling terminal and its foreground process group (tcsetpgrp(3)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use nix::unistd::{Pid as NixPid, tcgetpgrp, tcsetpgrp};

/// The controlling terminal of our session.
pub struct Terminal(File);

impl Terminal {
    /// Opens it. `None` if the session has none.
    #[must_use]
    pub fn open() -> Option<Terminal> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        options.open("/dev/tty").ok().map(Terminal)
    }

    /// The foreground process group.
    ///
    /// # Errors
    /// What tcgetpgrp(3) says.
    pub fn foreground(&self) -> io::Result<i32> {
        Ok(tcgetpgrp(&self.0)?.as_raw())
    }

    /// Makes `group` the foreground process group. With SIGTTOU blocked, as all signals are here, this
    /// cannot stop us even if we are in the background.
    ///
    /// # Errors
    /// What tcsetpgrp(3) says.
    pub fn set_foreground(&self, group: i32) -> io::Result<()> {
        Ok(tcsetpgrp(&self.0, NixPid::from_raw(group))?)
    }
}
