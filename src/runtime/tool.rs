//! `sexton tool` and `sexton-sh`: the loop with a tool as its main process.
//!
//! The supervisor's decisions are the same. This module adds what a caller expects: its pipes are not held open, the
//! tool ends when the caller does, and there is a record.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tracing::{debug, error, info};

use super::EventLoop;
use super::containment::Alive;
use crate::config::{RecordTo, ToolPlan};
use crate::control::client::{Cancel, Registration};
use crate::control::kinship::TOOL_VARIABLE;
use crate::control::protocol::{ToolRecord, ToolRun};
use crate::os::poll::{EpollSet, Interest};
use crate::os::signals::SigInfo;
use crate::os::spawn::Started;
use crate::os::{clock, descriptors, let_go, path_owner, privileges, process, procfs};
use crate::report::record::{AllKilled, Argv, Record};
use crate::supervisor::{self, Event};
use crate::types::{
    CancelledBy, CompatMode, Escaped, ExitStatus, MonoTime, Outcome, Pid, Signal, StopStage, exit_code,
};

/// What tells us of our parent's death. It is sent for the end of the thread that started us, too, so that it is a
/// reason to look and no more: as SIGIO is for all else that is waited for beside the signals.
const LOOK: Signal = Signal::IO;

/// What can be heard of beside the signals.
const NEWS: u64 = 0;
const CONTROL: u64 = 1;

/// How long a sexton above us is waited for to register the run. It answers within a millisecond, unless it stands
/// still; then the run is shown when it goes on.
const REGISTERING: Duration = Duration::from_millis(100);

/// Runs the tool to the end of its tree, writes its record, and gives the exit code.
#[must_use]
#[inline(never)]
pub fn run(plan: &ToolPlan) -> u8 {
    let runtime = Tool::new(plan).and_then(|tool| Ok(EventLoop::new(&plan.plan, Some(tool))?));
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(failure) => {
            error!(name: "cannot-start", "{failure}");
            return exit_code::SEXTON_FAILED;
        }
    };
    let (outcome, tool) = runtime.run();
    if let Some(tool) = tool {
        tool.tell(outcome);
    }
    if plan.shell
        && let Outcome::Signaled { signal, .. } = outcome
        && let Some(signal) = Signal::new(signal)
    {
        process::exit_by_signal(signal);
    }
    outcome.code(CompatMode::Native)
}

/// Why a tool was not begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(
        "could not open the record {to}: {error}; name a file in a directory that exists, or a descriptor"
    )]
    Record { to: String, error: io::Error },
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A tool run.
pub(super) struct Tool<'a> {
    plan: &'a ToolPlan,
    id: String,
    record: Option<File>,
    began: (SystemTime, MonoTime),
    pid: Option<Pid>,
    status: Option<ExitStatus>,
    killed: AllKilled,
    /// Everything that is waited for beside the signals.
    beside: EpollSet,
    /// The pid of who started us, as long as it lives.
    parent: Option<Pid>,
    /// The sexton above us, if it knows of the run.
    registration: Option<Registration>,
}

impl<'a> Tool<'a> {
    fn new(plan: &'a ToolPlan) -> Result<Tool<'a>, Failure> {
        let began = (clock::wall(), clock::now());
        let record = match plan.record.as_ref().map(|to| open_record(to, plan.record_inherited)) {
            Some(Err(failure)) if plan.record_inherited => {
                error!(name: "record-failed", "{failure}; the tool runs without a record");
                None
            }
            record => record.transpose()?,
        };
        let beside = EpollSet::new()?;
        // A parent outside our pid namespace has pid 0 here. It cannot be identified, so it is not watched.
        let parent = Pid::new(process::parent());
        if let Err(error) = process::set_parent_death_signal(LOOK) {
            debug!(name: "parent-unwatched", %error, "the parent's death is seen when something else happens");
        }
        let random = std::hash::RandomState::new().build_hasher().finish();
        let id = format!("{:x}-{}-{random:016x}", clock::millis_of(began.0), process::own_pid());
        Ok(Tool {
            plan,
            id,
            record,
            began,
            pid: None,
            status: None,
            killed: AllKilled::default(),
            beside,
            parent,
            registration: None,
        })
    }

    pub(super) fn policy(&self) -> supervisor::ToolPolicy {
        supervisor::ToolPolicy { timeout: self.plan.timeout, shell: self.plan.shell }
    }

    /// What the tool's processes are told apart by.
    pub(super) fn mark(&self) -> (OsString, OsString) {
        (TOOL_VARIABLE.into(), self.id.clone().into())
    }

    pub(super) fn beside(&self) -> BorrowedFd<'_> {
        self.beside.as_fd()
    }

