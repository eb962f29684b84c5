//! Waiting for conditions, and saying what the test is doing. Nothing here knows the gateway.

use std::io::Write as _;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// A start of the gateway takes seconds on an idle machine; on a starved one it took minutes.
pub const START: Duration = Duration::from_secs(240);

/// For everything that is quick unless it is broken.
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(60);

/// Often enough that no phase is slowed down, rarely enough to leave two cores to the gateway.
const POLL: Duration = Duration::from_millis(50);

/// Asks until there is an answer, and fails the test when there is none in time.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} for {what}");
        thread::sleep(POLL);
    }
}

/// One progress line with the time since the first one.
///
/// It goes to the real stderr: what `eprintln!` writes is captured, and a test that skips itself or takes
/// a minute has to say so even when it passes.
pub fn say(line: &str) {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let seconds = BEGUN.get_or_init(Instant::now).elapsed().as_secs_f32();
    // A closed stderr is no reason to fail: only the messages are lost.
    let _ = writeln!(std::io::stderr(), "openclaw {seconds:6.1}s  {line}");
}
