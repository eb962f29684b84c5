//! Values that only the file has: sizes, lists, fields of JSON, reactions.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// A number of bytes, written as a number, or as a string with a unit.
///
/// The units are powers of 1024 whether they are written `M` or `MiB`, as in systemd's `MemoryMax=` and
/// docker's `--memory`, from which such numbers are copied. The libraries that read sizes take `M` as a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const SIZE: &str = "a size such as \"1500M\" or \"2G\", or a number of bytes";

impl Size {
    fn parse(text: &str) -> Option<Size> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(digits)?;
        let power = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" | "ki" => 1,
            "m" | "mb" | "mib" | "mi" => 2,
            "g" | "gb" | "gib" | "gi" => 3,
            "t" | "tb" | "tib" | "ti" => 4,
            _ => return None,
        };
        number
            .parse::<u64>()
            .ok()?
            .checked_mul(1024_u64.checked_pow(power)?)
            .filter(|size| i64::try_from(*size).is_ok())
            .map(Size)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(SIZE)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Size, E> {
                u64::try_from(number).map(Size).map_err(|_| E::custom(format!("{number} is not {SIZE}")))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).ok_or_else(|| E::custom(format!("'{text}' is not {SIZE}")))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// Strings, of which one alone needs no brackets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OneOrMore(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMore, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![text.to_owned()]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMore, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = list.next_element()? {
                    all.push(text);
                }
                Ok(OneOrMore(all))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// A value that a JSON field can be compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar(pub serde_json::Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, true or false")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.into()))
            }

            fn visit_bool<E: Error>(self, truth: bool) -> Result<Scalar, E> {
                Ok(Scalar(truth.into()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar(number.into()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar, E> {
                // JSON knows neither infinity nor its like.
                serde_json::Number::from_f64(number).map(|number| Scalar(number.into())).ok_or_else(|| {
                    E::custom(format_args!("no JSON field can be {number}; write a finite number"))
                })
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// What follows a condition that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// It is reported.
    #[default]
    Report,
    /// It is reported, and the command is stopped by its ladder and started again.
    Restart,
}

#[cfg(test)]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::*;

    impl JsonSchema for Size {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            "Size".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": ["string", "integer"], "minimum": 0, "examples": ["1500M"] })
        }
    }

    impl JsonSchema for OneOrMore {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            "OneOrMore".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": ["string", "array"], "items": { "type": "string" } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("1500M", 1500 << 20), ("2 GiB", 2 << 30), ("7k", 7 << 10), ("1T", 1 << 40), ("9b", 9)]
        {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        for text in ["", "M", "-1", "1.5G", "1X", "18446744073709551616", "99999999999T", "1 0M"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }
}
