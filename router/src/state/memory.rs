//! What was learned of each model. Owns: what was learned of models that are not served now, until they are again, and
//! the whole of it as a copy. It must not know where it is kept.

use std::collections::BTreeMap;

use lps_api::ids::ModelName;

use super::State;
use crate::scheduler::{Classes, Pool};

/// Models that are not served and of which something is remembered; of more, those that went last.
const UNSERVED_MAX: usize = 16;

/// What was learned of models that have no pool. The one that went last stands last.
#[derive(Debug, Default)]
pub(super) struct Memory {
    unserved: Vec<(ModelName, Classes)>,
}

impl Memory {
    /// A new pool knows what was learned before.
    pub(super) fn recall(&mut self, mut pool: Pool) -> Pool {
        let place = self
            .unserved
            .iter()
            .position(|(model, _)| model == pool.model());
        if let Some(place) = place {
            pool.recall(self.unserved.remove(place).1);
        }
        pool
    }

    /// Forgets pools that are over, but not what they learned.
    pub(super) fn forget_pools(&mut self, pools: &mut BTreeMap<ModelName, Pool>) {
        pools.retain(|model, pool| {
            if pool.is_over() {
                self.keep(model.clone(), pool.classes().clone());
            }
            !pool.is_over()
        });
    }

    /// What taught nothing takes nobody's place.
    fn keep(&mut self, model: ModelName, classes: Classes) {
        if classes.seen() == 0 {
            return;
        }
        if self.unserved.len() >= UNSERVED_MAX {
            self.unserved.remove(0);
        }
        self.unserved.push((model, classes));
    }
}

impl State {
    /// Without pools, engines and programs, but with what was learned before: all of it, since nobody knows yet which
    /// models are served.
    pub fn recalling(learned: Vec<(ModelName, Classes)>) -> Self {
        let memory = Memory { unserved: learned };
        Self {
            memory,
            ..Self::new()
        }
    }

    /// Finished programs of a model that are remembered.
    pub fn remembered(&self, model: &ModelName) -> usize {
        let pool = self.pools.get(model);
        pool.map_or(0, |pool| pool.classes().remembered())
    }

    /// How much was learned in all; another number later means that there is something new.
    pub fn lessons(&self) -> u64 {
        let unserved = self.memory.unserved.iter().map(|(_, classes)| classes);
        let served = self.pools.values().map(Pool::classes);
        let seen = unserved.chain(served).map(Classes::seen);
        seen.fold(0, u64::wrapping_add)
    }

    /// What was learned so far: a copy that shares what does not change.
    pub fn learned(&self) -> Vec<(ModelName, Classes)> {
        let unserved = self.memory.unserved.iter().cloned();
        let served = self.pools.iter();
        let served = served.map(|(model, pool)| (model.clone(), pool.classes().clone()));
        unserved.chain(served).collect()
    }
}

#[cfg(test)]
mod tests {
    use lps_api::quantity::Micros;
    use lps_api::scheduling::Settings;

    use super::*;
    use crate::message::Event;

    fn model(name: &str) -> ModelName {
        ModelName::parse(name).expect("a name")
    }

    fn serve(state: &mut State, name: &str) {
        let added = Event::PoolAdded {
            model: model(name),
            settings: Settings::default(),
            cold_start_hold: Micros::from_secs(1),
        };
        state.on(added, Micros::ZERO);
    }

    fn seen(state: &State) -> Vec<(String, u64)> {
        let learned = state.learned();
        let seen = learned
            .iter()
            .map(|(model, classes)| (model.to_string(), classes.seen()));
        seen.collect()
    }

    fn learned(seen: u64) -> Classes {
        let plain = serde_json::json!({
            "seen": seen, "finished": 1, "unit": "time", "sizes_us": [5], "classes": [],
        });
        let plain: crate::scheduler::Learned = serde_json::from_value(plain).expect("plain values");
        Classes::try_from(plain).expect("they make sense")
    }

    #[test]
    fn a_model_that_goes_and_returns_is_remembered() {
        let before = vec![(model("a"), learned(1_000)), (model("b"), learned(2_000))];
        let mut state = State::recalling(before);
        let all = |pairs: [(&str, u64); 2]| pairs.map(|(name, seen)| (name.to_owned(), seen));
        serve(&mut state, "a");
        assert_eq!(seen(&state), all([("b", 2_000), ("a", 1_000)]));
        let removed = Event::PoolRemoved { model: model("a") };
        state.on(removed, Micros::ZERO);
        assert_eq!(seen(&state), all([("b", 2_000), ("a", 1_000)]));
        serve(&mut state, "b");
        serve(&mut state, "a");
        assert_eq!(seen(&state), all([("a", 1_000), ("b", 2_000)]));
    }

    #[test]
    fn of_too_many_models_the_first_that_went_is_forgotten_but_none_that_is_served() {
        let names: Vec<String> = (10..=10 + UNSERVED_MAX).map(|n| format!("m{n}")).collect();
        let before = names.iter().map(|name| (model(name), learned(1_000)));
        let mut state = State::recalling(before.collect());
        names.iter().for_each(|name| serve(&mut state, name));
        assert_eq!(seen(&state).len(), names.len());
        // One that taught nothing pushes nobody out.
        serve(&mut state, "none");
        for name in names.iter().map(String::as_str).chain(["none"]) {
            let model = model(name);
            state.on(Event::PoolRemoved { model }, Micros::ZERO);
        }
        let kept = seen(&state);
        assert_eq!(kept.len(), UNSERVED_MAX);
        assert_eq!(kept[0].0, "m11");
    }
}
