//! A terminal with an interactive bash in it, driven by keys: the outer party that knows job control.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{FlowArg, LocalFlags, tcflow, tcgetattr};
use nix::unistd::tcgetpgrp;

use super::process::{Process, children};
use super::{sexton, wait_until};

/// The shell and the other end of its terminal.
pub struct Shell {
    child: Child,
    keys: File,
    terminal: OwnedFd,
    seen: Vec<u8>,
    dir: tempfile::TempDir,
}

impl Shell {
    /// A bash with job control, and `$S` for the program under test.
    pub fn start() -> Shell {
        Shell::of(&sexton().into_os_string().into_string().unwrap())
    }

    /// The same with another program as `$S`.
    pub fn of(program: &str) -> Shell {
        let mut shell = Shell::open(program, &["--norc", "--noprofile", "--noediting", "-i"]);
        shell.line("stty -echo; bind 'set enable-bracketed-paste off' 2>/dev/null; echo up$((1))");
        shell.sees("up1");
        shell
    }

    /// A terminal in which nothing but this line is run, as an editor runs a task: by the leader of its session.
    pub fn task(line: &str) -> Shell {
        Shell::open(&sexton().into_os_string().into_string().unwrap(), &["-c", line])
    }

    fn open(program: &str, options: &[&str]) -> Shell {
        let size = Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        // The shell must not hold our end: its hang-up is ours to make.
        fcntl(&pty.master, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).unwrap();
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "bash"]).args(options).env_clear().current_dir(dir.path());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", dir.path()).env("S", program);
        command
            .env("PS1", "$ ")
            .env("TERM", "dumb")
            .env("SEXTON_CONTROL", "off")
            .stdin(end())
            .stdout(end())
            .stderr(end());
        let child = command.spawn().unwrap();
        Shell { child, keys: File::from(pty.master), terminal: pty.slave, seen: Vec::new(), dir }
    }

    /// Types these keys.
    pub fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line.
    pub fn line(&mut self, line: &str) {
        self.keys(&format!("{line}\n"));
    }

    /// Waits until the terminal has shown `text` since the last time, and forgets everything up to it.
    #[track_caller]
    pub fn sees(&mut self, text: &str) {
        let seen = self.sees_within(super::PATIENCE, text);
        assert!(seen, "the terminal does not show {text:?} but {:?}", String::from_utf8_lossy(&self.seen));
    }

    /// The same for a limited time; whether it was shown.
    pub fn sees_within(&mut self, limit: Duration, text: &str) -> bool {
        let end = Instant::now() + limit;
        loop {
            let mut buffer = [0; 4096];
            if let Ok(length) = self.keys.read(&mut buffer) {
                self.seen.extend(&buffer[..length]);
            }
            if let Some(place) = self.seen.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.seen.drain(..place + text.len());
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the terminal has shown `end`, and gives what stands before it.
    #[track_caller]
    pub fn sees_until(&mut self, end: &str) -> String {
        let mut before = None;
        wait_until("the line ends", || {
            self.sees_within(Duration::ZERO, "\0");
            before = String::from_utf8_lossy(&self.seen).split_once(end).map(|(before, _)| before.to_owned());
            before.is_some()
        });
        before.unwrap()
    }

    /// The program under test, a child of the shell, whatever it is called; once it has a child itself.
    pub fn init(&self) -> Process {
        let mut found = None;
        wait_until("the shell runs the program under test", || {
            found = children(self.pid()).into_iter().find(|child| !children(child.pid).is_empty());
            found.is_some()
        });
        found.unwrap()
    }

    /// The command below it: no helper of sexton, which would bear its name.
    pub fn main(&self) -> Process {
        let init = self.init();
        let mut found = None;
        wait_until("the command runs", || {
            let name = super::process::look(init.pid).map(|init| init.name);
            let mut below = children(init.pid).into_iter();
            found = below.find(|child| !child.dead() && Some(&child.name) != name.as_ref());
            found.is_some()
        });
        found.unwrap()
    }

    /// The shell itself.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The foreground process group.
    pub fn foreground(&self) -> i32 {
        tcgetpgrp(self.keys.as_fd()).unwrap().as_raw()
    }

    /// Whether keys are shown as they are typed.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.terminal).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// Changes the window's size, which the foreground is told by WINCH.
    #[allow(unsafe_code, reason = "TIOCSWINSZ")]
    pub fn resize(&self, rows: u16) {
        use std::os::fd::AsRawFd as _;
        let size = Winsize { ws_row: rows, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is open and the size lives.
        assert_eq!(unsafe { libc::ioctl(self.keys.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    }

    /// Holds up what is written to the terminal, as Ctrl-S does.
    pub fn hold_output(&self) {
        tcflow(&self.terminal, FlowArg::TCOOFF).unwrap();
    }

    /// The terminal goes away, as when its window is closed.
    pub fn line_hung_up(&mut self) {
        let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
        self.keys = null();
        self.terminal = null().into();
    }

    /// Waits for its end, and gives the exit code as a shell would.
    pub fn ends(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        let mut status = None;
        wait_until("the shell ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }

    /// A path in the shell's own directory.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Shell {
    /// Ends the whole session, whatever its jobs are called, and those who left it: a dumb-init's command has a session of
    /// its own.
    fn drop(&mut self) {
        let session = self.pid();
        let of_session = |process: &Process| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(3)?.parse().ok()) == Some(session)
        };
        let home = format!("HOME={}", self.dir.path().display());
        let mut processes: Vec<Process> = super::process::all().into_iter().filter(of_session).collect();
        processes.extend(super::process::marked(&home));
        for process in &processes {
            let still_it = || super::process::look(process.pid).is_some_and(|now| now.start == process.start);
            super::process::kill_if(process.pid, still_it);
        }
        let _ = self.child.wait();
        // A sexton that is killed cannot remove its cgroup.
        for process in &processes {
            super::cgroup::remove_left_by(process.pid);
        }
    }
}
