//! Lines that are as wide as a terminal, broken between words. Pure.

/// The default width of a terminal, in columns.
pub const WIDTH: usize = 80;
/// The least width of a folded text, in columns.
const LEAST: usize = 24;

/// `line`, broken between words where it is wider than [`WIDTH`]; what follows begins at column `indent`, counted from
/// 0. A word that is wider stays whole, as a path has to be copied.
#[must_use]
pub fn line(line: &str, indent: usize) -> String {
    let mut folded = String::with_capacity(line.len());
    let mut column = 0;
    for (place, word) in line.split(' ').enumerate() {
        let width = word.chars().count();
        // What the indentation takes must not be broken again.
        let fits = column + 1 + width <= WIDTH || column <= indent;
        if place > 0 && fits {
            folded.push(' ');
            column += 1;
        } else if place > 0 {
            folded.push('\n');
            folded.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        }
        folded.push_str(word);
        column += width;
    }
    folded
}

/// A row of a table whose last cell begins at `column`, with that cell folded below itself; where there is no room for
/// it, it stands below the row.
#[must_use]
pub fn row(row: &str, column: usize) -> String {
    let start = row.char_indices().nth(column).map_or(row.len(), |(place, _)| place);
    let (before, last) = row.split_at(start);
    if row.chars().count() <= WIDTH {
        row.to_owned()
    } else if column + LEAST <= WIDTH {
        line(row, column)
    } else {
        format!("{}\n{}", before.trim_end(), line(&format!("    {last}"), 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_words_are_not() {
        assert_eq!(line("short  and  spaced", 4), "short  and  spaced");
        let long = "word ".repeat(40);
        let folded = line(long.trim_end(), 9);
        assert!(folded.lines().all(|line| line.len() <= WIDTH), "{folded}");
        assert!(folded.lines().skip(1).all(|line| line.starts_with("         word")), "{folded}");
        assert_eq!(folded.split_whitespace().count(), 40);
        let path = format!("a {} b", "x".repeat(100));
        assert_eq!(line(&path, 0), format!("a\n{}\nb", "x".repeat(100)));
        assert_eq!(line(&path, 2), format!("a {}\n  b", "x".repeat(100)), "it would begin there anyway");
    }

    #[test]
    fn the_last_cell_is_folded_below_itself_or_below_the_row() {
        let row_ = format!("A    B    {}", "word ".repeat(20).trim_end());
        let folded = row(&row_, 10);
        assert!(
            folded.lines().all(|line| line.len() <= WIDTH) && folded.contains("\n          word"),
            "{folded}"
        );
        let row_ = format!("{}  {}", "x".repeat(70), "it is held");
        assert_eq!(row(&row_, 72), format!("{}\n    it is held", "x".repeat(70)));
        assert_eq!(row("a  b", 3), "a  b");
    }
}
