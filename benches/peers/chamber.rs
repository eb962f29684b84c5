//! Where an init is measured: as PID 1 of a new pid namespace, or outside one.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};
use tempfile::TempDir;

use crate::Result;
use crate::group::Group;
use crate::helpers::{self, Role};
use crate::subjects::Subject;

/// How long anything that a measurement waits for may take. Reached only if something is broken.
const PATIENCE: u16 = 30_000;

/// Where an init stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is PID 1 of a pid namespace, with a /proc of its own, as in a container.
    Init,
    /// It is an ordinary process and a subreaper, where it can be one.
    Outside,
}

impl Place {
    /// Both, with the name of each.
    pub const ALL: [(Place, &str); 2] = [(Place::Init, "as PID 1"), (Place::Outside, "not PID 1")];
}

/// What is started.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Where.
    pub place: Place,
    /// `Launch` or one of its relatives.
    pub launch: Role,
    /// The init. Without one the command is started by itself.
    pub init: Option<&'a Subject>,
    /// Further options of the init.
    pub flags: &'a [&'a str],
    /// The state directory that sexton finds.
    pub state: Option<&'a Path>,
    /// The command: a helper, with its argument.
    pub role: Role,
    /// See `role`.
    pub number: Option<u64>,
}

impl<'a> Order<'a> {
    /// `role` by itself, as PID 1.
    pub fn new(role: Role) -> Order<'a> {
        Order {
            place: Place::Init,
            launch: Role::Launch,
            init: None,
            flags: &[],
            state: None,
            role,
            number: None,
        }
    }

    /// `role` under `init`, which is PID 1.
    pub fn under(init: &'a Subject, role: Role) -> Order<'a> {
        Order { init: Some(init), ..Order::new(role) }
    }
}

/// What all chambers share.
#[derive(Debug)]
pub struct Chambers {
    program: PathBuf,
    /// An empty home and temporary directory, so that no run finds anything of the machine's.
    home: TempDir,
    own_namespace: File,
    group: Option<Group>,
}

impl Chambers {
    /// Gets ready, and takes a user namespace if it needs one to make pid namespaces.
    pub fn prepare() -> Result<Chambers> {
        if !getuid().is_root() {
            return start_anew_as_root();
        }
        Ok(Chambers {
            program: std::env::current_exe()?,
            home: TempDir::with_prefix("sexton-bench-")?,
            own_namespace: File::open("/proc/self/ns/pid")?,
            group: Group::make(),
        })
    }

    /// Whether all that is started is in one group of the scheduler's.
    pub fn are_grouped(&self) -> bool {
        self.group.is_some()
    }

    /// Starts what was ordered.
    pub fn start(&self, order: Order<'_>) -> Result<Chamber> {
        let mut command = Command::new(&self.program);
        let stage = if order.place == Place::Init { "proc" } else { "bare" };
        command.args([helpers::MARK, order.launch.name(), stage]);
        command.arg(self.group.as_ref().map(Group::door).unwrap_or_default());
        if let Some(init) = order.init {
            command.arg(&init.path).args(order.flags);
            if order.place == Place::Outside {
                command.args(init.outside);
            }
            command.arg("--");
        }
        command.arg(&self.program).args([helpers::MARK, order.role.name()]);
        command.args(order.number.map(|number| number.to_string()));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.home.path());
        command.env("TMPDIR", self.home.path());
        if let Some(state) = order.state {
            command.env("OPENCLAW_STATE_DIR", state);
        }
        // What they say is only looked at if something goes wrong.
        let said = tempfile::tempfile()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said.try_clone()?);
        let child = match order.place {
            Place::Init => self.in_new_namespace(|| command.spawn())?,
            Place::Outside => command.spawn()?,
        };
        Ok(Chamber { child, said, name: order.init.map_or("no init", |init| init.name) })
    }

    /// Lets `spawn` make a child that is PID 1 of a new pid namespace.
    fn in_new_namespace<T>(&self, spawn: impl FnOnce() -> std::io::Result<T>) -> Result<T> {
        unshare(CloneFlags::CLONE_NEWPID)?;
        let spawned = spawn();
        // A process can leave its own pid namespace for its children only from there.
        setns(&self.own_namespace, CloneFlags::CLONE_NEWPID)?;
        Ok(spawned?)
    }
}

/// Starts this program anew as root of a user namespace, in which it may make the other namespaces. It needs a pid
/// namespace of that one too: it could not come back to one that belongs to the machine.
fn start_anew_as_root() -> Result<Chambers> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    let error = unshare.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).exec();
    Err(format!("no user namespace to be had: unshare: {error}").into())
}

/// One running init and its command. It ends, with all that it holds, when this is dropped.
#[derive(Debug)]
pub struct Chamber {
    child: Child,
    /// The init's, for messages.
    name: &'static str,
    /// What the init and its command wrote to standard error.
    said: File,
}

impl Chamber {
    /// The init's pid, seen from here.
    pub fn pid(&self) -> Pid {
        // A pid is always within i32 (`PID_MAX_LIMIT` is 2^22).
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default())
    }

    /// Sends a signal to the init.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid(), signal)?)
    }

    /// Reads the next `N` bytes that the helper sends. `None` if it ended instead.
    pub fn receive_or_end<const N: usize>(&mut self) -> Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        self.patiently(PollFlags::POLLIN)?;
        let output = self.child.stdout.as_mut().ok_or("the output is closed")?;
        match output.read_exact(&mut bytes) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the next `N` bytes that the helper sends.
    pub fn receive<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.receive_or_end()? {
            Some(bytes) => Ok(bytes),
            None => {
                let mut said = String::new();
                self.said.rewind()?;
                self.said.read_to_string(&mut said)?;
                Err(format!("{}: ended without an answer; it said: {said}", self.name).into())
            }
        }
    }

    /// Reads a moment, in nanoseconds.
    pub fn receive_moment(&mut self) -> Result<u64> {
        Ok(u64::from_ne_bytes(self.receive()?))
    }

    /// Whether the helper has said something that was not received yet.
    pub fn is_heard(&self) -> Result<bool> {
        let output = self.child.stdout.as_ref().ok_or("the output is closed")?;
        Ok(poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? > 0)
    }

    /// Waits until the helper says that it is ready.
    pub fn await_ready(&mut self) -> Result<()> {
        match self.receive()? {
            [helpers::READY] => Ok(()),
            [other] => Err(format!("{}: the command said {other} instead of ready", self.name).into()),
        }
    }

    /// Tells the helper to go on.
    pub fn go(&mut self) -> Result<()> {
        Ok(self.child.stdin.as_mut().ok_or("the input is closed")?.write_all(b"g")?)
    }

    /// Waits until the init is gone, and all others that hold its output with it.
    pub fn wait(&mut self) -> Result<()> {
        // The pipe closes a moment before the init can be waited for; without it there is no limit to the wait.
        self.patiently(PollFlags::empty())?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for what `events` names, or for the end of the output.
    fn patiently(&self, events: PollFlags) -> Result<()> {
        let output = self.child.stdout.as_ref().ok_or("the output is closed")?;
        let mut polled = [PollFd::new(output.as_fd(), events)];
        match poll(&mut polled, PollTimeout::from(PATIENCE))? {
            0 => Err(format!("{}: nothing happened for {} s", self.name, PATIENCE / 1000).into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Chamber {
    fn drop(&mut self) {
        // The command follows: the namespace ends with its PID 1, and outside of one a helper asks to be killed
        // when its parent dies.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
