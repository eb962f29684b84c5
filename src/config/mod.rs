//! What sexton is to do, validated and fully resolved.
//!
//! No setting is decided twice: the other modules read the plan, and never the command line. Of the environment they
//! read what another program left there for them, such as `NOTIFY_SOCKET`.

pub mod catalogue;
pub mod dump;
pub mod file;
pub mod file_access;
pub mod lock_rule;
pub mod openclaw;
pub mod package;
pub(crate) mod parse;
mod plan;
pub mod preset;
pub mod reload;
pub(crate) mod setting;
pub mod settings;
pub(crate) mod tool;
pub mod unit;
pub mod value;
pub mod watch_settings;

pub use plan::{Control, Locks, LocksCommand, Origin, Plan, Problem, StepCommand, Task};
pub use tool::{RecordTo, ToolPlan};
