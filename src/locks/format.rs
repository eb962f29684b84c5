//! What a lock file says: bytes in, its owner out.
//!
//! It never asks the system anything and never guesses: bytes that are not exactly what a known writer writes
//! come out as [`Content::Invalid`], and nobody removes a file on the strength of those.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use crate::ids::{Pid, StartTime};

/// Who wrote a lock, in the writer's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The process, by its number in the pid namespace that it lived in.
    pub pid: Pid,
    /// When that process was started; older writers leave it out.
    pub start: Option<StartTime>,
    /// When the lock was taken. Only ever shown: clocks are set forwards and backwards.
    pub created: Option<SystemTime>,
    /// How long the writer meant to hold it at most.
    pub max_hold: Option<Duration>,
}

/// What the bytes of a lock file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A lock as its writer writes it.
    Owner(Owner),
    /// Not one byte: its writer died between creating the file and writing to it.
    Empty,
    /// Something else.
    Invalid(Defect),
}

impl Content {
    /// The owner, where there is one to be read.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        match self {
            Content::Owner(owner) => Some(owner),
            Content::Empty | Content::Invalid(_) => None,
        }
    }
}

/// What is wrong with the bytes of a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// It is not UTF-8.
    NotText,
    /// It ends in the middle.
    Truncated,
    /// It is not JSON from this line and column on (both counted from 1).
    NotJson {
        /// The line.
        line: usize,
        /// The column, in bytes.
        column: usize,
    },
    /// It is JSON, but not an object.
    NotAnObject,
    /// A field that counts stands in it twice.
    Twice(&'static str),
    /// `starttime` and `startTime` say different things.
    TwoStartTimes,
    /// There is no `pid`.
    NoPid,
    /// `pid` is not a whole number.
    PidIsNoNumber,
    /// `pid` is a number that no process can have: zero, negative, or above 2^31 - 1.
    PidOutOfRange,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Defect::NotText => f.write_str("it is not text"),
            Defect::Truncated => f.write_str("it ends in the middle"),
            Defect::NotJson { line, column } => write!(f, "it is not JSON (line {line}, column {column})"),
            Defect::NotAnObject => f.write_str("it is not a JSON object"),
            Defect::Twice(field) => write!(f, "it has two fields '{field}'"),
            Defect::TwoStartTimes => f.write_str("its two start times disagree"),
            Defect::NoPid => f.write_str("it names no pid"),
            Defect::PidIsNoNumber => f.write_str("its pid is not a whole number"),
            Defect::PidOutOfRange => f.write_str("its pid is a number that no process can have"),
        }
    }
}

/// How the writers of a kind of lock put their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object with `pid`, and `createdAt` (ISO 8601) or `startedAt` (milliseconds since 1970),
    /// `maxHoldMs`, `starttime` or `startTime` where the writer knows them. White space may follow:
    /// newer writers append a line of blanks and tabs.
    JsonOwner,
}

impl Format {
    /// Reads the whole content of a lock file.
    #[must_use]
    pub fn read(self, bytes: &[u8]) -> Content {
        if bytes.is_empty() {
            return Content::Empty;
        }
        match self {
            Format::JsonOwner => json_owner(bytes).map_or_else(Content::Invalid, Content::Owner),
        }
    }
}

/// The fields that count, as they stand in the file.
#[derive(Default)]
struct Fields {
    pid: Option<Value>,
    created_at: Option<Value>,
    started_at: Option<Value>,
    max_hold: Option<Value>,
    start: Option<Value>,
    start_camel: Option<Value>,
    twice: Option<&'static str>,
}

impl Fields {
    fn place(&mut self, key: &str) -> Option<(&'static str, &mut Option<Value>)> {
        Some(match key {
            "pid" => ("pid", &mut self.pid),
            "createdAt" => ("createdAt", &mut self.created_at),
            "startedAt" => ("startedAt", &mut self.started_at),
            "maxHoldMs" => ("maxHoldMs", &mut self.max_hold),
            "starttime" => ("starttime", &mut self.start),
            "startTime" => ("startTime", &mut self.start_camel),
            _ => return None,
        })
    }
}

/// Collects [`Fields`]. A plain map would silently keep the last of two equal keys, and which one the writer
/// meant is exactly what nobody can know.
struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            let Some((name, place)) = fields.place(&key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if place.replace(map.next_value()?).is_some() {
                fields.twice = Some(name);
            }
        }
        Ok(fields)
    }
}

fn json_owner(bytes: &[u8]) -> Result<Owner, Defect> {
    let defect = |error: serde_json::Error| match error.classify() {
        Category::Eof => Defect::Truncated,
        Category::Data => Defect::NotAnObject,
        Category::Syntax | Category::Io => Defect::NotJson { line: error.line(), column: error.column() },
    };
    let text = std::str::from_utf8(bytes).map_err(|_| Defect::NotText)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let fields = reader.deserialize_map(FieldsVisitor).map_err(defect)?;
    reader.end().map_err(defect)?;

    if let Some(field) = fields.twice {
        return Err(Defect::Twice(field));
    }
    let pid = fields.pid.ok_or(Defect::NoPid)?;
    // A number beyond 64 bits is kept as a floating one, and out of range all the same.
    let number = match &pid {
        Value::Number(number) if number.is_f64() && !is_whole(&pid) => return Err(Defect::PidIsNoNumber),
        Value::Number(number) => number.as_i64().and_then(|n| i32::try_from(n).ok()),
        _ => return Err(Defect::PidIsNoNumber),
    };
    let pid = number.and_then(Pid::new).ok_or(Defect::PidOutOfRange)?;

    let ticks = |value: Option<Value>| value.as_ref().and_then(Value::as_u64).map(StartTime);
    let start = match (ticks(fields.start), ticks(fields.start_camel)) {
        (Some(one), Some(other)) if one != other => return Err(Defect::TwoStartTimes),
        (one, other) => one.or(other),
    };
    let milliseconds = |value: &Value| value.as_u64().filter(|n| *n > 0).map(Duration::from_millis);
    let moment = |value: &Value| match value {
        Value::String(text) => humantime::parse_rfc3339(text).ok(),
        other => milliseconds(other).and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)),
    };
    Ok(Owner {
        pid,
        start,
        created: [fields.created_at, fields.started_at].iter().flatten().find_map(moment),
        max_hold: fields.max_hold.as_ref().and_then(milliseconds),
    })
}

