//! Lines out of what comes piece by piece. Pure.

/// The longest line that is looked at, in bytes; of a longer one, its beginning.
pub const LINE: usize = 64 * 1024;

/// What is known of the line that is not complete yet.
#[derive(Debug, Clone, Default)]
pub struct Cutter {
    pub partial: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    rest_of_line: bool,
}

impl Cutter {
    /// What comes next is the rest of a line whose beginning was missed.
    pub fn in_the_middle() -> Cutter {
        Cutter { rest_of_line: true, ..Cutter::default() }
    }

    /// Gives `line` every line that these bytes complete, without its end, and a line that is too long as soon as it
    /// is.
    pub fn cut(&mut self, bytes: &[u8], line: &mut dyn FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            if !self.rest_of_line {
                let room = LINE - self.partial.len().min(LINE);
                self.partial.extend_from_slice(text.get(..room.min(text.len())).unwrap_or_default());
                if ends || self.partial.len() >= LINE {
                    line(&self.partial);
                    self.partial.clear();
                    self.rest_of_line = !ends;
                }
            } else if ends {
                self.rest_of_line = false;
            }
        }
    }
}
