//! Work that may hang, on a thread of its own.

use std::time::Duration;

use tracing::warn;

/// Does `work` on another thread, and gives what comes of it, `None` if it panicked. Where it takes longer than
/// `deadline` a line says so, once; it is waited for all the same, so that it is never begun twice. Nobody else
/// waits with it.
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
