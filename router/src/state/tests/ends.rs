//! How calls, programs, engines and pools end; events about what is not there.

use lps_api::ids::{CallId, ClassName, TenantId};
use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Attempt, Micros};

use super::bench::{Bench, S, Sent, engine, model, program, settings};
use crate::message::{CallKey, Event, IdentitySource, Intake, Outcome, Refusal};
use crate::process_table::{Phase, ProgramState};

fn fcfs(engines: &str, slots: u32) -> Bench {
    Bench::new(settings(&["policy=fcfs"]), engines, slots)
}

#[test]
fn a_held_call_is_cancelled_at_once_and_a_running_one_by_its_engine() {
    let mut bench = fcfs("a", 1);
    let (running, held) = (bench.small("x"), bench.small("x"));
    bench.run(running, S);
    bench.tell(Event::ProgramCancel {
        program: program("x"),
    });
    assert_eq!(bench.refused, [(held, Refusal::Cancelled)]);
    assert!(bench.cancelled.contains(&running));
    let view = bench.state.program(&program("x")).expect("known");
    assert_eq!(view.summary.state, ProgramState::Ending);
    let event = bench.ended(running, Outcome::Cancelled);
    bench.tell(event);
    let view = bench.state.program(&program("x")).expect("known");
    assert_eq!(view.summary.state, ProgramState::Ended);
    assert_eq!(view.summary.service_total_us.0, S, "what ran is charged");
    assert!(view.calls.iter().all(|call| call.state == Phase::Cancelled));
}

#[test]
fn a_programs_cancel_ends_no_call_that_only_looks_as_if_it_were_its() {
    let mut bench = fcfs("a", 1);
    let running = bench.small("x");
    let sent = Sent {
        program: "x",
        prompt: 1,
        output: 1,
    };
    let guessed = bench.send_as(IdentitySource::Prefix, sent);
    bench.tell(Event::ProgramCancel {
        program: program("x"),
    });
    assert!(bench.cancelled.contains(&running) && bench.refused.is_empty());
    let event = bench.ended(running, Outcome::Cancelled);
    bench.tell(event);
    bench.end(guessed);
    assert_eq!(bench.view(guessed).state, Phase::Completed);
    let view = bench.state.program(&program("x")).expect("known");
    assert_eq!(view.summary.state, ProgramState::Ended);
}

#[test]
fn calls_of_a_lost_engine_go_elsewhere_or_end() {
    let mut bench = fcfs("ab", 1);
    let (first, second) = (bench.small("x"), bench.small("y"));
    bench.tell(Event::EngineGone {
        engine: engine("a"),
    });
    bench.fail_attempt(first);
    assert_eq!(bench.place_of(first), "-");
    bench.end(second);
    assert_eq!(
        (bench.place_of(first).as_str(), bench.view(first).attempt),
        ("b", Attempt(1))
    );
    bench.end(first);
    assert_eq!(bench.demand().load(), 0);
}

#[test]
fn an_engine_that_comes_again_by_its_name_starts_empty() {
    let mut bench = fcfs("a", 1);
    let call = bench.small("x");
    bench.tell(Event::EngineGone {
        engine: engine("a"),
    });
    bench.engine_up("a", (1, 1 << 30));
    let next = bench.small("y");
    assert_eq!(bench.place_of(next), "a");
    bench.fail_attempt(call);
    bench.end(next);
    assert_eq!(bench.place_of(call), "a");
}

#[test]
fn without_an_engine_calls_are_held_for_a_while() {
    let mut bench = fcfs("", 1);
    bench.tell(Event::PoolAdded {
        model: model(),
        settings: settings(&["policy=fcfs"]),
        cold_start_hold: Micros(10 * S),
    });
    bench.now = S;
    let call = bench.small("x");
    let explain = bench.view(call).explain.expect("it waits");
    assert_eq!(explain.reason.as_str(), "engine_starting");
    bench.sleep();
    assert_eq!(
        (bench.now, &bench.refused[..]),
        (11 * S, &[(call, Refusal::NoEngine)][..])
    );
    let late = bench.small("x");
    bench.engine_up("a", (1, 100));
    assert_eq!(bench.place_of(late), "a");
}

#[test]
fn a_pool_that_goes_refuses_what_it_holds() {
    let mut bench = fcfs("a", 1);
    let (running, held) = (bench.small("x"), bench.small("y"));
    bench.tell(Event::PoolRemoved { model: model() });
    let late = bench.small("z");
    assert_eq!(
        bench.refused,
        [(held, Refusal::NoPool), (late, Refusal::NoPool)]
    );
    bench.end(running);
    bench.tell(Event::EngineGone {
        engine: engine("a"),
    });
    assert!(bench.state.engine_loads().is_empty());
}

