//! `[locks]`: what is done about locks, and the operator's own kinds of them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::refused::{Below, Flaw};
use super::values::{Reaction, Text};
use crate::locks::Action;
use crate::locks::format::{Format, Keys};
use crate::locks::kind::{Form, Kind};
use crate::locks::rule::Pattern;

/// What is done about locks that a dead process left behind.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLocks {
    /// Whether anything is done about locks at all.
    enabled: Option<bool>,
    /// The state directories with locks in them; without them, those in which OpenClaw would look.
    roots: Vec<PathBuf>,
    /// What becomes of a lock that was left behind: `remove` it, or `hand-over` to a gateway that recovers from
    /// it.
    action: Option<RawAction>,
    /// How long a lock sweep may delay the launch or the end.
    sweep_deadline: Option<Text<Duration>>,
    /// How long a lock that was handed over is left to the starting gateway.
    start_window: Option<Text<Duration>>,
    /// Report a lock that is held longer than this, besides the limit that it sets itself.
    report_after: Option<Text<Duration>>,
    /// What follows when a living owner holds a lock past its limit. Either value starts sexton-watch.
    held_too_long: Option<Reaction>,
    /// Kinds of locks that sexton does not know by itself.
    rule: Vec<RawRule>,
}

#[derive(Deserialize, Clone, Copy)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum RawAction {
    Remove,
    HandOver,
}

/// A kind of lock.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct RawRule {
    /// Its name in log lines; without it, the path.
    name: Option<String>,
    /// Where it lies below a root; `*` stands for any bytes but `/`.
    path: String,
    /// How it is written: `json`, `pid` (a pid file) or `symlink` (to HOST-PID).
    format: RawFormat,
    /// The field with the owner's pid; without it, `pid`. A dotted path leads deeper.
    pid: Option<String>,
    /// The field with the owner's start time, as field 22 of /proc/PID/stat has it.
    started: Option<String>,
    /// The field with the host's name.
    host: Option<String>,
    /// The field with /proc/sys/kernel/random/boot_id.
    boot: Option<String>,
    /// Whether its owner has the file open as long as it holds the lock.
    #[serde(default)]
    keeps_open: bool,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum RawFormat {
    Json,
    Pid,
    Symlink,
}

/// What a file says of locks; what it leaves out is not there.
#[derive(Debug, Clone, Default)]
pub struct Locks {
    /// Whether anything is done about them.
    pub enabled: Option<bool>,
    /// The lock roots.
    pub roots: Vec<PathBuf>,
    /// What becomes of locks left behind.
    pub action: Option<Action>,
    /// How long a sweep may take.
    pub sweep_deadline: Option<Duration>,
    /// How long a lock that was handed over is left for the starting gateway to find.
    pub start_window: Option<Duration>,
    /// How long a lock may be held before that is reported.
    pub report_after: Option<Duration>,
    /// What follows when one is held too long.
    pub held_too_long: Option<Reaction>,
    /// The operator's own kinds of locks.
    pub kinds: Vec<(Pattern, Kind)>,
}

impl RawLocks {
    pub(super) fn check(self) -> Result<Locks, Flaw> {
        let kinds = self.rule.into_iter().enumerate();
        let kinds = kinds.map(|(index, rule)| rule.check().map_err(|flaw| flaw.at(index)));
        Ok(Locks {
            enabled: self.enabled,
            roots: self.roots,
            action: self.action.map(|action| match action {
                RawAction::Remove => Action::Remove,
                RawAction::HandOver => Action::HandOver,
            }),
            sweep_deadline: self.sweep_deadline.map(|time| time.0),
            start_window: self.start_window.map(|time| time.0),
            report_after: self.report_after.map(|time| time.0),
            held_too_long: self.held_too_long,
            kinds: kinds.collect::<Result<_, _>>().below("rule")?,
        })
    }
}

impl RawRule {
    fn check(self) -> Result<(Pattern, Kind), Flaw> {
        let pattern = Pattern::new(&self.path).ok_or_else(|| {
            let path = &self.path;
            Flaw::new(format!("'{path}' has to be a path below a root, without '.', '..' and empty parts"))
                .below("path")
        })?;
        let fields =
            [("pid", &self.pid), ("started", &self.started), ("host", &self.host), ("boot", &self.boot)];
        let named = fields.iter().find(|(_, field)| field.is_some());
        if let Some((field, _)) = named.filter(|_| self.format != RawFormat::Json) {
            let what = "only a rule of format \"json\" can name a field; remove it, or change the format";
            return Err(Flaw::new(what).below(field));
        }
        let (form, format) = match self.format {
            RawFormat::Pid => (Form::File, Format::Pid),
            RawFormat::Symlink => (Form::Symlink(&[]), Format::HostAndPid),
            RawFormat::Json => {
                let pid = self.pid.unwrap_or_else(|| "pid".to_owned());
                let keys = Keys { pid, started: self.started, host: self.host, boot: self.boot };
                (Form::File, Format::Json(Box::new(keys)))
            }
        };
        let kind = Kind {
            name: self.name.unwrap_or(self.path).into(),
            form,
            format,
            keeps_open: self.keeps_open && form == Form::File,
            lifelong: false,
            recovers: false,
        };
        Ok((pattern, kind))
    }
}
