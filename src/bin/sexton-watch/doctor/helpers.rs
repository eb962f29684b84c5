//! The programs beside sexton: sexton-watch, which looks, and sexton-sh, which the gateway's tools run through.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sexton::config::Plan;
use sexton::control::protocol::Status;
use sexton::os::{procfs, tree};
use sexton::types::Pid;

use super::finding::Finding;

/// What is known of sexton-watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watch<'a> {
    /// The configuration asks for something to be watched.
    wanted: bool,
    /// The version of the sexton that runs.
    sexton: Option<&'a str>,
    /// One runs below it.
    runs: bool,
    ours: &'a str,
}

/// Whether it runs where it is to run.
pub fn watch(plan: &Plan, status: Option<&Status>) -> Vec<Finding> {
    let below = status.and_then(|status| tree::below(Pid::new(status.pid)?).ok()).unwrap_or_default();
    // A name has at most 15 bytes, of which this one has 12.
    let runs = below.iter().any(|stat| stat.name == b"sexton-watch" && !stat.is_dead());
    vec![judge_watch(Watch {
        wanted: plan.watching.is_some(),
        sexton: status.map(|status| status.version.as_str()),
        runs,
        ours: env!("CARGO_PKG_VERSION"),
    })]
}

fn judge_watch(watch: Watch<'_>) -> Finding {
    let name = "sexton-watch";
    match watch {
        Watch { sexton: Some(sexton), ours, .. } if sexton != ours => Finding::warning(
            name,
            format!(
                "it is of version {ours}, and the sexton that runs of {sexton}: one of them was replaced"
            ),
            "Start sexton anew",
        ),
        Watch { wanted: true, sexton: Some(_), runs: false, .. } => Finding::problem(
            name,
            "it is to look, and does not run: a gateway that hangs would not be noticed",
            "It belongs beside sexton; sexton's log says why it ended",
        ),
        Watch { wanted: true, sexton: Some(_), ours, .. } => {
            Finding::ok(name, format!("{ours}, and it looks"))
        }
        Watch { wanted: true, ours, .. } => Finding::ok(name, format!("{ours}, and will look")),
        Watch { wanted: false, .. } => {
            Finding::ok(name, "not asked for: no health, log or memory is watched ([health] and others do)")
        }
    }
}

/// What is known of the gateway's SHELL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Shell {
    /// Tools are to run through sexton-sh.
    wanted: bool,
    /// Where sexton-sh is, and what it leads to.
    lies: Option<(PathBuf, Option<PathBuf>)>,
    /// The SHELL that the gateway has, if it runs and can be looked at.
    has: Option<PathBuf>,
}

/// Whether the gateway's tools are managed, where they are to be.
pub fn shell(plan: &Plan, status: Option<&Status>) -> Vec<Finding> {
    let beside = fs::canonicalize("/proc/self/exe").ok().and_then(|path| Some(path.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let lies =
        beside.into_iter().chain(std::env::split_paths(&path)).map(|directory| directory.join("sexton-sh"));
    let lies = lies.into_iter().find(|path| path.is_file());
    let environment = status.and_then(|status| Pid::new(status.gateway.pid?)).map(procfs::environment);
    vec![judge_shell(&Shell {
        wanted: plan.settings.tool_shell,
        lies: lies.map(|path| {
            let leads = fs::canonicalize(&path).ok();
            (path, leads)
        }),
        has: environment.and_then(|environment| shell_of(&environment)),
    })]
}

fn shell_of(environment: &[u8]) -> Option<PathBuf> {
    let set = environment.split(|byte| *byte == 0).find_map(|set| set.strip_prefix(b"SHELL="));
    set.map(|value| PathBuf::from(OsStr::from_bytes(value)))
}

fn judge_shell(shell: &Shell) -> Finding {
    let name = "tool shell";
    let is_ours = |path: &Path| path.file_name().is_some_and(|name| name == "sexton-sh");
    let link = "ln -s sexton /usr/bin/sexton-sh";
    match (shell.wanted, &shell.lies, &shell.has) {
        (true, None, _) => Finding::problem(
            name,
            "tools are to run through sexton-sh, which is neither beside sexton nor in PATH: none is managed",
            format!("Make the link: {link}"),
        ),
        (true, Some((path, leads)), _)
            if leads.as_ref().and_then(|leads| leads.file_name()) != Some("sexton".as_ref()) =>
        {
            Finding::problem(
                name,
                format!("{} is no link to sexton: no tool would run", path.display()),
                format!("Make it one: {link}"),
            )
        }
        (true, _, Some(has)) if !is_ours(has) => Finding::warning(
            name,
            format!(
                "tools are to run through sexton-sh, and the gateway that runs has SHELL={}",
                has.display()
            ),
            "It counts from the gateway's next start on: 'sexton restart'",
        ),
        (true, Some((path, _)), _) => Finding::ok(name, format!("tools run through {}", path.display())),
        (false, _, Some(has)) if is_ours(has) => {
            Finding::ok(name, "the gateway has sexton-sh as its SHELL, from elsewhere")
        }
        (false, ..) => {
            Finding::ok(name, "the gateway's tools are its own business ([tools] shell = true manages them)")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn a_watch_that_is_wanted_has_to_run() {
        let grade = |wanted, sexton, runs| judge_watch(Watch { wanted, sexton, runs, ours: "1" }).grade;
        assert_eq!(grade(true, Some("1"), true), Severity::Ok);
        assert_eq!(grade(true, Some("1"), false), Severity::Problem);
        assert_eq!(grade(false, Some("1"), false), Severity::Ok);
        assert_eq!(grade(true, None, false), Severity::Ok);
        assert_eq!(grade(true, Some("2"), true), Severity::Warning);
    }

    #[test]
    fn a_shell_that_is_wanted_has_to_be_ours() {
        let lies = |leads: &str| Some((PathBuf::from("/usr/bin/sexton-sh"), Some(PathBuf::from(leads))));
        let grade = |wanted, lies, has: Option<&str>| {
            judge_shell(&Shell { wanted, lies, has: has.map(PathBuf::from) }).grade
        };
        assert_eq!(grade(true, None, None), Severity::Problem);
        assert_eq!(grade(true, lies("/bin/bash"), None), Severity::Problem);
        assert_eq!(grade(true, lies("/usr/bin/sexton"), None), Severity::Ok);
        assert_eq!(grade(true, lies("/usr/bin/sexton"), Some("/bin/sh")), Severity::Warning);
        assert_eq!(grade(true, lies("/usr/bin/sexton"), Some("/usr/bin/sexton-sh")), Severity::Ok);
        assert_eq!(grade(false, None, Some("/bin/sh")), Severity::Ok);
        assert_eq!(shell_of(b"A=b\0SHELL=/bin/x\0").as_deref(), Some(Path::new("/bin/x")));
    }
}
