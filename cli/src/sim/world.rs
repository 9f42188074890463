//! Virtual time. Owns: what happens at which instant between clients, the production state and simulated engines. Each
//! instant is told to the state at once: what ended, what was used, what became ready, in the order of the workload.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::bail;
use lps_api::ids::{EngineId, ModelName, Revision};
use lps_api::protocol::CallState;
use lps_api::quantity::{Attempt, Micros};
use lps_api::scheduling::Settings;
use lps_router::message::{CallKey, Event, NewCall, Outcome, ProgramKey};
use lps_router::state::State;

use super::clients::{At, Clients};
use super::engine::{Engine, EngineSpec, Told};
use super::faults::{FaultPlan, Faults};
use super::naming::{Finder, Found, Naming};
use super::progress::Far;
use super::record::{CallEnd, ProgramEnd, Record, name};
use super::reports::Reports;
use crate::workload::Workload;

/// Instants between two looks at the state's integrity, where looking costs more than simulating.
const INTEGRITY_PERIOD: u64 = 64;
/// Instants between two tellings of how far it is.
const WATCH_PERIOD: u64 = 64;
/// Programs up to which every instant is looked at.
const SMALL: usize = 64;

/// Where a workload runs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The pool's rules.
    pub settings: Settings,
    /// What each engine is.
    pub engine: EngineSpec,
    /// Engines.
    pub engines: u32,
    /// What goes wrong, if anything does.
    pub faults: Option<FaultPlan>,
    /// Whether the state's invariants are checked on the way.
    pub checks: bool,
    /// When it stops, whatever is left.
    pub until: Option<Micros>,
    /// Whether the scheduler is told what each program will still need.
    pub clairvoyant: bool,
    /// Who says which program a call is of.
    pub naming: Naming,
}

/// A call that is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) at: At,
    pub(super) program: Arc<ProgramKey>,
    pub(super) seat: Option<Seat>,
    /// What it has answered so far, over all attempts.
    pub(super) answered: u32,
    /// What the state has heard of the present attempt's service.
    pub(super) heard: Micros,
    /// Its answer is complete; what is left is to note it.
    pub(super) has_ended: bool,
    /// Until it is dispatched for the first time: dispatches before it came, and calls that were held then.
    pub(super) queued: Option<(u64, u64)>,
    /// Since when it runs.
    running_since: Option<Micros>,
    first_start: Option<Micros>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) engine: usize,
    pub(super) attempt: Attempt,
}

/// An engine, or none where it is away.
pub(super) struct Place {
    pub(super) id: EngineId,
    pub(super) engine: Option<Box<dyn Engine>>,
}

pub(super) struct World<'a> {
    pub(super) workload: &'a Workload,
    pub(super) setup: &'a Setup,
    pub(super) state: State,
    pub(super) model: ModelName,
    pub(super) now: Micros,
    pub(super) places: Vec<Place>,
    pub(super) clients: Clients<'a>,
    pub(super) open: HashMap<CallKey, Open>,
    /// Names of calls that were sent, so that their children can name them.
    pub(super) keys: HashMap<At, CallKey>,
    pub(super) programs: Vec<Arc<ProgramKey>>,
    pub(super) finder: Finder,
    /// Where calls belong whose clients did not say.
    pub(super) found: HashMap<At, Found>,
    pub(super) faults: Option<Faults>,
    pub(super) reports: Reports,
    pub(super) retries: BTreeMap<At, u32>,
    pub(super) wake: Option<Micros>,
    next_key: u64,
    /// Calls that were never dispatched.
    pub(super) held: u64,
    told: Vec<Told>,
    pub(super) record: Record,
    far: Far,
}

/// Runs a workload to its end.
///
/// # Errors
/// When it comes to a standstill.
pub fn simulate(workload: &Workload, setup: &Setup) -> anyhow::Result<Record> {
    simulate_watched(workload, setup, &mut |_| {})
}

/// The same, and tells now and then how far it is.
///
/// # Errors
/// When it comes to a standstill.
pub fn simulate_watched(
    workload: &Workload,
    setup: &Setup,
    watch: &mut dyn FnMut(Far),
) -> anyhow::Result<Record> {
    let mut world = World::new(workload, setup)?;
    let is_small = workload.programs.len() <= SMALL;
    let mut instants = 0_u64;
    while !world.clients.is_done() {
        let Some(next) = world.next_instant() else {
            bail!(
                "the simulation stands still at {}: calls are left that nothing starts",
                world.now
            );
        };
        if setup.until.is_some_and(|until| next > until) {
            break;
        }
        world.pass(next)?;
        instants += 1;
        if instants.is_multiple_of(WATCH_PERIOD) {
            watch(world.far);
        }
        if setup.checks && (is_small || instants.is_multiple_of(INTEGRITY_PERIOD)) {
            world.check();
        }
    }
    if world.clients.is_done() {
        world.check_rest();
    }
    let engines = world
        .places
        .iter()
        .filter_map(|place| place.engine.as_ref());
    world.record.computed_tokens += engines.map(|engine| engine.computed_tokens()).sum::<u64>();
    world.record.waits = world.state.waits(&world.model);
    world.record.residency = world.state.residency(&world.model);
    Ok(world.record)
}

