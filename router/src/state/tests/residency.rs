//! The working set: who is admitted, who keeps its place between two calls, and who has to go.

use lps_api::ids::{CallId, ThreadId};
use lps_api::protocol::CallState;

use super::bench::{Bench, S, Sent, engine, program, settings};
use crate::message::{CallKey, Event, Parents};

/// One engine of 100 KV tokens that admits up to 90, with plenty of slots.
fn bench(rules: &[&str]) -> Bench {
    with_engines(rules, "a")
}

fn with_engines(rules: &[&str], engines: &str) -> Bench {
    let on = ["policy=fcfs", "working_set=on", "locality_threshold=0"];
    let rules: Vec<&str> = on.into_iter().chain(rules.iter().copied()).collect();
    Bench::with_kv(settings(&rules), engines, (8, 100))
}

/// A program calls once and is between two calls; it lives for long.
fn quiet(bench: &mut Bench, name: &str, tokens: u32) {
    open(bench, name);
    let call = bench.sized(name, tokens);
    assert_eq!(bench.place_of(call), "a", "{name}");
    bench.end(call);
}

fn open(bench: &mut Bench, name: &str) {
    bench.tell(Event::ProgramOpened {
        program: program(name),
        class: lps_api::ids::ClassName::unnamed(),
        ttl: Some(lps_api::quantity::Micros(u64::MAX)),
        blocks: None,
    });
}

fn reason(bench: &Bench, call: CallKey) -> &'static str {
    bench.view(call).explain.expect("it waits").reason.as_str()
}

fn used(bench: &Bench) -> u64 {
    bench.state.engine_loads()[0].kv_resident_tokens
}

#[test]
fn programs_are_admitted_up_to_the_watermark_with_what_they_expect() {
    let mut bench = bench(&[]);
    let first = bench.send(Sent {
        program: "x",
        prompt: 40,
        output: 20,
    });
    let second = bench.sized("y", 55);
    assert_eq!([first, second].map(|call| bench.place_of(call)), ["a", "-"]);
    assert_eq!(reason(&bench, second), "working_set");
    bench.end(first);
    assert_eq!(
        bench.place_of(second),
        "-",
        "its program is between two calls"
    );
    assert_eq!(used(&bench), 41, "what it left: the prompt and one token");
    bench.sleep();
    assert_eq!((bench.now, bench.place_of(second).as_str()), (10 * S, "a"));
    assert!(
        bench.released.is_empty(),
        "its pages age, for it comes back"
    );
}

#[test]
fn calls_of_a_resident_program_flow() {
    let mut bench = bench(&[]);
    quiet(&mut bench, "x", 50);
    let newcomer = bench.sized("y", 60);
    let next = bench.sized("x", 70);
    assert_eq!(
        [newcomer, next].map(|call| bench.place_of(call)),
        ["-", "a"]
    );
    bench.end(next);
    let last = bench.sized("x", 98);
    assert_eq!(bench.place_of(last), "a", "growth may use the whole pool");
}

#[test]
fn growth_beyond_the_pool_pauses_the_smallest_quiet_program() {
    let mut bench = bench(&[]);
    quiet(&mut bench, "x", 20);
    quiet(&mut bench, "y", 30);
    let grows = bench.sized("z", 30);
    bench.report(grows, CallState::Running);
    bench.end(grows);
    let next = bench.sized("z", 60);
    assert_eq!(bench.place_of(next), "a");
    assert_eq!(
        used(&bench),
        31 + 60,
        "x lost its place although its lease runs"
    );
    assert!(bench.released.is_empty());
    let back = bench.sized("x", 21);
    assert_eq!(
        (bench.place_of(back).as_str(), reason(&bench, back)),
        ("-", "working_set")
    );
}

#[test]
fn a_stream_in_flight_is_never_paused() {
    let mut bench = bench(&[]);
    let [x, y] = ["x", "y"].map(|name| bench.sized(name, 40));
    let seats = [x, y].map(|call| bench.place_of(call));
    assert_eq!(seats, ["a", "a"]);
    let wide = bench.sized("x", 50);
    assert_eq!(bench.place_of(wide), "-", "no pages, and nobody gives way");
    assert_eq!([x, y].map(|call| bench.place_of(call)), ["a", "a"]);
    assert!(bench.cancelled.is_empty() && bench.released.is_empty());
}

#[test]
fn the_policy_decides_who_is_admitted_not_who_ran_before() {
    let mut bench = bench(&["acting_lease=0"]);
    quiet(&mut bench, "old", 50);
    let blocker = bench.sized("big", 80);
    assert_eq!(bench.place_of(blocker), "a");
    let newcomer = bench.sized("new", 50);
    let resumed = bench.sized("old", 51);
    bench.end(blocker);
    assert_eq!(
        [newcomer, resumed].map(|call| bench.place_of(call)),
        ["a", "-"]
    );
    bench.end(newcomer);
    assert_eq!(bench.place_of(resumed), "a");
}

