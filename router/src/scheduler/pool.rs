//! One model's calls and engines. Owns: where each call stands in the queues, and every change of it. What is
//! dispatched is decided in `dispatch`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;
use lps_api::ids::{EngineId, ModelName, Revision};
use lps_api::quantity::{Micros, Order};
use lps_api::scheduling::{Policy, Settings};

use super::engine::Engine;
use super::patience::Patience;
use crate::message::{Action, CallKey, Intake};
use crate::process_table::{Call, ProcessTable, Reason, RowId, Scan, Stage};

/// One model's calls and engines.
#[derive(Debug)]
pub struct Pool {
    pub(super) model: ModelName,
    pub(super) settings: Settings,
    /// In the order in which they joined.
    pub(super) engines: IndexMap<EngineId, Engine>,
    /// Revisions of engines that take every call.
    pub(super) open_revisions: Vec<Revision>,
    /// Revisions of engines that only take calls of their programs.
    pub(super) pinned_revisions: Vec<Revision>,
    /// Calls that are held here, in the order of the scan.
    pub(super) held: BTreeMap<Scan, CallKey>,
    /// The same calls, the oldest first.
    pub(super) ages: BTreeSet<(Micros, CallKey)>,
    /// How many of them expect so many KV tokens.
    pub(super) sizes: BTreeMap<u64, u32>,
    /// Calls at engines, by program. Looked up only.
    pub(super) seats_of: HashMap<RowId, u32>,
    pub(super) patience: Patience,
    /// Calls that used their quanta since the last decision.
    spent: BTreeSet<(Scan, CallKey)>,
    /// How long calls are held while no engine takes them.
    cold_start_hold: Micros,
    /// Since when no engine takes every call.
    pub(super) closed_since: Option<Micros>,
    pub(super) dispatches: u64,
    tail_rank: i64,
    head_rank: i64,
    /// Calls that were put between two others, and one.
    inserted: i64,
    is_removed: bool,
    pub(super) ended_waits: [Micros; Reason::ALL.len()],
}

/// Where a call goes in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Head,
    /// Next to the call of this rank.
    Behind(i64),
    Tail,
}

/// Distance of two ranks at an end: as many places are between two calls.
const RANK_STEP: i64 = 1 << 20;

impl Pool {
    /// A pool without engines.
    pub fn new(model: ModelName, settings: Settings, now: Micros) -> Self {
        Self {
            is_removed: false,
            ..Self::unserved(model, settings, now)
        }
    }

    /// A pool that has engines before it is served.
    pub fn unserved(model: ModelName, settings: Settings, now: Micros) -> Self {
        Self {
            model,
            settings,
            engines: IndexMap::new(),
            open_revisions: Vec::new(),
            pinned_revisions: Vec::new(),
            held: BTreeMap::new(),
            ages: BTreeSet::new(),
            sizes: BTreeMap::new(),
            seats_of: HashMap::new(),
            patience: Patience::default(),
            spent: BTreeSet::new(),
            cold_start_hold: Micros::MAX,
            closed_since: Some(now),
            dispatches: 0,
            tail_rank: 0,
            head_rank: 0,
            inserted: 1,
            is_removed: true,
            ended_waits: [Micros::ZERO; Reason::ALL.len()],
        }
    }

    /// The rules in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether calls may come in.
    pub fn is_served(&self) -> bool {
        !self.is_removed
    }

    /// Whether it may be forgotten.
    pub fn is_over(&self) -> bool {
        self.is_removed && self.engines.is_empty() && self.seats_of.is_empty()
    }

    /// Calls that are held here.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes new rules: every call stands anew, in the order in which it stood.
    pub fn configure(
        &mut self,
        settings: Settings,
        table: &mut ProcessTable,
        out: &mut Vec<Action>,
    ) {
        self.is_removed = false;
        if settings == self.settings {
            return;
        }
        self.settings = settings;
        let seats = self
            .engines
            .values()
            .flat_map(|engine| engine.seats().map(|(_, seat)| seat.call));
        let keys: Vec<CallKey> = seats.chain(self.held.values().copied()).collect();
        for key in keys {
            let Some(call) = table.call(key) else {
                continue;
            };
            let queue = self.settings.queue_of(call.p);
            let scan = self.scan_at(End::Tail, queue, call);
            self.stand(key, scan, table, out);
            if !self.settings.displaces() {
                let order = self.order_of_dispatch();
                self.seat_anew(key, order, (table, out), false);
            }
        }
    }

    /// The model is served no more.
    pub fn remove(&mut self, table: &mut ProcessTable) -> Vec<CallKey> {
        self.is_removed = true;
        let held: Vec<CallKey> = self.held.values().copied().collect();
        for key in &held {
            self.leave(*key, table);
        }
        held
    }

