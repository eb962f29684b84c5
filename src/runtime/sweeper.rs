//! The short-lived child that judges and removes locks.
//!
//! PID 1 touches no root itself: a root's filesystem can hang, and its directories belong to others. All that it
//! asks is whether the kernel remembers that there is none, which saves most runs the child. What comes back is
//! a short message a root, and the descriptor that registers us as a user of the root. The first sweep of a root says
//! whose it is before it becomes that user, and every later one is told.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use tracing::{debug, warn};

use super::helper_log::HelperLog;
use crate::config::Locks;
use crate::control::incidents::truncate;
use crate::locks::{
    self, Action, KnownRoot, LiveSweep, Released, Report, Request, Root, RootOwner, SweepContext,
};
use crate::os::spawn::{self, Output};
use crate::os::{children, clock, files, process, procfs, seqpacket, signals};
use crate::supervisor::{Event, SweepFailure, SweepSummary, SweepTrigger};
use crate::types::{Errno, Pid, Signal, StartTime};

/// How long a sweep may take while all processes are frozen, by a clock of its own.
const STILL: Duration = Duration::from_secs(2);
/// How many locks one message can say were reported; more are said again by the next sweep.
const REPORTED: usize = 16;
/// How many such locks are remembered.
const REMEMBERED: usize = 256;
/// How many removed locks one message names, and how much of a path it has room for, in bytes; the log has them all.
const RELEASED: usize = 8;
const PATH: usize = 255;
/// The length of a message: the root's place, what it is, three counts, those fingerprints and their number, and of
/// each of those locks the owner, the time, and the path with its length.
const ROOM: usize = 2 + 3 * 4 + 1 + 8 * REPORTED + RELEASED * (4 + 8 + 1 + PATH);
/// What a message is: the end of a root's sweep, and what is to be known of the root; or only whose it is; or it
/// brings the file with its marks.
const MISSING: u8 = 1;
const REFUSED: u8 = 2;
const OWNER: u8 = 4;
const BROKE_OFF: u8 = 8;
const NO_RESOURCES: u8 = 16;
const MARKS: u8 = 32;

/// The sweeps of one run.
pub(super) struct Sweeper<'a> {
    locks: Option<&'a Locks>,
    roots: &'a [Root],
    /// For each root the descriptor that holds our flock on its `.sexton.lock`, once there is one.
    registrations: Vec<Option<OwnedFd>>,
    /// For each root the file with the marks of its locks, once there is one, which is locked as long as we live.
    marks: Vec<Option<OwnedFd>>,
    /// What is known of each root.
    known: Vec<KnownRoot>,
    /// The child that sweeps at this moment, and where its messages will be.
    child: Option<(Pid, OwnedFd)>,
    /// That child, and earlier ones that were given up and may hang in the kernel. They do not count as processes of
    /// the tree.
    helpers: Vec<Pid>,
    log: HelperLog,
    /// The process in which the child that sweeps sweeps a root as its owner. It comes to us when that one is given up.
    grandchild: Option<Pid>,
    /// Those that have come to us.
    adopted: Vec<(Pid, StartTime)>,
    /// Why the last one could not be started.
    failed: Option<SweepFailure>,
    /// The last one that was given up.
    given_up: Option<Pid>,
    /// The fingerprints of locks that were reported because they are held too long.
    reported: Vec<u64>,
    /// How many locks were removed.
    removed: u64,
    /// Those of them that were not taken yet.
    released: Vec<Released>,
}