    /// The main process exists: what the caller waits at the other end of is its alone. Standard error is kept
    /// until it has become the command, in case that fails.
    pub(super) fn started(&mut self, started: &Started) {
        self.pid = Some(started.pid);
        if let Err(error) = self.beside.add(started, NEWS, Interest::Read) {
            debug!(name: "descriptor-kept", %error, "standard error stays open to the end");
        }
        for number in [0, 1] {
            replace(number);
        }
        if self.plan.registered {
            self.registration = Registration::begin(&self.as_run(), clock::now().after(REGISTERING));
        }
        if let Some(registration) = &self.registration
            && let Err(error) = self.beside.add(registration, CONTROL, Interest::Read)
        {
            debug!(name: "not-cancelled", %error, "the run cannot be cancelled over the control socket");
        }
    }

    fn as_run(&self) -> ToolRun {
        ToolRun {
            id: self.id.clone(),
            name: self.plan.name.clone(),
            argv: Argv::of(&self.plan.plan.command).argv,
            supervisor: process::own_pid().raw(),
            pid: self.pid.map_or(0, Pid::raw),
            began: clock::millis_of(self.began.0),
            timeout: self.plan.timeout.map(in_millis),
        }
    }

    pub(super) fn ended(&mut self, status: ExitStatus) {
        self.status = Some(status);
    }

    /// The ladder has reached a stage with these alive.
    pub(super) fn reached(&mut self, stage: StopStage, alive: &[Alive]) {
        self.killed.add(stage, alive.iter().map(|process| (process.stat.pid.raw(), process.name())));
    }

    /// Reports the end to sexton and writes the record, if that is wanted.
    fn tell(mut self, outcome: Outcome) {
        if self.record.is_none() && self.registration.is_none() {
            return;
        }
        let (file, registration) = (self.record.take(), self.registration.take());
        let record = self.into_record(outcome);
        // One write, so that no other run's line can come between.
        if let Some(Err(failure)) = file.map(|mut file| file.write_all(&record.line())) {
            error!(name: "record-failed", error = %failure, "could not write the record of the tool");
        }
        let told = serde_json::to_value(&record).and_then(serde_json::from_value::<ToolRecord>);
        if let (Some(registration), Ok(record)) = (registration, told) {
            registration.end(&record);
        }
    }

    fn into_record(self, outcome: Outcome) -> Record {
        let (began, ended) = (self.began, (clock::wall(), clock::now()));
        let usage = process::usage_of_children();
        let started = !matches!(outcome, Outcome::StartFailed { .. });
        Record {
            id: self.id,
            name: self.plan.name.clone(),
            argv: Argv::of(&self.plan.plan.command),
            supervisor: process::own_pid().raw(),
            pid: self.pid.map(Pid::raw),
            began: clock::millis_of(began.0),
            ended: clock::millis_of(ended.0),
            began_monotonic: in_millis(began.1.0),
            ended_monotonic: in_millis(ended.1.0),
            duration: in_millis(ended.1.since(began.1)),
            timeout: self.plan.timeout.map(in_millis),
            outcome,
            status: self.status.filter(|_| started),
            cpu_user: in_millis(usage.user),
            cpu_system: in_millis(usage.system),
            max_rss: usage.largest,
            killed: self.killed,
        }
    }
}

