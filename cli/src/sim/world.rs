//! Virtual time. Owns: what happens at which instant between a workload, the production state and unit engines. Each
//! instant is told to the state at once: what ended, what was used, what became ready, in the order of the workload.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use lps_api::ids::{EngineId, ModelName, Revision};
use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Attempt, Micros, Order, Tokens};
use lps_api::scheduling::Settings;
use lps_router::message::{
    Action, CallKey, Event, IdentitySource, NewCall, Outcome, Parents, ProgramKey,
};
use lps_router::state::State;

use super::engine::UnitEngine;
use super::record::{CallEnd, ProgramEnd, Record, Slice, name};
use crate::workload::Workload;

/// Instants between two looks at the state's integrity, where looking costs more than simulating.
const INTEGRITY_PERIOD: u64 = 64;
/// Programs up to which every instant is looked at.
const SMALL: usize = 64;

/// Where a workload runs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The pool's rules.
    pub settings: Settings,
    /// Calls that an engine runs at once.
    pub slots: u32,
    /// Tokens that its KV pool holds.
    pub kv_tokens: u64,
    /// Engines.
    pub engines: u32,
}

/// A call of the workload: index of the program, index of the call.
type At = (usize, usize);

/// A call that is open.
#[derive(Debug)]
struct Open {
    at: At,
    seat: Option<Seat>,
    done: Micros,
    /// Since when it runs.
    running_since: Option<Micros>,
    first_start: Option<Micros>,
}

#[derive(Debug, Clone, Copy)]
struct Seat {
    engine: usize,
    attempt: Attempt,
    order: Order,
}

struct World<'a> {
    workload: &'a Workload,
    state: State,
    model: ModelName,
    now: Micros,
    engines: Vec<UnitEngine>,
    open: BTreeMap<CallKey, Open>,
    keys: BTreeMap<At, CallKey>,
    /// Calls that will be ready, and programs that will arrive (call 0 stands for those).
    ready: BTreeSet<(Micros, At)>,
    arrivals: BTreeSet<(Micros, usize)>,
    /// Parents that have not ended.
    missing: Vec<Vec<usize>>,
    /// Calls that have not ended.
    left: Vec<usize>,
    wake: Option<Micros>,
    next_key: u64,
    record: Record,
}

/// Runs a workload to its end.
///
/// # Errors
/// When it comes to a standstill.
pub fn simulate(workload: &Workload, setup: &Setup) -> anyhow::Result<Record> {
    let mut world = World::new(workload, setup)?;
    let mut instants = 0_u64;
    while world.left.iter().any(|left| *left > 0) {
        let Some(next) = world.next_instant() else {
            bail!(
                "the simulation stands still at {}: calls are left that nothing starts",
                world.now
            );
        };
        world.pass(next)?;
        instants += 1;
        if workload.programs.len() <= SMALL || instants.is_multiple_of(INTEGRITY_PERIOD) {
            world.state.check_integrity();
        }
    }
    world.state.check_integrity();
    world.record.waits = world.state.waits(&world.model);
    world.record.residency = world.state.residency(&world.model);
    Ok(world.record)
}

impl<'a> World<'a> {
    fn new(workload: &'a Workload, setup: &Setup) -> anyhow::Result<Self> {
        let programs = &workload.programs;
        let arrivals = programs
            .iter()
            .enumerate()
            .map(|(index, program)| (program.arrival, index));
        let mut world = Self {
            workload,
            state: State::new(),
            model: ModelName::parse("unit")?,
            now: Micros::ZERO,
            engines: Vec::new(),
            open: BTreeMap::new(),
            keys: BTreeMap::new(),
            ready: BTreeSet::new(),
            arrivals: arrivals.collect(),
            missing: programs
                .iter()
                .map(|p| p.calls.iter().map(|c| c.parents.len()).collect())
                .collect(),
            left: programs.iter().map(|program| program.calls.len()).collect(),
            wake: None,
            next_key: 0,
            record: Record {
                programs: vec![None; programs.len()],
                calls: programs
                    .iter()
                    .map(|program| vec![None; program.calls.len()])
                    .collect(),
                ..Record::default()
            },
        };
        let model = world.model.clone();
        let mut events = vec![Event::PoolAdded {
            model: model.clone(),
            settings: setup.settings.clone(),
            cold_start_hold: Micros::MAX,
        }];
        for index in 0..setup.engines {
            let id = EngineId::parse(&format!("engine-{index}"))?;
            let (slots, kv_tokens) = (setup.slots, setup.kv_tokens);
            world
                .engines
                .push(UnitEngine::new(id.clone(), slots, kv_tokens));
            events.push(Event::EngineUp {
                engine: id,
                model: model.clone(),
                revision: Revision::default(),
                slots,
                kv_tokens,
            });
        }
        world.tell(events);
        Ok(world)
    }

    fn service(&self, (program, call): At) -> Micros {
        self.workload.programs[program].calls[call].service
    }