#[test]
fn programs_that_lost_their_engine_are_admitted_by_the_policy() {
    let rules = [
        "policy=plas",
        "working_set=on",
        "locality_threshold=0",
        "oversubscription=0",
    ];
    let mut bench = Bench::with_kv(settings(&rules), "a", (1, 100));
    open(&mut bench, "old");
    let first = bench.sized("old", 10);
    bench.run(first, 20 * S);
    bench.end(first);
    // The last engine goes, and what it kept with it; calls are held.
    bench.engines.clear();
    bench.tell(Event::EngineGone {
        engine: engine("a"),
    });
    let resumed = bench.sized("old", 20);
    let newcomer = bench.sized("new", 20);
    bench.engine_up("a", (1, 100));
    assert_eq!(
        [newcomer, resumed].map(|call| bench.place_of(call)),
        ["a", "-"],
        "the newcomer has had less service"
    );
    bench.end(newcomer);
    assert_eq!(bench.place_of(resumed), "a");
}

#[test]
fn a_program_over_the_watermark_comes_alone() {
    let mut bench = bench(&[]);
    let first = bench.sized("x", 10);
    let large = bench.sized("y", 95);
    let third = bench.sized("z", 10);
    assert_eq!(
        [first, large, third].map(|call| bench.place_of(call)),
        ["a", "-", "a"]
    );
    bench.end(first);
    assert_eq!(bench.place_of(large), "-", "z is there");
    bench.end(third);
    assert_eq!(
        bench.place_of(large),
        "a",
        "quiet ones go, whatever their leases"
    );
    assert_eq!(bench.state.residency(&super::bench::model()).forced, 1);
}

#[test]
fn so_many_may_be_admitted_past_one_that_lacks_room() {
    let mut bench = bench(&["backfill_limit=2", "acting_lease=0"]);
    let blocker = bench.sized("x", 40);
    let large = bench.sized("y", 60);
    let mut passed = 0;
    loop {
        let small = bench.sized(&format!("s{passed}"), 5);
        if bench.place_of(small) == "-" {
            break;
        }
        passed += 1;
        assert!(passed < 9, "nobody keeps room for the larger one");
        bench.end(small);
    }
    assert_eq!((passed, bench.place_of(large).as_str()), (3, "-"));
    bench.end(blocker);
    assert_eq!(bench.place_of(large), "a");
}

/// Found by the simulator: each was kept out for the other, and the engine was idle.
#[test]
fn a_new_program_for_which_room_is_kept_has_it_though_one_that_ran_waits_before_it() {
    let rules = [
        "policy=program-fcfs",
        "backfill_limit=0",
        "acting_lease=0",
        "home_wait=1",
    ];
    let mut bench = bench(&rules);
    quiet(&mut bench, "old", 50);
    let blocker = bench.sized("big", 80);
    let kept = bench.sized("new", 60);
    let passes = bench.sized("small", 5);
    let resumes = bench.sized("old", 51);
    let all = [blocker, kept, passes, resumes];
    assert_eq!(all.map(|call| bench.place_of(call)), ["a", "-", "a", "-"]);
    // It need not wait for its home any longer, so that every engine is asked, the kept one among them.
    bench.now += 2 * S;
    bench.tell(Event::Tick);
    bench.end(blocker);
    let both = [kept, resumes];
    assert_eq!(both.map(|call| bench.place_of(call)), ["a", "-"]);
    bench.end(kept);
    assert_eq!(bench.place_of(resumes), "a");
}

#[test]
fn threads_that_end_in_a_call_keep_nothing() {
    let mut bench = bench(&[]);
    open(&mut bench, "x");
    let send = |bench: &mut Bench, thread: &str, parents: &[&str]| {
        let sent = Sent {
            program: "x",
            prompt: 20,
            output: 0,
        };
        let Event::CallArrived(mut call) = bench.call(sent) else {
            panic!("a call")
        };
        let names = parents
            .iter()
            .map(|name| CallId::parse(name).expect("a name"));
        call.parents = Parents::Named(names.collect());
        call.thread = ThreadId::parse(thread).expect("a name");
        let key = call.key;
        bench.tell(Event::CallArrived(call));
        bench.end(key);
    };
    send(&mut bench, "left", &[]);
    send(&mut bench, "right", &[]);
    assert_eq!(used(&bench), 21 + 21, "either may go on");
    send(&mut bench, "main", &["c1", "c2"]);
    assert_eq!(used(&bench), 21, "both ended in it");
}

