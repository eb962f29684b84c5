//! How a run ended: one type for records, logs, status and exit codes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::exit_code::{self, RESTART_LIMIT, SEXTON_FAILED, StartStep, TIMED_OUT};
use super::{CompatMode, Errno, ExitStatus, Signal};

/// How a run ended. An aborted run is never `Exited`, whatever code the command ended with.
///
/// As JSON one object with one member: `{"exited":{"code":0}}`, `{"timed_out":{"stage":"kill"}}`,
/// `{"cancelled":{"by":{"signal":15},"stage":"grace"}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The command called exit.
    Exited {
        /// With this code.
        code: u8,
    },
    /// A signal ended the command, and it was not part of an abort.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// Its deadline passed.
    TimedOut {
        /// The stage of the ladder at which its tree ended.
        stage: StopStage,
    },
    /// It was ended on request.
    Cancelled {
        /// What cancelled it.
        by: CancelledBy,
        /// The stage of the ladder at which its tree ended.
        stage: StopStage,
    },
    /// The command was not started.
    StartFailed {
        /// The step that failed.
        step: StartStep,
        /// Why, as errno(3) has it.
        errno: Errno,
    },
    /// It reached its limit of restarts.
    RestartLimitHit {
        /// The code with which it ended last; `None` if it could not be started.
        code: Option<u8>,
    },
    /// A required unit has ended.
    UnitEnded {
        /// The unit's place in the order of start, from 0.
        unit: usize,
    },
    /// Its supervisor died first, so its end was not seen.
    Lost {},
}

/// What cancelled a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelledBy {
    /// The signal with this number, which was sent to sexton.
    Signal(i32),
    /// The end of the process that had started sexton.
    ParentDied,
    /// A request over the control socket.
    Request,
}

/// A stage of the stop ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopStage {
    /// The stop signal was sent, and its window begins.
    Grace,
    /// Everything that is left gets TERM.
    Leftovers,
    /// Everything that is left gets KILL.
    Kill,
    /// Even KILL did not end it.
    Unkillable,
}

impl Outcome {
    /// Its exit code. An abort has the codes of timeout(1): 124 after a deadline, and 128+n after signal n. A run that
    /// was cancelled without a signal has 143, as for TERM. If KILL was needed, the code is 137 in all these cases.
    #[must_use]
    pub fn code(self, compat: CompatMode) -> u8 {
        match self {
            Outcome::Exited { code } => code,
            Outcome::Signaled { signal, core } => ExitStatus::Signaled { signal, core }.code(),
            Outcome::TimedOut { stage } if stage < StopStage::Kill => TIMED_OUT,
            Outcome::Cancelled { by, stage } if stage < StopStage::Kill => {
                let signal = match by {
                    CancelledBy::Signal(signal) => signal,
                    CancelledBy::ParentDied | CancelledBy::Request => Signal::TERM.number(),
                };
                ExitStatus::Signaled { signal, core: false }.code()
            }
            Outcome::TimedOut { .. } | Outcome::Cancelled { .. } => {
                ExitStatus::Signaled { signal: Signal::KILL.number(), core: false }.code()
            }
            Outcome::StartFailed { step, errno } => exit_code::of_failed_start(compat, step, errno),
            Outcome::RestartLimitHit { .. } | Outcome::UnitEnded { .. } => RESTART_LIMIT,
            Outcome::Lost {} => SEXTON_FAILED,
        }
    }
}

impl TryFrom<Outcome> for ExitStatus {
    type Error = &'static str;

    fn try_from(outcome: Outcome) -> Result<ExitStatus, &'static str> {
        match outcome {
            Outcome::Exited { code } => Ok(ExitStatus::Exited(code)),
            Outcome::Signaled { signal, core } => Ok(ExitStatus::Signaled { signal, core }),
            _ => Err("no exit status"),
        }
    }
}

impl From<ExitStatus> for Outcome {
    fn from(status: ExitStatus) -> Outcome {
        match status {
            ExitStatus::Exited(code) => Outcome::Exited { code },
            ExitStatus::Signaled { signal, core } => Outcome::Signaled { signal, core },
        }
    }
}

