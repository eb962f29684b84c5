//! JSON with the fields that an operator's rule names.
//!
//! No field may occur twice, at any depth: it is not known which one the writer meant.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::json::{defect, pid_of};
use super::{Content, Defect, Owner, Record};
use crate::types::StartTime;

/// Where the fields are: each one a path of names, parted by dots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    /// The owner's pid.
    pub pid: String,
    /// When the owner was started: field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub started: Option<String>,
    /// The name of the host on which it lives.
    pub host: Option<String>,
    /// The boot in which it lives.
    pub boot: Option<String>,
}

/// Reads an object by `keys`.
pub(super) fn record(bytes: &[u8], keys: &Keys) -> Result<Record, Defect> {
    let text = std::str::from_utf8(bytes).map_err(|_| Defect::NotText)?;
    let Once(value) = serde_json::from_str(text).map_err(|error| {
        // The only error that is ours and not the reader's.
        if error.is_data() { Defect::TwiceAny } else { defect(&error) }
    })?;
    if !value.is_object() {
        return Err(Defect::NotAnObject);
    }
    let at = |path: &str| path.split('.').try_fold(&value, |value, name| value.get(name));
    let optional = |path: &Option<String>| path.as_deref().and_then(at);
    let words = |path| optional(path).and_then(Value::as_str).map(|text: &str| text.as_bytes().to_vec());
    let pid = pid_of(at(&keys.pid).ok_or(Defect::NoPid)?)?;
    let start = optional(&keys.started).and_then(Value::as_u64).map(StartTime);
    Ok(Record {
        content: Content::Owner(Owner { start, ..Owner::of(pid) }),
        host: words(&keys.host),
        boot: words(&keys.boot),
    })
}

/// A value in which no object has a field twice.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Once, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Once)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Once(value))) = map.next_entry::<String, Once>()? {
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom("a field stands in it twice"));
            }
        }
        Ok(Value::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Once(value)) = items.next_element()? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;
    use crate::types::Pid;

    fn read(text: &str) -> Record {
        let keys = Keys {
            pid: "owner.pid".to_owned(),
            started: Some("owner.ticks".to_owned()),
            host: Some("host".to_owned()),
            boot: Some("boot".to_owned()),
        };
        Format::Json(Box::new(keys)).read(text.as_bytes())
    }

    #[test]
    fn the_named_fields_are_read_and_no_others() {
        let owner = Owner { start: Some(StartTime(9)), ..Owner::of(Pid::new(7).unwrap()) };
        let record = read(r#"{"pid":1,"owner":{"pid":7,"ticks":9},"host":"h","boot":"b","x":[1,null,{}]}"#);
        assert_eq!(record.content, Content::Owner(owner));
        assert_eq!((record.host.as_deref(), record.boot.as_deref()), (Some(&b"h"[..]), Some(&b"b"[..])));
        let record = read(r#"{"owner":{"pid":7,"ticks":"soon"},"host":5}"#);
        assert_eq!(record, Content::Owner(Owner::of(Pid::new(7).unwrap())).into());
    }

    #[test]
    fn anything_else_is_invalid_with_its_reason() {
        for (text, defect) in [
            ("{}", Defect::NoPid),
            (r#"{"owner":7}"#, Defect::NoPid),
            (r#"{"owner":{"pid":"7"}}"#, Defect::PidIsNoNumber),
            (r#"{"owner":{"pid":7},"x":{"y":1,"y":2}}"#, Defect::TwiceAny),
            (r#"{"owner":{"pid":7,"pid":7}}"#, Defect::TwiceAny),
            (r#"{"owner":{"pid":7}"#, Defect::Truncated),
            ("[]", Defect::NotAnObject),
            ("{}x", Defect::NotJson { line: 1, column: 3 }),
        ] {
            assert_eq!(read(text).content, Content::Invalid(defect), "{text}");
        }
        assert!(matches!(read(&"[".repeat(60_000)).content, Content::Invalid(_)));
    }
}
