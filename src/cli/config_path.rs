//! Which configuration file is read.
//!
//! The one that is named, or none if the name is empty; else /etc/sexton/sexton.toml, if there is one. Only when neither the command line nor
//! that file says what to run, it is `sexton.toml` in the directory where sexton was called: `sexton` alone in a
//! project's folder runs the project, and no file that lies about can change what a given command means.

use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::args::Args;
use super::outer;
use crate::config::file::{ConfigError, File, LoadContext};
use crate::os::privileges;

/// What the operator of a machine or the maker of an image has to say.
const SYSTEM: &str = "/etc/sexton/sexton.toml";
/// What a project has to say.
const PROJECT: &str = "sexton.toml";

/// Whether sexton begins or runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// It begins: the operator who calls it names the file.
    Startup,
    /// It runs, has left its directory, and reads nothing that a stranger can have written.
    Reload,
}

/// What stands in the configuration file and in the preset. `named` is a file that wins over the one in `args`.
pub(super) fn file(args: &Args, named: Option<&Path>, when: When) -> Result<File, ConfigError> {
    read(args, named, when, false)
}

/// The same for a sexton that starts or runs a command. Below another sexton the machine's file is that one's.
pub(super) fn file_of_a_supervisor(args: &Args, when: When) -> Result<File, ConfigError> {
    read(args, None, when, true)
}

fn read(args: &Args, named: Option<&Path>, when: When, starts: bool) -> Result<File, ConfigError> {
    let around = LoadContext {
        preset: args.preset.as_deref().filter(|name| !name.is_empty()),
        command: &args.command,
        variable: &|name| std::env::var_os(name),
        owner: (when == When::Reload).then(privileges::effective_uid),
    };
    if let Some(path) = named.or(args.config.as_deref()) {
        let path = at(path, when);
        return File::read(Some(&*path).filter(|path| !path.as_os_str().is_empty()), &around);
    }
    let system = Path::new(SYSTEM);
    let counts = |path: &&Path| path.exists() && !(starts && outer::found().is_some());
    let file = File::read(Some(system).filter(counts), &around)?;
    if args.command.is_empty()
        && file.command.is_empty()
        && let Some(path) = project(&at(Path::new(PROJECT), when))?
    {
        return File::read(Some(&path), &around);
    }
    Ok(file)
}

/// Where a file is by now that was named at the start.
fn at(path: &Path, when: When) -> Cow<'_, Path> {
    match when {
        When::Reload if !path.as_os_str().is_empty() => Cow::Owned(initial_cwd().join(path)),
        When::Startup | When::Reload => Cow::Borrowed(path),
    }
}

/// The directory that sexton was called in, from which relative names start: it leaves it later.
pub(super) fn initial_cwd() -> &'static Path {
    static HERE: OnceLock<PathBuf> = OnceLock::new();
    HERE.get_or_init(|| std::env::current_dir().unwrap_or_default())
}

/// The project's file, if there is one. One that somebody else put there decides nothing.
fn project(path: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let Ok(meta) = fs::metadata(path) else { return Ok(None) };
    let us = privileges::effective_uid();
    if meta.uid() != us && meta.uid() != 0 {
        return Err(ConfigError::Unreadable {
            path: PROJECT.to_owned(),
            error: format!(
                "it belongs to uid {}, and not to you; to trust it, name it: --config {PROJECT}",
                meta.uid()
            ),
        });
    }
    Ok(Some(path.to_owned()))
}
