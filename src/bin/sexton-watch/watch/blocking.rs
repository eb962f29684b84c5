//! Work that may hang, on a thread of its own.

use std::time::Duration;

use tracing::warn;

/// Runs `work` on another thread and returns its result, or `None` if it panicked. If it takes longer than `deadline`,
/// one log line says so. The caller still waits for it, so that the same work never runs twice. No other task waits.
pub async fn run<T: Send + 'static>(
    what: &'static str,
    deadline: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let mut working = tokio::task::spawn_blocking(work);
    if let Ok(done) = tokio::time::timeout(deadline, &mut working).await {
        return done.ok();
    }
    warn!(name: "task-overdue", what, ?deadline, "{what} takes longer than {deadline:?}, and is waited for");
    working.await.ok()
}
