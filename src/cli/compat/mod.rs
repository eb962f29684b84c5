//! The faces: tini, dumb-init and catatonit under their own names.
//!
//! Called by one of those names, sexton takes that program's options, variables, exit codes and the texts
//! that scripts look for, and makes the same [`Plan`] of them as its own options would. What those programs
//! did is kept; that everything gets TERM before KILL and nothing is left behind is added. None of them bounds
//! a stop, so that in a face every signal is passed on and there is no window, unless the operator sets one
//! with `SEXTON_GRACE` or `SEXTON_STOP_SIGNAL`: all of sexton's own variables hold in a face as well.
//!
//! Their parsers are the C library's: tini and catatonit pick their options out from behind the command
//! too, as long as `POSIXLY_CORRECT` is not set. A line that works that way works the same way here. One
//! that they would refuse, such as `tini sh -c ...` without `--`, is read once more with the options ending
//! at the command, as builds of them against other C libraries do.

mod catatonit;
mod dumb_init;
mod getopt;
mod number;
mod tini;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::rc::Rc;

use tracing::level_filters::LevelFilter;

use super::args::Args;
use super::{Request, Usage, config_path, one_line};
use crate::config::Plan;
use crate::config::value::{LogFormat, StopSignals};
use crate::report::log::Format;
use crate::types::{CompatMode, Errno, SignalSet, StartStep, exit_code};
use getopt::Order;

/// The compatibility mode that the program's name asks for.
pub(super) fn detect(name: Option<&OsString>) -> CompatMode {
    let name = name.and_then(|name| Path::new(name).file_name()).and_then(OsStr::to_str);
    name.map_or(CompatMode::Native, CompatMode::of)
}

/// Reads the command line of a face; the first word is its name.
pub(super) fn read(compat: CompatMode, words: &[OsString]) -> Request {
    let (name, words) = words.split_first().map_or((OsStr::new(""), words), |(name, rest)| (name, rest));
    let face = Compat { compat, name: name.to_string_lossy().into_owned() };
    let read = match compat {
        CompatMode::DumbInit => return dumb_init::read(&face, words),
        CompatMode::Catatonit => catatonit::read,
        CompatMode::Tini | CompatMode::Native => tini::read,
    };
    if std::env::var_os("POSIXLY_CORRECT").is_some() {
        return read(&face, Order::Strict, words);
    }
    match read(&face, Order::Permute, words) {
        refused @ Request::UsageError { .. } => match read(&face, Order::Strict, words) {
            Request::UsageError { .. } => refused,
            understood => understood,
        },
        understood => understood,
    }
}

/// Who we are in this run.
struct Compat {
    compat: CompatMode,
    /// As we were called.
    name: String,
}

impl Compat {
    /// The end of a command line that is not understood.
    fn usage_error(&self, text: String) -> Request {
        Request::UsageError { text, code: self.compat.failed() }
    }

    /// The plan for `command` as the variables and the configuration file have it, with what the face's own
    /// options make of it.
    fn run(&self, command: &[OsString], level: LevelFilter, change: impl FnOnce(&mut Plan)) -> Request {
        if command.first().is_some_and(|name| name.is_empty()) {
            // What comes of an unset variable in an entry point. The others look for a file of that name.
            let text = format!("{}: the command's name is empty: No such file or directory\n", self.name);
            let code = exit_code::of_failed_start(self.compat, StartStep::Exec, Errno(libc::ENOENT));
            return Request::UsageError { text, code };
        }
        match self.plan(command) {
            Ok((mut plan, wanted, format)) => {
                change(Rc::make_mut(&mut plan));
                Request::Run { plan, level: wanted.unwrap_or(level), format }
            }
            Err(usage) => self.usage_error(format!("{}: {}\n", self.name, usage.line())),
        }
    }

    fn plan(&self, command: &[OsString]) -> Result<(Rc<Plan>, Option<LevelFilter>, Format), Usage> {
        let words = ["sexton", "--"].map(OsString::from).into_iter().chain(command.iter().cloned());
        let words: Vec<OsString> = words.collect();
        let args = Args::read(&words, None)
            .map_err(|error| Usage::Word { what: one_line(&error, &[]), program: "sexton".to_owned() })?;
        let file = config_path::file(&args, None, config_path::When::Startup)?;
        let given = args.given(&file);
        let mut whole = args.plan(file)?;
        let plan = Rc::make_mut(&mut whole);
        plan.compat = self.compat;
        plan.settings.group = false;
        if given.grace.is_none() && given.stop_signals.is_none() && given.stop_sequence.is_none() {
            plan.settings.stop_signals = StopSignals::These(SignalSet::default());
        }
        let format = match plan.settings.log_format {
            LogFormat::Text => Format::As(self.compat),
            LogFormat::Json => Format::Json,
        };
        Ok((whole, given.log, format))
    }
}

/// What the face's licence option says: sexton is not under the licence of the program that it stands for.
fn licence() -> Request {
    Request::Print(format!(
        "sexton {} is licensed under MIT or Apache-2.0, at your choice: see LICENSE-MIT and\nLICENSE-APACHE, \
         which come with it.\n",
        env!("CARGO_PKG_VERSION")
    ))
}

#[cfg(test)]
mod tests;
