//! What a setting is: how it is defined, and what is made of a table of them. [`super::settings`] has sexton's own,
//! [`super::tool`] those of a tool.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::reader::{DeError, Reader};
use super::plan::Control;
use super::settings::{Given, Settings};
use super::value::Form;

/// What a setting is called, and what becomes of it. Its type and its default stand before it in the table.
#[derive(Debug)]
pub(crate) struct Definition {
    /// The option without its dashes. It is empty for one that has only a letter.
    pub(crate) long: &'static str,
    /// The option's letter.
    pub(crate) letter: Option<char>,
    /// What stands for the value in the help. It is empty for a flag.
    pub(crate) value_name: &'static str,
    /// The line in the help.
    pub(crate) help: &'static str,
    /// Only the manual page shows it, so that the help fits on a screen.
    pub(crate) hidden: bool,
    /// Where the default is shown.
    pub(crate) default_in: DefaultIn,
    /// A variable says it as well, whose name is the option's.
    pub(crate) has_variable: bool,
    /// The key in the file, with its table before it. It is empty where no file can say it.
    pub(crate) key: &'static str,
    /// A reload takes another value over.
    pub(crate) live: bool,
}

/// Where an option's default is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DefaultIn {
    /// Nowhere: the help's line says it, or there is none.
    None,
    /// In the manual page alone, so that the help's line stays short.
    Manual,
    /// In the help and in the manual page.
    Help,
}

/// An option with a value.
pub(super) const fn option(long: &'static str, value_name: &'static str, help: &'static str) -> Definition {
    Definition {
        long,
        letter: None,
        value_name,
        help,
        hidden: false,
        default_in: DefaultIn::None,
        has_variable: true,
        key: "",
        live: false,
    }
}

/// An option without one.
pub(super) const fn flag(long: &'static str, help: &'static str) -> Definition {
    option(long, "", help)
}

/// An option that has only a letter, neither a value nor a variable.
pub(super) const fn letter(letter: char, help: &'static str) -> Definition {
    flag("", help).short(letter).without_variable()
}

impl Definition {
    pub(super) const fn short(mut self, letter: char) -> Definition {
        self.letter = Some(letter);
        self
    }

    pub(super) const fn hidden(mut self) -> Definition {
        self.hidden = true;
        self
    }

    pub(super) const fn shows_default(mut self) -> Definition {
        self.default_in = DefaultIn::Help;
        self
    }

    pub(super) const fn default_in_manual(mut self) -> Definition {
        self.default_in = DefaultIn::Manual;
        self
    }

    pub(super) const fn without_variable(mut self) -> Definition {
        self.has_variable = false;
        self
    }

    pub(super) const fn key(mut self, key: &'static str) -> Definition {
        self.key = key;
        self
    }

    pub(super) const fn live(mut self) -> Definition {
        self.live = true;
        self
    }
}

/// What one place, such as the command line, says of the settings of a table.
pub(crate) trait Table: Default + 'static {
    /// The settings, resolved.
    type Settings: Default;
    /// All of them, in the order of the help.
    const SETTINGS: &'static [Setting<Self>];
    /// What stands before the option's name in that of its variable.
    const PREFIX: &'static str;

    /// The setting with this option.
    fn by_option(long: &OsStr) -> Option<&'static Setting<Self>> {
        Self::SETTINGS.iter().find(|setting| !long.is_empty() && long == setting.definition.long)
    }

    /// The setting with this letter.
    fn by_letter(letter: u8) -> Option<&'static Setting<Self>> {
        Self::SETTINGS.iter().find(|setting| setting.definition.letter == Some(char::from(letter)))
    }

    /// The setting with this variable.
    fn by_variable(name: &OsStr) -> Option<&'static Setting<Self>> {
        let letters = name.as_bytes().strip_prefix(Self::PREFIX.as_bytes())?;
        Self::SETTINGS.iter().find(|setting| setting.is_variable(letters))
    }
}

/// A setting: its definition, and how it is reached in what is given and in what comes of it.
pub(crate) struct Setting<G: Table> {
    /// The name of its field.
    pub(crate) name: &'static str,
    /// Its definition.
    pub(crate) definition: Definition,
    /// How its value is written.
    pub(crate) form: Form,
    /// Takes what is written on the command line or in a variable; a list gets one part after the other.
    pub(crate) add: fn(&mut G, &OsStr) -> Result<(), String>,
    /// Whether it was given.
    pub(crate) is_given: fn(&G) -> bool,
    /// As the file would have it.
    pub(crate) show: fn(&G::Settings) -> Json,
    pub(super) read: fn(&mut G, Reader<'_>) -> Result<(), DeError>,
    /// Takes the value of the second into the first.
    pub(super) copy: fn(&mut G::Settings, &G::Settings),
    #[cfg(test)]
    pub(super) description: &'static str,
    #[cfg(test)]
    pub(super) schema: fn() -> Json,
}

impl<G: Table> Setting<G> {
    /// The option, as it is typed.
    pub(crate) fn option(&self) -> String {
        match self.definition.letter {
            Some(letter) if self.definition.long.is_empty() => format!("-{letter}"),
            _ => format!("--{}", self.definition.long),
        }
    }

