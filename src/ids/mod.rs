//! The small values that every other room speaks in: process ids, signals, exit statuses, moments.
//!
//! Nothing here asks the system anything, and nothing here imports another room.

mod dress;
pub mod exit_code;
mod outcome;
mod process;
mod signal;
mod state;
mod text;

pub use dress::Dress;
pub use exit_code::Stage;
pub use outcome::{Canceller, Outcome, Rung};
pub use process::{Errno, ExitStatus, Moment, Pid, StartTime};
pub use signal::{ParseSignalError, Signal, SignalSet};
pub use state::{HealthState, Kind, UnitState};
pub use text::one_line;
