//! Numbers as the C library's strtol(3), atoi(3) and scanf(3) read them.

/// The number at the beginning, before which spaces and a sign may stand, and what follows it. `None` if there is none,
/// or one beyond all that an option could mean.
pub(super) fn leading(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let after = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text.get(..text.len() - after.len())?;
    Some((number.parse().ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::leading;

    #[test]
    fn a_number_ends_where_the_digits_do() {
        assert_eq!(leading(" 15:3"), Some((15, ":3")));
        assert_eq!(leading("+3x"), Some((3, "x")));
        assert_eq!(leading("-0"), Some((0, "")));
        assert_eq!(leading("3 "), Some((3, " ")));
        for none in ["", " ", "+", "-x", "x3", "99999999999999999999"] {
            assert_eq!(leading(none), None, "{none:?}");
        }
    }
}
