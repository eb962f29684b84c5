//! From a parsed TOML table to types, by serde.
//!
//! The TOML library has a deserializer of its own, which offers every type every form that a value can have: with the
//! types of this room it was a quarter of the whole program. This one offers a type the one form that it asks for,
//! and it remembers the keys on its way, so that an error knows its place without a search.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// What is wrong with a value, and which one it is.
#[derive(Debug)]
pub(crate) struct DeError {
    /// What is wrong.
    pub(super) wrong: Wrong,
    /// The keys that lead to it, the last one first; the second of a list is `[2]`.
    pub(super) keys: Vec<String>,
    /// Where it is in the text, as a byte offset.
    pub(super) at: Option<usize>,
    /// The place that is shown is the key's, and not the value's.
    of_key: bool,
}

/// What can be wrong, in the parts that serde gives.
#[derive(Debug)]
pub(super) enum Wrong {
    /// There is no such key.
    Key { name: String, known: &'static [&'static str] },
    /// There is no such word.
    Word { word: String, known: &'static [&'static str] },
    /// A key that has to be there.
    Missing(&'static str),
    /// It is one thing, and has to be another.
    Kind { is: String, wanted: String },
    /// Something else.
    Other(String),
}

impl DeError {
    fn new(wrong: Wrong) -> DeError {
        DeError { wrong, keys: Vec::new(), at: None, of_key: false }
    }

    /// Something that is wrong with a value that is well written, and is shown at its key.
    pub(in crate::config) fn of_key(what: String) -> DeError {
        DeError { of_key: true, ..DeError::new(Wrong::Other(what)) }
    }

    /// The same, found in the value of this key.
    pub(in crate::config) fn below<K: AsRef<str>, V>(
        mut self,
        key: &Spanned<K>,
        value: &Spanned<V>,
    ) -> DeError {
        let shown = if self.of_key { key.span() } else { value.span() };
        self.at.get_or_insert(shown.start);
        self.in_table(key.get_ref().as_ref())
    }

    /// The same, found below this key.
    pub(in crate::config) fn in_table(mut self, key: &str) -> DeError {
        self.keys.push(key.to_owned());
        self
    }
}

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.wrong)
    }
}

impl std::error::Error for DeError {}

impl serde::de::Error for DeError {
    fn custom<T: fmt::Display>(what: T) -> DeError {
        DeError::new(Wrong::Other(what.to_string()))
    }

    fn invalid_type(is: Unexpected<'_>, wanted: &dyn Expected) -> DeError {
        DeError::new(Wrong::Kind { is: is.to_string(), wanted: wanted.to_string() })
    }

    fn invalid_value(is: Unexpected<'_>, wanted: &dyn Expected) -> DeError {
        DeError::invalid_type(is, wanted)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> DeError {
        DeError::new(Wrong::Word { word: word.to_owned(), known })
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> DeError {
        DeError::new(Wrong::Key { name: name.to_owned(), known })
    }

    fn missing_field(name: &'static str) -> DeError {
        DeError::new(Wrong::Missing(name))
    }
}

/// A value that is read. It may be a table that is no value, as the whole file is.
#[derive(Clone, Copy)]
pub(crate) enum Reader<'a> {
    /// A table that is no value.
    Table(&'a DeTable<'a>),
    /// A value.
    Value(&'a DeValue<'a>),
}

fn number(written: &DeInteger<'_>) -> Result<i64, DeError> {
    i64::from_str_radix(written.as_str(), written.radix())
        .map_err(|_| DeError::custom(format_args!("{written} is too large a number")))
}

impl<'a> Reader<'a> {
    fn table(self) -> Option<&'a DeTable<'a>> {
        match self {
            Reader::Table(table) | Reader::Value(DeValue::Table(table)) => Some(table),
            Reader::Value(_) => None,
        }
    }

    fn text(self) -> Option<&'a str> {
        if let Reader::Value(DeValue::String(text)) = self { Some(text) } else { None }
    }

