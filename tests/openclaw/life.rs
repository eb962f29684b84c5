//! One life of the gateway under sexton: started, held at the gate, let through, asked, ended.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use crate::cage::{Cage, Inmate, command_in_cage};
use crate::http;
use crate::wait::{SHORT_TIMEOUT, START, wait_for};
use crate::world::World;

/// How long sexton gives the gateway to stop. A healthy one takes a second or three.
pub const GRACE: Duration = Duration::from_secs(120);

/// The same conversation in each life, so that the second has to open what the first had locked.
pub const SESSION: &str = "agent:main:sexton-test";

/// A gateway that is not busy answers within a few milliseconds; one whose event loop stalls, in seconds.
const QUICK: Duration = Duration::from_millis(250);
const QUICK_ANSWERS: usize = 20;

/// How much of the log a failure shows.
const LOG_TAIL: usize = 60;

pub struct Life<'world> {
    world: &'world World,
    cage: Cage,
    log: PathBuf,
    /// The gateway's pid in its own namespace, which is the one that it writes into locks.
    pub gateway_pid: i32,
}

impl<'world> Life<'world> {
    /// Starts sexton and the gateway, and returns when sexton has swept and the gateway stands at the gate.
    pub fn begin(world: &'world World, name: &str) -> Self {
        Self::begin_with(world, name, &[])
    }

    /// The same with more of sexton's options.
    pub fn begin_with(world: &'world World, name: &str, options: &[&str]) -> Self {
        let _ = fs::remove_file(world.path("launched")); // There is none in the first life.
        let port = world.port.to_string();
        let command = ["openclaw", "gateway", "run", "--port", &port, "--bind", "loopback"];
        let cage = spawn_sexton(world, name, options, &command);
        let mut life = Self { world, cage, log: world.path(name), gateway_pid: 0 };
        life.gateway_pid = life.wait_for("the gateway to be launched", SHORT_TIMEOUT, |life| {
            fs::read_to_string(life.world.path("launched")).ok()?.strip_suffix('\n')?.parse().ok()
        });
        life
    }

    /// Lets the gateway through, and waits until it says that it is ready.
    pub fn wait_until_ready(&mut self) {
        self.wait_for("the gateway's gate to open", SHORT_TIMEOUT, |life| {
            // Without a reader this fails instead of blocking for ever.
            let mut gate = File::options();
            let gate = gate.write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(life.world.path("gate"));
            writeln!(gate.ok()?, "go").ok()
        });
        for path in ["/healthz", "/readyz"] {
            let what = format!("200 from {path}");
            self.wait_for(&what, START, |life| life.is_healthy(path, SHORT_TIMEOUT).then_some(()));
        }
    }

    /// Waits until the gateway answers quickly many times in a row: in its first seconds its event loop
    /// stalls, and a signal waits there with everything else.
    pub fn wait_until_calm(&mut self) {
        let mut in_a_row = 0;
        self.wait_for("the gateway to come to rest", START, |life| {
            in_a_row = if life.is_healthy("/healthz", QUICK) { in_a_row + 1 } else { 0 };
            (in_a_row == QUICK_ANSWERS).then_some(())
        });
    }

    /// Asks for a turn on the given model. The gateway gives it up when the connection is closed.
    pub fn begin_turn(&self, model: &str) -> TcpStream {
        self.begin_turn_in(SESSION, model)
    }

    /// The same in another conversation.
    pub fn begin_turn_in(&self, session: &str, model: &str) -> TcpStream {
        self.world.begin_turn(session, model)
    }

    /// Takes a whole turn, and returns what the gateway answered.
    pub fn take_turn(&self, model: &str) -> String {
        self.take_turn_in(SESSION, model)
    }

    /// The same in another conversation.
    pub fn take_turn_in(&self, session: &str, model: &str) -> String {
        let mut answer = String::new();
        let read = self.begin_turn_in(session, model).read_to_string(&mut answer);
        read.unwrap_or_else(|error| panic!("the turn got no answer: {error}"));
        answer
    }

    /// [`wait_for`], but fails at once when sexton has ended.
    pub fn wait_for<T>(&mut self, what: &str, limit: Duration, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        wait_for(what, limit, || {
            if let Some(status) = self.cage.exit_status() {
                panic!("sexton ended while the test waited for {what}: {status}");
            }
            ask(self)
        })
    }

    pub fn gateway(&self) -> Inmate {
        self.cage.inmate(self.gateway_pid).expect("the gateway lives")
    }

    pub fn sexton(&self) -> Inmate {
        self.cage.inmate(1).expect("sexton lives")
    }

    /// Waits for sexton to end; returns its exit code, and how long it took.
    pub fn wait_for_exit(&mut self, limit: Duration) -> (i32, Duration) {
        wait_for_exit(&mut self.cage, limit)
    }

    /// What is left of the tree, by the pids inside.
    pub fn pids_left(&self) -> Vec<i32> {
        self.cage.inmates().iter().map(|inmate| inmate.inner).collect()
    }

    /// The command lines of all that lives in there.
    pub fn names_of_inmates(&self) -> Vec<String> {
        let line = |inmate: Inmate| fs::read(format!("/proc/{}/cmdline", inmate.outer)).unwrap_or_default();
        let lines = self.cage.inmates().into_iter().map(line).filter(|line| !line.is_empty());
        lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
    }

    /// What sexton and the gateway have printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn is_healthy(&self, path: &str, limit: Duration) -> bool {
        http::get_status(self.world.port, path, limit) == Some(200)
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        self.cage.destroy();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
            eprintln!("--- the end of {}\n{}\n---", self.log.display(), tail.join("\n"));
        }
    }
}

/// Runs a command under sexton to its end, as another start on the same state directory.
pub fn run_under_sexton(world: &World, name: &str, options: &[&str], command: &[&str]) -> i32 {
    wait_for_exit(&mut spawn_sexton(world, name, options, command), SHORT_TIMEOUT).0
}

fn spawn_sexton(world: &World, name: &str, options: &[&str], command: &[&str]) -> Cage {
    let mut caged = command_in_cage();
    world.compat(&mut caged);
    let grace = format!("{}s", GRACE.as_secs());
    caged.arg(env!("CARGO_BIN_EXE_sexton")).args(["--grace", &grace]).args(options).arg("--").args(command);
    let log = world.create_file(name);
    caged.stdin(Stdio::null()).stderr(log.try_clone().expect("a file can be cloned")).stdout(log);
    Cage::spawn(&mut caged)
}

fn wait_for_exit(cage: &mut Cage, limit: Duration) -> (i32, Duration) {
    let begun = Instant::now();
    let status = wait_for("sexton to end", limit, || cage.exit_status());
    let code = status.code().unwrap_or_else(|| panic!("sexton was killed: {status}"));
    (code, begun.elapsed())
}
