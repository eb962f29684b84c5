//! Plain columns for people: as wide as they need to be, two blanks apart, the last one as long as it likes. What
//! stands in a cell is others' words, and stays in it.

use std::borrow::Cow;

use super::fold;
use crate::types::one_line;

/// The rows below their headings, one a line.
#[must_use]
pub fn columns<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    lines(headings, rows).0
}

/// The same for a terminal: where a row is too wide for one, its last cell is folded.
#[must_use]
pub fn folded_columns<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let (text, last) = lines(headings, rows);
    text.lines().map(|line| fold::row(line, last) + "\n").collect()
}

/// The lines, and the column at which the last cell begins.
fn lines<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> (String, usize) {
    let mut widths = headings.map(width);
    let rows: Vec<[Cow<'_, str>; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| one_line(cell))).collect();
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let mut text = String::new();
    let heading = headings.map(Cow::Borrowed);
    for row in std::iter::once(&heading).chain(&rows) {
        let mut line = String::new();
        for (cell, widest) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widest.saturating_sub(width(cell)) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    (text, widths.iter().take(N.saturating_sub(1)).map(|width| width + 2).sum())
}

/// In letters, which is right for everything but the wide letters of East Asia.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "long one".to_owned()], ["ünf".to_owned(), String::new()]];
        assert_eq!(columns(["X", "Y"], &rows), "X    Y\na    long one\nünf\n");
        assert_eq!(columns(["X", "Y"], &[]), "X  Y\n");
        let rows = [["a\nb".to_owned(), "\u{1b}[2J".to_owned()]];
        assert_eq!(columns(["X", "Y"], &rows), "X     Y\na\\nb  \\u{1b}[2J\n");
    }
}
