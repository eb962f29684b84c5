//! Steps: commands that speak with the gateway, or about it. They run beside it, as its user and in its tree, so that
//! whatever they leave behind ends with it.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use serde::Deserialize;
use tracing::{info, warn};

use super::EventLoop;
use crate::os::children::Dead;
use crate::os::privileges::{self, Identity};
use crate::os::procfs::{self, Rights};
use crate::os::spawn::{self, Started};
use crate::os::{seqpacket, signals};
use crate::supervisor::{Event, Step, StepAnswer};
use crate::types::{CompatMode, ExitStatus, IncidentKind, Outcome, Pid, Signal};

/// How much of an answer is read, in bytes: as much as its pipe holds. Who writes more waits until its time is over.
const LARGEST: u64 = 64 * 1024;

/// The step that runs.
pub(super) struct RunningStep {
    started: Started,
    step: Step,
    /// Where its standard output is, if that is an answer.
    answer: Option<File>,
}

/// What is known of the main process that a step is about, also when that one has been reaped.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    /// Whose it is; `None` if that cannot be told.
    user: Option<Identity>,
    /// The number that it sees as its own.
    number: Pid,
}

impl Subject {
    fn of(main: Pid) -> Subject {
        let rights = procfs::rights(main);
        let user = rights.map(|Rights { users: [uid, _], groups: [gid, _], .. }| Identity { uid, gid });
        Subject { user, number: procfs::number_inside(main) }
    }
}

/// An answer, as far as it matters.
#[derive(Deserialize)]
struct Said {
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Accepted,
    None,
    Rejected,
}

/// What a step is called in the log.
fn name(step: Step) -> &'static str {
    match step {
        Step::BeforeStop => "stop.before",
        Step::Handoff => "restart.handoff",
    }
}

impl EventLoop<'_> {
    /// The main process has died, and is not reaped yet: later its user cannot be told any more.
    pub(super) fn remember_main(&mut self) {
        self.ended_main = self.main_pid().filter(|_| self.plan.handoff.is_some()).map(Subject::of);
    }

    /// Begins a step. The event, if it could not be begun.
    pub(super) fn run_step(&mut self, step: Step) -> Option<Event> {
        match self.start_step(step) {
            Ok((started, answer)) => {
                self.step = Some(RunningStep { started, step, answer });
                None
            }
            Err(why) => {
                warn!(name: "step-failed", step = name(step), "{} was not run: {why}", name(step));
                Some(Event::StepEnded(StepAnswer::None))
            }
        }
    }

    fn start_step(&self, step: Step) -> Result<(Started, Option<File>), String> {
        let plan = &self.plan;
        let (command, subject) = match step {
            Step::BeforeStop => (
                plan.before_stop.as_ref().map(|before| before.command.clone()),
                self.main_pid().map(Subject::of),
            ),
            Step::Handoff => {
                let command = |subject: Subject| with_number(&plan.handoff.as_ref()?.command, subject.number);
                (self.ended_main.and_then(command), self.ended_main)
            }
        };
        let (Some(command), Some(subject)) = (command, subject) else {
            return Err("it is not wanted any more".to_owned());
        };
        let user = user_of(subject)?;
        let nothing = File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
        let pipe =
            (step == Step::Handoff).then(seqpacket::pipe).transpose().map_err(|error| error.to_string())?;
        let output = pipe.iter().map(|(_, theirs)| (theirs.as_fd(), 1));
        let descriptors: Vec<_> = [(nothing.as_fd(), 0)].into_iter().chain(output).collect();
        let request = spawn::Request {
            command: &command,
            compat: CompatMode::Native,
            session: false,
            inherited: self.inherited,
            die_with_us: !self.containment.is_init(),
            cgroup: self.containment.cgroup(),
            env: &plan.env,
            directory: plan.directory.as_deref().or(self.initial_cwd.as_deref()),
            user,
            descriptors: &descriptors,
        };
        let started = spawn::spawn(&request).map_err(|error| error.to_string())?;
        Ok((started, pipe.map(|(ours, _)| File::from(ours))))
    }

    /// Asks the step that runs to end. From now on it is one of those that the gateway leaves behind.
    pub(super) fn end_step(&mut self) {
        if let Some(step) = self.step.take() {
            let pid = step.started.pid;
            // One that has ended meanwhile is what we want.
            let _ = signals::send_to_group(pid, Signal::TERM).or_else(|_| signals::send(pid, Signal::TERM));
        }
    }

    /// A child has died, and is reaped. What is to be told, if it was the step that runs.
    pub(super) fn step_ended(&mut self, dead: Dead) -> Result<(), Outcome> {
        let Some(mut ended) = self.step.take_if(|step| step.started.pid == dead.pid) else { return Ok(()) };
        let (step, code) = (name(ended.step), dead.status.code());
        let well = match (ended.started.failure(), dead.status) {
            (Some((_, errno)), _) => {
                warn!(name: "step-failed", step, "{step} could not be run: {errno}");
                false
            }
            (None, ExitStatus::Exited(0)) => true,
            (None, _) => {
                warn!(name: "step-failed", step, code, "{step} has ended, and not well");
                false
            }
        };
        let answer = ended.answer.filter(|_| well).map_or(StepAnswer::None, answer);
        if well {
            let said = match answer {
                StepAnswer::Restart => "a restart",
                StepAnswer::Stop => "a stop",
                StepAnswer::None => "nothing",
            };
            info!(name: "step-ended", step, said, "{step} has ended");
        }
        if answer != StepAnswer::None {
            self.handoff_failed(false)?;
        }
        self.dispatch(Event::StepEnded(answer))
    }

    /// Whether it was said what the gateway's end with 0 means.
    pub(super) fn handoff_failed(&mut self, failed: bool) -> Result<(), Outcome> {
        let detail = match failed {
            true => {
                "the gateway has ended with 0, and its own command did not say in time whether that is a stop; see what \
                     restart.handoff says when it is run by hand"
            }
            false => "the gateway's own command says what an end with 0 means",
        };
        self.found(IncidentKind::Handoff, "", failed, detail)
    }
}

/// What stands in the pipe. The writer has ended, and what is not there by now is not waited for.
fn answer(from: File) -> StepAnswer {
    let mut said = Vec::new();
    // An error says that others have the pipe, too, and that it is empty.
    let _ = from.take(LARGEST).read_to_end(&mut said);
    match serde_json::from_slice::<Said>(&said) {
        Ok(Said { status: Status::Accepted }) => StepAnswer::Restart,
        Ok(Said { status: Status::None | Status::Rejected }) => StepAnswer::Stop,
        Err(_) => StepAnswer::None,
    }
}

/// The command with this number in the place of `{pid}`.
fn with_number(command: &[CString], number: Pid) -> Option<Vec<CString>> {
    let word = |word: &CString| match word.to_str() {
        Ok(text) if text.contains("{pid}") => CString::new(text.replace("{pid}", &number.to_string())).ok(),
        _ => Some(word.clone()),
    };
    command.iter().map(word).collect()
}

/// The user that a step runs as: the gateway's. `None` if that is our own user, or if we cannot change the user.
///
/// # Errors
/// We are root, and it cannot be told who the gateway is: what is meant for another user never runs as root.
fn user_of(subject: Subject) -> Result<Option<Identity>, String> {
    if privileges::effective_uid() != 0 {
        return Ok(None);
    }
    let user = subject.user.ok_or("it cannot be told whose the gateway is; see that /proc can be read")?;
    Ok((user.uid != 0).then_some(user))
}
