//! Bounds, quanta, demotion and preemption.

use super::bench::{Bench, S, Sent, engine, program, settings};

#[test]
fn a_call_enters_the_queue_that_holds_p() {
    for (attained, queue) in [
        (0, 1),
        (1_999_000, 1),
        (2 * S, 2),
        (4 * S, 3),
        (7_990_000, 3),
        (8 * S, 4),
    ] {
        let mut bench = Bench::new(settings(&["policy=plas", "bounds=2,4,8"]), "a", 4);
        let before = bench.small("x");
        bench.run(before, attained);
        bench.end(before);
        let call = bench.small("x");
        assert_eq!(
            (bench.view(call).p_us.0, bench.view(call).queue),
            (attained, queue)
        );
    }
}

#[test]
fn one_call_falls_from_queue_to_queue() {
    let rules = settings(&["policy=plas", "bounds=2,4,8", "quanta=2,2,4,none"]);
    let mut bench = Bench::new(rules, "a", 1);
    let call = bench.small("x");
    let mut queues = Vec::new();
    for _ in 0..10 {
        queues.push(bench.view(call).queue);
        bench.run(call, S);
    }
    assert_eq!(queues, [1, 1, 2, 2, 3, 3, 3, 3, 4, 4]);
    assert_eq!(bench.view(call).quantum_left_us, None);
}

#[test]
fn a_late_report_falls_as_far_as_timely_ones() {
    let rules = settings(&["policy=plas", "bounds=2,4,8", "quanta=2,2,4,none"]);
    let mut bench = Bench::new(rules, "a", 1);
    let call = bench.small("x");
    bench.run(call, 5 * S);
    let view = bench.view(call);
    assert_eq!((view.queue, view.demotions), (3, 2));
    assert_eq!(view.quantum_left_us.map(|left| left.0), Some(3 * S));
}

#[test]
fn mlfq_counts_the_calls_own_service_only() {
    let mut bench = Bench::new(settings(&["policy=mlfq", "bounds=2,4"]), "a", 2);
    let call = bench.small("x");
    bench.run(call, 9 * S);
    assert_eq!(bench.view(call).queue, 3);
    bench.end(call);
    let next = bench.small("x");
    assert_eq!((bench.view(next).queue, bench.view(next).p_us.0), (1, 0));
}

#[test]
fn a_better_queue_displaces_the_last_of_a_worse_one_in_one_message() {
    let mut bench = Bench::new(settings(&["policy=plas", "bounds=2,4"]), "a", 2);
    let (old, older) = (bench.small("x"), bench.small("y"));
    bench.run(old, 3 * S);
    bench.run(older, 2 * S);
    assert_eq!((bench.view(old).queue, bench.view(older).queue), (2, 2));
    let (first, second, third) = (bench.small("u"), bench.small("v"), bench.small("w"));
    let seats = [first, second, third].map(|call| bench.place_of(call));
    assert_eq!(
        seats,
        ["a", "a", "-"],
        "queue 1 has both slots, and displaces none of its own"
    );
    let worst = bench.seat(older).expect("it stays at its engine").1.order;
    assert!(bench.seat(first).expect("there").1.order < worst);
}

#[test]
fn a_demoted_call_gives_its_slot_to_whoever_stands_before_it() {
    let rules = settings(&["policy=plas", "bounds=1,2", "quanta=1,1,none"]);
    let mut bench = Bench::new(rules, "a", 1);
    let first = bench.small("x");
    bench.run(first, S);
    let second = bench.small("y");
    bench.run(second, S);
    assert_eq!((bench.view(first).queue, bench.view(second).queue), (2, 2));
    let held = bench.small("z");
    bench.run(held, S);
    assert_eq!(bench.place_of(held), "a");
    // All three stand in queue 2 now, in the order of their demotion.
    let orders = [first, second, held].map(|call| bench.seat(call).expect("there").1.order);
    assert!(orders.is_sorted());
}

#[test]
fn a_demoted_call_gives_its_slot_to_whoever_is_held_before_it() {
    let mut bench = Bench::new(settings(&["policy=plas", "bounds=1,2"]), "a", 1);
    let before = bench.small("y");
    bench.run(before, S);
    bench.end(before);
    let running = bench.small("x");
    let held = bench.small("y");
    assert_eq!(
        (bench.view(held).queue, bench.place_of(held)),
        (2, "-".to_owned())
    );
    bench.run(running, S);
    assert_eq!(bench.view(running).queue, 2, "behind the one that is held");
    assert_eq!(bench.place_of(held), "a");
    let [first, second] = [held, running].map(|call| bench.seat(call).expect("there").1.order);
    assert!(first < second);
}

#[test]
fn without_preemption_a_running_call_keeps_its_slot() {
    for rules in [
        settings(&["policy=plas", "bounds=2,4", "preemption=off"]),
        settings(&["policy=fcfs"]),
        settings(&["policy=program-fcfs"]),
    ] {
        let mut bench = Bench::new(rules, "a", 1);
        let running = bench.small("x");
        bench.run(running, 9 * S);
        let held = [bench.small("y"), bench.small("z")];
        assert_eq!(held.map(|call| bench.place_of(call)), ["-", "-"]);
        let order = bench.seat(running).expect("there").1.order;
        bench.end(running);
        assert_eq!(held.map(|call| bench.place_of(call)), ["a", "-"]);
        assert!(order < bench.seat(held[0]).expect("there").1.order);
    }
}

