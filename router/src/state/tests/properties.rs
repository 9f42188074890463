//! Properties that hold after every event, whatever happens: random events on a few programs and engines.

use std::collections::BTreeMap;

use lps_api::ids::ClassName;
use lps_api::protocol::CallState;
use lps_api::quantity::{Attempt, Micros, Order};
use proptest::prelude::*;

use super::bench::{AtEngine, Bench, Sent, engine, program, settings};
use super::rules::RULES;
use crate::message::{CallKey, Event, IdentitySource, Intake, Outcome};

/// One thing that may happen; what it is about is chosen among what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive {
        program: u8,
        prompt: u16,
    },
    Run {
        which: u8,
        micros: u32,
    },
    /// The last word tells of so much that no report told.
    End {
        which: u8,
        outcome: u8,
        micros: u32,
    },
    /// An engine is heard late: of an attempt that failed, or of a call that ended.
    Late {
        which: u8,
        micros: u32,
    },
    Fail {
        which: u8,
    },
    Cancel {
        which: u8,
    },
    Lose,
    Return,
    Sleep {
        micros: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..4, 1_u16..4_000).prop_map(|(program, prompt)| Step::Arrive { program, prompt }),
        8 => (any::<u8>(), 1_u32..3_000_000).prop_map(|(which, micros)| Step::Run { which, micros }),
        5 => (any::<u8>(), 0_u8..3, 0_u32..2_000_000)
            .prop_map(|(which, outcome, micros)| Step::End { which, outcome, micros }),
        1 => (any::<u8>(), 1_u32..9_000_000).prop_map(|(which, micros)| Step::Late { which, micros }),
        1 => any::<u8>().prop_map(|which| Step::Fail { which }),
        1 => any::<u8>().prop_map(|which| Step::Cancel { which }),
        1 => Just(Step::Lose),
        1 => Just(Step::Return),
        1 => (1_u32..20_000_000).prop_map(|micros| Step::Sleep { micros }),
    ]
}

const SLOTS: u32 = 3;

fn pick<T: Copy>(all: &[T], which: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(which) % all.len()])
}

struct World {
    bench: Bench,
    charged: BTreeMap<CallKey, u64>,
    /// Attempts that are over.
    past: Vec<(CallKey, Attempt)>,
    scale: u64,
}

impl World {
    fn new(rules: &[&str], scale: u64) -> Self {
        let mut rules = settings(rules);
        for bound in &mut rules.bounds {
            bound.0 *= scale;
        }
        for quantum in rules.quanta.iter_mut().flatten() {
            quantum.0 *= scale;
        }
        rules.service_floor.0 *= scale;
        let waits = [
            &mut rules.max_queue_wait,
            &mut rules.home_wait,
            &mut rules.acting_lease,
            &mut rules.max_pause,
        ];
        for wait in waits.into_iter().flatten() {
            wait.0 *= scale;
        }
        let mut bench = Bench::with_kv(rules, "ab", (SLOTS, 10_000));
        for index in ["p0", "p1@t", "p2", "p3@u"] {
            // Lives are not scaled, so they must not end.
            let (program, ttl) = (program(index), Some(Micros(u64::MAX)));
            bench.tell(Event::ProgramOpened {
                program,
                class: ClassName::unnamed(),
                ttl,
                blocks: None,
            });
        }
        Self {
            bench,
            charged: BTreeMap::new(),
            past: Vec::new(),
            scale,
        }
    }

    /// The calls that an engine runs: the first of their order, as many as it has slots and pages for.
    fn batch(seats: &BTreeMap<CallKey, AtEngine>) -> Vec<CallKey> {
        let mut calls: Vec<_> = seats
            .iter()
            .map(|(call, seat)| (seat.order, *call))
            .collect();
        calls.sort_unstable();
        calls
            .into_iter()
            .map(|(_, call)| call)
            .take(SLOTS as usize)
            .collect()
    }

    /// What was dispatched, and the order of those that are at engines.
    fn schedule(&self) -> (Vec<CallKey>, Vec<(CallKey, Order)>) {
        let seats = self.bench.engines.values().flatten();
        let places = seats.map(|(call, seat)| (*call, seat.order)).collect();
        (self.bench.dispatched.clone(), places)
    }

    fn running(&self) -> Vec<CallKey> {
        self.bench.engines.values().flat_map(Self::batch).collect()
    }

