//! Units, restarts and named output, through the whole binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they look at the clock and start processes, and a failure must be loud"
)]

#[path = "../common/mod.rs"]
mod common;
mod order;
mod output;
mod reload;
mod reload_files;
mod restart;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use common::victim::{Mode, Plan, Victim, plan};
use common::{sexton, text, wait_until};

/// A plan with this configuration and a control socket, both in the victim's own directory. `DIR` in the text is
/// that directory.
fn configured(mode: Mode, text: &str) -> Option<(Plan, PathBuf)> {
    let plan = plan(mode)?;
    let config = plan.path("sexton.toml");
    fs::write(&config, text.replace("DIR", plan.path("").trim_end_matches('/'))).unwrap();
    let socket = plan.path("run/control.sock");
    let plan = plan.variable("SEXTON_CONFIG", &config).variable("SEXTON_CONTROL", &socket);
    Some((plan, PathBuf::from(socket)))
}

/// The same, begun, with log lines in JSON.
fn begin(mode: Mode, text: &str) -> Option<(Victim, PathBuf)> {
    let (plan, socket) = configured(mode, text)?;
    Some((plan.options(["-v", "--log-format", "json"]).run_as_typed([] as [&str; 0]), socket))
}

/// Runs a subcommand from outside.
fn ask<const N: usize>(socket: &Path, words: [&str; N]) -> Output {
    Command::new(sexton()).args(words).env_clear().env("SEXTON_CONTROL", socket).output().unwrap()
}

fn status(socket: &Path) -> Value {
    serde_json::from_slice(&ask(socket, ["status", "--json"]).stdout).unwrap_or_default()
}

/// Waits until a file of the victim's directory holds this many lines, and gives them.
#[track_caller]
fn lines(victim: &Victim, file: &str, count: usize) -> Vec<String> {
    wait_until(&format!("{file} has {count} lines"), || victim.read(file).lines().count() >= count);
    victim.read(file).lines().map(str::to_owned).collect()
}

/// The processes of a victim with this name.
fn named(victim: &Victim, name: &str) -> Vec<i32> {
    victim.live().into_iter().filter(|one| one.name == name).map(|one| one.pid).collect()
}

#[test]
fn the_readmes_configurations_are_sound() {
    let page =
        |name: &str| fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + name).unwrap();
    let readme = page("README.md") + &page("docs/configuration.md") + &page("docs/locks.md");
    let blocks: Vec<&str> =
        readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 3, "they were found");
    let dir = tempfile::tempdir().unwrap();
    for block in blocks {
        let path = dir.path().join("sexton.toml");
        fs::write(&path, block).unwrap();
        let mut check = Command::new(sexton());
        let checked = check.args(["check", "--config", path.to_str().unwrap()]).env_clear().output().unwrap();
        assert_eq!(checked.status.code(), Some(0), "{block}{}", text(&checked.stderr));
    }
}
