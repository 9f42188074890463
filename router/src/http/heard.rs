//! A streamed answer with its silences. Owns: noticing that nothing came for a while. It must not know what is said then.

use std::pin::Pin;
use std::time::Duration;

use lps_runtime::clock::Clock;
use tokio::time::{Sleep, sleep};

use crate::dispatcher::CallStream;
use crate::engine_client::Piece;

/// A call's stream that says when it is silent.
pub(super) struct Heard {
    call: CallStream,
    period: Duration,
    clock: Clock,
    /// When the last piece came.
    last: Duration,
    /// Set anew when it rings, not with each piece: that would cost as much as a piece does.
    bell: Pin<Box<Sleep>>,
}

impl Heard {
    pub(super) fn new(call: CallStream, period: Duration, clock: Clock) -> Self {
        Self {
            call,
            period,
            clock,
            last: clock.now(),
            bell: Box::pin(sleep(period)),
        }
    }

    /// The next piece; `None` when none came for a period.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        loop {
            tokio::select! {
                biased;
                piece = self.call.next() => {
                    self.last = self.clock.now();
                    return Some(piece);
                }
                () = &mut self.bell => {}
            }
            let now = self.clock.now();
            let left = self.last.saturating_add(self.period).saturating_sub(now);
            if left.is_zero() {
                self.last = now;
                self.bell.set(sleep(self.period));
                return None;
            }
            self.bell.set(sleep(left));
        }
    }

    /// The call alone, where it does not matter any more how long it is silent.
    pub(super) fn into_call(self) -> CallStream {
        self.call
    }
}
