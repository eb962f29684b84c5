//! What /proc says about processes (proc_pid_stat(5)).

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::directory;
use crate::types::{Pid, Signal, StartTime};

/// The fields of /proc/PID/stat that sexton reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: Pid,
    /// The command's name: at most 15 bytes, and any bytes at all.
    pub name: Vec<u8>,
    /// The state's letter: `R`, `S`, `D`, `T`, `Z`, `X` and so on.
    pub state: u8,
    /// The parent's pid; 0 if the parent lives outside this pid namespace.
    pub parent: i32,
    /// The process group.
    pub group: i32,
    /// The session.
    pub session: i32,
    /// The kernel's flags of the process (`PF_*`, include/linux/sched.h).
    pub flags: u32,
    /// How many threads are alive. A dead main thread with living others also shows state `Z`.
    pub threads: u64,
    /// When it was started.
    pub start: StartTime,
}

impl Stat {
    /// Whether nothing of the process runs any more.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }

    /// Whether it is dead or about to be: its descriptors are closed some time before it is a zombie
    /// (`PF_EXITING`).
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.is_dead() || self.flags & 0x0000_0004 != 0
    }

    /// Whether it is a thread of the kernel itself, which takes no signals (`PF_KTHREAD`).
    #[must_use]
    pub fn is_kernel_thread(&self) -> bool {
        self.flags & 0x0020_0000 != 0
    }
}

/// Takes one line of /proc/PID/stat apart. `None` if it is not such a line.
///
/// The name stands in brackets and may itself hold brackets, blanks and newlines, so that the fields are
/// counted from the last closing one.
#[must_use]
pub fn parse_stat(line: &[u8]) -> Option<Stat> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let pid = std::str::from_utf8(line.get(..open)?).ok()?.trim().parse().ok()?;
    let name = line.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
    // The first of these fields is number 3, the state.
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let flags = fields.nth(2)?.parse().ok()?;
    let threads = fields.nth(10)?.parse().ok()?;
    let start = StartTime(fields.nth(1)?.parse().ok()?);
    Some(Stat { pid: Pid::new(pid)?, name, state, parent, group, session, flags, threads, start })
}

/// Whether no thread of this process runs: it is stopped as a whole, by a signal or a debugger, or dead. The
/// state of a process is that of its first thread, and the others of a group that is being stopped may run on
/// for a moment.
#[must_use]
pub fn is_stopped(stat: &Stat) -> bool {
    let still = |state: u8| matches!(state, b'T' | b't' | b'Z' | b'X');
    if stat.threads <= 1 {
        return still(stat.state);
    }
    let thread = |thread: Pid| read(format!("/proc/{}/task/{thread}/stat", stat.pid)).ok();
    still(stat.state)
        && threads(stat.pid)
            .into_iter()
            .filter_map(thread)
            // One that ends meanwhile leaves nothing to read; a line that is none is no proof.
            .all(|line| parse_stat(&line).is_some_and(|stat| still(stat.state)))
}

/// Whether this process lives in another time namespace than we, or may: the start times that it reads in /proc are
/// then not those that we read there (time_namespaces(7), Linux 5.6).
///
/// We may not read the link to the namespace of another user's process (ptrace(2), `PTRACE_MODE_READ_FSCREDS`). But
/// every process may read its clock's offset. That is the offset of its children's namespace, which is also its own,
/// except between unshare(2) and the next execve(2).
#[must_use]
pub fn may_be_in_other_time_ns(pid: Pid) -> bool {
    let link = |process: &str| fs::read_link(format!("/proc/{process}/ns/time"));
    match (link("self"), link(&pid.to_string())) {
        // This kernel has one time for all.
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => false,
        (Ok(ours), Ok(theirs)) => ours != theirs,
        _ => {
            let ahead =
                |process: &str| parse_ahead(&read_text(format!("/proc/{process}/timens_offsets")).ok()?);
            let ours = ahead("self");
            ours.is_none() || ours != ahead(&pid.to_string())
        }
    }
}

