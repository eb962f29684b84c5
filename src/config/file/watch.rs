//! `[health]`, `[limits]`, `[logs.NAME]`, `[alerts]` and `[watch]`: what sexton-watch looks at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::argv::Argv;
use super::error::{InvalidValue, WithPath};
use super::values::{OneOrMore, Reaction, Scalar, Size};
use crate::config::value::Text;
use crate::config::watch_settings::{Alerts, Limits, Log, Probe, ProbeKind};
use crate::types::IncidentKind;

/// How often the tree is counted, where nothing else is said.
pub(super) const CENSUS: Duration = Duration::from_secs(10);

/// How the gateway is asked whether it is well.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHealth {
    /// One or more `http://` addresses to GET.
    url: OneOrMore,
    /// The status that means well.
    status: Option<u16>,
    /// Fields of the JSON answers and what they must be; a dotted path leads deeper.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, serde_json::Value>"))]
    fields: BTreeMap<String, Scalar>,
    /// One or more HOST:PORT to connect to.
    tcp: OneOrMore,
    /// A file that the gateway writes again and again, its heartbeat.
    file: Option<PathBuf>,
    /// How long ago that file may have been written.
    max_age: Option<Text<Duration>>,
    /// A command; 0 means well.
    command: Option<Argv>,
    /// How often each is asked.
    interval: Option<Text<Duration>>,
    /// When an answer is given up.
    timeout: Option<Text<Duration>>,
    /// When an answer is too late.
    slow_after: Option<Text<Duration>>,
    /// How long after its start nothing is done about a gateway that is not well.
    start_period: Option<Text<Duration>>,
    /// How many times in a row it must go wrong before that counts.
    failure_threshold: Option<u32>,
    /// What follows when the gateway does not answer.
    action: Reaction,
}

/// The limits of the whole tree of processes.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    /// The resident memory above which the tree has too much. `1500M` is 1500 times 1024 times 1024 bytes.
    memory: Option<Size>,
    /// Zombies of one live parent from which on they are too many.
    zombies: Option<u64>,
    /// How often the tree is counted.
    interval: Option<Text<Duration>>,
    /// What follows when a limit is passed.
    action: Reaction,
}

/// A log that is followed.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    /// The files; `*` and `?` as in a shell.
    files: OneOrMore,
    /// What a line must match, as a regular expression.
    pattern: String,
    /// How many matches within the window are an incident.
    count: Option<u32>,
    /// The window.
    interval: Option<Text<Duration>>,
    /// What follows.
    #[serde(default)]
    action: Reaction,
}

/// Who is told of incidents.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlerts {
    /// The command that gets each incident as JSON on its standard input.
    command: Argv,
    /// How long it may take.
    timeout: Option<Text<Duration>>,
}

/// sexton-watch itself.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawWatch {
    /// The address and port of its HTTP listener, with metrics, probes and a status page.
    listen: Option<String>,
}

impl RawHealth {
    /// The probes, the start period, and whether the gateway is replaced.
    pub(super) fn check(self) -> Result<(Vec<Probe>, Duration, bool), InvalidValue> {
        let interval = positive("interval", self.interval, 5)?;
        let timeout = positive("timeout", self.timeout, 3)?;
        let slow_after = self.slow_after.map_or(Duration::from_secs(1).min(timeout), |time| time.0);
        if slow_after > timeout {
            return Err(InvalidValue::new(
                "it is longer than 'timeout', after which no answer is waited for",
            )
            .below("slow_after"));
        }
        let failure_threshold = self.failure_threshold.unwrap_or(3);
        if failure_threshold == 0 {
            return Err(InvalidValue::new("it has to be at least 1").below("failure_threshold"));
        }
        let status = self.status.unwrap_or(200);
        if !(100..600).contains(&status) {
            return Err(InvalidValue::new("a status is a number from 100 to 599").below("status"));
        }
        let fields: Vec<(String, serde_json::Value)> =
            self.fields.into_iter().map(|(name, value)| (name, value.0)).collect();
        let mut asked = Vec::new();
        for (index, url) in self.url.0.iter().enumerate() {
            address_of(url).map_err(|flaw| flaw.at(index)).below("url")?;
            asked.push((url.clone(), ProbeKind::Http { url: url.clone(), status, fields: fields.clone() }));
        }
        for (index, address) in self.tcp.0.iter().enumerate() {
            host_and_port(address).map_err(|flaw| flaw.at(index)).below("tcp")?;
            asked.push((format!("tcp {address}"), ProbeKind::Tcp { address: address.clone() }));
        }
        let max_age = positive("max_age", self.max_age, 60)?;
        if let Some(file) = self.file {
            if !file.is_absolute() {
                let what = format!("'{}' has to begin with /; write the whole path", file.display());
                return Err(InvalidValue::new(what).below("file"));
            }
            asked.push((format!("file {}", file.display()), ProbeKind::Heartbeat { file, max_age }));
        }
        if let Some(command) = self.command {
            let argv = command.words().below("command")?;
            asked.push(("command".to_owned(), ProbeKind::Command { argv }));
        }
        let probe = |(name, ask)| Probe { name, ask, interval, timeout, slow_after, failure_threshold };
        let probes: Vec<Probe> = asked.into_iter().map(probe).collect();
        let replaces = self.action == Reaction::Restart;
        if replaces && probes.is_empty() {
            let what = "nothing is asked; give 'url', 'tcp', 'file' or 'command'";
            return Err(InvalidValue::new(what).below("action"));
        }
        // Without one, a gateway that starts slowly would be replaced for ever.
        let start_period = self.start_period.map_or(Duration::from_secs(60), |time| time.0);
        Ok((probes, start_period, replaces))
    }
}

