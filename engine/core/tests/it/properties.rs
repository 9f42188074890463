//! Random operations against what must always hold.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use lps_api::ids::ProgramId;
use lps_api::quantity::{Micros, Order};
use lps_engine_core::core::{Batching, Config, Finish, Preemption};
use lps_engine_core::request::{Request, SamplingParams, Stopping};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::*;

/// Something that happens to an engine. Calls are meant by number, modulo those added.
#[derive(Debug, Clone)]
enum Operation {
    Add(Asked),
    Reorder(usize, Order),
    Cancel(usize),
    StopChoice(usize, u32),
    Release(u8),
    Step(u64),
}

#[derive(Debug, Clone)]
struct Asked {
    program: u8,
    queue: u8,
    rank: i64,
    /// Which of few prompts; equal ones share a prefix.
    kind: u32,
    prompt_len: usize,
    salt: u64,
    choices: u32,
    seed: u64,
    max_tokens: u32,
    min_tokens: u32,
    stops: bool,
    /// How much of the output an earlier attempt has given.
    resumed: usize,
    /// Whether no token can be drawn for it.
    spoilt: bool,
}

fn order() -> impl Strategy<Value = Order> {
    (0..3_u8, -2..3_i64).prop_map(|(queue, rank)| Order { queue, rank })
}

