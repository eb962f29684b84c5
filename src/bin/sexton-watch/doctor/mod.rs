//! `sexton doctor`: everything that a gateway's start, stop and locks depend on, looked at once.
//!
//! Each check runs in a process of its own, which is killed when its time is over and left behind if it cannot be
//! killed: what hangs is a finding, and never hangs the doctor. The checks run one after the other, so that none
//! disturbs another's measurement, and what is printed comes in one order.

mod control;
mod finding;
mod gateway;
mod health;
mod helpers;
mod kernel;
mod leftovers;
mod role;
mod roots;
mod subject;
mod versions;
mod windows;

use std::ffi::OsString;
use std::future::Future;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sexton::cli::{self, DoctorArgs};
use sexton::config::Plan;
use sexton::control::protocol::Status;
use sexton::os::clock;
use sexton::os::isolated::{self, ForkError};
use sexton::report::{log, output};
use sexton::types::{CompatMode, MonoTime, UnitState, exit_code};

use finding::{Finding, Severity};

/// The gateway's own command line may take this many times a check's deadline.
const PATIENCE: u32 = 5;
/// What a check that counts its time itself gets on top of it, to come to its end.
const SLACK: Duration = Duration::from_secs(2);

/// Does what the words behind `doctor` ask for, and gives the exit code.
pub fn run(words: &[OsString]) -> u8 {
    let asked = match cli::doctor(words) {
        Ok(Ok(asked)) => asked,
        Ok(Err(help)) => return output::print(&help, exit_code::DOCTOR_OK),
        Err(usage) => {
            log::print_error(&format!("sexton doctor: {}", usage.line()));
            return exit_code::SEXTON_FAILED;
        }
    };
    let mut round =
        DoctorRun { until: clock::now().after(asked.total), found: Vec::new(), written: Ok(()), asked };
    let (plan, status) = round.locate_sexton();
    round.look(&plan, status.as_ref());
    let DoctorRun { asked, found, written, .. } = round;
    let end = if asked.json { finding::as_json(&found) } else { format!("{}\n", finding::summary(&found)) };
    let unsound = found.iter().any(|finding| finding.grade == Severity::Problem);
    let code = if unsound { exit_code::DOCTOR_PROBLEMS } else { exit_code::DOCTOR_OK };
    output::code_after(written.and_then(|()| output::write(&end)), code)
}

/// One visit.
struct DoctorRun {
    asked: DoctorArgs,
    until: MonoTime,
    found: Vec<Finding>,
    /// Whether what was told so far could be written.
    written: std::io::Result<()>,
}

impl DoctorRun {
    /// Finds out what to check: the plan, and the status of the sexton that runs by it.
    fn locate_sexton(&mut self) -> (Plan, Option<Status>) {
        let one = self.asked.deadline;
        let mut line = self.asked.line.clone();
        let (mut report, mut plan) = DoctorRun::understand(&line, one);
        let control = plan.as_ref().map(|plan| plan.settings.control.clone()).unwrap_or_default();
        let status = self.ask("control socket", one + SLACK, || control::check(&control, one));
        // If the command line names nothing but the control socket, the running sexton's own plan is meant.
        if let Some(status) = status.as_ref().filter(|_| subject::says_only_where(&line)) {
            let origin = isolated::call(one, || subject::of_running(status.pid));
            if let Ok(Some(origin)) = origin {
                line = origin.adopt_env();
                (report, plan) = DoctorRun::understand(&line, one);
            }
        }
        self.tell(report);
        (plan.unwrap_or_else(|| Plan::bare(CompatMode::Native)), status)
    }

    /// The plan that this command line makes, first in a process of its own: its file may lie where reading hangs.
    fn understand(line: &[OsString], deadline: Duration) -> (Finding, Option<Plan>) {
        match isolated::call(deadline, || subject::check(line)) {
            Ok(report) if report.grade == Severity::Problem => (report, None),
            Ok(report) => (report, subject::plan(line)),
            Err(silence) => (timed_out("configuration", &silence), None),
        }
    }

