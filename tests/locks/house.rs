//! A state directory to sweep, processes that live or lie dead, and a log that can be read.

#![allow(dead_code, reason = "each test program uses its part of it")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use sexton::locks::{Action, KnownRoot, LockKinds, Report, Request, Root, SweepContext, sweep};
use sexton::types::{Pid, StartTime};
use tracing::field::{Field, Visit};
use tracing::span;

/// One test at a time, where they share a process: between fork and exec, a child that one of them starts has
/// the registration of another's sweep open.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A directory that plays the state directory; it goes away with the value.
pub struct House(tempfile::TempDir, Option<MutexGuard<'static, ()>>);

impl House {
    pub fn new() -> House {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        House(tempfile::tempdir().unwrap(), Some(turn))
    }

    /// A second one for the same test.
    pub fn beside(_: &House) -> House {
        House(tempfile::tempdir().unwrap(), None)
    }

    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        // Without joining an empty path, which would add a slash.
        if path.as_ref() == Path::new("") { self.0.path().to_owned() } else { self.0.path().join(path) }
    }

    pub fn put(&self, path: impl AsRef<Path>, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub fn remove(&self, path: &str) {
        let _ = fs::remove_file(self.path(path));
    }

    /// Everything in it but our own file: path, kind, size and time.
    pub fn listing(&self) -> Vec<String> {
        fn below(directory: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                if entry.file_name() == ".sexton.lock" {
                    continue;
                }
                let modified = if meta.is_dir() { None } else { meta.modified().ok() };
                found.push(format!("{:?} {:?} {} {modified:?}", entry.path(), meta.file_type(), meta.len()));
                if meta.is_dir() {
                    below(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        below(self.0.path(), &mut found);
        found.sort();
        found
    }

    pub fn give_to(&self, uid: u32) {
        fn below(path: &Path, uid: u32) {
            chown(path, Some(uid), Some(uid)).unwrap();
            if path.is_dir() {
                for entry in fs::read_dir(path).unwrap() {
                    below(&entry.unwrap().path(), uid);
                }
            }
        }
        below(self.0.path(), uid);
    }
}

/// A filesystem of its own on the house, until the value goes away.
pub struct Mounted(PathBuf);

impl Mounted {
    pub fn tmpfs(house: &House, options: &str) -> Mounted {
        let path = house.path("");
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", options, "sexton-test"]).arg(&path).status().unwrap();
        assert!(done.success());
        Mounted(path)
    }

    /// A directory mounted on itself: another mount of the same filesystem.
    pub fn on_itself(path: PathBuf) -> Mounted {
        let done = Command::new("mount").arg("--bind").args([&path, &path]).status().unwrap();
        assert!(done.success());
        Mounted(path)
    }

    pub fn make_read_only(&self) {
        let done = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Whether we are root; if not, says which test does less than it could.
pub fn is_root(what: &str) -> bool {
    there_is("root", nix::unistd::geteuid().is_root(), what)
}

/// Whether the machine has what a test needs; if not, says which test does less than it could.
pub fn there_is(needed: &str, there: bool, what: &str) -> bool {
    if !there {
        let line = format!("SKIPPED, needs {needed}: {what}\n");
        assert!(std::env::var_os("SEXTON_TESTS_REQUIRED").is_none_or(|value| value != "1"), "{line}");
        // Not with a macro, whose output a passing test swallows.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    there
}

pub fn own_pid() -> Pid {
    Pid::new(std::process::id().cast_signed()).unwrap()
}

/// The registration of a sexton as it was before all took a shared one: while it swept, it held the file alone.
pub fn older_sexton(house: &House) -> File {
    hold_alone(&house.path(".sexton.lock"))
}

/// The same for any file, which is made if there is none.
pub fn hold_alone(path: &Path) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    let whole = libc::flock {
        l_type: i16::try_from(libc::F_WRLCK).unwrap(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)).unwrap();
    file
}

/// The number of a process that has just ended and was reaped, and that no process has in a namespace below, either.
pub fn dead_pid() -> Pid {
    loop {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::new(child.id().cast_signed()).unwrap();
        child.wait().unwrap();
        if sexton::os::procfs::with_nested_number(pid).is_ok_and(|found| found.is_empty()) {
            return pid;
        }
    }
}

/// What is added is run as PID 1 of a pid namespace of its own, with its own /proc, and dies with us.
pub fn in_a_namespace() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--fork", "--pid", "--kill-child", "--mount-proc", "--"]);
    unshare
}

/// Kills PID 1 of the namespace that `unshare` has made, and waits until the kernel has ended everything in it.
pub fn kill_namespace(unshare: &mut Child) {
    let pid = unshare.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    for init in children.split_whitespace() {
        let init = nix::unistd::Pid::from_raw(init.parse().unwrap());
        nix::sys::signal::kill(init, Signal::SIGKILL).unwrap();
    }
    // It reaps PID 1, which is dead when all others are.
    unshare.wait().unwrap();
}

/// A process that does nothing, until the value goes away.
pub struct Live {
    child: Child,
    pub pid: Pid,
    pub start: StartTime,
}

impl Live {
    pub fn idle() -> Live {
        Live::start(Command::new("sh").args(["-c", "echo ready; read -r _"]))
    }

    /// One that has a file open.
    pub fn holding(path: &Path) -> Live {
        Live::start(Command::new("sh").args(["-c", "exec 9<\"$1\"; echo ready; read -r _", "sh"]).arg(path))
    }

    /// The same as PID 1 of a pid namespace.
    pub fn holding_in_a_namespace(path: &Path) -> Live {
        let mut unshare = in_a_namespace();
        Live::start(unshare.args(["sh", "-c", "exec 9<\"$1\"; echo ready; read -r _", "sh"]).arg(path))
    }

    fn start(command: &mut Command) -> Live {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let pid = Pid::new(child.id().cast_signed()).unwrap();
        let start = sexton::os::procfs::stat(pid).unwrap().unwrap().start;
        Live { child, pid, start }
    }

    /// Ends it and leaves it unreaped.
    pub fn into_corpse(mut self) -> Live {
        self.child.kill().unwrap();
        let pid = nix::unistd::Pid::from_raw(self.pid.raw());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
        self
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // The shell ends with its input, and whatever stands between it and us ends with the shell.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A sweep to be made: quiet and the first one, unless said otherwise.
pub struct Sweep<'a> {
    root: Root,
    context: SweepContext<'a>,
    registration: Option<BorrowedFd<'a>>,
    pub known: KnownRoot,
    pub action: Action,
    /// Nothing else reaches a directory that a test has just made, and so the operator may say so.
    pub exclusive: bool,
    pub lock_kinds: LockKinds,
    pub report_after: Option<Duration>,
    pub reported: Vec<u64>,
    log: Log,
}

impl<'a> Sweep<'a> {
    pub fn of(house: &House) -> Sweep<'a> {
        Sweep::at(Root::given(&house.path("")))
    }

    pub fn at(root: Root) -> Sweep<'a> {
        let context = SweepContext {
            quiet: true,
            alive: false,
            patient: true,
            first: true,
            sexton: own_pid(),
            sweeper: own_pid(),
            helpers: &[],
            unreaped: &[],
            now: SystemTime::now(),
        };
        Sweep {
            root,
            context,
            registration: None,
            known: KnownRoot::default(),
            action: Action::Remove,
            exclusive: true,
            lock_kinds: LockKinds::openclaw(),
            report_after: None,
            reported: Vec::new(),
            log: Log::default(),
        }
    }

    /// Does this in the middle of the sweep, after each event, whose name it gets.
    pub fn during(mut self, then: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.log.then = Some(Arc::new(then));
        self
    }

    pub fn noisy(mut self) -> Self {
        self.context.quiet = false;
        self
    }

    /// The operator says nothing of where owners live.
    pub fn undeclared(mut self) -> Self {
        self.exclusive = false;
        self
    }

    pub fn again(mut self) -> Self {
        self.context.first = false;
        self
    }

    pub fn unreaped(mut self, unreaped: &'a [(Pid, StartTime)]) -> Self {
        self.context.unreaped = unreaped;
        self
    }

    pub fn helpers(mut self, helpers: &'a [Pid]) -> Self {
        self.context.helpers = helpers;
        self
    }

    pub fn registration(mut self, file: BorrowedFd<'a>) -> Self {
        self.registration = Some(file);
        self
    }

    pub fn run(self) -> Swept {
        SigSet::from(Signal::SIGIO).thread_block().unwrap();
        let log = self.log;
        let request = Request {
            root: &self.root,
            known: self.known,
            lock_kinds: &self.lock_kinds,
            context: self.context,
            registration: self.registration,
            marks: None,
            action: self.action,
            exclusive: self.exclusive,
            report_after: self.report_after,
            reported: &self.reported,
            beside: None,
        };
        let report = tracing::subscriber::with_default(log.clone(), || sweep(&request, &mut |_| {}));
        let events = std::mem::take(&mut *log.events.lock().unwrap());
        Swept { report, events }
    }
}

/// What a sweep did, and what it said.
pub struct Swept {
    report: Report,
    pub events: Vec<Event>,
}

impl std::ops::Deref for Swept {
    type Target = Report;
    fn deref(&self) -> &Report {
        &self.report
    }
}

impl Swept {
    /// The fields of every event of this name.
    pub fn lines(&self, name: &str) -> Vec<&BTreeMap<&'static str, String>> {
        self.events.iter().filter(|event| event.name == name).map(|event| &event.fields).collect()
    }

    /// Everything, for a failed assertion.
    pub fn log(&self) -> String {
        self.events.iter().map(|event| format!("{} {:?}\n", event.name, event.fields)).collect()
    }
}

/// One line of the log.
pub struct Event {
    pub name: &'static str,
    pub level: tracing::Level,
    pub fields: BTreeMap<&'static str, String>,
}

/// What happens after an event of this name.
type Hook = dyn Fn(&str) + Send + Sync;

#[derive(Clone, Default)]
struct Log {
    events: Arc<Mutex<Vec<Event>>>,
    then: Option<Arc<Hook>>,
}

struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        let metadata = event.metadata();
        self.events.lock().unwrap().push(Event {
            name: metadata.name(),
            level: *metadata.level(),
            fields: fields.0,
        });
        if let Some(then) = &self.then {
            then(metadata.name());
        }
    }
}

/// Where a sweep takes place that needs a process of its own.
pub enum Where {
    /// In our pid namespace.
    Here,
    /// As PID 1 of a fresh one.
    Namespace,
    /// As a root that must not ask for leases on the files of others.
    WithoutLease,
}

/// Sweeps in another process and returns what it reported.
pub fn sweep_elsewhere(house: &House, place: Where) -> BTreeMap<String, String> {
    let this = std::env::current_exe().unwrap();
    let mut command = match place {
        Where::Here => Command::new(&this),
        Where::Namespace => {
            let mut unshare = in_a_namespace();
            unshare.arg(&this);
            unshare
        }
        Where::WithoutLease => {
            let mut setpriv = Command::new("setpriv");
            setpriv.args(["--inh-caps=-lease", "--bounding-set=-lease", "--"]).arg(&this);
            setpriv
        }
    };
    command.args(["--exact", "sweep_here", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.env("SEXTON_TEST_ROOT", house.path("")).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("REPORT;"));
    let line = line.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
    line.split(';').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}