impl<'a> World<'a> {
    fn new(workload: &'a Workload, setup: &'a Setup) -> anyhow::Result<Self> {
        let key = |spec: &crate::workload::ProgramSpec| {
            Arc::new(ProgramKey {
                tenant: spec.tenant.clone(),
                program: spec.program.clone(),
            })
        };
        let model = ModelName::parse("unit")?;
        let mut world = Self {
            workload,
            setup,
            state: State::new(),
            now: Micros::ZERO,
            places: Vec::new(),
            clients: Clients::new(workload),
            open: HashMap::new(),
            keys: HashMap::new(),
            programs: workload.programs.iter().map(key).collect(),
            finder: Finder::default(),
            found: HashMap::new(),
            faults: setup.faults.map(|plan| Faults::new(plan, setup.engines)),
            reports: Reports::default(),
            retries: BTreeMap::new(),
            wake: None,
            next_key: 0,
            held: 0,
            told: Vec::new(),
            record: Record::new(workload),
            far: Far::default(),
            model: model.clone(),
        };
        let mut events = vec![Event::PoolAdded {
            model,
            settings: setup.settings.clone(),
            cold_start_hold: Micros::MAX,
        }];
        for index in 0..setup.engines {
            let id = EngineId::parse(&format!("engine-{index}"))?;
            let engine = None;
            world.places.push(Place { id, engine });
            events.push(world.start_engine(index as usize));
        }
        world.tell(events)?;
        Ok(world)
    }

    /// An engine is there, empty.
    pub(super) fn start_engine(&mut self, index: usize) -> Event {
        let spec = &self.setup.engine;
        let place = &mut self.places[index];
        place.engine = Some(spec.engine());
        Event::EngineUp {
            engine: place.id.clone(),
            model: self.model.clone(),
            revision: Revision::default(),
            slots: spec.slots(),
            kv_tokens: spec.kv_tokens(),
        }
    }

    /// When something happens next.
    fn next_instant(&self) -> Option<Micros> {
        let quantum_left = |call| self.state.quantum_left(call);
        let engines = self.places.iter().filter_map(|place| place.engine.as_ref());
        let engines = engines.filter_map(|engine| engine.next(&quantum_left));
        let rest = [
            self.clients.next(),
            self.wake,
            self.faults.as_ref().map(Faults::next),
            self.reports.next(),
        ];
        engines.chain(rest.into_iter().flatten()).min()
    }

    /// Goes to the next instant and tells the state all of it.
    fn pass(&mut self, next: Micros) -> anyhow::Result<()> {
        (self.now, self.far.now) = (next, next);
        let mut told = std::mem::take(&mut self.told);
        for place in &mut self.places {
            if let Some(engine) = &mut place.engine {
                engine.pass(next, &mut told);
            }
        }
        let mut events = Vec::new();
        let mut ended = Vec::new();
        for told in told.drain(..) {
            if told.state == CallState::Finished {
                ended.push(told.call);
                events.extend(self.end(told));
            } else {
                self.report(told, &mut events);
            }
        }
        self.told = told;
        self.reports.due(next, &mut events);
        if self.wake.is_some_and(|at| at <= next) {
            self.wake = None;
            events.push(Event::Tick);
        }
        self.go_wrong(&mut events, &mut ended)?;
        for at in self.clients.send(next) {
            self.open_program(at.0, &mut events);
            events.push(self.send(at)?);
        }
        self.tell(events)?;
        for call in ended {
            self.note_end(call)?;
        }
        self.run_engines()
    }

    /// What an engine says of a call that goes on.
    fn report(&mut self, told: Told, events: &mut Vec<Event>) {
        match told.state {
            CallState::Running => {
                if let Some(open) = self.open.get_mut(&told.call) {
                    open.running_since.get_or_insert(self.now);
                    open.first_start.get_or_insert(self.now);
                }
            }
            _ => self.close_slice(told.call),
        }
        let Some(open) = self.open.get_mut(&told.call) else {
            return;
        };
        open.answered = open.answered.max(told.usage.output_tokens.0);
        let Some(seat) = open.seat else { return };
        let event = Event::Progress {
            call: told.call,
            attempt: seat.attempt,
            state: told.state,
            usage: told.usage,
        };
        self.reports.pass_on(event, self.now, events);
    }