    /// When something happens next.
    fn next_instant(&self) -> Option<Micros> {
        let running = self
            .engines
            .iter()
            .flat_map(|engine| &engine.running)
            .map(|key| {
                let remaining = self.service(self.open[key].at) - self.open[key].done;
                let quantum = self
                    .state
                    .quantum_left(*key)
                    .filter(|left| *left > Micros::ZERO);
                self.now + quantum.map_or(remaining, |quantum| quantum.min(remaining))
            });
        let ready = self.ready.first().map(|(at, _)| *at);
        let arrival = self.arrivals.first().map(|(at, _)| *at);
        running.chain(ready).chain(arrival).chain(self.wake).min()
    }

    /// Goes to the next instant and tells the state all of it.
    fn pass(&mut self, next: Micros) -> anyhow::Result<()> {
        let passed = next - self.now;
        self.now = next;
        let mut events = Vec::new();
        let mut ended = Vec::new();
        let running: Vec<CallKey> = self
            .engines
            .iter()
            .flat_map(|engine| engine.running.iter().copied())
            .collect();
        for key in running {
            let Some(open) = self.open.get_mut(&key) else {
                continue;
            };
            open.done += passed;
            let service = self.workload.programs[open.at.0].calls[open.at.1].service;
            if open.done >= service {
                ended.push(key);
                events.extend(self.end(key));
            } else {
                events.extend(self.report(key, CallState::Running));
            }
        }
        if self.wake.is_some_and(|at| at <= next) {
            self.wake = None;
            events.push(Event::Tick);
        }
        self.news(&mut events)?;
        self.tell(events);
        for key in ended {
            self.note_end(key);
        }
        self.run_engines();
        Ok(())
    }

    fn usage(&self, open: &Open, is_end: bool) -> CallUsage {
        let spec = &self.workload.programs[open.at.0].calls[open.at.1];
        let share =
            u128::from(open.done.0) * u128::from(spec.output.0) / u128::from(spec.service.0.max(1));
        CallUsage {
            prompt_tokens: spec.prompt,
            cached_tokens: Tokens(0),
            output_tokens: if is_end {
                spec.output
            } else {
                Tokens(share as u32)
            },
            executor_us: open.done,
        }
    }

    fn report(&self, key: CallKey, state: CallState) -> Option<Event> {
        let open = self.open.get(&key)?;
        let usage = self.usage(open, false);
        Some(Event::Progress {
            call: key,
            attempt: open.seat?.attempt,
            state,
            usage,
        })
    }

    /// A call ends: its seat is free, and children may become ready.
    fn end(&mut self, key: CallKey) -> Option<Event> {
        self.close_slice(key);
        let open = self.open.get(&key)?;
        let (seat, at) = (open.seat?, open.at);
        let usage = Some(self.usage(open, true));
        self.engines[seat.engine].end(key, seat.order);
        self.left[at.0] -= 1;
        let calls = &self.workload.programs[at.0].calls;
        for (child, spec) in calls.iter().enumerate() {
            let times = spec
                .parents
                .iter()
                .filter(|parent| **parent == at.1)
                .count();
            if times > 0 {
                self.missing[at.0][child] -= times;
                if self.missing[at.0][child] == 0 {
                    self.ready.insert((self.now + spec.gap, (at.0, child)));
                }
            }
        }
        let outcome = Outcome::Completed;
        Some(Event::Ended {
            call: key,
            attempt: seat.attempt,
            outcome,
            usage,
        })
    }

    /// Programs that arrive, calls that become ready, and programs that are over, in the order of the workload.
    fn news(&mut self, events: &mut Vec<Event>) -> anyhow::Result<()> {
        while let Some((at, program)) = self
            .arrivals
            .first()
            .copied()
            .filter(|(at, _)| *at <= self.now)
        {
            self.arrivals.remove(&(at, program));
            for (index, call) in self.workload.programs[program].calls.iter().enumerate() {
                if call.parents.is_empty() {
                    self.ready.insert((at + call.gap, (program, index)));
                }
            }
        }
        let mut ready: Vec<At> = Vec::new();
        while let Some(entry) = self
            .ready
            .first()
            .copied()
            .filter(|(at, _)| *at <= self.now)
        {
            self.ready.remove(&entry);
            ready.push(entry.1);
        }
        ready.sort_unstable();
        for at in ready {
            let program = self.program(at.0);
            if !self.state.is_live(&program) {
                // A program ends with its last call here, and never by waiting.
                let class = self.workload.programs[at.0].class.clone();
                events.push(Event::ProgramOpened {
                    program,
                    class,
                    ttl: Some(Micros::MAX),
                    blocks: None,
                });
            }
            events.push(self.arrive(at)?);
        }
        Ok(())
    }

    fn program(&self, program: usize) -> ProgramKey {
        let spec = &self.workload.programs[program];
        ProgramKey {
            tenant: spec.tenant.clone(),
            program: spec.program.clone(),
        }
    }

