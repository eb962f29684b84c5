//! Lines out of a stream of bytes, and never more of it in memory than one line may be long.

/// The longest line, its newline included, in bytes. What sexton's own clients send is shorter by far.
pub const LONGEST: usize = 16 * 1024;

/// The beginning of a line that is not complete yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lines(Vec<u8>);

/// A line is longer than [`LONGEST`]. There is no telling where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Lines {
    /// How much has come of a line that is not complete.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.len()
    }

    /// Takes from the bytes that have come as many as belong to this line, and says how many those were, and
    /// the line without its newline once it is complete.
    ///
    /// # Errors
    /// The line is too long.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Vec<u8>>), TooLong> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(bytes.len(), |end| end + 1);
        if self.0.len() + length > LONGEST {
            return Err(TooLong);
        }
        self.0.extend(bytes.iter().take(length));
        if end.is_none() {
            return Ok((length, None));
        }
        let mut line = std::mem::take(&mut self.0);
        line.pop();
        Ok((length, Some(line)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every line of `bytes` when it comes in pieces of these sizes.
    fn all(bytes: &[u8], sizes: &[usize]) -> Result<Vec<Vec<u8>>, TooLong> {
        let (mut lines, mut found, mut at) = (Lines::default(), Vec::new(), 0);
        for size in sizes.iter().cycle() {
            let piece = &bytes[at..bytes.len().min(at + size)];
            if piece.is_empty() {
                break;
            }
            let (taken, line) = lines.take(piece)?;
            assert!(taken > 0 && taken <= piece.len());
            at += taken;
            found.extend(line);
        }
        Ok(found)
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            sizes in proptest::collection::vec(1_usize..20, 1..10),
        ) {
            let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            expected.pop();
            prop_assert_eq!(all(&bytes, &sizes).unwrap(), expected);
        }
    }

    #[test]
    fn a_line_has_a_limit() {
        let mut longest = vec![b'x'; LONGEST - 1];
        longest.push(b'\n');
        assert_eq!(all(&longest, &[4096]).unwrap()[0].len(), LONGEST - 1);
        longest.insert(0, b'x');
        assert_eq!(all(&longest, &[4096]), Err(TooLong));
        assert_eq!(all(&[b'x'; LONGEST + 1], &[4096]), Err(TooLong));
    }
}