#[test]
fn other_rules_change_how_calls_stand() {
    let mut bench = fcfs("a", 1);
    let running = bench.small("x");
    bench.run(running, 3 * S);
    let held = bench.small("x");
    assert_eq!(bench.view(held).p_us.0, 0);
    for rules in [
        &["policy=plas", "bounds=1,2"][..],
        &["policy=fcfs"],
        &["policy=mlfq"],
    ] {
        bench.tell(Event::PoolAdded {
            model: model(),
            settings: settings(rules),
            cold_start_hold: Micros(10 * S),
        });
    }
    bench.end(running);
    assert_eq!(bench.place_of(held), "a");
}

#[test]
fn wait_is_told_by_reason() {
    let mut bench = fcfs("a", 1);
    let (running, held) = (bench.small("x"), bench.small("y"));
    bench.run(running, 2 * S);
    bench.end(running);
    bench.run(held, S);
    bench.end(held);
    let view = bench.view(held);
    let waits: Vec<_> = view
        .waits
        .iter()
        .map(|wait| (wait.reason.as_str(), wait.wait_us.0))
        .collect();
    assert_eq!(
        (view.wait_us.0, waits),
        (2 * S, vec![("no_capacity", 2 * S)])
    );
    assert_eq!(
        bench
            .state
            .program(&program("y"))
            .expect("known")
            .summary
            .wait_total_us
            .0,
        2 * S
    );
    let waited: u64 = bench
        .state
        .waits(&model())
        .iter()
        .map(|wait| wait.wait_us.0)
        .sum();
    assert_eq!(waited, 2 * S);
}

#[test]
fn an_answer_without_reports_waited_until_it_ran() {
    let mut bench = fcfs("a", 1);
    let call = bench.small("x");
    bench.now = 5 * S;
    bench.used.insert(call, 2 * S);
    bench.end(call);
    let view = bench.view(call);
    assert_eq!((view.wait_us.0, view.service_us.0), (3 * S, 2 * S));
}

#[test]
fn a_program_that_ends_frees_its_homes_pages() {
    let mut bench = fcfs("a", 1);
    let class = ClassName::unnamed();
    bench.tell(Event::ProgramOpened {
        program: program("x"),
        class,
        ttl: None,
        blocks: None,
    });
    let call = bench.sized("x", 5_000);
    bench.end(call);
    assert!(bench.released.is_empty());
    bench.tell(Event::ProgramEnd {
        program: program("x"),
    });
    assert_eq!(bench.released, [engine("a")]);
}

#[test]
fn events_about_what_is_not_there_are_harmless() {
    let mut bench = fcfs("a", 1);
    let (call, attempt) = (CallKey(99), Attempt(0));
    let usage = CallUsage::default();
    for event in [
        Event::Progress {
            call,
            attempt,
            state: CallState::Running,
            usage,
        },
        Event::Ended {
            call,
            attempt,
            outcome: Outcome::Failed,
            usage: Some(usage),
        },
        Event::AttemptFailed { call, attempt },
        Event::CancelRequested { call },
        Event::ProgramEnd {
            program: program("nobody"),
        },
        Event::ProgramCancel {
            program: program("nobody"),
        },
        Event::EngineGone {
            engine: engine("nobody"),
        },
        Event::EngineIntake {
            engine: engine("nobody"),
            intake: Intake::Nothing,
        },
        Event::Tick,
    ] {
        bench.tell(event);
    }
    let held = bench.small("x");
    bench.end(held);
    assert!(bench.state.program(&program("nobody")).is_none());
}

#[test]
fn a_cancelled_call_is_not_tried_again() {
    let mut bench = fcfs("ab", 1);
    let call = bench.small("x");
    bench.tell(Event::CancelRequested { call });
    bench.fail_attempt(call);
    assert_eq!(bench.refused, [(call, Refusal::Cancelled)]);
    assert_eq!(bench.place_of(call), "-");
}

#[test]
fn a_call_of_a_removed_pool_is_not_tried_again() {
    let mut bench = fcfs("ab", 1);
    let call = bench.small("x");
    bench.tell(Event::PoolRemoved { model: model() });
    bench.fail_attempt(call);
    assert_eq!(bench.refused, [(call, Refusal::NoPool)]);
}