fn address_of(url: &str) -> Result<(), InvalidValue> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        InvalidValue::new(format!(
            "'{url}' has to begin with http://, such as http://127.0.0.1:18789/healthz"
        ))
    })?;
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let sound = !host.is_empty()
        && !host.contains('@')
        && !url.contains(|c: char| c.is_whitespace() || c.is_control());
    if sound {
        Ok(())
    } else {
        Err(InvalidValue::new(format!("'{url}' has no host that can be asked; write http://HOST:PORT/PATH")))
    }
}

fn host_and_port(address: &str) -> Result<(), InvalidValue> {
    let parts = address.rsplit_once(':');
    let sound =
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if sound {
        Ok(())
    } else {
        Err(InvalidValue::new(format!("'{address}' has to be HOST:PORT, such as 127.0.0.1:18789")))
    }
}

pub(super) fn positive(
    key: &str,
    time: Option<Text<Duration>>,
    usual: u64,
) -> Result<Duration, InvalidValue> {
    let time = time.map_or(Duration::from_secs(usual), |time| time.0);
    if time.is_zero() { Err(InvalidValue::new("it has to be longer than 0").below(key)) } else { Ok(time) }
}

impl RawLimits {
    /// The limits, with `None` for an `every` that was not given, and the conditions that replace the gateway.
    pub(super) fn check(self) -> Result<(Limits, Option<Duration>, Vec<IncidentKind>), InvalidValue> {
        let limits = Limits {
            interval: Duration::ZERO,
            memory: self.memory.map(|size| size.0),
            zombies: self.zombies,
        };
        let mut replaces = Vec::new();
        if self.action == Reaction::Restart {
            replaces.extend(limits.memory.map(|_| IncidentKind::Memory));
            replaces.extend(limits.zombies.map(|_| IncidentKind::Zombies));
            if replaces.is_empty() {
                return Err(
                    InvalidValue::new("there is no limit; give 'memory' or 'zombies'").below("action")
                );
            }
        }
        for (key, zero) in [("memory", limits.memory == Some(0)), ("zombies", limits.zombies == Some(0))] {
            if zero {
                return Err(
                    InvalidValue::new("it has to be larger than 0; for no limit, leave it out").below(key)
                );
            }
        }
        let interval = self.interval.map(|time| time.0);
        if interval.is_some_and(|interval| interval.is_zero())
            && (limits.memory.is_some() || limits.zombies.is_some())
        {
            let what =
                "with 0 the tree is never counted, and no limit can be passed; take the limits out, or this";
            return Err(InvalidValue::new(what).below("interval"));
        }
        Ok((limits, interval, replaces))
    }
}

/// The logs that are followed.
pub(super) fn logs(raw: BTreeMap<String, RawLog>) -> Result<Vec<Log>, InvalidValue> {
    raw.into_iter().map(|(name, log)| log.check(name.clone()).below(name)).collect()
}

impl RawLog {
    fn check(self, name: String) -> Result<Log, InvalidValue> {
        if self.files.0.is_empty() || self.files.0.iter().any(String::is_empty) {
            return Err(InvalidValue::new("it is empty; name at least one file").below("files"));
        }
        if self.pattern.is_empty() {
            return Err(InvalidValue::new("it is empty, and would match interval line").below("pattern"));
        }
        let count = self.count.unwrap_or(1);
        if count == 0 {
            return Err(InvalidValue::new("it has to be at least 1").below("count"));
        }
        Ok(Log {
            name,
            files: self.files.0,
            pattern: self.pattern,
            count,
            interval: positive("interval", self.interval, 60)?,
            restart: self.action == Reaction::Restart,
        })
    }
}

impl RawAlerts {
    pub(super) fn check(self) -> Result<Alerts, InvalidValue> {
        Ok(Alerts {
            command: self.command.words().below("command")?,
            timeout: positive("timeout", self.timeout, 10)?,
        })
    }
}

impl RawWatch {
    pub(super) fn check(self) -> Result<Option<SocketAddr>, InvalidValue> {
        let listen = self.listen.map(|text| {
            text.parse().map_err(|_| {
                let what =
                    format!("'{text}' is no address and port; write it as 127.0.0.1:9464 or [::]:9464");
                InvalidValue::new(what).below("listen")
            })
        });
        listen.transpose()
    }
}
