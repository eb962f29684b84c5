//! An operator's own kind of lock, as it stands in the configuration file and as sexton-watch is told of it.

use serde::{Deserialize, Serialize};

use crate::locks::LockKinds;
use crate::locks::format::{Format, Keys};
use crate::locks::kind::{Kind, LockShape, SocketPath};
use crate::locks::rule::Pattern;

/// A kind of lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LockRule {
    /// Its name in log lines; without it, the path.
    pub name: Option<String>,
    /// Where it lies below a root; `*` stands for any bytes but `/`.
    pub path: String,
    /// How it is written: `json`, `pid` (a pid file), `first-line` (a pid file with more lines) or
    /// `symlink` (to HOST-PID).
    pub format: LockFormat,
    /// The field with the owner's pid; without it, `pid`. A dotted path leads deeper.
    pub pid: Option<String>,
    /// The field with the owner's start time, as field 22 of /proc/PID/stat has it.
    pub started: Option<String>,
    /// The field with the host's name.
    pub host: Option<String>,
    /// The field with /proc/sys/kernel/random/boot_id.
    pub boot: Option<String>,
    /// Whether its owner has the file open as long as it holds the lock.
    #[serde(default)]
    pub keeps_open: bool,
    /// The files that its owner has open instead, from soon after it has taken the lock until shortly before it gives it up:
    /// a path below the lock's directory; `*` stands for any bytes but `/`.
    pub witness: Option<String>,
    /// Where its owner listens as long as it holds the lock: a path below the lock's directory. `*` in it stands for what
    /// the `*` in the lock's name stands for.
    pub socket: Option<String>,
}

/// How a lock is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LockFormat {
    /// JSON.
    Json,
    /// A pid file.
    Pid,
    /// A pid file with more lines: the pid is on the first one.
    FirstLine,
    /// A symbolic link to HOST-PID.
    Symlink,
}

impl LockRule {
    /// Where their owner listens; `None` if the path leads out of the lock's directory, or its `*` stands for nothing.
    #[must_use]
    pub fn socket_path(&self) -> Option<SocketPath> {
        SocketPath::new(self.socket.as_ref()?, &self.path)
    }

    /// Where such locks lie and what they are; `None` if the path leads out of a root.
    #[must_use]
    pub fn kind(&self) -> Option<(Pattern, Kind)> {
        let (form, format) = match self.format {
            LockFormat::Pid => (LockShape::File, Format::Pid),
            LockFormat::FirstLine => (LockShape::File, Format::FirstLine),
            LockFormat::Symlink => (LockShape::Symlink(&[]), Format::HostAndPid),
            LockFormat::Json => {
                let pid = self.pid.clone().unwrap_or_else(|| "pid".to_owned());
                let (started, host, boot) = (self.started.clone(), self.host.clone(), self.boot.clone());
                (LockShape::File, Format::Json(Box::new(Keys { pid, started, host, boot })))
            }
        };
        let kind = Kind {
            name: self.name.as_ref().unwrap_or(&self.path).clone().into(),
            form,
            format,
            keeps_open: self.keeps_open && form == LockShape::File,
            witness: self.witness.as_deref().and_then(Pattern::new),
            socket: self.socket_path(),
            lifelong: false,
            common_name: false,
            recovers: false,
        };
        Some((Pattern::new(&self.path)?, kind))
    }
}

/// All kinds that are known where these rules are.
#[must_use]
pub fn lock_kinds(rules: &[LockRule]) -> LockKinds {
    LockKinds::with(rules.iter().filter_map(LockRule::kind).collect())
}