fn asked() -> impl Strategy<Value = Asked> {
    let shape = (0..3_u32, 1..28_usize, 0..2_u64, 1..4_u32);
    let rules = (0..2_u64, 1..14_u32, 0..6_u32, any::<bool>(), 0..8_usize);
    let spoilt = prop::bool::weighted(0.1);
    (0..3_u8, order(), shape, rules, spoilt).prop_map(|(program, order, shape, rules, spoilt)| {
        Asked {
            program,
            queue: order.queue,
            rank: order.rank,
            kind: shape.0,
            prompt_len: shape.1,
            salt: shape.2,
            choices: shape.3,
            seed: rules.0,
            max_tokens: rules.1,
            min_tokens: rules.2,
            stops: rules.3,
            resumed: rules.4,
            spoilt,
        }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => asked().prop_map(Operation::Add),
        1 => (0..64_usize, order()).prop_map(|(call, order)| Operation::Reorder(call, order)),
        1 => (0..64_usize).prop_map(Operation::Cancel),
        1 => (0..64_usize, 0..4_u32).prop_map(|(call, choice)| Operation::StopChoice(call, choice)),
        1 => (0..3_u8).prop_map(Operation::Release),
        8 => (1..100_u64).prop_map(Operation::Step),
    ]
}

fn engine_config() -> impl Strategy<Value = Config> {
    let batching = prop_oneof![
        4 => Just(Batching::Continuous),
        1 => Just(Batching::Timeout(Micros(200))),
        1 => Just(Batching::Static),
    ];
    let preemption = prop_oneof![Just(Preemption::Keep), Just(Preemption::Recompute)];
    (
        1..6_u32,
        1..24_u32,
        1..6_u32,
        6..30_u32,
        batching,
        any::<bool>(),
        preemption,
    )
        .prop_map(
            |(
                max_num_seqs,
                max_batched_tokens,
                block_tokens,
                kv_blocks,
                batching,
                cache,
                preemption,
            )| {
                Config {
                    max_num_seqs,
                    max_batched_tokens,
                    max_model_len: 40,
                    block_tokens,
                    kv_blocks,
                    max_calls: 24,
                    batching,
                    prefix_cache: cache,
                    preemption,
                }
            },
        )
}

/// The run, and what is known of its calls.
struct Run {
    engine: Engine,
    asked: Vec<Request>,
    /// Sum of the durations of the steps that each call was in.
    charged: BTreeMap<String, u64>,
}

impl Run {
    fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Add(asked) => self.add(asked),
            Operation::Reorder(call, order) => {
                if let Some(request) = self.named(call) {
                    let id = request.call.clone();
                    let found = self.engine.core.reorder(&id, order);
                    assert_eq!(found, self.engine.open.contains_key(&id));
                }
            }
            Operation::Cancel(call) => {
                if let Some(request) = self.named(call) {
                    let id = request.call.clone();
                    let effects = self.engine.core.cancel(&id);
                    self.engine.take(effects);
                    assert!(!self.engine.open.contains_key(&id));
                    assert!(self.engine.core.cancel(&id).is_empty());
                }
            }
            Operation::StopChoice(call, choice) => {
                if let Some(request) = self.named(call) {
                    let effects = self.engine.core.stop_choice(&request.call.clone(), choice);
                    self.engine.take(effects);
                }
            }
            Operation::Release(program) => self.engine.core.release(&program_id(program)),
            Operation::Step(duration) => self.step(duration),
        }
        self.engine.core.check_integrity();
    }

    fn named(&self, call: usize) -> Option<&Request> {
        self.asked.get(call % self.asked.len().max(1))
    }

    fn add(&mut self, asked: Asked) {
        let name = format!("call-{}", self.asked.len());
        let mut prompt = prompt(asked.kind, asked.prompt_len);
        if asked.spoilt {
            *prompt.last_mut().expect("a prompt has a token") = SPOILT;
        }
        let stop_tokens = if asked.stops { vec![STOP] } else { Vec::new() };
        let mut request = Request {
            program: program_id(asked.program),
            order: Order {
                queue: asked.queue,
                rank: asked.rank,
            },
            cache_salt: asked.salt,
            choices: asked.choices,
            sampling: SamplingParams {
                seed: asked.seed,
                ..SamplingParams::default()
            },
            stopping: Stopping {
                max_tokens: asked.max_tokens,
                min_tokens: asked.min_tokens,
                stop_tokens,
            },
            ..request(&name, 0, &prompt, 0)
        };
        let limit = self.engine.config.sequence_tokens_max();
        if asked.prompt_len < limit {
            let whole = self.expected(&request).texts;
            let known = asked.resumed.min(whole[&0].len());
            request.resumed = whole[&0][..known].to_vec();
        }
        let before = self.engine.core.progress();
        match self.engine.core.add(request.clone(), self.engine.now) {
            Ok(_) => {
                self.engine
                    .open
                    .insert(request.call.clone(), Ended::default());
                self.asked.push(request);
            }
            Err(_) => assert_eq!(self.engine.core.progress(), before),
        }
    }

    /// The call alone, in a context as long as this engine's.
    fn expected(&self, request: &Request) -> Ended {
        let room = self.engine.config.sequence_tokens_max() - request.prompt.len();
        let max_tokens = request.stopping.max_tokens.min(room as u32);
        alone(&Request {
            stopping: Stopping {
                max_tokens,
                ..request.stopping.clone()
            },
            resumed: Vec::new(),
            ..request.clone()
        })
    }

    fn step(&mut self, duration: u64) {
        let calls: BTreeMap<_, _> = self
            .asked
            .iter()
            .map(|request| (request.call.to_string(), request))
            .collect();
        self.engine.step_of(Micros(duration));
        // Time passes also where there is nothing to do, or a batch would gather for ever.
        if self.engine.last.is_empty() {
            self.engine.now += Micros(duration);
        }
        let names: BTreeSet<_> = self
            .engine
            .last
            .iter()
            .map(|(name, ..)| name.clone())
            .collect();
        assert!(names.iter().all(|name| calls.contains_key(name)));
        for name in names {
            *self.charged.entry(name).or_default() += duration;
        }
        let config = &self.engine.config;
        let tokens: usize = self.engine.last.iter().map(|(.., len)| len).sum();
        assert!(tokens <= config.max_batched_tokens as usize);
        assert!(self.engine.last.len() <= config.max_num_seqs as usize);
    }

    /// Runs out what is open, then compares all that ended with the calls run alone.
    fn finish(mut self) {
        for round in 0.. {
            assert!(round < 10_000, "no end");
            if self.engine.open.is_empty() {
                break;
            }
            self.step(50);
            // A static batch that is not full never starts.
            if self.engine.last.is_empty() && self.engine.config.batching == Batching::Static {
                for (id, _) in self.engine.open.clone() {
                    let effects = self.engine.core.cancel(&id);
                    self.engine.take(effects);
                }
            }
        }
        assert!(!self.engine.step());
        self.engine.assert_idle();
        assert_eq!(
            self.engine.ended.len(),
            self.asked.len(),
            "each call ends once"
        );
        for request in &self.asked {
            self.check_ended(request);
        }
    }

    fn check_ended(&self, request: &Request) {
        let name = request.call.to_string();
        let (end, alone) = (self.engine.end(&name), self.expected(request));
        assert_eq!(
            end.finishes.len(),
            request.choices as usize,
            "{name}: each choice ends once"
        );
        let mut emitted = 0;
        for (choice, text) in &end.texts {
            let known = if *choice == 0 {
                request.resumed.len()
            } else {
                0
            };
            let whole = &alone.texts[choice][known..];
            assert!(
                whole.starts_with(text),
                "{name}/{choice}: {text:?} of {whole:?}"
            );
            match end.finishes[choice] {
                Finish::Length => {
                    assert_eq!(text, whole, "{name}/{choice}");
                    assert!(!request.prompt.contains(&SPOILT), "{name}/{choice}");
                }
                Finish::Failed(_) => assert!(request.prompt.contains(&SPOILT), "{name}/{choice}"),
                Finish::Stop | Finish::Cancelled => {}
            }
            emitted += text.len() + known;
        }
        assert_eq!(
            end.usage.output_tokens.0 as usize,
            emitted.max(request.resumed.len())
        );
        assert_eq!(end.usage.prompt_tokens.0 as usize, request.prompt.len());
        let charged = self.charged.get(&name).copied().unwrap_or(0);
        assert_eq!(
            end.usage.executor_us,
            Micros(charged),
            "{name}: what it is charged"
        );
    }
}

fn program_id(program: u8) -> ProgramId {
    ProgramId::parse(&format!("program-{program}")).expect("a valid name")
}

/// At least so many; a run makes about a fifth more, and steps until all calls have ended besides.
const OPERATIONS_MIN: u64 = 100_000;

#[test]
fn whatever_happens_the_invariants_hold() {
    let config = ProptestConfig {
        cases: ProptestConfig::default().cases.max(2_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let made = Cell::new(0);
    let operations = prop::collection::vec(operation(), 20..100);
    let ran =
        TestRunner::new(config).run(&(engine_config(), operations), |(config, operations)| {
            made.set(made.get() + operations.len() as u64);
            let mut run = Run {
                engine: Engine::new(config),
                asked: Vec::new(),
                charged: BTreeMap::new(),
            };
            for operation in operations {
                run.perform(operation);
            }
            run.finish();
            Ok(())
        });
    if let Err(failure) = ran {
        panic!("{failure}");
    }
    assert!(made.get() >= OPERATIONS_MIN, "{} operations", made.get());
}
