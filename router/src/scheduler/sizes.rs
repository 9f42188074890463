//! How large programs turn out to be. Owns: the last finished programs' service, and what follows from it: the Gittins
//! index of a program that has attained so much (Gittins 1979; for queues: Aalto, Ayesta, Righter 2009), and quantiles.

use std::collections::VecDeque;

use lps_api::quantity::Micros;

/// Finished programs that are remembered, at most.
pub(super) const SAMPLES_MAX: usize = 512;
/// Finished programs from which on they say something.
pub(super) const SAMPLES_LEAST: usize = 50;

/// The last sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// In order of their ends.
    recent: VecDeque<Micros>,
    /// Ascending.
    sorted: Vec<Micros>,
}

impl Sizes {
    /// As they were added, the last ones at most.
    pub(super) fn from_recent(recent: &[Micros]) -> Self {
        let recent = &recent[recent.len().saturating_sub(SAMPLES_MAX)..];
        let mut sorted = recent.to_vec();
        sorted.sort_unstable();
        Self {
            recent: recent.iter().copied().collect(),
            sorted,
        }
    }

    /// In order of their ends.
    pub(super) fn recent(&self) -> impl Iterator<Item = Micros> {
        self.recent.iter().copied()
    }

    pub(super) fn add(&mut self, size: Micros) {
        if self.recent.len() >= SAMPLES_MAX
            && let Some(oldest) = self.recent.pop_front()
            && let Ok(place) = self.sorted.binary_search(&oldest)
        {
            self.sorted.remove(place);
        }
        self.recent.push_back(size);
        let place = self.sorted.partition_point(|other| *other <= size);
        self.sorted.insert(place, size);
    }

    /// Whether there are enough to learn from.
    pub(super) fn is_enough(&self) -> bool {
        self.sorted.len() >= SAMPLES_LEAST
    }

    /// The least, over all Δ, of the expected service within Δ over the chance to be done within Δ, for a program that
    /// has had `attained`, in µs: `min E[min(S−a, Δ) | S>a] / P(S−a ≤ Δ | S>a)`. Beyond all samples: what it had. Only
    /// the samples themselves can be the best Δ.
    pub(super) fn index(&self, attained: Micros) -> Micros {
        let first = self.sorted.partition_point(|size| *size <= attained);
        let rest = &self.sorted[first..];
        let mut best: Option<u128> = None;
        let mut done = 0_u128;
        for (place, size) in rest.iter().enumerate() {
            let remaining = u128::from(size.0 - attained.0);
            done += remaining;
            if rest.get(place + 1) == Some(size) {
                continue;
            }
            let ended = place as u128 + 1;
            let within = done + (rest.len() as u128 - ended) * remaining;
            let ratio = within / ended;
            best = Some(best.map_or(ratio, |best| best.min(ratio)));
        }
        best.map_or(attained, |best| {
            Micros(u64::try_from(best).unwrap_or(u64::MAX))
        })
    }

    /// A quantile by nearest rank, in hundredths.
    pub(super) fn quantile(&self, percent: usize) -> Micros {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// How many were added, up to the bound.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(sizes: &[u64]) -> Sizes {
        let mut all = Sizes::default();
        for size in sizes {
            all.add(Micros(*size));
        }
        all
    }

    #[test]
    fn constant_sizes_make_the_index_what_is_left() {
        let sizes = of(&[10; 60]);
        for attained in 0..10 {
            assert_eq!(sizes.index(Micros(attained)), Micros(10 - attained));
        }
        assert_eq!(sizes.index(Micros(10)), Micros(10), "beyond all samples");
    }

    #[test]
    fn two_kinds_of_programs() {
        // Nine of ten take 1, one takes 100: at first the short ones are hoped for.
        let mut all = vec![1; 9];
        all.push(100);
        let sizes = of(&all);
        assert_eq!(
            sizes.index(Micros(0)),
            Micros(10 / 9),
            "10 of service for 9 ends"
        );
        assert_eq!(
            sizes.index(Micros(1)),
            Micros(99),
            "only the long one is left"
        );
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut sizes = of(&[1; SAMPLES_MAX]);
        for _ in 0..SAMPLES_MAX {
            sizes.add(Micros(7));
        }
        assert_eq!(
            (sizes.len(), sizes.quantile(1), sizes.quantile(100)),
            (SAMPLES_MAX, Micros(7), Micros(7))
        );
    }

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let sizes = of(&[4, 1, 3, 2]);
        let seen = [0, 25, 26, 75, 97, 100].map(|percent| sizes.quantile(percent).0);
        assert_eq!(seen, [1, 1, 2, 3, 4, 4]);
        assert_eq!(of(&[]).quantile(50), Micros::ZERO);
    }

    proptest! {
        #[test]
        fn the_index_is_the_least_over_every_delta(
            sizes in proptest::collection::vec(1_u64..200, 1..40),
            attained in 0_u64..200,
        ) {
            let left: Vec<u64> = sizes.iter().filter(|size| **size > attained).map(|size| size - attained).collect();
            let ratio = |delta: u64| {
                let done = left.iter().filter(|left| **left <= delta).count() as u64;
                let within: u64 = left.iter().map(|left| *left.min(&delta)).sum();
                within.checked_div(done)
            };
            let expected = (1..=200).filter_map(ratio).min().unwrap_or(attained);
            prop_assert_eq!(of(&sizes).index(Micros(attained)), Micros(expected));
        }
    }
}
