//! What is shipped is good: manual pages without a complaint, and completions that shells complete with.

use std::process::Command;

use crate::{SHIPPED, common, shipped};

/// Runs it, and gives its output and whether it went well; `None`, after a line that says so, where it is missing.
fn run(program: &str, arguments: &[&str]) -> Option<(String, bool)> {
    let Ok(output) = Command::new(program).args(arguments).env("HOME", env!("CARGO_TARGET_TMPDIR")).output()
    else {
        common::skip(program, &format!("apt install {program}"));
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    Some((String::from_utf8_lossy(&text).into_owned(), output.status.success()))
}

#[test]
fn manual_pages_are_clean() {
    for (place, _) in SHIPPED.iter().filter(|(place, _)| place.starts_with("man/")) {
        let path = shipped(place);
        let Some((complaints, fine)) = run("mandoc", &["-Tlint", path.to_str().unwrap()]) else { return };
        assert!(fine && complaints.is_empty(), "{complaints}");
        let (text, _) = run("mandoc", &["-Tutf8", path.to_str().unwrap()]).unwrap();
        assert!(text.contains("sexton"), "{place} shows nothing");
    }
}

/// What was typed, and what is offered for it.
const OFFERED: &[(&str, &[&str])] = &[
    ("sexton sta", &["status"]),
    ("sexton --lock-a", &["--lock-action"]),
    ("sexton --start-w", &["--start-window"]),
    ("sexton locks --verdict o", &["orphaned"]),
    ("sexton restart --j", &["--json"]),
    ("sexton tool --re", &["--record"]),
];

/// What fish is not told by the generator: values of sexton's own options, and words that are no subcommand.
const OFFERED_BY_BASH: &[(&str, &[&str])] =
    &[("sexton --wait ", &["all", "main"]), ("sexton locks s", &["sweep"])];

#[test]
fn bash_completes() {
    let script = shipped("completions/sexton.bash");
    for (typed, offered) in OFFERED.iter().chain(OFFERED_BY_BASH) {
        let words: Vec<&str> = typed.split(' ').collect();
        let (last, before) = words.split_last().unwrap();
        // What bash does at a tab: it calls the function that `complete` was told, with three words and variables.
        let tab = r#"
            source "$1"; shift
            complete -p sexton >/dev/null || exit 1
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _sexton sexton "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}" | sort"#;
        let mut arguments = vec!["--norc", "-c", tab, "bash", script.to_str().unwrap()];
        arguments.extend(before);
        arguments.push(last);
        let (replies, fine) = run("bash", &arguments).unwrap();
        assert!(fine && replies.lines().eq(offered.iter().copied()), "{typed}: {replies}");
    }
}

#[test]
fn fish_completes() {
    let script = shipped("completions/sexton.fish");
    for (typed, offered) in OFFERED {
        let tab = format!("source {}; complete --do-complete '{typed}'", script.display());
        let Some((replies, fine)) = run("fish", &["--no-config", "-c", &tab]) else { return };
        let mut names: Vec<&str> = replies.lines().filter_map(|line| line.split('\t').next()).collect();
        names.sort_unstable();
        assert!(fine && names.starts_with(offered), "{typed}: {replies}");
    }
}

#[test]
fn zsh_understands_its_completions() {
    let script = shipped("completions/_sexton");
    let text = std::fs::read_to_string(&script).unwrap();
    assert!(text.starts_with("#compdef sexton\n"), "compinit(1) would not find it");
    let Some((complaints, fine)) = run("zsh", &["-f", "-n", script.to_str().unwrap()]) else { return };
    assert!(fine && complaints.is_empty(), "{complaints}");
}