#[test]
fn program_fcfs_goes_by_the_programs_arrival() {
    let mut bench = Bench::new(settings(&["policy=program-fcfs"]), "a", 1);
    let first = bench.small("x");
    bench.now += S;
    let second = bench.small("y");
    bench.now += S;
    let third = bench.small("x");
    bench.run(first, S);
    bench.end(first);
    assert_eq!([second, third].map(|call| bench.place_of(call)), ["-", "a"]);
}

#[test]
fn next_calls_of_the_scan_keep_the_engine_fed() {
    let rules = settings(&["policy=plas", "bounds=2,4", "oversubscription=2"]);
    let mut bench = Bench::new(rules, "a", 1);
    let calls = ["u", "v", "w", "x"].map(|name| bench.small(name));
    assert_eq!(calls.map(|call| bench.place_of(call)), ["a", "a", "a", "-"]);
    // One that ran and lost its slot does not count.
    bench.run(calls[0], 3 * S);
    bench.run(calls[1], S / 2);
    assert_eq!(bench.place_of(calls[3]), "a");
    let explained = bench.view(calls[3]).explain.expect("it waits");
    assert_eq!(explained.reason.as_str(), "engine_queue");
}

#[test]
fn an_attempt_that_failed_takes_its_old_place_again() {
    let mut bench = Bench::new(settings(&["policy=plas", "bounds=4,8"]), "a", 1);
    let first = bench.small("x");
    let second = bench.small("y");
    bench.run(first, S);
    let before = bench.view(first);
    bench.fail_attempt(first);
    let after = bench.view(first);
    assert_eq!((before.p_us, before.queue), (after.p_us, after.queue));
    assert_eq!(after.quantum_left_us.map(|left| left.0), Some(3 * S));
    assert_eq!((after.attempt.0, after.service_us.0), (1, 0));
    assert_eq!([first, second].map(|call| bench.place_of(call)), ["a", "-"]);
    assert_eq!(
        bench
            .state
            .program(&program("x"))
            .expect("known")
            .summary
            .service_total_us
            .0,
        0
    );
}

#[test]
fn programs_take_turns_where_they_are_told_to() {
    for (rules, expected) in [
        (
            ["within_queue=arrival"],
            ["x1", "x2", "x3", "y1", "y2", "z1"],
        ),
        (
            ["within_queue=round-robin"],
            ["x1", "y1", "z1", "x2", "y2", "x3"],
        ),
    ] {
        let rules: Vec<&str> = ["policy=plas", "bounds=100"]
            .into_iter()
            .chain(rules)
            .collect();
        let mut bench = Bench::new(settings(&rules), "a", 1);
        let names = ["x1", "x2", "x3", "y1", "y2", "z1"];
        let calls = names.map(|name| bench.small(&name[..1]));
        let mut order = Vec::new();
        while let Some(running) = bench.engines.values().flat_map(|seats| seats.keys()).next() {
            let running = *running;
            order.push(
                names[calls
                    .iter()
                    .position(|call| *call == running)
                    .expect("known")],
            );
            bench.end(running);
        }
        assert_eq!(order, expected, "{rules:?}");
    }
}

#[test]
fn who_comes_later_has_no_turn_of_those_that_are_over() {
    let rules = ["policy=plas", "bounds=100", "within_queue=round-robin"];
    let mut bench = Bench::new(settings(&rules), "a", 1);
    let calls: Vec<_> = (0..6).map(|_| bench.small("x")).collect();
    for call in &calls[..3] {
        bench.end(*call);
    }
    let late = [0; 3].map(|_| bench.small("z"));
    let mut order = Vec::new();
    while let Some(running) = bench.engines[&engine("a")].keys().next().copied() {
        order.push(late.contains(&running));
        bench.end(running);
    }
    assert_eq!(
        order,
        [false, true, false, true, false, true],
        "in turns from then on"
    );
}

#[test]
fn programs_that_came_at_once_do_not_mix() {
    for policy in ["policy=program-fcfs", "policy=gittins"] {
        let mut bench = Bench::new(settings(&[policy]), "a", 1);
        let calls = ["x", "y", "x", "y"].map(|name| {
            bench.call(Sent {
                program: name,
                prompt: 1,
                output: 1,
            })
        });
        bench.tell_all(calls.to_vec());
        let mut order = Vec::new();
        while let Some(running) = bench.engines[&engine("a")].keys().next().copied() {
            order.push(running.0);
            bench.end(running);
        }
        assert_eq!(order, [1, 3, 2, 4], "{policy}");
    }
}

#[test]
fn gittins_goes_by_what_finished_programs_show() {
    let mut bench = Bench::new(settings(&["policy=gittins"]), "a", 1);
    // Half of the programs are one call of 1 s, half two: after the first second one is left.
    for index in 0..60 {
        let name = format!("p{index}");
        for _ in 0..=index % 2 {
            let call = bench.small(&name);
            bench.run(call, S);
            bench.end(call);
        }
        bench.tell(crate::message::Event::ProgramEnd {
            program: program(&name),
        });
    }
    let call = bench.small("x");
    assert_eq!(
        bench.view(call).p_us.0,
        3 * S / 2,
        "1.5 s expected until it ends"
    );
    bench.run(call, S);
    bench.end(call);
    let next = bench.small("x");
    assert_eq!(bench.view(next).p_us.0, S);
    let (late, early) = (bench.small("z"), bench.small("y"));
    bench.run(next, 9 * S);
    bench.end(next);
    let beyond = bench.small("x");
    assert_eq!(bench.view(beyond).p_us.0, 10 * S, "what it had");
    assert_eq!(
        [late, early, beyond].map(|call| bench.place_of(call)),
        ["a", "-", "-"]
    );
}