impl EventLoop<'_> {
    /// Takes in what has happened beside the signals.
    pub(super) fn hear_of_tool(&mut self, ready: bool) -> Result<(), Outcome> {
        while ready && let Some(Ok(Some(key))) = self.tool.as_ref().map(|tool| tool.beside.ready()) {
            match key {
                CONTROL => self.hear_of_control()?,
                _ => self.hear_news(),
            }
        }
        let Some(tool) = &mut self.tool else { return Ok(()) };
        // If our parent is another one by now, the first one has died.
        if tool.parent.take_if(|parent| process::parent() != parent.raw()).is_some() {
            return self.dispatch(Event::Cancel(CancelledBy::ParentDied));
        }
        Ok(())
    }

    #[inline(never)]
    fn hear_of_control(&mut self) -> Result<(), Outcome> {
        let Some(tool) = &mut self.tool else { return Ok(()) };
        let Some(registration) = &mut tool.registration else { return Ok(()) };
        match registration.cancelled() {
            Cancel::No => Ok(()),
            Cancel::Cancelled(by) => {
                info!(name: "cancelled", by, "asked to end over the control socket");
                self.dispatch(Event::Cancel(CancelledBy::Request))
            }
            Cancel::Gone => {
                let sexton = Pid::new(registration.pid());
                tool.beside.remove(registration);
                tool.registration = None;
                // It may only have closed the connection.
                let dead = |pid| procfs::stat(pid).is_ok_and(|stat| stat.is_none_or(|stat| stat.is_ending()));
                if sexton.is_some_and(dead) { self.dispatch(Event::ToolAbandoned) } else { Ok(()) }
            }
        }
    }

    /// The main process has become the command, or has failed to.
    fn hear_news(&mut self) {
        let (Some(tool), Some(main)) = (&mut self.tool, &mut self.main) else {
            return;
        };
        tool.beside.remove(main);
        if main.failure().is_none() && !tool.plan.verbose {
            replace(2);
        }
    }

    /// Whether this signal only says that the parent may have died, which is looked at in every turn.
    pub(super) fn is_a_hint(&self, signal: SigInfo) -> bool {
        let parent = self.tool.as_ref().and_then(|tool| tool.parent);
        signal.signal == LOOK && parent.is_some_and(|parent| signal.sender == parent.raw())
    }
}

fn replace(number: i32) {
    if let Err(error) = let_go::replace_standard(number) {
        debug!(name: "descriptor-kept", number, %error, "could not let go of a standard descriptor");
    }
}

/// Opens the file for one more line. A pipe without a reader is refused, and not waited for. Arguments can hold
/// secrets, so that the file is its owner's alone.
fn open_record_file(path: &Path, flags: i32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags);
    options.open(path)
}

/// The same where others can have put something else in the place of the record: it has to be an ordinary file.
fn open_ordinary_record(path: &Path, flags: i32) -> io::Result<File> {
    let not_ordinary = || io::Error::other("it is not an ordinary file");
    match open_record_file(path, flags) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(not_ordinary()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::EISDIR)) => Err(not_ordinary()),
        Err(error) => Err(error),
    }
}

/// Adds a line to the record at `path` whose writer is gone. For a process of its own.
///
/// A tool has a say in the line, and must not choose the file that root writes it to. So root writes it as the owner of
/// the directory, if the file there is not its own; and never through a link, or to a file that has another name.
///
/// # Errors
/// Why it is not written.
pub(super) fn append_for_another(path: &Path, line: &[u8]) -> io::Result<()> {
    if privileges::effective_uid() == 0 {
        if let Some(mut file) = open_roots_own(path)? {
            return file.write_all(line);
        }
        let unsafe_place = || io::Error::other("others can put another directory in the place of its own");
        let owner = path.parent().map(path_owner::owner).transpose()?.flatten().ok_or_else(unsafe_place)?;
        privileges::become_user(owner.uid, owner.gid)?;
    }
    let root = privileges::effective_uid() == 0;
    let mut file = open_ordinary_record(path, if root { libc::O_NOFOLLOW } else { 0 })?;
    if root && file.metadata()?.nlink() != 1 {
        return Err(io::Error::other("it has another name as well"));
    }
    file.write_all(line)
}

/// The file at `path`, if it is there, is root's, and has no other name.
fn open_roots_own(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let Ok(file) = options.append(true).custom_flags(flags).open(path) else { return Ok(None) };
    let meta = file.metadata()?;
    Ok((meta.is_file() && meta.uid() == 0 && meta.nlink() == 1).then_some(file))
}

fn open_record(to: &RecordTo, inherited: bool) -> Result<File, Failure> {
    match to {
        RecordTo::File(path) => {
            let opened = if inherited { open_ordinary_record(path, 0) } else { open_record_file(path, 0) };
            opened.map_err(|error| Failure::Record { to: Escaped(path).to_string(), error })
        }
        RecordTo::Descriptor(number) => descriptors::take(*number)
            .map(File::from)
            .map_err(|error| Failure::Record { to: format!("descriptor {number}"), error }),
    }
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
