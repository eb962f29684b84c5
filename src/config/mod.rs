//! What sexton is to do, validated and fully resolved.
//!
//! Nothing is decided twice: the other rooms read the plan and never the command line or the environment.

pub mod change;
pub mod file;
pub mod lock_rule;
mod plan;
mod preset;
pub mod spelled;
mod tool;
pub mod unit;
pub mod watching;
pub(crate) mod words;

pub use plan::{ByHand, Control, Locks, Origin, Plan, Problem, Task};
pub use tool::{RecordTo, ToolPlan};
