//! The planning function: tables of what it decides, and properties of what comes of it.

use std::sync::Arc;

use lps_api::ids::EngineId;
use lps_api::quantity::Micros;
use lps_api::resource::{Manifest, RolloutStrategy};
use lps_operator::plan::{
    Action, DeleteReason, EngineLoad, EngineState, ObservedEngine, backoff, plan,
};
use lps_operator::revision::Revision;
use lps_operator::validate::{Validated, validate};
use proptest::prelude::*;

const OLD: Revision = Revision(1);

fn pool() -> Validated {
    let resource: Manifest = serde_json::from_str(
        r#"{"apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing", "metadata": {"name": "p"},
            "spec": {"model": {"name": "m", "source": {"builtin": "sim"}}, "scaling": {"max": 8}}}"#,
    )
    .expect("a resource");
    validate(&resource).expect("makes sense")
}

fn id(index: u32) -> EngineId {
    EngineId::parse(&format!("p-{index}")).expect("a name")
}

const READY: EngineState = EngineState::Ready;
const STARTING: EngineState = EngineState::Starting {
    placed: true,
    loaded: false,
};
const UNPLACED: EngineState = EngineState::Starting {
    placed: false,
    loaded: false,
};
const DRAINING: EngineState = EngineState::Draining {
    since: Micros::from_secs(90),
};

fn failed(at_s: u64) -> EngineState {
    EngineState::Failed {
        at: Micros::from_secs(at_s),
        ready_for: Micros::ZERO,
    }
}

/// An engine of the present revision, with this many calls.
fn engine(index: u32, state: EngineState, calls: u32) -> ObservedEngine {
    ObservedEngine {
        id: id(index),
        revision: pool().revision,
        failures_before: 0,
        created_at: Micros::from_secs(u64::from(index)),
        state,
        load: Some(EngineLoad {
            kv_blocks: 0,
            calls,
        }),
    }
}

fn old(index: u32, state: EngineState) -> ObservedEngine {
    ObservedEngine {
        revision: OLD,
        ..engine(index, state, 1)
    }
}

fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Create(spec) => format!("create {}", spec.id),
        Action::Drain(id) => format!("drain {id}"),
        Action::CancelDrain(id) => format!("undrain {id}"),
        Action::Delete(id, reason) => format!("delete {id} {reason:?}"),
    };
    actions.iter().map(word).collect()
}

/// At 100 s.
fn check(pool: &Validated, desired: u32, engines: &[ObservedEngine], expected: &[&str]) {
    let actions = plan(pool, desired, engines, Micros::from_secs(100));
    assert_eq!(words(&actions), expected, "{desired} of {engines:#?}");
}

#[test]
fn the_number_is_held() {
    let pool = pool();
    check(&pool, 0, &[], &[]);
    check(&pool, 2, &[], &["create p-0", "create p-1"]);
    check(&pool, 2, &[engine(1, STARTING, 0)], &["create p-0"]);
    check(&pool, 1, &[engine(0, READY, 3)], &[]);
    // A name is not used again before its engine is gone.
    check(
        &pool,
        1,
        &[engine(0, EngineState::Ending, 0)],
        &["create p-1"],
    );
}

#[test]
fn the_least_loaded_goes_and_what_does_not_serve_first() {
    let pool = pool();
    let three = [
        engine(0, READY, 2),
        engine(1, READY, 1),
        engine(2, READY, 5),
    ];
    check(&pool, 2, &three, &["drain p-1"]);
    check(&pool, 1, &three, &["drain p-1", "drain p-0"]);
    let starting = [engine(0, READY, 0), engine(1, STARTING, 0)];
    check(&pool, 1, &starting, &["delete p-1 NotWanted"]);
    let equal = [engine(0, READY, 0), engine(1, READY, 0)];
    check(&pool, 1, &equal, &["drain p-1"]);
    let unknown = ObservedEngine {
        load: None,
        ..engine(1, READY, 0)
    };
    check(&pool, 1, &[engine(0, READY, 9), unknown], &["drain p-0"]);
}

