//! The neighbours of the gateway: long-lived processes that are started and stopped with it.

use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::supervisor::Restart;

/// What the main process is called among them.
pub const GATEWAY: &str = "gateway";

/// One of them, resolved.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Its command and arguments.
    pub command: Vec<CString>,
    /// Whether it is started only when the gateway runs, and is stopped before it. The others are started
    /// before the gateway and stopped after it.
    pub after_gateway: bool,
    /// What follows its end.
    pub restart: Restart,
    /// What is set in its environment besides sexton's own.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory; sexton's own if there is none.
    pub directory: Option<PathBuf>,
    /// Who it runs as; as sexton does if there is none.
    pub user: Option<User>,
    /// Whether its end for good is the end of everything.
    pub required: bool,
    /// Whether each line of its output gets its name in front.
    pub prefix: bool,
    /// Its window after a stop signal.
    pub grace: Duration,
    /// The window of what it leaves behind.
    pub kill_after: Duration,
}

/// Who a process runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The primary group's id.
    pub gid: u32,
}

/// How tools are run: what `sexton tool` and `sexton-sh` take where their own command line says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// How long a tool may run; for ever if there is none.
    pub timeout: Option<Duration>,
    /// A tool's window after TERM.
    pub grace: Duration,
    /// What a tool leaves behind with us is ended, and not only shown.
    pub end_orphans: bool,
    /// The file to which each run's record is added.
    pub record: Option<PathBuf>,
}

impl Default for Tools {
    fn default() -> Tools {
        Tools { timeout: None, grace: Duration::from_secs(5), end_orphans: true, record: None }
    }
}
