//! `sexton install`: the programs of the package, copied to where another container runs them from.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
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
        put(directory, name, |unfinished| copy(&program, unfinished))?;
    }
    put(directory, tool_shell::NAME, |unfinished| symlink("sexton", unfinished))
}

/// Makes the file under another name first, so that half a file is never executed, and a running program is not written
/// to.
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

/// Copies a program with its permissions to a new file. Whatever others put at that name meanwhile, a link included,
/// makes it fail, and is not written to (open(2), `O_EXCL`).
fn copy(program: &Path, unfinished: &Path) -> io::Result<()> {
    let mut from = File::open(program)?;
    let permissions = from.metadata()?.permissions();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(permissions.mode()).custom_flags(libc::O_NOFOLLOW);
    let mut to = options.open(unfinished)?;
    io::copy(&mut from, &mut to)?;
    to.set_permissions(permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_others_put_in_the_way_is_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let [program, precious, link, new] =
            ["program", "precious", "link", "new"].map(|name| directory.path().join(name));
        fs::write(&program, "program").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, &link).unwrap();
        assert_eq!(copy(&program, &link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        copy(&program, &new).unwrap();
        assert_eq!(fs::read_to_string(&new).unwrap(), "program");
        assert_eq!(new.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    }
}
