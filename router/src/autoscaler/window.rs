//! Figures over time. Owns: means and maxima over the last so many seconds, in bounded memory.

use std::collections::VecDeque;

use lps_api::quantity::Micros;

/// Samples that are kept: a minute of looks, and as many again for those between two of them.
const SAMPLES_MAX: usize = 256;

/// A figure's past. Each sample holds until the next one, so that looks need not be regular.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    samples: VecDeque<(Micros, u32)>,
}

impl Window {
    /// Takes the figure of now; forgets what is older than `keep`.
    pub(super) fn push(&mut self, value: u32, keep: Micros, now: Micros) {
        while self.samples.back().is_some_and(|(at, _)| *at >= now) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, value));
        // The newest sample from before the window says what held at its beginning.
        let second_is_old = |samples: &VecDeque<(Micros, u32)>| {
            samples
                .get(1)
                .is_some_and(|(at, _)| now.saturating_sub(*at) >= keep)
        };
        while second_is_old(&self.samples) || self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// Its mean since `span` ago, or since the first sample, in thousandths.
    pub(super) fn mean_milli(&self, span: Micros, now: Micros) -> u64 {
        let begin = now.saturating_sub(span);
        let (mut sum, mut until) = (0_u128, now);
        for (at, value) in self.samples.iter().rev() {
            let from = (*at).max(begin);
            sum += u128::from(*value) * u128::from(until.saturating_sub(from).0);
            until = until.min(from);
        }
        let covered = u128::from(now.saturating_sub(until).0);
        let newest = self.samples.back().map_or(0, |(_, value)| *value);
        let mean = (sum * 1_000).checked_div(covered);
        mean.map_or(u64::from(newest) * 1_000, |mean| {
            u64::try_from(mean).unwrap_or(u64::MAX)
        })
    }
}

/// The largest numbers of late: a falling sequence, each with the last time at which it was wanted. It is as long as
/// there are different numbers at most.
#[derive(Debug, Clone, Default)]
pub(super) struct Peaks {
    peaks: VecDeque<(Micros, u32)>,
}

impl Peaks {
    /// Takes the number of now; forgets what is older than `keep`.
    pub(super) fn push(&mut self, value: u32, keep: Micros, now: Micros) {
        while self.peaks.back().is_some_and(|(_, peak)| *peak <= value) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now, value));
        while self
            .peaks
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) > keep)
        {
            self.peaks.pop_front();
        }
    }

    /// The largest since `span` ago.
    pub(super) fn since(&self, span: Micros, now: Micros) -> u32 {
        self.peaks
            .iter()
            .find(|(at, _)| now.saturating_sub(*at) <= span)
            .map_or(0, |(_, peak)| *peak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Micros = Micros::from_secs;

    #[test]
    fn a_mean_weighs_each_sample_by_how_long_it_held() {
        let mut window = Window::default();
        for (at, value, over_60, over_6) in [
            (0, 8, 8_000, 8_000),
            (10, 0, 8_000, 8_000),
            (12, 30, 6_666, 5_333),
            (18, 0, 14_444, 30_000),
            (24, 0, 10_833, 0),
            (78, 5, 0, 0),
            (84, 5, 500, 5_000),
        ] {
            window.push(value, S(60), S(at));
            let got = [S(60), S(6)].map(|span| window.mean_milli(span, S(at)));
            assert_eq!(got, [over_60, over_6], "at {at} s");
        }
        for look in 0..10_000 {
            window.push(look, S(60), S(84) + Micros(u64::from(look)));
        }
        assert!(window.samples.len() <= SAMPLES_MAX);
    }

    #[test]
    fn peaks_are_forgotten_when_they_are_old() {
        let mut peaks = Peaks::default();
        for (at, value, over_10, over_60) in [
            (0, 4, 4, 4),
            (1, 2, 4, 4),
            (10, 2, 4, 4),
            (11, 1, 2, 4),
            (21, 0, 1, 4),
            (60, 0, 0, 4),
            (61, 0, 0, 2),
        ] {
            peaks.push(value, S(60), S(at));
            let got = [S(10), S(60)].map(|span| peaks.since(span, S(at)));
            assert_eq!(got, [over_10, over_60], "at {at} s");
        }
    }
}