    /// The variable's name.
    pub(crate) fn variable(&self) -> String {
        format!("{}{}", G::PREFIX, self.definition.long.replace('-', "_").to_uppercase())
    }

    /// Whether the variable with these letters behind the prefix is this one's.
    fn is_variable(&self, letters: &[u8]) -> bool {
        let same = |(option, letter): (u8, &u8)| match option {
            b'-' => *letter == b'_',
            other => *letter == other.to_ascii_uppercase(),
        };
        let long = self.definition.long;
        self.definition.has_variable && long.len() == letters.len() && long.bytes().zip(letters).all(same)
    }

    /// The table that its key is in, which is empty for the file itself, and its name there.
    pub(super) fn place(&self) -> (&'static str, &'static str) {
        self.definition.key.split_once('.').unwrap_or(("", self.definition.key))
    }
}

/// The setting with this key of the file.
pub(super) fn by_key(key: &str) -> Option<&'static Setting<Given>> {
    Given::SETTINGS.iter().find(|setting| !key.is_empty() && setting.definition.key == key)
}

/// The keys that settings have in this table of the file.
pub(super) fn keys_in(table: &str) -> impl Iterator<Item = &'static str> {
    Given::SETTINGS
        .iter()
        .map(Setting::place)
        .filter(move |(of, key)| *of == table && !key.is_empty())
        .map(|place| place.1)
}

/// Takes the settings out of a file, and leaves what only a file can say.
pub(super) fn take(file: &mut DeTable<'_>) -> Result<Given, DeError> {
    let mut given = Given::default();
    for setting in Given::SETTINGS {
        let (table, name) = setting.place();
        let below = match file.get_mut(table).map(Spanned::get_mut) {
            _ if table.is_empty() => &mut *file,
            Some(DeValue::Table(below)) => below,
            _ => continue,
        };
        let Some((key, value)) = below.remove_entry(name) else { continue };
        let read = (setting.read)(&mut given, Reader::Value(value.get_ref()));
        read.map_err(|wrong| {
            let wrong = wrong.below(&key, &value);
            if table.is_empty() { wrong } else { wrong.in_table(table) }
        })?;
    }
    Ok(given)
}

impl Settings {
    /// The defaults, for a process to which no control socket belongs.
    #[must_use]
    pub fn without_control() -> Settings {
        Settings { control: Control::Off, ..Settings::default() }
    }

    /// The same with the values of `new` that can change while everything runs.
    pub(super) fn with_live_of(&self, new: &Settings) -> Settings {
        let mut settings = self.clone();
        for setting in Given::SETTINGS.iter().filter(|setting| setting.definition.live) {
            (setting.copy)(&mut settings, new);
        }
        settings
    }
}

/// Makes the types and the table of the entries.
macro_rules! settings {
    (
        $settings:ident from $given:ident, variables $prefix:literal:
        $($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr => $definition:expr,)+
    ) => {
        /// The settings, resolved.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $settings {
            $($(#[doc = $doc])+ pub $name: $kind,)+
        }

        impl Default for $settings {
            fn default() -> $settings {
                $settings { $($name: $default),+ }
            }
        }

        /// What one place says: the command line, the environment, the file or its preset.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $given {
            $($(#[doc = $doc])+ pub $name: Option<$kind>,)+
        }

        impl $given {
            /// What all of these say together. The first that says something of a setting wins.
            pub(crate) fn merge<const N: usize>(strongest_first: [&$given; N]) -> $given {
                let mut all = $given::default();
                strongest_first.into_iter().for_each(|given| all.complete(given));
                all
            }

            /// Takes what `weaker` says of settings of which nothing was said yet.
            fn complete(&mut self, weaker: &$given) {
                $(if self.$name.is_none() { self.$name.clone_from(&weaker.$name); })+
            }

            /// The settings, with the default of each that nothing was said of.
            pub(crate) fn resolve(self) -> $settings {
                $settings { $($name: self.$name.unwrap_or_else(|| $default)),+ }
            }
        }

        impl Table for $given {
            type Settings = $settings;
            const SETTINGS: &'static [Setting<$given>] = &[$(Setting {
            name: stringify!($name),
            definition: $definition,
            form: <$kind as Value>::FORM,
            add: |given, text| Value::add(&mut given.$name, text),
            is_given: |given| given.$name.is_some(),
            show: |settings| settings.$name.show(),
            read: |given, value| {
                given.$name = Some(Value::read(value)?);
                Ok(())
            },
            copy: |into, from| into.$name.clone_from(&from.$name),
            #[cfg(test)]
            description: concat!($($doc, "\n"),+),
            #[cfg(test)]
            schema: <$kind as Value>::schema,
            }),+];
            const PREFIX: &'static str = $prefix;
        }
    };
}
pub(super) use settings;
