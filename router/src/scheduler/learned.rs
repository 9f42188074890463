//! What a pool has learned, as plain values. Owns: their form, which outlives a process, and which of them make sense.
//! It must not know where they are kept.

use std::sync::Arc;

use lps_api::ids::{ClassName, TenantId};
use lps_api::quantity::Micros;
use lps_api::scheduling::Unit;
use serde::{Deserialize, Serialize};

use super::classes::{CLASSES_MAX, Class, Classes, FIRSTS_MAX, GAPS_MOST, Gaps, LEASE_MOST};
use super::pool::Pool;
use super::sizes::{SAMPLES_MAX, Sizes};

/// Classes that are kept, those that learned last. Half of what a pool tells apart: the other half is for new ones, or a
/// pool that once was full would be so after every restart.
const KEPT_MAX: usize = CLASSES_MAX / 2;

/// What finished programs and gaps of one model taught.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// Gaps, ends and first calls that it was learned from.
    seen: u64,
    /// Programs that finished.
    finished: u64,
    /// What sizes are counted in.
    unit: Unit,
    /// Service of the programs that finished last, the latest last.
    sizes_us: Vec<Micros>,
    /// The one that learned last stands last.
    classes: Vec<LearnedClass>,
}

/// The same of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LearnedClass {
    tenant: TenantId,
    class: ClassName,
    sizes_us: Vec<Micros>,
    /// Places and how many gaps fell there.
    gaps: Vec<(usize, u32)>,
    lease_us: Option<Micros>,
    /// Cached tokens of the last first calls.
    firsts: Vec<u64>,
}

/// Lessons and programs that are believed, at most: more than anybody lives to see, and still countable.
const COUNT_MAX: u64 = 1 << 60;

/// A value that nothing could have taught.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("class {class} of tenant {tenant}: {field} is out of its range")]
pub struct Error {
    tenant: TenantId,
    class: ClassName,
    field: &'static str,
}

