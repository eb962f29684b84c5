//! File names as log lines show them: on one line, whatever bytes they are made of.
//!
//! It is for eyes only; nothing ever reads a path back from it.

use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Shows a path with everything escaped that could break a line, move a cursor or pass for something else:
/// control and direction characters, bytes that are no UTF-8, and the backslash that marks them.
pub struct Escaped<'a>(pub &'a Path);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_os_str().as_bytes();
        // Nearly all are like this.
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
        if let Some(plain) = std::str::from_utf8(bytes).ok().filter(|_| bytes.iter().all(is_plain)) {
            return f.write_str(plain);
        }
        for chunk in bytes.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '\\' => f.write_str("\\\\")?,
                    '\u{200b}'..='\u{200f}'
                    | '\u{2028}'..='\u{202e}'
                    | '\u{2066}'..='\u{2069}'
                    | '\u{feff}' => {
                        write!(f, "{}", letter.escape_unicode())?;
                    }
                    _ if letter.is_control() => write!(f, "{}", letter.escape_default())?,
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_name_stays_on_one_line() {
        let show = |bytes: &[u8]| Escaped(Path::new(OsStr::from_bytes(bytes))).to_string();
        assert_eq!(show(b"/data/agents/main"), "/data/agents/main");
        assert_eq!(show("/Zürich/日本".as_bytes()), "/Zürich/日本");
        assert_eq!(show(b"a\nlock removed\r\x1b[2J"), "a\\nlock removed\\r\\u{1b}[2J");
        assert_eq!(show(b"a\xff\\xff"), "a\\xff\\\\xff");
        assert_eq!(show("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }
}
