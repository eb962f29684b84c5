//! `sexton-sh`: sexton by the name of a shell.
//!
//! A gateway runs its tools as `$SHELL -c COMMAND`. With sexton-sh as its `SHELL` each of them is a managed
//! tool. The real shell is `SEXTON_SHELL`, else bash, else sh, and gets the same words. A shell that talks to a
//! person is no tool: sexton becomes it and is gone.
//!
//! OpenClaw gives `--noprofile --norc` to a shell that is named bash and `-f` to zsh, and nothing to one that it
//! does not know, as sexton-sh. So sexton-sh adds them where the words begin with `-c`. For bash they matter:
//! its standard input is a socket there, as Node makes its pipes, which bash takes for a remote login, and then
//! it reads `~/.bashrc` even with `-c`.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Request, Usage, tool};
use crate::config::Plan;

/// The name that sexton has as a shell.
pub(super) const NAME: &str = "sexton-sh";

/// Whether that is how sexton was called; login(1) puts a `-` before the name.
pub(super) fn is_ours(name: Option<&OsString>) -> bool {
    let name = name.and_then(|name| Path::new(name).file_name()).map(OsStr::as_bytes);
    name.is_some_and(|name| name.strip_prefix(b"-").unwrap_or(name) == NAME.as_bytes())
}

/// Reads the command line of a shell; the first word is its name.
pub(super) fn read(words: &[OsString]) -> Result<Request, Usage> {
    let (name, words) = words.split_first().map_or((OsStr::new(NAME), words), |(name, rest)| (name, rest));
    let Some(shell) = real_shell() else {
        let what = "no shell was found: neither bash nor sh is in PATH; name one in SEXTON_SHELL";
        return Err(Usage::Tool { what: what.to_owned() });
    };
    let login = name.as_bytes().first() == Some(&b'-');
    let command = command(&shell, login, words);
    let on_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if is_for_a_person(words, on_terminal) {
        return Ok(Request::Exec(Plan::command_of(command)?));
    }
    tool::from_shell(command)
}

/// `SEXTON_SHELL`, else bash, else sh; but never ourselves once more.
fn real_shell() -> Option<OsString> {
    let ourselves = std::fs::canonicalize("/proc/self/exe").ok();
    let is_other = |path: &PathBuf| std::fs::canonicalize(path).ok() != ourselves;
    let named = std::env::var_os("SEXTON_SHELL").filter(|shell| !shell.is_empty());
    if let Some(shell) = named {
        // One that is not there is the user's to hear of, by the exit code 127.
        if find(&shell).is_none_or(|found| is_other(&found)) {
            return Some(shell);
        }
    }
    ["bash", "sh"].iter().find_map(|name| find(OsStr::new(name)).filter(is_other)).map(OsString::from)
}

/// Where a shell would find this command.
fn find(name: &OsStr) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(is_program)
}

/// The real shell's command line.
fn command(shell: &OsStr, login: bool, words: &[OsString]) -> Vec<OsString> {
    let base = Path::new(shell).file_name().unwrap_or(shell);
    let plain = words.first().is_some_and(|first| first == "-c");
    let added: &[&str] = match base.to_str() {
        Some("bash") if plain && !login => &["--noprofile", "--norc"],
        Some("zsh") if plain && !login => &["-f"],
        // The dash before a login shell's name cannot be handed on together with its path.
        _ if login => &["-l"],
        _ => &[],
    };
    let added = added.iter().map(OsString::from);
    std::iter::once(shell.to_owned()).chain(added).chain(words.iter().cloned()).collect()
}

/// Whether the shell is to talk to a person: it has neither a command nor a script, and a terminal or `-i`.
fn is_for_a_person(words: &[OsString], on_terminal: bool) -> bool {
    let mut asked = on_terminal;
    for word in words {
        let word = word.as_bytes();
        match word {
            b"-" | b"--" => return asked && words.last().is_some_and(|last| last.as_bytes() == word),
            // Long options of bash and zsh; those that take a value are rare, and then it looks like a script.
            [b'-', b'-', ..] => {}
            [b'-' | b'+', letters @ ..] => {
                if letters.contains(&b'c') {
                    return false;
                }
                asked |= letters.contains(&b'i');
            }
            _ => return false,
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn it_knows_its_name() {
        for (name, ours) in [
            ("sexton-sh", true),
            ("/usr/bin/sexton-sh", true),
            ("-sexton-sh", true),
            ("sexton", false),
            ("sh", false),
        ] {
            assert_eq!(is_ours(Some(&name.into())), ours, "{name}");
        }
        assert!(!is_ours(None));
    }

    #[test]
    fn a_command_or_a_script_is_a_tool_and_a_dialogue_is_not() {
        for (typed, on_terminal, person) in [
            (&[][..], true, true),
            (&[], false, false),
            (&["-c", "true"], true, false),
            (&["-lc", "true"], true, false),
            (&["-l", "-i", "-c", "true"], true, false),
            (&["-l"], true, true),
            (&["-i"], false, true),
            (&["--norc", "-i"], false, true),
            (&["script.sh", "-i"], true, false),
            (&["--", "script.sh"], true, false),
            (&["-s"], false, false),
        ] {
            assert_eq!(is_for_a_person(&words(typed), on_terminal), person, "{typed:?} {on_terminal}");
        }
    }

    #[test]
    fn the_shell_gets_what_openclaw_would_have_given_it() {
        let line = |shell: &str, login, typed: &[&str]| {
            command(OsStr::new(shell), login, &words(typed)).join(OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(line("/bin/bash", false, &["-c", "x"]), "/bin/bash --noprofile --norc -c x");
        assert_eq!(line("bash", false, &["-lc", "x"]), "bash -lc x");
        assert_eq!(line("bash", false, &["script"]), "bash script");
        assert_eq!(line("/usr/bin/zsh", false, &["-c", "x"]), "/usr/bin/zsh -f -c x");
        assert_eq!(line("sh", false, &["-c", "x"]), "sh -c x");
        assert_eq!(line("/bin/bash", true, &[]), "/bin/bash -l");
    }
}
