//! `[restart]`, and `restart` of a unit: what follows an end that nobody asked for.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

use super::refused::Flaw;
use super::values::Text;
use crate::supervisor::{On, Restart};

/// What follows an end that nobody asked for. Instead of the table, the value of `on` alone can be written.
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
    Unsaid,
}

/// What follows an end that nobody asked for.
#[derive(Deserialize, Default)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTable {
    /// Which ends are followed by a restart: `never`, `on-failure` (another code than 0, or a signal) or
    /// `always`.
    on: Option<RawOn>,
    /// Exit codes that are never followed by a restart.
    forbid: Option<Vec<u8>>,
    /// Exit codes that always ask for a restart.
    means: Option<Vec<u8>>,
    /// The first pause; each that follows is twice as long.
    delay: Option<Text<Duration>>,
    /// The longest pause.
    longest: Option<Text<Duration>>,
    /// How many restarts there may be within `within`. At the ceiling sexton ends.
    ceiling: Option<u32>,
    /// The time in which restarts are counted.
    within: Option<Text<Duration>>,
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
    pub(super) fn check(self) -> Result<Restart, Flaw> {
        let raw = match self {
            RawRestart::Short(on) => RawTable { on: Some(on), ..RawTable::default() },
            RawRestart::Table(table) => table,
            RawRestart::Unsaid => RawTable::default(),
        };
        let usual = Restart::default();
        let delay = raw.delay.map_or(usual.delay, |time| time.0);
        // Who asks for a first pause of two minutes wants the later ones no shorter.
        let longest = raw.longest.map_or(usual.longest.max(delay), |time| time.0);
        if longest < delay {
            return Err(
                Flaw::new("it is shorter than 'delay', the first pause; make it longer").below("longest")
            );
        }
        if raw.ceiling == Some(0) {
            return Err(
                Flaw::new("it has to be at least 1; for no restarts, write on = \"never\"").below("ceiling")
            );
        }
        let within = raw.within.map_or(usual.within, |time| time.0);
        if within.is_zero() {
            return Err(
                Flaw::new("it has to be longer than 0, or the ceiling would hold nothing").below("within")
            );
        }
        let (forbid, means) = (raw.forbid.unwrap_or_default(), raw.means.unwrap_or_default());
        if let Some(code) = means.iter().find(|code| forbid.contains(code)) {
            let what = format!("{code} is in 'forbid' too; take it out of one of them");
            return Err(Flaw::new(what).below("means"));
        }
        Ok(Restart {
            on: raw.on.map_or(usual.on, |on| match on {
                RawOn::Never => On::Never,
                RawOn::OnFailure => On::Failure,
                RawOn::Always => On::Always,
            }),
            forbid,
            means,
            delay,
            longest,
            ceiling: raw.ceiling.unwrap_or(usual.ceiling),
            within,
        })
    }
}
