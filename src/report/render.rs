//! One event as one line: text for people, JSON for machines.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::types::{CompatMode, is_deceptive, one_line};

/// How long a value seldom is, in bytes.
const LIKELY: usize = 128;

/// The fields of an event, in the order in which they were given; the message apart.
#[derive(Default)]
pub(super) struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    /// No fields, and this message.
    pub(super) fn of_message(message: String) -> Fields {
        Fields { message, rest: Vec::new() }
    }

    /// Names the unit whose supervisor speaks.
    pub(super) fn put_unit(&mut self, name: &str) {
        self.rest.push(("unit", Value::from(name)));
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", value) => self.message = value.to_string(),
            (name, value) => self.rest.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Most fit, so that the text need not be moved while it grows.
        let mut text = String::with_capacity(LIKELY);
        // Writing to a string cannot fail.
        let _ = write!(text, "{value:?}");
        self.put(field, Value::String(text));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}

/// `sexton[1] WARN lock-removed: message key=value`, with a newline.
pub(super) fn text(pid: u32, level: Level, event: &str, fields: &Fields) -> String {
    let mut line = String::with_capacity(4 * LIKELY);
    // Writing to a string cannot fail.
    let _ = write!(line, "sexton[{pid}] {level} {event}: ");
    line.push_str(&one_line(&fields.message));
    for (name, value) in &fields.rest {
        line.push(' ');
        line.push_str(name);
        line.push('=');
        match value {
            Value::String(text) if is_plain(text) => line.push_str(text),
            value => _ = write!(line, "{value}"),
        }
    }
    line.push('\n');
    line
}

/// The same behind the beginning that scripts know from the program that `compatibility mode` stands for.
pub(super) fn compat_line(
    compat: CompatMode,
    pid: u32,
    level: Level,
    fields: &Fields,
    event: &str,
) -> String {
    let line = text(pid, level, event, fields);
    let Some((_, rest)) = line.split_once(": ") else {
        return line;
    };
    match compat {
        CompatMode::Native => line,
        CompatMode::Tini => {
            let level = if level == Level::ERROR { "FATAL" } else { level.as_str() };
            format!("[{level:<5} tini ({pid})] {rest}")
        }
        CompatMode::DumbInit => format!("[dumb-init] {rest}"),
        CompatMode::Catatonit => format!("{level} (catatonit:{pid}): {rest}"),
    }
}

/// What the journal takes from the beginning of a line as its priority (sd-daemon(3)): those of syslog(3).
pub(super) fn priority(level: Level) -> String {
    let number = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    };
    format!("<{number}>")
}

/// `{"time":…,"level":"WARN","event":"lock-removed","pid":1,"message":…,"key":value}`, with a newline.
/// sexton's own pid is `sexton`, because `pid` is the subject's.
pub(super) fn json(time: &str, pid: u32, level: Level, event: &str, fields: Fields) -> String {
    let mut object = Map::new();
    object.insert("time".to_owned(), Value::from(time));
    object.insert("level".to_owned(), Value::from(level.as_str()));
    object.insert("event".to_owned(), Value::from(event));
    object.insert("sexton".to_owned(), Value::from(pid));
    object.insert("message".to_owned(), Value::from(fields.message));
    for (name, value) in fields.rest {
        object.insert(name.to_owned(), value);
    }
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

/// Whether a value can stand in a text line without quotation marks.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'=';
    // Only what is not ASCII has to be looked at letter by letter.
    let odd = |c: char| c.is_whitespace() || is_deceptive(c) || c == '"' || c == '=';
    !text.is_empty() && (text.bytes().all(plain) || !text.contains(odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let rest = vec![
            ("path", Value::from("/a b/c\nd.lock")),
            ("kind", Value::from("session")),
            ("pid", Value::from(7)),
            ("empty", Value::from("")),
        ];
        Fields { message: "removed\na lock".to_owned(), rest }
    }

    #[test]
    fn text_is_one_line_whatever_is_in_it() {
        let line = text(1, Level::WARN, "lock-removed", &fields());
        let expected = "sexton[1] WARN lock-removed: removed\\na lock path=\"/a b/c\\nd.lock\" \
                        kind=session pid=7 empty=\"\"\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn json_reads_back() {
        let line = json("2026-11-22T10:00:00Z", 1, Level::WARN, "lock-removed", fields());
        assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["path"], "/a b/c\nd.lock");
        assert_eq!(value["event"], "lock-removed");
        assert_eq!(value["pid"], 7);
        assert_eq!(value["sexton"], 1);
    }
}
