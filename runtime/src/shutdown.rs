//! Signals. Owns: the meaning of SIGTERM and SIGINT: the first one drains, the second one cuts.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::task;

/// Tells whoever waits that the process is to end. Clones see the same signals.
#[derive(Debug, Clone)]
pub struct Shutdown {
    drain: CancellationToken,
    cut: CancellationToken,
}

/// Ends an embedded server as a signal would.
#[derive(Debug, Clone)]
pub struct ShutdownTrigger {
    drain: CancellationToken,
    cut: CancellationToken,
}

impl Shutdown {
    /// A shutdown that a [`ShutdownTrigger`] starts.
    pub fn manual() -> (ShutdownTrigger, Self) {
        let (drain, cut) = (CancellationToken::new(), CancellationToken::new());
        (
            ShutdownTrigger {
                drain: drain.clone(),
                cut: cut.clone(),
            },
            Self { drain, cut },
        )
    }

    /// A shutdown that SIGTERM and SIGINT start.
    ///
    /// # Errors
    /// When the process may not install signal handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let (trigger, shutdown) = Self::manual();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        task::spawn("signals", async move {
            for end in [ShutdownTrigger::drain, ShutdownTrigger::cut] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                end(&trigger);
            }
        });
        Ok(shutdown)
    }

    /// Resolves at the first signal: accept nothing new, finish what runs.
    pub async fn drain(&self) {
        self.drain.cancelled().await;
    }

    /// Resolves at the second signal: end now.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Whether the first signal came.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }
}

impl ShutdownTrigger {
    /// As the first signal.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// As the second signal.
    pub fn cut(&self) {
        self.drain.cancel();
        self.cut.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_also_drains() {
        let (trigger, shutdown) = Shutdown::manual();
        assert!(!shutdown.is_draining());
        trigger.cut();
        shutdown.drain().await;
        shutdown.cut().await;
    }
}
