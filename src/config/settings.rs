//! The settings that an option can give, each defined once.
//!
//! Of one entry in the table below are made: the option of the command line with its help, the variable (`SEXTON_` and
//! the option's name), the key of the configuration file with its description in the schema, the line that `sexton
//! check` shows, and what a reload does about it. A new option is a new entry, a place where its value is used
//! (`plan.settings.NAME`) and a test.
//!
//! ```text
//! /// What the key's description in the schema says.
//! name: Type = default => option("its-name", "VALUE", "its line in --help").key("key").live(),
//! ```
//!
//! Keys that only the file has are in `file`.

use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::plan::Control;
use super::setting::{Setting, Table, flag, letter, option, settings};
use super::value::{Count, Delay, Enabled, LogFormat, Rewrite, Step, StopSignals, Value, WaitFor};
use crate::locks::Action;
use crate::types::Signal;

settings! {
    Settings from Given, variables "SEXTON_":

    /// Window of the main process after a stop signal.
    grace: Duration = Duration::from_secs(30) =>
        option("grace", "D", "Main process's window to stop").shows_default().key("grace").live(),

    /// Window of what is left after it, after TERM; then KILL.
    kill_after: Duration = Duration::from_secs(5) =>
        option("kill-after", "D", "Then TERM to all, this long; KILL").shows_default().key("kill_after").live(),

    /// Whether signals go to the command's whole process group.
    group: bool = false =>
        flag("group", "Pass signals to the command's whole process group").short('g').key("group").live(),

    /// Signals that are sent in the place of others: `S:R`; `S:0` drops S.
    rewrite: Vec<Rewrite> = Vec::new() =>
        option("rewrite", "S:R", "Send signal R in the place of S; 0 drops it").key("rewrite").live(),

    /// How long a signal is held before it is passed on: `SIG=D`.
    delay: Vec<Delay> = Vec::new() =>
        option("delay", "SIG=D", "Hold this signal for D before passing it on").key("delay").live(),

    /// The signals that ask for a stop.
    stop_signals: StopSignals = StopSignals::Usual =>
        option("stop-signal", "SIG", "Asks for a stop (TERM, INT, RTMIN+3, PWR)").key("stop_signals").live(),

    /// Steps for the main process in the place of `grace`: signals and their windows.
    stop_sequence: Vec<Step> = Vec::new() =>
        option("stop-sequence", "LIST", "In place of --grace: TERM:20s,INT:5s,KILL").key("stop_sequence").live(),

    /// `all` waits for what the command leaves behind; `main` ends it.
    wait: WaitFor = WaitFor::Main =>
        option("wait", "WHOM", "all: wait for what the command leaves behind").default_in_manual().key("wait").live(),

    /// Exit codes that become 0.
    remap_exit: Vec<u8> = Vec::new() =>
        option("remap-exit", "CODE", "Turn this exit code into 0; repeatable").short('e').key("remap_exit"),

    /// The state directories with locks in them; without them, those in which OpenClaw would look.
    lock_root: Vec<PathBuf> = Vec::new() =>
        option("lock-root", "DIR", "State directory with locks; repeatable. Without it, OpenClaw's is found")
            .without_variable().key("locks.roots"),

    /// Whether anything is done about locks at all.
    locks: Enabled = Enabled(true) =>
        flag("no-locks", "Leave all locks alone, whatever the roots").key("locks.enabled"),

    /// How long a lock sweep may delay the launch or the end.
    sweep_timeout: Duration = Duration::from_secs(5) =>
        option("sweep-timeout", "D", "What a sweep may take at start").shows_default().key("locks.sweep_timeout"),

    /// The configuration file. Empty, as a variable often is that stands for nothing, it means no file.
    config: Option<PathBuf> = None =>
        option("config", "FILE", "Read more settings from this file"),

    /// The preset, if the operator names one, who wins over the file.
    preset: Option<String> = None =>
        option("preset", "NAME", "Begin with what suits a gateway: hermes, ..."),

    /// Whether the command's `SHELL` is sexton-sh, so that each tool that it runs is managed.
    tool_shell: bool = false =>
        flag("tool-shell", "Run the command's tools through sexton-sh").hidden().key("tools.shell").live(),

    /// What becomes of a lock that was left behind: `remove` it, or `hand-over` to a gateway that recovers from
    /// it.
    lock_action: Action = Action::Remove =>
        option("lock-action", "A", "Of a lock left behind: remove, or hand-over").key("locks.action"),

    /// How long a lock that was handed over is left to the starting gateway.
    start_window: Duration = Duration::from_secs(300) =>
        option("start-window", "D", "How long a lock that was handed over is left to the starting gateway")
            .hidden().shows_default().key("locks.start_window"),

    /// Report a lock that is held longer than this, besides the limit that it sets itself.
    lock_report_after: Option<Duration> = None =>
        option("lock-report-after", "D", "Report locks that are held longer than this").key("locks.report_after"),

    /// The path of the control socket, or `off`. Without it: /run/sexton/control.sock, else one below
    /// `XDG_RUNTIME_DIR`, else one in `sexton-UID` below /tmp or /dev/shm.
    control: Control = Control::Default =>
        option("control", "PATH", "The control socket's path, or off").hidden().key("control"),

    /// How much more is logged.
    verbose: Count = Count(0) =>
        letter('v', "More log lines: -v info, -vv debug, -vvv trace"),

    /// How log lines look.
    log_format: LogFormat = LogFormat::Text =>
        option("log-format", "F", "Log lines as text or json").default_in_manual().key("log_format"),

    /// The least level to log.
    log: LevelFilter = LevelFilter::WARN =>
        option("log", "L", "Least level to log: error, warn, info, debug, trace").hidden().key("log").live(),

    /// The signal that sexton itself gets when its parent dies.
    parent_death: Option<Signal> = None =>
        option("parent-death", "SIG", "Signal for sexton itself when its parent dies").short('p').key("parent_death"),

    /// Whether there is a warning for each adopted process that was reaped.
    warn_reaped: bool = false =>
        flag("warn-reaped", "Warn about each adopted process that was reaped").short('w').key("warn_reaped"),

    /// Whether sexton is to be a subreaper, which it always is.
    subreaper: bool = false =>
        letter('s', "Accepted for tini's sake: sexton is always a subreaper").hidden(),
}
