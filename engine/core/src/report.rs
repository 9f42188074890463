//! When a call's figures are news. Owns: the rule, so that whoever reports, on sockets or in virtual time, reports alike.

use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::Micros;

/// A running call is reported after so many tokens …
pub const TOKENS_MAX: u32 = 32;
/// … or so much time, whichever is first; and at every change of state.
pub const PERIOD: Micros = Micros::from_millis(250);

/// What a call was last reported with.
#[derive(Debug, Clone, Copy)]
pub struct Reported {
    state: CallState,
    output_tokens: u32,
    at: Micros,
}

impl Reported {
    /// A report of now.
    pub const fn new(state: CallState, usage: &CallUsage, at: Micros) -> Self {
        Self {
            state,
            output_tokens: usage.output_tokens.0,
            at,
        }
    }

    /// Whether a report of now, as `next`, says what is worth saying after this one.
    pub fn is_old_beside(&self, next: &Self) -> bool {
        self.state != next.state
            || next.output_tokens >= self.output_tokens + TOKENS_MAX
            || next.at.saturating_sub(self.at) >= PERIOD
    }
}
