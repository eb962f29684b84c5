//! What is looked at: the plan of a command line, or of the sexton that runs.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};
use sexton::cli;
use sexton::config::Plan;
use sexton::os::{process, procfs};
use sexton::types::Pid;

use super::finding::Finding;

/// What a sexton was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    line: Vec<Vec<u8>>,
    variables: Vec<(String, Vec<u8>)>,
}

/// The variables that a plan is made of, besides those of sexton's and OpenClaw's own.
const VARIABLES: [&str; 5] = ["HOME", "PATH", "TMPDIR", "SHELL", "XDG_RUNTIME_DIR"];
/// The beginnings of those.
const PREFIXES: [&str; 3] = ["SEXTON_", "OPENCLAW_", "TINI_"];

/// What the sexton of this pid was started with; `None` where that cannot be seen.
pub fn of_running(pid: i32) -> Option<Origin> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let environment = procfs::environment(Pid::new(pid)?);
    origin(&line, &environment)
}

fn origin(line: &[u8], environment: &[u8]) -> Option<Origin> {
    let line: Vec<Vec<u8>> = line.strip_suffix(&[0])?.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    let variables = environment.split(|byte| *byte == 0).filter_map(|set| {
        let equals = set.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (std::str::from_utf8(set.get(..equals)?).ok()?, set.get(equals + 1..)?);
        let counts = VARIABLES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        counts.then(|| (name.to_owned(), value.to_vec()))
    });
    Some(Origin { line, variables: variables.collect() })
}

impl Origin {
    /// Makes the variables ours, and gives the command line.
    pub fn adopt_env(self) -> Vec<OsString> {
        for (name, value) in &self.variables {
            process::set_variable(name, OsStr::from_bytes(value));
        }
        self.line.into_iter().map(OsString::from_vec).collect()
    }
}

/// Whether a command line says at most where the socket of a sexton is.
pub fn says_only_where(line: &[OsString]) -> bool {
    let mut words = line.iter().skip(1).map(|word| word.as_bytes());
    while let Some(word) = words.next() {
        match word {
            b"--control" => drop(words.next()),
            word if word.starts_with(b"--control=") => {}
            _ => return false,
        }
    }
    true
}

/// The plan of this command line, if it makes one.
pub fn plan(line: &[OsString]) -> Option<Plan> {
    cli::plan_to_look_at(line).ok()
}

/// Whether it makes one.
pub fn check(line: &[OsString]) -> Finding {
    let name = "configuration";
    match cli::plan_to_look_at(line) {
        Ok(plan) => {
            let file = plan.origin.file.as_ref().map(|path| path.display().to_string());
            let preset = plan.origin.preset.map(|preset| format!(", preset {preset}")).unwrap_or_default();
            Finding::ok(name, format!("{}{preset}", file.unwrap_or_else(|| "no file".to_owned())))
        }
        Err(why) => Finding::problem(
            name,
            why.to_string(),
            "Every start fails until it is mended; 'sexton check' tells when it is",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_is_says_nothing_of_what_it_is_to_do() {
        let line = |words: &str| words.split(' ').map(OsString::from).collect::<Vec<_>>();
        for words in ["sexton", "sexton --control /a", "sexton --control=/a"] {
            assert!(says_only_where(&line(words)), "{words}");
        }
        for words in ["sexton -v", "sexton -- true", "sexton --control /a true", "sexton --controls=/a"] {
            assert!(!says_only_where(&line(words)), "{words}");
        }
    }

    #[test]
    fn what_a_sexton_was_started_with_is_read() {
        let origin =
            origin(b"/usr/bin/sexton\0--grace\09s\0--\0gw\0", b"A=b\0SEXTON_GROUP=1\0HOME=/h=x\0junk\0")
                .unwrap();
        let line: Vec<&[u8]> = origin.line.iter().map(Vec::as_slice).collect();
        assert_eq!(line, [&b"/usr/bin/sexton"[..], b"--grace", b"9s", b"--", b"gw"]);
        let set = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        assert_eq!(origin.variables, [set("SEXTON_GROUP", b"1"), set("HOME", b"/h=x")]);
        assert_eq!(super::origin(b"", b""), None);
    }
}
