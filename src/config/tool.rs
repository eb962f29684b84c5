//! One run of a tool: the options of `sexton tool`, each defined once, and the plan.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::Plan;
use super::setting::{Setting, Table, letter, option, settings};
use super::unit::Tools;
use super::value::{Count, Value};

settings! {
    ToolSettings from GivenTool, variables "SEXTON_TOOL_":

    /// How long it may run.
    timeout: Option<Duration> = None =>
        option("timeout", "D", "How long it may run; for ever without it"),

    /// Window of the whole tree after TERM.
    grace: Duration = Tools::default().grace =>
        option("grace", "D", "Window of the whole tree after TERM").shows_default(),

    /// What it is called in the record and in the status; its program's name, if nothing is said.
    name: Option<OsString> = None =>
        option("name", "N", "Its name in the record and in the status").without_variable(),

    /// Where its record is written.
    record: Option<RecordTo> = None =>
        option("record", "FILE|FD", "Add one line of JSON about the run to a file, or to a descriptor"),

    /// What is waited for.
    wait: WaitForTool = WaitForTool::Leader =>
        option("wait", "WHOM", "all: wait for what it leaves behind, too").shows_default().without_variable(),

    /// How much more is logged.
    verbose: Count = Count(0) =>
        letter('v', "More log lines: -v info, -vv debug, -vvv trace"),
}

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

/// What is waited for after the end of a tool's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitForTool {
    /// Nothing: what it leaves behind is ended.
    #[default]
    Leader,
    /// The end of everything that it leaves behind.
    All,
}
