//! The short-lived child that judges and removes locks.
//!
//! PID 1 touches no root itself: a root's filesystem can hang, and its directories belong to others. What
//! comes back is a message of one byte a root, and the descriptor that registers us as a user of the root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tracing::{debug, warn};

use crate::config::Locks;
use crate::ids::{Errno, Pid, Signal, StartTime};
use crate::locks::{self, Action, Family, Report, Request, Root, Scene};
use crate::os::{children, clock, messages, process, procfs, signals, spawn};
use crate::supervisor::Occasion;

/// The sweeps of one run.
pub(super) struct Sweeper<'a> {
    roots: &'a [Root],
    /// For each root the descriptor that holds our flock on its `.sexton.lock`, once there is one.
    registrations: Vec<Option<OwnedFd>>,
    /// The child that sweeps at this moment, and where its messages will be.
    child: Option<(Pid, OwnedFd)>,
    /// That child, and earlier ones that were given up and may hang in the kernel: they count as nobody.
    helpers: Vec<Pid>,
}

impl<'a> Sweeper<'a> {
    pub(super) fn new(locks: Option<&'a Locks>) -> Sweeper<'a> {
        let roots = locks.map(|locks| locks.roots.as_slice()).unwrap_or_default();
        let registrations = roots.iter().map(|_| None).collect();
        Sweeper { roots, registrations, child: None, helpers: Vec::new() }
    }

    /// Starts a sweep of every root. `false` if there is none to wait for.
    pub(super) fn start(&mut self, occasion: Occasion) -> bool {
        if self.roots.is_empty() {
            return false;
        }
        match self.fork(occasion) {
            Ok(child) => {
                self.helpers.push(child.0);
                self.child = Some(child);
            }
            Err(error) => warn!(name: "sweep-failed", %error, "could not sweep the lock roots"),
        }
        self.child.is_some()
    }

    fn fork(&self, occasion: Occasion) -> Result<(Pid, OwnedFd), Errno> {
        let corpse = match occasion {
            Occasion::Startup => None,
            Occasion::TreeGone { corpse } => corpse,
        };
        let corpse = corpse.and_then(|pid| Some((pid, procfs::stat(pid).ok()??.start)));
        let first = occasion == Occasion::Startup;
        let (ours, theirs) = messages::pair()?;
        let sexton = process::own_pid();
        let pid = spawn::fork_helper(|| {
            let job = Job { sexton, first, corpse, helpers: &self.helpers, outbox: theirs.as_fd() };
            job.run(self.roots, &self.registrations);
            0
        })?;
        Ok((pid, ours))
    }

    /// Kills what still sweeps and waits for none of it.
    pub(super) fn abandon(&mut self) {
        if let Some((pid, inbox)) = self.child.take() {
            let swept = self.take_messages(&inbox);
            for (root, _) in self.roots.iter().zip(swept).filter(|(_, swept)| !swept) {
                warn!(name: "sweep-abandoned", %root, "the lock root {root} was not swept in time");
            }
            let _ = signals::send(pid, Signal::KILL);
        }
    }

    pub(super) fn owns(&self, pid: Pid) -> bool {
        self.helpers.contains(&pid)
    }

    /// Takes the end of a helper in, which is reaped by now. `true` if a sweep has ended with it.
    pub(super) fn ended(&mut self, pid: Pid) -> bool {
        self.helpers.retain(|helper| *helper != pid);
        let Some((_, inbox)) = self.child.take_if(|(child, _)| *child == pid) else {
            return false;
        };
        let swept = self.take_messages(&inbox);
        for (root, _) in self.roots.iter().zip(swept).filter(|(_, swept)| !swept) {
            warn!(name: "sweep-failed", %root, "the sweep of the lock root {root} broke off");
        }
        true
    }

    /// Takes in what the child has sent, and says which roots it has swept.
    fn take_messages(&mut self, inbox: &OwnedFd) -> Vec<bool> {
        let mut swept = vec![false; self.roots.len()];
        while let Some(([place], _, registration)) = messages::receive::<1>(inbox.as_fd()) {
            if let Some(swept) = swept.get_mut(usize::from(place)) {
                *swept = true;
            }
            if let (Some(kept), Some(new)) = (self.registrations.get_mut(usize::from(place)), registration) {
                *kept = Some(new);
            }
        }
        swept
    }

    pub(super) fn helpers(&self) -> &[Pid] {
        &self.helpers
    }
}

/// What the child knows.
struct Job<'a> {
    sexton: Pid,
    first: bool,
    corpse: Option<(Pid, StartTime)>,
    helpers: &'a [Pid],
    outbox: BorrowedFd<'a>,
}

impl Job<'_> {
    /// Root after root. One whose owner is somebody else takes a process of its own, because a sweep ends
    /// as the root's owner and there is no way back.
    fn run(&self, roots: &[Root], registrations: &[Option<OwnedFd>]) {
        for ((place, root), registration) in (0..=u8::MAX).zip(roots).zip(registrations) {
            let registration = registration.as_ref().map(AsFd::as_fd);
            if !locks::changes_user(root) {
                self.sweep(place, root, registration);
                continue;
            }
            let child = spawn::fork_helper(|| {
                self.sweep(place, root, registration);
                0
            });
            // If it hangs, so do we, and the deadline ends us both.
            let ended = child.and_then(children::wait_for);
            if let Err(error) = ended {
                debug!(name: "sweep-failed", %root, %error, "could not sweep a lock root as its owner");
            }
        }
    }

    fn sweep(&self, place: u8, root: &Root, registration: Option<BorrowedFd<'_>>) {
        let scene = Scene {
            quiet: true,
            first: self.first,
            sexton: self.sexton,
            sweeper: process::own_pid(),
            group: Some(process::own_group()),
            helpers: self.helpers,
            corpses: self.corpse.as_slice(),
            now: clock::wall(),
        };
        let request = Request {
            root,
            family: &Family::openclaw(),
            scene,
            registration,
            action: Action::Remove,
            report_after: None,
            reported: &[],
        };
        let Report { registration, .. } = locks::sweep(&request);
        let sent = messages::send(self.outbox, &[place], registration.as_ref().map(AsFd::as_fd));
        if let Err(error) = sent {
            debug!(name: "sweep-failed", %root, %error, "could not report a sweep");
        }
    }
}
