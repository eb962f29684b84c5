//! What the user typed, and what it means.
//!
//! It reads the command line, the environment and the configuration file that they name, and must never touch
//! anything else.

mod args;
mod check;
mod command_tree;
mod compat;
mod config_path;
mod control;
mod install;
mod locks;
mod outer;
mod shell;
mod subcommand;
mod tool;
mod watch_commands;
mod words;

use std::ffi::{CString, OsString};
use std::path::PathBuf;
use std::rc::Rc;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use tracing::level_filters::LevelFilter;

use crate::config::file::ConfigError;
use crate::config::file_access::FileAccess;
use crate::config::{LocksCommand, Plan, Problem, ToolPlan};
use crate::control::client_command::ClientCommand;
use crate::report::log::Format;
use crate::types::CompatMode;
use args::Args;
pub use command_tree::command;
use config_path::When;
pub use watch_commands::{DoctorArgs, MeasureArgs, doctor, measure};

/// What is asked of this run.
#[derive(Debug)]
pub enum Request {
    /// Run the plan.
    Run {
        /// The plan.
        plan: Rc<Plan>,
        /// Which log lines are wanted.
        level: LevelFilter,
        /// How they look.
        format: Format,
    },
    /// Look after locks by hand.
    Locks {
        /// What is to be done.
        plan: LocksCommand,
        /// Which log lines are wanted.
        level: LevelFilter,
        /// How they look.
        format: Format,
    },
    /// Run one tool.
    Tool {
        /// The tool.
        tool: Box<ToolPlan>,
        /// Which log lines are wanted.
        level: LevelFilter,
        /// How they look.
        format: Format,
    },
    /// Put the programs into this directory.
    Install(PathBuf),
    /// Become this command, and be sexton no more.
    Exec(Vec<CString>),
    /// Become sexton-watch with these words, and be sexton no more.
    ExecWatch(Vec<OsString>),
    /// Ask a sexton that runs.
    Control(ClientCommand),
    /// Print this and end well.
    Print(String),
    /// Print this on standard error and end with this code, as the program would whose name sexton wears.
    UsageError {
        /// What is printed, as it is.
        text: String,
        /// The exit code.
        code: u8,
    },
}

