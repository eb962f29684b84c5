//! What the pages say is what is seen: their terminals are played, their configurations checked, their options taken,
//! and their links followed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "tests are not PID 1: they start processes")]

mod common;
#[path = "docs/lock_kinds.rs"]
mod lock_kinds;
#[path = "docs/log_events.rs"]
mod log_events;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use common::console::{blocks, commands, fits};
use common::{sexton, unshare};

const MIGRATION: &str = "docs/migration.md";
const PAGES: &[&str] = &[
    "README.md",
    "packaging/README.md",
    "docs/comparison.md",
    "docs/configuration.md",
    "docs/control.md",
    "docs/deploy.md",
    "docs/doctor.md",
    "docs/health.md",
    "docs/kernels.md",
    "docs/lock-kinds.md",
    "docs/locks.md",
    "docs/log-events.md",
    "docs/measure.md",
    MIGRATION,
    "docs/tools.md",
    "docs/troubleshooting.md",
];

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(house().join(name)).unwrap()
}

/// What stands before each command's output.
const MARK: char = '\u{1e}';

/// Plays a block in a pid namespace of its own, with an empty /run and home, and gives what is wrong.
fn play(name: &str, block: &str) -> Option<String> {
    let shown = commands(block);
    let dir = tempfile::tempdir().unwrap();
    let (bin, home) = (dir.path().join("bin"), dir.path().join("home"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir(&home).unwrap();
    for word in ["sexton", "sexton-sh"] {
        symlink(sexton(), bin.join(word)).unwrap();
    }
    symlink(sexton().with_file_name("sexton-watch"), bin.join("sexton-watch")).unwrap();
    let mut script = "exec 2>&1\nmount -t tmpfs tmpfs /run\n".to_owned();
    for one in &shown {
        // A command can ask for the exit code of the one before.
        script.push_str(&format!("code=$?; printf '{MARK}'; (exit \"$code\")\n{}\n", one.command));
    }
    let file = dir.path().join("script");
    fs::write(&file, script).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let line = unshare()?;
    let output = Command::new("timeout")
        .args(["--kill-after=5", "90"])
        .args(line)
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash"])
        .arg(&file)
        .env_clear()
        .env("PATH", path)
        .env("HOME", &home)
        .current_dir(&home)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen: Vec<&str> = said.split(MARK).skip(1).collect();
    let wrong: Vec<String> = shown
        .iter()
        .enumerate()
        .filter(|(at, one)| {
            !seen.get(*at).is_some_and(|seen| fits(&one.lines, &seen.lines().collect::<Vec<_>>()))
        })
        .map(|(at, one)| {
            let seen = seen.get(at).map_or("nothing: it did not come to that", |seen| seen.trim_end());
            format!("{name}: $ {}\nshown:\n{}\nseen:\n{seen}\n", one.command, one.lines.join("\n"))
        })
        .collect();
    (!wrong.is_empty()).then(|| wrong.concat())
}

#[track_caller]
fn plays(name: &str) {
    if unshare().is_none() {
        return;
    }
    let text = page(name);
    let blocks = blocks(&text, "console");
    assert!(!blocks.is_empty(), "{name} shows a terminal");
    let wrong: Vec<String> = blocks.iter().filter_map(|block| play(name, block)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_terminals_of_the_migration_page_are_true() {
    plays(MIGRATION);
}

#[test]
fn the_terminals_of_the_troubleshooting_page_are_true() {
    plays("docs/troubleshooting.md");
}

#[test]
fn the_terminals_of_the_homes_are_true() {
    plays("packaging/README.md");
}

fn check(options: &[&str], command: &[&str]) -> Result<(), String> {
    let mut line = Command::new(sexton());
    let output = line.args(options).arg("check").args(command).env_clear().output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn every_configuration_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sexton.toml");
    let mut count = 0;
    for name in PAGES {
        for block in blocks(&page(name), "toml") {
            fs::write(&path, &block).unwrap();
            let checked = check(&[], &["--config", path.to_str().unwrap(), "--", "true"]);
            assert!(checked.is_ok(), "{name}: {block}{checked:?}");
            count += 1;
        }
    }
    assert!(count > 3, "they were found");
}

/// The cells of every row of a page's tables.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let cells = |line: &'_ str| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>().len();
    text.lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|-") && cells(line) >= 2)
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_option_and_key_that_the_migration_page_names_is_taken() {
    let text = page(MIGRATION);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sexton.toml");
    let mut count = 0;
    for row in rows(&text) {
        for word in quoted(row[1]) {
            let words: Vec<&str> = word.split(' ').collect();
            let checked = if word.starts_with('-') {
                check(&words, &["--", "true"])
            } else if word.contains(" = ") {
                fs::write(&path, format!("command = ['true']\n{word}\n")).unwrap();
                check(&[], &["--config", path.to_str().unwrap()])
            } else {
                continue;
            };
            assert!(checked.is_ok(), "{word}: {checked:?}");
            count += 1;
        }
    }
    assert!(count > 20, "they were found: {count}");
}

#[test]
fn the_option_that_contributors_are_shown_is_declared_so() {
    let text = fs::read_to_string(house().join("CONTRIBUTING.md")).unwrap();
    let (mut source, mut shown) = (String::new(), 0);
    let block = text.lines().skip_while(|line| !line.starts_with("    // src/config/settings.rs:"));
    for line in block.take_while(|line| line.is_empty() || line.starts_with("    ")).map(str::trim) {
        if let Some(file) = line.strip_prefix("// ").and_then(|comment| comment.split_once(".rs:")) {
            source = fs::read_to_string(house().join(format!("{}.rs", file.0))).unwrap();
        } else if !line.is_empty() && (!line.starts_with("// ")) {
            assert!(source.lines().any(|of_source| of_source.trim() == line), "{line}");
            shown += 1;
        }
    }
    assert!(shown > 8, "{shown} lines were found");
}

/// The headings of a page, as links name them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let letter = |letter: char| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ => letter.is_alphanumeric().then(|| letter.to_ascii_lowercase()),
    };
    headings.map(|line| line.trim_start_matches(['#', ' ']).chars().filter_map(letter).collect()).collect()
}

#[test]
fn every_page_is_listed_in_the_readme_and_the_readme_is_short() {
    let readme = page("README.md");
    for entry in fs::read_dir(house().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            assert!(readme.contains(&format!("(docs/{name}")), "the README does not lead to docs/{name}");
            assert!(PAGES.contains(&format!("docs/{name}").as_str()), "docs/{name} is not tested");
        }
    }
    assert!(readme.lines().count() <= 300, "the README has {} lines", readme.lines().count());
}

#[test]
fn every_link_leads_somewhere() {
    for name in PAGES {
        let text = page(name);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if file.contains("://") || file.is_empty() {
                continue;
            }
            let path = house().join(name).with_file_name(file);
            assert!(path.exists(), "{name}: {target}");
            if let Some((_, anchor)) = target.split_once('#') {
                let there = fs::read_to_string(&path).unwrap();
                assert!(anchors(&there).iter().any(|there| there == anchor), "{name}: {target}");
            }
        }
    }
}
