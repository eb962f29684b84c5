//! `[restart]`, and `restart` of a unit: what follows an end that was not requested.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

use super::argv::Argv;
use super::error::{InvalidValue, WithPath};
use super::stop::step;
use super::watch::positive;
use crate::config::plan::StepCommand;
use crate::config::value::Text;
use crate::supervisor::{Restart, RestartOn};

/// What follows an end that was not requested. Instead of the table, the value of `on` alone can be written.
#[derive(Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(untagged))]
pub(super) enum RawRestart {
    /// Only which ends it follows.
    Short(RawOn),
    /// Everything.
    Table(RawTable),
    /// Nothing was said.
    #[default]
    #[cfg_attr(test, schemars(skip))]
    Unset,
}

/// What follows an end that was not requested.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTable {
    /// Which ends are followed by a restart: `never`, `on-failure` (another code than 0, or a signal) or
    /// `always`.
    on: Option<RawOn>,
    /// Exit codes that are never followed by a restart.
    prevent_exit_codes: Option<Vec<u8>>,
    /// Exit codes that always ask for a restart.
    force_exit_codes: Option<Vec<u8>>,
    /// The first pause; each that follows is twice as long.
    delay: Option<Text<Duration>>,
    /// The longest pause.
    max_delay: Option<Text<Duration>>,
    /// How many restarts there may be within `interval`. At the limit sexton ends.
    limit: Option<u32>,
    /// The time in which restarts are counted.
    interval: Option<Text<Duration>>,
    /// A command that is asked when the main process has ended with 0 without being asked to: it prints a JSON
    /// object whose `status` is `accepted` for a restart, which is not counted, and `none` or `rejected` for a stop,
    /// whatever `on` says. Anything else is a failure. It runs as the main process's user; `{pid}` in a word is the
    /// number that the main process saw as its own. Not for a unit.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    handoff: Option<Argv>,
    /// How long it may take to answer.
    handoff_timeout: Option<Text<Duration>>,
}

/// Which ends are followed by a restart.
#[derive(Deserialize, Clone, Copy)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawOn {
    Never,
    OnFailure,
    Always,
}

impl<'de> Deserialize<'de> for RawRestart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawRestart, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = RawRestart;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"never\", \"on-failure\", \"always\", or a table")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawRestart, E> {
                RawOn::deserialize(text.into_deserializer()).map(RawRestart::Short)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawRestart, A::Error> {
                RawTable::deserialize(MapAccessDeserializer::new(map)).map(RawRestart::Table)
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

impl RawRestart {
    fn table(self) -> RawTable {
        match self {
            RawRestart::Short(on) => RawTable { on: Some(on), ..RawTable::default() },
            RawRestart::Table(table) => table,
            RawRestart::Unset => RawTable::default(),
        }
    }

    /// Of a unit.
    pub(super) fn check(self) -> Result<Restart, InvalidValue> {
        let raw = self.table();
        if raw.handoff.is_some() || raw.handoff_timeout.is_some() {
            return Err(InvalidValue::new("only the main process is asked; take it out").below("handoff"));
        }
        raw.check()
    }

    /// Of the main process, with what says whether its end with 0 is a stop.
    pub(super) fn check_with_handoff(self) -> Result<(Restart, Option<StepCommand>), InvalidValue> {
        let mut raw = self.table();
        let timeout = positive("handoff_timeout", raw.handoff_timeout.take(), 30)?;
        let handoff = step(raw.handoff.take(), timeout).below("handoff")?;
        Ok((raw.check()?, handoff))
    }
}

impl RawTable {
    fn check(self) -> Result<Restart, InvalidValue> {
        let raw = self;
        let usual = Restart::default();
        let delay = raw.delay.map_or(usual.delay, |time| time.0);
        // Who asks for a first pause of two minutes wants the later ones no shorter.
        let max_delay = raw.max_delay.map_or(usual.max_delay.max(delay), |time| time.0);
        if max_delay < delay {
            return Err(InvalidValue::new("it is shorter than 'delay', the first pause; make it longer")
                .below("max_delay"));
        }
        if raw.limit == Some(0) {
            return Err(InvalidValue::new("it has to be at least 1; for no restarts, write on = \"never\"")
                .below("limit"));
        }
        let interval = raw.interval.map_or(usual.interval, |time| time.0);
        if interval.is_zero() {
            return Err(InvalidValue::new("it has to be longer than 0, or the limit would hold nothing")
                .below("interval"));
        }
        let (prevent_exit_codes, force_exit_codes) =
            (raw.prevent_exit_codes.unwrap_or_default(), raw.force_exit_codes.unwrap_or_default());
        if let Some(code) = force_exit_codes.iter().find(|code| prevent_exit_codes.contains(code)) {
            let what = format!("{code} is in 'prevent_exit_codes' too; take it out of one of them");
            return Err(InvalidValue::new(what).below("force_exit_codes"));
        }
        Ok(Restart {
            on: raw.on.map_or(usual.on, |on| match on {
                RawOn::Never => RestartOn::Never,
                RawOn::OnFailure => RestartOn::Failure,
                RawOn::Always => RestartOn::Always,
            }),
            prevent_exit_codes,
            force_exit_codes,
            delay,
            max_delay,
            limit: raw.limit.unwrap_or(usual.limit),
            interval,
        })
    }
}
