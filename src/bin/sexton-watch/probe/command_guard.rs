//! The guard: the process between sexton-watch and a command that it runs, `sexton-watch --guard`.
//!
//! It is a tool's supervisor as `sexton tool` is one, and ends everything that the command has started: when the
//! command has ended, when its time is over, and when sexton-watch dies, however it dies.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;
use std::time::Duration;

use sexton::config::settings::Settings;
use sexton::config::{Plan, ToolPlan};
use sexton::types::CompatMode;

/// The word that makes a sexton-watch a guard.
const WORD: &str = "--guard";
/// What a command whose time is over has to end by itself, and then again what it has started.
const GRACE: Duration = Duration::from_millis(500);

/// The arguments that come before the command.
pub fn arguments(timeout: Duration) -> [OsString; 2] {
    [WORD.into(), timeout.as_millis().to_string().into()]
}

/// What the arguments behind the program's name ask for, if they are those of a guard.
pub fn asked_for(arguments: &[OsString]) -> Option<ToolPlan> {
    let (word, rest) = arguments.split_first().filter(|(word, _)| *word == WORD)?;
    let (timeout, command) = rest.split_first()?;
    let timeout = Duration::from_millis(timeout.to_str()?.parse().ok()?);
    let command = command.iter().map(|word| CString::new(word.clone().into_vec()).ok());
    Some(ToolPlan {
        plan: Rc::new(Plan {
            command: command.collect::<Option<_>>()?,
            settings: Settings { grace: GRACE, kill_after: GRACE, ..Settings::without_control() },
            ..Plan::bare(CompatMode::Native)
        }),
        name: word.to_string_lossy().into_owned(),
        timeout: Some(timeout),
        record: None,
        record_inherited: false,
        registered: false,
        shell: false,
        verbose: false,
    })
}
