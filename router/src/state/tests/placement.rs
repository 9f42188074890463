//! Which engine: the known table, homes that die, drain or are busy.

use lps_api::ids::{EngineId, Revision};

use super::bench::{Bench, S, Sent, engine, model, program, settings};
use crate::message::{CallKey, Event, Intake};

const SHORT: u32 = 2048;
const LONG: u32 = 2049;

fn home(bench: &Bench, name: &str) -> Option<EngineId> {
    let homes = bench
        .state
        .program(&program(name))
        .expect("known")
        .home_engines;
    homes
        .iter()
        .find(|home| home.model == model())
        .map(|home| home.engine.clone())
}

fn send(bench: &mut Bench, program: &str, prompt: u32) -> CallKey {
    bench.send(Sent {
        program,
        prompt,
        output: 0,
    })
}

#[test]
fn the_known_table() {
    let mut bench = Bench::new(settings(&["policy=fcfs"]), "ab", 4);
    let first = send(&mut bench, "other", SHORT);
    assert_eq!(
        bench.place_of(first),
        "a",
        "tie: the engine that joined first"
    );
    let short = send(&mut bench, "x", SHORT);
    assert_eq!(
        (bench.place_of(short).as_str(), home(&bench, "x")),
        ("b", None),
        "least used"
    );
    let second = send(&mut bench, "other", SHORT);
    assert_eq!(bench.place_of(second), "a");
    let long = send(&mut bench, "x", LONG);
    assert_eq!(
        (bench.place_of(long).as_str(), home(&bench, "x")),
        ("b", Some(engine("b")))
    );
    let next = send(&mut bench, "x", LONG);
    assert_eq!(bench.place_of(next), "b", "home, even if busier");
    bench.tell(Event::EngineGone {
        engine: engine("b"),
    });
    let after = send(&mut bench, "x", LONG);
    assert_eq!(
        (bench.place_of(after).as_str(), home(&bench, "x")),
        ("a", Some(engine("a")))
    );
}

#[test]
fn a_draining_home_is_left_at_once() {
    let mut bench = Bench::new(settings(&["policy=fcfs"]), "ab", 4);
    send(&mut bench, "x", LONG);
    bench.tell(Event::EngineIntake {
        engine: engine("a"),
        intake: Intake::Nothing,
    });
    let next = send(&mut bench, "x", LONG);
    assert_eq!(
        (bench.place_of(next).as_str(), home(&bench, "x")),
        ("b", Some(engine("b")))
    );
}

#[test]
fn a_program_stays_on_the_revision_that_it_began_on() {
    let (old, new) = (Revision(1), Revision(2));
    let mut bench = Bench::new(settings(&["policy=fcfs"]), "", 4);
    bench.engine_up_of("a", old, (4, 1 << 30));
    bench.engine_up_of("b", old, (4, 1 << 30));
    let first = send(&mut bench, "x", SHORT);
    assert_eq!(bench.place_of(first), "a");
    bench.end(first);
    bench.engine_up_of("c", new, (4, 1 << 30));
    let intake = |bench: &mut Bench, name: &str, intake| {
        bench.tell(Event::EngineIntake {
            engine: engine(name),
            intake,
        });
    };
    intake(&mut bench, "a", Intake::Pinned);
    let next = send(&mut bench, "x", SHORT);
    assert_eq!(bench.place_of(next), "b", "another of its revision is open");
    intake(&mut bench, "b", Intake::Pinned);
    let last = send(&mut bench, "x", LONG);
    assert_eq!(bench.place_of(last), "a", "only draining ones are left");
    let fresh = send(&mut bench, "y", SHORT);
    assert_eq!(bench.place_of(fresh), "c", "new programs take the new one");
    let pinned = |bench: &Bench| -> Vec<u64> {
        let loads = bench.state.engine_loads();
        loads.iter().map(|load| load.pinned_programs).collect()
    };
    assert_eq!(pinned(&bench), [1, 1, 0]);
    intake(&mut bench, "a", Intake::Nothing);
    bench.tell(Event::EngineGone {
        engine: engine("b"),
    });
    let moved = send(&mut bench, "x", SHORT);
    assert_eq!(bench.place_of(moved), "c", "its revision is gone");
    assert_eq!(pinned(&bench), [0, 0], "it is of the new one now");
}

#[test]
fn a_drain_is_taken_back() {
    let mut bench = Bench::new(settings(&["policy=fcfs"]), "a", 4);
    for (intake, place) in [
        (Intake::Pinned, "-"),
        (Intake::All, "a"),
        (Intake::Nothing, "-"),
    ] {
        bench.tell(Event::EngineIntake {
            engine: engine("a"),
            intake,
        });
        let fresh = send(&mut bench, &format!("{intake:?}"), SHORT);
        assert_eq!(bench.place_of(fresh), place, "{intake:?}");
        bench.tell(Event::CancelRequested { call: fresh });
    }
}

#[test]
fn a_saturated_home_is_waited_for_and_then_left() {
    let mut bench = Bench::new(settings(&["policy=fcfs", "home_wait=8"]), "ab", 1);
    send(&mut bench, "x", LONG);
    let next = send(&mut bench, "x", LONG);
    assert_eq!(bench.place_of(next), "-");
    let explain = bench.view(next).explain.expect("it waits");
    assert_eq!(
        (explain.reason.as_str(), explain.engine),
        ("home_busy", Some(engine("a")))
    );
    bench.sleep();
    assert_eq!((bench.now, bench.place_of(next).as_str()), (8 * S, "b"));
    assert_eq!(
        (home(&bench, "x"), bench.view(next).moved),
        (Some(engine("b")), true)
    );
}

#[test]
fn a_home_is_kept_where_no_other_engine_has_a_slot() {
    let mut bench = Bench::new(settings(&["policy=fcfs", "home_wait=8"]), "ab", 1);
    let first = send(&mut bench, "x", LONG);
    send(&mut bench, "y", SHORT);
    let next = send(&mut bench, "x", LONG);
    bench.now = 20 * S;
    bench.tell(Event::Tick);
    assert_eq!(bench.place_of(next), "-");
    bench.end(first);
    assert_eq!(
        (bench.place_of(next).as_str(), bench.view(next).moved),
        ("a", false)
    );
}

#[test]
fn a_home_with_a_displaceable_call_is_not_saturated() {
    let rules = settings(&["policy=plas", "bounds=1,2"]);
    let mut bench = Bench::new(rules, "ab", 1);
    let first = send(&mut bench, "x", LONG);
    bench.end(first);
    let victim = send(&mut bench, "y", SHORT);
    bench.run(victim, 3 * S);
    let next = send(&mut bench, "x", LONG);
    assert_eq!(bench.place_of(victim), "a");
    assert_eq!(bench.place_of(next), "a");
}

#[test]
fn a_free_slot_is_preferred_to_another_calls_slot() {
    let mut bench = Bench::new(settings(&["policy=plas", "bounds=1,2"]), "ab", 1);
    let old = bench.small("x");
    bench.run(old, 3 * S);
    let next = bench.small("y");
    assert_eq!(bench.place_of(next), "b");
}
