//! Text that repeats what others wrote.

use std::borrow::Cow;

/// The text with control characters escaped, so that nobody's name or word can forge a line.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    // Nearly all are like this.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() { clean.extend(character.escape_default()) } else { clean.push(character) }
    }
    Cow::Owned(clean)
}