#[test]
fn a_pause_before_another_try_has_its_own_reason() {
    let mut bench = fcfs("ab", 1);
    let call = bench.small("x");
    let attempt = Attempt(0);
    bench.tell(Event::BackedOff { call, attempt });
    let explain = bench.view(call).explain.expect("it waits");
    assert_eq!(
        (explain.reason.as_str(), explain.engine),
        ("retry_backoff", Some(engine("a")))
    );
    bench.now = S;
    bench.fail_attempt(call);
    bench.tell(Event::BackedOff { call, attempt });
    let explain = bench.view(call).explain.expect("it waits in its engine");
    assert_eq!(
        explain.reason.as_str(),
        "engine_queue",
        "the old attempt says nothing"
    );
    let waits: Vec<_> = bench
        .view(call)
        .waits
        .iter()
        .map(|wait| (wait.reason.as_str(), wait.wait_us.0))
        .collect();
    assert_eq!(waits, [("retry_backoff", S)]);
}

#[test]
fn a_wake_that_comes_late_does_not_eat_the_next_one() {
    let mut bench = fcfs("a", 1);
    for program in ["x", "y"] {
        let call = bench.small(program);
        bench.end(call);
        bench.now += 1_000_000;
    }
    let first = bench.wake.expect("the first one expires");
    bench.now = first.0 + 1;
    // Something else comes just before the tick that is due: the wake for the second is asked for, and passed over.
    bench.tell(Event::ProgramEnd {
        program: program("nobody"),
    });
    bench.wake = None;
    bench.tell(Event::Tick);
    bench.sleep();
    for name in ["x", "y"] {
        let view = bench.state.program(&program(name)).expect("it is kept");
        assert_eq!(view.summary.state, ProgramState::Expired, "{name}");
    }
}

#[test]
fn who_goes_on_from_a_call_that_another_went_on_from_is_a_fork() {
    let mut bench = fcfs("a", 4);
    let is_fork = |bench: &Bench, call: CallKey| {
        let name = CallId::parse(&format!("c{}", call.0)).expect("a name");
        let before = bench.state.before(&TenantId::anonymous(), (&name, call));
        before.expect("it is known").is_fork
    };
    let first = bench.small("x");
    bench.end(first);
    assert!(!is_fork(&bench, first));
    let second = bench.small("x");
    assert!(is_fork(&bench, first) && !is_fork(&bench, second));
    bench.tell(Event::CancelRequested { call: second });
    assert!(!is_fork(&bench, first), "it is cut off already");
    let event = bench.ended(second, Outcome::Cancelled);
    bench.tell(event);
    assert!(!is_fork(&bench, first), "who was cut off tries again");
    let third = bench.small("x");
    bench.end(third);
    assert!(is_fork(&bench, first) && !is_fork(&bench, third));
}

#[test]
fn each_program_that_ends_is_told_once_however_many_end_together() {
    const MANY: usize = 2_000;
    let mut bench = fcfs("a", 1);
    let open = |name: usize| Event::ProgramOpened {
        program: program(&format!("p{name}")),
        class: ClassName::unnamed(),
        ttl: Some(Micros(S)),
        blocks: None,
    };
    bench.tell_all((0..MANY).map(open).collect());
    assert_eq!(bench.state.ended_programs(2).count(), 0);
    bench.now += 2 * S;
    bench.tell(Event::Tick);
    let ended: Vec<_> = bench.state.ended_programs(2).collect();
    assert_eq!(ended.len(), MANY);
    let states = ended.iter().map(|program| program.summary.state);
    assert!(states.clone().all(|state| state == ProgramState::Expired));
    bench.tell(Event::Tick);
    assert_eq!(bench.state.ended_programs(2).count(), 0);
    let kept = |number: &usize| {
        let name = program(&format!("p{number}"));
        bench.state.program(&name).is_some()
    };
    assert_eq!((0..MANY).filter(kept).count(), 1_000, "the last ones");
}

#[test]
fn a_program_whose_calls_are_its_childs_is_told_with_them() {
    let mut bench = fcfs("a", 1);
    let open = |name, blocks: Option<&str>| Event::ProgramOpened {
        program: program(name),
        class: ClassName::unnamed(),
        ttl: None,
        blocks: blocks.map(program),
    };
    bench.tell(open("parent", None));
    bench.tell(open("child", Some("parent")));
    let call = bench.small("child");
    let child = program("child");
    assert_eq!(bench.state.resolve(&child), &program("parent"));
    bench.end(call);
    bench.tell(Event::ProgramEnd {
        program: program("parent"),
    });
    let ended: Vec<_> = bench.state.ended_programs(2).collect();
    let told = ended
        .iter()
        .map(|program| (program.summary.id.as_str(), program.calls.len()));
    assert_eq!(told.collect::<Vec<_>>(), [("parent", 1)]);
}