    fn look(&mut self, plan: &Plan, status: Option<&Status>) {
        let one = self.asked.deadline;
        let told = self.asked.stop_timeout;
        self.check("role", one, || role::check(status));
        self.check("privileges", one, || role::privileges(status));
        self.check("kernel", one, || kernel::check(status));
        self.check("cgroup limits", one, || kernel::rooms(status));
        let touched = self.roots(plan, status);
        self.check("clock", one, || kernel::clock(&touched));
        let patience = one.saturating_mul(PATIENCE);
        let runs = self.ask("gateway", one, || gateway::found(plan));
        let version = runs.filter(|runs| *runs).and_then(|_| {
            self.ask("gateway version", patience + SLACK, || {
                waited_for(gateway::version(plan, patience)).unwrap_or_default()
            })
        });
        self.check("gateway config", one, || gateway::configuration(plan));
        self.health(plan, status);
        self.check("stop windows", one + SLACK, || {
            let sexton = status.map(|status| status.pid);
            let mut found = waited_for(windows::check(plan, sexton, told, one)).unwrap_or_default();
            found.extend(version.map(|version| windows::drain(plan, version)).unwrap_or_default());
            found
        });
        self.check("sexton-watch", one, || helpers::watch(plan, status));
        self.check("tool shell", one, || helpers::shell(plan, status));
        self.check("leftovers", one, || leftovers::check(plan, status));
        self.check("incidents", one, || control::incidents(status));
    }

    fn health(&mut self, plan: &Plan, status: Option<&Status>) {
        let Some(watching) = &plan.watching else { return };
        let one = self.asked.deadline;
        let gateway = status.map(|status| &status.gateway);
        let up = gateway
            .filter(|gateway| gateway.state == UnitState::Running)
            .map(|gateway| Duration::from_millis(clock::wall_millis().saturating_sub(gateway.since)));
        for probe in &watching.health {
            let work =
                || waited_for(health::check(probe, one, up, watching.start_period)).unwrap_or_default();
            self.check("health", one + SLACK, work);
        }
    }

    /// Looks at all lock roots, and gives the times at which they were changed.
    fn roots(&mut self, plan: &Plan, status: Option<&Status>) -> Vec<SystemTime> {
        let Some(locks) = &plan.locks else {
            self.tell(Finding::ok("lock root", "none: locks are left alone"));
            return Vec::new();
        };
        let one = self.asked.deadline;
        let gateway = status.and_then(|status| role::uid_of(status.gateway.pid?));
        // One that does not answer uses its roots all the same.
        let sexton = status.map(|status| status.pid).or_else(control::sexton_by_name);
        let around = roots::Around { sexton, gateway };
        let look = |root| self.ask(&format!("lock root {root}"), one, || roots::check(root, locks, &around));
        locks.roots.iter().filter_map(look).collect()
    }

    fn check(&mut self, name: &str, deadline: Duration, work: impl FnOnce() -> Vec<Finding>) {
        let _: Option<bool> = self.ask(name, deadline, || (work(), None));
    }

    /// Does `work` in a process of its own, tells what it found, and gives what else it learned.
    fn ask<T: Serialize + for<'a> Deserialize<'a>>(
        &mut self,
        name: &str,
        deadline: Duration,
        work: impl FnOnce() -> (Vec<Finding>, Option<T>),
    ) -> Option<T> {
        let left = self.until.since(clock::now());
        if left.is_zero() {
            let total = humantime::format_duration(self.asked.total);
            let what = format!("{name} was not looked at: the checks before it took {total}");
            self.tell(Finding::problem(
                "doctor",
                what,
                "Mend what is late above, or let it have longer with --total",
            ));
            return None;
        }
        match isolated::call(deadline.min(left), work) {
            Ok((found, learned)) => {
                found.into_iter().for_each(|finding| self.tell(finding));
                learned
            }
            Err(why) => {
                self.tell(timed_out(name, &why));
                None
            }
        }
    }

    /// Prints a finding as soon as it is known.
    fn tell(&mut self, finding: Finding) {
        if !self.asked.json && self.written.is_ok() {
            self.written = output::write(&format!("{}\n", finding.line()));
        }
        self.found.push(finding);
    }
}

/// The finding for a check that gave no answer.
fn timed_out(name: &str, silence: &ForkError) -> Finding {
    let advice = match silence {
        ForkError::Late(_) => {
            "A filesystem or a process that it looked at hangs: a dead NFS or FUSE mount, or state D in ps"
        }
        ForkError::Died => "Run it again; if it stays so, that is a bug of sexton's",
        ForkError::Refused(_) => "Raise the limit on processes, in the cgroup or with ulimit -u",
    };
    Finding::problem("doctor", format!("the check '{name}': {silence}"), advice)
}

/// What comes of `work`; `None` where there can be no runtime for it.
fn waited_for<T>(work: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    Some(runtime.block_on(work))
}
