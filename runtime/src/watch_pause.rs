//! The pause of a broken watch. Owns: that it does not grow. Watches of one process share it or stand side by side, and
//! each has its own error to tell after the API server was away: pauses that grow add up to minutes in which nothing is
//! seen, and one process asks for a handful of watches at most.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// After an error of a watch.
const PAUSE: Duration = Duration::from_millis(500);

/// The same pause after each error.
#[derive(Debug)]
pub struct WatchPause;

impl Iterator for WatchPause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PAUSE)
    }
}

impl Backoff for WatchPause {
    fn reset(&mut self) {}
}
