//! The small values that every other module speaks in: process ids, signals, exit statuses, moments.
//!
//! Nothing here asks the system anything, and nothing here imports another module.

mod compat;
pub mod exit_code;
mod outcome;
mod process;
mod signal;
mod state;
mod text;

pub use compat::CompatMode;
pub use exit_code::StartStep;
pub use outcome::{CancelledBy, Outcome, StopStage};
pub use process::{Errno, ExitStatus, MonoTime, Pid, StartTime};
pub use signal::{ParseSignalError, Signal, SignalSet};
pub(crate) use state::words;
pub use state::{HealthReport, HealthState, IncidentKind, UnitState};
pub use text::{Escaped, is_deceptive, one_line, printable};
