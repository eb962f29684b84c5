//! The controlling terminal and its foreground process group (tcsetpgrp(3)).

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid as NixPid, tcgetpgrp, tcsetpgrp};

use crate::os::{poll, signals};
use crate::types::{Signal, SignalSet};

/// The controlling terminal of our session.
pub struct Terminal(File);

impl Terminal {
    /// Opens it without blocking, even if another file is in its place. Nothing that is done with it waits for its
    /// other end. `None` if the session has none.
    #[must_use]
    pub fn open() -> Option<Terminal> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        options.open("/dev/tty").ok().map(Terminal)
    }

    /// The foreground process group.
    ///
    /// # Errors
    /// What tcgetpgrp(3) says.
    pub fn foreground(&self) -> io::Result<i32> {
        Ok(tcgetpgrp(&self.0)?.as_raw())
    }

    /// How keys and lines are treated (termios(3)).
    ///
    /// # Errors
    /// What tcgetattr(3) says.
    pub fn termios(&self) -> io::Result<Modes> {
        Ok(Modes(tcgetattr(&self.0)?))
    }

    /// Puts `modes` back. Output that is held up is not waited for.
    ///
    /// # Errors
    /// What tcsetattr(3) says.
    pub fn set_modes(&self, modes: &Modes) -> io::Result<()> {
        Ok(tcsetattr(&self.0, SetArg::TCSANOW, &modes.0)?)
    }

    /// Switches off what a full-screen program switches on (xterm's control sequences, `DECRST`): mouse and focus
    /// reporting, bracketed paste, the alternate screen; and the cursor is shown. What is off already stays so, and a
    /// terminal without such modes takes no notice.
    ///
    /// # Errors
    /// What write(2) says; EAGAIN if its output is held up, which is not waited for.
    pub fn leave_full_screen(&self) -> io::Result<()> {
        /// The alternate screen is left by 1047: 1049 would also put the cursor where it was saved, if only long ago,
        /// and what is written next would overwrite what stands there.
        const OFF: &[u8] = b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1005l\x1b[?1006l\x1b[?1015l\
                             \x1b[?2004l\x1b[?1047l\x1b[?25h";
        (&self.0).write_all(OFF)
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

/// A way to ask later whether our controlling terminal is gone for good.
///
/// It must not be one more user of it: who waits at the other end for the last of them would wait for us. And once it
/// is gone, its session has no terminal any more, and /dev/tty names none.
pub enum Presence {
    /// It is our standard error, which we keep anyway.
    Stderr,
    /// The name that a pseudo-terminal has until its other end is closed (pts(4)).
    Name(OwnedFd),
}

impl Presence {
    /// Of the controlling terminal. `None` if there is no way to ask.
    #[must_use]
    pub fn of(terminal: &Terminal) -> Option<Presence> {
        let device = device(terminal.0.as_fd())?;
        if self::device(io::stderr().as_fd()) == Some(device) {
            return Some(Presence::Stderr);
        }
        let name = format!("/dev/pts/{}", nix::sys::stat::minor(device));
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let name = nix::fcntl::open(name.as_str(), flags, Mode::empty()).ok()?;
        // Other terminals have names elsewhere, and a container can have other pseudo-terminals.
        (nix::sys::stat::fstat(&name).ok()?.st_rdev == device).then_some(Presence::Name(name))
    }

    /// Whether it is gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Presence::Stderr => poll::hung_up(io::stderr().as_fd()),
            Presence::Name(name) => nix::sys::stat::fstat(name).is_ok_and(|name| name.st_nlink == 0),
        }
    }
}

/// Which terminal this is, whatever it was opened as; `None` if it is none.
fn device(descriptor: BorrowedFd<'_>) -> Option<libc::dev_t> {
    let mut device: libc::c_uint = 0;
    // SAFETY: the descriptor is open, and the kernel writes one number, which is ours.
    let asked = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::TIOCGDEV, &raw mut device) };
    (asked == 0).then_some(libc::dev_t::from(device))
}

/// How a terminal treats keys and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modes(Termios);

impl Modes {
    /// Whether keys come as whole lines, as a shell leaves it, and not one by one, as a full-screen program has it.
    #[must_use]
    pub fn by_lines(&self) -> bool {
        self.0.local_flags.contains(LocalFlags::ICANON)
    }
}

/// Gives the controlling terminal up, so that a child's session can have it (tty_ioctl(4), `TIOCNOTTY`).
///
/// If we lead the session, the kernel sends HUP and CONT to the foreground group, which is ours. The terminal was not
/// hung up, so both are taken away here, where they are blocked and pending.
///
/// # Errors
/// What ioctl(2) says; ENXIO if there is no controlling terminal.
pub fn detach() -> io::Result<()> {
    let terminal = Terminal::open().ok_or(io::Error::from_raw_os_error(libc::ENXIO))?;
    let leader = nix::unistd::getsid(None)? == nix::unistd::getpid();
    // SAFETY: the descriptor is open, and the request takes no argument.
    let done = unsafe { libc::ioctl(terminal.0.as_raw_fd(), libc::TIOCNOTTY) };
    if done == -1 {
        return Err(io::Error::last_os_error());
    }
    if leader {
        for signal in [Signal::HUP, Signal::CONT] {
            signals::take(SignalSet::default().with(signal), Some(Duration::ZERO))?;
        }
    }
    Ok(())
}

/// Makes the terminal on standard input the controlling one of our session, if no other session has it
/// (tty_ioctl(4), `TIOCSCTTY`).
///
/// # Errors
/// What ioctl(2) says; EPERM if it is another session's.
pub fn adopt_standard_input() -> io::Result<()> {
    // SAFETY: the request takes a number: not to steal it.
    let done = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
