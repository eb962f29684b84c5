//! Commands and what is set in their environment.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::error::InvalidValue;

/// A command and its arguments, one string each.
#[derive(Default, Clone)]
pub(super) struct Argv(Vec<String>);

impl<'de> Deserialize<'de> for Argv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Argv, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Argv;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of words such as [\"openclaw\", \"gateway\", \"run\"]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Argv, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Argv(words))
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Argv {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Argv".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })
    }
}

impl Argv {
    /// The words as they are.
    pub(super) fn plain(&self) -> &[String] {
        &self.0
    }

    /// The words, the first of which names a program.
    pub(super) fn words(self) -> Result<Vec<String>, InvalidValue> {
        if self.0.first().is_none_or(String::is_empty) {
            return Err(InvalidValue::new("it is empty; its first word has to name a program"));
        }
        if let Some(index) = self.0.iter().position(|word| word.contains('\0')) {
            let what = "it contains a NUL byte; no program can be given such an argument";
            return Err(InvalidValue::new(what).at(index));
        }
        Ok(self.0)
    }

    /// The same, as execve(2) takes them.
    pub(super) fn exec(self) -> Result<Vec<CString>, InvalidValue> {
        let words = self.words()?.into_iter().map(CString::new);
        words.collect::<Result<_, _>>().map_err(|error| InvalidValue::new(error.to_string()))
    }
}

/// Variables and their values.
pub(super) type RawEnv = BTreeMap<String, String>;

pub(super) fn environment(raw: RawEnv) -> Result<Vec<(OsString, OsString)>, InvalidValue> {
    for (name, value) in &raw {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(
                InvalidValue::new("this is no variable's name; it must have no '=' in it").below(name)
            );
        }
        if value.contains('\0') {
            return Err(InvalidValue::new("its value contains a NUL byte; remove it").below(name));
        }
    }
    Ok(raw.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
}
