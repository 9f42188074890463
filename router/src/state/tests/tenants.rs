//! Tenants: whose call is next, and what one may take from another.

use proptest::prelude::*;

use super::bench::{Bench, S, engine, settings};
use crate::message::CallKey;

#[test]
fn the_tenant_with_the_least_service_is_next() {
    let mut bench = Bench::new(settings(&["policy=fcfs"]), "a", 1);
    let first = bench.small("x@a");
    let [second, third] = ["y@a", "z@b"].map(|name| bench.small(name));
    bench.run(first, 3 * S);
    bench.end(first);
    assert_eq!([second, third].map(|call| bench.place_of(call)), ["-", "a"]);
    let explain = bench.view(second).explain.expect("it waits");
    assert_eq!(explain.reason.as_str(), "no_capacity", "now it is a's turn");
    let fourth = bench.small("w@b");
    bench.run(third, 5 * S);
    let explain = bench.view(fourth).explain.expect("it waits");
    assert_eq!(explain.reason.as_str(), "tenant_turn");
    bench.end(third);
    assert_eq!(
        [second, fourth].map(|call| bench.place_of(call)),
        ["a", "-"]
    );
}

#[test]
fn a_weight_is_worth_as_much_more() {
    let mut bench = Bench::new(settings(&["policy=fcfs", "tenant_weights=a=4"]), "a", 1);
    let mut served = [0, 0];
    for index in 0..2 {
        for tenant in ["a", "b"] {
            bench.small(&format!("x{index}@{tenant}"));
        }
    }
    for index in 2..52 {
        let running = *bench.engines[&engine("a")].keys().next().expect("one runs");
        let is_b = bench.view(running).program.as_str().ends_with('b');
        served[usize::from(is_b)] += 1;
        bench.small(&format!("x{index}@{}", if is_b { "b" } else { "a" }));
        bench.run(running, S);
        bench.end(running);
    }
    assert_eq!(served, [40, 10]);
}

#[test]
fn a_call_displaces_anothers_only_if_its_tenant_is_behind() {
    let rules = ["policy=plas", "bounds=1,2"];
    let mut bench = Bench::new(settings(&rules), "a", 1);
    let other = bench.small("y@b");
    bench.run(other, 2 * S);
    let better = bench.small("z@a");
    assert_eq!(bench.place_of(better), "-", "it came level with b");
    let explain = bench.view(better).explain.expect("it waits");
    assert_eq!(explain.reason.as_str(), "tenant_turn");
    let own = bench.small("v@b");
    assert_eq!(bench.place_of(own), "a", "its own it may");
    bench.end(own);
    bench.run(other, S);
    assert_eq!(bench.place_of(better), "a", "b has had more now");
}

/// Whom an engine with one slot runs.
fn running(bench: &Bench) -> CallKey {
    let seats = bench.engines[&engine("a")].iter();
    let first = seats.min_by_key(|(_, seat)| seat.order);
    *first.expect("one runs").0
}

#[test]
fn a_better_queue_is_worth_nothing_against_a_tenant_that_is_behind() {
    let rules = [
        "policy=plas",
        "bounds=1,2",
        "oldest_every=none",
        "beta=none",
    ];
    let mut bench = Bench::new(settings(&rules), "a", 1);
    // b's program is in the last queue; of a, a new one comes whenever one ends, all in queue 1.
    let before = bench.small("old@b");
    bench.run(before, 3 * S);
    bench.end(before);
    for index in 0..4 {
        bench.small(&format!("x{index}@a"));
        bench.small("old@b");
    }
    let (mut served, mut turns) = ([0_u64; 2], 0);
    for index in 0..200 {
        let call = running(&bench);
        let is_b = bench.view(call).program.as_str().ends_with('b');
        turns += u32::from(is_b);
        served[usize::from(is_b)] += 1;
        bench.run(call, S);
        if !is_b || turns.is_multiple_of(3) {
            bench.end(call);
            bench.small(&if is_b {
                "old@b".into()
            } else {
                format!("y{index}@a")
            });
        }
        assert!(served[0].abs_diff(served[1]) <= 2 * 3, "{served:?}");
    }
}

#[test]
fn whoever_was_away_is_not_owed_for_it() {
    let mut bench = Bench::new(settings(&["policy=fcfs"]), "a", 1);
    let long = bench.small("x@a");
    bench.run(long, 100 * S);
    let calls = ["x@a", "y@b", "y@b", "y@b"].map(|name| bench.small(name));
    bench.end(long);
    let mut order = Vec::new();
    for _ in 0..4 {
        let running = *bench.engines[&engine("a")].keys().next().expect("one runs");
        order.push(calls.iter().position(|call| *call == running));
        bench.run(running, S);
        bench.end(running);
    }
    let own = order.iter().position(|at| *at == Some(0));
    assert!(
        own.is_some_and(|own| own <= 1),
        "a goes by the second: {order:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// While two are backlogged the difference of service for its weight stays within 2 · slots · longest call.
    #[test]
    fn backlogged_tenants_share(
        services in proptest::collection::vec(1_u64..9, 60..120),
        slots in 1_u32..5,
        policy in 0_usize..4,
        heavy in 2_usize..11,
    ) {
        let policy = ["policy=fcfs", "policy=plas", "policy=atlas", "policy=gittins"][policy];
        let rules = [policy, "bounds=4,16", "oldest_every=16"];
        let mut bench = Bench::new(settings(&rules), "a", slots);
        let mut served = [0_u64; 2];
        let mut next = 0;
        // One tenant has many times the programs of the other; both always have some waiting.
        for index in 0..20 * heavy {
            bench.small(&format!("x{index}@a"));
            if index % heavy == 0 {
                bench.small(&format!("x{index}@b"));
            }
        }
        for service in services {
            let seats = bench.engines[&engine("a")].iter();
            let mut seats: Vec<_> = seats.map(|(call, seat)| (seat.order, *call)).collect();
            seats.sort_unstable();
            let running: CallKey = seats[next % seats.len().min(slots as usize)].1;
            next += 1;
            let is_b = bench.view(running).program.as_str().ends_with('b');
            bench.run(running, service * S);
            served[usize::from(is_b)] += service;
            bench.end(running);
            bench.small(&format!("n{next}@{}", if is_b { "b" } else { "a" }));
            let bound = 2 * u64::from(slots) * 9;
            prop_assert!(served[0].abs_diff(served[1]) <= bound, "{served:?} of {bound}");
        }
    }
}