    /// The place of the word that this is among those that it can be.
    pub(in crate::config) fn one_of(self, words: &'static [&'static str]) -> Result<usize, DeError> {
        let text = self.text().ok_or_else(|| self.refuse(&OneOf(words)))?;
        let place = words.iter().position(|word| *word == text);
        place.ok_or_else(|| DeError::unknown_variant(text, words))
    }

    /// That the value is of another kind than the visitor wants.
    fn refuse(self, wanted: &dyn Expected) -> DeError {
        let is = match self {
            Reader::Table(_) | Reader::Value(DeValue::Table(_)) => Unexpected::Map,
            Reader::Value(DeValue::String(text)) => Unexpected::Str(text),
            Reader::Value(DeValue::Boolean(truth)) => Unexpected::Bool(*truth),
            Reader::Value(DeValue::Array(_)) => Unexpected::Seq,
            Reader::Value(DeValue::Datetime(_)) => Unexpected::Other("a date"),
            Reader::Value(DeValue::Float(number)) => {
                Unexpected::Float(number.as_str().parse().unwrap_or_default())
            }
            Reader::Value(DeValue::Integer(written)) => match number(written) {
                Ok(number) => Unexpected::Signed(number),
                Err(wrong) => return wrong,
            },
        };
        DeError::invalid_type(is, wanted)
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self {
            Reader::Value(DeValue::String(text)) => visitor.visit_str(text),
            Reader::Value(DeValue::Integer(written)) => visitor.visit_i64(number(written)?),
            Reader::Value(DeValue::Float(written)) => match written.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(self.refuse(&visitor)),
            },
            Reader::Value(DeValue::Boolean(truth)) => visitor.visit_bool(*truth),
            Reader::Value(DeValue::Array(list)) => visitor.visit_seq(List { list, next: 0 }),
            Reader::Value(DeValue::Datetime(_)) => Err(self.refuse(&visitor)),
            Reader::Value(DeValue::Table(table)) | Reader::Table(table) => visitor.visit_map(Keys::of(table)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self.table() {
            Some(table) => visitor.visit_map(Keys::of(table)),
            None => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self {
            Reader::Value(DeValue::Array(list)) => visitor.visit_seq(List { list, next: 0 }),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self.text() {
            Some(text) => visitor.visit_str(text),
            None => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self {
            Reader::Value(DeValue::Boolean(truth)) => visitor.visit_bool(*truth),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self {
            Reader::Value(DeValue::Integer(written)) => visitor.visit_i64(number(written)?),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        match self.text() {
            Some(text) => visitor.visit_enum(StrDeserializer::new(text)),
            None => Err(self.refuse(&OneOf(words))),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct
        identifier ignored_any
    }
}

/// One of these words.
struct OneOf(&'static [&'static str]);

impl Expected for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.join("\", \""))
    }
}

/// The keys and values of a table, one after the other.
struct Keys<'a> {
    pairs: Vec<(&'a Spanned<std::borrow::Cow<'a, str>>, &'a Spanned<DeValue<'a>>)>,
    next: usize,
}

impl<'a> Keys<'a> {
    fn of(table: &'a DeTable<'a>) -> Keys<'a> {
        Keys { pairs: table.iter().collect(), next: 0 }
    }
}

impl<'de> MapAccess<'de> for Keys<'de> {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DeError> {
        let Some((key, _)) = self.pairs.get(self.next) else { return Ok(None) };
        let name: &str = key.get_ref();
        let read = seed.deserialize(IntoDeserializer::<DeError>::into_deserializer(name));
        read.map(Some).map_err(|wrong| wrong.below(key, key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DeError> {
        let Some((key, value)) = self.pairs.get(self.next) else {
            return Err(DeError::custom("there is no value"));
        };
        self.next += 1;
        let read = seed.deserialize(Reader::Value(value.get_ref()));
        read.map_err(|wrong| wrong.below(key, value))
    }
}

/// The values of a list, one after the other.
struct List<'a> {
    list: &'a [Spanned<DeValue<'a>>],
    next: usize,
}

impl<'de> SeqAccess<'de> for List<'de> {
    type Error = DeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DeError> {
        let Some(value) = self.list.get(self.next) else { return Ok(None) };
        self.next += 1;
        let read = seed.deserialize(Reader::Value(value.get_ref())).map(Some);
        let place = Spanned::new(value.span(), format!("[{}]", self.next));
        read.map_err(|wrong| wrong.below(&place, value))
    }
}