/// How far the clock that start times are counted by is ahead of the machine's, in seconds and nanoseconds, from the
/// text of /proc/PID/timens_offsets (time_namespaces(7)). `None` if it does not say, as that of a process that has
/// ended.
#[must_use]
pub fn parse_ahead(offsets: &str) -> Option<(i64, i64)> {
    let mut words = offsets.lines().find_map(|line| line.strip_prefix("boottime"))?.split_ascii_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// The visible processes that have this number in a pid namespace below ours: those of a container, or of a tool
/// under unshare(1) or bwrap(1). Zombies are among them.
///
/// # Errors
/// /proc cannot be listed, shows another pid namespace, or does not tell such numbers (before Linux 4.1).
pub fn with_nested_number(number: Pid) -> io::Result<Vec<Pid>> {
    if !is_of_our_namespace() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut found = Vec::new();
    for pid in pids()? {
        match read(format!("/proc/{pid}/status")) {
            Ok(status) => {
                let numbers = parse_nested_numbers(&status).ok_or(io::ErrorKind::InvalidData)?;
                if numbers.contains(&number) {
                    found.push(pid);
                }
            }
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The numbers of a process in the pid namespaces below ours, from the text of its /proc/PID/status: all of the line
/// `NSpid` but the first (proc_pid_status(5), Linux 4.1). `None` if there is no such line.
#[must_use]
pub fn parse_nested_numbers(status: &[u8]) -> Option<Vec<Pid>> {
    // The name of the process stands above it, with its line ends escaped.
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"))?;
    Some(parse_pids(std::str::from_utf8(line).ok()?).into_iter().skip(1).collect())
}

/// The number that a process sees as its own: the innermost of its pid namespaces'. Also of a zombie. Ours for it where that
/// cannot be told.
#[must_use]
pub fn number_inside(pid: Pid) -> Pid {
    let nested = read(format!("/proc/{pid}/status")).ok().and_then(|status| parse_nested_numbers(&status));
    nested.and_then(|numbers| numbers.last().copied()).unwrap_or(pid)
}

/// Whether /proc hides the processes of other users from us (`hidepid`, proc(5)); `None` if it does not say.
#[must_use]
pub fn has_hidepid() -> Option<bool> {
    parse_hidepid(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The same from the text of /proc/self/mountinfo.
#[must_use]
pub fn parse_hidepid(mounts: &str) -> Option<bool> {
    let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc"))?;
    let options = line.rsplit(' ').next()?;
    let hidden = options.split(',').filter_map(|option| option.strip_prefix("hidepid="));
    Some(hidden.into_iter().any(|how| !matches!(how, "0" | "off")))
}

/// Reads a file that the kernel generates while it is read, in as few pieces as possible. Its length cannot be queried.
///
/// # Errors
/// What open(2) and read(2) say.
pub(super) fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    /// Most such files are shorter, and take no more of the heap than they need.
    const USUAL: usize = 4096;
    let mut file = fs::File::open(path)?;
    let mut usual = [0; USUAL];
    let mut length = 0;
    while let Some(room) = usual.get_mut(length..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => return Ok(usual.get(..length).unwrap_or_default().to_vec()),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut bytes = usual.to_vec();
    // A limit has the standard library not ask for a length first.
    file.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// As [`read`]; `InvalidData` if it is none.
pub(super) fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Reads /proc/PID/stat. `Ok(None)` if there is no such process.
///
/// # Errors
/// What open(2) and read(2) say; `InvalidData` if the line cannot be read as one.
pub fn stat(pid: Pid) -> io::Result<Option<Stat>> {
    match read(format!("/proc/{pid}/stat")) {
        Ok(line) => parse_stat(&line).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        // A process that ends between open and read gives ESRCH.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a process does not hear, or has not heard yet, of the signals that are sent to it as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unheard {
    /// Those that it ignores, by their numbers from the lowest bit on.
    ignored: u64,
    /// Those that wait for it.
    pending: u64,
    /// Those that its first thread blocks.
    blocked: u64,
}

impl Unheard {
    /// Whether it ignores this one.
    #[must_use]
    pub fn ignores(self, signal: Signal) -> bool {
        self.ignored & bit(signal) != 0
    }

    /// Whether this one waits for it and is blocked. One that waits and is not blocked comes to a process that has not
    /// run since, as it is stopped or in a long system call.
    #[must_use]
    pub fn lets_wait(self, signal: Signal) -> bool {
        self.pending & self.blocked & bit(signal) != 0
    }
}

fn bit(signal: Signal) -> u64 {
    1_u64.checked_shl(signal.number().unsigned_abs().saturating_sub(1)).unwrap_or_default()
}

/// Reads it from /proc/PID/status. `None` if it cannot be told.
#[must_use]
pub fn unheard(pid: Pid) -> Option<Unheard> {
    // Its name is any bytes, but without line ends.
    parse_unheard(&String::from_utf8_lossy(&read(format!("/proc/{pid}/status")).ok()?))
}

/// What /proc/PID/status says of it (proc_pid_status(5)).
#[must_use]
pub fn parse_unheard(status: &str) -> Option<Unheard> {
    let set = |name: &str| u64::from_str_radix(field(status, name)?, 16).ok();
    Some(Unheard { ignored: set("SigIgn")?, pending: set("ShdPnd")?, blocked: set("SigBlk")? })
}

/// Whose rights a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    /// The effective user, and the one that counts for files.
    pub users: [u32; 2],
    /// The same of its group.
    pub groups: [u32; 2],
    /// Its permitted capabilities (capabilities(7)).
    pub capabilities: u64,
}

/// Reads them from /proc/PID/status. `None` if they cannot be told.
#[must_use]
pub fn rights(pid: Pid) -> Option<Rights> {
    parse_rights(&String::from_utf8_lossy(&read(format!("/proc/{pid}/status")).ok()?))
}

/// What /proc/PID/status says of them (proc_pid_status(5)).
#[must_use]
pub fn parse_rights(status: &str) -> Option<Rights> {
    // Real, effective, saved, and for files.
    let ids = |name: &str| {
        let mut ids = field(status, name)?.split_ascii_whitespace().skip(1).step_by(2);
        Some([ids.next()?.parse().ok()?, ids.next()?.parse().ok()?])
    };
    let capabilities = u64::from_str_radix(field(status, "CapPrm")?, 16).ok()?;
    Some(Rights { users: ids("Uid")?, groups: ids("Gid")?, capabilities })
}

/// The value of this line, in a text of lines such as `name: value`.
pub(super) fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The beginning of the environment with which a process was started, its variables apart by NUL bytes
/// (proc_pid_environ(5)). The process can have written anything in its place. Empty if we may not look.
#[must_use]
pub fn environment(pid: Pid) -> Vec<u8> {
    /// Far more than what anybody sets.
    const ROOM: u64 = 256 * 1024;
    let mut environment = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/environ")) {
        // What could be read before an error is as good.
        let _ = file.take(ROOM).read_to_end(&mut environment);
    }
    environment
}

/// The program that a process executes, by its path (proc_pid_exe(5)); `None` if it has none or we may not look.
#[must_use]
pub fn program(pid: Pid) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The children of one thread of a process, dead ones included (proc_pid_task_children(5); it takes a kernel
/// with `CONFIG_PROC_CHILDREN`). A process that forks or dies while this is read can be missed.
///
/// # Errors
/// What open(2) and read(2) say.
pub fn children_of_thread(pid: Pid, thread: Pid) -> io::Result<Vec<Pid>> {
    Ok(parse_pids(&read_text(format!("/proc/{pid}/task/{thread}/children"))?))
}

/// Opens that list, to be read again and again.
///
/// # Errors
/// What open(2) says.
pub(super) fn open_children_of_thread(pid: Pid, thread: Pid) -> io::Result<fs::File> {
    fs::File::open(format!("/proc/{pid}/task/{thread}/children"))
}

/// Hands the children in a list that is open, as they are now, to `each`, until that says that it has enough.
///
/// # Errors
/// What pread(2) says.
pub(super) fn visit_children(
    list: &fs::File,
    mut each: impl FnMut(Pid) -> ControlFlow<()>,
) -> io::Result<()> {
    const PIECE: usize = 4096;
    let mut piece = [0; PIECE];
    let (mut from, mut text) = (0, String::new());
    loop {
        match list.read_at(&mut piece, from) {
            Ok(0) => {
                let _ = parse_pids(&text).into_iter().try_for_each(each);
                return Ok(());
            }
            Ok(more) => {
                from = from.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
                text.push_str(&String::from_utf8_lossy(piece.get(..more).unwrap_or_default()));
                // The last number may go on in the next piece.
                let whole = text.rfind(' ').map_or(0, |blank| blank.saturating_add(1));
                let rest = text.split_off(whole);
                if parse_pids(&text).into_iter().try_for_each(&mut each).is_break() {
                    return Ok(());
                }
                text = rest;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A list of pids with white space between them, as `children` and `cgroup.procs` are. What is no pid is left out, as
/// the 0 is that stands for a process of another pid namespace.
#[must_use]
pub fn parse_pids(text: &str) -> Vec<Pid> {
    text.split_ascii_whitespace().filter_map(|pid| Pid::new(pid.parse().ok()?)).collect()
}

/// The threads of a process; none if it has ended.
#[must_use]
pub fn threads(pid: Pid) -> Vec<Pid> {
    numbers(&format!("/proc/{pid}/task")).unwrap_or_default()
}

/// The names in a directory that are numbers, as pids.
fn numbers(directory: &str) -> io::Result<Vec<Pid>> {
    let mut names = directory::list_at(directory)?;
    let mut pids = Vec::new();
    while let Some(Ok(name)) = names.next_name() {
        pids.extend(name.name.to_str().and_then(|name| Pid::new(name.parse().ok()?)));
    }
    Ok(pids)
}

/// The resident memory of a process in bytes (proc_pid_statm(5)). `None` if it has ended; 0 for a zombie.
#[must_use]
pub fn resident(pid: Pid) -> Option<u64> {
    let pages = parse_resident(&fs::read_to_string(format!("/proc/{pid}/statm")).ok()?)?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    Some(pages.saturating_mul(page.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)))
}

/// The resident pages in the text of /proc/PID/statm.
#[must_use]
pub fn parse_resident(statm: &str) -> Option<u64> {
    statm.split(' ').nth(1)?.parse().ok()
}

/// The proportional memory of a process in bytes: each shared page is divided among those that share it
/// (proc_pid_smaps_rollup(5), since Linux 4.14). `None` if it has ended or is not ours to look into.
#[must_use]
pub fn proportional(pid: Pid) -> Option<u64> {
    parse_proportional(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// The same from the text of /proc/PID/smaps_rollup.
#[must_use]
pub fn parse_proportional(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes.saturating_mul(1024))
}

/// Whether /proc shows the pid namespace that we are in. In another one's our numbers are those of strangers.
#[must_use]
pub fn is_of_our_namespace() -> bool {
    let us = std::process::id().to_string();
    match fs::read_link("/proc/self") {
        Ok(shown) => shown.as_os_str() == us.as_str(),
        // One that does not show us at all has no such link, and nothing behind it. Any other failure says nothing, and
        // no process is left behind for it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let shown = read("/proc/self/stat").ok().and_then(|line| parse_stat(&line));
            shown.is_some_and(|shown| shown.pid.to_string() == us)
        }
        Err(_) => true,
    }
}

/// Whether a process has this very file open for writing, under a path that ends in `name`. A process that only reads a
/// file need not be the one that has written it.
///
/// The path is compared first, so that no other file is looked at, whose filesystem may hang. `false` also where we may
/// not see it (ptrace(2), `PTRACE_MODE_READ`).
#[must_use]
pub fn writes_to(pid: Pid, name: &OsStr, file: (u64, u64)) -> bool {
    let numbers = numbers(&format!("/proc/{pid}/fd")).unwrap_or_default();
    numbers.into_iter().any(|number| {
        let path = format!("/proc/{pid}/fd/{number}");
        let is_named = fs::read_link(&path).is_ok_and(|target| target.file_name() == Some(name));
        let is_it = || fs::metadata(&path).is_ok_and(|meta| (meta.dev(), meta.ino()) == file);
        let info = || read_text(format!("/proc/{pid}/fdinfo/{number}")).ok();
        is_named && is_it() && info().is_some_and(|info| is_for_writing(&info))
    })
}

/// Whether the text of /proc/PID/fdinfo/N is of a file that is open for writing (proc_pid_fdinfo(5): `flags` are
/// octal).
fn is_for_writing(info: &str) -> bool {
    let flags = field(info, "flags").and_then(|flags| i32::from_str_radix(flags, 8).ok());
    flags.is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_PATH == 0)
}

/// The pid of every process that /proc shows, in no order.
///
/// # Errors
/// /proc itself cannot be listed.
pub fn pids() -> io::Result<Vec<Pid>> {
    numbers("/proc")
}

/// Every process that /proc shows, in no order; those that end meanwhile are left out.
///
/// # Errors
/// /proc itself cannot be listed.
pub fn all() -> io::Result<Vec<Stat>> {
    all_while(|| true)
}

/// The same, but the look ends as soon as `go_on` says no.
///
/// # Errors
/// /proc itself cannot be listed.
pub fn all_while(go_on: impl Fn() -> bool) -> io::Result<Vec<Stat>> {
    Ok(pids()?.into_iter().take_while(|_| go_on()).filter_map(|pid| stat(pid).ok().flatten()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_says_what_it_ignores_and_what_waits_for_it() {
        let status = "Name:\tx\\nSigIgn:\t1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000004000\n\
                      SigBlk:\t0000000000006000\nSigIgn:\t0000000000000001\n";
        let unheard = parse_unheard(status).unwrap();
        assert!(unheard.ignores(Signal::HUP) && !unheard.ignores(Signal::TERM));
        assert!(unheard.lets_wait(Signal::TERM) && !unheard.lets_wait(Signal::HUP));
        assert!(!unheard.lets_wait(Signal::ALRM), "it is blocked, and was not sent");
        assert_eq!(parse_unheard("SigIgn:\t0000000000000001\n"), None);
        assert_eq!(parse_unheard("SigIgn:\tx\nShdPnd:\t0\nSigBlk:\t0\n"), None);
        let waits = parse_unheard("ShdPnd:\t4000\nSigBlk:\t0\nSigIgn:\t0\n").unwrap();
        assert!(!waits.lets_wait(Signal::TERM), "it comes to the process as soon as that runs");
    }

    #[test]
    fn rights_are_the_effective_ids_and_those_for_files() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nCapPrm:\t000001ffffffffff\n";
        let expected = Rights { users: [2, 4], groups: [6, 8], capabilities: 0x1ff_ffff_ffff };
        assert_eq!(parse_rights(status), Some(expected));
        assert_eq!(parse_rights("Uid:\t1\t2\t3\nGid:\t5\t6\t7\t8\nCapPrm:\t0\n"), None);
        assert_eq!(rights(crate::os::process::own_pid()).unwrap().users[0], nix::unistd::geteuid().as_raw());
    }

    #[test]
    fn a_clock_that_does_not_say_how_far_it_is_ahead_is_not_taken_for_ours() {
        let text = "monotonic           7         0\nboottime      5000000         3\n";
        assert_eq!(parse_ahead(text), Some((5_000_000, 3)));
        assert_eq!(parse_ahead("monotonic 0 0\nboottime -5 0\n"), Some((-5, 0)));
        // A zombie's file is empty.
        for text in ["", "monotonic 0 0\n", "boottime\n", "boottime 1\n", "boottime x 0\n"] {
            assert_eq!(parse_ahead(text), None, "{text:?}");
        }
        assert!(!may_be_in_other_time_ns(crate::os::process::own_pid()));
        // None of this number can be.
        assert!(may_be_in_other_time_ns(Pid::new(i32::MAX).unwrap()), "no answer");
    }

    const LINE: &[u8] = b"7 (a) (b\n) c) S 1 7 5 34816 7 4194560 123 456 0 0 1 2 0 0 20 0 11 0 107252 22 33";

    #[test]
    fn fields_are_counted_from_the_last_bracket() {
        let stat = parse_stat(LINE).unwrap();
        assert_eq!(stat.pid.raw(), 7);
        assert_eq!(stat.name, b"a) (b\n) c");
        assert_eq!((stat.state, stat.parent, stat.group, stat.session), (b'S', 1, 7, 5));
        assert_eq!((stat.flags, stat.threads, stat.start), (4_194_560, 11, StartTime(107_252)));
        assert!(!stat.is_kernel_thread());
    }

    #[test]
    fn any_prefix_is_refused_or_read_but_never_a_panic() {
        for end in 0..LINE.len() {
            let _ = parse_stat(&LINE[..end]);
        }
        assert_eq!(parse_stat(b"x (y) S 1"), None);
        assert_eq!(parse_stat(b""), None);
        assert_eq!(parse_stat(b")("), None);
    }

    #[test]
    fn a_number_below_is_any_but_the_first() {
        let numbers = |status: &str| {
            let numbers = parse_nested_numbers(status.as_bytes())?;
            Some(numbers.into_iter().map(Pid::raw).collect::<Vec<_>>())
        };
        let status = |line: &str| format!("Name:\tNSpid:\nUmask:\t0022\n{line}\nThreads:\t1\n");
        assert_eq!(numbers(&status("NSpid:\t4242")), Some(vec![]));
        assert_eq!(numbers(&status("NSpid:\t4242\t17\t3")), Some(vec![17, 3]));
        assert_eq!(numbers(&status("Pid:\t4242")), None);
    }

    #[test]
    fn a_zombie_with_living_threads_is_not_dead() {
        let mut stat = parse_stat(LINE).unwrap();
        assert!(!stat.is_dead());
        stat.state = b'Z';
        assert!(!stat.is_dead());
        stat.threads = 1;
        assert!(stat.is_dead());
    }

    #[test]
    fn our_memory_is_shared_in_part() {
        let me = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
        let (resident, proportional) = (resident(me).unwrap(), proportional(me).unwrap());
        assert!(
            proportional > 100_000 && proportional <= resident + 1_000_000,
            "{proportional} of {resident}"
        );
    }

    #[test]
    fn we_see_ourselves() {
        let me = Pid::new(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert_eq!(stat(me).unwrap().unwrap().pid, me);
        assert!(all().unwrap().iter().any(|stat| stat.pid == me));
    }
}
