//! Whether the gateway has written its heartbeat file lately: for gateways without a port.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use sexton::os::clock;

use super::Outcome;

/// The clocks of filesystems tick every few milliseconds, and some in whole seconds.
const TICK: Duration = Duration::from_secs(1);

/// A look that has not come back. There is one file, and on a filesystem that hangs each look would keep a thread.
static LOOKING: AtomicBool = AtomicBool::new(false);

/// Looks at `file`, which must have been written within `max_age`, and by this run of the gateway: `up` is how long it
/// runs.
pub async fn look(file: &Path, max_age: Duration, up: Option<Duration>) -> Outcome {
    if LOOKING.swap(true, Ordering::AcqRel) {
        return Outcome::Bad("the look before has not come back".to_owned());
    }
    let path = file.to_owned();
    let looked = tokio::task::spawn_blocking(move || {
        let age = age(path);
        LOOKING.store(false, Ordering::Release);
        age
    });
    match looked.await {
        Ok(Ok(age)) => judge(age, max_age, up),
        Ok(Err(error)) => Outcome::Bad(format!("it cannot be looked at: {error}")),
        Err(_) => Outcome::Bad("it could not be looked at".to_owned()),
    }
}

/// How long ago the file was written; nothing, if that is in the future.
fn age(path: PathBuf) -> std::io::Result<Duration> {
    let written = fs::metadata(path)?.modified()?;
    let now = UNIX_EPOCH + Duration::from_millis(clock::wall_millis());
    Ok(now.duration_since(written).unwrap_or_default())
}

fn judge(age: Duration, max_age: Duration, up: Option<Duration>) -> Outcome {
    let shown = humantime::format_duration(Duration::from_secs(age.as_secs()));
    if age > max_age + TICK {
        let limit = humantime::format_duration(max_age);
        return Outcome::Bad(format!("written {shown} ago, {limit} is the limit"));
    }
    if up.is_some_and(|up| age > up + TICK) {
        return Outcome::Bad("last written before this run of the gateway".to_owned());
    }
    Outcome::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_good_while_it_is_fresh_and_of_this_run() {
        let secs = Duration::from_secs;
        let judged = |age, up| judge(secs(age), secs(60), up);
        assert_eq!(judged(59, Some(secs(100))), Outcome::Good);
        assert_eq!(judged(59, None), Outcome::Good);
        assert_eq!(judged(90, Some(secs(100))), Outcome::Bad("written 1m 30s ago, 1m is the limit".into()));
        let before = Outcome::Bad("last written before this run of the gateway".into());
        assert_eq!(judged(30, Some(secs(10))), before);
        assert_eq!(judged(10, Some(secs(10))), Outcome::Good, "clocks of filesystems are coarse");
    }
}
