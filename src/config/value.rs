//! The kinds of values that settings have: how each is written on the command line, in a variable and in the
//! configuration file, and how it is shown.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::{Value as Json, json};
use tracing::level_filters::LevelFilter;

use super::file::reader::{DeError, Reader};
use super::parse;
use super::plan::Control;
use super::tool::{RecordTo, WaitForTool};
use crate::locks::Action;
use crate::types::{Signal, SignalSet};

/// How a value is written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Not at all: the option alone says it. A variable says it too, unless it is empty or a word for no.
    Flag,
    /// Not at all: how often the option stands there says it.
    Count,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A text.
    Text,
    /// Bytes.
    Bytes,
    /// Bytes that are the name of a file, or stand for none.
    File,
    /// Texts, separated by commas. The option can be repeated, and each adds to the list.
    List,
    /// The name of a file or a directory. The option can be repeated.
    Paths,
}

/// What a setting can be.
pub(crate) trait Value: Sized {
    /// How it is written on the command line.
    const FORM: Form;

    /// Takes what is written on the command line or in a variable. A list gets one part after the other.
    ///
    /// # Errors
    /// What is wrong with the text.
    fn add(slot: &mut Option<Self>, text: &OsStr) -> Result<(), String>;

    /// Reads a value of the configuration file.
    ///
    /// # Errors
    /// It is of another kind, or what it says is wrong.
    fn read(value: Reader<'_>) -> Result<Self, DeError>;

    /// As the configuration file would have it; null for what cannot be written there.
    fn show(&self) -> Json;

    /// What the schema says of it.
    #[cfg(test)]
    fn schema() -> Json;
}

/// What is written has to be text.
fn text(written: &OsStr) -> Result<&str, String> {
    written.to_str().ok_or_else(|| "it is not UTF-8; write it in letters".to_owned())
}

/// As clap has it for a variable in the place of a flag.
fn is_yes(written: &OsStr) -> Result<bool, String> {
    let written = text(written)?.to_lowercase();
    Ok(!matches!(&*written, "" | "n" | "no" | "f" | "false" | "off" | "0"))
}

impl Value for bool {
    const FORM: Form = Form::Flag;

    fn add(slot: &mut Option<bool>, written: &OsStr) -> Result<(), String> {
        *slot = Some(is_yes(written)?);
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<bool, DeError> {
        bool::deserialize(value)
    }

    fn show(&self) -> Json {
        json!(self)
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({ "type": ["boolean"] })
    }
}

/// Whether something is done that an option can only switch off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enabled(pub bool);

impl Value for Enabled {
    const FORM: Form = Form::Flag;

    fn add(slot: &mut Option<Enabled>, written: &OsStr) -> Result<(), String> {
        *slot = Some(Enabled(!is_yes(written)?));
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<Enabled, DeError> {
        bool::deserialize(value).map(Enabled)
    }

    fn show(&self) -> Json {
        json!(self.0)
    }

    #[cfg(test)]
    fn schema() -> Json {
        bool::schema()
    }
}

/// How often an option was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count(pub u8);

impl Value for Count {
    const FORM: Form = Form::Count;

    fn add(slot: &mut Option<Count>, _: &OsStr) -> Result<(), String> {
        *slot = Some(Count(slot.unwrap_or_default().0.saturating_add(1)));
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<Count, DeError> {
        u8::deserialize(value).map(Count)
    }

    fn show(&self) -> Json {
        json!(self.0)
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({ "type": ["integer"] })
    }
}

impl Value for Duration {
    const FORM: Form = Form::Text;