impl LearnedClass {
    fn new((tenant, class): (&TenantId, &ClassName), known: &Class) -> Self {
        Self {
            tenant: tenant.clone(),
            class: class.clone(),
            sizes_us: known.sizes.recent().collect(),
            gaps: known.gaps.counts().collect(),
            lease_us: known.lease,
            firsts: known.firsts.iter().copied().collect(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let gaps: u64 = self.gaps.iter().map(|(_, count)| u64::from(*count)).sum();
        let ranges = [
            ("sizes_us", self.sizes_us.len() <= SAMPLES_MAX),
            ("gaps", gaps < u64::from(GAPS_MOST)),
            (
                "gaps",
                self.gaps.iter().all(|(place, _)| *place < Gaps::PLACES),
            ),
            ("lease_us", self.lease_us.is_none_or(|it| it <= LEASE_MOST)),
            ("firsts", self.firsts.len() <= FIRSTS_MAX),
        ];
        match ranges.iter().find(|(_, holds)| !holds) {
            None => Ok(()),
            Some((field, _)) => Err(Error {
                tenant: self.tenant.clone(),
                class: self.class.clone(),
                field,
            }),
        }
    }

    fn known(&self, used: u64) -> Class {
        let mut known = Class {
            gaps: Gaps::from_counts(&self.gaps),
            lease: self.lease_us,
            sizes: Sizes::from_recent(&self.sizes_us),
            used,
            ..Class::default()
        };
        known.first_calls(self.firsts.iter().copied());
        known
    }
}

impl Classes {
    /// As plain values. It takes its time, so it is for a copy, away from those who decide.
    pub fn plain(&self) -> Learned {
        let mut classes: Vec<_> = self
            .classes
            .iter()
            .filter(|(_, known)| known.used > 0)
            .collect();
        classes.sort_by_key(|(_, known)| known.used);
        let first = classes.len().saturating_sub(KEPT_MAX);
        let plain = |((tenant, class), known): &(&(TenantId, ClassName), &Arc<Class>)| {
            LearnedClass::new((tenant, class), known)
        };
        Learned {
            seen: self.seen,
            finished: self.finished,
            unit: self.unit,
            sizes_us: self.sizes.recent().collect(),
            classes: classes[first..].iter().map(plain).collect(),
        }
    }
}

impl TryFrom<Learned> for Classes {
    type Error = Error;

    fn try_from(learned: Learned) -> Result<Self, Error> {
        let first = learned.classes.len().saturating_sub(KEPT_MAX);
        let mut classes = Self {
            sizes: Sizes::from_recent(&learned.sizes_us),
            finished: learned.finished.min(COUNT_MAX),
            unit: learned.unit,
            seen: learned.seen.clamp(KEPT_MAX as u64, COUNT_MAX),
            ..Self::default()
        };
        for (class, used) in learned.classes[first..].iter().zip(1..) {
            class.check()?;
            let key = (class.tenant.clone(), class.class.clone());
            classes.classes.insert(key, Arc::new(class.known(used)));
        }
        Ok(classes)
    }
}

impl Pool {
    /// What it has learned.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// A pool that has not had a call yet begins with what was learned before.
    pub fn recall(&mut self, classes: Classes) {
        self.classes = classes;
        if self.is_served() {
            // Else its settings, and what they count in, are still to come.
            self.classes.count_in(self.settings.unit);
        }
        if self.settings.auto_bounds
            && let Some(bounds) = self.classes.bounds_now()
        {
            self.settings.bounds = bounds;
        }
    }
}

#[cfg(test)]
mod tests {
    use lps_api::scheduling::Settings;
    use proptest::prelude::*;

    use super::*;
    use crate::process_table::ClassId;

    fn name(class: usize) -> ClassName {
        ClassName::parse(&format!("c{class}")).expect("a name")
    }

    fn of(classes: &mut Classes, class: usize) -> ClassId {
        classes.of(&TenantId::anonymous(), &name(class))
    }

    /// Something that teaches.
    #[derive(Debug, Clone, Copy)]
    enum Lesson {
        Finished(u64),
        Gap(u64),
        First(u64),
    }

    fn teach(classes: &mut Classes, (class, lesson): (usize, Lesson)) {
        let class = of(classes, class);
        match lesson {
            Lesson::Finished(size) => classes.finished(class, Micros(size)),
            Lesson::Gap(gap) => classes.gap(class, Micros(gap)),
            Lesson::First(cached) => classes.first_call(class, cached),
        }
    }

    fn again(classes: &Classes) -> Classes {
        let text = serde_json::to_vec(&classes.plain()).expect("plain values");
        let learned: Learned = serde_json::from_slice(&text).expect("as it was written");
        Classes::try_from(learned).expect("it was learned")
    }

    /// All that a scheduler asks.
    fn answers(
        classes: &mut Classes,
        class: usize,
        attained: &[u64],
    ) -> impl PartialEq + std::fmt::Debug {
        let class = of(classes, class);
        let p = |attained: &u64| classes.index(class, Micros(*attained));
        let p: Vec<Micros> = attained.iter().map(p).collect();
        (
            p,
            classes.lease(class),
            classes.shared(class),
            classes.bounds(),
            classes.bounds_now(),
        )
    }

    fn lesson() -> impl Strategy<Value = (usize, Lesson)> {
        let lesson = prop_oneof![
            3 => (0_u64..5_000_000).prop_map(Lesson::Finished),
            3 => (0_u64..200_000_000).prop_map(Lesson::Gap),
            1 => (0_u64..4_000).prop_map(Lesson::First),
        ];
        (0_usize..3, lesson)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_restart_changes_no_answer_then_or_later(
            before in proptest::collection::vec(lesson(), 0..1_500),
            after in proptest::collection::vec(lesson(), 0..300),
            attained in proptest::collection::vec(0_u64..6_000_000, 1..6),
        ) {
            let mut classes = Classes::default();
            before.iter().for_each(|lesson| teach(&mut classes, *lesson));
            let mut restarted = again(&classes);
            for lesson in [None].into_iter().chain(after.iter().map(Some)) {
                if let Some(lesson) = lesson {
                    teach(&mut classes, *lesson);
                    teach(&mut restarted, *lesson);
                }
                for class in 0..3 {
                    let expected = answers(&mut classes, class, &attained);
                    prop_assert_eq!(answers(&mut restarted, class, &attained), expected);
                }
            }
        }
    }

    #[test]
    fn a_full_history_comes_back() {
        let mut classes = Classes::default();
        for n in 0..20_000_u64 {
            let class = usize::from(n % 7 == 0);
            teach(&mut classes, (class, Lesson::Finished(n * 31 % 9_000)));
            teach(&mut classes, (class, Lesson::Gap(n * 1_009 % 90_000_000)));
            teach(&mut classes, (class, Lesson::First(n % 64)));
        }
        let mut restarted = again(&classes);
        assert_eq!(restarted.plain(), classes.plain());
        // The oldest go first, here and there.
        for n in 0..400 {
            let class = usize::from(n % 7 == 0);
            for of in [&mut classes, &mut restarted] {
                teach(of, (class, Lesson::Finished(n * 97 % 9_000)));
            }
            for class in 0..2 {
                let attained = [0, 1, 4_000, 8_999, 10_000];
                let expected = answers(&mut classes, class, &attained);
                assert_eq!(answers(&mut restarted, class, &attained), expected);
            }
        }
    }

    #[test]
    fn of_too_many_classes_those_are_kept_that_learned_last() {
        let mut classes = Classes::default();
        for class in 0..CLASSES_MAX {
            teach(&mut classes, (class, Lesson::First(7)));
        }
        teach(&mut classes, (0, Lesson::First(7)));
        // Known, but it never learned anything.
        let restarted = again(&classes);
        assert_eq!(restarted.classes.len(), KEPT_MAX);
        let is_kept = |class| {
            let key = (TenantId::anonymous(), name(class));
            restarted.classes.contains_key(&key)
        };
        assert!(is_kept(0) && is_kept(CLASSES_MAX - 1));
        assert!(!is_kept(1) && !is_kept(CLASSES_MAX - KEPT_MAX));
        // And a second restart changes nothing.
        assert_eq!(again(&restarted).plain().classes, restarted.plain().classes);
    }

    #[test]
    fn what_nothing_could_have_taught_is_refused() {
        let mut classes = Classes::default();
        teach(&mut classes, (0, Lesson::Gap(5)));
        let good = classes.plain();
        type Spoil = fn(&mut LearnedClass);
        let spoils: [(&str, Spoil); 5] = [
            ("gaps", |class| class.gaps = vec![(Gaps::PLACES, 1)]),
            ("gaps", |class| {
                class.gaps = vec![(3, u32::MAX), (4, u32::MAX)]
            }),
            ("sizes_us", |class| {
                class.sizes_us = vec![Micros(1); SAMPLES_MAX + 1]
            }),
            ("lease_us", |class| class.lease_us = Some(Micros::MAX)),
            ("firsts", |class| class.firsts = vec![0; FIRSTS_MAX + 1]),
        ];
        for (field, spoil) in spoils {
            let mut bad = good.clone();
            spoil(&mut bad.classes[0]);
            let error = Classes::try_from(bad).expect_err(field).to_string();
            assert!(
                error.contains("class c0") && error.contains(field),
                "{error}"
            );
        }
    }

    #[test]
    fn a_pool_begins_with_what_it_is_given() {
        let settings = |pairs: &[(&str, &str)]| {
            let mut settings = Settings::default();
            for (key, value) in pairs {
                settings.set(key, value).expect("a setting");
            }
            settings
        };
        let mut classes = Classes::default();
        for size in 1..=100 {
            teach(&mut classes, (0, Lesson::Finished(size)));
        }
        let pool = |pairs| {
            let model = lps_api::ids::ModelName::parse("m").expect("a name");
            let mut pool = Pool::new(model, settings(pairs), Micros::ZERO);
            pool.recall(classes.clone());
            pool
        };
        let bounds = [25, 50, 75, 90, 97].map(Micros);
        assert_eq!(pool(&[("bounds", "auto")]).settings().bounds, bounds);
        assert_eq!(pool(&[]).settings().bounds, Settings::default().bounds);
        assert_eq!(pool(&[]).classes().remembered(), 100);
        // Time says nothing about tokens.
        let tokens = [("unit", "tokens")];
        assert_eq!(pool(&tokens).classes().remembered(), 0);

        // An engine may come before its pool's settings do.
        let mut counted = Classes::default();
        counted.count_in(settings(&tokens).unit);
        teach(&mut counted, (0, Lesson::Finished(1)));
        let model = lps_api::ids::ModelName::parse("m").expect("a name");
        let mut early = Pool::unserved(model, Settings::default(), Micros::ZERO);
        early.recall(counted);
        let mut table = crate::process_table::ProcessTable::default();
        let at = (&mut table, Micros::ZERO);
        early.configure(settings(&tokens), at, &mut Vec::new());
        assert_eq!(early.classes().remembered(), 1);
    }
}
