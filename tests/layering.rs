//! The house has one direction: this reads the imports of every room and fails on any that goes another way.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may import. A file with a narrower promise stands before its room.
const ALLOWED: &[(&str, &[&str])] = &[
    ("src/main.rs", &["cli", "control", "types", "report", "runtime"]),
    ("src/lib.rs", &[]),
    ("src/types", &[]),
    ("src/os", &["types"]),
    ("src/supervisor", &["types"]),
    ("src/locks/format", &["types"]),
    ("src/locks/kind.rs", &["types"]),
    ("src/locks/rule.rs", &["types"]),
    ("src/locks/verdict.rs", &["types"]),
    ("src/locks/roots.rs", &["types"]),
    ("src/locks/context.rs", &["types"]),
    ("src/locks", &["types", "os"]),
    ("src/report", &["types", "os"]),
    ("src/control/attribution.rs", &["types"]),
    ("src/control/kinship.rs", &["types"]),
    ("src/control/registry.rs", &["types"]),
    ("src/control/incidents.rs", &["types"]),
    ("src/control/lines.rs", &["types"]),
    ("src/control/protocol.rs", &["config", "types"]),
    ("src/control", &["types", "os", "report"]),
    ("src/config/file/text.rs", &["os"]),
    ("src/config/openclaw.rs", &[]),
    ("src/config/package.rs", &["os"]),
    ("src/config", &["types", "locks", "supervisor"]),
    ("src/cli", &["config", "control", "types", "locks", "os", "report", "supervisor"]),
    ("src/bin/sexton-watch/main.rs", &["types", "os", "report", "runtime"]),
    ("src/bin/sexton-watch/watch/health.rs", &["config", "control", "types"]),
    ("src/bin/sexton-watch/openclaw.rs", &[]),
    ("src/bin/sexton-watch/measure/stats.rs", &[]),
    ("src/bin/sexton-watch/measure/compare.rs", &[]),
    ("src/bin/sexton-watch/measure/limit.rs", &[]),
    ("src/bin/sexton-watch/measure/words.rs", &["cli"]),
    ("src/bin/sexton-watch/measure/mod.rs", &["cli", "os", "report", "types"]),
    ("src/bin/sexton-watch/doctor/finding.rs", &["report", "types"]),
    ("src/bin/sexton-watch/doctor/versions.rs", &[]),
    (
        "src/bin/sexton-watch/doctor",
        &["cli", "config", "control", "types", "locks", "os", "report", "runtime"],
    ),
    ("src/bin/sexton-watch", &["config", "control", "types", "locks", "os", "report"]),
    ("src/runtime", &["config", "control", "types", "locks", "os", "report", "supervisor"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a source names as `crate::ROOM` or `sexton::ROOM`, comments apart.
fn rooms_named(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for root in ["crate::", "sexton::"] {
            for (at, _) in line.match_indices(root) {
                let rest = &line[at + root.len()..];
                let names = match rest.strip_prefix('{') {
                    Some(group) => group.split('}').next().unwrap().split(',').map(str::trim).collect(),
                    None => vec![rest],
                };
                rooms.extend(names.iter().map(|name| {
                    name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
                }));
            }
        }
    }
    rooms
}

#[test]
fn imports_run_one_way() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&house.join("src"), &mut files);
    assert!(files.len() > 20, "the house was found");
    let known = ["cli", "config", "control", "types", "locks", "os", "report", "runtime", "supervisor"];
    for file in files {
        let shown = file.strip_prefix(house).unwrap().to_str().unwrap().to_owned();
        let (room, allowed) = ALLOWED
            .iter()
            .find(|(room, _)| Path::new(&shown).starts_with(room))
            .unwrap_or_else(|| panic!("{shown} is in no known room; add it to this test and to src/lib.rs"));
        for named in rooms_named(&fs::read_to_string(&file).unwrap()) {
            let own = room.split('/').nth(1).is_some_and(|own| own == named);
            if known.contains(&named.as_str()) && !own {
                assert!(allowed.contains(&named.as_str()), "{shown} must not import {named}");
            }
        }
    }
}

#[test]
fn unsafe_is_written_in_one_room_only() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&house.join("src"), &mut files);
    for file in files.iter().filter(|file| !file.starts_with(house.join("src/os"))) {
        for line in
            fs::read_to_string(file).unwrap().lines().filter(|line| !line.trim_start().starts_with("//"))
        {
            let code = line.contains("unsafe ") || line.contains("unsafe{") || line.contains("unsafe(");
            assert!(!code, "{}: {line}", file.display());
        }
    }
}

/// What sexton prints is in part what others have written, and is escaped where it leaves.
#[test]
fn output_leaves_through_one_place() {
    /// They show on a terminal how far they have come, or pass on what a helper of ours has logged: no word of others
    /// that was not escaped before.
    const OTHERS: [&str; 3] =
        ["src/runtime/locks_command.rs", "src/os/isolated.rs", "src/bin/sexton-watch/measure/mod.rs"];
    const WAYS: [&str; 10] = [
        "println!(",
        "print!(",
        "write!(io::std",
        "write!(std::io::std",
        "writeln!(io::std",
        "writeln!(std::io::std",
        "io::stderr(),",
        "io::stdout(),",
        "stdout().write",
        "stderr().write",
    ];
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&house.join("src"), &mut files);
    let mut seen = 0;
    for file in files {
        let shown = file.strip_prefix(house).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let prints = text
            .lines()
            .find(|line| !line.trim_start().starts_with("//") && WAYS.iter().any(|way| line.contains(way)));
        let Some(line) = prints else { continue };
        seen += 1;
        let tests = shown.contains("/tests");
        assert!(
            tests || OTHERS.contains(&&*shown) || shown.starts_with("src/report/"),
            "{shown} prints by itself and not through report::output or report::log: {line}"
        );
    }
    assert!(seen > OTHERS.len(), "the way that is looked for is still how it is done");
}
