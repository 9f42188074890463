//! What finished programs and gaps teach about their class. Owns: for each class of programs (tenant and name, in one
//! pool) the sizes, gaps and shared beginnings that were seen, bounded. It must not know who asks for what.

use std::collections::VecDeque;
use std::sync::Arc;

use indexmap::IndexMap;
use lps_api::ids::{ClassName, TenantId};
use lps_api::quantity::Micros;
use lps_api::scheduling::Unit;

use super::sizes::Sizes;
use crate::process_table::ClassId;

/// Classes that are told apart; those beyond share the last place.
pub(super) const CLASSES_MAX: usize = 1_024;
/// Gaps from which on a class's own are used.
const GAPS_LEAST: u32 = 100;
/// Gaps after which the older ones count half.
pub(super) const GAPS_MOST: u32 = 4_096;
/// First calls that are looked at for what a class shares.
pub(super) const FIRSTS_MAX: usize = 15;
/// Automatic bounds of queues: these percentiles of finished programs.
const BOUNDS_PERCENT: [usize; 5] = [25, 50, 75, 90, 97];
/// They are found anew after so many.
const BOUNDS_PERIOD: u64 = 50;
/// A lease until a class has shown its gaps.
const LEASE_AT_FIRST: Micros = Micros::from_secs(10);
/// The longest lease.
pub(super) const LEASE_MOST: Micros = Micros::from_secs(120);
/// What computing a context anew costs, as the time for which its room could be kept instead. Both grow with the
/// context, so this is how long computing a whole pool takes: 36 s for an 8B model on an A100, 25 s on an H200, and of
/// that order where pools are as large as memory allows.
const RETURN_COST: Micros = Micros::from_secs(30);

/// Lengths of time in classes of an eighth of an octave.
#[derive(Debug, Clone, Default)]
pub(super) struct Gaps {
    counts: Vec<u32>,
    total: u32,
}

impl Gaps {
    /// Lengths that are told apart.
    pub(super) const PLACES: usize = 480;

    /// From a number for each of some places below [`Gaps::PLACES`].
    pub(super) fn from_counts(counts: &[(usize, u32)]) -> Self {
        let mut gaps = Self::default();
        for (place, count) in counts {
            if gaps.counts.len() <= *place {
                gaps.counts.resize(place + 1, 0);
            }
            gaps.counts[*place] += count;
            gaps.total += count;
        }
        gaps
    }

    /// Places where there are some, and how many.
    pub(super) fn counts(&self) -> impl Iterator<Item = (usize, u32)> {
        let counts = self.counts.iter().copied().enumerate();
        counts.filter(|(_, count)| *count > 0)
    }

    fn place(gap: Micros) -> usize {
        let value = gap.0.clamp(8, u64::MAX >> 1);
        let octave = 63 - value.leading_zeros();
        let eighth = (value >> (octave - 3)) & 7;
        (octave as usize - 3) * 8 + eighth as usize
    }

    /// The upper end of a class of lengths.
    fn upper(place: usize) -> Micros {
        let (octave, eighth) = (place / 8 + 3, place as u64 % 8);
        Micros(((9 + eighth) << (octave - 3)) - 1)
    }

    fn add(&mut self, gap: Micros) {
        let place = Self::place(gap);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.total += 1;
        if self.total >= GAPS_MOST {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// The lease that costs least: the room is kept for a gap, at most for the lease, and who comes later is computed
    /// anew (ski rental with known gaps, Karlin et al. 1994; Continuum weighs the same two costs, arXiv 2511.02230).
    fn best_lease(&self) -> Micros {
        let total = u128::from(self.total);
        let anew = u128::from(RETURN_COST.0);
        // By a lease: the sum over all gaps of the time for which room is kept, and of what is computed anew.
        let (mut best, mut least) = (Micros::ZERO, total * anew);
        let (mut within, mut kept) = (0_u128, 0_u128);
        for (place, count) in self.counts.iter().enumerate() {
            let lease = Self::upper(place);
            if *count == 0 {
                continue;
            }
            if lease > LEASE_MOST {
                break;
            }
            within += u128::from(*count);
            kept += u128::from(*count) * u128::from(lease.0);
            let cost = kept + (total - within) * (u128::from(lease.0) + anew);
            if cost < least {
                (best, least) = (lease, cost);
            }
        }
        best
    }
}

/// What is known of one class.
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    pub(super) gaps: Gaps,
    pub(super) lease: Option<Micros>,
    /// Cached tokens of the last first calls of programs.
    pub(super) firsts: VecDeque<u64>,
    /// Their median.
    pub(super) shared: u64,
    pub(super) sizes: Sizes,
    /// What the pool had seen when this last learned something; 0 before.
    pub(super) used: u64,
}

impl Class {
    /// First calls found so many tokens cached each.
    pub(super) fn first_calls(&mut self, cached: impl Iterator<Item = u64>) {
        self.firsts.extend(cached);
        while self.firsts.len() > FIRSTS_MAX {
            self.firsts.pop_front();
        }
        let mut firsts: Vec<u64> = self.firsts.iter().copied().collect();
        firsts.sort_unstable();
        let middle = firsts.len().saturating_sub(1) / 2;
        self.shared = firsts.get(middle).copied().unwrap_or(0);
    }
}

/// All classes of a pool. A copy is cheap: it shares what it holds, until that changes.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    pub(super) classes: IndexMap<(TenantId, ClassName), Arc<Class>>,
    /// Of all classes.
    pub(super) sizes: Sizes,
    pub(super) finished: u64,
    /// What sizes are counted in.
    pub(super) unit: Unit,
    /// Gaps, ends and first calls so far.
    pub(super) seen: u64,
}

