//! The short-lived children that judge and remove locks, one a root.
//!
//! PID 1 touches no root itself: a root's filesystem can hang, and its directories belong to others. What
//! comes back is a fixed-size message, and the descriptor that registers us as a user of the root.

use std::os::fd::{AsFd, OwnedFd};

use tracing::{debug, warn};

use crate::config::Locks;
use crate::ids::{Errno, Pid, StartTime};
use crate::locks::{Action, Family, Report, Request, Root, Scene, sweep};
use crate::os::{clock, messages, process, procfs, signals, spawn};
use crate::supervisor::Occasion;

/// What a sweeping child sends when it is done; anything else means that it failed.
const DONE: &[u8] = b"done";

/// The sweeps of one run.
pub(super) struct Sweeper<'a> {
    roots: Vec<Place<'a>>,
    /// Children that were given up: they may hang in the kernel, and count as nobody.
    abandoned: Vec<Pid>,
    /// Everybody of ours who may still be there, for whoever must not take them for the gateway's.
    helpers: Vec<Pid>,
}

/// One root, and what is known of it.
struct Place<'a> {
    root: &'a Root,
    /// Holds our flock on the root's `.sexton.lock`.
    registration: Option<OwnedFd>,
    /// The child that sweeps it at this moment, and where its message will be.
    child: Option<(Pid, OwnedFd)>,
}

impl<'a> Sweeper<'a> {
    pub(super) fn new(locks: Option<&'a Locks>) -> Sweeper<'a> {
        let roots = locks.map(|locks| locks.roots.as_slice()).unwrap_or_default();
        let place = |root| Place { root, registration: None, child: None };
        Sweeper { roots: roots.iter().map(place).collect(), abandoned: Vec::new(), helpers: Vec::new() }
    }

    /// Starts a sweep of every root. `false` if there is none to wait for.
    pub(super) fn start(&mut self, occasion: Occasion) -> bool {
        let corpse = match occasion {
            Occasion::Startup => None,
            Occasion::TreeGone { corpse } => corpse,
        };
        let corpse = corpse.and_then(|pid| Some((pid, procfs::stat(pid).ok()??.start)));
        let first = occasion == Occasion::Startup;
        for place in &mut self.roots {
            match place.sweep(first, corpse, &self.helpers) {
                Ok(pid) => self.helpers.push(pid),
                Err(error) => {
                    warn!(name: "sweep-failed", root = %place.root, %error, "could not sweep a lock root")
                }
            }
        }
        self.roots.iter().any(|place| place.child.is_some())
    }

    /// Kills what still sweeps and waits for none of it.
    pub(super) fn abandon(&mut self) {
        for place in &mut self.roots {
            if let Some((pid, _)) = place.child.take() {
                warn!(name: "sweep-abandoned", root = %place.root, pid = pid.raw(), "a lock root does not answer");
                let _ = signals::send(pid, crate::ids::Signal::KILL);
                self.abandoned.push(pid);
            }
        }
    }

    pub(super) fn owns(&self, pid: Pid) -> bool {
        self.helpers.contains(&pid)
    }

    /// Takes the end of a child in, which is reaped by now. `true` if it was the last one of a sweep.
    pub(super) fn ended(&mut self, pid: Pid) -> bool {
        self.helpers.retain(|helper| *helper != pid);
        if self.abandoned.contains(&pid) {
            self.abandoned.retain(|abandoned| *abandoned != pid);
            return false;
        }
        for place in &mut self.roots {
            place.ended(pid);
        }
        self.roots.iter().all(|place| place.child.is_none())
    }

    pub(super) fn helpers(&self) -> &[Pid] {
        &self.helpers
    }
}

impl Place<'_> {
    fn sweep(
        &mut self,
        first: bool,
        corpse: Option<(Pid, StartTime)>,
        helpers: &[Pid],
    ) -> Result<Pid, Errno> {
        let (ours, theirs) = messages::pair()?;
        let sexton = process::own_pid();
        let pid = spawn::fork_helper(|| {
            let scene = Scene {
                quiet: true,
                first,
                sexton,
                sweeper: process::own_pid(),
                group: Some(process::own_group()),
                helpers,
                corpses: corpse.as_slice(),
                now: clock::wall(),
            };
            let registration = self.registration.as_ref().map(AsFd::as_fd);
            let request = Request {
                root: self.root,
                family: &Family::openclaw(),
                scene,
                registration,
                action: Action::Remove,
                report_after: None,
                reported: &[],
            };
            let Report { registration, .. } = sweep(&request);
            u8::from(messages::send(theirs.as_fd(), DONE, registration.as_ref().map(AsFd::as_fd)).is_err())
        })?;
        self.child = Some((pid, ours));
        Ok(pid)
    }

    fn ended(&mut self, pid: Pid) {
        let Some((_, inbox)) = self.child.take_if(|(child, _)| *child == pid) else {
            return;
        };
        match messages::receive::<8>(inbox.as_fd()) {
            Some((message, length, registration)) if message.get(..length) == Some(DONE) => {
                if registration.is_some() {
                    self.registration = registration;
                }
                debug!(name: "swept", root = %self.root, "a lock root was swept");
            }
            _ => warn!(name: "sweep-failed", root = %self.root, "the sweep of a lock root broke off"),
        }
    }
}
