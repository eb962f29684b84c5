//! Everything that is said over the control socket, and between sexton and sexton-watch.
//!
//! A request is one line of JSON, and so is its reply. sexton-watch speaks the same language over a socket that
//! it inherits, one packet a line; only there a [`Request::WatchReport`] is accepted. Times are milliseconds since the
//! epoch, durations milliseconds, sizes bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::watch_settings::WatchSettings;
pub use crate::types::{HealthState, IncidentKind, UnitState};

/// The variable that tells sexton-watch which of its descriptors leads to sexton.
pub const WATCH_VARIABLE: &str = "SEXTON_WATCH_FD";

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Give the status; answered by [`Answer::Status`].
    Status,
    /// Give the status now, and again whenever it has changed, at most once a second.
    Subscribe,
    /// Begin the stop ladder, as a TERM would.
    Stop,
    /// Stop one unit, or the gateway, by its ladder, and start it again.
    Restart {
        /// The unit; the gateway if it is not named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
    /// Send a signal to a unit's main process, or to the gateway's.
    Signal {
        /// The signal's name or number, as `--stop-signal` takes it.
        signal: String,
        /// The unit; the gateway if it is not named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
    /// End a tool as its deadline would.
    Cancel {
        /// Its id, or its name if only one has it.
        tool: String,
    },
    /// Read the configuration file again. The reply names what cannot change while sexton runs.
    Reload,
    /// A tool run begins. The connection stays open as long as the run, so its end tells of a lost supervisor.
    ToolBegan(ToolRun),
    /// A tool run has ended.
    ToolEnded(ToolRecord),
    /// Something that sexton-watch has seen.
    WatchReport(WatchReport),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is being done, or was; with what is worth knowing of it.
    Done(String),
    /// It cannot be done: what is wrong, and what to do instead.
    Refused(String),
    /// How everything is.
    Status(Box<Status>),
    /// To a tool, on its connection: it is to end now.
    Cancelled(String),
}

/// How everything is. sexton itself has tools as text that is ready to be sent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Status<Tool = ToolRun, Ended = ToolRecord> {
    /// sexton's version.
    pub version: String,
    /// sexton's own pid.
    pub pid: i32,
    /// When sexton was started.
    pub since: u64,
    /// How the whole tree is reached: `kill-all`, `cgroup` or `tree`.
    pub reach: String,
    /// Where sexton-watch's HTTP listener is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<String>,
    /// The gateway: the main process.
    pub gateway: UnitStatus,
    /// The declared units, in their order of start.
    pub units: Vec<UnitStatus>,
    /// The tools that run.
    pub tools: Vec<Tool>,
    /// The tools that ended last, the latest first.
    pub ended: Vec<Ended>,
    /// What sexton-watch said last of the gateway's health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What sexton-watch counted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub census: Option<TreeStats>,
    /// What is wrong at this moment, and what was lately; those that last come first.
    pub incidents: Vec<Incident>,
    /// What sexton has counted since its start.
    pub counters: Counters,
    /// Every process below sexton, parents before their children. sexton leaves it empty: the client can read them from
    /// /proc, and `sexton status --json` does.
    #[serde(default)]
    pub processes: Vec<Process>,
}

impl Status {
    /// The same with these tools in the place of its own.
    #[must_use]
    pub fn with_tools<Tool, Ended>(self, tools: Vec<Tool>, ended: Vec<Ended>) -> Status<Tool, Ended> {
        Status {
            version: self.version,
            pid: self.pid,
            since: self.since,
            reach: self.reach,
            watch: self.watch,
            gateway: self.gateway,
            units: self.units,
            tools,
            ended,
            health: self.health,
            census: self.census,
            incidents: self.incidents,
            counters: self.counters,
            processes: self.processes,
        }
    }
}

impl Status {
    /// How many processes of the tree are alive. The client lists the processes if it can see them, and they are
    /// counted. Otherwise it is the number of this census.
    #[must_use]
    pub fn living(&self, census: &TreeStats) -> u64 {
        let living = self.processes.iter().filter(|process| process.state != 'Z').count();
        if living > 0 { living as u64 } else { census.processes }
    }
}

/// A unit, or the gateway.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Its name; `gateway` for the main process.
    pub name: String,
    /// Where it stands.
    pub state: UnitState,
    /// Its main process; of a unit, the supervisor above that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Of a unit, its main process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<i32>,
    /// Since when it is in this state.
    pub since: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// How its last run ended, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// A tool run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ToolRun {
    /// Unlike every other's on this machine.
    pub id: String,
    /// What it was called.
    pub name: String,
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// The process that supervises it; sexton puts in who registered it, as the kernel says.
    pub supervisor: i32,
    /// Its main process.
    pub pid: i32,
    /// When it was started.
    pub began: u64,
    /// How long it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// A tool run that has ended. The whole record is what `--record` writes; its fields beside these are kept as
