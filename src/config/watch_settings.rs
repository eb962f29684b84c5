//! What sexton-watch is to look at, resolved. sexton reads it from the configuration file and hands it on as
//! JSON, so that sexton-watch reads no configuration itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lock_rule::LockRule;

/// Everything that is looked at. Nothing of it is the same as no sexton-watch at all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchSettings {
    /// How the gateway is asked whether it is well; all probes must be content.
    pub health: Vec<Probe>,
    /// How long after its start nothing is done about a gateway that is not well.
    pub start_period: Duration,
    /// The number of latencies that make the window of the percentiles.
    pub window: usize,
    /// The tree's limits.
    pub limits: Limits,
    /// The logs that are followed.
    pub logs: Vec<Log>,
    /// Whether, and how, locks held too long are looked for.
    pub locks: Option<HeldLocks>,
    /// The command that is told of every incident, its JSON on standard input.
    pub alerts: Option<Alerts>,
    /// Where the HTTP listener is.
    pub listen: Option<SocketAddr>,
}

impl WatchSettings {
    /// Nothing is watched, and the other values are defaults. Two hundred latencies are enough for a 99th percentile,
    /// and old ones are soon dropped.
    #[must_use]
    pub fn usual() -> WatchSettings {
        WatchSettings { window: 200, ..WatchSettings::default() }
    }
}

/// One way of asking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// What it is called in reports.
    pub name: String,
    /// What is asked.
    pub ask: ProbeKind,
    /// How often.
    pub interval: Duration,
    /// When an answer is given up.
    pub timeout: Duration,
    /// When an answer is too late.
    pub slow_after: Duration,
    /// How many times in a row it must go wrong before that counts.
    pub failure_threshold: u32,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// GET this `http://` address.
    Http {
        /// The address.
        url: String,
        /// The status that means well.
        status: u16,
        /// Fields of a JSON answer and what they must be, `ready` = `true` say; a dotted path leads deeper.
        fields: Vec<(String, serde_json::Value)>,
    },
    /// Connect.
    Tcp {
        /// Host and port.
        address: String,
    },
    /// Look whether this file was written lately.
    Heartbeat {
        /// The file, which the gateway writes again and again.
        file: PathBuf,
        /// How long ago it may have been written.
        max_age: Duration,
    },
    /// Run this; 0 means well.
    Command {
        /// The command and its arguments.
        argv: Vec<String>,
    },
}

/// The tree's limits.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// How often the tree is counted; zero for never.
    pub interval: Duration,
    /// Bytes of resident memory above which the tree has too much.
    pub memory: Option<u64>,
    /// Zombies of one live parent from which on they are too many.
    pub zombies: Option<u64>,
}

/// A log that is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// What it is called in reports.
    pub name: String,
    /// The files; `*` and `?` as in a shell.
    pub files: Vec<String>,
    /// What a line must match (the regex crate's syntax).
    pub pattern: String,
    /// How many matches within the window are an incident.
    pub count: u32,
    /// The window.
    pub interval: Duration,
    /// Whether the gateway is then stopped and started again; the decision is not sexton-watch's.
    #[serde(default)]
    pub restart: bool,
}

/// How locks held too long are looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldLocks {
    /// The lock roots.
    pub roots: Vec<PathBuf>,
    /// How long a lock may be held that sets itself no limit; `None` for as long as it likes.
    pub report_after: Option<Duration>,
    /// How often they are looked for.
    pub interval: Duration,
    /// The operator's own kinds, which are looked for besides OpenClaw's.
    #[serde(default)]
    pub rules: Vec<LockRule>,
}

/// Who is told of incidents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alerts {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}
