//! How far a simulation is. Owns: a bar on a terminal, and nothing elsewhere: who reads a file or JSON gets the end only.

use std::time::Duration;

use indicatif::ProgressBar;
use lps_api::quantity::Micros;

use crate::console;

const STYLE: &str = "{prefix}: {pos} of {len} programs [{wide_bar}] {msg}";

/// How far it is at an instant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Far {
    /// Virtual time.
    pub now: Micros,
    /// Programs that ended.
    pub programs: u64,
    /// Calls that ended.
    pub calls: u64,
}

/// A bar that goes when this does, so that what is said next does not stand on its line.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Of a simulation of so many programs.
    pub(super) fn new(what: &str, programs: usize, is_shown: bool) -> Self {
        let bar = if is_shown {
            console::bar(programs as u64, STYLE)
        } else {
            ProgressBar::hidden()
        };
        bar.set_prefix(what.to_owned());
        Self { bar }
    }

    /// It is so far now.
    pub(super) fn tell(&self, far: Far) {
        if !self.bar.is_hidden() {
            self.bar.set_message(words(far, self.bar.elapsed()));
            self.bar.set_position(far.programs);
        }
    }

    /// One more program ended.
    pub(super) fn more(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What stands behind the bar.
fn words(far: Far, taken: Duration) -> String {
    let rate = far.calls as f64 / taken.as_secs_f64().max(1e-3);
    format!(
        "{:.0} s simulated in {:.0} s, {rate:.0} calls a second",
        far.now.as_secs_f64(),
        taken.as_secs_f64()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_of_both_times() {
        let far = Far {
            now: Micros::from_secs(7_200),
            programs: 3,
            calls: 5_000,
        };
        let text = words(far, Duration::from_secs(4));
        assert_eq!(text, "7200 s simulated in 4 s, 1250 calls a second");
        assert!(words(Far::default(), Duration::ZERO).ends_with(" 0 calls a second"));
    }
}