    /// A call that just became ready.
    pub fn enter(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        let Some(call) = table.call(key) else { return };
        let queue = self.settings.queue_of(call.p);
        let scan = self.scan_at(End::Tail, queue, call);
        if let Some(call) = table.call_mut(key) {
            call.place.scan = scan;
        }
        self.hold(key, table, now);
    }

    /// A call whose attempt failed: it takes its old place again.
    pub fn take_back(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        self.leave(key, table);
        table.drop_attempt(key);
        self.hold(key, table, now);
    }

    fn hold(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        let reason = self.reason_to_hold();
        table.wait(key, reason, now);
        let Some(call) = table.call(key) else { return };
        self.held.insert(call.place.scan, key);
        self.ages.insert((call.ready_at, key));
        *self.sizes.entry(call.size()).or_default() += 1;
        let row = call.row;
        self.await_turn(key, table);
        self.arm(row, table, now);
    }

    pub(super) fn reason_to_hold(&self) -> Reason {
        if self
            .engines
            .values()
            .any(|engine| engine.intake == Intake::All)
        {
            Reason::NoCapacity
        } else if self.engines.is_empty() {
            Reason::EngineStarting
        } else {
            Reason::Draining
        }
    }

    /// Takes a call out of wherever it stands. It stays in the table.
    pub fn leave(&mut self, key: CallKey, table: &ProcessTable) {
        let Some(call) = table.call(key) else { return };
        self.spent.remove(&(call.place.scan, key));
        self.forget_waits(call);
        match &call.stage {
            Stage::Held => self.unhold(call),
            Stage::Sent { engine, .. } => {
                if let Some(engine) = self.engines.get_mut(engine) {
                    engine.stand_up(key, call.place.order);
                }
                if let Some(seats) = self.seats_of.get_mut(&call.row) {
                    *seats -= 1;
                    if *seats == 0 {
                        self.seats_of.remove(&call.row);
                    }
                }
            }
            Stage::Ended { .. } => {}
        }
        self.release_reserve(key);
    }

    /// No room is kept for the call any more.
    pub(super) fn release_reserve(&mut self, key: CallKey) {
        for engine in self.engines.values_mut() {
            engine.reserve.take_if(|reserve| reserve.call == key);
        }
    }

    /// What ended waits took is summed up.
    pub fn count_waits(&mut self, call: &Call, now: Micros) {
        for (reason, wait) in call.wait.by_reason(now) {
            self.ended_waits[reason as usize] += wait;
        }
    }

    pub(super) fn unhold(&mut self, call: &Call) {
        if self.held.remove(&call.place.scan).is_none() {
            return;
        }
        self.ages.remove(&(call.ready_at, call.key));
        if let Some(count) = self.sizes.get_mut(&call.size()) {
            *count -= 1;
            if *count == 0 {
                self.sizes.remove(&call.size());
            }
        }
    }

    /// The least that a held call expects.
    pub(super) fn least_size(&self) -> u64 {
        self.sizes.first_key_value().map_or(0, |(size, _)| *size)
    }

    /// The place next to a rank. Those that were inserted before have used the places before it.
    pub(super) fn rank_behind(&self, rank: i64) -> i64 {
        rank.div_euclid(RANK_STEP) * RANK_STEP + self.inserted % RANK_STEP
    }

    /// A place in a queue.
    pub(super) fn scan_at(&mut self, end: End, queue: u8, call: &Call) -> Scan {
        let rank = match end {
            End::Head => {
                self.head_rank -= RANK_STEP;
                self.head_rank
            }
            End::Behind(rank) => {
                let behind = self.rank_behind(rank);
                self.inserted += 1;
                behind
            }
            End::Tail => {
                self.tail_rank += RANK_STEP;
                self.tail_rank
            }
        };
        let one_queue = self.settings.policy.has_one_queue() && end != End::Head;
        let urgency = if one_queue { call.p } else { Micros::ZERO };
        let by_program = one_queue && self.settings.policy == Policy::ProgramFcfs;
        let program = if by_program {
            call.row
        } else {
            RowId::default()
        };
        Scan {
            queue,
            urgency,
            program,
            rank,
        }
    }

    /// A place at an engine where nobody is displaced: behind all that were dispatched before.
    pub(super) fn order_of_dispatch(&mut self) -> Order {
        self.tail_rank += RANK_STEP;
        Order {
            queue: 0,
            rank: self.tail_rank,
        }
    }

