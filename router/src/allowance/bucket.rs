//! What is left of so much a minute. Owns: refilling it evenly, exactly, and how long to wait for more. Pure.

use std::num::NonZeroU32;
use std::time::Duration;

use lps_api::quantity::Micros;

/// One unit has this many parts, so that what a microsecond brings is a whole number of them: one for each unit a minute.
const PARTS: i64 = 60_000_000;

/// A bucket that a minute fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    per_minute: NonZeroU32,
    /// Below zero where more was used than was thought.
    parts: i64,
    at: Micros,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(per_minute: NonZeroU32, now: Micros) -> Self {
        Self {
            per_minute,
            parts: parts(per_minute.get()),
            at: now,
        }
    }

    /// The same as of now, which a minute fills with so much from now on.
    pub(super) fn as_of(self, per_minute: NonZeroU32, now: Micros) -> Self {
        let passed = i64::try_from(now.saturating_sub(self.at).0).unwrap_or(i64::MAX);
        let gained = passed.saturating_mul(i64::from(self.per_minute.get()));
        let filled = self.parts.saturating_add(gained);
        Self {
            per_minute,
            parts: filled.min(parts(per_minute.get())),
            at: self.at.max(now),
        }
    }

    /// How long it takes until there is so much; `None`: there is. What is more than a whole bucket waits for that.
    pub(super) fn wait(&self, units: u32) -> Option<Duration> {
        let missing = parts(units.min(self.per_minute.get())) - self.parts;
        (missing > 0).then(|| self.time_for(missing))
    }

    /// Takes so much, whether it is there or not.
    pub(super) fn take(&mut self, units: u32) {
        self.parts = self.parts.saturating_sub(parts(units));
    }

    /// Gives so much back.
    pub(super) fn give(&mut self, units: u32) {
        let more = self.parts.saturating_add(parts(units));
        self.parts = more.min(parts(self.per_minute.get()));
    }

    /// Whole units that are there.
    pub(super) fn left(&self) -> u32 {
        u32::try_from(self.parts.max(0) / PARTS).unwrap_or(u32::MAX)
    }

    /// Until it is full.
    pub(super) fn full_in(&self) -> Duration {
        self.time_for(parts(self.per_minute.get()) - self.parts)
    }

    /// What fills it in a minute.
    pub(super) const fn per_minute(&self) -> NonZeroU32 {
        self.per_minute
    }

    fn time_for(&self, parts: i64) -> Duration {
        let parts = u64::try_from(parts).unwrap_or_default();
        Duration::from_micros(parts.div_ceil(u64::from(self.per_minute.get())))
    }
}

fn parts(units: u32) -> i64 {
    i64::from(units) * PARTS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_minute: u32) -> NonZeroU32 {
        NonZeroU32::new(per_minute).expect("not zero")
    }

    #[test]
    fn it_is_refilled_evenly_and_never_over_its_rim() {
        let sixty = rate(60);
        let mut bucket = Bucket::full(sixty, Micros::ZERO);
        bucket.take(60);
        assert_eq!(
            (bucket.left(), bucket.wait(1)),
            (0, Some(Duration::from_secs(1)))
        );
        let bucket = bucket.as_of(sixty, Micros::from_millis(2_500));
        assert_eq!((bucket.left(), bucket.wait(2)), (2, None));
        assert_eq!(bucket.wait(3), Some(Duration::from_millis(500)));
        assert_eq!(bucket.full_in(), Duration::from_millis(57_500));
        let later = bucket.as_of(sixty, Micros::from_secs(1 << 40));
        assert_eq!((later.left(), later.full_in()), (60, Duration::ZERO));
    }

    #[test]
    fn what_is_more_than_a_minutes_worth_waits_for_a_full_one_and_leaves_a_debt() {
        let ten = rate(10);
        let mut bucket = Bucket::full(ten, Micros::ZERO);
        assert_eq!(bucket.wait(1_000), None);
        bucket.take(20);
        assert_eq!(
            (bucket.left(), bucket.wait(1)),
            (0, Some(Duration::from_secs(66)))
        );
        bucket.give(15);
        assert_eq!(bucket.left(), 5);
        bucket.give(15);
        assert_eq!(bucket.left(), 10);
    }

    #[test]
    fn another_rate_holds_from_now_on() {
        let mut bucket = Bucket::full(rate(60), Micros::ZERO);
        bucket.take(60);
        let bucket = bucket.as_of(rate(6), Micros::from_secs(2));
        assert_eq!((bucket.left(), bucket.per_minute()), (2, rate(6)));
        assert_eq!(bucket.as_of(rate(6), Micros::from_secs(12)).left(), 3);
    }

    proptest! {
        /// Looking more often brings nothing, and no more is given than was there and came.
        #[test]
        fn it_does_not_matter_how_often_it_is_looked_at(
            per_minute in 1..u32::MAX,
            steps in prop::collection::vec((0..90_000_000_u64, 0..1_000_u32), 1..40),
        ) {
            let per_minute = rate(per_minute);
            let mut bucket = Bucket::full(per_minute, Micros::ZERO);
            let (mut now, mut taken) = (0, 0_u64);
            for (passed, units) in steps {
                let halfway = bucket.as_of(per_minute, Micros(now + passed / 2));
                now += passed;
                bucket = bucket.as_of(per_minute, Micros(now));
                prop_assert_eq!(halfway.as_of(per_minute, Micros(now)), bucket);
                let units = units.min(per_minute.get());
                match bucket.wait(units) {
                    None => {
                        bucket.take(units);
                        taken += u64::from(units);
                    }
                    Some(wait) => {
                        let then = Micros(now).saturating_add(wait.into());
                        prop_assert_eq!(bucket.as_of(per_minute, then).wait(units), None);
                    }
                }
                let came = u128::from(now) * u128::from(per_minute.get()) / 60_000_000;
                prop_assert!(u128::from(taken) <= came + u128::from(per_minute.get()));
            }
        }
    }
}
