//! What manual pages are made of: paragraphs, examples, options.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

/// When the release was made, as packaging/deb/changelog has it: `2026-11-22`.
fn date() -> String {
    let changelog = include_str!("../../packaging/deb/changelog");
    let line = changelog.lines().find(|line| line.starts_with(" -- ")).unwrap();
    let (_, date) = line.split_once(", ").unwrap();
    let [day, month, year] = date.splitn(4, ' ').take(3).collect::<Vec<_>>().try_into().unwrap();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month).unwrap() + 1;
    format!("{year}-{month:02}-{day:0>2}")
}

/// A page that begins.
pub fn begun(title: &str, section: &str, manual: &str, name: &str) -> Roff {
    let mut page = Roff::new();
    let version = concat!("sexton ", env!("CARGO_PKG_VERSION"));
    page.control("TH", [title, section, &date(), version, manual]);
    page.control("SH", ["NAME"]).text([roman(name)]);
    page
}

/// The page's text.
pub fn finished(page: &Roff) -> String {
    format!(".\\\" Made of the code: SEXTON_BLESS=1 cargo test --test manual\n{}", page.render())
}

/// Text as comments and help have it: paragraphs, and behind two blanks or more an example that keeps its lines. Words
/// in backticks are bold.
pub fn prose(page: &mut Roff, text: &str) {
    for (at, block) in text.split("\n\n").enumerate() {
        if block.starts_with("  ") {
            page.control("PP", []).control("EX", []);
            for line in block.lines() {
                page.text([roman(line)]);
            }
            page.control("EE", []);
        } else {
            if at > 0 {
                page.control("PP", []);
            }
            paragraph(page, block);
        }
    }
}

/// How long a line of source may become before it is escaped: 80 bytes are asked for afterwards.
const LINE: usize = 64;

/// One paragraph, in lines of source that are short enough, with what stands in backticks in bold.
fn paragraph(page: &mut Roff, text: &str) {
    let mut line = String::new();
    let mut inside = false;
    for word in text.split_whitespace() {
        if line.len() + word.len() > LINE && !inside {
            page.text(words(&std::mem::take(&mut line)));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        inside ^= word.matches('`').count() % 2 == 1;
    }
    page.text(words(&line));
}

/// One line, with what stands in backticks in bold.
fn words(line: &str) -> Vec<Inline> {
    let piece = |(at, text): (usize, &str)| if at % 2 == 0 { roman(text) } else { bold(text) };
    line.split('`').enumerate().filter(|(_, text)| !text.is_empty()).map(piece).collect()
}

/// A section of one paragraph or more.
pub fn section(page: &mut Roff, heading: &str, text: &str) {
    page.control("SH", [heading]);
    prose(page, text);
}

/// A term and what it means.
pub fn term(page: &mut Roff, term: impl Into<Vec<Inline>>, meaning: &str) {
    page.control("TP", []).text(term);
    paragraph(page, meaning);
}

/// How the command is called, each way on a line of its own.
pub fn usage(command: &Command) -> Vec<String> {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage:").lines().map(|line| line.trim().to_owned()).collect()
}

/// What a page says at its end.
pub fn see_also(page: &mut Roff, pages: &[(&str, &str)]) {
    page.control("SH", ["SEE ALSO"]);
    for (at, (name, section)) in pages.iter().enumerate() {
        let comma = if at + 1 < pages.len() { "," } else { "" };
        page.text([bold(*name), roman(format!("({section}){comma}"))]);
    }
}

/// The options of a command, without a heading, as source to be put between other lines.
pub fn options(command: &Command) -> String {
    // What the values are is said by the help.
    let command = command.clone().mut_args(|option| option.hide_possible_values(true));
    let mut written = Vec::new();
    Man::new(command).render_options_section(&mut written).unwrap();
    let written = String::from_utf8(written).unwrap();
    let preamble = Roff::new().render();
    written
        .replace(&preamble, "")
        .replace(".SH OPTIONS\n", "")
        .replace("May also be specified with the ", "The variable ")
        .replace(" environment variable. \n", " means the same.\n")
}