impl<'a> Sweeper<'a> {
    pub(super) fn new(locks: Option<&'a Locks>) -> Sweeper<'a> {
        let roots = locks.map(|locks| locks.roots.as_slice()).unwrap_or_default();
        let none = || roots.iter().map(|_| None).collect();
        Sweeper {
            locks,
            roots,
            registrations: none(),
            marks: none(),
            known: vec![KnownRoot::default(); roots.len()],
            child: None,
            helpers: Vec::new(),
            log: HelperLog::default(),
            grandchild: None,
            adopted: Vec::new(),
            failed: None,
            given_up: None,
            reported: Vec::new(),
            removed: 0,
            released: Vec::new(),
        }
    }

    /// How many locks were removed since the start.
    pub(super) fn removed(&self) -> u64 {
        self.removed
    }

    /// The locks that were removed since the last call.
    pub(super) fn take_released(&mut self) -> Vec<Released> {
        std::mem::take(&mut self.released)
    }

    /// Whether there may be something to sweep: there are roots, and the kernel does not remember that none exists.
    pub(super) fn may_sweep(&self) -> bool {
        !self.roots.is_empty() && !locks::are_known_missing(self.roots)
    }

    /// Starts a sweep of every root. What it found, if there is none to wait for.
    pub(super) fn start(&mut self, occasion: SweepTrigger) -> Option<SweepSummary> {
        let Some(locks) = self.locks.filter(|locks| !locks.roots.is_empty()) else {
            return Some(SweepSummary::default());
        };
        if locks::are_known_missing(&locks.roots) {
            debug!(name: "root-missing", "there is no directory in which a gateway keeps locks");
            return Some(SweepSummary { missing: true, ..SweepSummary::default() });
        }
        match self.fork(locks, occasion) {
            Ok(child) => {
                self.helpers.push(child.0);
                self.child = Some(child);
            }
            Err(error) => {
                let failed = Some(failure(error));
                // It is tried again and again.
                if std::mem::replace(&mut self.failed, failed) == failed {
                    debug!(name: "sweep-failed", %error, "could not sweep the lock roots");
                } else {
                    warn!(name: "sweep-failed", %error, "could not sweep the lock roots: {error}");
                }
                return Some(SweepSummary { failed, ..SweepSummary::default() });
            }
        }
        self.failed = None;
        None
    }

    fn fork(&mut self, locks: &Locks, occasion: SweepTrigger) -> Result<(Pid, OwnedFd), Errno> {
        self.forget_the_gone();
        self.grandchild = None;
        let zombie = match occasion {
            SweepTrigger::TreeGone(gone) | SweepTrigger::Live { gone: Some(gone), .. } => gone.zombie,
            SweepTrigger::Startup | SweepTrigger::Live { gone: None, .. } => None,
        };
        let zombie = zombie.and_then(|pid| Some((pid, procfs::stat(pid).ok()??.start)));
        let (ours, theirs) = seqpacket::pair()?;
        let sexton = process::own_pid();
        let outbox = theirs.as_fd();
        let files = self.registrations.iter().chain(&self.marks).flatten();
        let keep: Vec<_> = files.map(AsFd::as_fd).chain([outbox]).collect();
        let pid = self.log.fork(&keep, || {
            // The child itself, for those that it starts in its turn.
            let helpers: Vec<Pid> = self.helpers.iter().copied().chain([process::own_pid()]).collect();
            let (helpers, reported) = (helpers.as_slice(), self.reported.as_slice());
            let known = self.known.as_slice();
            Job { locks, occasion, sexton, zombie, helpers, reported, known, outbox }
                .run(&self.registrations, &self.marks);
            0
        })?;
        Ok((pid, ours))
    }

    /// The child that sweeps is gone, or about to be. The process that it had of its own dies with it, or hangs.
    fn adopt_grandchild(&mut self) {
        let start = self.grandchild.take().and_then(|pid| Some((pid, procfs::stat(pid).ok()??.start)));
        if let Some((pid, start)) = start {
            self.adopt(pid, start);
        }
    }

    /// Counts a process that hangs and comes to us as one of ours from now on.
    pub(super) fn adopt(&mut self, pid: Pid, start: StartTime) {
        self.helpers.push(pid);
        self.adopted.push((pid, start));
    }

    /// One that its own parent has reaped is not heard of, and its number may be anybody's by now.
    fn forget_the_gone(&mut self) {
        let is_there = |(pid, start): &(Pid, StartTime)| match procfs::stat(*pid) {
            Ok(stat) => stat.is_some_and(|stat| stat.start == *start),
            Err(_) => true,
        };
        let gone: Vec<_> = self.adopted.extract_if(.., |one| !is_there(one)).collect();
        self.helpers.retain(|pid| !gone.iter().any(|(gone, _)| gone == pid));
    }

    /// Whether this is the child that sweeps.
    pub(super) fn sweeps(&self, pid: Pid) -> bool {
        self.child.as_ref().is_some_and(|(child, _)| *child == pid)
    }

    /// Wakes the child that waits for us, and tells it whether all processes are frozen.
    pub(super) fn proceed(&self, still: bool) {
        let Some((pid, inbox)) = &self.child else { return };
        let woken =
            seqpacket::send(inbox.as_fd(), &[u8::from(still)], None).map_err(|error| error.to_string());
        let woken = woken.and_then(|()| signals::send(*pid, Signal::CONT).map_err(|error| error.to_string()));
        if let Err(error) = woken {
            debug!(name: "sweep-failed", error, "could not wake a sweep");
        }
    }

    /// Kills what still sweeps and waits for none of it.
    pub(super) fn abandon(&mut self) {
        if let Some((pid, inbox)) = self.child.take() {
            let (swept, _) = self.take_messages(&inbox);
            self.log.pass_on();
            for (root, _) in self.roots.iter().zip(swept).filter(|(_, swept)| !swept) {
                warn!(name: "sweep-abandoned", %root, "the lock root {root} was not swept in time");
            }
            let _ = signals::send(pid, Signal::KILL);
            self.given_up = Some(pid);
            self.adopt_grandchild();
        }
    }

    pub(super) fn owns(&self, pid: Pid) -> bool {
        self.helpers.contains(&pid)
    }

    /// Another process that sexton runs for itself.
    pub(super) fn count_as_ours(&mut self, pid: Pid) {
        self.helpers.push(pid);
    }

    /// Has `work` done by a process of its own, which may hang and has nothing of ours but `keep`.
    pub(super) fn start_helper(
        &mut self,
        keep: &[BorrowedFd<'_>],
        work: impl FnOnce() -> u8,
    ) -> Result<Pid, Errno> {
        let pid = self.log.fork(keep, work)?;
        self.helpers.push(pid);
        Ok(pid)
    }

    /// Writes what helpers have said. `true` if there may be more.
    pub(super) fn pass_log_on(&mut self) -> bool {
        (!self.helpers.is_empty() || self.log.is_given_away()) && self.log.pass_on()
    }

    /// What a program writes to whose output is a part of our log.
    pub(super) fn log_for_program(&mut self) -> Result<[OwnedFd; 2], Errno> {
        self.log.for_program()
    }

    /// Takes the end of a helper in, which is reaped by now. What is to be told, if a sweep has ended with it.
    pub(super) fn ended(&mut self, pid: Pid) -> Option<Event> {
        self.helpers.retain(|helper| *helper != pid);
        self.adopted.retain(|(helper, _)| *helper != pid);
        self.log.pass_on();
        if self.given_up.take_if(|given_up| *given_up == pid).is_some() {
            return Some(Event::SweeperExited);
        }
        let (_, inbox) = self.child.take_if(|(child, _)| *child == pid)?;
        let (swept, mut found) = self.take_messages(&inbox);
        self.adopt_grandchild();
        if swept.contains(&false) {
            found.failed = found.failed.or(Some(SweepFailure::BrokeOff));
        }
        for (root, _) in self.roots.iter().zip(swept).filter(|(_, swept)| !swept) {
            warn!(name: "sweep-failed", %root, "the sweep of the lock root {root} broke off");
        }
        Some(Event::SweepDone(found))
    }

    /// Takes in what the child has sent: which roots it has swept, and what it found in all of them.
    fn take_messages(&mut self, inbox: &OwnedFd) -> (Vec<bool>, SweepSummary) {
        let mut swept = vec![false; self.roots.len()];
        let mut all = SweepSummary::default();
        let mut buffer = [0; ROOM];
        while let Some((message, registration)) = seqpacket::receive(inbox.as_fd(), &mut buffer) {
            if let Some(grandchild) = decode_pid(message) {
                self.grandchild = Some(grandchild);
                continue;
            }
            if let Some((place, owner)) = decode_owner(message) {
                if let Some(known) = self.known.get_mut(usize::from(place)) {
                    // What was decided stays so.
                    known.owner.get_or_insert(owner);
                }
                continue;
            }
            if let &[place, MARKS] = message {
                if let (Some(kept), Some(marks)) = (self.marks.get_mut(usize::from(place)), registration) {
                    *kept = Some(marks);
                }
                continue;
            }
            // It has done what it was made for.
            self.grandchild = None;
            let Some(SweeperMessage { place, found, refused, removed, reported, released }) = decode(message)
            else {
                continue;
            };
            if let Some(known) = self.known.get_mut(usize::from(place)) {
                known.refused = refused;
            }
            self.removed += u64::from(removed);
            self.released.extend(released);
            if let Some(swept) = swept.get_mut(usize::from(place)) {
                *swept = true;
            }
            if let (Some(kept), Some(new)) = (self.registrations.get_mut(usize::from(place)), registration) {
                *kept = Some(new);
            }
            all.waiting = all.waiting.saturating_add(found.waiting);
            all.handed_over = all.handed_over.saturating_add(found.handed_over);
            all.missing |= found.missing;
            all.failed = all.failed.or(found.failed);
            self.reported.extend(reported);
        }
        let surplus = self.reported.len().saturating_sub(REMEMBERED);
        self.reported.drain(..surplus);
        (swept, all)
    }

    pub(super) fn helpers(&self) -> &[Pid] {
        &self.helpers
    }
}

/// What the child knows.
struct Job<'a> {
    locks: &'a Locks,
    occasion: SweepTrigger,
    sexton: Pid,
    zombie: Option<(Pid, StartTime)>,
    helpers: &'a [Pid],
    reported: &'a [u64],
    known: &'a [KnownRoot],
    outbox: BorrowedFd<'a>,
}

impl Job<'_> {
    /// Sweeps root after root. A root of another user takes a process of its own, because a sweep becomes the root's
    /// owner and cannot change back.
    fn run(&self, registrations: &[Option<OwnedFd>], marks: &[Option<OwnedFd>]) {
        let files = registrations.iter().zip(marks);
        let programs = self.locks.programs_here();
        for ((place, root), (registration, marks)) in (0..=u8::MAX).zip(&self.locks.roots).zip(files) {
            let (registration, marks) =
                (registration.as_ref().map(AsFd::as_fd), marks.as_ref().map(AsFd::as_fd));
            if !locks::drops_to_owner(root) {
                self.sweep(place, root, &programs, registration, marks);
                continue;
            }
            let log = io::stderr();
            let keep: Vec<_> = registration.into_iter().chain(marks).chain([self.outbox]).collect();
            let sweep = || {
                // Before anything that could hang.
                let _ = seqpacket::send(self.outbox, &process::own_pid().raw().to_ne_bytes(), None);
                self.sweep(place, root, &programs, registration, marks);
                0
            };
            let child = spawn::fork_helper(Output::To(log.as_fd()), &keep, || (), sweep);
            // If it hangs, so do we, and the deadline ends us both.
            if let Err(error) = child.and_then(forward_log) {
                debug!(name: "sweep-failed", %root, %error, "could not sweep a lock root as its owner");
                self.tell(place, root, &Report::default(), Some(failure(error)));
            }
        }
    }

