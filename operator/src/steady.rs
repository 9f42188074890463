//! The past of a wish. Owns: that engines are given up only when fewer have been enough for a while, and the last one
//! only when none was wanted for longer. More engines are wanted at once.

use std::collections::VecDeque;

use lps_api::quantity::Micros;

use crate::validate::Scaling;

/// What was wanted lately: a falling sequence of numbers, each with the last time at which it was wanted. It is as
/// long as there are different numbers at most.
#[derive(Debug, Clone, Default)]
pub struct Steady {
    peaks: VecDeque<(Micros, u32)>,
}

impl Steady {
    /// The engines to have, when `wanted` are wanted `now`.
    pub fn on(&mut self, wanted: u32, scaling: &Scaling, now: Micros) -> u32 {
        while self.peaks.back().is_some_and(|(_, peak)| *peak <= wanted) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now, wanted));
        let longest = scaling.scale_down_delay.max(scaling.idle_after);
        while self
            .peaks
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) > longest)
        {
            self.peaks.pop_front();
        }
        let peak_since = |window: Micros| {
            let recent = self
                .peaks
                .iter()
                .find(|(at, _)| now.saturating_sub(*at) <= window);
            recent.map_or(wanted, |(_, peak)| *peak)
        };
        if scaling.suspended {
            return 0;
        }
        match peak_since(scaling.scale_down_delay) {
            0 => peak_since(scaling.idle_after).min(1),
            peak => peak,
        }
    }
}