    fn seated(&self) -> Vec<CallKey> {
        self.bench
            .engines
            .values()
            .flat_map(|seats| seats.keys().copied())
            .collect()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Arrive { program, prompt } => {
                let names = ["p0", "p1@t", "p2", "p3@u"];
                let source = match program {
                    2 => IdentitySource::Single,
                    _ => IdentitySource::Headers,
                };
                let program = names[usize::from(program)];
                let sent = Sent {
                    program,
                    prompt: u32::from(prompt),
                    output: 0,
                };
                self.bench.send_as(source, sent);
            }
            Step::Run { which, micros } => {
                let Some(call) = pick(&self.running(), which) else {
                    return;
                };
                self.bench.run(call, u64::from(micros) * self.scale);
                *self.charged.entry(call).or_default() = self.bench.used[&call];
            }
            Step::End { .. } | Step::Late { .. } | Step::Fail { .. } => self.end(step),
            Step::Cancel { which } => {
                let Some(call) = pick(&self.seated(), which) else {
                    return;
                };
                self.bench.tell(Event::CancelRequested { call });
            }
            Step::Lose => {
                self.bench.tell(Event::EngineGone {
                    engine: engine("b"),
                });
                let there: Vec<_> = self.bench.engines[&engine("b")].keys().copied().collect();
                for call in there {
                    self.charged.remove(&call);
                    self.bench.fail_attempt(call);
                }
            }
            Step::Return => self.bench.engine_up("b", (SLOTS, 10_000)),
            Step::Sleep { micros } => {
                self.bench.now += u64::from(micros) * self.scale;
                self.bench.tell(Event::Tick);
            }
        }
        self.check();
    }

    /// What ends an attempt, and what is heard of it afterwards.
    fn end(&mut self, step: Step) {
        match step {
            Step::End {
                which,
                outcome,
                micros,
            } => {
                let Some(call) = pick(&self.seated(), which) else {
                    return;
                };
                let used = self.bench.used.entry(call).or_default();
                *used += u64::from(micros) * self.scale;
                self.charged.insert(call, *used);
                let seat = self.bench.seat(call).expect("it is seated").1;
                self.past.push((call, seat.attempt));
                let outcomes = [Outcome::Completed, Outcome::Cancelled, Outcome::Failed];
                let event = self.bench.ended(call, outcomes[usize::from(outcome)]);
                self.bench.tell(event);
            }
            Step::Late { which, micros } => {
                let Some((call, attempt)) = pick(&self.past, which) else {
                    return;
                };
                let micros = u64::from(micros) * self.scale;
                self.bench.report_late(call, attempt, micros);
            }
            Step::Fail { which } => {
                let Some(call) = pick(&self.seated(), which) else {
                    return;
                };
                let seat = self.bench.seat(call).expect("it is seated").1;
                self.past.push((call, seat.attempt));
                self.charged.remove(&call);
                self.bench.fail_attempt(call);
            }
            _ => {}
        }
    }

    fn check(&self) {
        let programs = self.bench.state.programs(&Default::default());
        let charged: u64 = programs
            .iter()
            .map(|program| program.service_total_us.0)
            .sum();
        assert_eq!(
            charged,
            self.charged.values().sum::<u64>(),
            "charged is what was observed"
        );
        for program in &programs {
            assert!(program.critical_path_us <= program.service_total_us);
        }
        let load = self.bench.demand();
        let seats: usize = self.bench.engines.values().map(BTreeMap::len).sum();
        assert_eq!(load.running + load.waiting_in_engine, seats as u32);
        let open: u64 = programs
            .iter()
            .map(|p| p.call_counts.pending + p.call_counts.running)
            .sum();
        assert_eq!(open, u64::from(load.load()), "no call is lost");
    }

    /// No slot is idle while a held call would fit that nothing holds back.
    fn check_work(&self) {
        let free = self
            .bench
            .state
            .engine_loads()
            .into_iter()
            .filter(|engine| {
                engine.running < engine.slots && engine.waiting == 0 && engine.intake == Intake::All
            });
        let most = free
            .map(|engine| engine.kv_tokens - engine.kv_booked_tokens)
            .max();
        for program in self.bench.state.programs(&Default::default()) {
            let key = crate::message::ProgramKey {
                tenant: program.tenant,
                program: program.id,
            };
            let view = self.bench.state.program(&key).expect("listed");
            for call in view.calls {
                let held = call
                    .explain
                    .filter(|why| why.reason.as_str() == "no_capacity");
                let fits = most.is_some_and(|most| u64::from(call.prompt_tokens.0) <= most);
                let is_short = call.prompt_tokens.0 <= 2_048;
                assert!(
                    held.is_none() || !fits || !is_short,
                    "{:?} could run",
                    call.id
                );
            }
        }
    }

    /// Every call that still is open ends.
    fn finish(&mut self) {
        self.take(Step::Return);
        for _ in 0..10_000 {
            let Some(call) = self.running().first().copied() else {
                if self.bench.demand().load() == 0 {
                    break;
                }
                // Who waits for room gets it in time, and the state says when.
                self.bench.sleep();
                continue;
            };
            self.bench.report(call, CallState::Running);
            self.bench.end(call);
        }
        self.check();
        assert_eq!(self.bench.demand().load(), 0, "all ended");
        for engine in self.bench.state.engine_loads() {
            assert_eq!(engine.kv_booked_tokens, 0, "nothing is booked at rest");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_lost_and_nothing_idles(
        rules in 0..RULES.len(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(RULES[rules], 1);
        for step in steps {
            world.take(step);
            world.check_work();
        }
        world.finish();
    }

    #[test]
    fn the_same_events_give_the_same_schedule_at_any_scale(
        rules in 0..RULES.len(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut worlds = [1, 1, 7].map(|scale| World::new(RULES[rules], scale));
        for step in steps {
            for world in &mut worlds {
                world.take(step);
            }
        }
        let [first, again, scaled] = worlds.map(|world| world.schedule());
        prop_assert_eq!(&first, &again);
        prop_assert_eq!(&first, &scaled);
    }

    #[test]
    fn an_idle_program_or_tenant_changes_nothing(
        rules in 0..RULES.len(),
        steps in proptest::collection::vec((step(), 0_u8..3), 1..60),
    ) {
        let mut worlds = [(), ()].map(|()| World::new(RULES[rules], 1));
        for (index, (step, newcomer)) in steps.into_iter().enumerate() {
            let newcomer = match newcomer {
                0 => None,
                1 => Some(format!("idle{index}@t")),
                _ => Some(format!("idle@t{index}")),
            };
            if let Some(name) = newcomer {
                worlds[1].bench.tell(Event::ProgramOpened {
                    program: program(&name),
                    class: ClassName::unnamed(),
                    ttl: Some(Micros(u64::MAX)),
                    blocks: None,
                });
            }
            for world in &mut worlds {
                world.take(step);
            }
        }
        let [without, with] = worlds.map(|world| world.schedule());
        prop_assert_eq!(without, with);
    }

    #[test]
    fn the_order_in_which_siblings_end_leaves_the_row_unchanged(
        services in proptest::collection::vec(1_u32..9_000_000, 2..8),
        order in any::<u64>(),
    ) {
        let mut rows = Vec::new();
        for turn in [0, order] {
            let mut bench = Bench::new(settings(&["policy=atlas"]), "a", 8);
            let root = bench.small("x");
            bench.run(root, 5);
            bench.end(root);
            let mut calls: Vec<_> = services.iter().map(|service| (bench.small("x"), *service)).collect();
            let turns = turn as usize % calls.len();
            calls.rotate_left(turns);
            for (call, service) in calls {
                bench.used.insert(call, u64::from(service));
                bench.end(call);
            }
            let row = bench.state.program(&program("x")).expect("known").summary;
            rows.push((row.service_total_us, row.critical_path_us));
        }
        prop_assert_eq!(rows[0], rows[1]);
        let longest = services.iter().max().map_or(0, |most| u64::from(*most));
        prop_assert_eq!(rows[0].1, Micros(5 + longest));
    }

    #[test]
    fn a_call_with_r_older_ones_goes_within_m_times_r_plus_1(
        every in 1_u32..6,
        older in 0_usize..6,
        oversubscription in 0_u32..3,
        is_admission_lost in any::<bool>(),
    ) {
        let every_mth = format!("oldest_every={every}");
        let oversubscribed = format!("oversubscription={oversubscription}");
        let working_set = if is_admission_lost { "working_set=on" } else { "working_set=off" };
        let rules = ["policy=plas", "bounds=1,2", &every_mth, &oversubscribed, working_set];
        let mut bench = Bench::new(settings(&rules), "a", 1);
        for index in 0..=older {
            let before = bench.small(&format!("old{index}"));
            bench.run(before, 5_000_000);
            bench.end(before);
        }
        if is_admission_lost {
            // Those that ran have no place at the engine that comes, so they are to be admitted; there is room.
            bench.tell(Event::EngineGone { engine: engine("a") });
            bench.engine_up("a", (1, 1 << 30));
        }
        bench.small("y");
        let waiting: Vec<_> = (0..=older).map(|index| bench.small(&format!("old{index}"))).collect();
        let last = waiting[older];
        let begun = bench.dispatched.len();
        while !bench.dispatched.contains(&last) {
            bench.small(&format!("y{}", bench.dispatched.len()));
            let seats = bench.engines[&engine("a")].iter();
            let running = seats.min_by_key(|(_, seat)| seat.order).map(|(call, _)| *call);
            bench.end(running.expect("one runs"));
            let gone = bench.dispatched.len() - begun;
            prop_assert!(gone <= every as usize * (older + 1), "{gone} dispatches");
        }
    }
}

/// Found by the property above.
#[test]
fn whoever_was_kept_back_for_a_call_goes_when_that_one_has_gone() {
    let arrive = |program, prompt| Step::Arrive { program, prompt };
    let mut world = World::new(RULES[1], 1);
    for step in [
        arrive(0, 3260),
        arrive(2, 1),
        arrive(0, 3834),
        arrive(0, 2907),
        arrive(2, 1),
        Step::Lose,
        Step::Fail { which: 187 },
        Step::End {
            which: 0,
            outcome: 0,
            micros: 0,
        },
    ] {
        world.take(step);
        world.check_work();
    }
}
