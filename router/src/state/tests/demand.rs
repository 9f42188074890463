//! What scaling reads: calls, live programs, the gaps between their calls, contexts and engines.

use lps_api::ids::ModelName;
use lps_api::quantity::Micros;

use super::bench::{Bench, S, engine, model, program, settings};
use crate::message::{Event, Intake};
use crate::state::view::QuietProgram;

fn fcfs(engines: &str) -> Bench {
    Bench::new(settings(&["policy=fcfs"]), engines, 1)
}

#[test]
fn calls_and_engines() {
    let mut bench = fcfs("ab");
    let first = bench.small("x");
    assert_eq!(bench.place_of(first), "a");
    bench.small("y");
    bench.small("z");
    bench.tell(Event::EngineIntake {
        engine: engine("b"),
        intake: Intake::Nothing,
    });
    let demand = bench.demand();
    assert_eq!((demand.running, demand.waiting, demand.load()), (2, 1, 3));
    let engines = (
        demand.engines_up,
        demand.engines_busy,
        demand.engines_draining,
    );
    assert_eq!(engines, (1, 1, 1));
    assert_eq!(demand.live_programs, 3);
    assert_eq!(demand.kv_tokens_per_engine, 1 << 30);
    assert_eq!(demand.kv_used_tokens, 4, "booked at engines");
    assert!(!bench.state.is_stranded(&model()));
    for name in ["a", "b"] {
        bench.tell(Event::EngineIntake {
            engine: engine(name),
            intake: Intake::Nothing,
        });
    }
    assert!(bench.state.is_stranded(&model()), "no engine takes calls");
}

#[test]
fn gaps_between_calls() {
    let mut bench = fcfs("a");
    for tool_s in [40, 80] {
        let call = bench.small("x");
        bench.run(call, S);
        bench.end(call);
        assert_eq!(bench.demand().quiet.len(), usize::from(tool_s == 80));
        bench.now += tool_s * S;
    }
    // Quiet for eighty seconds, although nothing happened meanwhile.
    let expected = QuietProgram {
        idle_for: Micros::from_secs(80),
        usual_gap: Micros::from_secs(40),
        programs: 1,
    };
    assert_eq!(bench.demand().quiet, [expected]);
    assert_eq!(bench.demand().kv_used_tokens, 1, "its last call's context");
    let call = bench.small("x");
    assert_eq!(bench.demand().quiet, [], "it calls");
    bench.end(call);
    let gap = Micros::from_secs(50);
    assert_eq!(
        bench.demand().quiet[0].usual_gap,
        gap,
        "the last weighs a quarter"
    );
    bench.tell(Event::ProgramEnd {
        program: program("x"),
    });
    let demand = bench.demand();
    assert_eq!((demand.live_programs, demand.quiet.len()), (0, 0));
}

#[test]
fn of_many_quiet_programs_some_stand_for_all() {
    let mut bench = fcfs("a");
    for index in 0..1_500 {
        for _ in 0..2 {
            let call = bench.small(&format!("p{index}"));
            bench.end(call);
        }
    }
    let demand = bench.demand();
    assert_eq!(demand.live_programs, 1_500);
    assert_eq!(demand.quiet.len(), 250);
    assert!(demand.quiet.iter().all(|quiet| quiet.programs == 6));
    assert_eq!(demand.kv_used_tokens, 1_500);
}

#[test]
fn a_program_counts_for_the_models_that_it_called() {
    let mut bench = fcfs("a");
    let call = bench.small("x");
    bench.end(call);
    let other = ModelName::parse("other").expect("a name");
    let demands = bench.state.demands(&[other, model()], Micros(bench.now));
    let live: Vec<u32> = demands.iter().map(|demand| demand.live_programs).collect();
    assert_eq!(live, [0, 1]);
}