/// Whether a floating number stands for a whole one. Such a pid is refused as out of range and not as odd:
/// 2^63 is a whole number, only far too large.
fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() > f64::from(i32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Content {
        Format::JsonOwner.read(text.as_bytes())
    }

    fn pid_only(pid: i32) -> Owner {
        Owner { pid: Pid::new(pid).unwrap(), start: None, created: None, max_hold: None }
    }

    fn at(ms: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
    }

    #[test]
    fn every_writers_lock_reads() {
        let session = include_str!("../../tests/locks/session.jsonl.lock");
        let gateway = include_str!("../../tests/locks/gateway.lock");
        let created = at(1_795_330_765_232);
        let full = Owner {
            start: Some(StartTime(107_252)),
            created,
            max_hold: Some(Duration::from_secs(1020)),
            ..pid_only(2)
        };
        let table = [
            (session.to_owned(), full),
            // Newer writers add a line of blanks and tabs.
            (format!("{session}\t\t\t\t\t\t\t\t \t \t\n"), full),
            (
                gateway.to_owned(),
                Owner { start: Some(StartTime(107_252)), created: at(1_795_330_722_764), ..pid_only(2) },
            ),
            (
                r#"{"pid":7,"createdAt":"2026-11-22T06:59:25.232Z"}"#.to_owned(),
                Owner { created, ..pid_only(7) },
            ),
            (
                "{\"pid\":31,\"startedAt\":1795330765232,\"token\":\"31:1795330765232:99\"}\n".to_owned(),
                Owner { created, ..pid_only(31) },
            ),
            // A pid above what any kernel hands out is still a pid: a tombstone has one.
            (r#"{"pid":2147483647}"#.to_owned(), pid_only(2_147_483_647)),
            // Fields that do not count when they are odd.
            (
                r#"{"pid":7,"createdAt":"yesterday","maxHoldMs":-1,"starttime":"12","x":{"pid":[]}}"#
                    .to_owned(),
                pid_only(7),
            ),
            (
                r#"{"pid":7,"starttime":5,"startTime":5}"#.to_owned(),
                Owner { start: Some(StartTime(5)), ..pid_only(7) },
            ),
        ];
        for (text, owner) in table {
            assert_eq!(read(&text), Content::Owner(owner), "{text}");
        }
        assert_eq!(read(""), Content::Empty);
    }

    #[test]
    fn anything_else_is_invalid_with_its_reason() {
        let table = [
            (r#"{"pid": 7, "createdA"#, Defect::Truncated),
            (r#"{"pid":7}}"#, Defect::NotJson { line: 1, column: 10 }),
            ("\n", Defect::Truncated),
            ("\0\0\0\0", Defect::NotJson { line: 1, column: 1 }),
            ("7", Defect::NotAnObject),
            ("null", Defect::NotAnObject),
            (r#"[{"pid":7}]"#, Defect::NotAnObject),
            (r#""pid""#, Defect::NotAnObject),
            ("{}", Defect::NoPid),
            (r#"{"PID":7}"#, Defect::NoPid),
            (r#"{"pid":null}"#, Defect::PidIsNoNumber),
            (r#"{"pid":"7"}"#, Defect::PidIsNoNumber),
            (r#"{"pid":7.5}"#, Defect::PidIsNoNumber),
            (r#"{"pid":[7]}"#, Defect::PidIsNoNumber),
            (r#"{"pid":0}"#, Defect::PidOutOfRange),
            (r#"{"pid":-1}"#, Defect::PidOutOfRange),
            (r#"{"pid":2147483648}"#, Defect::PidOutOfRange),
            (r#"{"pid":9223372036854775808}"#, Defect::PidOutOfRange),
            (r#"{"pid":18446744073709551616}"#, Defect::PidOutOfRange),
            (r#"{"pid":7,"pid":8}"#, Defect::Twice("pid")),
            (r#"{"pid":7,"starttime":1,"starttime":1}"#, Defect::Twice("starttime")),
            (r#"{"pid":7,"starttime":1,"startTime":2}"#, Defect::TwoStartTimes),
        ];
        for (text, defect) in table {
            assert_eq!(read(text), Content::Invalid(defect), "{text}");
        }
        for bytes in [&b"\xff\xfe\x00\x01"[..], b"{\"pid\":7,\"x\":\"\xff\"}"] {
            assert_eq!(Format::JsonOwner.read(bytes), Content::Invalid(Defect::NotText));
        }
        assert!(matches!(read(&"[".repeat(60_000)), Content::Invalid(_)));
        assert!(matches!(read(&format!("{{\"x\":{}", "[".repeat(60_000))), Content::Invalid(_)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Format::JsonOwner.read(&bytes);
        }

        #[test]
        fn a_cut_lock_never_has_an_owner(end in 1_usize..104) {
            let sample = include_bytes!("../../tests/locks/session.jsonl.lock");
            // Without the closing bracket it is not the writer's any more.
            prop_assert_eq!(Format::JsonOwner.read(&sample[..end.min(sample.len() - 2)]), Content::Invalid(Defect::Truncated));
        }
    }
}
