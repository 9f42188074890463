//! How far a pull is. Owns: a bar on a terminal, a line of log now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Time between two lines of log.
const LINE_EVERY: Duration = Duration::from_secs(5);
const STYLE: &str = "{bytes} of {total_bytes} [{wide_bar}] {bytes_per_sec}, {eta} left";

/// Bytes that are there, of all that are to be there.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    is_seen: bool,
}

impl Progress {
    /// Of `total` bytes.
    pub(super) fn new(total: u64) -> Self {
        let is_seen = std::io::stderr().is_terminal();
        let bar = if is_seen {
            ProgressBar::new(total)
        } else {
            ProgressBar::hidden()
        };
        bar.set_length(total);
        let style = ProgressStyle::with_template(STYLE);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, is_seen }
    }

    /// So many bytes more are there.
    pub(super) fn more(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// So many bytes are given up.
    pub(super) fn less(&self, bytes: u64) {
        self.bar.dec(bytes);
    }

    /// Tells it as lines of log, where there is no bar; never ends.
    pub(super) async fn tell(&self) {
        loop {
            tokio::time::sleep(LINE_EVERY).await;
            if !self.is_seen {
                let done = HumanBytes(self.bar.position());
                let total = HumanBytes(self.bar.length().unwrap_or_default());
                tracing::info!("{done} of {total}");
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // What is said next must not stand on the bar's line.
        self.bar.finish_and_clear();
    }
}