impl Classes {
    /// How much was learned; another number later means that there is something new.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Finished programs that are remembered.
    pub fn remembered(&self) -> usize {
        self.sizes.len()
    }

    /// Sizes that were counted otherwise say nothing any more.
    pub(super) fn count_in(&mut self, unit: Unit) {
        if std::mem::replace(&mut self.unit, unit) != unit {
            (self.sizes, self.finished) = (Sizes::default(), 0);
            for class in self.classes.values_mut() {
                Arc::make_mut(class).sizes = Sizes::default();
            }
        }
    }

    /// The class of a program.
    pub(super) fn of(&mut self, tenant: &TenantId, name: &ClassName) -> ClassId {
        let key = (tenant.clone(), name.clone());
        let known = self.classes.get_index_of(&key);
        let place = known.unwrap_or_else(|| {
            if self.classes.len() >= CLASSES_MAX {
                return CLASSES_MAX - 1;
            }
            self.classes.insert_full(key, Arc::default()).0
        });
        ClassId(place as u32)
    }

    fn get(&self, class: ClassId) -> Option<&Class> {
        let known = self.classes.get_index(class.0 as usize);
        known.map(|(_, it)| &**it)
    }

    /// A class that learns something.
    fn get_mut(&mut self, class: ClassId) -> Option<&mut Class> {
        self.seen += 1;
        let (_, known) = self.classes.get_index_mut(class.0 as usize)?;
        let known = Arc::make_mut(known);
        known.used = self.seen;
        Some(known)
    }

    /// A program of the class was without a call for so long.
    pub(super) fn gap(&mut self, class: ClassId, gap: Micros) {
        if let Some(class) = self.get_mut(class) {
            class.gaps.add(gap);
            // It is looked up now and then, since it hardly moves.
            if class.gaps.total >= GAPS_LEAST
                && (class.lease.is_none() || class.gaps.total.is_multiple_of(16))
            {
                class.lease = Some(class.gaps.best_lease());
            }
        }
    }

    /// How long a program of the class keeps its place between two calls.
    pub(super) fn lease(&self, class: ClassId) -> Micros {
        let learned = self.get(class).and_then(|class| class.lease);
        learned.unwrap_or(LEASE_AT_FIRST)
    }

    /// A program of the class finished, and its calls had so much service.
    pub(super) fn finished(&mut self, class: ClassId, size: Micros) {
        self.finished += 1;
        self.sizes.add(size);
        if let Some(class) = self.get_mut(class) {
            class.sizes.add(size);
        }
    }

    /// The Gittins index of a program that has attained so much: by its class, or by the pool until the class has shown
    /// enough, or one constant until the pool has.
    pub(super) fn index(&self, class: ClassId, attained: Micros) -> Micros {
        let own = self.get(class).map(|class| &class.sizes);
        let sizes = own.into_iter().chain([&self.sizes]);
        let mut enough = sizes.filter(|sizes| sizes.is_enough());
        enough
            .next()
            .map_or(Micros::ZERO, |sizes| sizes.index(attained))
    }

    /// Bounds of queues by the sizes of finished programs, now and then.
    pub(super) fn bounds(&self) -> Option<Vec<Micros>> {
        if !self.finished.is_multiple_of(BOUNDS_PERIOD) {
            return None;
        }
        self.bounds_now()
    }

    /// The same by what is known now.
    pub(super) fn bounds_now(&self) -> Option<Vec<Micros>> {
        if !self.sizes.is_enough() {
            return None;
        }
        let mut bounds: Vec<Micros> = Vec::new();
        for percent in BOUNDS_PERCENT {
            let least = bounds.last().map_or(1, |last| last.0 + 1);
            bounds.push(self.sizes.quantile(percent).max(Micros(least)));
        }
        Some(bounds)
    }

