//! What a list shows of programs and models: the call that stands first, and the longest wait.

use lps_api::quantity::Micros;

use super::bench::{Bench, S, model, program, settings};
use crate::process_table::Reason;
use crate::state::view::{FirstCall, OpenCalls, ProgramFilter, ProgramState};

fn first_call(bench: &Bench, name: &str) -> Option<FirstCall> {
    let view = bench.state.program(&program(name)).expect("known");
    view.summary.first_call
}

#[test]
fn of_a_programs_calls_one_that_waits_is_shown() {
    let mut bench = Bench::new(settings(&["policy=fcfs"]), "a", 1);
    assert_eq!(
        bench.state.open_calls(&model()),
        OpenCalls::default(),
        "nothing is there"
    );
    let running = bench.small("x");
    bench.run(running, S);
    let alone = first_call(&bench, "x").expect("it has a call");
    assert_eq!((alone.id.as_str(), alone.wait), ("c1", None));

    let held = bench.small("x");
    bench.small("y");
    bench.run(running, 2 * S);
    let shown = first_call(&bench, "x").expect("it has two");
    assert_eq!(shown.id.as_str(), format!("c{}", held.0));
    let wait = shown.wait.expect("it waits");
    assert_eq!((wait.reason, wait.wait_us.0), (Reason::NoCapacity, 2 * S));
    let calls = bench.state.open_calls(&model());
    assert_eq!((calls.waiting, calls.running), (2, 1));
    assert_eq!(calls.oldest_wait_us.map(|wait| wait.0), Some(2 * S));
    assert_eq!(calls.oldest_reason, Some(Reason::NoCapacity));

    bench.state.as_of(Micros(bench.now + S));
    let later = bench.state.open_calls(&model()).oldest_wait_us;
    assert_eq!(later.map(|wait| wait.0), Some(3 * S), "without an event");
}

#[test]
fn a_wait_in_an_engine_counts_as_well() {
    let rules = settings(&["policy=fcfs", "oversubscription=1"]);
    let mut bench = Bench::new(rules, "a", 1);
    let running = bench.small("x");
    bench.small("y");
    bench.run(running, S);
    let calls = bench.state.open_calls(&model());
    assert_eq!((calls.waiting, calls.running), (1, 1));
    assert_eq!(calls.oldest_wait_us.map(|wait| wait.0), Some(S));
    assert_eq!(calls.oldest_reason, Some(Reason::EngineQueue));
}

#[test]
fn a_list_has_programs_of_several_states_and_their_ages() {
    let mut bench = Bench::new(settings(&["policy=fcfs"]), "a", 1);
    let running = bench.small("x");
    bench.small("y");
    bench.run(running, S);
    bench.end(running);
    let listed = |states: &[ProgramState]| {
        let filter = ProgramFilter {
            states: states.to_vec(),
            ..ProgramFilter::default()
        };
        let programs = bench.state.programs(&filter).into_iter();
        let shown = programs.map(|one| (one.id.as_str().to_owned(), one.age_us.0));
        shown.collect::<Vec<_>>()
    };
    let (x, y) = (("x".to_owned(), S), ("y".to_owned(), S));
    assert_eq!(listed(&[]), [x.clone(), y.clone()]);
    assert_eq!(
        listed(&[ProgramState::Live, ProgramState::InTool]),
        [x.clone(), y]
    );
    assert_eq!(listed(&[ProgramState::InTool]), [x]);
    assert_eq!(listed(&[ProgramState::Ended]), []);
}
