//! What goes wrong: every workload ends nevertheless, and what is charged is what was seen.

use lps_api::quantity::Micros;
use proptest::prelude::*;

use super::*;

const POLICIES: [&str; 7] = [
    "fcfs",
    "program-fcfs",
    "mlfq",
    "plas",
    "atlas",
    "gittins",
    "srpt",
];
const ENGINES: [&str; 4] = [
    "unit:slots=3",
    "unit:slots=4,kv=16000",
    "roofline:a100-8b,slots=3,kv=16000",
    "core:a100-8b,slots=3,kv=16000",
];
const WORKLOADS: [&str; 5] = [
    "react,programs=12,rate=2",
    "chat,programs=8,rate=1,gap=3,context=3000",
    "mcts,programs=2,calls=30,rate=0.2",
    "map-reduce,programs=3,new=600,rate=0.1",
    "mixed,programs=9,rate=0.5,calls-max=20,gap=2,context=3000",
];

/// One run with faults, by places in the lists above. At each instant the state's invariants are checked.
fn survive(seed: u64, [policy, engine, which]: [usize; 3], engines: u32, pairs: &[&str]) {
    let name = format!(
        "seed {seed}: {} {} {}",
        POLICIES[policy], ENGINES[engine], WORKLOADS[which]
    );
    let workload = workload(WORKLOADS[which], seed % 1_000);
    let setup = Setup {
        faults: Some(FaultPlan {
            per_minute: 6.0,
            seed,
        }),
        clairvoyant: POLICIES[policy] == CLAIRVOYANT,
        ..setup(set(POLICIES[policy], pairs), ENGINES[engine], engines)
    };
    let record = simulate(&workload, &setup).expect(&name);
    assert!(
        record.programs.iter().all(Option::is_some),
        "{name}: a program did not end"
    );
    let rows = record.programs.iter().flatten();
    let charged: Micros = rows.map(|end| end.row.service_total_us).sum();
    assert_eq!(charged, record.observed, "{name}: charged and observed");
    assert!(record.refused.is_empty(), "{name}: {:?}", record.refused);
}

#[test]
fn fixed_seeds() {
    for policy in 0..POLICIES.len() {
        for engine in 0..ENGINES.len() {
            for which in 0..WORKLOADS.len() {
                survive(7, [policy, engine, which], 2, &["locality_threshold=200"]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_workload_ends_whatever_goes_wrong(
        seed in any::<u64>(),
        policy in 0..POLICIES.len(),
        engine in 0..ENGINES.len(),
        which in 0..WORKLOADS.len(),
        engines in 1..4_u32,
        working_set in any::<bool>(),
    ) {
        let set = if working_set { "working_set=on" } else { "working_set=off" };
        survive(seed, [policy, engine, which], engines, &[set, "locality_threshold=200"]);
    }
}
