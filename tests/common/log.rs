//! What sexton said on standard error.

use serde_json::Value;

/// One line of `--log-format json`.
#[derive(Debug, Clone)]
pub struct Line {
    pub event: String,
    pub fields: Value,
}

impl Line {
    /// A field as text, whatever its type; empty if it is not there.
    pub fn field(&self, name: &str) -> String {
        match &self.fields[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// The lines of a log in JSON; anything else on standard error (a helper's panic, say) is a failure.
pub fn json(text: &str) -> Vec<Line> {
    let line = |line: &str| {
        let fields: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
        let event = fields["event"].as_str().unwrap_or_else(|| panic!("no event: {line}")).to_owned();
        assert!(
            fields["level"].is_string() && fields["message"].is_string(),
            "no level or no message: {line}"
        );
        Line { event, fields }
    };
    text.lines().map(line).collect()
}

/// The lines with this event.
pub fn events(text: &str, event: &str) -> Vec<Line> {
    json(text).into_iter().filter(|line| line.event == event).collect()
}
