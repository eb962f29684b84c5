//! The page of log events is made from the macros in the source, so that it has every event that is emitted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::house;

const PAGE: &str = "docs/log-events.md";
const HEAD: &str = "\
# Log events

You have a log line, or want to be told of one. A line is `sexton[PID] LEVEL event: message key=value ...`, or one JSON object
with `--log-format json`. Event names and fields stay the same between releases; messages may change. By default sexton says
nothing but warnings and errors, and one line for each lock that it removed. A full standard error never blocks sexton: it drops
lines and counts them (`log-dropped`).

A field that has no value is left out. `{...}` in a message stands for a value. Events of sexton-watch come over sexton's log.

| event | level | fields | program | message |
|---|---|---|---|---|
";

/// The macros that emit an event, and the level that each has.
const MACROS: [(&str, &str); 6] = [
    ("error!(", "error"),
    ("warn!(", "warn"),
    ("info!(", "info"),
    ("debug!(", "debug"),
    ("trace!(", "trace"),
    // Said once as a warning, and then in detail.
    ("once!(", "warn the first time, then debug"),
];

#[derive(Default)]
struct Event {
    levels: BTreeSet<&'static str>,
    fields: BTreeSet<String>,
    programs: BTreeSet<&'static str>,
    messages: Vec<String>,
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_test = name == "tests" || name == "tests.rs" || name.ends_with("_tests.rs");
        if path.is_dir() && !is_test {
            sources(&path, found);
        } else if name.ends_with(".rs") && !is_test {
            found.push(path);
        }
    }
}

/// The arguments of a macro, from behind its opening bracket.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut in_text, mut escaped) = (0_u32, false, false);
    let mut all = vec![String::new()];
    for letter in text.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ if in_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        all.last_mut().unwrap().push(letter);
    }
    all.iter().map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// A literal as it reads: a line that is continued is one line.
fn literal(text: &str) -> String {
    let text = text.trim_matches('"').replace("\\\"", "\"");
    let lines = text.split("\\\n").enumerate();
    lines
        .map(|(at, line)| if at == 0 { line } else { line.trim_start() })
        .collect::<String>()
        .replace('|', "\\|")
}

fn events() -> BTreeMap<String, Event> {
    let mut files = Vec::new();
    sources(&house().join("src"), &mut files);
    let mut all: BTreeMap<String, Event> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let program =
            if file.starts_with(house().join("src/bin/sexton-watch")) { "sexton-watch" } else { "sexton" };
        for (word, level) in MACROS {
            for (at, _) in text.match_indices(word) {
                // Another macro's name can end so.
                if text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
                    continue;
                }
                let arguments = arguments(&text[at + word.len()..]);
                let Some(name) = arguments.iter().find_map(|one| one.strip_prefix("name: ")) else {
                    continue;
                };
                let event = all.entry(literal(name)).or_default();
                event.levels.insert(level);
                event.programs.insert(program);
                for one in arguments.iter().filter(|one| !one.starts_with("name: ") && *one != "context") {
                    if one.starts_with('"') {
                        let message = literal(one);
                        if !event.messages.contains(&message) {
                            event.messages.push(message);
                        }
                    } else if !one.starts_with("self.") && one.contains(|letter: char| letter.is_alphabetic())
                    {
                        let key = one.split('=').next().unwrap().trim().trim_start_matches(['%', '?']);
                        event.fields.insert(key.trim_matches('"').to_owned());
                    }
                }
            }
        }
    }
    all
}

fn page() -> String {
    let rows = events().into_iter().map(|(name, event)| {
        let fields: Vec<String> = event.fields.iter().map(|field| format!("`{field}`")).collect();
        let join = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(", ");
        let (levels, programs) = (join(&event.levels), join(&event.programs));
        format!(
            "| `{name}` | {levels} | {} | {programs} | {} |\n",
            fields.join(", "),
            event.messages.join("; ")
        )
    });
    HEAD.to_owned() + &rows.collect::<String>()
}

#[test]
fn every_event_that_is_emitted_is_listed() {
    let path = house().join(PAGE);
    let made = page();
    assert!(made.lines().count() > 100 && made.contains("| `lock-removed` | warn |"), "{made}");
    if std::env::var_os("SEXTON_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let news: Vec<&str> = made.lines().filter(|line| !there.lines().any(|other| other == *line)).collect();
    let gone: Vec<&str> = there.lines().filter(|line| !made.lines().any(|other| other == *line)).collect();
    assert!(
        there == made,
        "{PAGE} is not what the source emits; run SEXTON_BLESS=1 cargo test --test docs\nnew: {news:#?}\ngone: {gone:#?}"
    );
}