    fn arrive(&mut self, at: At) -> anyhow::Result<Event> {
        let spec = &self.workload.programs[at.0];
        let call = &spec.calls[at.1];
        self.next_key += 1;
        let key = CallKey(self.next_key);
        let parents = call
            .parents
            .iter()
            .map(|parent| name(self.keys[&(at.0, *parent)]));
        let parents = if call.says_parents {
            Parents::Named(parents.collect::<anyhow::Result<_>>()?)
        } else {
            Parents::Unsaid
        };
        let (done, seat) = (Micros::ZERO, None);
        self.open.insert(
            key,
            Open {
                at,
                seat,
                done,
                running_since: None,
                first_start: None,
            },
        );
        self.keys.insert(at, key);
        Ok(Event::CallArrived(NewCall {
            key,
            id: name(key)?,
            program: self.program(at.0),
            class: spec.class.clone(),
            thread: call.thread.clone(),
            parents,
            model: self.model.clone(),
            source: IdentitySource::Headers,
            prompt_tokens: call.prompt,
            expected_output_tokens: call.output,
        }))
    }

    /// Notes what the state knows of a call that ended, and of its program if that was the last.
    fn note_end(&mut self, key: CallKey) {
        let Some(open) = self.open.remove(&key) else {
            return;
        };
        let (program, call) = open.at;
        let key_of_program = self.program(program);
        let view = name(key)
            .ok()
            .and_then(|id| self.state.call(&key_of_program.tenant, &id));
        if let Some(view) = view {
            let start = open.first_start.unwrap_or(self.now);
            self.record.calls[program][call] = Some(CallEnd { start, view });
        }
        if self.left[program] == 0 {
            self.tell(vec![Event::ProgramEnd {
                program: key_of_program.clone(),
            }]);
            let row = self.state.program(&key_of_program).map(|view| view.summary);
            self.record.programs[program] = row.map(|row| ProgramEnd { end: self.now, row });
        }
    }

    fn tell(&mut self, events: Vec<Event>) {
        for action in self.state.on_all(events, self.now) {
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
                let found = self.engines.iter().position(|other| other.id == engine);
                let engine = found.expect("calls go to engines that there are");
                let open = self
                    .open
                    .get_mut(&call)
                    .expect("what is dispatched is open");
                let spec = &self.workload.programs[open.at.0].calls[open.at.1];
                let size = u64::from(spec.prompt.0) + u64::from(spec.output.0);
                self.engines[engine].take(call, order, size);
                assert!(open.seat.is_none(), "a call is dispatched once");
                open.seat = Some(Seat {
                    engine,
                    attempt,
                    order,
                });
            }
            Action::Reorder { call, order, .. } => {
                let Some(seat) = self.open.get_mut(&call).and_then(|open| open.seat.as_mut())
                else {
                    return;
                };
                let before = std::mem::replace(&mut seat.order, order);
                self.engines[seat.engine].reorder(call, before, order);
            }
            // The end of time: when programs here expire.
            Action::Release { .. } | Action::WakeAt(Micros::MAX) => {}
            Action::WakeAt(at) => self.wake = Some(self.wake.map_or(at, |wake| wake.min(at))),
            Action::Cancel { call, .. } | Action::Refuse { call, .. } => {
                panic!("nothing in a workload ends call {call:?} early")
            }
        }
    }

    /// Lets engines take up and leave calls until nothing changes.
    fn run_engines(&mut self) {
        loop {
            let mut events = Vec::new();
            for index in 0..self.engines.len() {
                let turnover = self.engines[index].step();
                for key in turnover.stopped {
                    self.close_slice(key);
                    events.extend(self.report(key, CallState::Preempted));
                }
                for key in turnover.started {
                    if let Some(open) = self.open.get_mut(&key) {
                        open.running_since = Some(self.now);
                        open.first_start.get_or_insert(self.now);
                    }
                    events.extend(self.report(key, CallState::Running));
                }
            }
            if events.is_empty() {
                return;
            }
            self.tell(events);
        }
    }

    fn close_slice(&mut self, key: CallKey) {
        let Some(open) = self.open.get_mut(&key) else {
            return;
        };
        let (Some(start), Some(seat)) = (open.running_since.take(), open.seat) else {
            return;
        };
        if start == self.now {
            return;
        }
        let ((program, call), end) = (open.at, self.now);
        let engine = self.engines[seat.engine].id.clone();
        let slices = &mut self.record.slices;
        let adjacent = slices
            .iter_mut()
            .rev()
            .take_while(|slice| slice.end >= start)
            .find(|slice| {
                (slice.program, slice.call, &slice.engine, slice.end)
                    == (program, call, &engine, start)
            });
        match adjacent {
            Some(slice) => slice.end = end,
            None => slices.push(Slice {
                program,
                call,
                engine,
                start,
                end,
            }),
        }
    }
}