/// A command line that cannot be carried out, as one line that says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Usage {
    /// A word or a value that is not map_clap_error.
    #[error("{what}; '{program} --help' lists the options")]
    Word {
        /// What is wrong with which word.
        what: String,
        /// sexton, with its subcommand if there is one.
        program: String,
    },
    /// The same of a tool's command line.
    #[error("{what}")]
    Tool {
        /// What is wrong, and what to do instead.
        what: String,
    },
    /// The words are fine, and still make no plan.
    #[error(transparent)]
    Plan(#[from] Problem),
    /// The configuration file is not map_clap_error.
    #[error(transparent)]
    File(#[from] ConfigError),
}

impl Usage {
    /// The one line that the user gets, whatever letters the words have that it repeats.
    #[must_use]
    pub fn line(&self) -> String {
        crate::types::one_line(&self.to_string()).into_owned()
    }
}

/// Reads the command line, the program's name first, and the environment.
///
/// # Errors
/// The first thing that is wrong.
#[inline(never)]
pub fn read(words: &[OsString]) -> Result<Request, Usage> {
    if shell::is_ours(words.first()) {
        return shell::read(words);
    }
    let compat = compat::detect(words.first());
    if compat != CompatMode::Native {
        return Ok(compat::read(compat, words));
    }
    // Gateways call this one often: nothing but its own words is looked at.
    if let Some(rest) = tool::argv_of(words) {
        return tool::read(rest);
    }
    let args = match map_clap_error(Args::read(words, None), words)? {
        Ok(args) => args,
        Err(text) => return Ok(Request::Print(text)),
    };
    if let Some(asked) = control::read(words, &args.command) {
        return asked;
    }
    if let Some(asked) = watch_commands::read(words, &args.command) {
        return Ok(asked);
    }
    if let Some((subcommand, rest)) = subcommand::lookup(words, &args.command) {
        return (subcommand.read)(*args, rest);
    }
    let plan = run(args, words, When::Startup)?;
    let (level, format) = (plan.settings.log, plan.settings.log_format.into());
    Ok(Request::Run { plan, level, format })
}

/// Reads the command line, the environment and the configuration file once more, for a sexton that runs. Files are
/// looked at through `files` alone.
///
/// # Errors
/// The first thing that is wrong, in one line.
pub fn reread(words: &[OsString], files: &FileAccess) -> Result<Plan, String> {
    let read = || match map_clap_error(Args::read(words, None), words)? {
        Ok(args) if compat::detect(words.first()) == CompatMode::Native => {
            run(args, words, When::Reload(files)).map(Some)
        }
        _ => Ok(None),
    };
    match read() {
        Ok(Some(plan)) => Ok(Rc::unwrap_or_clone(plan)),
        Ok(None) => Err("under another program's name nothing is read again; start sexton anew".to_owned()),
        Err(usage) => Err(usage.line()),
    }
}

/// The plan that this command line would make of the environment and the configuration file, for who only wants to
/// look at it: it may have no command. The program's name comes first.
///
/// # Errors
/// The first thing that is wrong. A program that sexton is called like has no plan to be looked at.
pub fn plan_to_look_at(words: &[OsString]) -> Result<Plan, Usage> {
    let none = |what: &str| Usage::Word { what: what.to_owned(), program: "sexton".to_owned() };
    if compat::detect(words.first()) != CompatMode::Native || shell::is_ours(words.first()) {
        return Err(none("under another program's name there is no configuration"));
    }
    match map_clap_error(Args::read(words, None), words)? {
        Ok(args) => {
            config_path::initial_cwd();
            let file = config_path::file(&args, None, When::Startup)?;
            Ok(Rc::unwrap_or_clone(args.plan_for_check(file)?))
        }
        Err(_) => Err(none("it only asks for a text")),
    }
}

fn run(args: Box<Args>, words: &[OsString], when: When<'_>) -> Result<Rc<Plan>, Usage> {
    // Relative names start from here, whenever they are looked up.
    config_path::initial_cwd();
    let args = without_outer(args, words)?;
    let file = config_path::file_of_a_supervisor(&args, when)?;
    Ok(args.plan(file)?)
}

/// The same command line without the variables of a sexton above.
fn without_outer(args: Box<Args>, words: &[OsString]) -> Result<Box<Args>, Usage> {
    match args.has_variables.then(outer::found).flatten() {
        Some(outer) => Ok(map_clap_error(Args::read(words, Some(outer)), words)?.unwrap_or(args)),
        None => Ok(args),
    }
}

/// The words as `T` understands them, or the text that they ask for.
fn parse<T: Parser>(words: &[OsString]) -> Result<Result<T, String>, Usage> {
    map_clap_error(T::try_parse_from(words), words)
}

/// What came of parsing these words: what they mean, or the text that they ask for.
fn map_clap_error<T>(parsed: Result<T, clap::Error>, words: &[OsString]) -> Result<Result<T, String>, Usage> {
    match parsed {
        Ok(args) => Ok(Ok(args)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(Usage::Word { what: one_line(&error, words), program: program_of(words) }),
    }
}

/// What is typed for the help that says more: sexton, or sexton with the subcommand.
fn program_of(words: &[OsString]) -> String {
    let first = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    match &*first {
        shell::NAME => "sexton tool".to_owned(),
        named if named.starts_with("sexton ") => named.to_owned(),
        _ => "sexton".to_owned(),
    }
}

/// clap's message has paragraphs; the first one says what is wrong, and a tip says what to do instead.
fn one_line(error: &clap::Error, words: &[OsString]) -> String {
    let text = error.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let mut what = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    if let Some(ContextValue::String(tip)) = error.get(ContextKind::SuggestedArg) {
        return format!("{what}; did you mean '{tip}'?");
    }
    if let (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    {
        return format!("{what} {}", missing.join(", "));
    }
    if what.ends_with(':') {
        // What is missing stands on a line of its own.
        what = format!("{what} {}", lines.next().unwrap_or_default().trim());
    }
    if let Some(ContextValue::Strings(choices)) = error.get(ContextKind::ValidValue)
        && error.kind() == ErrorKind::InvalidValue
        && !choices.is_empty()
    {
        what = format!("{what}; it takes {}", choices.join(" or "));
    }
    match variable_of(error, words) {
        Some(name) => format!("{what} (it comes from the variable {name})"),
        None => what,
    }
}

/// The variable that a bad value stands in, if no word of the command line gave it.
fn variable_of(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = option.split([' ', '=']).next()?;
    let name = flag.strip_prefix("--")?.replace('-', "_").to_uppercase();
    let typed = words.iter().any(|word| word.to_string_lossy().starts_with(flag));
    let prefix = match words.first()?.to_str() {
        Some("sexton tool" | shell::NAME) => "SEXTON_TOOL",
        _ => "SEXTON",
    };
    let name = format!("{prefix}_{name}");
    (!typed && std::env::var_os(&name).is_some()).then_some(name)
}

#[cfg(test)]
mod tests;
