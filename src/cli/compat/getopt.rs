//! Options as getopt_long(3) of the C library reads them, which is how the other programs read theirs.
//!
//! It splits words and knows no option's meaning.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The options that a program has.
pub(super) struct Spec {
    /// Letters, each followed by `:` if it takes a value.
    pub(super) letters: &'static str,
    /// Long names and the letters that they stand for.
    pub(super) long: &'static [(&'static str, u8)],
}

/// Where options end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// At the first word that is none.
    Strict,
    /// Nowhere but at `--`: options are picked out from behind other words too.
    Permute,
}

/// One option, or what is wrong with it, as the C library would say it.
pub(super) type Found = Result<(u8, Option<OsString>), String>;

/// A command line taken apart.
pub(super) struct Words {
    pub(super) options: Vec<Found>,
    /// What is no option.
    pub(super) rest: Vec<OsString>,
}

/// Takes `words` apart, up to the first mistake.
pub(super) fn read(spec: &Spec, order: Order, words: &[OsString]) -> Words {
    let mut found = Words { options: Vec::new(), rest: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            break;
        } else if let Some(name) = bytes.strip_prefix(b"--").filter(|_| !spec.long.is_empty()) {
            found.options.push(long(spec, name, &mut words));
        } else if let [b'-', letters @ ..] = bytes
            && !letters.is_empty()
        {
            short(spec, letters, &mut words, &mut found.options);
        } else {
            found.rest.push(word.clone());
            if order == Order::Strict {
                break;
            }
        }
        if found.options.last().is_some_and(Result::is_err) {
            break;
        }
    }
    found.rest.extend(words.cloned());
    found
}

fn takes_value(spec: &Spec, letter: u8) -> Option<bool> {
    let place = spec.letters.bytes().position(|known| known == letter && known != b':')?;
    Some(spec.letters.as_bytes().get(place + 1) == Some(&b':'))
}

/// A cluster such as `-sgp TERM`.
fn short<'a>(
    spec: &Spec,
    mut letters: &[u8],
    words: &mut impl Iterator<Item = &'a OsString>,
    found: &mut Vec<Found>,
) {
    while let Some((&letter, rest)) = letters.split_first() {
        let shown = OsString::from_vec(vec![letter]);
        let shown = shown.to_string_lossy();
        letters = rest;
        found.push(match takes_value(spec, letter) {
            None => Err(format!("invalid option -- '{shown}'")),
            Some(false) => Ok((letter, None)),
            Some(true) if !rest.is_empty() => {
                letters = &[];
                Ok((letter, Some(OsStr::from_bytes(rest).to_owned())))
            }
            Some(true) => match words.next() {
                Some(value) => Ok((letter, Some(value.clone()))),
                None => Err(format!("option requires an argument -- '{shown}'")),
            },
        });
        if found.last().is_some_and(Result::is_err) {
            return;
        }
    }
}

/// `--name`, `--name=value`, or the beginning of one name only.
fn long<'a>(spec: &Spec, word: &[u8], words: &mut impl Iterator<Item = &'a OsString>) -> Found {
    let mut parts = word.splitn(2, |byte| *byte == b'=');
    let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let given = parts.next().map(|value| OsStr::from_bytes(value).to_owned());
    let exact = spec.long.iter().find(|(known, _)| *known == name).copied();
    let begun: Vec<_> = spec.long.iter().filter(|(known, _)| known.starts_with(&name)).copied().collect();
    let (full, letter) = match (exact, begun.as_slice()) {
        (Some(option), _) => option,
        (None, [option]) => *option,
        (None, []) => return Err(format!("unrecognized option '--{name}'")),
        (None, several) => {
            let names: Vec<String> = several.iter().map(|(known, _)| format!("'--{known}'")).collect();
            return Err(format!("option '--{name}' is ambiguous; possibilities: {}", names.join(" ")));
        }
    };
    match (takes_value(spec, letter).unwrap_or_default(), given) {
        (false, Some(_)) => Err(format!("option '--{full}' doesn't allow an argument")),
        (false, None) => Ok((letter, None)),
        (true, Some(value)) => Ok((letter, Some(value))),
        (true, None) => match words.next() {
            Some(value) => Ok((letter, Some(value.clone()))),
            None => Err(format!("option '--{full}' requires an argument")),
        },
    }
}
