//! How often and how soon. Owns: the budget of retries, and the estimate of when a refused client should come back.
//! Pure.

use std::time::Duration;

use lps_api::quantity::{Micros, Tokens};

/// Retries after failed connections stay below a tenth of the calls, beyond this many in reserve.
#[derive(Debug)]
pub(super) struct RetryBudget {
    tenths: u32,
}

impl RetryBudget {
    const FULL_TENTHS: u32 = 1_000;

    /// With the reserve full.
    pub(super) const fn new() -> Self {
        Self {
            tenths: Self::FULL_TENTHS,
        }
    }

    /// A call came in: a tenth of a retry is earned.
    pub(super) const fn earn(&mut self) {
        if self.tenths < Self::FULL_TENTHS {
            self.tenths += 1;
        }
    }

    /// Takes one retry, if there is one.
    pub(super) const fn spend(&mut self) -> bool {
        let allowed = self.tenths >= 10;
        if allowed {
            self.tenths -= 10;
        }
        allowed
    }
}

/// What is known of one model's pace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Completions in the window that is open, and in the one before.
    completions: [u32; 2],
    window_start: Micros,
    output_tokens_mean: u32,
}

impl Pace {
    const WINDOW: Micros = Micros::from_secs(10);
    const OUTPUT_TOKENS_AT_FIRST: u32 = 256;
    const RETRY_AFTER_S: std::ops::RangeInclusive<u64> = 1..=60;

    /// With nothing seen.
    pub(super) const fn new(now: Micros) -> Self {
        Self {
            completions: [0, 0],
            window_start: now,
            output_tokens_mean: Self::OUTPUT_TOKENS_AT_FIRST,
        }
    }

    /// A call ended with so much output.
    pub(super) fn completed(&mut self, output: Tokens, now: Micros) {
        self.turn(now);
        self.completions[0] += 1;
        // One sixteenth of the new, fifteen of the old.
        let mean = (u64::from(self.output_tokens_mean) * 15 + u64::from(output.0)).div_ceil(16);
        self.output_tokens_mean = u32::try_from(mean).unwrap_or(u32::MAX);
    }

    /// What a call without any hint is expected to produce.
    pub(super) const fn output_tokens(&self) -> Tokens {
        Tokens(self.output_tokens_mean)
    }

    /// When a client should come back that finds so many calls before it.
    pub(super) fn retry_after(&mut self, waiting: usize, now: Micros) -> Duration {
        self.turn(now);
        let recent = u64::from(self.completions[0]) + u64::from(self.completions[1]);
        let window_s = 2 * Self::WINDOW.0 / 1_000_000;
        let seconds = (waiting as u64 * window_s).div_ceil(recent.max(1));
        Duration::from_secs(seconds.clamp(*Self::RETRY_AFTER_S.start(), *Self::RETRY_AFTER_S.end()))
    }

    fn turn(&mut self, now: Micros) {
        let age = now.saturating_sub(self.window_start);
        if age >= Self::WINDOW {
            let before = if age.0 < 2 * Self::WINDOW.0 {
                self.completions[0]
            } else {
                0
            };
            self.completions = [0, before];
            self.window_start = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stay_below_a_tenth() {
        let mut budget = RetryBudget::new();
        let mut retries = 0;
        for _ in 0..10_000 {
            budget.earn();
            retries += u32::from(budget.spend());
        }
        assert!((1_000..=1_100).contains(&retries), "{retries}");
    }

    #[test]
    fn a_client_is_told_to_wait_for_those_before_it() {
        let mut pace = Pace::new(Micros::ZERO);
        assert_eq!(pace.retry_after(100, Micros::ZERO), Duration::from_secs(60));
        for second in 0..10 {
            for _ in 0..4 {
                pace.completed(Tokens(100), Micros::from_secs(second));
            }
        }
        let now = Micros::from_secs(10);
        assert_eq!(pace.retry_after(0, now), Duration::from_secs(1));
        assert_eq!(pace.retry_after(20, now), Duration::from_secs(10));
        assert_eq!(
            pace.retry_after(20, Micros::from_secs(60)),
            Duration::from_secs(60)
        );
        assert!(pace.output_tokens() < Tokens(130));
    }
}
