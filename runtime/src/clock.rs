//! The one clock: monotonic time since it was started. Decisions take its value as `now` and never read it.

use std::time::{Duration, Instant, SystemTime};

/// A monotonic clock; clones share their zero.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    zero: Instant,
}

impl Clock {
    /// A clock whose zero is this moment.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's monotonic clock"
    )]
    pub fn start() -> Self {
        Self {
            zero: Instant::now(),
        }
    }

    /// When the zero was by the wall's clock, as that is set now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall's clock"
    )]
    pub fn zero_on_the_wall(&self) -> SystemTime {
        SystemTime::now() - self.now()
    }

    /// Time since the zero.
    pub fn now(&self) -> Duration {
        self.zero.elapsed()
    }
}
