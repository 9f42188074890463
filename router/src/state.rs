//! What the dispatcher decides with. Owns: the process table and the pools, and the order in which what happens at one
//! instant is taken. Pure: it knows no clock, no engine's address and no client.

mod demand;
mod look;
mod memory;
mod passing;
#[cfg(test)]
mod tests;
pub mod view;
mod watch;

use std::collections::BTreeMap;

use lps_api::ids::{EngineId, ModelName};
use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Attempt, Micros};
use lps_api::scheduling::Settings;

use crate::message::{Action, CallKey, Event, NewCall, Outcome, ProgramKey, Refusal};
use crate::process_table::{IDLE_LIMIT_OPENED, Opening, Phase, ProcessTable, Reason, RowId, Stage};
use crate::scheduler::{Limits, Pool};
use memory::Memory;

/// Process table and pools.
#[derive(Debug)]
pub struct State {
    table: ProcessTable,
    pools: BTreeMap<ModelName, Pool>,
    memory: Memory,
    /// The time of the last event.
    now: Micros,
    /// As of when it is read: that time, or a later one.
    read_at: Micros,
    /// The wake that was asked for last, until it comes.
    wake: Option<Micros>,
    /// Programs that the last events ended.
    ended: Vec<RowId>,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// A call's last word.
struct LastWord {
    call: CallKey,
    attempt: Attempt,
    outcome: Outcome,
    usage: Option<CallUsage>,
}

/// What an engine says of a call.
struct Report {
    call: CallKey,
    attempt: Attempt,
    state: CallState,
    usage: CallUsage,
}

impl State {
    /// Without pools, engines and programs.
    pub fn new() -> Self {
        Self {
            table: ProcessTable::default(),
            pools: BTreeMap::new(),
            memory: Memory::default(),
            now: Micros::ZERO,
            read_at: Micros::ZERO,
            wake: None,
            ended: Vec::new(),
        }
    }

    /// Nothing has happened until `now`: waits and ages are read as of then.
    pub fn as_of(&mut self, now: Micros) {
        self.read_at = self.read_at.max(now);
    }

    /// Takes one event and says what is to be done.
    pub fn on(&mut self, event: Event, now: Micros) -> Vec<Action> {
        self.on_all(vec![event], now)
    }

    /// Takes all that happened at one instant: first what ended, then what was used (and who is demoted for it), then
    /// what is new, in the order given; then decides.
    pub fn on_all(&mut self, events: Vec<Event>, now: Micros) -> Vec<Action> {
        let mut out = Vec::new();
        (self.now, self.read_at) = (now, now);
        self.table.forget_ended();
        self.ended.clear();
        let phase = |event: &Event| match event {
            Event::Ended { .. } | Event::AttemptFailed { .. } => 0,
            Event::Progress { .. } => 1,
            _ => 2,
        };
        let mut events = events;
        events.sort_by_key(phase);
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next_if(|event| phase(event) < 2) {
            self.take(event, &mut out);
        }
        for pool in self.pools.values_mut() {
            if pool.demote(&mut self.table, now, &mut out) {
                pool.changed();
            }
        }
        for event in events {
            self.take(event, &mut out);
        }
        self.pass_time(&mut out);
        self.decide(&mut out);
        self.ask_to_be_woken(&mut out);
        out
    }

    fn take(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::PoolAdded {
                model,
                settings,
                cold_start_hold,
            } => self.pool_added(model, (settings, cold_start_hold), out),
            Event::PoolRemoved { model } => self.pool_removed(&model, out),
            Event::EngineUp { .. } | Event::EngineIntake { .. } | Event::EngineGone { .. } => {
                self.engine_changed(event);
            }
            Event::ProgramOpened {
                program,
                class,
                ttl,
                blocks,
            } => {
                let idle_limit = ttl.unwrap_or(IDLE_LIMIT_OPENED);
                self.table.open(
                    Opening {
                        program,
                        class,
                        idle_limit,
                        blocks,
                    },
                    self.now,
                );
            }
            Event::ProgramEnd { program } => drop(self.table.close(&program, self.now)),
            Event::ProgramCancel { program } => self.program_cancel(&program, out),
            Event::CallArrived(call) => self.call_arrived(call, out),
            Event::Progress {
                call,
                attempt,
                state,
                usage,
            } => {
                self.progress(Report {
                    call,
                    attempt,
                    state,
                    usage,
                });
            }
            Event::Ended {
                call,
                attempt,
                outcome,
                usage,
            } => {
                self.ended(LastWord {
                    call,
                    attempt,
                    outcome,
                    usage,
                });
            }
            Event::AttemptFailed { call, attempt } => self.attempt_failed(call, attempt, out),
            Event::BackedOff { call, attempt } => self.backed_off(call, attempt),
            Event::CancelRequested { call } => self.cancel(call, out),
            // Whoever keeps the time may have passed over a later wake for the sake of this one.
            Event::Tick => self.wake = None,
        }
    }

