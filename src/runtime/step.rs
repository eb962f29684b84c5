//! Steps: commands of the operator's that speak with the gateway. They run beside it, as its user and in its tree, so that
//! whatever they leave behind ends with it.

use std::fs::File;
use std::os::fd::AsFd;

use tracing::{info, warn};

use super::EventLoop;
use crate::os::children::Dead;
use crate::os::privileges::{self, Identity};
use crate::os::procfs::Rights;
use crate::os::spawn::{self, Started};
use crate::os::{procfs, signals};
use crate::supervisor::{Event, Step};
use crate::types::{CompatMode, ExitStatus, Pid, Signal};

/// The step that runs.
pub(super) struct RunningStep {
    started: Started,
    step: Step,
}

/// What a step is called in the log.
fn name(step: Step) -> &'static str {
    match step {
        Step::BeforeStop => "stop.before",
    }
}

impl EventLoop<'_> {
    /// Begins a step. The event, if it could not be begun.
    pub(super) fn run_step(&mut self, step: Step) -> Option<Event> {
        match self.start_step(step) {
            Ok(started) => {
                self.step = Some(RunningStep { started, step });
                None
            }
            Err(why) => {
                warn!(name: "step-failed", step = name(step), "{} was not run: {why}", name(step));
                Some(Event::StepEnded)
            }
        }
    }

    fn start_step(&self, step: Step) -> Result<Started, String> {
        let plan = &self.plan;
        let command = match step {
            Step::BeforeStop => plan.before_stop.as_ref().map(|before| &before.command),
        };
        let command = command.ok_or("it is not there any more")?;
        let user = self.main_pid().ok_or("the gateway is gone".to_owned()).and_then(user_of)?;
        let nothing = File::open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
        let request = spawn::Request {
            command,
            compat: CompatMode::Native,
            session: false,
            inherited: self.inherited,
            die_with_us: !self.containment.is_init(),
            cgroup: self.containment.cgroup(),
            env: &plan.env,
            directory: plan.directory.as_deref().or(self.initial_cwd.as_deref()),
            user,
            descriptors: &[(nothing.as_fd(), 0)],
        };
        spawn::spawn(&request).map_err(|error| error.to_string())
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
    pub(super) fn step_ended(&mut self, dead: Dead) -> Option<Event> {
        let mut ended = self.step.take_if(|step| step.started.pid == dead.pid)?;
        let (step, code) = (name(ended.step), dead.status.code());
        match (ended.started.failure(), dead.status) {
            (Some((_, errno)), _) => warn!(name: "step-failed", step, "{step} could not be run: {errno}"),
            (None, ExitStatus::Exited(0)) => info!(name: "step-ended", step, code, "{step} has ended"),
            (None, _) => warn!(name: "step-failed", step, code, "{step} has ended, and not well"),
        }
        Some(Event::StepEnded)
    }
}

/// Who a step runs as: the gateway's user. Nobody else, if that is who we are, or if we could not become him.
///
/// # Errors
/// We are root, and it cannot be told who the gateway is: what is meant for another user never runs as root.
fn user_of(main: Pid) -> Result<Option<Identity>, String> {
    if privileges::effective_uid() != 0 {
        return Ok(None);
    }
    let Some(Rights { users: [uid, _], groups: [gid, _], .. }) = procfs::rights(main) else {
        return Err("it cannot be told whose the gateway is; see that /proc can be read".to_owned());
    };
    Ok((uid != 0).then_some(Identity { uid, gid }))
}
