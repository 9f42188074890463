//! A state with engines that do as they are told. Owns: writing events short and reading actions back.

use std::collections::{BTreeMap, BTreeSet};

use lps_api::ids::{
    CallId, ClassName, EngineId, ModelName, ProgramId, Revision, TenantId, ThreadId,
};
use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Attempt, Micros, Order, Tokens};
use lps_api::scheduling::Settings;

use crate::message::{
    Action, CallKey, Event, IdentitySource, NewCall, Outcome, Parents, ProgramKey, Refusal,
};
use crate::state::State;
use crate::state::view::{CallView, Demand};

pub(super) const S: u64 = 1_000_000;

pub(super) fn model() -> ModelName {
    ModelName::parse("m").expect("a name")
}

pub(super) fn engine(name: &str) -> EngineId {
    EngineId::parse(name).expect("a name")
}

/// A program; `x@t` is one of tenant t.
pub(super) fn program(name: &str) -> ProgramKey {
    let tenant = name
        .split_once('@')
        .map_or_else(TenantId::anonymous, |(_, tenant)| {
            TenantId::parse(tenant).expect("a name")
        });
    let program = ProgramId::parse(name).expect("a name");
    ProgramKey { tenant, program }
}

/// Settings written as `key=value`, without the rules that act by time or by count.
pub(super) fn settings(pairs: &[&str]) -> Settings {
    let quiet = [
        "beta=none",
        "oldest_every=none",
        "oversubscription=0",
        "backfill_limit=0",
        "working_set=off",
    ];
    let mut settings = Settings::default();
    for pair in quiet.iter().chain(pairs) {
        let (key, value) = pair.split_once('=').expect("key=value");
        settings.set(key, value).expect("valid");
    }
    settings.check().expect("valid");
    settings
}

/// One call at an engine, as the engine sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtEngine {
    pub(super) order: Order,
    pub(super) attempt: Attempt,
}

pub(super) struct Bench {
    pub(super) state: State,
    pub(super) now: u64,
    pub(super) engines: BTreeMap<EngineId, BTreeMap<CallKey, AtEngine>>,
    pub(super) used: BTreeMap<CallKey, u64>,
    pub(super) refused: Vec<(CallKey, Refusal)>,
    pub(super) cancelled: BTreeSet<CallKey>,
    pub(super) released: Vec<EngineId>,
    pub(super) wake: Option<Micros>,
    /// Calls in the order in which they were dispatched.
    pub(super) dispatched: Vec<CallKey>,
    tenants: BTreeMap<CallKey, TenantId>,
    next_key: u64,
}

/// A call as a test writes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) program: &'a str,
    pub(super) prompt: u32,
    pub(super) output: u32,
}

impl Bench {
    /// A pool with these rules and one-letter engines of so many slots.
    pub(super) fn new(settings: Settings, engines: &str, slots: u32) -> Self {
        Self::with_kv(settings, engines, (slots, 1 << 30))
    }

    pub(super) fn with_kv(settings: Settings, engines: &str, limits: (u32, u64)) -> Self {
        let mut bench = Self {
            state: State::new(),
            now: 0,
            engines: BTreeMap::new(),
            used: BTreeMap::new(),
            refused: Vec::new(),
            cancelled: BTreeSet::new(),
            released: Vec::new(),
            wake: None,
            dispatched: Vec::new(),
            tenants: BTreeMap::new(),
            next_key: 0,
        };
        bench.tell(Event::PoolAdded {
            model: model(),
            settings,
            cold_start_hold: Micros::from_secs(300),
        });
        for name in engines.chars() {
            bench.engine_up(&name.to_string(), limits);
        }
        bench
    }

    pub(super) fn engine_up(&mut self, name: &str, limits: (u32, u64)) {
        self.engine_up_of(name, Revision::default(), limits);
    }

    pub(super) fn engine_up_of(
        &mut self,
        name: &str,
        revision: Revision,
        (slots, kv_tokens): (u32, u64),
    ) {
        self.engines.entry(engine(name)).or_default();
        let (engine, model) = (engine(name), model());
        self.tell(Event::EngineUp {
            engine,
            model,
            revision,
            slots,
            kv_tokens,
        });
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.tell_all(vec![event]);
    }