    fn engine_changed(&mut self, event: Event) {
        match event {
            Event::EngineUp {
                engine,
                model,
                revision,
                slots,
                kv_tokens,
            } => {
                let limits = Limits {
                    revision,
                    slots,
                    kv_tokens,
                };
                self.engine_up(engine, model, limits);
            }
            Event::EngineIntake { engine, intake } => {
                self.with_engine(&engine, |pool, id| pool.engine_intake(id, intake));
            }
            Event::EngineGone { engine } => {
                self.with_engine(&engine, Pool::engine_gone);
            }
            _ => {}
        }
    }

    fn pool_added(
        &mut self,
        model: ModelName,
        (settings, cold_start_hold): (Settings, Micros),
        out: &mut Vec<Action>,
    ) {
        let new = || {
            let pool = Pool::new(model.clone(), settings.clone(), self.now);
            self.memory.recall(pool)
        };
        let pool = self.pools.entry(model.clone()).or_insert_with(new);
        pool.changed();
        pool.set_cold_start_hold(cold_start_hold);
        pool.configure(settings, (&mut self.table, self.now), out);
    }

    fn pool_removed(&mut self, model: &ModelName, out: &mut Vec<Action>) {
        let Some(pool) = self.pools.get_mut(model) else {
            return;
        };
        for call in pool.remove(&mut self.table, self.now) {
            self.refuse(call, Refusal::NoPool, out);
        }
        self.memory.forget_pools(&mut self.pools);
    }

    fn engine_up(&mut self, engine: EngineId, model: ModelName, limits: Limits) {
        let now = self.now;
        let new = || {
            let pool = Pool::unserved(model.clone(), Settings::default(), now);
            self.memory.recall(pool)
        };
        let pool = self.pools.entry(model.clone()).or_insert_with(new);
        pool.engine_up(engine, limits);
        pool.engines_changed(&mut self.table, now);
        pool.changed();
    }

    fn with_engine(&mut self, engine: &EngineId, change: impl Fn(&mut Pool, &EngineId)) {
        for pool in self.pools.values_mut() {
            if pool.has_engine(engine) {
                change(pool, engine);
                pool.engines_changed(&mut self.table, self.now);
                pool.changed();
            }
        }
        self.memory.forget_pools(&mut self.pools);
    }

    fn call_arrived(&mut self, new: NewCall, out: &mut Vec<Action>) {
        let key = new.key;
        let Some(pool) = self
            .pools
            .get_mut(&new.model)
            .filter(|pool| pool.is_served())
        else {
            out.push(Action::Refuse {
                call: key,
                reason: Refusal::NoPool,
            });
            return;
        };
        pool.changed();
        self.table.arrive(new, pool.settings(), self.now);
        if self
            .table
            .call(key)
            .is_some_and(|call| pool.is_too_long(call))
        {
            self.refuse(key, Refusal::TooLong, out);
        } else {
            pool.enter(key, &mut self.table, self.now);
        }
    }

    fn progress(&mut self, report: Report) {
        let Report {
            call: key,
            attempt,
            state,
            usage,
        } = report;
        let Some(call) = self.table.call(key) else {
            return;
        };
        if call.attempt != attempt || call.engine().is_none() || state.is_end() {
            return;
        }
        let was_running = call.phase == Phase::Running;
        let Some(pool) = self.pools.get_mut(&call.model) else {
            return;
        };
        let charge = self
            .table
            .charge((key, attempt), usage, pool.settings().unit);
        if pool.charge(key, charge.service, &self.table) {
            pool.changed();
        }
        pool.use_quantum(key, charge.service, &mut self.table);
        pool.grow(key, &mut self.table, self.now);
        match state {
            CallState::Running => {
                let is_first = self.table.call(key).is_some_and(|call| pool.start(call));
                self.table.run(key, charge.executor, self.now);
                if is_first {
                    pool.changed();
                }
            }
            CallState::Preempted if was_running => {
                self.table.wait(key, Reason::Preempted, self.now);
                if let Some(call) = self.table.call_mut(key) {
                    call.place.preemptions += 1;
                }
                pool.preempted(key, &self.table, self.now);
            }
            CallState::Preempted => self.table.wait(key, Reason::Preempted, self.now),
            _ => self.table.wait(key, Reason::EngineQueue, self.now),
        }
    }