#[test]
fn a_drain_ends_when_idle_or_over_time_or_taken_back() {
    let pool = pool();
    let serving = engine(0, READY, 0);
    check(&pool, 1, &[serving.clone(), engine(1, DRAINING, 2)], &[]);
    check(
        &pool,
        1,
        &[serving.clone(), engine(1, DRAINING, 0)],
        &["delete p-1 Drained"],
    );
    let unknown = ObservedEngine {
        load: None,
        ..engine(1, DRAINING, 0)
    };
    check(&pool, 1, &[serving.clone(), unknown], &[]);
    let mut short = pool.clone();
    short.rollout.drain_timeout = "10s".parse().expect("a period");
    check(
        &short,
        1,
        &[serving.clone(), engine(1, DRAINING, 2)],
        &["delete p-1 DrainTimeout"],
    );
    // Load returns: the fullest comes back, nothing is started.
    let draining = [serving, engine(1, DRAINING, 1), engine(2, DRAINING, 4)];
    check(&pool, 2, &draining, &["undrain p-2"]);
    check(
        &pool,
        4,
        &draining,
        &["undrain p-2", "undrain p-1", "create p-3"],
    );
}

#[test]
fn a_dead_engine_is_replaced_later_and_later() {
    let pool = pool();
    check(
        &pool,
        1,
        &[engine(0, failed(100), 0)],
        &["delete p-0 Failed", "create p-1"],
    );
    let again = |failures_before, at_s| ObservedEngine {
        failures_before,
        ..engine(0, failed(at_s), 0)
    };
    check(&pool, 1, &[again(1, 100)], &[]);
    check(
        &pool,
        1,
        &[again(1, 99)],
        &["delete p-0 Failed", "create p-1"],
    );
    check(&pool, 1, &[again(3, 97)], &[]);
    check(
        &pool,
        1,
        &[again(3, 96)],
        &["delete p-0 Failed", "create p-1"],
    );
    check(&pool, 0, &[again(3, 100)], &["delete p-0 NotWanted"]);
    let times: Vec<_> = (0..9).map(|n| backoff(n).0 / 1_000_000).collect();
    assert_eq!(times, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(backoff(u32::MAX), Micros::from_secs(60));

    let actions = plan(&pool, 1, &[again(3, 96)], Micros::from_secs(100));
    let Some(Action::Create(spec)) = actions.last() else {
        panic!("{actions:?}")
    };
    assert_eq!(spec.failures_before, 4);
    // It had run for long: its failure is a first one.
    let steady = EngineState::Failed {
        at: Micros::from_secs(100),
        ready_for: Micros::from_secs(60),
    };
    let steady = ObservedEngine {
        failures_before: 7,
        ..engine(0, steady, 0)
    };
    check(&pool, 1, &[steady], &["delete p-0 Failed", "create p-1"]);
}

#[test]
fn an_engine_that_does_not_start_is_replaced() {
    let mut pool = pool();
    let mut template = (*pool.template).clone();
    template.start_timeout = Micros::from_secs(50);
    pool.template = Arc::new(template);
    check(&pool, 1, &[engine(60, STARTING, 0)], &[]);
    check(
        &pool,
        1,
        &[engine(50, STARTING, 0)],
        &["delete p-50 StartTimeout", "create p-0"],
    );
    // It has started; that the router does not use it is not its fault.
    let loaded = EngineState::Starting {
        placed: true,
        loaded: true,
    };
    check(&pool, 1, &[engine(50, loaded, 0)], &[]);
}

#[test]
fn a_rollout_surges_where_there_is_room() {
    let pool = pool();
    check(&pool, 2, &[old(0, READY), old(1, READY)], &["create p-2"]);
    check(
        &pool,
        2,
        &[old(0, READY), old(1, READY), engine(2, STARTING, 0)],
        &[],
    );
    check(
        &pool,
        2,
        &[old(0, READY), old(1, READY), engine(2, READY, 0)],
        &["drain p-1"],
    );
    check(
        &pool,
        2,
        &[old(0, READY), old(1, DRAINING), engine(2, READY, 0)],
        &["create p-3"],
    );
    // The extra one has no place: an old one makes room, and only one.
    check(
        &pool,
        2,
        &[old(0, READY), old(1, READY), engine(2, UNPLACED, 0)],
        &["drain p-1"],
    );
    check(
        &pool,
        2,
        &[old(0, READY), old(1, DRAINING), engine(2, UNPLACED, 0)],
        &[],
    );
    // An old one that serves nobody is not waited for.
    check(&pool, 1, &[old(0, STARTING)], &["delete p-0 NotWanted"]);
}

#[test]
fn a_rollout_that_replaces_goes_one_by_one() {
    let mut pool = pool();
    pool.rollout.strategy = RolloutStrategy::Replace;
    check(&pool, 2, &[old(0, READY), old(1, READY)], &["drain p-1"]);
    check(&pool, 2, &[old(0, READY), old(1, DRAINING)], &[]);
    check(&pool, 2, &[old(0, READY)], &["create p-1"]);
    check(&pool, 2, &[old(0, READY), engine(1, STARTING, 0)], &[]);
    check(
        &pool,
        2,
        &[old(0, READY), engine(1, READY, 0)],
        &["drain p-0"],
    );
}

/// A world in which engines start, finish calls and die as the dice say.
#[derive(Debug)]
struct World {
    engines: Vec<ObservedEngine>,
    now: Micros,
}

impl World {
    fn apply(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Create(spec) => {
                    assert!(
                        self.engines.iter().all(|engine| engine.id != spec.id),
                        "{spec:?}"
                    );
                    self.engines.push(ObservedEngine {
                        id: spec.id.clone(),
                        revision: spec.revision,
                        failures_before: spec.failures_before,
                        created_at: self.now,
                        state: STARTING,
                        load: Some(EngineLoad::default()),
                    });
                }
                Action::Drain(id) => self.set(id, EngineState::Draining { since: self.now }),
                Action::CancelDrain(id) => self.set(id, READY),
                Action::Delete(id, _) => self.set(id, EngineState::Ending),
            }
        }
    }

    fn set(&mut self, id: &EngineId, state: EngineState) {
        let engine = self
            .engines
            .iter_mut()
            .find(|engine| engine.id == *id)
            .expect("it is there");
        engine.state = state;
    }

    /// A second passes: what starts is ready, what drains loses a call, what ends is gone.
    fn step(&mut self) {
        self.now += Micros::from_secs(1);
        self.engines
            .retain(|engine| engine.state != EngineState::Ending);
        for engine in &mut self.engines {
            match engine.state {
                EngineState::Starting { .. } => engine.state = READY,
                EngineState::Draining { .. } => {
                    let calls = engine.load.map_or(0, |load| load.calls);
                    engine.load = Some(EngineLoad {
                        kv_blocks: 0,
                        calls: calls.saturating_sub(1),
                    });
                }
                _ => {}
            }
        }
    }

    fn ready(&self) -> usize {
        self.engines
            .iter()
            .filter(|engine| engine.state == READY)
            .count()
    }
}

