//! How long a decision takes, event to actions: 10,000 ready calls of 2,000 programs on 64 engines that are full. Each
//! turn one call ends and another comes, as in a pool at its limit. Run by `make bench-scheduler`.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use lps_api::ids::{
    CallId, ClassName, EngineId, ModelName, ProgramId, Revision, TenantId, ThreadId,
};
use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Attempt, Micros, Tokens};
use lps_api::scheduling::Settings;
use lps_router::message::{
    Action, CallKey, Event, IdentitySource, NewCall, Outcome, Parents, ProgramKey,
};
use lps_router::state::State;

const ENGINES: usize = 64;
const SLOTS: u32 = 32;
const PROGRAMS: u64 = 2_000;
/// Programs of which most rest between two calls, and so many that engines are full of them.
const RESTING: u64 = 100_000;
const READY: usize = 10_000;
/// Turns before the first that is measured: engines keep as many programs as they have room for.
const WARM_UP: usize = 30_000;
/// KV tokens of an engine: room for a part of the programs.
const KV_TOKENS: u64 = 200_000;

/// What the calls look like.
#[derive(Debug, Clone, Copy)]
struct Load {
    name: &'static str,
    rules: &'static [&'static str],
    prompt: u32,
    tenants: u64,
    programs: u64,
}

const LOADS: [Load; 7] = [
    Load {
        name: "fcfs, short prompts",
        rules: &["policy=fcfs"],
        prompt: 500,
        tenants: 1,
        programs: PROGRAMS,
    },
    Load {
        name: "atlas, short prompts",
        rules: &["policy=atlas"],
        prompt: 500,
        tenants: 1,
        programs: PROGRAMS,
    },
    Load {
        name: "atlas, short prompts, 20 tenants",
        rules: &["policy=atlas"],
        prompt: 500,
        tenants: 20,
        programs: PROGRAMS,
    },
    Load {
        name: "atlas, long prompts with homes",
        rules: &["policy=atlas"],
        prompt: 8_000,
        tenants: 1,
        programs: PROGRAMS,
    },
    Load {
        name: "gittins, long prompts, 20 tenants",
        rules: &["policy=gittins"],
        prompt: 8_000,
        tenants: 20,
        programs: PROGRAMS,
    },
    Load {
        name: "atlas, long prompts, no working set",
        rules: &["policy=atlas", "working_set=off"],
        prompt: 8_000,
        tenants: 1,
        programs: PROGRAMS,
    },
    Load {
        name: "atlas, short prompts, leases that are over",
        rules: &["policy=atlas", "acting_lease=0s"],
        prompt: 500,
        tenants: 1,
        programs: RESTING,
    },
];

struct Pool {
    state: State,
    load: Load,
    now: u64,
    next: u64,
    /// Calls at engines, in the order of their dispatch.
    seated: VecDeque<(CallKey, Attempt)>,
    ready: usize,
    programs: BTreeMap<CallKey, u64>,
}

impl Pool {
    fn new(load: Load) -> Self {
        let mut settings = Settings::default();
        for rule in load.rules {
            let (key, value) = rule.split_once('=').expect("key=value");
            settings.set(key, value).expect("valid");
        }
        let mut pool = Self {
            state: State::new(),
            load,
            now: 0,
            next: 0,
            seated: VecDeque::new(),
            ready: 0,
            programs: BTreeMap::new(),
        };
        let model = ModelName::parse("m").expect("a name");
        pool.tell(Event::PoolAdded {
            model: model.clone(),
            settings,
            cold_start_hold: Micros::MAX,
        });
        for index in 0..ENGINES {
            pool.tell(Event::EngineUp {
                engine: EngineId::parse(&format!("e{index}")).expect("a name"),
                model: model.clone(),
                revision: Revision::default(),
                slots: SLOTS,
                kv_tokens: KV_TOKENS,
            });
        }
        while pool.ready < READY {
            pool.arrive();
        }
        for _ in 0..WARM_UP {
            pool.turn();
        }
        pool
    }

    fn tell(&mut self, event: Event) {
        self.now += 100;
        for action in self.state.on(event, Micros(self.now)) {
            if let Action::Dispatch { call, attempt, .. } = action {
                self.ready -= 1;
                self.seated.push_back((call, attempt));
            }
        }
    }

    fn arrive(&mut self) {
        let program = self.next % self.load.programs;
        self.next += 1;
        self.ready += 1;
        let key = CallKey(self.next);
        self.programs.insert(key, program);
        let tenant = format!("t{}", program % self.load.tenants);
        self.tell(Event::CallArrived(NewCall {
            key,
            id: CallId::parse(&format!("c{}", self.next)).expect("a name"),
            program: ProgramKey {
                tenant: TenantId::parse(&tenant).expect("a name"),
                program: ProgramId::parse(&format!("p{program}")).expect("a name"),
            },
            class: ClassName::unnamed(),
            thread: ThreadId::main(),
            parents: Parents::Unsaid,
            model: ModelName::parse("m").expect("a name"),
            source: IdentitySource::Headers,
            prompt_tokens: Tokens(self.load.prompt + (program % 64) as u32),
            expected_output_tokens: Tokens(200),
            expected_service: None,
        }));
    }

    /// The call that was dispatched first runs and ends, and another comes: three events.
    fn turn(&mut self) {
        let (call, attempt) = self.seated.pop_front().expect("engines are full");
        let usage = CallUsage {
            prompt_tokens: Tokens(self.load.prompt),
            cached_tokens: Tokens(0),
            output_tokens: Tokens(150),
            executor_us: Micros(900_000),
        };
        self.tell(Event::Progress {
            call,
            attempt,
            state: CallState::Running,
            usage,
        });
        self.tell(Event::Ended {
            call,
            attempt,
            outcome: Outcome::Completed,
            usage: Some(usage),
        });
        self.programs.remove(&call);
        self.arrive();
    }
}

fn decide(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("three events: progress, end, arrival");
    for load in LOADS {
        let mut pool = Pool::new(load);
        group.bench_function(BenchmarkId::from_parameter(load.name), |bencher| {
            bencher.iter(|| {
                pool.turn();
                black_box(pool.ready)
            });
        });
        assert!(pool.ready.abs_diff(READY) < 200, "{} are ready", pool.ready);
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    decide(&mut criterion);
    criterion.final_summary();
}
