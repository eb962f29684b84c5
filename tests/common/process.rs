//! Processes as /proc shows them, and signals by number.
#![allow(unsafe_code, reason = "kill(2), sigqueue(3) and pidfds for signals that nix has no name for")]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::libc;

/// A process, at the moment of the look.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: i32,
    pub name: String,
    pub state: char,
    pub parent: i32,
    pub threads: u32,
    pub start: u64,
}

impl Process {
    /// Whether nothing of it runs any more.
    pub fn dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

/// `None` if there is no such process.
pub fn look(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat[close + 2..].split_whitespace().collect();
    Some(Process {
        pid,
        name: stat[open + 1..close].to_owned(),
        state: fields[0].chars().next()?,
        parent: fields[1].parse().ok()?,
        threads: fields[17].parse().ok()?,
        start: fields[19].parse().ok()?,
    })
}

/// Every process of the machine.
pub fn all() -> Vec<Process> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(look).collect()
}

/// The children of a process, oldest first, dead or alive.
pub fn children(pid: i32) -> Vec<Process> {
    // One small file where the kernel has it (CONFIG_PROC_CHILDREN), else all of /proc.
    let mut found: Vec<Process> = match fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        Ok(list) => list.split_whitespace().filter_map(|child| look(child.parse().ok()?)).collect(),
        Err(_) => all().into_iter().filter(|process| process.parent == pid).collect(),
    };
    found.sort_by_key(|process| (process.start, process.pid));
    found
}

/// The living processes whose environment holds `mark`.
pub fn marked(mark: &str) -> Vec<Process> {
    let bears = |process: &Process| {
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    all().into_iter().filter(|process| !process.dead() && bears(process)).collect()
}

/// One line of /proc/PID/status, without its label.
pub fn status(pid: i32, label: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(':'))?.trim().to_owned())
}

/// The signals in a mask of /proc/PID/status, as a set of bits: signal N is bit N-1.
pub fn mask(pid: i32, label: &str) -> u64 {
    status(pid, label).map_or(0, |mask| u64::from_str_radix(&mask, 16).unwrap())
}

/// Sends a signal by its number.
pub fn send(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) touches no memory of ours.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Queues a signal with a value.
pub fn queue(pid: i32, signal: i32, value: i32) -> io::Result<()> {
    // On little-endian machines the integer is the first half of the union's pointer.
    let value = libc::sigval { sival_ptr: std::ptr::without_provenance_mut(value.cast_unsigned() as usize) };
    // SAFETY: the value is carried as a number; the pointer is not dereferenced.
    if unsafe { libc::sigqueue(pid, signal, value) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Kills the process `pid` if `still_it` says so of it: through a pidfd, so that a successor in the pid is
/// safe.
pub fn kill_if(pid: i32, still_it: impl FnOnce() -> bool) {
    // SAFETY: the call touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let Ok(fd @ 0..) = i32::try_from(fd) else { return };
    // SAFETY: the kernel has just made this descriptor for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if still_it() {
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open, and a null info is allowed.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), libc::SIGKILL, no_info, 0) };
    }
}