/// (of an old revision, state, calls, failures before).
type Dice = (bool, EngineState, Option<u32>, u32);

fn observed() -> impl Strategy<Value = Dice> {
    let state = prop_oneof![
        4 => Just(READY),
        2 => Just(STARTING),
        1 => Just(UNPLACED),
        2 => (0_u64..1000).prop_map(|s| EngineState::Draining { since: Micros::from_secs(s) }),
        2 => (0_u64..1000, 0_u64..100).prop_map(|(at, ready_for)| EngineState::Failed {
            at: Micros::from_secs(at),
            ready_for: Micros::from_secs(ready_for),
        }),
        1 => Just(EngineState::Ending),
    ];
    (
        any::<bool>(),
        state,
        proptest::option::weighted(0.9, 0_u32..5),
        0_u32..5,
    )
}

fn world(engines: Vec<Dice>, present: Revision) -> World {
    let make = |(index, (is_old, state, calls, failures_before)): (u32, Dice)| ObservedEngine {
        id: id(index),
        revision: if is_old { OLD } else { present },
        failures_before,
        created_at: Micros::from_secs(990),
        state,
        load: calls.map(|calls| EngineLoad {
            kv_blocks: calls,
            calls,
        }),
    };
    World {
        engines: (0..).zip(engines).map(make).collect(),
        now: Micros::from_secs(1000),
    }
}

