//! Every exit code that sexton itself gives, in one place; the README's table is this list.
//!
//! The main process's own code passes through unchanged. So these are the conventional codes of programs that run other
//! programs (timeout(1), env(1), docker-run(1)).

use serde::{Deserialize, Serialize};

use super::{CompatMode, Errno};

/// `sexton tool`: the command's deadline passed, and TERM was enough to end it. 137 tells that it took KILL.
pub const TIMED_OUT: u8 = 124;
/// sexton failed before the command was started: a usage error, or the system refused a process.
pub const SEXTON_FAILED: u8 = 125;
/// The command was found and could not be executed.
pub const CANNOT_EXECUTE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;

/// The command was started again as often as it may be, or a required unit has ended (`EX_UNAVAILABLE`,
/// sysexits.h).
pub const RESTART_LIMIT: u8 = 69;

/// `sexton locks`: nothing is orphaned.
pub const LOCKS_OK: u8 = 0;
/// `sexton locks`: something is orphaned, or was and could not be removed.
pub const LOCKS_ORPHANED: u8 = 1;
/// `sexton locks`: a root could not be read, so the result is unknown.
pub const LOCKS_UNKNOWN: u8 = 2;

/// `sexton status` and its neighbours: the answer was printed, or the request is being carried out.
pub const CONTROL_DONE: u8 = 0;
/// `sexton status` and its neighbours: sexton refused the request.
pub const CONTROL_REFUSED: u8 = 1;
/// `sexton status` and its neighbours: no sexton answered (`EX_UNAVAILABLE`, sysexits.h).
pub const CONTROL_UNAVAILABLE: u8 = 69;

/// `sexton health`: the gateway does its work.
pub const HEALTHY: u8 = 0;
/// `sexton health`: it does not, or sexton does not answer.
pub const UNHEALTHY: u8 = 1;

/// `sexton doctor`: no problems; there may be warnings.
pub const DOCTOR_OK: u8 = 0;
/// `sexton doctor`: there are problems.
pub const DOCTOR_PROBLEMS: u8 = 1;

/// `sexton measure`: the measurement is complete, and no `--fail-if` condition holds.
pub const MEASURED: u8 = 0;
/// `sexton measure`: a `--fail-if` condition holds, or its value could not be measured.
pub const THRESHOLD_EXCEEDED: u8 = 1;

/// The step of a launch that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartStep {
    /// fork(2).
    Fork,
    /// Joining a process group of its own, setpgid(2).
    Group,
    /// Becoming its user, setgroups(2), setresgid(2) and setresuid(2).
    User,
    /// Arming the parent-death signal, prctl(2).
    ParentDeath,
    /// Setting its environment, setenv(3).
    Environment,
    /// Entering its working directory, chdir(2).
    Directory,
    /// Passing descriptors on, dup2(2).
    Descriptors,
    /// Restoring the signal dispositions and the mask.
    Signals,
    /// execve(2).
    Exec,
}

impl StartStep {
    /// Every step, in the order of a launch.
    pub const ALL: [StartStep; 9] = [
        StartStep::Fork,
        StartStep::Group,
        StartStep::User,
        StartStep::ParentDeath,
        StartStep::Environment,
        StartStep::Directory,
        StartStep::Descriptors,
        StartStep::Signals,
        StartStep::Exec,
    ];

    /// What was being done, to stand behind "could not".
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            StartStep::Fork => "create a process",
            StartStep::Group => "create its process group",
            StartStep::User => "become its user",
            StartStep::ParentDeath => "arm the parent-death signal",
            StartStep::Environment => "set its environment",
            StartStep::Directory => "enter its working directory",
            StartStep::Descriptors => "pass its descriptors on",
            StartStep::Signals => "restore the signal mask",
            StartStep::Exec => "execute it",
        }
    }
}

/// The exit code of a launch that failed at `step` with `errno`, in this compatibility mode.
#[must_use]
pub fn of_failed_start(compat: CompatMode, step: StartStep, errno: Errno) -> u8 {
    match (compat, step, errno.0) {
        (CompatMode::DumbInit, StartStep::Exec, _) => 2,
        (CompatMode::Native | CompatMode::Tini, StartStep::Exec, ENOENT) => NOT_FOUND,
        (CompatMode::Native, StartStep::Exec, _) | (CompatMode::Tini, StartStep::Exec, EACCES) => {
            CANNOT_EXECUTE
        }
        _ => compat.failed(),
    }
}

/// "No such file or directory" and "permission denied"; the numbers are the same on every Linux.
const ENOENT: i32 = 2;
const EACCES: i32 = 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_has_the_shells_codes() {
        assert_eq!(of_failed_start(CompatMode::Native, StartStep::Exec, Errno(ENOENT)), 127);
        assert_eq!(of_failed_start(CompatMode::Native, StartStep::Exec, Errno(EACCES)), 126);
        assert_eq!(of_failed_start(CompatMode::Native, StartStep::Exec, Errno(20)), 126);
        assert_eq!(of_failed_start(CompatMode::Native, StartStep::Fork, Errno(11)), 125);
        assert_eq!(of_failed_start(CompatMode::Native, StartStep::Group, Errno(ENOENT)), 125);
        let exec = |compat, errno| of_failed_start(compat, StartStep::Exec, Errno(errno));
        // What is in the way may also be no directory (20), which tini counts among its own failures.
        assert_eq!([2, 13, 20].map(|errno| exec(CompatMode::Tini, errno)), [127, 126, 1]);
        assert_eq!([2, 13].map(|errno| exec(CompatMode::DumbInit, errno)), [2, 2]);
        assert_eq!([2, 13].map(|errno| exec(CompatMode::Catatonit, errno)), [1, 1]);
    }
}
