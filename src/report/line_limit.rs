//! How many log lines of one kind are written when others decide how often there is something to say.

use std::time::Duration;

use tracing::warn;

use crate::os::clock;
use crate::types::MonoTime;

/// How often there is room for one line more.
const PAUSE: Duration = Duration::from_millis(500);
/// How many lines have room when there were none for long.
const BURST: u32 = 64;

/// The lines of one kind.
#[derive(Debug, Default)]
pub struct LineLimit {
    /// When there is room again.
    free: MonoTime,
    left_out: u64,
}

impl LineLimit {
    /// Whether a line of this kind is to be written now. If so, and some were left out before it, that is said.
    pub fn has_room(&mut self, kind: &str) -> bool {
        let left_out = self.take(clock::now());
        if let Some(number @ 1..) = left_out {
            warn!(name: "lines-left-out", kind, number, "there was no room for so many lines of this kind");
        }
        left_out.is_some()
    }

    /// Takes the room of one line. How many were left out before it; nothing if there is no room `now`.
    fn take(&mut self, now: MonoTime) -> Option<u64> {
        if self.free > now {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        let oldest = MonoTime(now.0.saturating_sub((BURST - 1) * PAUSE));
        self.free = self.free.max(oldest).after(PAUSE);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_has_room_and_a_flood_has_some_and_is_told_what_it_lost() {
        let mut limit = LineLimit::default();
        let start = MonoTime(Duration::from_secs(100));
        let written = (0..1000).filter(|_| limit.take(start).is_some()).count();
        assert_eq!(written, 64);
        assert_eq!(limit.take(start.after(PAUSE)), Some(936));
        assert_eq!(limit.take(start.after(PAUSE)), None);
        let later = start.after(Duration::from_secs(3600));
        assert_eq!(limit.take(later), Some(1));
        assert_eq!((0..1000).filter(|_| limit.take(later).is_some()).count(), 63);
    }
}