fn strategies() -> impl Strategy<Value = RolloutStrategy> {
    prop_oneof![
        Just(RolloutStrategy::Auto),
        Just(RolloutStrategy::Surge),
        Just(RolloutStrategy::Replace)
    ]
}

proptest! {
    #[test]
    fn it_converges_and_then_rests(
        engines in proptest::collection::vec(observed(), 0..8),
        desired in 0_u32..6,
        strategy in strategies(),
        max_surge in 1_u32..4,
    ) {
        let mut pool = pool();
        pool.rollout.strategy = strategy;
        pool.rollout.max_surge = max_surge;
        let mut world = world(engines, pool.revision);
        // A drain ends after its timeout at the latest, and engines go one by one.
        for _ in 0..1200 {
            let actions = plan(&pool, desired, &world.engines, world.now);
            world.apply(&actions);
            world.step();
        }
        prop_assert_eq!(world.engines.len(), desired as usize, "{:#?}", world);
        prop_assert_eq!(world.ready(), desired as usize);
        prop_assert!(world.engines.iter().all(|engine| engine.revision == pool.revision));
        prop_assert_eq!(plan(&pool, desired, &world.engines, world.now), vec![]);
    }

    #[test]
    fn a_surging_rollout_never_takes_what_serves(
        olds in 1_u32..6,
        max_surge in 1_u32..4,
    ) {
        let mut pool = pool();
        pool.rollout.strategy = RolloutStrategy::Surge;
        pool.rollout.max_surge = max_surge;
        let mut world = world(vec![(true, READY, Some(3), 0); olds as usize], pool.revision);
        while world.engines.iter().any(|engine| engine.revision == OLD) {
            let actions = plan(&pool, olds, &world.engines, world.now);
            world.apply(&actions);
            prop_assert!(world.ready() >= olds as usize, "{:#?}", world);
            let serving = world.engines.iter().filter(|engine| matches!(engine.state, READY | STARTING));
            prop_assert!(serving.count() <= (olds + max_surge) as usize);
            world.step();
            prop_assert!(world.now < Micros::from_secs(1100), "{:#?}", world);
        }
    }

    #[test]
    fn one_turn_acts_on_each_engine_once(
        engines in proptest::collection::vec(observed(), 0..8),
        desired in 0_u32..6,
        strategy in strategies(),
    ) {
        let mut pool = pool();
        pool.rollout.strategy = strategy;
        let world = world(engines, pool.revision);
        let mut named: Vec<EngineId> = Vec::new();
        for action in plan(&pool, desired, &world.engines, world.now) {
            let (id, state) = match action {
                Action::Create(spec) => (spec.id, None),
                Action::Drain(id) => (id, Some("ready")),
                Action::CancelDrain(id) => (id, Some("draining")),
                Action::Delete(id, reason) => (id, (reason == DeleteReason::Drained).then_some("draining")),
            };
            let found = world.engines.iter().find(|engine| engine.id == id).map(|engine| engine.state);
            match state {
                Some("ready") => prop_assert_eq!(found, Some(READY)),
                Some(_) => {
                    let drains = matches!(found, Some(EngineState::Draining { .. }));
                    prop_assert!(drains, "{:?}", found);
                }
                None => {}
            }
            prop_assert!(!named.contains(&id));
            named.push(id);
        }
    }
}
