//! What a page shows of a terminal: commands behind `$ `, and below each what is then seen.

/// A command and the lines that it shows. In a line, `...` stands for anything; as a whole line, for any lines.
#[derive(Debug)]
pub struct Shown {
    pub command: String,
    pub lines: Vec<String>,
}

/// The text of every block of this language.
pub fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut inside, mut wanted) = (false, false);
    for line in page.lines() {
        if let Some(word) = line.strip_prefix("```") {
            inside = !inside;
            wanted = inside && word == language;
            if wanted {
                found.push(String::new());
            }
        } else if wanted {
            let block = found.last_mut().unwrap();
            block.push_str(line);
            block.push('\n');
        }
    }
    assert!(!inside, "a block does not end");
    found
}

/// The commands of a block. A line that begins with `> ` continues the one before.
pub fn commands(block: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push(Shown { command: command.to_owned(), lines: Vec::new() }),
            (None, None) => panic!("a block begins with a command: {line}"),
            (None, Some(last)) => match line.strip_prefix('>').filter(|_| last.lines.is_empty()) {
                Some(more) => {
                    last.command = format!("{}\n{}", last.command, more.strip_prefix(' ').unwrap_or(more));
                }
                None => last.lines.push(line.to_owned()),
            },
        }
    }
    found
}

/// Whether this is what was to be seen.
pub fn fits(shown: &[String], seen: &[&str]) -> bool {
    match (shown.split_first(), seen.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((first, rest)), _) if first == "..." => {
            (0..=seen.len()).any(|skipped| fits(rest, &seen[skipped..]))
        }
        (Some(_), None) => false,
        (Some((first, rest)), Some((line, others))) => line_fits(first, line) && fits(rest, others),
    }
}

fn line_fits(shown: &str, seen: &str) -> bool {
    let Some((before, after)) = shown.split_once("...") else { return shown == seen.trim_end() };
    let Some(rest) = seen.strip_prefix(before) else { return false };
    (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| line_fits(after, rest))
}