/// they are. One comes later: `locks_released` has the paths of the locks that sexton removed after the run, because
/// their owner was its main process or one that had to be ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ToolRecord {
    /// The run's id.
    pub id: String,
    /// What it was called.
    pub name: String,
    /// When it ended.
    pub ended: u64,
    /// How long it ran.
    pub duration: u64,
    /// How it ended: an outcome as the record has it, `{"exited":{"code":0}}` say.
    pub outcome: serde_json::Value,
    /// Everything else.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// What sexton-watch tells: changes, and a summary now and then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum WatchReport {
    /// A sexton-watch has started and asks for its settings. Conditions that an earlier one reported last until this
    /// one reports their end.
    Hello {
        /// Its version.
        version: String,
    },
    /// Its HTTP listener is there.
    Listening {
        /// Host and port.
        address: String,
    },
    /// The gateway's health has changed, or the summary of it is due.
    Health(Health),
    /// The tree was counted.
    TreeStats(TreeStats),
    /// Something is wrong, or is no longer wrong.
    Condition(Condition),
}

/// What sexton tells sexton-watch, one packet each over the socket that it inherits as `SEXTON_WATCH_FD`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchCommand {
    /// The first packet, and again when the settings have changed.
    Settings(Box<WatchConfig>),
    /// The gateway's state has changed: it is asked whether it is well only while it runs.
    Gateway(UnitStatus),
    /// How everything is; the answer to [`Request::Status`].
    Status(Box<Status>),
    /// An incident has begun or ended, found by sexton or by sexton-watch. The alert command is told of it.
    Incident(Incident),
}

/// Everything that sexton-watch has to know to begin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchConfig {
    /// What is looked at.
    pub settings: WatchSettings,
    /// The gateway, if it has been started.
    pub gateway: Option<UnitStatus>,
    /// The incidents that an earlier sexton-watch has reported and that still last. They are not reported twice, and
    /// their end is reported.
    pub incidents: Vec<Incident>,
    /// sexton's version.
    pub version: String,
}

/// How well the gateway answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Health {
    /// What all the probes together say.
    pub state: HealthState,
    /// Since when.
    pub since: u64,
    /// It is not well, and nothing is done about it yet, because of the start period.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub excused: bool,
    /// When the last probe ended.
    pub at: u64,
    /// Why, in words.
    pub reason: String,
    /// The last answer's latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ms: Option<f64>,
    /// The median over the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// The 99th percentile over the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// The largest in the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<f64>,
    /// The gateway's own account of its event loop, where it has one (OpenClaw's `/readyz`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_loop: Option<EventLoop>,
}

/// What OpenClaw says of its event loop (`/readyz`, `eventLoop`).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct EventLoop {
    /// Whether it thinks that it is doing badly.
    pub degraded: bool,
    /// The 99th percentile of the loop's delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_p99_ms: Option<f64>,
    /// The part of the time in which it was busy, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
}

/// The tree below sexton, counted.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TreeStats {
    /// When.
    pub at: u64,
    /// Processes that are alive.
    pub processes: u64,
    /// Zombies that a live parent other than sexton does not reap.
    pub zombies: u64,
    /// Resident memory, shared pages counted every time.
    pub rss: u64,
    /// Proportional memory, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pss: Option<u64>,
    /// How much the resident memory grows in a minute, over the last minutes.
    pub growth: i64,
}

/// Something that is wrong while it lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// What kind of thing.
    pub kind: IncidentKind,
    /// Which one, among those of its kind: a path, a pid, a rule's name; bounded to 256 bytes.
    pub subject: String,
    /// Whether it is so now.
    pub holds: bool,
    /// What an operator would want to read.
    pub detail: String,
}

/// A condition with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// What kind of thing.
    pub kind: IncidentKind,
    /// Which one.
    pub subject: String,
    /// What an operator would want to read.
    pub detail: String,
    /// When it began.
    pub began: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
}

/// What sexton has counted since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Adopted processes that were reaped.
    pub reaped: u64,
    /// How often the gateway was started again.
    pub restarts: u64,
    /// Locks that were removed.
    pub locks_removed: u64,
    /// Signals that were passed on.
    pub signals: u64,
    /// Log lines that standard error did not take.
    pub log_lines_dropped: u64,
    /// Tool runs that ended.
    pub tools: u64,
}

/// A process of the tree.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// Its state as /proc has it: R, S, D, T, Z.
    pub state: char,
    /// How long it lives.
    pub age: u64,
    /// Its resident memory.
    pub rss: u64,
    /// Its name (comm).
    pub name: String,
    /// Its owner: a unit's name or a tool's id; `None` if it has no known owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The tool that owns it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub orphan: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of a line is a promise to the authors of clients.
    #[test]
    fn lines_stay_as_they_are() {
        for (request, line) in [
            (Request::Status, r#"{"op":"status"}"#),
            (Request::Restart { unit: None }, r#"{"op":"restart"}"#),
            (Request::Cancel { tool: "t".into() }, r#"{"op":"cancel","tool":"t"}"#),
            (
                Request::WatchReport(WatchReport::Condition(Condition {
                    kind: IncidentKind::LockHeld,
                    subject: "/data/x.lock".into(),
                    holds: true,
                    detail: "held".into(),
                })),
                r#"{"op":"watch-report","report":"condition","kind":"lock-held","subject":"/data/x.lock","holds":true,"detail":"held"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
        let done = Answer::Done("it stops".into());
        assert_eq!(serde_json::to_string(&done).unwrap(), r#"{"done":"it stops"}"#);
    }
}
