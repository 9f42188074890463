//! A program's own bound: which of its calls have its slots, and that one that cannot go keeps no other back.

use super::bench::{Bench, S, Sent, engine, settings};
use crate::message::{CallKey, Event};

const LONG: u32 = 2049;

fn long(bench: &mut Bench, program: &str) -> CallKey {
    bench.send(Sent {
        program,
        prompt: LONG,
        output: 0,
    })
}

fn places<const N: usize>(bench: &Bench, calls: [CallKey; N]) -> [String; N] {
    calls.map(|call| bench.place_of(call))
}

#[test]
fn one_that_waits_for_its_home_keeps_no_short_one_back() {
    let rules = settings(&["policy=fcfs", "max_calls_per_program=2", "home_wait=none"]);
    let mut bench = Bench::new(rules, "ab", 1);
    let at_home = long(&mut bench, "x");
    let elsewhere = bench.small("x");
    let (waits, short) = (long(&mut bench, "x"), bench.small("x"));
    let all = [at_home, elsewhere, waits, short];
    assert_eq!(places(&bench, all), ["a", "b", "-", "-"]);
    bench.end(elsewhere);
    assert_eq!(
        places(&bench, [waits, short]),
        ["-", "b"],
        "b is free, and the program may have another slot"
    );
    bench.end(short);
    bench.end(at_home);
    assert_eq!(bench.place_of(waits), "a");
}

#[test]
fn one_that_lacks_room_keeps_no_smaller_one_back() {
    let rules = ["policy=fcfs", "max_calls_per_program=2", "backfill_limit=8"];
    let mut bench = Bench::with_kv(settings(&rules), "a", (8, 10));
    let [first, second] = [5, 1].map(|size| bench.sized("x", size));
    let [large, larger, small] = [6, 7, 2].map(|size| bench.sized("x", size));
    bench.end(second);
    assert_eq!(
        places(&bench, [first, large, larger, small]),
        ["a", "-", "-", "a"]
    );
    bench.end(first);
    assert_eq!(places(&bench, [large, larger]), ["a", "-"]);
}

#[test]
fn room_that_was_kept_for_a_cancelled_call_is_free_at_once() {
    let mut bench = Bench::with_kv(settings(&["policy=fcfs"]), "a", (8, 10));
    let [first, second] = [("x", 5), ("y", 1)].map(|(name, size)| bench.sized(name, size));
    let large = bench.sized("y", 6);
    bench.end(second);
    let passes = bench.sized("z", 1);
    let waits = bench.sized("z", 1);
    let all = [first, large, passes, waits];
    assert_eq!(places(&bench, all), ["a", "-", "a", "-"]);
    bench.tell(Event::CancelRequested { call: large });
    assert_eq!(bench.place_of(waits), "a");
}

#[test]
fn the_bound_holds_when_many_are_told_that_they_may_go() {
    let rules = settings(&["policy=fcfs", "max_calls_per_program=2", "home_wait=1"]);
    let mut bench = Bench::new(rules, "ab", 1);
    long(&mut bench, "x");
    let elsewhere = bench.small("x");
    let waiting: Vec<CallKey> = (0..100).map(|_| long(&mut bench, "x")).collect();
    bench.end(elsewhere);
    assert_eq!(bench.place_of(waiting[0]), "-", "its home is busy");
    bench.now += 2 * S;
    bench.tell(Event::Tick);
    assert_eq!(
        places(&bench, [waiting[0], waiting[1]]),
        ["b", "-"],
        "it need not wait for its home any longer"
    );
    for expected in &waiting[1..] {
        let seated = [engine("a"), engine("b")].map(|id| bench.engines[&id].keys().next().copied());
        let ends = seated.into_iter().flatten().min().expect("one runs");
        bench.end(ends);
        bench.now += 2 * S;
        bench.tell(Event::Tick);
        assert_ne!(bench.place_of(*expected), "-");
        let running: usize = bench.engines.values().map(|seats| seats.len()).sum();
        assert_eq!(running, 2);
    }
}