    fn sweep(
        &self,
        place: u8,
        root: &Root,
        programs: &BTreeSet<&str>,
        registration: Option<BorrowedFd<'_>>,
        marks: Option<BorrowedFd<'_>>,
    ) {
        let settle = match self.occasion {
            SweepTrigger::Live { settle, .. } => Some(settle),
            SweepTrigger::Startup | SweepTrigger::TreeGone(_) => None,
        };
        let (freeze, thaw) = (|| self.freeze(), || _ = self.wait_for_permission());
        let beside = settle.map(|settle| LiveSweep { settle, freeze: &freeze, thaw: &thaw });
        let context = SweepContext {
            quiet: settle.is_none(),
            alive: settle.is_some(),
            patient: true,
            first: self.occasion == SweepTrigger::Startup,
            sexton: self.sexton,
            sweeper: process::own_pid(),
            helpers: self.helpers,
            unreaped: self.zombie.as_slice(),
            now: clock::wall(),
        };
        let lock_kinds = self.locks.lock_kinds(root, programs);
        if lock_kinds.is_empty() {
            return self.tell(place, root, &Report::default(), None);
        }
        let request = Request {
            root,
            known: self.known.get(usize::from(place)).copied().unwrap_or_default(),
            lock_kinds: &lock_kinds,
            context,
            registration,
            marks,
            action: self.action(),
            exclusive: self.locks.exclusive,
            report_after: self.locks.report_after,
            reported: self.reported,
            beside,
        };
        let mut report =
            locks::sweep(&request, &mut |owner| self.send(root, &encode_owner(place, &owner), None));
        // That a program is not there yet is nothing to wait for.
        report.missing &= !root.is_catalogue();
        // What kept us out of the root may be a limit, which shows everywhere.
        let shut_out = !report.entered && !report.missing && files::look(Path::new("/")).is_err();
        self.tell(place, root, &report, (report.starved || shut_out).then_some(SweepFailure::BrokeOff));
    }

