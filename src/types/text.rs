//! Text from outside sexton: the names of files and processes, arguments, texts of a tool or a client.
//!
//! This is the one place that decides which characters are shown as they are. What sexton prints, logs or shows in a
//! page goes through one of three: [`one_line`] for a text within a line, [`Escaped`] for a path, and [`printable`] for
//! everything that leaves through standard output, standard error or the log.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether a character can break a line, move the cursor or change a terminal's state, is invisible, or changes the
/// order in which others are shown.
#[must_use]
pub fn is_deceptive(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

/// Whether a byte is printable ASCII. Nearly all texts have no others.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// The text on one line, with every [deceptive](is_deceptive) character escaped, so that no name or text can forge a
/// line.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_deceptive(letter) { clean.extend(letter.escape_default()) } else { clean.push(letter) }
    }
    Cow::Owned(clean)
}

/// A path on one line, for people. Deceptive characters, bytes that are not UTF-8 and backslashes are escaped. No code
/// reads a path back from it.
pub struct Escaped<'a>(pub &'a Path);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_os_str().as_bytes();
        let as_it_is = |byte: &u8| is_plain(*byte) && *byte != b'\\';
        if let Some(plain) = std::str::from_utf8(bytes).ok().filter(|_| bytes.iter().all(as_it_is)) {
            return f.write_str(plain);
        }
        for chunk in bytes.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '\\' => f.write_str("\\\\")?,
                    _ if is_deceptive(letter) => write!(f, "{}", letter.escape_default())?,
                    _ => f.write_char(letter)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A whole text in a form that may go to a terminal. Its newlines and tabs stay. Every other deceptive character is
/// escaped as in JSON and TOML, so a text in one of these keeps its meaning.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| is_plain(byte) || byte == b'\n') {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_deceptive(letter) && letter != '\n' && letter != '\t' {
            // All of them have four digits at most. Writing to a string cannot fail.
            let _ = write!(clean, "\\u{:04x}", u32::from(letter));
        } else {
            clean.push(letter);
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_text_stays_on_one_line() {
        assert_eq!(one_line("Zürich, 日本: a\\b"), "Zürich, 日本: a\\b");
        let hostile =
            "a\nb\r\x1b]0;x\x07\u{9b}2J\u{7f}\u{202e}\u{2066}\u{200b}\u{61c}\u{2060}\u{feff}\u{2028}";
        let shown = "a\\nb\\r\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{7f}\\u{202e}\\u{2066}\\u{200b}\\u{61c}\\u{2060}\\u{feff}\\u{2028}";
        assert_eq!(one_line(hostile), shown);
        assert_eq!(Escaped(Path::new(hostile)).to_string(), shown);
    }

    #[test]
    fn a_path_stays_on_one_line() {
        let show = |bytes: &[u8]| Escaped(Path::new(OsStr::from_bytes(bytes))).to_string();
        assert_eq!(show(b"/data/agents/main"), "/data/agents/main");
        assert_eq!(show("/Zürich/日本".as_bytes()), "/Zürich/日本");
        assert_eq!(show(b"a\nlock removed\r\x1b[2J"), "a\\nlock removed\\r\\u{1b}[2J");
        assert_eq!(show(b"a\xff\\xff"), "a\\xff\\\\xff");
        assert_eq!(show("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn what_is_printed_moves_no_cursor_and_json_stays_what_it_was() {
        assert_eq!(printable("a\tb\nZürich\n"), "a\tb\nZürich\n");
        assert_eq!(printable("a\x1b[2J\u{9b}1m\r\n"), "a\\u001b[2J\\u009b1m\\u000d\n");
        for letter in (0..=0xffff).filter_map(char::from_u32) {
            let json = serde_json::json!({ "a": letter.to_string() });
            let text = json.to_string();
            let printed = printable(&text);
            assert!(!printed.contains(is_deceptive), "{letter:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), json);
        }
    }
}
