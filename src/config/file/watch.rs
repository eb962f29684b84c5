//! `[health]`, `[limits]`, `[logs.NAME]`, `[alerts]` and `[watch]`: what sexton-watch looks at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::argv::Argv;
use super::refused::{Below, Flaw};
use super::values::{OneOrMore, Reaction, Scalar, Size, Text};
use crate::config::watching::{Alerts, Ask, Limits, Log, Probe};
use crate::ids::Kind;

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
    /// A command; 0 means well.
    command: Option<Argv>,
    /// How often each is asked.
    every: Option<Text<Duration>>,
    /// When an answer is given up.
    timeout: Option<Text<Duration>>,
    /// When an answer is too late.
    latency: Option<Text<Duration>>,
    /// How long after its start the gateway need not be well.
    start_period: Option<Text<Duration>>,
    /// How many times in a row it must go wrong before that counts.
    misses: Option<u32>,
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
    every: Option<Text<Duration>>,
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
    within: Option<Text<Duration>>,
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
    pub(super) fn check(self) -> Result<(Vec<Probe>, Duration, bool), Flaw> {
        let every = positive("every", self.every, 5)?;
        let timeout = positive("timeout", self.timeout, 3)?;
        let latency = self.latency.map_or(Duration::from_secs(1).min(timeout), |time| time.0);
        if latency > timeout {
            return Err(Flaw::new("it is longer than 'timeout', after which no answer is waited for")
                .below("latency"));
        }
        let misses = self.misses.unwrap_or(3);
        if misses == 0 {
            return Err(Flaw::new("it has to be at least 1").below("misses"));
        }
        let status = self.status.unwrap_or(200);
        if !(100..600).contains(&status) {
            return Err(Flaw::new("a status is a number from 100 to 599").below("status"));
        }
        let fields: Vec<(String, serde_json::Value)> =
            self.fields.into_iter().map(|(name, value)| (name, value.0)).collect();
        let mut asked = Vec::new();
        for (index, url) in self.url.0.iter().enumerate() {
            address_of(url).map_err(|flaw| flaw.at(index)).below("url")?;
            asked.push((url.clone(), Ask::Http { url: url.clone(), status, fields: fields.clone() }));
        }
        for (index, address) in self.tcp.0.iter().enumerate() {
            host_and_port(address).map_err(|flaw| flaw.at(index)).below("tcp")?;
            asked.push((format!("tcp {address}"), Ask::Tcp { address: address.clone() }));
        }
        if let Some(command) = self.command {
            let argv = command.words().below("command")?;
            asked.push(("command".to_owned(), Ask::Command { argv }));
        }
        let probe = |(name, ask)| Probe { name, ask, every, timeout, latency, misses };
        let probes: Vec<Probe> = asked.into_iter().map(probe).collect();
        let replaces = self.action == Reaction::Restart;
        if replaces && probes.is_empty() {
            let what = "nothing is asked; give 'url', 'tcp' or 'command'";
            return Err(Flaw::new(what).below("action"));
        }
        // Without one, a gateway that starts slowly would be replaced for ever.
        let start_period = self.start_period.map_or(Duration::from_secs(60), |time| time.0);
        Ok((probes, start_period, replaces))
    }
}

fn address_of(url: &str) -> Result<(), Flaw> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        Flaw::new(format!("'{url}' has to begin with http://, such as http://127.0.0.1:18789/healthz"))
    })?;
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let sound = !host.is_empty()
        && !host.contains('@')
        && !url.contains(|c: char| c.is_whitespace() || c.is_control());
    if sound {
        Ok(())
    } else {
        Err(Flaw::new(format!("'{url}' has no host that can be asked; write http://HOST:PORT/PATH")))
    }
}

fn host_and_port(address: &str) -> Result<(), Flaw> {
    let parts = address.rsplit_once(':');
    let sound =
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if sound {
        Ok(())
    } else {
        Err(Flaw::new(format!("'{address}' has to be HOST:PORT, such as 127.0.0.1:18789")))
    }
}

fn positive(key: &str, time: Option<Text<Duration>>, usual: u64) -> Result<Duration, Flaw> {
    let time = time.map_or(Duration::from_secs(usual), |time| time.0);
    if time.is_zero() { Err(Flaw::new("it has to be longer than 0").below(key)) } else { Ok(time) }
}

impl RawLimits {
    /// The limits, with `None` for an `every` that was not given, and the conditions that replace the gateway.
    pub(super) fn check(self) -> Result<(Limits, Option<Duration>, Vec<Kind>), Flaw> {
        let limits =
            Limits { every: Duration::ZERO, memory: self.memory.map(|size| size.0), zombies: self.zombies };
        let mut replaces = Vec::new();
        if self.action == Reaction::Restart {
            replaces.extend(limits.memory.map(|_| Kind::Memory));
            replaces.extend(limits.zombies.map(|_| Kind::Zombies));
            if replaces.is_empty() {
                return Err(Flaw::new("there is no limit; give 'memory' or 'zombies'").below("action"));
            }
        }
        for (key, zero) in [("memory", limits.memory == Some(0)), ("zombies", limits.zombies == Some(0))] {
            if zero {
                return Err(Flaw::new("it has to be larger than 0; for no limit, leave it out").below(key));
            }
        }
        let every = self.every.map(|time| time.0);
        if every.is_some_and(|every| every.is_zero()) && (limits.memory.is_some() || limits.zombies.is_some())
        {
            let what =
                "with 0 the tree is never counted, and no limit can be passed; take the limits out, or this";
            return Err(Flaw::new(what).below("every"));
        }
        Ok((limits, every, replaces))
    }
}

/// The logs that are followed.
pub(super) fn logs(raw: BTreeMap<String, RawLog>) -> Result<Vec<Log>, Flaw> {
    raw.into_iter().map(|(name, log)| log.check(name.clone()).below(name)).collect()
}

impl RawLog {
    fn check(self, name: String) -> Result<Log, Flaw> {
        if self.files.0.is_empty() || self.files.0.iter().any(String::is_empty) {
            return Err(Flaw::new("it is empty; name at least one file").below("files"));
        }
        if self.pattern.is_empty() {
            return Err(Flaw::new("it is empty, and would match every line").below("pattern"));
        }
        let count = self.count.unwrap_or(1);
        if count == 0 {
            return Err(Flaw::new("it has to be at least 1").below("count"));
        }
        Ok(Log {
            name,
            files: self.files.0,
            pattern: self.pattern,
            count,
            within: positive("within", self.within, 60)?,
            restart: self.action == Reaction::Restart,
        })
    }
}

impl RawAlerts {
    pub(super) fn check(self) -> Result<Alerts, Flaw> {
        Ok(Alerts {
            command: self.command.words().below("command")?,
            timeout: positive("timeout", self.timeout, 10)?,
        })
    }
}

impl RawWatch {
    pub(super) fn check(self) -> Result<Option<SocketAddr>, Flaw> {
        let listen = self.listen.map(|text| {
            text.parse().map_err(|_| {
                let what =
                    format!("'{text}' is no address and port; write it as 127.0.0.1:9184 or [::]:9184");
                Flaw::new(what).below("listen")
            })
        });
        listen.transpose()
    }
}