    pub(super) fn tell_all(&mut self, events: Vec<Event>) {
        let actions = self.state.on_all(events, Micros(self.now));
        self.state.check_integrity();
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dispatch {
                call,
                attempt,
                engine,
                order,
            } => {
                let seats = self.engines.get_mut(&engine).expect("a known engine");
                let earlier = seats.insert(call, AtEngine { order, attempt });
                assert!(earlier.is_none(), "{call:?} is dispatched twice");
                self.dispatched.push(call);
            }
            Action::Reorder {
                call,
                engine,
                order,
            } => {
                let seat = self
                    .engines
                    .get_mut(&engine)
                    .and_then(|seats| seats.get_mut(&call));
                seat.expect("a call is reordered where it is").order = order;
            }
            Action::Cancel { call, engine } => {
                assert!(self.engines[&engine].contains_key(&call));
                self.cancelled.insert(call);
            }
            Action::Refuse { call, reason } => self.refused.push((call, reason)),
            Action::Release { engine, .. } => self.released.push(engine),
            Action::WakeAt(at) => self.wake = Some(at),
        }
    }

    pub(super) fn call(&mut self, sent: Sent<'_>) -> Event {
        self.next_key += 1;
        let key = CallKey(self.next_key);
        self.tenants.insert(key, program(sent.program).tenant);
        Event::CallArrived(NewCall {
            key: CallKey(self.next_key),
            id: CallId::parse(&format!("c{}", self.next_key)).expect("a name"),
            program: program(sent.program),
            class: ClassName::unnamed(),
            thread: ThreadId::main(),
            parents: Parents::Named(Vec::new()),
            model: model(),
            source: IdentitySource::Headers,
            prompt_tokens: Tokens(sent.prompt),
            expected_output_tokens: Tokens(sent.output),
            expected_service: None,
        })
    }

    pub(super) fn send(&mut self, sent: Sent<'_>) -> CallKey {
        self.send_as(IdentitySource::Headers, sent)
    }

    /// A call whose program was found like this.
    pub(super) fn send_as(&mut self, source: IdentitySource, sent: Sent<'_>) -> CallKey {
        let mut event = self.call(sent);
        if let Event::CallArrived(call) = &mut event {
            call.source = source;
        }
        self.tell(event);
        CallKey(self.next_key)
    }

    /// A small call of a program.
    pub(super) fn small(&mut self, program: &str) -> CallKey {
        self.send(Sent {
            program,
            prompt: 1,
            output: 1,
        })
    }

    /// A call of so many tokens.
    pub(super) fn sized(&mut self, program: &str, prompt: u32) -> CallKey {
        self.send(Sent {
            program,
            prompt,
            output: 0,
        })
    }

    /// What scaling would see.
    pub(super) fn demand(&self) -> Demand {
        let mut demands = self.state.demands(&[model()], Micros(self.now));
        demands.remove(0)
    }

    pub(super) fn seat(&self, call: CallKey) -> Option<(EngineId, AtEngine)> {
        let mut seats = self.engines.iter();
        seats.find_map(|(id, seats)| Some((id.clone(), *seats.get(&call)?)))
    }

    /// Where a call is, by name; `-` where it is held.
    pub(super) fn place_of(&self, call: CallKey) -> String {
        self.seat(call)
            .map_or("-".to_owned(), |(engine, _)| engine.as_str().to_owned())
    }

    fn usage(&self, call: CallKey) -> CallUsage {
        let executor_us = Micros(self.used.get(&call).copied().unwrap_or(0));
        CallUsage {
            executor_us,
            output_tokens: Tokens(1),
            ..CallUsage::default()
        }
    }

    pub(super) fn report(&mut self, call: CallKey, state: CallState) {
        let (_, seat) = self.seat(call).expect("at an engine");
        let usage = self.usage(call);
        self.tell(Event::Progress {
            call,
            attempt: seat.attempt,
            state,
            usage,
        });
    }

    /// A report of an attempt that is over.
    pub(super) fn report_late(&mut self, call: CallKey, attempt: Attempt, micros: u64) {
        let usage = CallUsage {
            executor_us: Micros(micros),
            output_tokens: Tokens(1),
            ..CallUsage::default()
        };
        self.tell(Event::Progress {
            call,
            attempt,
            state: CallState::Running,
            usage,
        });
    }

    /// The call runs so much, and the engine says so.
    pub(super) fn run(&mut self, call: CallKey, micros: u64) {
        self.report(call, CallState::Running);
        self.now += micros;
        *self.used.entry(call).or_default() += micros;
        self.report(call, CallState::Running);
    }

    pub(super) fn ended(&mut self, call: CallKey, outcome: Outcome) -> Event {
        let (engine, seat) = self.seat(call).expect("at an engine");
        if let Some(seats) = self.engines.get_mut(&engine) {
            seats.remove(&call);
        }
        let usage = Some(self.usage(call));
        Event::Ended {
            call,
            attempt: seat.attempt,
            outcome,
            usage,
        }
    }

    pub(super) fn end(&mut self, call: CallKey) {
        let event = self.ended(call, Outcome::Completed);
        self.tell(event);
    }

    pub(super) fn fail_attempt(&mut self, call: CallKey) {
        let (engine, seat) = self.seat(call).expect("at an engine");
        if let Some(seats) = self.engines.get_mut(&engine) {
            seats.remove(&call);
        }
        self.used.remove(&call);
        self.tell(Event::AttemptFailed {
            call,
            attempt: seat.attempt,
        });
    }

    /// Time passes until the wake that was asked for.
    pub(super) fn sleep(&mut self) {
        let at = self.wake.take().expect("a wake was asked for");
        self.now = self.now.max(at.0);
        self.tell(Event::Tick);
    }

    pub(super) fn view(&self, call: CallKey) -> CallView {
        let id = CallId::parse(&format!("c{}", call.0)).expect("a name");
        let tenant = &self.tenants[&call];
        self.state.call(tenant, &id).expect("a known call")
    }
}
