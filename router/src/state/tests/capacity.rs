//! Room for KV: backfill, the reserve, calls that can never fit.

use super::bench::{Bench, S, Sent, settings};
use crate::message::{NO_POOL_TOKENS, Refusal};

#[test]
fn the_known_answer() {
    let rules = settings(&["policy=plas", "bounds=1000", "backfill_limit=0"]);
    let mut bench = Bench::with_kv(rules, "a", (8, 10));
    let (eight, five, two) = (
        bench.sized("x", 8),
        bench.sized("y", 5),
        bench.sized("z", 2),
    );
    assert_eq!(
        [eight, five, two].map(|call| bench.place_of(call)),
        ["a", "-", "a"]
    );
    bench.end(two);
    let more = [0; 3].map(|_| bench.sized("z", 2));
    assert_eq!(
        more.map(|call| bench.place_of(call)),
        ["-", "-", "-"],
        "the room is kept"
    );
    let explain = bench.view(more[0]).explain.expect("it waits");
    assert_eq!(explain.reason.as_str(), "backfill_reserve");
    bench.end(eight);
    let seats = [five, more[0], more[1], more[2]].map(|call| bench.place_of(call));
    assert_eq!(seats, ["a", "a", "a", "-"]);
}

#[test]
fn so_many_may_pass_before_room_is_kept() {
    let rules = settings(&["policy=fcfs", "backfill_limit=2"]);
    let mut bench = Bench::with_kv(rules, "a", (8, 10));
    bench.sized("x", 8);
    let five = bench.sized("y", 5);
    let mut passed = 0;
    loop {
        let two = bench.sized("z", 2);
        if bench.place_of(two) == "-" {
            break;
        }
        passed += 1;
        assert!(passed < 9, "nobody keeps room for the larger one");
        bench.end(two);
    }
    assert_eq!(
        (passed, bench.place_of(five).as_str()),
        (3, "-"),
        "the first, and two after it"
    );
}

#[test]
fn the_reserve_does_not_bind_better_queues() {
    let rules = settings(&["policy=plas", "bounds=1,2", "backfill_limit=0"]);
    let mut bench = Bench::with_kv(rules, "a", (8, 10));
    let used = bench.small("y");
    bench.run(used, 3 * S);
    bench.end(used);
    bench.sized("x", 8);
    let five = bench.sized("y", 5);
    let worse = bench.sized("y", 2);
    assert_eq!([five, worse].map(|call| bench.place_of(call)), ["-", "a"]);
    bench.end(worse);
    let same = bench.sized("y", 2);
    let better = bench.sized("z", 2);
    assert_eq!([same, better].map(|call| bench.place_of(call)), ["-", "a"]);
}

#[test]
fn a_better_call_squeezes_out_worse_ones() {
    let mut bench = Bench::with_kv(settings(&["policy=plas", "bounds=1,2"]), "a", (8, 10));
    let large = bench.sized("x", 8);
    bench.run(large, 3 * S);
    let small = bench.sized("y", 6);
    assert_eq!(bench.place_of(small), "a");
    assert!(bench.seat(small).expect("there").1.order < bench.seat(large).expect("there").1.order);
}

#[test]
fn a_prompt_beyond_every_engine_is_refused_and_a_large_output_runs_alone() {
    let mut bench = Bench::with_kv(settings(&["policy=fcfs"]), "a", (8, 100));
    let never = bench.sized("x", 101);
    assert_eq!(bench.refused, [(never, Refusal::TooLong)]);
    let alone = bench.send(Sent {
        program: "x",
        prompt: 50,
        output: 1_000_000,
    });
    let other = bench.sized("y", 1);
    assert_eq!([alone, other].map(|call| bench.place_of(call)), ["a", "-"]);
}

#[test]
fn room_kept_on_one_engine_is_free_when_the_call_went_to_another() {
    let rules = settings(&["policy=fcfs", "backfill_limit=0"]);
    let mut bench = Bench::with_kv(rules, "ab", (8, 10));
    let (first, second) = (bench.sized("x", 7), bench.sized("y", 8));
    let large = bench.sized("z", 5);
    let small = bench.sized("w", 2);
    let seats = [first, second, large, small].map(|call| bench.place_of(call));
    assert_eq!(seats, ["a", "b", "-", "a"], "room is kept on a");
    bench.end(second);
    assert_eq!(bench.place_of(large), "b");
    bench.end(small);
    let next = [0; 3].map(|_| bench.sized("w", 2));
    assert_eq!(
        next.map(|call| bench.place_of(call)),
        ["a", "b", "b"],
        "nothing is kept"
    );
}

/// An engine that makes vectors has no pool.
#[test]
fn an_engine_without_a_pool_holds_calls_of_any_size_up_to_its_slots() {
    for working_set in ["working_set=on", "working_set=off"] {
        let rules = settings(&["policy=atlas", working_set]);
        let mut bench = Bench::with_kv(rules, "a", (2, NO_POOL_TOKENS));
        let calls = ["x", "y", "z"].map(|program| bench.sized(program, 500_000));
        let places = calls.map(|call| bench.place_of(call));
        assert_eq!(places, ["a", "a", "-"], "{working_set}");
        bench.end(calls[0]);
        assert_eq!(bench.place_of(calls[2]), "a", "{working_set}");
        assert_eq!(bench.refused, []);
    }
}
