//! What a command says and how it ends when something is wrong with its words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests are not PID 1: they start processes, and a failure must be loud"
)]

mod common;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Output;

use common::victim::{Mode, plan};
use common::{command, sexton, text};

fn line(words: &str) -> Output {
    command(words.split(' ')).output().unwrap()
}

/// That the words are refused with 125 and one line that has all of `parts`, which is given back.
#[track_caller]
fn refused(words: &str, parts: &[&str]) -> String {
    let output = line(words);
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(125), 1), "{words}: {said}");
    for part in parts {
        assert!(said.contains(part), "{words}: '{part}' is not in: {said}");
    }
    said
}

#[test]
fn names_of_any_bytes_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut socket = directory.path().as_os_str().to_owned();
    socket.push(OsString::from_vec(b"/c\xff.sock".to_vec()));
    let test = "test -S \"$SEXTON_SOCKET\"";
    let output = command([OsStr::new("--control"), &socket]).args(["--", "sh", "-c", test]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let name = OsString::from_vec(b"n\xffm".to_vec());
    let output =
        command([OsStr::new("tool"), OsStr::new("--name"), &name]).args(["--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn the_variables_of_an_outer_sexton_are_its_own() {
    let Some(plan) = plan(Mode::Tree) else { return };
    let config = plan.path("sexton.toml");
    let marks = plan.path("marks");
    fs::write(&config, "remap_exit = [7]\n[units.db]\ncommand = ['sleep', '1000']\n").unwrap();
    let inner = format!("'{}'", sexton().display());
    let checked = plan.path("checked");
    let script = format!(
        "{inner} -- sh -c 'exit 7'; echo inner $? >>'{marks}'; {inner} check --json >'{checked}'; \
         SEXTON_CONFIG='{config}' SEXTON_GRACE=soon {inner} -- true; echo code $? >>'{marks}'"
    );
    let mut victim = plan
        .variable("SEXTON_CONFIG", &config)
        .variable("SEXTON_CONTROL", "off")
        .run_as_typed(["sh", "-c", &script]);
    victim.ends_with(0);
    assert_eq!(victim.read("marks"), "inner 7\ncode 125\n", "what is set anew counts: {}", victim.stderr());
    assert!(victim.read("checked").contains("\"db\""), "check tells what the variable names");
}

#[test]
fn a_word_that_is_no_program_is_compared_with_the_subcommands() {
    let said = refused_start("statsu");
    assert!(said.contains("did you mean 'sexton status'"), "{said}");
    let said = refused_start("docter");
    assert!(said.contains("did you mean 'sexton doctor'"), "{said}");
    let said = refused_start("no-such-program-at-all");
    assert!(!said.contains("did you mean"), "{said}");
}

#[track_caller]
fn refused_start(word: &str) -> String {
    let output = line(word);
    assert_eq!(output.status.code(), Some(127), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn an_error_points_to_the_help_of_its_own_subcommand() {
    for word in ["check", "locks", "install", "tool", "status", "signal", "doctor", "measure"] {
        let help = format!("sexton {word} --help");
        refused(&format!("{word} --no-such-option"), &["--no-such-option", &help]);
    }
    refused("--no-such-option true", &["--no-such-option", "'sexton --help'"]);
}

#[test]
fn an_error_says_each_thing_once_and_names_the_choices() {
    let said = refused("signal", &["<SIGNAL>"]);
    assert_eq!(said.matches("<SIGNAL>").count(), 1, "{said}");
    let said = refused("install", &["<DIR>"]);
    assert_eq!(said.matches("<DIR>").count(), 1, "{said}");
    refused("--wait every true", &["main", "all"]);
    refused("tool --wait every true", &["leader", "all"]);
    refused("--log-format xml true", &["text", "json"]);
    refused("locks --verdict dead", &["held", "orphaned", "unclear"]);
}

#[test]
fn a_mistyped_option_of_doctor_is_a_usage_error() {
    refused("doctor --jsno", &["--jsno", "did you mean '--json'"]);
    refused("doctor --deadlin 2s", &["--deadlin", "did you mean '--deadline'"]);
    refused("doctor --grcae 2s", &["--grcae", "did you mean '--grace'"]);
}

#[test]
fn help_names_the_subcommands_on_one_screen() {
    let output = line("--help");
    let help = text(&output.stdout);
    assert!(help.lines().count() <= 40, "{} lines", help.lines().count());
    for word in
        ["check", "doctor", "health", "install", "locks", "measure", "ps", "reload", "restart", "tool"]
    {
        assert!(help.split(|c: char| !c.is_alphanumeric()).any(|one| one == word), "{word}: {help}");
    }
}

#[test]
fn a_root_that_is_not_there_is_not_called_empty() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing").into_os_string().into_string().unwrap();
    let output = command(["locks", "--root", &missing]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!text(&output.stdout).contains("no locks"), "{}", text(&output.stdout));
    let said = text(&output.stderr);
    assert!(said.contains(&missing) && said.lines().count() == 1, "{said}");
}

#[test]
fn v_counts_from_warnings_up_everywhere() {
    // What sexton does at one v, its subcommands do as well: warnings are there without any.
    for (words, level) in
        [("-v check -- true", "info"), ("check -v -- true", "info"), ("check -- true", "warn")]
    {
        assert!(text(&line(words).stdout).contains(&format!("log = \"{level}\"")), "{words}");
    }
    assert!(text(&line("tool --help").stdout).contains("-v info, -vv debug, -vvv trace"));
}

#[test]
fn without_path_the_doctor_looks_where_the_start_does() {
    let start = command(["--", "sh", "-c", "exit 3"]).env_remove("PATH").output().unwrap();
    assert_eq!(start.status.code(), Some(3), "{}", text(&start.stderr));
    let words = ["doctor", "--json", "--no-locks", "--", "sh", "-c", "exit 3"];
    let said = text(&command(words).env_remove("PATH").output().unwrap().stdout);
    assert!(!said.contains("ends with 127"), "{said}");
    assert!(said.contains("sh is /"), "{said}");
}
