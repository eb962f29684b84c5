//! A sexton above this one, and its settings.
//!
//! What a gateway starts inherits the variables of the sexton that supervises the gateway. They say what that sexton
//! is to do: with `SEXTON_CONFIG` a nested `sexton -- make test` would start the same units a second time, and would
//! restart its command by rules that are meant for a gateway. So a sexton that starts a command below a sexton does
//! not obey them. A variable with another value than the outer sexton has was set for this one, and counts.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::OnceLock;

use crate::os::{process, procfs};
use crate::types::Pid;

/// The name of the program.
const NAME: &str = "sexton";
/// Ancestors that are looked at, so that the walk ends even where processes come and go.
const DEPTH: usize = 64;
/// It only keeps sexton from touching something, and holds for everything below.
const STAYS: &str = "SEXTON_NO_LOCKS";

/// The variables that an outer sexton has, with the same values as ours.
#[derive(Debug)]
pub(super) struct Outer {
    names: BTreeSet<OsString>,
}

impl Outer {
    /// Whether this variable belongs to the outer sexton.
    pub(super) fn owns(&self, name: &OsStr) -> bool {
        self.names.contains(name)
    }
}

/// The sexton above, if one supervises a command that we descend from. It is known by its place among our ancestors,
/// and by no variable. Looked for once: who it was counts, even when it has ended meanwhile.
pub(super) fn found() -> Option<&'static Outer> {
    static FOUND: OnceLock<Option<Outer>> = OnceLock::new();
    FOUND.get_or_init(look).as_ref()
}

fn look() -> Option<Outer> {
    let mut ancestor = Pid::new(process::parent());
    let mut names: Option<BTreeSet<OsString>> = None;
    for _ in 0..DEPTH {
        let Some(pid) = ancestor else { break };
        let Ok(Some(stat)) = procfs::stat(pid) else { break };
        if is_sexton(pid, &stat.name) && supervises(&command_line(pid)) {
            let theirs = procfs::environment(pid);
            names.get_or_insert_default().extend(shared(&theirs, std::env::vars_os()));
        }
        ancestor = Pid::new(stat.parent);
    }
    names.map(|names| Outer { names })
}

/// Whether the program of this process is sexton. Of another user's process only its name can be seen.
fn is_sexton(pid: Pid, name: &[u8]) -> bool {
    match fs::read_link(format!("/proc/{pid}/exe")) {
        // A program that was replaced has " (deleted)" behind its name.
        Ok(program) => file_name(program.as_os_str()).split(' ').next() == Some(NAME),
        Err(_) => name == NAME.as_bytes(),
    }
}

fn command_line(pid: Pid) -> Vec<OsString> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

/// Whether a sexton with this command line obeys the variables in question. One that runs a tool does not.
fn supervises(line: &[OsString]) -> bool {
    let first = line.first().map(|name| file_name(name)).unwrap_or_default();
    first != super::shell::NAME && line.get(1).is_none_or(|word| word != "tool")
}

fn file_name(path: &OsStr) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Those of `ours` that stand in `theirs`, an environment as /proc shows it. All, where it could not be read.
fn shared(theirs: &[u8], ours: impl Iterator<Item = (OsString, OsString)>) -> BTreeSet<OsString> {
    let theirs: BTreeSet<&[u8]> = theirs.split(|byte| *byte == 0).filter(|set| !set.is_empty()).collect();
    let is_theirs = |name: &OsStr, value: &OsStr| {
        theirs.is_empty() || theirs.contains([name.as_bytes(), b"=", value.as_bytes()].concat().as_slice())
    };
    ours.filter(|(name, value)| {
        name.as_bytes().starts_with(b"SEXTON_") && name != STAYS && is_theirs(name, value)
    })
    .map(|(name, _)| name)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_variable_that_was_set_anew_counts() {
        let ours = [("SEXTON_CONFIG", "a"), ("SEXTON_GRACE", "2s"), ("SEXTON_NO_LOCKS", "1"), ("HOME", "/")];
        let ours = || ours.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let names = |theirs: &[u8]| shared(theirs, ours()).into_iter().collect::<Vec<_>>();
        assert_eq!(
            names(b"SEXTON_CONFIG=a\0SEXTON_GRACE=1s\0SEXTON_NO_LOCKS=1\0HOME=/\0"),
            ["SEXTON_CONFIG"]
        );
        assert_eq!(names(b"HOME=/\0"), [""; 0]);
        assert_eq!(names(b""), ["SEXTON_CONFIG", "SEXTON_GRACE"], "it belongs to another user");
    }

    #[test]
    fn a_tool_has_no_settings_of_a_supervisor() {
        assert!(supervises(&words("/usr/bin/sexton -- gw tool")));
        assert!(supervises(&words("sexton")));
        assert!(!supervises(&words("sexton tool -- sexton -- gw")));
        assert!(!supervises(&words("/usr/bin/sexton-sh -c x")));
    }
}