    fn tell(&self, place: u8, root: &Root, report: &Report, failed: Option<SweepFailure>) {
        if let Some(marks) = &report.marks {
            self.send(root, &[place, MARKS], Some(marks.as_fd()));
        }
        let registration = report.registration.as_ref().map(AsFd::as_fd);
        self.send(root, &encode(place, report, failed), registration);
    }

    fn send(&self, root: &Root, message: &[u8], descriptor: Option<BorrowedFd<'_>>) {
        if let Err(error) = seqpacket::send(self.outbox, message, descriptor) {
            debug!(name: "sweep-failed", %root, %error, "could not report a sweep");
        }
    }

    /// Waits for sexton, and returns whether all processes are frozen. Another process may wake us; its signal does not
    /// count. Of several messages only the last one counts: the others are late answers.
    fn wait_for_permission(&self) -> bool {
        stop_for_sexton();
        let words = std::iter::from_fn(|| {
            let mut word = [0];
            seqpacket::receive(self.outbox, &mut word).is_some().then_some(word)
        });
        words.last() == Some([1])
    }

    /// Has all processes frozen.
    fn freeze(&self) -> bool {
        // A guard may let them go on, if sexton itself is stopped meanwhile: not before our end.
        self.wait_for_permission()
            && clock::set_alarm(STILL)
                .inspect_err(|error| debug!(name: "sweep-failed", %error, "could not set a time"))
                .is_ok()
    }

