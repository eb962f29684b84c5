//! Which configuration file is read.
//!
//! The one that is named, or none if the name is empty; else /etc/sexton/sexton.toml, if there is one. Only when
//! neither the command line nor that file says what to run, it is `sexton.toml` in the directory where sexton was
//! called: `sexton` alone in a project's folder runs the project, and no file that lies about can change what a given
//! command means.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::args::Args;
use super::outer;
use crate::config::file::{ConfigError, File, LoadContext};
use crate::config::file_access::FileAccess;
use crate::config::package::{self, Place};
use crate::os::{isolated, privileges};

/// What the operator of a machine or the maker of an image has to say.
const SYSTEM: &str = "/etc/sexton/sexton.toml";
/// What a project has to say.
const PROJECT: &str = "sexton.toml";

/// How long the gateway's package is looked for before the start.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether sexton begins or runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum When<'a> {
    /// It begins: the operator who calls it names the file.
    Startup,
    /// It runs, has left its directory, and reads nothing that a stranger can have written. How it looks at files.
    Reload(&'a FileAccess),
}

/// What stands in the configuration file and in the preset. `named` is a file that wins over the one in `args`.
pub(super) fn file(args: &Args, named: Option<&Path>, when: When<'_>) -> Result<Box<File>, ConfigError> {
    read(args, named, when, false)
}

/// The same for a sexton that starts or runs a command. Below another sexton the machine's file is that one's.
pub(super) fn file_of_a_supervisor(args: &Args, when: When<'_>) -> Result<Box<File>, ConfigError> {
    read(args, None, when, true)
}

fn read(args: &Args, named: Option<&Path>, when: When<'_>, starts: bool) -> Result<Box<File>, ConfigError> {
    // What was seen is kept where another version of the gateway can ask for it.
    let recording = FileAccess::Recording(RefCell::default());
    let (files, owner) = match when {
        When::Startup if starts => (&recording, None),
        When::Startup => (&FileAccess::Direct, None),
        When::Reload(files) => (files, Some(privileges::effective_uid())),
    };
    let mut file = look(args, named, when, (files, owner), starts)?;
    if file.origin.row.is_some() && starts {
        file.origin.seen = recording.into_answers();
    }
    Ok(file)
}

fn look(
    args: &Args,
    named: Option<&Path>,
    when: When<'_>,
    (files, owner): (&FileAccess, Option<u32>),
    starts: bool,
) -> Result<Box<File>, ConfigError> {
    // A process that has just begun to be an init has nobody to end it where a filesystem hangs.
    let apart = starts && matches!(when, When::Startup);
    let around = LoadContext {
        preset: args.preset().filter(|name| !name.is_empty()),
        command: &args.command,
        variable: &|name| std::env::var_os(name),
        owner,
        files,
        package: &|name, command, variable| {
            let find = || package::find(name, command, &Place { directory: initial_cwd(), variable });
            if apart { isolated::call(PATIENCE, find).ok().flatten() } else { find() }
        },
    };
    if let Some(path) = named.or(args.config()) {
        let path = at(path, when);
        return File::read(Some(&*path).filter(|path| !path.as_os_str().is_empty()), &around);
    }
    let system = Path::new(SYSTEM);
    let counts = || Ok(system.exists() && !(starts && outer::found().is_some()));
    let system = Some(system).filter(|_| files.ask("whether the machine's file counts", counts) == Ok(true));
    let file = File::read(system, &around)?;
    if args.command.is_empty()
        && file.command.is_empty()
        && let Some(path) = project(&at(Path::new(PROJECT), when), files)?
    {
        return File::read(Some(&path), &around);
    }
    Ok(file)
}

/// Where a file is by now that was named at the start.
fn at<'a>(path: &'a Path, when: When<'_>) -> Cow<'a, Path> {
    match when {
        When::Reload(_) if !path.as_os_str().is_empty() => Cow::Owned(initial_cwd().join(path)),
        When::Startup | When::Reload(_) => Cow::Borrowed(path),
    }
}

/// The directory that sexton was called in, from which relative names start: it leaves it later.
pub(super) fn initial_cwd() -> &'static Path {
    static HERE: OnceLock<PathBuf> = OnceLock::new();
    HERE.get_or_init(|| std::env::current_dir().unwrap_or_default())
}

/// The project's file, if there is one. A file of another user is ignored.
fn project(path: &Path, files: &FileAccess) -> Result<Option<PathBuf>, ConfigError> {
    let owner = || Ok(fs::metadata(path).ok().map(|meta| meta.uid()));
    let Ok(Some(owner)) = files.ask("whose the project's file is", owner) else { return Ok(None) };
    let us = privileges::effective_uid();
    if owner != us && owner != 0 {
        return Err(ConfigError::Unreadable {
            path: PROJECT.to_owned(),
            error: format!(
                "it belongs to uid {owner}, and not to you; to trust it, name it: --config {PROJECT}"
            ),
        });
    }
    Ok(Some(path.to_owned()))
}
