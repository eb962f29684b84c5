//! The JSON that OpenClaw writes: one object whose fields have the same names in all versions, or nearly.
//!
//! Fields that do not count may hold anything; one that counts and stands there twice makes it no lock.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::{Defect, Owner, since_1970};
use crate::types::{Pid, StartTime};

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
/// meant is not known.
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

pub(super) fn owner(bytes: &[u8]) -> Result<Owner, Defect> {
    let text = std::str::from_utf8(bytes).map_err(|_| Defect::NotText)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let fields = reader.deserialize_map(FieldsVisitor).map_err(|error| defect(&error))?;
    reader.end().map_err(|error| defect(&error))?;

    if let Some(field) = fields.twice {
        return Err(Defect::Twice(field));
    }
    let pid = pid_of(&fields.pid.ok_or(Defect::NoPid)?)?;

    let ticks = |value: Option<Value>| value.as_ref().and_then(Value::as_u64).map(StartTime);
    let start = match (ticks(fields.start), ticks(fields.start_camel)) {
        (Some(one), Some(other)) if one != other => return Err(Defect::TwoStartTimes),
        (one, other) => one.or(other),
    };
    let milliseconds = |value: &Value| value.as_u64().filter(|n| *n > 0).map(Duration::from_millis);
    let moment = |value: &Value| match value {
        Value::String(text) => humantime::parse_rfc3339(text).ok(),
        other => other.as_u64().and_then(since_1970),
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

/// What is wrong with bytes that serde_json would not read.
pub(super) fn defect(error: &serde_json::Error) -> Defect {
    match error.classify() {
        Category::Eof => Defect::Truncated,
        Category::Data => Defect::NotAnObject,
        Category::Syntax | Category::Io => Defect::NotJson { line: error.line(), column: error.column() },
    }
}

/// The pid that a field holds.
pub(super) fn pid_of(value: &Value) -> Result<Pid, Defect> {
    // A number beyond 64 bits is kept as a floating one, and out of range all the same.
    let number = match value {
        Value::Number(number) if number.is_f64() && !is_whole(value) => return Err(Defect::PidIsNoNumber),
        Value::Number(number) => number.as_i64().and_then(|n| i32::try_from(n).ok()),
        _ => return Err(Defect::PidIsNoNumber),
    };
    number.and_then(Pid::new).ok_or(Defect::PidOutOfRange)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::time::SystemTime;

    use super::super::{Content, Format};
    use super::*;

    fn read(text: &str) -> Content {
        Format::JsonOwner.read(text.as_bytes()).content
    }

    fn pid_only(pid: i32) -> Owner {
        Owner::of(Pid::new(pid).unwrap())
    }

    fn at(ms: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
    }

    #[test]
    fn every_writers_lock_reads() {
        let session = include_str!("../../../tests/locks/session.jsonl.lock");
        let gateway = include_str!("../../../tests/locks/gateway.lock");
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
            // 2026.9 writes more of the same, and directories hold this.
            (
                include_str!("../../../tests/locks/samples/gateway-9.6.lock").to_owned(),
                Owner { start: Some(StartTime(107_252)), created: at(1_795_330_722_764), ..pid_only(7) },
            ),
            (
                include_str!("../../../tests/locks/samples/runtime-mirror-owner.json").to_owned(),
                Owner { created: at(1_795_330_722_764), ..pid_only(7) },
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
            assert_eq!(Format::JsonOwner.read(bytes).content, Content::Invalid(Defect::NotText));
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
            let sample = include_bytes!("../../../tests/locks/session.jsonl.lock");
            // Without the closing bracket it is not the writer's any more.
            let cut = &sample[..end.min(sample.len() - 2)];
            prop_assert_eq!(Format::JsonOwner.read(cut).content, Content::Invalid(Defect::Truncated));
        }
    }
}