#[test]
fn a_pause_ends_after_a_while_whatever_there_is() {
    let mut bench = bench(&["max_pause=60"]);
    let busy = bench.sized("x", 60);
    let waits = bench.sized("y", 35);
    assert_eq!([busy, waits].map(|call| bench.place_of(call)), ["a", "-"]);
    while bench.place_of(waits) == "-" {
        assert!(bench.now <= 60 * S);
        bench.sleep();
    }
    assert_eq!(bench.now, 60 * S);
    assert_eq!(bench.state.residency(&super::bench::model()).forced, 1);
}

#[test]
fn a_paused_program_waits_for_its_home_and_then_moves_to_where_there_is_room() {
    let mut bench = with_engines(&["home_wait=8", "acting_lease=0"], "ab");
    quiet(&mut bench, "x", 50);
    let [first, second] = ["y", "z"].map(|name| bench.sized(name, 80));
    assert_eq!([first, second].map(|call| bench.place_of(call)), ["b", "a"]);
    let back = bench.sized("x", 51);
    assert_eq!(
        (bench.place_of(back).as_str(), reason(&bench, back)),
        ("-", "working_set")
    );
    bench.end(first);
    assert_eq!(bench.place_of(back), "-", "its home may have room soon");
    bench.now = 8 * S;
    bench.tell(Event::Tick);
    assert_eq!(
        (bench.place_of(back).as_str(), bench.view(back).moved),
        ("b", true)
    );
}

#[test]
fn an_oldest_call_is_not_admitted_for_its_age() {
    let mut bench = bench(&["oldest_every=1"]);
    let busy = bench.sized("x", 60);
    let old = bench.sized("y", 35);
    bench.now = 100 * S;
    let young = bench.sized("z", 20);
    assert_eq!(
        [busy, old, young].map(|call| bench.place_of(call)),
        ["a", "-", "a"]
    );
}

#[test]
fn a_program_that_ends_gives_its_place_back_at_once() {
    let mut bench = bench(&[]);
    quiet(&mut bench, "x", 60);
    let waits = bench.sized("y", 60);
    assert_eq!(bench.place_of(waits), "-");
    bench.tell(Event::ProgramEnd {
        program: program("x"),
    });
    assert_eq!(bench.place_of(waits), "a");
    assert_eq!(bench.released, [engine("a")]);
}

#[test]
fn what_an_engine_kept_goes_with_it() {
    let mut bench = with_engines(&[], "ab");
    quiet(&mut bench, "x", 60);
    bench.tell(Event::EngineGone {
        engine: engine("a"),
    });
    let next = bench.sized("x", 61);
    assert_eq!(bench.place_of(next), "b");
    bench.engine_up("a", (8, 100));
    assert_eq!(
        bench
            .state
            .engine_loads()
            .iter()
            .map(|load| load.kv_resident_tokens)
            .max(),
        Some(61)
    );
}

/// Found by the property tests: the newcomer's line was closed before the call that made the room.
#[test]
fn a_call_that_takes_less_than_its_thread_had_makes_room_at_once() {
    let mut bench = bench(&[]);
    quiet(&mut bench, "x", 50);
    let busy = bench.sized("y", 30);
    let newcomer = bench.sized("z", 15);
    assert_eq!(
        [busy, newcomer].map(|call| bench.place_of(call)),
        ["a", "-"]
    );
    let shorter = bench.sized("x", 20);
    assert_eq!(
        [shorter, newcomer].map(|call| bench.place_of(call)),
        ["a", "a"]
    );
    assert_eq!(used(&bench), 30 + 20 + 15);
}

/// Found by the property tests: a call that waited for its home stood among those whose programs are admitted there.
#[test]
fn a_program_that_goes_on_elsewhere_is_to_be_admitted_anew_at_its_home() {
    let rules = settings(&["policy=fcfs", "working_set=on", "home_wait=none"]);
    let mut bench = Bench::with_kv(rules, "ab", (1, 10_000));
    open(&mut bench, "x");
    let (first, short) = (bench.sized("x", 2_500), bench.sized("x", 10));
    bench.end(first);
    let other = bench.sized("y", 10);
    let (waits, next) = (bench.sized("x", 2_500), bench.sized("x", 10));
    let all = [short, other, waits, next];
    assert_eq!(all.map(|call| bench.place_of(call)), ["b", "a", "-", "-"]);
    bench.end(short);
    assert_eq!([waits, next].map(|call| bench.place_of(call)), ["-", "b"]);
    bench.end(other);
    assert_eq!(bench.place_of(waits), "a");
}

#[test]
fn an_attempt_that_failed_keeps_its_programs_place() {
    let mut bench = bench(&[]);
    let call = bench.sized("x", 60);
    bench.fail_attempt(call);
    assert_eq!(bench.place_of(call), "a");
    assert_eq!(used(&bench), 60);
}
