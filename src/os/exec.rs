//! Becoming another program, looked up as a shell would (execvp(3)).
//!
//! It is not left to the C library, because musl's does not run a script without `#!`.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;

/// Where a command is looked up if there is no `PATH` (confstr(3), `_CS_PATH`).
pub const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What runs a file that the kernel takes for no program: a script without `#!` (execvp(3), `ENOEXEC`).
const SHELL: &CStr = c"/bin/sh";

/// Becomes the command, the first word of which is looked up in `PATH` if it has no slash. Comes back only with the
/// reason why not.
///
/// EACCES is given only for a file that is there: a directory of `PATH` that may not be searched is passed over, as what
/// is in none of the others is "not found" for a shell, and for us.
pub fn become_program(command: &[CString]) -> Errno {
    let Some(name) = command.first().filter(|name| !name.is_empty()) else { return Errno::ENOENT };
    if name.as_bytes().contains(&b'/') {
        return execute(name, command);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut error = Errno::ENOENT;
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        let file = Path::new(OsStr::from_bytes(directory)).join(OsStr::from_bytes(name.to_bytes()));
        // No variable has a NUL byte in it.
        let Ok(file) = CString::new(file.into_os_string().into_vec()) else { continue };
        match execute(&file, command) {
            Errno::EACCES if Path::new(OsStr::from_bytes(file.to_bytes())).exists() => error = Errno::EACCES,
            Errno::EACCES
            | Errno::ENOENT
            | Errno::ENOTDIR
            | Errno::ESTALE
            | Errno::ENODEV
            | Errno::ETIMEDOUT => {}
            other => return other,
        }
    }
    error
}

fn execute(file: &CStr, command: &[CString]) -> Errno {
    let Err(error) = nix::unistd::execv(file, command);
    if error != Errno::ENOEXEC {
        return error;
    }
    let arguments = command.iter().skip(1).map(CString::as_c_str);
    let script: Vec<&CStr> = [SHELL, file].into_iter().chain(arguments).collect();
    let Err::<Infallible, _>(error) = nix::unistd::execv(SHELL, &script);
    error
}