    fn action(&self) -> Action {
        match self.occasion {
            SweepTrigger::Live { spare: true, .. } => Action::Spare,
            // While it runs, a gateway recovers from nothing; and one that ended well has nothing to recover.
            SweepTrigger::Live { gone: None, .. } => Action::Remove,
            SweepTrigger::Live { gone: Some(gone), .. } | SweepTrigger::TreeGone(gone) if gone.clean => {
                Action::Remove
            }
            SweepTrigger::Startup | SweepTrigger::Live { .. } | SweepTrigger::TreeGone(_) => {
                self.locks.action
            }
        }
    }
}

/// Why a process could not be made, or what it needs.
fn failure(error: Errno) -> SweepFailure {
    if error.is_process_limit() || error.is_file_limit() {
        SweepFailure::NoResources
    } else {
        SweepFailure::BrokeOff
    }
}

/// Says to sexton that we wait for it, in the one way that it hears at once: by being stopped.
fn stop_for_sexton() {
    // What happens then takes as long as it takes.
    let stopped = clock::set_alarm(Duration::ZERO).and_then(|()| signals::stop_self());
    if let Err(error) = stopped {
        debug!(name: "sweep-failed", %error, "could not wait for sexton");
    }
}

/// Waits for the end of a child that sweeps, and for sexton whenever the child does.
fn forward_log(child: Pid) -> Result<(), Errno> {
    while !children::wait_for(child)? {
        stop_for_sexton();
        let _ = signals::send(child, Signal::CONT);
    }
    Ok(())
}

/// What a child has told of one root.
struct SweeperMessage {
    place: u8,
    found: SweepSummary,
    refused: bool,
    removed: u32,
    reported: Vec<u64>,
    released: Vec<Released>,
}

fn encode_owner(place: u8, owner: &RootOwner) -> Vec<u8> {
    let mut message = vec![place, OWNER];
    message.extend(owner.uid.to_ne_bytes());
    message.extend(owner.gid.to_ne_bytes());
    message.extend(owner.device.to_ne_bytes());
    message.extend(owner.inode.to_ne_bytes());
    message
}

fn decode_owner(message: &[u8]) -> Option<(u8, RootOwner)> {
    let ([place, OWNER], rest) = message.split_first_chunk()? else { return None };
    let (uid, rest) = rest.split_first_chunk()?;
    let (gid, rest) = rest.split_first_chunk()?;
    let (device, inode) = rest.split_first_chunk()?;
    let (uid, gid) = (u32::from_ne_bytes(*uid), u32::from_ne_bytes(*gid));
    let device = u64::from_ne_bytes(*device);
    Some((*place, RootOwner { uid, gid, device, inode: u64::from_ne_bytes(inode.try_into().ok()?) }))
}

fn encode(place: u8, report: &Report, failed: Option<SweepFailure>) -> Vec<u8> {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let failed = match failed {
        None => 0,
        Some(SweepFailure::BrokeOff) => BROKE_OFF,
        Some(SweepFailure::NoResources) => NO_RESOURCES,
    };
    let mut message = vec![place, flag(report.missing, MISSING) | flag(report.refused, REFUSED) | failed];
    message.extend(report.waiting.to_ne_bytes());
    message.extend(report.handed_over.to_ne_bytes());
    message.extend(report.removed.to_ne_bytes());
    message.push(u8::try_from(report.reported.len().min(REPORTED)).unwrap_or_default());
    message.extend(report.reported.iter().take(REPORTED).flat_map(|fingerprint| fingerprint.to_ne_bytes()));
    for Released { path, pid, taken } in report.released.iter().take(RELEASED) {
        let mut path = path.clone();
        truncate(&mut path, PATH);
        message.extend(pid.to_ne_bytes());
        message.extend(clock::millis_of(*taken).to_ne_bytes());
        message.push(u8::try_from(path.len()).unwrap_or_default());
        message.extend(path.into_bytes());
    }
    message
}

