//! One sexton with its command, seen from outside; ended with all it left when the handle is dropped.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::cgroup::{self, Cgroup};
use super::process::{Process, children, kill_if, look, marked, send};
use super::{PATIENCE, helper, sexton, unshare, wait_until};

/// Where sexton stands, which decides how it can reach the tree below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// PID 1 of a pid namespace.
    Pid1,
    /// A plain child, a subreaper, with no cgroup that it can write: only the tree in /proc is left.
    Tree,
    /// A plain child in a cgroup v2 that it can write.
    Cgroup,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::Pid1, Mode::Tree, Mode::Cgroup];
    /// The two that matter where nothing is killed.
    pub const PID1_AND_NOT: [Mode; 2] = [Mode::Pid1, Mode::Tree];

    /// The word for it in the log.
    pub fn reach(self) -> &'static str {
        match self {
            Mode::Pid1 => "kill-all",
            Mode::Tree => "tree",
            Mode::Cgroup => "cgroup",
        }
    }
}

/// What is to be started.
pub struct Plan {
    mode: Mode,
    wrapper: Vec<String>,
    start_with: Vec<String>,
    init: Vec<String>,
    environment: Vec<(String, String)>,
    cgroups: Vec<Cgroup>,
    dir: TempDir,
}

/// The start of every test: `None`, after a line that says so, if the machine cannot do it.
pub fn plan(mode: Mode) -> Option<Plan> {
    let (mut wrapper, mut start_with, mut cgroups) = (Vec::new(), Vec::new(), Vec::new());
    match mode {
        Mode::Pid1 => {
            wrapper = unshare()?;
            wrapper.extend(["--pid", "--fork", "--kill-child", "--mount-proc"].map(str::to_owned));
        }
        Mode::Tree => {
            if let Some(mount) = cgroup::v2_mount() {
                // As in a container: the cgroups are there to be read.
                let script = format!("mount -o remount,bind,ro '{}' && exec \"$@\"", mount.display());
                wrapper = unshare()?;
                wrapper.extend(["--mount", "sh", "-c", &script, "sh"].map(str::to_owned));
            }
        }
        Mode::Cgroup => {
            let group = Cgroup::v2()?;
            start_with.push(format!("cgroup={}", group.dir.display()));
            cgroups.push(group);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    // Some victims run as another user.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let init = vec![sexton().into_os_string().into_string().unwrap()];
    Some(Plan { mode, wrapper, start_with, init, environment: Vec::new(), cgroups, dir })
}

impl Plan {
    /// Adds options of sexton.
    pub fn options<const N: usize>(mut self, options: [&str; N]) -> Plan {
        self.init.extend(options.map(str::to_owned));
        self
    }

    /// Adds words of the helper `starts_with`, which says how sexton is born.
    pub fn born<const N: usize>(mut self, words: [&str; N]) -> Plan {
        self.start_with.extend(words.map(str::to_owned));
        self
    }

    /// Puts a command in front of everything, inside the new namespaces, that runs the rest as its arguments.
    pub fn through<const N: usize>(mut self, command: [&str; N]) -> Plan {
        self.wrapper.extend(command.map(str::to_owned));
        self
    }

    /// Runs everything from here on as another user without any privilege. Only root can do this.
    pub fn by_user(mut self, user: u32) -> Plan {
        // The build directory may be closed to that user.
        let copy = self.path("sexton");
        fs::copy(&self.init[0], &copy).unwrap();
        self.init[0] = copy;
        let user = [format!("--reuid={user}"), format!("--regid={user}")];
        self.through(["setpriv", &user[0], &user[1], "--clear-groups", "--no-new-privs"])
    }

    /// Starts sexton through a link of this name.
    pub fn named(mut self, name: &str) -> Plan {
        let link = self.path(name);
        std::os::unix::fs::symlink(&self.init[0], &link).unwrap();
        self.init[0] = link;
        self
    }

    /// Starts another init in sexton's place, for comparison.
    pub fn instead(mut self, program: &str) -> Plan {
        self.init = vec![program.to_owned()];
        self
    }

    /// Sets a variable; nothing but these, PATH, HOME and TMPDIR is in the environment.
    pub fn variable(mut self, name: &str, value: &str) -> Plan {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts sexton into this cgroup as well.
    pub fn inside(mut self, group: Cgroup) -> Plan {
        self.start_with.push(format!("cgroup={}", group.dir.display()));
        self.cgroups.push(group);
        self
    }

    /// Starts the command without sexton, for comparison.
    pub fn without_sexton(mut self) -> Plan {
        self.init.clear();
        self
    }

    /// A path in the victim's own directory, which goes away with it.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).into_os_string().into_string().unwrap()
    }

    /// Starts it, with `--` before the command.
    pub fn run<S: AsRef<str>>(mut self, command: impl IntoIterator<Item = S>) -> Victim {
        if !self.init.is_empty() {
            self.init.push("--".to_owned());
        }
        self.run_as_typed(command)
    }

    /// Starts it with the words as they are.
    pub fn run_as_typed<S: AsRef<str>>(self, words: impl IntoIterator<Item = S>) -> Victim {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("SEXTON_TEST_MARK={}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut line = self.wrapper;
        if !self.start_with.is_empty() {
            line.push(helper("starts_with"));
            line.extend(self.start_with);
            line.push("--".to_owned());
        }
        line.extend(self.init);
        line.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        let (name, value) = mark.split_once('=').unwrap();
        let child = Command::new(&line[0])
            .args(&line[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path())
            // The usual place belongs to the machine, and not to a test.
            .env("SEXTON_CONTROL", "off")
            .envs(self.environment)
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(File::create(self.dir.path().join("stdout")).unwrap())
            .stderr(File::create(self.dir.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Victim {
            mode: self.mode,
            child,
            mark,
            dir: self.dir,
            ended: None,
            clean: false,
            cgroups: self.cgroups,
            line,
        }
    }
}

/// A sexton that was started.
pub struct Victim {
    mode: Mode,
    child: Child,
    mark: String,
    dir: TempDir,
    ended: Option<ExitStatus>,
    /// It has ended, and nothing of it was left.
    clean: bool,
    line: Vec<String>,
    /// Removed last, when all that was in them is gone.
    pub cgroups: Vec<Cgroup>,
}

impl Victim {
    /// Where it stands.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The variable that all its processes have in their environment, with its value.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The pid of sexton as it is seen here.
    pub fn pid(&self) -> i32 {
        let started = self.child.id().cast_signed();
        if self.mode != Mode::Pid1 {
            return started;
        }
        let mut init = None;
        wait_until("unshare has a child", || {
            init = children(started).first().map(|child| child.pid);
            init.is_some()
        });
        init.unwrap()
    }

    /// The main process: the oldest child of sexton that runs another program.
    pub fn main(&mut self) -> Process {
        let pid = self.pid();
        let mut main = None;
        self.wait_until("the main process runs", || {
            let init = look(pid)?;
            main = children(pid).into_iter().find(|child| !child.dead() && child.name != init.name);
            main.as_ref().map(|_| ())
        });
        main.unwrap()
    }

    /// Waits until `condition` is `Some`; a victim that ends before is a failure.
    #[track_caller]
    fn wait_until(&mut self, what: &str, mut condition: impl FnMut() -> Option<()>) {
        wait_until(what, || {
            // The order matters: what held when it ended counts.
            let ended = self.try_wait();
            let held = condition().is_some();
            assert!(held || ended.is_none(), "{ended:?} before {what}: {}", self.stderr());
            held
        });
    }

    /// Waits until the command has printed `word` on a line of its own.
    #[track_caller]
    pub fn says(&mut self, word: &str) {
        let path = self.path("stdout");
        let said = || fs::read_to_string(&path).unwrap().lines().any(|line| line == word).then_some(());
        self.wait_until(&format!("it says {word:?}"), said);
    }

    /// Waits until a file of its directory holds `line`.
    #[track_caller]
    pub fn notes(&mut self, file: &str, line: &str) {
        let path = self.path(file);
        let found = || fs::read_to_string(&path).ok()?.lines().any(|found| found == line).then_some(());
        self.wait_until(&format!("{file} says {line:?}"), found);
    }

    /// A path in its own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file in its own directory; empty if it is not there.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Sends sexton a signal.
    pub fn signal(&self, number: i32) {
        send(self.pid(), number).unwrap();
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Waits for its end.
    #[track_caller]
    pub fn status(&mut self) -> ExitStatus {
        let end = Instant::now() + 4 * PATIENCE;
        let mut pause = Duration::from_micros(100);
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            if Instant::now() > end {
                let left: Vec<_> = self.live();
                panic!("{:?} does not end; alive: {left:#?}; it said: {}", self.line, self.stderr());
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(5));
        }
    }

    /// Waits for its end, which must be an exit of its own, and gives the code.
    #[track_caller]
    pub fn code(&mut self) -> i32 {
        let status = self.status();
        status.code().unwrap_or_else(|| {
            panic!("{:?} was ended by signal {:?}: {}", self.line, status.signal(), self.stderr())
        })
    }

    /// Every process that lives, sexton included.
    pub fn live(&self) -> Vec<Process> {
        // The end of an init is told only when the kernel has ended everything below it: there is no need to
        // look, which takes long on a machine with many processes.
        if self.ended.is_some() && self.mode == Mode::Pid1 {
            return Vec::new();
        }
        let unshare = if self.mode == Mode::Pid1 { self.child.id().cast_signed() } else { 0 };
        marked(&self.mark).into_iter().filter(|process| process.pid != unshare).collect()
    }

    /// The end that all promises have in common: it exits with `code`, and nothing of it is left.
    #[track_caller]
    pub fn ends_with(&mut self, code: i32) {
        let found = self.code();
        // Looked at before anything else: sexton must not exit before the last process is gone.
        let left = self.live();
        assert!(left.is_empty(), "left behind: {left:#?}; it said: {}", self.stderr());
        self.clean = true;
        assert_eq!(found, code, "exit code; it said: {}", self.stderr());
        for group in &self.cgroups {
            let below = group.below_it();
            assert!(below.is_empty(), "cgroups left behind: {below:?}");
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        } else if self.clean || self.mode == Mode::Pid1 {
            return;
        }
        for group in &self.cgroups {
            // Where the kernel has it, it ends even those that fork faster than we count.
            for dir in group.below_it().into_iter().chain([group.dir.clone()]) {
                let _ = fs::write(dir.join("cgroup.kill"), "1");
            }
        }
        let end = Instant::now() + 4 * PATIENCE;
        loop {
            let left = marked(&self.mark);
            if left.is_empty() || Instant::now() > end {
                break;
            }
            for process in left {
                kill_if(process.pid, || marked_now(process.pid, &self.mark));
            }
        }
    }
}

fn marked_now(pid: i32, mark: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}