    /// The first call of a program found so many tokens cached: they can only be others'.
    pub(super) fn first_call(&mut self, class: ClassId, cached: u64) {
        if let Some(class) = self.get_mut(class) {
            class.first_calls(std::iter::once(cached));
        }
    }

    /// Tokens that programs of the class share at their beginning: the median of what first calls found.
    pub(super) fn shared(&self, class: ClassId) -> u64 {
        self.get(class).map_or(0, |class| class.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> (Classes, ClassId) {
        let mut classes = Classes::default();
        let class = classes.of(&TenantId::anonymous(), &ClassName::unnamed());
        (classes, class)
    }

    /// Gaps in seconds, each so often.
    fn lease_after(gaps: &[(u64, u32)]) -> Micros {
        let (mut classes, class) = one();
        for (seconds, times) in gaps {
            for _ in 0..*times {
                classes.gap(class, Micros::from_secs(*seconds));
            }
        }
        classes.lease(class)
    }

    #[test]
    fn a_lease_is_learned_from_a_hundred_gaps() {
        assert_eq!(lease_after(&[(1, 99)]), LEASE_AT_FIRST);
        let about = |lease: Micros, seconds: u64| {
            let least = Micros::from_secs(seconds);
            least <= lease && lease.0 <= least.0 / 8 * 9
        };
        assert!(about(lease_after(&[(1, 128)]), 1), "all come back at once");
        // Nine of ten come back soon: the others are not waited for.
        assert!(about(lease_after(&[(2, 116), (90, 12)]), 2));
        // People think for longer than their contexts take to compute.
        assert_eq!(lease_after(&[(45, 128)]), Micros::ZERO);
        assert_eq!(lease_after(&[(20, 16), (60, 112)]), Micros::ZERO);
        assert!(about(lease_after(&[(20, 128)]), 20));
        assert_eq!(lease_after(&[(3_600, 128)]), Micros::ZERO);
    }

    #[test]
    fn lengths_fall_into_classes_that_hold_them() {
        for gap in [0, 7, 8, 9, 15, 16, 1_000, 999_999, 1 << 40, u64::MAX >> 1] {
            let upper = Gaps::upper(Gaps::place(Micros(gap))).0;
            assert!(
                gap <= upper && upper - gap.max(8) <= gap / 8 + 1,
                "{gap} {upper}"
            );
        }
    }

    #[test]
    fn what_half_of_the_first_calls_found_is_shared() {
        let (mut classes, class) = one();
        assert_eq!(classes.shared(class), 0);
        for cached in [0, 0, 500, 512, 2_000] {
            classes.first_call(class, cached);
        }
        assert_eq!(classes.shared(class), 500);
        for _ in 0..FIRSTS_MAX {
            classes.first_call(class, 16);
        }
        assert_eq!(classes.shared(class), 16);
    }

    #[test]
    fn an_index_is_the_classs_or_the_pools_or_a_constant() {
        let (mut classes, class) = one();
        let other = classes.of(
            &TenantId::anonymous(),
            &ClassName::parse("other").expect("a name"),
        );
        for _ in 0..49 {
            classes.finished(class, Micros(10));
        }
        assert_eq!(classes.index(class, Micros(3)), Micros(0));
        classes.finished(other, Micros(10));
        assert_eq!(classes.index(other, Micros(3)), Micros(7), "the pool's");
        for _ in 0..50 {
            classes.finished(other, Micros(50));
        }
        assert_eq!(classes.index(other, Micros(20)), Micros(30), "its own");
        assert_eq!(classes.index(other, Micros(90)), Micros(90), "beyond all");
    }

    #[test]
    fn bounds_follow_sizes_and_ascend() {
        let (mut classes, class) = one();
        for size in 1..=100 {
            assert_eq!(classes.bounds().is_some(), size == 51, "{size}");
            classes.finished(class, Micros(size));
        }
        let bounds = classes.bounds().expect("after another period");
        assert_eq!(bounds, [25, 50, 75, 90, 97].map(Micros));
        for _ in 0..600 {
            classes.finished(class, Micros(5));
        }
        assert_eq!(classes.bounds(), Some([5, 6, 7, 8, 9].map(Micros).to_vec()));
    }

    #[test]
    fn classes_beyond_the_bound_share_a_place() {
        let (mut classes, _) = one();
        let name = |n: usize| ClassName::parse(&format!("c{n}")).expect("a name");
        let last = (0..2_000).map(|n| classes.of(&TenantId::anonymous(), &name(n)));
        assert_eq!(last.last(), Some(ClassId(CLASSES_MAX as u32 - 1)));
    }
}
