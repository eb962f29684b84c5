//! What the command line and the environment say of the settings of a table.
//!
//! Both are read by [`fast_path`]. To set clap up takes longer than everything else before the start, so that clap
//! comes in only for the help, and where something is not understood: then it says what is wrong, and its word counts.

mod fast_path;

use std::ffi::{OsStr, OsString};

use clap::builder::{
    FalseyValueParser, OsStringValueParser, PathBufValueParser, PossibleValuesParser, TypedValueParser,
    ValueHint, ValueParser,
};
use clap::error::Error;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::setting::{DefaultIn, Setting, Table};
use crate::config::value::Form;

/// What they say.
#[derive(Debug, Clone, Default)]
pub(super) struct Words<G> {
    /// The command; options behind it are its own.
    pub(super) command: Vec<OsString>,
    /// What the options say.
    pub(super) line: G,
    /// What the variables say.
    pub(super) environment: G,
    /// There are variables whose names begin as those of the table do.
    pub(super) has_variables: bool,
}

/// The options, as clap has them.
pub(super) fn options<G: Table>() -> impl Iterator<Item = Arg> {
    G::SETTINGS.iter().map(option)
}

/// The command behind them.
pub(super) fn command() -> Arg {
    Arg::new("command")
        .help("The command; options behind it are its own")
        .value_parser(OsStringValueParser::new())
        .num_args(0..)
        .trailing_var_arg(true)
        .hide(true)
}

/// A setting's option.
fn option<G: Table>(setting: &'static Setting<G>) -> Arg {
    let definition = &setting.definition;
    let mut option = Arg::new(setting.name).help(definition.help).hide(definition.hidden);
    if !definition.long.is_empty() {
        option = option.long(definition.long);
    }
    if let Some(letter) = definition.letter {
        option = option.short(letter);
    }
    if definition.has_variable {
        // clap keeps names of variables for ever.
        option = option.env(&*setting.variable().leak()).hide_env(true);
    }
    if definition.default_in != DefaultIn::None
        && let Some(default) = (setting.show)(&G::Settings::default()).as_str()
    {
        option = option
            .default_value(&*default.to_owned().leak())
            .hide_default_value(definition.default_in == DefaultIn::Manual);
    }
    // What is wrong with a text is said by who reads it.
    let wrong = move |text: &OsStr| (setting.add)(&mut G::default(), text).map(|()| text.to_owned());
    let parser: ValueParser = match setting.form {
        Form::Flag if definition.has_variable => {
            return option.action(ArgAction::SetTrue).value_parser(FalseyValueParser::new());
        }
        Form::Flag => return option.action(ArgAction::SetTrue),
        Form::Count => return option.action(ArgAction::Count),
        Form::Words(words) => {
            option = option.hide_possible_values(true);
            PossibleValuesParser::new(words).into()
        }
        Form::Text => (move |text: &str| wrong(text.as_ref())).into(),
        Form::List => {
            option = option.action(ArgAction::Append).value_delimiter(',');
            (move |text: &str| wrong(text.as_ref())).into()
        }
        Form::Bytes => OsStringValueParser::new().try_map(move |text| wrong(&text)).into(),
        Form::File => {
            option = option.value_hint(ValueHint::FilePath);
            OsStringValueParser::new().try_map(move |text| wrong(&text)).into()
        }
        Form::Paths => {
            option = option.action(ArgAction::Append);
            PathBufValueParser::new().into()
        }
    };
    option.value_name(definition.value_name).value_parser(parser)
}

/// Variables with their values.
type Variables = Vec<(OsString, OsString)>;

impl<G: Table> Words<G> {
    /// What the words say, and the variables; and these variables themselves. Those that are `owned` by another sexton
    /// do not count. `command` makes the command as clap has it.
    pub(super) fn parse(
        command: fn() -> Command,
        words: &[OsString],
        owned: &dyn Fn(&OsStr) -> bool,
    ) -> Result<(Box<Words<G>>, Variables), Error> {
        let is_ours =
            |name: &OsStr| name.as_encoded_bytes().starts_with(G::PREFIX.as_bytes()) && !owned(name);
        let variables: Variables = std::env::vars_os().filter(|(name, _)| is_ours(name)).collect();
        let mut read = match (fast_path::command_line(words), fast_path::environment(&variables)) {
            (Some((line, command)), Some(environment)) => {
                Box::new(Words { command: command.to_vec(), line, environment, has_variables: false })
            }
            _ => Box::new(Words::parse_with_clap(command(), words, owned)?),
        };
        read.has_variables = !variables.is_empty();
        Ok((read, variables))
    }

    fn parse_with_clap(
        command: Command,
        words: &[OsString],
        owned: &dyn Fn(&OsStr) -> bool,
    ) -> Result<Words<G>, Error> {
        let mut command = command.mut_args(|option| match option.get_env() {
            Some(name) if owned(name) => option.env(None::<&'static str>),
            _ => option,
        });
        let mut matches = command.try_get_matches_from_mut(words)?;
        let (mut line, mut environment) = (G::default(), G::default());
        for setting in G::SETTINGS {
            let given = match matches.value_source(setting.name) {
                Some(ValueSource::CommandLine) => &mut line,
                Some(ValueSource::EnvVariable) => &mut environment,
                _ => continue,
            };
            for text in written(setting, &matches) {
                // clap has asked before whether it can be taken.
                let _ = (setting.add)(given, &text);
            }
        }
        let command = matches.remove_many("command").into_iter().flatten().collect();
        Ok(Words { command, line, environment, has_variables: false })
    }
}

/// What stands for the values of an option, in the words or in its variable.
pub(super) fn written<G: Table>(setting: &Setting<G>, matches: &ArgMatches) -> Vec<OsString> {
    match setting.form {
        Form::Count => vec![OsString::new(); matches.get_count(setting.name).into()],
        _ => matches.get_raw(setting.name).into_iter().flatten().map(OsStr::to_owned).collect(),
    }
}