    fn ended(&mut self, word: LastWord) {
        let LastWord {
            call: key,
            attempt,
            outcome,
            usage,
        } = word;
        let Some(call) = self.table.call(key) else {
            return;
        };
        let model = call.model.clone();
        let was_running = call.phase == Phase::Running;
        let mut pool = self.pools.get_mut(&model);
        if let (Some(usage), Some(pool)) = (usage, &mut pool) {
            let charge = self
                .table
                .charge((key, attempt), usage, pool.settings().unit);
            pool.charge(key, charge.service, &self.table);
            if !was_running && charge.executor > Micros::ZERO {
                if let Some(call) = self.table.call(key) {
                    pool.start(call);
                }
                self.table.run(key, charge.executor, self.now);
            }
        }
        self.close_call(key, outcome);
    }

    /// Takes a call out of its pool and out of the open ones.
    fn close_call(&mut self, key: CallKey, outcome: Outcome) {
        let Some(call) = self.table.call(key) else {
            return;
        };
        if let Some(pool) = self.pools.get_mut(&call.model) {
            pool.count_waits(call, self.now);
            pool.leave(key, &mut self.table, self.now);
            // Whatever it had, a seat or room that was kept for it, is free.
            pool.changed();
        }
        self.table.end(key, outcome, self.now);
    }

    fn attempt_failed(&mut self, key: CallKey, attempt: Attempt, out: &mut Vec<Action>) {
        let Some(call) = self.table.call(key) else {
            return;
        };
        if call.attempt != attempt || call.engine().is_none() {
            return;
        }
        let (model, is_cancelled) = (call.model.clone(), call.is_cancelled);
        let Some(pool) = self.pools.get_mut(&model) else {
            return;
        };
        pool.take_back(key, &mut self.table, self.now);
        pool.changed();
        if is_cancelled || !pool.is_served() {
            let reason = if is_cancelled {
                Refusal::Cancelled
            } else {
                Refusal::NoPool
            };
            self.refuse(key, reason, out);
        }
    }

    fn backed_off(&mut self, key: CallKey, attempt: Attempt) {
        let call = self.table.call(key);
        if call.is_some_and(|call| call.attempt == attempt && call.engine().is_some()) {
            self.table.wait(key, Reason::RetryBackoff, self.now);
        }
    }

    fn cancel(&mut self, key: CallKey, out: &mut Vec<Action>) {
        let Some(call) = self.table.call_mut(key) else {
            return;
        };
        match &call.stage {
            Stage::Held => self.refuse(key, Refusal::Cancelled, out),
            Stage::Sent { engine } if !call.is_cancelled => {
                let engine = engine.clone();
                call.is_cancelled = true;
                out.push(Action::Cancel { call: key, engine });
            }
            Stage::Sent { .. } => {}
        }
    }

    fn program_cancel(&mut self, program: &ProgramKey, out: &mut Vec<Action>) {
        for call in self.table.close(program, self.now) {
            // Whoever sent a call that only looks as if it went on here may be somebody else.
            if self.table.call(call).is_some_and(|call| !call.is_guessed) {
                self.cancel(call, out);
            }
        }
    }

    /// Ends a call that is held here.
    fn refuse(&mut self, key: CallKey, reason: Refusal, out: &mut Vec<Action>) {
        let outcome = match reason {
            Refusal::Cancelled => Outcome::Cancelled,
            Refusal::NoPool | Refusal::NoEngine | Refusal::TooLong => Outcome::Failed,
        };
        self.close_call(key, outcome);
        out.push(Action::Refuse { call: key, reason });
    }

    fn decide(&mut self, out: &mut Vec<Action>) {
        for pool in self.pools.values_mut() {
            let is_due = pool.next_wake().is_some_and(|at| at <= self.now);
            if pool.take_changed() || is_due {
                pool.decide(&mut self.table, self.now, out);
            }
            let released = pool.take_released().into_iter();
            out.extend(released.map(|(program, engine)| Action::Release { program, engine }));
        }
    }

    fn ask_to_be_woken(&mut self, out: &mut Vec<Action>) {
        if self.wake.is_some_and(|at| at <= self.now) {
            self.wake = None;
        }
        let pools = self.pools.values().filter_map(Pool::next_wake);
        let Some(next) = pools.chain(self.table.next_expiry()).min() else {
            return;
        };
        if self.wake.is_none_or(|asked| next < asked) {
            self.wake = Some(next);
            out.push(Action::WakeAt(next));
        }
    }

    /// Whether table, queues and seats agree.
    ///
    /// # Panics
    /// When they do not.
    pub fn check_integrity(&self) {
        self.table.check_integrity();
        for pool in self.pools.values() {
            pool.check_integrity(&self.table, self.now);
        }
    }
}
