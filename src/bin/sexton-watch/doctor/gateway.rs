//! The gateway's program: found, answering for its version, with a configuration that can be read.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sexton::config::Plan;
use sexton::locks::roots::discover;
use sexton::os::files::{self, FileKind, Meta};
use sexton::os::{exec, privileges};
use sexton::report::messages::latency;

use super::finding::{Finding, Severity};
use super::versions::{self, Version};
use crate::openclaw;
use crate::probe::{self, End, Heard};

const NAME: &str = "gateway";
/// A command line that takes longer than this to say its version makes every script that calls it slow.
const SLOW: Duration = Duration::from_secs(5);

/// The plan's command as text.
pub fn command(plan: &Plan) -> Vec<String> {
    plan.command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// A variable as the gateway gets it.
fn variable(plan: &Plan, name: &str) -> Option<OsString> {
    let set = plan.env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    set.or_else(|| env::var_os(name))
}

/// Whether the program is there and can be executed.
///
/// With them comes whether it can be.
pub fn found(plan: &Plan) -> (Vec<Finding>, Option<bool>) {
    let Some(name) = command(plan).into_iter().next() else {
        let what = "no command is known: neither a sexton runs, nor does the configuration file name one";
        return (vec![Finding::ok(NAME, format!("{what}; 'sexton doctor -- COMMAND' looks at one"))], None);
    };
    let path = variable(plan, "PATH").unwrap_or_else(|| exec::DEFAULT_PATH.into());
    let tried: Vec<PathBuf> = match name.contains('/') {
        true => vec![PathBuf::from(&name)],
        false => env::split_paths(&path).map(|directory| directory.join(&name)).collect(),
    };
    let files: Vec<&PathBuf> = tried.iter().filter(|path| path.is_file()).collect();
    let runs = |path: &&&PathBuf| fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
    let finding = match (files.iter().find(runs), files.first()) {
        (Some(path), _) => Finding::ok(NAME, format!("{name} is {}", path.display())),
        (None, Some(path)) => Finding::problem(
            NAME,
            format!("{} cannot be executed: the start ends with 126", path.display()),
            format!("chmod +x {}", path.display()),
        ),
        (None, None) => Finding::problem(
            NAME,
            format!("{name} is not found: the start ends with 127"),
            "Install it, name it by its whole path, or set PATH in [env]",
        ),
    };
    let runs = finding.grade == Severity::Ok;
    (vec![finding], Some(runs))
}

/// Asks OpenClaw's command line for its version, and looks for its configuration file. There is no common way to ask
/// other gateways.
pub async fn version(plan: &Plan, deadline: Duration) -> (Vec<Finding>, Option<Version>) {
    let Some(mut line) = openclaw::command_line(&command(plan)) else { return (Vec::new(), None) };
    let shown = line.join(" ");
    line.push("--version".to_owned());
    let heard = probe::hear(&line, deadline).await;
    let version = versions::version(&heard.said);
    let mut found = vec![judge(&shown, &heard, version, deadline)];
    found.extend(version.map(versions::known).unwrap_or_default());
    (found, version)
}

fn judge(shown: &str, heard: &Heard, version: Option<Version>, deadline: Duration) -> Finding {
    let name = "gateway version";
    let took = latency(heard.took.as_secs_f64() * 1000.0);
    let advice = "A busy machine, a cold disk or a plugin that blocks; '--deadline' lets it have longer, \
         'sexton measure' says how long it takes";
    match (&heard.end, version) {
        (End::TimedOut, _) => {
            let silent =
                if heard.first.is_none_or(|first| first > deadline) { "said nothing" } else { "did not end" };
            let deadline = humantime::format_duration(deadline);
            Finding::problem(name, format!("'{shown} --version' {silent} within {deadline}"), advice)
        }
        (End::Failed(why), _) => {
            Finding::problem(name, format!("'{shown} --version': {why}"), "Install it anew")
        }
        (End::Code(0, _), Some((year, month, number))) => {
            let what = format!("OpenClaw {year}.{month}.{number}, said in {took}");
            if heard.took > SLOW { Finding::warning(name, what, advice) } else { Finding::ok(name, what) }
        }
        (End::Code(0, _), None) => {
            let what = format!("'{shown} --version' says no version: '{}'", heard.said.trim());
            Finding::warning(name, what, "What is known of its releases cannot be told")
        }
        (End::Code(code, said), _) => Finding::problem(
            name,
            format!("'{shown} --version' ended with {code}: {said}"),
            "It would not start either: install it anew, and look at the version of node that it wants",
        ),
    }
}

/// OpenClaw's configuration file. Of other gateways it is not known where it is.
pub fn configuration(plan: &Plan) -> Vec<Finding> {
    if openclaw::command_line(&command(plan)).is_none() {
        return Vec::new();
    }
    let set = |name: &str| variable(plan, name).filter(|value| !value.is_empty());
    let states = discover(&set, privileges::effective_uid());
    let state = states.first().and_then(|root| {
        let candidates = root.candidates();
        candidates.iter().find(|path| path.is_dir()).or(candidates.first()).cloned()
    });
    let path = set("OPENCLAW_CONFIG_PATH").map(PathBuf::from).or_else(|| Some(state?.join("openclaw.json")));
    path.map(|path| judge_configuration(&path)).into_iter().collect()
}

fn judge_configuration(path: &Path) -> Finding {
    let name = "gateway config";
    let shown = path.display();
    match look_into(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Finding::warning(
            name,
            format!("{shown} does not exist: OpenClaw does not start without gateway.mode"),
            "'openclaw setup' writes one; OPENCLAW_STATE_DIR and OPENCLAW_CONFIG_PATH say where it is looked for",
        ),
        Err(error) => Finding::problem(
            name,
            format!("{shown} cannot be read: {error}"),
            "Give it to the gateway's user",
        ),
        Ok(meta) if meta.kind != FileKind::Regular => {
            Finding::problem(name, format!("{shown} is not a file"), "Put a file there")
        }
        Ok(meta) if meta.size == 0 => Finding::problem(
            name,
            format!("{shown} is empty, as a write that was cut short leaves it"),
            "Put back the last good one: OpenClaw keeps openclaw.json.bak beside it",
        ),
        Ok(_) => Finding::ok(name, format!("{shown} can be read")),
    }
}

/// What is at this path. Opening a device can have effects, opening a pipe can block for ever, and the gateway's user
/// decides what is there. So the type is checked first, and only a regular file is opened.
fn look_into(path: &Path) -> io::Result<Meta> {
    let seen = files::look_through(path)?;
    let meta = files::meta(seen.as_fd())?;
    if meta.kind == FileKind::Regular {
        // The very same one.
        File::open(format!("/proc/self/fd/{}", seen.as_raw_fd()))?;
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_not_to_say_a_version_has_its_words() {
        let judged = |end: End, said: &str, first: Option<u64>, took: u64| {
            let heard = Heard {
                end,
                said: said.to_owned(),
                first: first.map(Duration::from_secs),
                took: Duration::from_secs(took),
            };
            judge("openclaw", &heard, versions::version(said), Duration::from_secs(10))
        };
        let good = judged(End::Code(0, String::new()), "OpenClaw 2026.9.6", Some(1), 1);
        assert_eq!((good.grade, good.what.as_str()), (Severity::Ok, "OpenClaw 2026.9.6, said in 1.0 s"));
        assert_eq!(judged(End::Code(0, String::new()), "2026.9.6", Some(1), 6).grade, Severity::Warning);
        assert_eq!(judged(End::Code(0, String::new()), "hello", Some(1), 1).grade, Severity::Warning);
        let silent = judged(End::TimedOut, "", None, 10);
        assert_eq!(silent.what, "'openclaw --version' said nothing within 10s");
        assert!(judged(End::TimedOut, "2026.9.6", Some(1), 10).what.contains("did not end"));
        let failed = judged(End::Code(1, "no node".into()), "", Some(1), 1);
        assert!(failed.grade == Severity::Problem && failed.what.ends_with("ended with 1: no node"));
    }

    #[test]
    fn a_configuration_has_to_be_a_file_with_something_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("openclaw.json");
        let grade = || judge_configuration(&path).grade;
        assert_eq!(grade(), Severity::Warning);
        fs::write(&path, "").unwrap();
        assert_eq!(grade(), Severity::Problem);
        fs::write(&path, "{}").unwrap();
        assert_eq!(grade(), Severity::Ok);
        assert_eq!(judge_configuration(directory.path()).grade, Severity::Problem);
        // No process ever writes to this pipe.
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(judge_configuration(&path).what.ends_with("is not a file"));
    }
}
