//! Promotion, the oldest call, and the bound on one program.

use lps_api::protocol::CallState;

use super::bench::{Bench, S, settings};
use crate::message::{CallKey, Event, Intake};

/// Program x has used `service` and waits below queue 1, behind a stream of queue 1 calls that never ends.
fn waiting(rules: &[&str], service: u64) -> (Bench, CallKey) {
    let rules: Vec<&str> = ["policy=plas", "bounds=1,2"]
        .into_iter()
        .chain(rules.iter().copied())
        .collect();
    let mut bench = Bench::new(settings(&rules), "a", 1);
    let before = bench.small("x");
    bench.run(before, service);
    bench.end(before);
    let blocker = bench.small("blocker");
    bench.report(blocker, CallState::Running);
    let call = bench.small("x");
    (bench, call)
}

fn sleep_until_promoted(bench: &mut Bench, call: CallKey) {
    while bench.view(call).promotions == 0 {
        assert!(bench.now < 1_000 * S, "it is never promoted");
        bench.sleep();
    }
}

#[test]
fn wait_over_service_promotes_and_counts_anew() {
    let (mut bench, call) = waiting(&["beta=3", "service_floor=1"], 2 * S);
    assert_eq!(bench.view(call).queue, 3);
    let ready = bench.now;
    sleep_until_promoted(&mut bench, call);
    assert_eq!(bench.now - ready, 6 * S, "W 6, T 2");
    let view = bench.view(call);
    assert_eq!((view.queue, view.promotions), (1, 1));
    let explain = bench.view(call).explain.expect("it waits");
    assert_eq!(explain.wait_over_service_milli, 0);
    bench.end(CallKey(2));
    bench.run(call, 2 * S);
    assert_eq!(
        bench.view(call).service_us.0,
        2 * S,
        "what is charged is what ran"
    );
}

#[test]
fn the_floor_stands_for_service_that_is_not_there() {
    // A call in a queue below the first whose program has no service since its promotion.
    let (mut bench, call) = waiting(&["beta=3", "service_floor=1"], 2 * S);
    sleep_until_promoted(&mut bench, call);
    let other = bench.small("x");
    let ready = bench.now;
    assert_eq!(bench.view(other).queue, 3);
    sleep_until_promoted(&mut bench, other);
    // Two calls of the program wait, so its wait grows twice as fast: 3 s of it in 1.5 s.
    assert_eq!(bench.now - ready, 3 * S / 2);
    assert_eq!(bench.view(other).queue, 1);
}

#[test]
fn without_beta_only_the_cap_promotes() {
    let (mut bench, call) = waiting(&["max_queue_wait=5"], 2 * S);
    let ready = bench.now;
    sleep_until_promoted(&mut bench, call);
    assert_eq!((bench.now - ready, bench.view(call).queue), (5 * S, 1));
}

#[test]
fn other_rules_hold_for_who_waits_already() {
    for (key, value, expected) in [("max_queue_wait", "5", 5), ("beta", "3", 6)] {
        let (mut bench, call) = waiting(&["service_floor=1"], 2 * S);
        let ready = bench.now;
        let mut rules = settings(&["policy=plas", "bounds=1,2", "service_floor=1"]);
        rules.set(key, value).expect("valid");
        bench.tell(Event::PoolAdded {
            model: super::bench::model(),
            settings: rules,
            cold_start_hold: lps_api::quantity::Micros::from_secs(300),
        });
        sleep_until_promoted(&mut bench, call);
        assert_eq!(bench.now - ready, expected * S, "{key}");
    }
}

#[test]
fn nothing_is_promoted_while_no_engine_is_ready() {
    let (mut bench, call) = waiting(&["beta=3"], 2 * S);
    bench.tell(crate::message::Event::EngineIntake {
        engine: super::bench::engine("a"),
        intake: Intake::Nothing,
    });
    bench.now += 100 * S;
    bench.tell(crate::message::Event::Tick);
    assert_eq!(bench.view(call).queue, 3);
    bench.engine_up("b", (1, 100));
    assert_eq!(bench.place_of(call), "b");
}

#[test]
fn every_mth_dispatch_goes_to_the_oldest() {
    let rules = settings(&["policy=plas", "bounds=1,2", "oldest_every=3"]);
    let mut bench = Bench::new(rules, "a", 1);
    let before = bench.small("old");
    bench.run(before, 3 * S);
    bench.end(before);
    let mut running = bench.small("y0");
    let old = bench.small("old");
    let mut dispatched = 0;
    for index in 1.. {
        // There is always a call of queue 1.
        let next = bench.small(&format!("y{index}"));
        bench.run(running, S / 10);
        bench.end(running);
        dispatched += 1;
        if bench.place_of(old) == "a" {
            break;
        }
        running = next;
    }
    assert_eq!(dispatched, 1, "the third dispatch");
    let view = bench.view(old);
    assert_eq!(
        (view.queue, view.quantum_left_us.map(|left| left.0)),
        (1, Some(S))
    );
    // It keeps its slot for that quantum.
    let rival = bench.small("rival");
    assert_eq!(bench.place_of(rival), "-");
    bench.run(old, S);
    assert_eq!(bench.view(old).queue, 2);
    assert!(bench.dispatched.len() >= 4);
}

#[test]
fn a_program_holds_no_more_slots_than_it_may() {
    let rules = settings(&["policy=fcfs", "max_calls_per_program=2"]);
    let mut bench = Bench::new(rules, "a", 4);
    let wide = [0; 3].map(|_| bench.small("wide"));
    let other = bench.small("other");
    assert_eq!(wide.map(|call| bench.place_of(call)), ["a", "a", "-"]);
    assert_eq!(bench.place_of(other), "a");
    let explain = bench.view(wide[2]).explain.expect("it waits");
    assert_eq!(explain.reason.as_str(), "program_limit");
    bench.end(wide[0]);
    assert_eq!(bench.place_of(wide[2]), "a");
}
