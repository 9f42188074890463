//! How well calls were put to their programs. Owns: what is counted, and precision and recall of it. Pure.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use lps_router::message::IdentitySource;
use serde::Serialize;
use serde_json::{Value, json};

/// Where a call belongs, or was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Its program.
    pub(super) program: String,
    /// Its thread in it.
    pub(super) thread: String,
    /// The calls that it depends on, by their place in the list of all.
    pub(super) parents: Vec<usize>,
}

/// A call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) truth: Place,
    pub(super) found: Place,
    pub(super) source: IdentitySource,
}

/// Links between calls: how many there are, were found, and were found rightly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Score {
    pub(super) right: u64,
    pub(super) found: u64,
    pub(super) truth: u64,
}

impl Score {
    /// Of those that were found, how many are there; nothing where none was found.
    pub(super) fn precision(self) -> Option<f64> {
        (self.found > 0).then(|| self.right as f64 / self.found as f64)
    }

    /// Of those that are there, how many were found; nothing where there is none.
    pub(super) fn recall(self) -> Option<f64> {
        (self.truth > 0).then(|| self.right as f64 / self.truth as f64)
    }

    fn add(&mut self, other: Self) {
        self.right += other.right;
        self.found += other.found;
        self.truth += other.truth;
    }
}

impl Serialize for Score {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: Value = json!({
            "precision": self.precision(), "recall": self.recall(),
            "right": self.right, "found": self.found, "truth": self.truth,
        });
        value.serialize(serializer)
    }
}

/// What a source found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct OfSource {
    pub(super) calls: u64,
    /// Links to parents of its calls.
    pub(super) parents: Score,
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Verdict {
    pub(super) calls: u64,
    /// Two calls of one program, whichever.
    pub(super) programs: Score,
    /// Two calls of one thread, whichever.
    pub(super) threads: Score,
    /// A call and one that it depends on.
    pub(super) parents: Score,
    pub(super) sources: BTreeMap<&'static str, OfSource>,
}

impl Verdict {
    /// Judges all calls.
    pub(super) fn of(calls: &[Call]) -> Self {
        let program = |place: &Place| place.program.clone();
        let thread = |place: &Place| (place.program.clone(), place.thread.clone());
        let mut verdict = Self {
            calls: calls.len() as u64,
            programs: pairs(calls, program),
            threads: pairs(calls, thread),
            ..Self::default()
        };
        for call in calls {
            let (truth, found) = (&call.truth.parents, &call.found.parents);
            let parents = Score {
                right: found.iter().filter(|call| truth.contains(call)).count() as u64,
                found: found.len() as u64,
                truth: truth.len() as u64,
            };
            verdict.parents.add(parents);
            let source = verdict.sources.entry(call.source.as_str()).or_default();
            source.calls += 1;
            source.parents.add(parents);
        }
        verdict
    }

    /// Counts what another one counted, too.
    pub(super) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.programs.add(other.programs);
        self.threads.add(other.threads);
        self.parents.add(other.parents);
        for (name, of) in &other.sources {
            let source = self.sources.entry(name).or_default();
            source.calls += of.calls;
            source.parents.add(of.parents);
        }
    }
}

/// Pairs of calls that stand together.
fn pairs<K: Hash + Eq + Clone>(calls: &[Call], key: impl Fn(&Place) -> K) -> Score {
    let mut truth: HashMap<K, u64> = HashMap::new();
    let mut found: HashMap<K, u64> = HashMap::new();
    let mut both: HashMap<(K, K), u64> = HashMap::new();
    for call in calls {
        let (is, was) = (key(&call.truth), key(&call.found));
        *truth.entry(is.clone()).or_default() += 1;
        *found.entry(was.clone()).or_default() += 1;
        *both.entry((is, was)).or_default() += 1;
    }
    let of = |count: &u64| count * (count - 1) / 2;
    Score {
        right: both.values().map(of).sum(),
        found: found.values().map(of).sum(),
        truth: truth.values().map(of).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call((truth, found): (&str, &str), parents: (&[usize], &[usize])) -> Call {
        let place = |name: &str, parents: &[usize]| {
            let (program, thread) = name.split_at(1);
            Place {
                program: program.to_owned(),
                thread: thread.to_owned(),
                parents: parents.to_vec(),
            }
        };
        Call {
            truth: place(truth, parents.0),
            found: place(found, parents.1),
            source: IdentitySource::Prefix,
        }
    }

    fn score(right: u64, found: u64, truth: u64) -> Score {
        Score {
            right,
            found,
            truth,
        }
    }

    #[test]
    fn what_is_found_rightly_is_perfect() {
        let calls = [
            call(("am", "xm"), (&[], &[])),
            call(("am", "xm"), (&[0], &[0])),
            call(("af", "xg"), (&[0], &[0])),
        ];
        let mut verdict = Verdict::of(&calls);
        assert_eq!(verdict.programs, score(3, 3, 3));
        assert_eq!(verdict.threads, score(1, 1, 1));
        assert_eq!(verdict.parents, score(2, 2, 2));
        verdict.add(&verdict.clone());
        assert_eq!((verdict.calls, verdict.parents), (6, score(4, 4, 4)));
        assert_eq!(verdict.sources["prefix"].parents, verdict.parents);
    }

    #[test]
    fn what_is_mixed_up_and_what_is_missed_count() {
        let calls = [
            call(("am", "xm"), (&[], &[])),
            call(("bm", "xm"), (&[], &[0])),
            call(("bm", "ym"), (&[1], &[])),
        ];
        let verdict = Verdict::of(&calls);
        assert_eq!(verdict.programs, score(0, 1, 1));
        assert_eq!(verdict.parents, score(0, 1, 1));
        assert_eq!(verdict.parents.precision(), Some(0.0));
        assert_eq!(Score::default().recall(), None);
    }
}
