//! Lines out of what comes piece by piece. Pure.

/// The longest piece of a line that is looked at at once, in bytes. A longer line comes in pieces.
pub const LINE: usize = 64 * 1024;

/// How much of a piece stands at the beginning of the next one again, so that what is looked for is not cut in two.
const OVERLAP: usize = 1024;

/// What is known of the line that is not complete yet.
#[derive(Debug, Clone, Default)]
pub struct Cutter {
    pub partial: Vec<u8>,
    /// The rest of a line in which something was found, or whose beginning was missed, is passed over.
    rest_of_line: bool,
}

impl Cutter {
    /// What comes next is the rest of a line whose beginning was missed.
    pub fn in_the_middle() -> Cutter {
        Cutter { rest_of_line: true, ..Cutter::default() }
    }

    /// Gives `found` every line that these bytes complete, without its end, and of a line that is longer than [`LINE`]
    /// each piece as soon as it is there. Once `found` says that it has found something, it gets no more of that line:
    /// a line counts once.
    pub fn cut(&mut self, bytes: &[u8], found: &mut dyn FnMut(&[u8]) -> bool) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let mut text = text;
            while !self.rest_of_line && self.partial.len() + text.len() > LINE {
                let (now, later) = text.split_at(LINE - self.partial.len());
                self.partial.extend_from_slice(now);
                text = later;
                self.rest_of_line = found(&self.partial);
                self.partial.drain(..LINE - OVERLAP);
            }
            if self.rest_of_line {
                self.partial.clear();
                self.rest_of_line = !ends;
                continue;
            }
            self.partial.extend_from_slice(text);
            if ends {
                found(&self.partial);
                self.partial.clear();
            }
        }
    }
}
