//! Victims in a PID namespace of their own, so that killing one process ends all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::{SHORT_TIMEOUT, wait_for};

/// A command that runs as PID 1 of a fresh PID namespace.
///
/// `setpriv` ties `unshare` to this thread, `--kill-child` ties the namespace to `unshare`, and the kernel
/// ties everything in the namespace to its PID 1. So nothing outlives a test that was itself killed.
pub fn command_in_cage() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

/// A process in the namespace: its pid out here, and the pid that it knows itself.
pub struct Inmate {
    pub outer: Pid,
    pub inner: i32,
}

impl Inmate {
    pub fn signal(&self, signal: Signal) {
        kill(self.outer, signal)
            .unwrap_or_else(|errno| panic!("failed to send {signal} to process {}: {errno}", self.outer));
    }
}

/// A running namespace. Dropping it kills what is left in it.
pub struct Cage {
    unshare: Child,
    /// `None` if it was over before it could be looked at.
    namespace: Option<PathBuf>,
}

impl Cage {
    /// Starts a command that was made by [`command_in_cage`].
    pub fn spawn(command: &mut Command) -> Self {
        let mut unshare =
            command.spawn().unwrap_or_else(|error| panic!("failed to start {command:?}: {error}"));
        // The link names our own namespace, then none, then the new one as soon as that has a process.
        let link = format!("/proc/{}/ns/pid_for_children", unshare.id());
        let own = fs::read_link("/proc/self/ns/pid").expect("our own namespace has a name");
        let namespace = wait_for("the PID namespace to be made", SHORT_TIMEOUT, || {
            let namespace = fs::read_link(&link).ok().filter(|namespace| *namespace != own);
            let over = unshare.try_wait().expect("unshare is our child").is_some();
            (namespace.is_some() || over).then_some(namespace)
        });
        Self { unshare, namespace }
    }

    /// Everything that lives in the namespace now.
    pub fn inmates(&self) -> Vec<Inmate> {
        let Some(namespace) = &self.namespace else {
            return Vec::new();
        };
        let entries = fs::read_dir("/proc").expect("/proc is there");
        entries.flatten().filter_map(|entry| inmate_of(namespace, &entry.path())).collect()
    }

    /// The process that has this pid inside the namespace.
    pub fn inmate(&self, inner: i32) -> Option<Inmate> {
        self.inmates().into_iter().find(|inmate| inmate.inner == inner)
    }

    /// How PID 1 of the namespace ended, if it has: `unshare` ends as its child did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.unshare.try_wait().expect("unshare is our child")
    }

    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.unshare.stdin.take()
    }

    /// Kills everything in the namespace, and returns when it is gone.
    ///
    /// PID 1 in there is the one to kill: it ends only after everything else in the namespace has, and
    /// `unshare` reaps it. Killing `unshare` would do too, but leaves a zombie to the machine's own init.
    pub fn destroy(&mut self) {
        // These fail only for processes that are gone, and this must not panic while a failed test unwinds.
        let _ = match self.inmate(1) {
            Some(init) => kill(init.outer, Signal::SIGKILL).map_err(Into::into),
            None => self.unshare.kill(),
        };
        let _ = self.unshare.wait();
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        self.destroy();
    }
}

fn inmate_of(namespace: &Path, process: &Path) -> Option<Inmate> {
    let outer = process.file_name()?.to_str()?.parse().ok()?;
    if fs::read_link(process.join("ns/pid")).ok()? != namespace {
        return None;
    }
    let status = fs::read_to_string(process.join("status")).ok()?;
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let inner = pids.split_whitespace().last()?.parse().ok()?;
    Some(Inmate { outer: Pid::from_raw(outer), inner })
}
