//! One run of a tool.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::Plan;

/// What `sexton tool` and `sexton-sh` are to do.
#[derive(Debug, Clone)]
pub struct ToolPlan {
    /// How it is run; its `grace` is the window of the whole tree after TERM.
    pub plan: Rc<Plan>,
    /// What it is called in records and in the status.
    pub name: String,
    /// How long it may run; for ever if there is none.
    pub timeout: Option<Duration>,
    /// Where its record is written.
    pub record: Option<RecordTo>,
    /// A variable says so, which the sexton above has set. Who runs the tool cannot mend what is wrong with it, so that
    /// the tool runs without a record then.
    pub record_inherited: bool,
    /// The sexton above is told of it, which shows it and can cancel it.
    pub registered: bool,
    /// It stands for a shell: a signal that ends the shell ends sexton as well, as its caller would see it.
    pub shell: bool,
    /// Log lines are wanted, so that standard error stays open to the end.
    pub verbose: bool,
}

/// Where a record is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordTo {
    /// At the end of this file, which is made if it is not there.
    File(PathBuf),
    /// Through this descriptor, which the tool does not get.
    Descriptor(i32),
}