/// The message by which a grandchild says who it is. When it has said what it found, it ends.
fn decode_pid(message: &[u8]) -> Option<Pid> {
    Pid::new(i32::from_ne_bytes(message.try_into().ok()?))
}

fn decode(message: &[u8]) -> Option<SweeperMessage> {
    let (place, rest) = message.split_first()?;
    let (flags, rest) = rest.split_first()?;
    let (waiting, rest) = rest.split_first_chunk()?;
    let (handed_over, rest) = rest.split_first_chunk()?;
    let (removed, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first()?;
    let (fingerprints, mut rest) = rest.split_at_checked(8 * usize::from(*number))?;
    let found = SweepSummary {
        waiting: u32::from_ne_bytes(*waiting),
        handed_over: u32::from_ne_bytes(*handed_over),
        missing: flags & MISSING != 0,
        failed: [(BROKE_OFF, SweepFailure::BrokeOff), (NO_RESOURCES, SweepFailure::NoResources)]
            .into_iter()
            .find_map(|(flag, failure)| (flags & flag != 0).then_some(failure)),
    };
    let reported = fingerprints.as_chunks().0.iter().map(|chunk| u64::from_ne_bytes(*chunk)).collect();
    let mut released = Vec::new();
    while !rest.is_empty() {
        let (pid, more) = rest.split_first_chunk()?;
        let (taken, more) = more.split_first_chunk()?;
        let (length, more) = more.split_first()?;
        let (path, more) = more.split_at_checked(usize::from(*length))?;
        let taken = UNIX_EPOCH.checked_add(Duration::from_millis(u64::from_ne_bytes(*taken)))?;
        let path = String::from_utf8_lossy(path).into_owned();
        released.push(Released { path, pid: i32::from_ne_bytes(*pid), taken });
        rest = more;
    }
    let removed = u32::from_ne_bytes(*removed);
    Some(SweeperMessage { place: *place, found, refused: flags & REFUSED != 0, removed, reported, released })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(pid: i32) -> Released {
        Released { path: "ü".repeat(200), pid, taken: UNIX_EPOCH + Duration::from_millis(1_795_330_765_232) }
    }

    #[test]
    fn what_a_sweep_found_survives_its_message() {
        let report = Report {
            missing: true,
            waiting: 7,
            handed_over: 300,
            removed: 5,
            reported: (0..40).collect(),
            released: (0..20).map(lock).collect(),
            ..Report::default()
        };
        let message = encode(3, &report, Some(SweepFailure::NoResources));
        assert_eq!(message.len(), ROOM);
        let told = decode(&message).unwrap();
        assert_eq!(
            (told.place, told.found),
            (
                3,
                SweepSummary {
                    waiting: 7,
                    handed_over: 300,
                    missing: true,
                    failed: Some(SweepFailure::NoResources)
                }
            )
        );
        assert_eq!(told.removed, 5);
        assert_eq!(told.reported, (0..16).collect::<Vec<u64>>());
        assert_eq!(told.released.len(), 8);
        assert_eq!((told.released[7].pid, told.released[7].taken), (7, lock(7).taken));
        assert!(told.released[7].path.ends_with("ü…") && told.released[7].path.len() <= PATH);
        for length in [4, 5, 14, 50, ROOM - 1] {
            assert!(decode(&message[..length]).is_none(), "{length}");
        }
        let none = decode(&encode(0, &Report::default(), None)).unwrap();
        assert_eq!(none.found, SweepSummary::default());
        assert!(none.reported.is_empty() && none.released.is_empty());
        assert!(!none.refused && decode_owner(&message).is_none());
        let refused = encode(1, &Report { refused: true, ..Report::default() }, None);
        assert!(decode(&refused).unwrap().refused && decode_owner(&refused).is_none());
    }

    #[test]
    fn whose_a_root_is_survives_its_message() {
        let owner = RootOwner { uid: 1000, gid: u32::MAX, device: 1 << 40, inode: 7 };
        let message = encode_owner(200, &owner);
        assert_eq!(decode_owner(&message), Some((200, owner)));
        for length in 0..message.len() {
            assert_eq!(decode_owner(&message[..length]), None, "{length}");
        }
    }
}