impl fmt::Display for Outcome {
    /// `exited with 0`, `timed out and was killed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal =
            |number: i32| Signal::new(number).map_or_else(|| number.to_string(), |it| it.to_string());
        match self {
            Outcome::Exited { code } => write!(f, "exited with {code}"),
            Outcome::Signaled { signal: number, core } => {
                write!(f, "ended by {}{}", signal(*number), if *core { ", core dumped" } else { "" })
            }
            Outcome::TimedOut { stage } => write!(f, "timed out{}", stage.describe()),
            Outcome::Cancelled { by: CancelledBy::Signal(number), stage } => {
                write!(f, "cancelled by {}{}", signal(*number), stage.describe())
            }
            Outcome::Cancelled { by: CancelledBy::ParentDied, stage } => {
                write!(f, "cancelled because its parent died{}", stage.describe())
            }
            Outcome::Cancelled { by: CancelledBy::Request, stage } => {
                write!(f, "cancelled on request{}", stage.describe())
            }
            Outcome::StartFailed { step, errno } => {
                write!(f, "not started: could not {}: {errno}", step.describe())
            }
            Outcome::RestartLimitHit { code: Some(code) } => {
                write!(f, "started again too often, and exited with {code}")
            }
            Outcome::RestartLimitHit { code: None } => {
                f.write_str("started again too often, and could not be started")
            }
            Outcome::UnitEnded { .. } => f.write_str("ended because a unit did that it needs"),
            Outcome::Lost {} => f.write_str("lost: its supervisor died"),
        }
    }
}

impl StopStage {
    fn describe(self) -> &'static str {
        match self {
            StopStage::Grace | StopStage::Leftovers => "",
            StopStage::Kill => " and was killed",
            StopStage::Unkillable => " and survived SIGKILL",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Outcome, &str, u8, &str); 12] = [
        (Outcome::Exited { code: 3 }, r#"{"exited":{"code":3}}"#, 3, "exited with 3"),
        (
            Outcome::Signaled { signal: 11, core: true },
            r#"{"signaled":{"signal":11,"core":true}}"#,
            139,
            "ended by SIGSEGV, core dumped",
        ),
        (
            Outcome::TimedOut { stage: StopStage::Grace },
            r#"{"timed_out":{"stage":"grace"}}"#,
            124,
            "timed out",
        ),
        (
            Outcome::TimedOut { stage: StopStage::Kill },
            r#"{"timed_out":{"stage":"kill"}}"#,
            137,
            "timed out and was killed",
        ),
        (
            Outcome::TimedOut { stage: StopStage::Unkillable },
            r#"{"timed_out":{"stage":"unkillable"}}"#,
            137,
            "timed out and survived SIGKILL",
        ),
        (
            Outcome::Cancelled { by: CancelledBy::Signal(2), stage: StopStage::Grace },
            r#"{"cancelled":{"by":{"signal":2},"stage":"grace"}}"#,
            130,
            "cancelled by SIGINT",
        ),
        (
            Outcome::Cancelled { by: CancelledBy::ParentDied, stage: StopStage::Kill },
            r#"{"cancelled":{"by":"parent-died","stage":"kill"}}"#,
            137,
            "cancelled because its parent died and was killed",
        ),
        (
            Outcome::Cancelled { by: CancelledBy::Request, stage: StopStage::Leftovers },
            r#"{"cancelled":{"by":"request","stage":"leftovers"}}"#,
            143,
            "cancelled on request",
        ),
        (
            Outcome::StartFailed { step: StartStep::Exec, errno: Errno(2) },
            r#"{"start_failed":{"step":"exec","errno":2}}"#,
            127,
            "not started: could not execute it: No such file or directory (os error 2)",
        ),
        (
            Outcome::RestartLimitHit { code: Some(1) },
            r#"{"restart_limit_hit":{"code":1}}"#,
            69,
            "started again too often, and exited with 1",
        ),
        (
            Outcome::UnitEnded { unit: 2 },
            r#"{"unit_ended":{"unit":2}}"#,
            69,
            "ended because a unit did that it needs",
        ),
        (Outcome::Lost {}, r#"{"lost":{}}"#, 125, "lost: its supervisor died"),
    ];

    /// The form of a record and the exit code are promises to the programs that read them.
    #[test]
    fn an_outcome_is_told_the_same_way_everywhere() {
        for (outcome, json, code, words) in ALL {
            assert_eq!(serde_json::to_string(&outcome).unwrap(), json);
            assert_eq!(serde_json::from_str::<Outcome>(json).unwrap(), outcome);
            assert_eq!(outcome.code(CompatMode::Native), code, "{outcome}");
            assert_eq!(outcome.to_string(), words);
        }
    }

    #[test]
    fn nothing_aborted_reads_as_success() {
        for stage in [StopStage::Grace, StopStage::Leftovers, StopStage::Kill, StopStage::Unkillable] {
            assert_ne!(Outcome::TimedOut { stage }.code(CompatMode::Native), 0);
            for by in [
                CancelledBy::Signal(1),
                CancelledBy::Signal(64),
                CancelledBy::ParentDied,
                CancelledBy::Request,
            ] {
                assert!(Outcome::Cancelled { by, stage }.code(CompatMode::Native) >= 128);
            }
        }
    }
}