    /// Gives a call another place, with a full quantum.
    pub(super) fn stand(
        &mut self,
        key: CallKey,
        scan: Scan,
        table: &mut ProcessTable,
        out: &mut Vec<Action>,
    ) {
        let Some(call) = table.call_mut(key) else {
            return;
        };
        let is_demoted = scan.queue > call.place.scan.queue;
        let before = std::mem::replace(&mut call.place.scan, scan);
        call.place.used = Micros::ZERO;
        if call.stage == Stage::Held {
            if self.held.remove(&before).is_some() {
                self.held.insert(scan, key);
            }
        } else if self.settings.displaces() {
            let order = Order {
                queue: scan.queue,
                rank: scan.rank,
            };
            self.seat_anew(key, order, (table, out), is_demoted);
        }
    }

    fn seat_anew(
        &mut self,
        key: CallKey,
        order: Order,
        (table, out): (&mut ProcessTable, &mut Vec<Action>),
        is_demoted: bool,
    ) {
        let Some(call) = table.call_mut(key) else {
            return;
        };
        let Some(id) = call.engine().cloned() else {
            return;
        };
        let before = std::mem::replace(&mut call.place.order, order);
        if let Some(engine) = self.engines.get_mut(&id)
            && engine.reorder(key, (before, order), is_demoted)
        {
            out.push(Action::Reorder {
                call: key,
                engine: id,
                order,
            });
        }
    }

    /// A call used some of its quantum.
    pub fn use_quantum(&mut self, key: CallKey, service: Micros, table: &mut ProcessTable) {
        let Some(call) = table.call_mut(key) else {
            return;
        };
        call.place.used += service;
        let quantum = self.settings.quantum(call.place.scan.queue);
        if quantum.is_some_and(|quantum| call.place.used >= quantum) {
            self.spent.insert((call.place.scan, key));
        }
    }

    /// Demotes who used their quanta, in the order of the scan; whether there was one. Where a report comes late, what was used beyond the
    /// quantum counts for the next.
    pub fn demote(&mut self, table: &mut ProcessTable, now: Micros, out: &mut Vec<Action>) -> bool {
        let spent = std::mem::take(&mut self.spent);
        let any = !spent.is_empty();
        for (_, key) in spent {
            while let Some(call) = table.call(key)
                && let Some(quantum) = self.settings.quantum(call.place.scan.queue)
                && call.place.used >= quantum
            {
                let beyond = call.place.used - quantum;
                let queue = (call.place.scan.queue + 1).min(self.settings.last_queue());
                let scan = self.scan_at(End::Tail, queue, call);
                self.stand(key, scan, table, out);
                if let Some(call) = table.call_mut(key) {
                    call.place.used = beyond;
                    call.place.demotions += 1;
                }
            }
            let row = table
                .call(key)
                .filter(|call| call.wait.since().is_some())
                .map(|call| call.row);
            if let Some(row) = row {
                self.arm(row, table, now);
            }
        }
        any
    }

    /// A call is in a batch; whether for the first time. To be told before its wait ends.
    pub fn start(&mut self, call: &Call) -> bool {
        self.forget_waits(call);
        let engine = call.engine().and_then(|id| self.engines.get_mut(id));
        engine.is_some_and(|engine| engine.start(call.key, call.place.order))
    }

    /// A call lost its slot.
    pub fn preempted(&mut self, key: CallKey, table: &ProcessTable, now: Micros) {
        if let Some(call) = table.call(key) {
            let row = call.row;
            self.await_turn(key, table);
            self.arm(row, table, now);
        }
    }

    /// How long calls are held from now on while no engine takes them.
    pub fn set_cold_start_hold(&mut self, hold: Micros) {
        self.cold_start_hold = hold;
    }

    /// Held calls that have waited too long for an engine.
    pub fn given_up(&self, now: Micros) -> Vec<CallKey> {
        let hold = self.cold_start_hold;
        if self
            .closed_since
            .is_none_or(|since| since.saturating_add(hold) > now)
        {
            return Vec::new();
        }
        let given_up = self
            .ages
            .iter()
            .take_while(|(ready, _)| ready.saturating_add(hold) <= now);
        given_up.map(|(_, key)| *key).collect()
    }

    /// When a rule changes something without an event.
    pub fn next_wake(&self) -> Option<Micros> {
        let hold = self.cold_start_hold;
        match self.closed_since {
            Some(since) => self
                .ages
                .first()
                .map(|(ready, _)| since.max(*ready).saturating_add(hold)),
            None => self.patience.next(),
        }
    }

    /// Whether no engine could ever hold the call's prompt.
    pub fn is_too_long(&self, call: &Call) -> bool {
        let prompt = u64::from(call.prompt_tokens.0);
        let most = self
            .engines
            .values()
            .map(|engine| engine.limits.kv_tokens)
            .max();
        most.is_some_and(|most| prompt > most)
    }
}
