//! Named tasks. Owns: how a task is started, so that each one shows its name in logs and panics are never silent.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument;

/// Starts a task under a name. A panic inside it is logged with the name before the handle reports it.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let guard = PanicLog { name };
    let named = async move {
        let output = future.await;
        std::mem::forget(guard);
        output
    };
    tokio::spawn(named.instrument(tracing::debug_span!("task", name)))
}

/// Dropped during a panic's unwinding only: a finished task forgets it, a dropped one is not panicking.
struct PanicLog {
    name: &'static str,
}

impl Drop for PanicLog {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked");
        }
    }
}
