//! `sexton install`: the programs of the package, copied to where another container runs them from.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{programs, tool_shell, watch};
use crate::os::startup;

/// The program as `/proc` has it, whatever became of the name that it was started by.
const OURSELVES: &str = "/proc/self/exe";

/// Puts sexton, sexton-watch and sexton-sh into `directory`.
///
/// # Errors
/// One line that says what could not be put where, and why.
#[inline(never)]
pub fn run(directory: &Path) -> Result<(), String> {
    // Nothing here is a gateway's.
    startup::unblock();
    let watch = programs::find(watch::NAME)
        .ok_or_else(|| format!("{} is neither beside sexton nor in PATH; put it there", watch::NAME))?;
    for (program, name) in [(PathBuf::from(OURSELVES), "sexton"), (watch, watch::NAME)] {
        put(directory, name, |unfinished| fs::copy(&program, unfinished).map(drop))?;
    }
    put(directory, tool_shell::NAME, |unfinished| symlink("sexton", unfinished))
}

/// Makes the file under another name first, so that nobody ever runs half of it, and what runs is not written to.
fn put(directory: &Path, name: &str, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), String> {
    let unfinished = directory.join(format!(".{name}.unfinished"));
    // One that was killed has left it, and a link is not made over another.
    let _ = fs::remove_file(&unfinished);
    let made = make(&unfinished).and_then(|()| fs::rename(&unfinished, directory.join(name)));
    made.map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        format!("cannot install {name} in {}: {error}", directory.display())
    })
}