    /// A call ends: its seat is free, and children may become ready.
    fn end(&mut self, told: Told) -> Option<Event> {
        self.close_slice(told.call);
        let open = self.open.get_mut(&told.call)?;
        let attempt = open.seat.take()?.attempt;
        open.has_ended = true;
        self.record.observed += told.usage.executor_us;
        let at = open.at;
        self.clients.end(at, self.now);
        self.found_answered(at);
        Some(Event::Ended {
            call: told.call,
            attempt,
            outcome: Outcome::Completed,
            usage: Some(told.usage),
        })
    }

    fn open_program(&self, program: usize, events: &mut Vec<Event>) {
        let key = &self.programs[program];
        if !self.setup.naming.is_said() || self.state.is_live(key) {
            return;
        }
        // A program ends with its last call here, and never by waiting.
        events.push(Event::ProgramOpened {
            program: ProgramKey::clone(key),
            class: self.workload.programs[program].class.clone(),
            ttl: Some(Micros::MAX),
            blocks: None,
        });
    }

    fn send(&mut self, at: At) -> anyhow::Result<Event> {
        let spec = &self.workload.programs[at.0];
        let call = &spec.calls[at.1];
        self.next_key += 1;
        let key = CallKey(self.next_key);
        let put = self.put(at, key)?;
        self.keys.insert(at, key);
        let queued = Some((self.record.dispatches, self.held));
        self.held += 1;
        let event = Event::CallArrived(NewCall {
            key,
            id: put.call.clone(),
            program: ProgramKey::clone(&put.program),
            class: spec.class.clone(),
            thread: put.thread.clone(),
            parents: put.parents.clone(),
            model: self.model.clone(),
            source: put.source,
            prompt_tokens: call.prompt,
            expected_output_tokens: call.output,
            expected_service: self.setup.clairvoyant.then(|| self.clients.work_left(at.0)),
        });
        self.open.insert(
            key,
            Open {
                at,
                program: Arc::clone(&put.program),
                seat: None,
                answered: 0,
                heard: Micros::ZERO,
                has_ended: false,
                queued,
                running_since: None,
                first_start: None,
            },
        );
        self.record.put.push(put);
        Ok(event)
    }

    /// Notes what the state knows of a call that ended, and of its program if that was the last.
    pub(super) fn note_end(&mut self, key: CallKey) -> anyhow::Result<()> {
        let Some(open) = self.open.remove(&key) else {
            return Ok(());
        };
        self.far.calls += 1;
        let (program, call) = open.at;
        let view = self.state.call(&open.program.tenant, &name(key)?);
        if let Some(view) = view {
            let start = open.first_start.unwrap_or(self.now);
            self.record.calls[program][call] = Some(CallEnd { start, view });
        }
        if self.clients.is_over(program) {
            // Its last calls may end at the same instant.
            self.far.programs += u64::from(self.record.programs[program].is_none());
            let key = ProgramKey::clone(&open.program);
            if self.setup.naming.is_said() {
                self.tell(vec![Event::ProgramEnd { program: key }])?;
            }
            let row = self.state.program(&open.program).map(|view| view.summary);
            let end = self.now;
            self.record.programs[program] = row.map(|row| ProgramEnd { end, row });
        }
        Ok(())
    }

    pub(super) fn tell(&mut self, events: Vec<Event>) -> anyhow::Result<()> {
        for event in &events {
            self.hear(event);
        }
        for action in self.state.on_all(events, self.now) {
            self.act(action)?;
        }
        Ok(())
    }

    fn hear(&mut self, event: &Event) {
        let Event::Progress {
            call,
            attempt,
            usage,
            ..
        } = event
        else {
            return;
        };
        if let Some(open) = self.open.get_mut(call)
            && open.seat.is_some_and(|seat| seat.attempt == *attempt)
        {
            open.heard = open.heard.max(usage.executor_us);
        }
    }

    /// Lets engines take up and leave calls until nothing changes.
    fn run_engines(&mut self) -> anyhow::Result<()> {
        loop {
            let mut told = std::mem::take(&mut self.told);
            for place in &mut self.places {
                if let Some(engine) = &mut place.engine {
                    engine.settle(self.now, &mut told);
                }
            }
            let mut events = Vec::new();
            for told in told.drain(..) {
                self.report(told, &mut events);
            }
            self.told = told;
            if events.is_empty() {
                return Ok(());
            }
            self.tell(events)?;
        }
    }

    pub(super) fn close_slice(&mut self, key: CallKey) {
        let Some(open) = self.open.get_mut(&key) else {
            return;
        };
        if let (Some(start), Some(seat)) = (open.running_since.take(), open.seat) {
            let engine = &self.places[seat.engine].id;
            self.record.add_slice(open.at, engine, (start, self.now));
        }
    }
}