    fn add(slot: &mut Option<Duration>, written: &OsStr) -> Result<(), String> {
        *slot = Some(humantime::parse_duration(text(written)?).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<Duration, DeError> {
        Text::deserialize(value).map(|text| text.0)
    }

    fn show(&self) -> Json {
        json!(humantime::format_duration(*self).to_string())
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({ "type": ["string"], "examples": [Duration::EXAMPLE] })
    }
}

impl Value for Signal {
    const FORM: Form = Form::Text;

    fn add(slot: &mut Option<Signal>, written: &OsStr) -> Result<(), String> {
        let signal: Result<Signal, crate::types::ParseSignalError> = text(written)?.parse();
        *slot = Some(signal.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<Signal, DeError> {
        Text::deserialize(value).map(|text| text.0)
    }

    fn show(&self) -> Json {
        json!(self.to_string())
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({ "type": ["string"], "examples": [Signal::EXAMPLE] })
    }
}

impl Value for String {
    const FORM: Form = Form::Text;

    fn add(slot: &mut Option<String>, written: &OsStr) -> Result<(), String> {
        *slot = Some(text(written)?.to_owned());
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<String, DeError> {
        String::deserialize(value)
    }

    fn show(&self) -> Json {
        json!(self)
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({ "type": ["string"] })
    }
}

impl Value for PathBuf {
    const FORM: Form = Form::File;

    fn add(slot: &mut Option<PathBuf>, written: &OsStr) -> Result<(), String> {
        *slot = Some(written.into());
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<PathBuf, DeError> {
        String::deserialize(value).map(PathBuf::from)
    }

    fn show(&self) -> Json {
        json!(self.to_string_lossy())
    }

    #[cfg(test)]
    fn schema() -> Json {
        String::schema()
    }
}

impl Value for OsString {
    const FORM: Form = Form::Bytes;

    fn add(slot: &mut Option<OsString>, written: &OsStr) -> Result<(), String> {
        *slot = Some(written.to_owned());
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<OsString, DeError> {
        String::deserialize(value).map(OsString::from)
    }

    fn show(&self) -> Json {
        json!(self.to_string_lossy())
    }

    #[cfg(test)]
    fn schema() -> Json {
        String::schema()
    }
}

/// A number is a descriptor; a file of that name is `./3`.
impl Value for RecordTo {
    const FORM: Form = Form::File;

    fn add(slot: &mut Option<RecordTo>, written: &OsStr) -> Result<(), String> {
        if written.is_empty() {
            return Err("it is empty; name a file, or the number of a descriptor".to_owned());
        }
        *slot = Some(match written.to_str().and_then(|text| text.parse::<u16>().ok()) {
            Some(number) => RecordTo::Descriptor(i32::from(number)),
            None => RecordTo::File(written.into()),
        });
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<RecordTo, DeError> {
        PathBuf::read(value).map(RecordTo::File)
    }

    fn show(&self) -> Json {
        match self {
            RecordTo::File(path) => path.show(),
            RecordTo::Descriptor(number) => json!(number.to_string()),
        }
    }

    #[cfg(test)]
    fn schema() -> Json {
        String::schema()
    }
}

impl Value for Control {
    const FORM: Form = Form::File;

    fn add(slot: &mut Option<Control>, written: &OsStr) -> Result<(), String> {
        *slot = Some(Control::named(written)?);
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<Control, DeError> {
        Control::named(&String::deserialize(value)?).map_err(DeError::of_key)
    }

    fn show(&self) -> Json {
        match self {
            Control::Default => Json::Null,
            Control::Off => json!("off"),
            Control::At(path) => json!(path.to_string_lossy()),
        }
    }

    #[cfg(test)]
    fn schema() -> Json {
        String::schema()
    }
}

/// The levels, as the file has them.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A level is one of the words in the file. On the command line every way to write one is taken that `tracing` knows.
impl Value for LevelFilter {
    const FORM: Form = Form::Text;

    fn add(slot: &mut Option<LevelFilter>, written: &OsStr) -> Result<(), String> {
        let level: Result<LevelFilter, tracing::level_filters::ParseLevelFilterError> =
            text(written)?.parse();
        *slot = Some(level.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<LevelFilter, DeError> {
        let place = value.one_of(&LEVELS)?;
        // The words are those of the library.
        LEVELS.get(place).and_then(|word| word.parse().ok()).ok_or_else(|| DeError::custom("it is no level"))
    }

    fn show(&self) -> Json {
        json!(self.to_string())
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({ "title": "Level", "type": "string", "enum": LEVELS })
    }
}

/// Something that has no value unless it is given.
impl<T: Value> Value for Option<T> {
    const FORM: Form = T::FORM;

    fn add(slot: &mut Option<Option<T>>, text: &OsStr) -> Result<(), String> {
        T::add(slot.get_or_insert(None), text)
    }

    fn read(value: Reader<'_>) -> Result<Option<T>, DeError> {
        T::read(value).map(Some)
    }

    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::show)
    }

    #[cfg(test)]
    fn schema() -> Json {
        T::schema()
    }
}

/// The signals that ask for a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StopSignals {
    /// The usual ones.
    #[default]
    Usual,
    /// These.
    These(SignalSet),
}

impl Value for StopSignals {
    const FORM: Form = Form::List;

    fn add(slot: &mut Option<StopSignals>, written: &OsStr) -> Result<(), String> {
        let mut signal = None;
        Signal::add(&mut signal, written)?;
        let before = match slot {
            Some(StopSignals::These(set)) => *set,
            _ => SignalSet::default(),
        };
        *slot = Some(StopSignals::These(signal.into_iter().fold(before, SignalSet::with)));
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<StopSignals, DeError> {
        let signals = Vec::<Text<Signal>>::deserialize(value)?;
        let usual = signals.is_empty();
        let set = signals.into_iter().map(|signal| signal.0).collect();
        Ok(if usual { StopSignals::Usual } else { StopSignals::These(set) })
    }

    fn show(&self) -> Json {
        match self {
            StopSignals::Usual => Json::Null,
            StopSignals::These(set) => {
                Signal::all().filter(|one| set.contains(*one)).map(|one| one.to_string()).collect()
            }
        }
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({ "type": ["array"], "items": { "type": "string", "examples": [Signal::EXAMPLE] } })
    }
}

/// Exit codes.
impl Value for Vec<u8> {
    const FORM: Form = Form::List;

    fn add(slot: &mut Option<Vec<u8>>, written: &OsStr) -> Result<(), String> {
        let number: i64 =
            text(written)?.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
        let code = u8::try_from(number).map_err(|_| format!("{number} is not in 0..=255"))?;
        slot.get_or_insert_default().push(code);
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<Vec<u8>, DeError> {
        Vec::deserialize(value)
    }

    fn show(&self) -> Json {
        json!(self)
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({
            "type": ["array"],
            "items": { "format": "uint8", "maximum": 255, "minimum": 0, "type": "integer" },
        })
    }
}

impl Value for Vec<PathBuf> {
    const FORM: Form = Form::Paths;

    fn add(slot: &mut Option<Vec<PathBuf>>, written: &OsStr) -> Result<(), String> {
        slot.get_or_insert_default().push(written.into());
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<Vec<PathBuf>, DeError> {
        Vec::deserialize(value)
    }

    fn show(&self) -> Json {
        self.iter().map(Value::show).collect()
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({ "type": "array", "items": { "type": "string" }, "default": [] })
    }
}

/// Something of which a list is made, written in the same way everywhere.
pub(crate) trait Part: Written + fmt::Display {}

impl<T: Part> Value for Vec<T> {
    const FORM: Form = Form::List;

    fn add(slot: &mut Option<Vec<T>>, written: &OsStr) -> Result<(), String> {
        slot.get_or_insert_default().push(T::parse(text(written)?)?);
        Ok(())
    }

    fn read(value: Reader<'_>) -> Result<Vec<T>, DeError> {
        Ok(Vec::<Text<T>>::deserialize(value)?.into_iter().map(|text| text.0).collect())
    }

    fn show(&self) -> Json {
        self.iter().map(ToString::to_string).collect()
    }

    #[cfg(test)]
    fn schema() -> Json {
        json!({ "type": ["array"], "items": { "type": "string", "examples": [T::EXAMPLE] } })
    }
}

/// Makes settings of types that are one of a few words everywhere.
macro_rules! words {
    ($($kind:ident { $($word:literal => $value:ident),+ $(,)? })+) => {$(
        impl Value for $kind {
            const FORM: Form = Form::Words(&[$($word),+]);

            fn add(slot: &mut Option<$kind>, text: &OsStr) -> Result<(), String> {
                $(if text == $word { *slot = Some($kind::$value); return Ok(()); })+
                Err(concat!("it takes" $(, " ", $word)+).to_owned())
            }

            fn read(value: Reader<'_>) -> Result<$kind, DeError> {
                let values = [$($kind::$value),+];
                let place = value.one_of(&[$($word),+])?;
                Ok(values.get(place).copied().unwrap_or_default())
            }

            fn show(&self) -> Json {
                $(if *self == $kind::$value { return json!($word); })+
                Json::Null
            }

            #[cfg(test)]
            fn schema() -> Json {
                json!({ "title": stringify!($kind), "type": "string", "enum": [$($word),+] })
            }
        }
    )+};
}

/// What is waited for after the main process's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitFor {
    /// Nothing: what it leaves behind is ended.
    #[default]
    Main,
    /// The end of everything that it leaves behind.
    All,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

words! {
    WaitFor { "main" => Main, "all" => All }
    WaitForTool { "leader" => Leader, "all" => All }
    LogFormat { "text" => Text, "json" => Json }
    Action { "remove" => Remove, "hand-over" => HandOver }
}

/// Something that is written as a string.
pub(crate) trait Written: Sized {
    /// What the string has to be, to stand behind "has to be".
    const WHAT: &'static str;
    /// A string that is one.
    #[cfg(test)]
    const EXAMPLE: &'static str;

    /// # Errors
    /// What is wrong with the text, in words that name it.
    fn parse(text: &str) -> Result<Self, String>;
}

/// A `T` out of its string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T: Written> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<T>, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<T: Written> Visitor<'_> for Reader<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::WHAT)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                T::parse(text).map(Text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Reader(PhantomData))
    }
}

/// A time.
impl Written for Duration {
    const WHAT: &'static str = "a duration such as \"500ms\", \"30s\" or \"2m\"";
    #[cfg(test)]
    const EXAMPLE: &'static str = "30s";

    fn parse(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text.trim()).map_err(|_| format!("'{text}' is not {}", Duration::WHAT))
    }
}

/// A signal's name or number.
impl Written for Signal {
    const WHAT: &'static str = "a signal's name such as \"TERM\", or its number as a string";
    #[cfg(test)]
    const EXAMPLE: &'static str = "TERM";

    fn parse(text: &str) -> Result<Signal, String> {
        text.trim().parse().map_err(|error: crate::types::ParseSignalError| error.to_string())
    }
}

/// One step of a stop: what is sent, and the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step(pub Signal, pub Duration);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, humantime::format_duration(self.1))
    }
}

impl Part for Step {}

impl Written for Step {
    const WHAT: &'static str = "a step such as \"TERM:20s\", or \"KILL\" at the end";
    #[cfg(test)]
    const EXAMPLE: &'static str = "TERM:20s";

    fn parse(text: &str) -> Result<Step, String> {
        parse::step(text).map(|(signal, window)| Step(signal, window))
    }
}

/// What is sent in a signal's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrite(pub Signal, pub Option<Signal>);

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(to) => write!(f, "{}:{to}", self.0),
            None => write!(f, "{}:0", self.0),
        }
    }
}

impl Part for Rewrite {}

impl Written for Rewrite {
    const WHAT: &'static str = "\"S:R\", such as \"TERM:QUIT\", or \"HUP:0\" to drop it";
    #[cfg(test)]
    const EXAMPLE: &'static str = "HUP:TERM";

    fn parse(text: &str) -> Result<Rewrite, String> {
        parse::rewrite(text).map(|(from, to)| Rewrite(from, to))
    }
}

/// How long a signal is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay(pub Signal, pub Duration);

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.0, humantime::format_duration(self.1))
    }
}

impl Part for Delay {}

impl Written for Delay {
    const WHAT: &'static str = "\"SIG=D\", such as \"TERM=10s\"";
    #[cfg(test)]
    const EXAMPLE: &'static str = "TERM=10s";

    fn parse(text: &str) -> Result<Delay, String> {
        parse::delay(text).map(|(signal, window)| Delay(signal, window))
    }
}

#[cfg(test)]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::*;

    impl<T: Written> JsonSchema for Text<T> {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            T::EXAMPLE.into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "string", "examples": [T::EXAMPLE] })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_one() {
        assert!(Duration::parse(Duration::EXAMPLE).is_ok() && <Signal as Written>::parse("TERM").is_ok());
        assert!(Step::parse(Step::EXAMPLE).is_ok());
        assert!(Rewrite::parse(Rewrite::EXAMPLE).is_ok() && Delay::parse(Delay::EXAMPLE).is_ok());
    }
}
