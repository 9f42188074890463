//! What live programs and calls take in memory, by the process's resident set: 20,000 programs, opened, then with held
//! calls, then with calls that ended and are remembered. Run by `make bench-scheduler`.

use std::fs;

use lps_api::ids::{
    CallId, ClassName, EngineId, ModelName, ProgramId, Revision, TenantId, ThreadId,
};
use lps_api::protocol::CallUsage;
use lps_api::quantity::{Attempt, Micros, Tokens};
use lps_api::scheduling::Settings;
use lps_router::message::{
    Action, CallKey, Event, IdentitySource, NewCall, Outcome, Parents, ProgramKey,
};
use lps_router::state::State;

const PROGRAMS: u64 = 20_000;
/// Calls of a program that are open at once.
const OPEN: u64 = 4;
/// Calls of a program that ended.
const ENDED: u64 = 16;

struct Pool {
    state: State,
    now: u64,
    calls: u64,
    sent: Vec<(CallKey, Attempt)>,
}

fn model() -> ModelName {
    ModelName::parse("meta-llama/Llama-3.1-8B-Instruct").expect("a name")
}

fn program(number: u64) -> ProgramKey {
    ProgramKey {
        tenant: TenantId::parse(&format!("tenant-{}", number % 20)).expect("a name"),
        program: ProgramId::parse(&format!("program-{number:028}")).expect("a name"),
    }
}

impl Pool {
    fn tell(&mut self, event: Event) {
        self.now += 1;
        for action in self.state.on(event, Micros(self.now)) {
            if let Action::Dispatch { call, attempt, .. } = action {
                self.sent.push((call, attempt));
            }
        }
    }

    fn call(&mut self, number: u64) {
        self.calls += 1;
        let event = Event::CallArrived(NewCall {
            key: CallKey(self.calls),
            id: CallId::parse(&format!("call-{:031}", self.calls)).expect("a name"),
            program: program(number),
            class: ClassName::unnamed(),
            thread: ThreadId::main(),
            parents: Parents::Unsaid,
            model: model(),
            source: IdentitySource::Headers,
            prompt_tokens: Tokens(4_000),
            expected_output_tokens: Tokens(200),
            expected_service: None,
        });
        self.tell(event);
    }

    fn engine(&mut self) {
        self.tell(Event::EngineUp {
            engine: EngineId::parse("engine-0").expect("a name"),
            model: model(),
            revision: Revision::default(),
            slots: 64,
            kv_tokens: 1 << 20,
        });
    }

    /// Ends calls that are at the engine until none is open.
    fn finish(&mut self) {
        while let Some((call, attempt)) = self.sent.pop() {
            let usage = CallUsage {
                prompt_tokens: Tokens(4_000),
                output_tokens: Tokens(200),
                executor_us: Micros(1_000),
                ..CallUsage::default()
            };
            self.tell(Event::Ended {
                call,
                attempt,
                outcome: Outcome::Completed,
                usage: Some(usage),
            });
        }
    }
}

/// Bytes of the process that are in memory.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a number of KiB") * 1_024
}

#[expect(
    clippy::print_stdout,
    reason = "a measurement is told on standard output"
)]
fn main() {
    let mut pool = Pool {
        state: State::new(),
        now: 0,
        calls: 0,
        sent: Vec::new(),
    };
    pool.tell(Event::PoolAdded {
        model: model(),
        settings: Settings::default(),
        cold_start_hold: Micros::MAX,
    });
    let at_first = resident();
    for number in 0..PROGRAMS {
        pool.tell(Event::ProgramOpened {
            program: program(number),
            class: ClassName::unnamed(),
            ttl: Some(Micros::MAX),
            blocks: None,
        });
    }
    let opened = resident();
    for _ in 0..OPEN {
        (0..PROGRAMS).for_each(|number| pool.call(number));
    }
    let held = resident();
    pool.engine();
    pool.finish();
    let begun = resident();
    for _ in OPEN..ENDED {
        (0..PROGRAMS).for_each(|number| pool.call(number));
        pool.finish();
    }
    let ended = resident();
    let each = |bytes: u64, count: u64| bytes / (PROGRAMS * count);
    println!(
        "a program without a call: {} bytes",
        each(opened - at_first, 1)
    );
    println!("a held call: {} bytes", each(held - opened, OPEN));
    println!(
        "a call that ended and is remembered: {} bytes",
        each(ended - begun, ENDED - OPEN)
    );
    println!(
        "a program with {ENDED} calls that ended: {} bytes",
        each(ended - at_first, 1)
    );
}
