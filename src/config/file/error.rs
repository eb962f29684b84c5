//! What is wrong with a configuration file, where, and what to write instead.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{DeError, Wrong};
use crate::config::setting;

/// Why a configuration file is refused, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the configuration file {path} cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        error: String,
    },
    /// It is not what it has to be.
    #[error("the configuration file {path}, line {line}, column {column}: {what}")]
    Content {
        /// The file.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// The character in the line, counted from 1.
        column: usize,
        /// What is wrong there, with the key's name.
        what: String,
    },
    /// There is no such preset as the operator asked for.
    #[error("the preset '{}' is not known; there is: {known}", .name.escape_debug())]
    Preset {
        /// What was asked for.
        name: String,
        /// The presets.
        known: &'static str,
    },
}

/// Something wrong with a value that by itself is well written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InvalidValue {
    /// The keys that lead to it; the second of a list is `[2]`.
    path: Vec<String>,
    /// What is wrong, and what to write instead.
    what: String,
}

impl InvalidValue {
    pub(super) fn new(what: impl Into<String>) -> InvalidValue {
        InvalidValue { path: Vec::new(), what: what.into() }
    }

    /// The same, found below `key`.
    pub(super) fn below(mut self, key: impl ToString) -> InvalidValue {
        self.path.insert(0, key.to_string());
        self
    }

    /// The same, found in a list at `index`, which counts from 0.
    pub(super) fn at(self, index: usize) -> InvalidValue {
        self.below(format!("[{}]", index + 1))
    }

    /// Where it is in the text, as a byte offset, and what is said of it.
    pub(super) fn place(self, root: &DeTable<'_>) -> (usize, String) {
        let keys: Vec<&str> = self.path.iter().map(String::as_str).collect();
        (locate(root, &keys), format!("{}: {}", key_path(&keys), self.what))
    }
}

/// A thing that may have a flaw, found below a key.
pub(super) trait WithPath {
    /// The same, found below `key`.
    fn below(self, key: impl ToString) -> Self;
}

impl<T> WithPath for Result<T, InvalidValue> {
    fn below(self, key: impl ToString) -> Self {
        self.map_err(|flaw| flaw.below(key))
    }
}

/// What the TOML library found wrong: where, and in our words.
pub(super) fn not_toml(text: &str, error: &toml::de::Error) -> (usize, String) {
    let span = error.span().unwrap_or_default();
    let at = span.start;
    let what = match text.get(span).filter(|_| error.message() == "duplicate key") {
        Some(key) => format!("the key '{key}' stands here a second time; take one of them out"),
        None => error.message().lines().next().unwrap_or_default().to_owned(),
    };
    (at, what)
}

/// What is wrong with a value: where, and in our words.
pub(super) fn in_our_words(wrong: &DeError) -> (usize, String) {
    let keys: Vec<&str> = wrong.keys.iter().rev().map(String::as_str).collect();
    (wrong.at.unwrap_or(0), sentence(&keys, &wrong.wrong))
}

/// What is wrong at `keys`, with what to write instead.
fn sentence(keys: &[&str], wrong: &Wrong) -> String {
    let path = key_path(keys);
    match wrong {
        Wrong::Key { name, known } => {
            let table = keys.split_last().map_or(String::new(), |(_, table)| key_path(table));
            let known: Vec<&str> = known.iter().copied().chain(setting::keys_in(&table)).collect();
            format!("{path} is not known; {}", instead(name, &known))
        }
        Wrong::Word { word, known } => format!("{path} cannot be '{word}'; {}", instead(word, known)),
        Wrong::Missing(key) => format!("{path}: the key '{key}' is missing; it has to be given"),
        Wrong::Kind { is, wanted } => {
            format!("{path} is {}, and has to be {}", toml_term(is), toml_term(wanted))
        }
        Wrong::Other(what) if path.is_empty() => what.clone(),
        Wrong::Other(what) => format!("{path}: {what}"),
    }
}

/// The known word that was probably meant, or all of them.
fn instead(wrong: &str, known: &[&str]) -> String {
    match nearest(wrong, known) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("there is: {}", known.join(", ")),
    }
}

/// serde's words for what a value is, or has to be, in a TOML writer's.
fn toml_term(words: &str) -> &str {
    match words {
        "u8" => "a number from 0 to 255",
        "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "a boolean" => "true or false",
        "a sequence" | "sequence" => "a list",
        "map" | "a map" => "a table",
        _ if words.starts_with("struct ") => "a table",
        _ => words,
    }
}

/// The known word that `wrong` most likely stands for.
fn nearest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |word: &str| strsim::jaro_winkler(&wrong.to_lowercase().replace('-', "_"), word);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.8).then_some(*best)
}

/// The keys as TOML writes them, lists' places in brackets.
fn key_path(keys: &[&str]) -> String {
    let mut path = String::new();
    for key in keys {
        if key.starts_with('[') {
            path.push_str(key);
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        path.push_str(&if bare { (*key).to_owned() } else { format!("{key:?}") });
    }
    path
}

/// The byte offset of the last of `keys` that is there.
fn locate(root: &DeTable<'_>, keys: &[&str]) -> usize {
    let mut at = 0;
    let mut table = Some(root);
    let mut list: Option<&[Spanned<DeValue<'_>>]> = None;
    for key in keys {
        let value = if let Some(list) = list {
            let index = key.trim_matches(['[', ']']).parse::<usize>().ok();
            let Some(value) = index.and_then(|index| list.get(index.checked_sub(1)?)) else {
                return at;
            };
            at = value.span().start;
            value
        } else {
            let Some((name, value)) = table.and_then(|table| table.get_key_value(*key)) else { return at };
            at = name.span().start;
            value
        };
        table = value.get_ref().as_table();
        list = value.get_ref().as_array().map(|array| -> &[_] { array });
    }
    at
}

/// The line and the column of a byte offset, both counted from 1.
pub(super) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
