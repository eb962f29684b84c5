//! The page of the catalogue is made from its entries, so that each of them is there.

use std::fs;

use sexton::config::catalogue::{self, Entry};

use super::house;

const PAGE: &str = "docs/lock-kinds.md";
const HEAD: &str = "\
# Lock kinds

You have a program that does not start again because of a lock or pid file of its earlier life, as after `docker restart`.
Turn its kind on:

```toml
[locks]
kinds = [\"xvfb\", \"dbus\"]
```

`sexton locks kinds` lists them, and `sexton locks --kinds xvfb,dbus` shows what it makes of them by hand. sexton judges them as
[its other locks](locks.md): one whose owner lives stays, and of one of which nothing is known the log says which word helps.
For a pid file that names no more than a number, that is `sharing = \"exclusive\"`.

`kinds = \"auto\"` means all those whose program is on the path. It counts where sexton is PID 1 of a container, and never on a
developer's machine. A path with `/` or `~/` at its start is looked for there, and any other below the lock roots. In a directory
where others can write, such as `/tmp`, each lock is judged and removed as the user whose it is. What is root's is judged only
where nobody else can put something in its place.

Where a program's user chooses the path, a rule names it:

```toml
[[locks.rule]]
kind = \"softfilelock\"
path = \"jobs/*.lock\"
```

## A new kind

An entry is a file of `src/locks/catalogue`, whose name stands in the list of `src/config/catalogue.rs`. Its rules are written as
[your own](locks.md#your-own-locks), and each needs a sample of what the program really wrote. Read in the program's source whether
it keeps the file open, where it listens, and what comes first; a guess is worth nothing here, and what was read and not tried
says so. Then add it to
`tests/catalogue/programs.rs` with what becomes of it without sexton, and `tests/catalogue/run` tries it: dead, live and own
numbers, another host name, an empty file, and every owner that lives. This page is written anew by
`SEXTON_BLESS=1 cargo test --test docs`.
";

#[test]
fn the_page_of_lock_kinds_has_every_one() {
    let mut text = HEAD.to_owned();
    let (judged, harmless): (Vec<Entry>, Vec<Entry>) =
        catalogue::all().partition(|entry| entry.harmless.is_none());
    text.push_str("\n## The kinds\n");
    for entry in &judged {
        text.push_str(&format!("\n### {}\n\n{}. ", entry.name, entry.what));
        text.push_str(entry.left_over.as_deref().unwrap_or_default());
        text.push('\n');
        if let Some(empty) = &entry.empty {
            text.push_str(&format!("An empty lock: {empty}\n"));
        }
        text.push('\n');
        for rule in &entry.rule {
            let format = serde_json::to_value(rule.format).unwrap();
            let mut said = format!("`{}`", format.as_str().unwrap());
            if rule.keeps_open {
                said.push_str(", kept open");
            }
            for (word, value) in
                [("witness", &rule.witness), ("socket", &rule.socket), ("second name", &rule.second_name)]
            {
                if let Some(value) = value {
                    said.push_str(&format!(", {word} `{value}`"));
                }
            }
            let place = if entry.by_rule { "by a rule".to_owned() } else { format!("`{}`", rule.path) };
            text.push_str(&format!("- {place}: {said}\n"));
        }
        text.push_str(&format!(
            "\nTried {} with {}. Source: {}.\n",
            entry.date,
            entry.versions.join(", "),
            entry.source
        ));
    }
    text.push_str("\n## Left alone\n\n| program | why | tried with | source |\n|---|---|---|---|\n");
    for entry in &harmless {
        let why = entry.harmless.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "| {} | {why} | {}, {} | {} |\n",
            entry.what,
            entry.versions.join(", "),
            entry.date,
            entry.source
        ));
    }
    let path = house().join(PAGE);
    if std::env::var_os("SEXTON_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "{PAGE} is not what the catalogue makes of it; write it anew with SEXTON_BLESS=1");
}
