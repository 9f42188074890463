//! One model's calls and engines. Owns: where each call stands in the queues, and every change of it. What is
//! dispatched is decided in `dispatch`.

use std::collections::{BTreeMap, BTreeSet};

use lps_api::ids::{EngineId, ModelName, Revision};
use lps_api::quantity::Micros;
use lps_api::scheduling::{Policy, Settings};

use super::classes::Classes;
use super::engines::{Engines, Sharing};
use super::lines::{GROUPS, Lines};
use super::patience::Patience;
use super::places::{End, Turns};
use super::residency::Residency;
use super::tenants::Tenants;
use crate::message::{Action, CallKey, Intake, ProgramKey};
use crate::process_table::{ByNumber, Call, Over, ProcessTable, Reason, RowId, Scan, Stage};

/// One model's calls and engines.
#[derive(Debug)]
pub struct Pool {
    pub(super) model: ModelName,
    pub(super) settings: Settings,
    /// In the order in which they joined.
    pub(super) engines: Engines,
    /// Revisions of engines that take every call.
    pub(super) open_revisions: Vec<Revision>,
    /// Revisions of engines that only take calls of their programs.
    pub(super) pinned_revisions: Vec<Revision>,
    /// Calls that are held here, in the order of the scan.
    pub(super) held: BTreeMap<Scan, CallKey>,
    /// The same calls by what they wait for; those that wait for one engine stand there.
    pub(super) lines: Lines,
    /// Those for whose homes nobody has to wait any longer.
    pub(super) roaming: Lines,
    /// Those whose programs hold as many slots as they may: of each program, the short ones and the long ones.
    pub(super) limited: BTreeMap<(RowId, bool, Scan), CallKey>,
    /// Programs that may have another slot, and of whose calls only the first ones were told.
    pub(super) half_told: BTreeSet<RowId>,
    /// The same calls, the oldest first, by group of lines.
    pub(super) ages: [BTreeSet<(Micros, CallKey)>; GROUPS],
    /// How many of them expect so many KV tokens, by group of lines.
    pub(super) sizes: [BTreeMap<u64, u32>; GROUPS],
    /// Those that no look has met yet.
    pub(super) fresh: Vec<CallKey>,
    /// Programs with calls here, held or at engines.
    pub(super) members: ByNumber<RowId, Member>,
    /// Which engines keep a program.
    pub(super) resident_at: ByNumber<RowId, Vec<EngineId>>,
    pub(super) residency: Residency,
    /// Something that a look found to be kept or full is free: the next look finds it.
    pub(super) is_room_freed: bool,
    /// Programs that engines need not keep any longer.
    pub(super) released: Vec<(ProgramKey, EngineId)>,
    pub(super) classes: Classes,
    pub(super) tenants: Tenants,
    pub(super) turns: Turns,
    /// When somebody who waits for room may get it without an event.
    pub(super) room_at: Option<Micros>,
    pub(super) patience: Patience,
    /// Calls that used their quanta since the last decision.
    pub(super) spent: BTreeSet<(Scan, CallKey)>,
    /// How long calls are held while no engine takes them.
    cold_start_hold: Micros,
    /// Since when no engine takes every call.
    pub(super) closed_since: Option<Micros>,
    pub(super) dispatches: u64,
    pub(super) tail_rank: i64,
    pub(super) head_rank: i64,
    /// Calls that were put between two others, and one.
    pub(super) inserted: i64,
    is_removed: bool,
    /// A call may be able to go that was not before.
    is_changed: bool,
    pub(super) ended_waits: [Micros; Reason::ALL.len()],
}

/// Calls of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Member {
    /// At engines.
    pub(super) seats: u32,
    /// Held here.
    pub(super) held: u32,
    /// Of those, that wait for a slot of their program.
    pub(super) limited: u32,
}

impl Member {
    /// Held calls that do not wait for a slot of the program.
    pub(super) fn told(&self) -> u32 {
        self.held - self.limited
    }
}

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
        let engines = Engines::new(Sharing::from(&settings));
        Self {
            model,
            settings,
            engines,
            open_revisions: Vec::new(),
            pinned_revisions: Vec::new(),
            held: BTreeMap::new(),
            lines: Lines::default(),
            roaming: Lines::default(),
            limited: BTreeMap::new(),
            half_told: BTreeSet::new(),
            ages: Default::default(),
            sizes: Default::default(),
            fresh: Vec::new(),
            members: ByNumber::default(),
            resident_at: ByNumber::default(),
            residency: Residency::default(),
            is_room_freed: false,
            released: Vec::new(),
            classes: Classes::default(),
            tenants: Tenants::default(),
            turns: Turns::default(),
            room_at: None,
            patience: Patience::default(),
            spent: BTreeSet::new(),
            cold_start_hold: Micros::MAX,
            closed_since: Some(now),
            dispatches: 0,
            tail_rank: 0,
            head_rank: 0,
            inserted: 1,
            is_removed: true,
            is_changed: false,
            ended_waits: [Micros::ZERO; Reason::ALL.len()],
        }
    }

    /// The rules in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it serves.
    pub fn model(&self) -> &ModelName {
        &self.model
    }

    /// A call may be able to go that was not before.
    pub fn changed(&mut self) {
        self.is_changed = true;
    }

    /// Whether something changed since this was last asked. Until the next change, the engines show what they could take.
    pub fn take_changed(&mut self) -> bool {
        self.engines.renew();
        std::mem::take(&mut self.is_changed)
    }

    /// Whether calls may come in.
    pub fn is_served(&self) -> bool {
        !self.is_removed
    }

    /// Whether it may be forgotten.
    pub fn is_over(&self) -> bool {
        self.is_removed && self.engines.is_empty() && self.members.is_empty()
    }

    /// Calls that are held here.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes new rules: every call stands anew, in the order in which it stood.
    pub fn configure(
        &mut self,
        settings: Settings,
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        self.is_removed = false;
        let mut settings = settings;
        self.classes.count_in(settings.unit);
        if settings.auto_bounds && self.settings.auto_bounds {
            // What was found stays.
            settings.bounds.clone_from(&self.settings.bounds);
        } else if settings.auto_bounds
            && let Some(bounds) = self.classes.bounds_now()
        {
            settings.bounds = bounds;
        }
        if settings == self.settings {
            return;
        }
        self.settings = settings;
        self.engines.share(Sharing::from(&self.settings));
        let seats = self
            .engines
            .values()
            .flat_map(|engine| engine.seats().map(|(_, seat)| seat.call));
        let keys: Vec<CallKey> = seats.chain(self.held.values().copied()).collect();
        self.patience = Patience::default();
        for key in keys {
            let Some(call) = table.call(key) else {
                continue;
            };
            let queue = self.settings.queue_of(call.p);
            let scan = self.scan_at(End::Tail, queue, call);
            self.stand(key, scan, (table, now), out);
            if !self.settings.displaces() {
                let order = self.order_of_dispatch();
                self.seat_anew(key, order, (table, out), false);
            }
            self.await_all(key, table, now);
        }
        if !self.settings.working_set {
            self.resident_at.clear();
            for engine in self.engines.values_mut() {
                engine.set = Default::default();
            }
        }
        self.line_up_all(table, now);
    }

    /// The model is served no more.
    pub fn remove(&mut self, table: &mut ProcessTable, now: Micros) -> Vec<CallKey> {
        self.is_removed = true;
        let held: Vec<CallKey> = self.held.values().copied().collect();
        for key in &held {
            self.leave(*key, table, now);
        }
        held
    }

    /// A call that just became ready.
    pub fn enter(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        self.introduce(key, table);
        let Some(call) = table.call(key) else { return };
        let queue = self.settings.queue_of(call.p);
        let scan = self.scan_at(End::Tail, queue, call);
        if let Some(call) = table.call_mut(key) {
            call.place.scan = scan;
        }
        self.wake_program(key, table);
        self.hold(key, table, now);
    }

    /// Finds out whose a call is, and what its class has shown.
    fn introduce(&mut self, key: CallKey, table: &mut ProcessTable) {
        let Some(call) = table.call(key) else { return };
        let Some(row) = table.row(call.row) else {
            return;
        };
        let class = self.classes.of(&row.key.tenant, &row.class);
        if let Some(gap) = row.last_gap() {
            self.classes.gap(class, gap);
        }
        let weight = self.settings.weight_milli(&row.key.tenant);
        let tenant = self.tenants.of(&row.key.tenant, weight);
        let index = (self.settings.policy == Policy::Gittins)
            .then(|| self.classes.index(class, row.service_total()))
            .map(|index| call.expected_service.unwrap_or(index));
        if let Some(call) = table.call_mut(key) {
            (call.place.class, call.place.tenant) = (class, tenant);
            call.p = index.unwrap_or(call.p);
        }
    }

    /// A call used so much. Whether that may have changed whose turn it is.
    pub fn charge(&mut self, key: CallKey, service: Micros, table: &ProcessTable) -> bool {
        let Some(call) = table.call(key).filter(|_| service > Micros::ZERO) else {
            return false;
        };
        self.tenants.charge(call.tenant(), service, call.service());
        let is_lead_due = |(slots, most)| self.tenants.is_lead_due(slots, most);
        self.tenants.are_several()
            && (!self.held.is_empty() || self.lead_step().is_some_and(is_lead_due))
    }

    /// A program finished: what its class, and the pool, learn from it.
    pub fn learn(&mut self, over: &Over) {
        let (tenant, name) = &over.tenant_class;
        let class = self.classes.of(tenant, name);
        self.classes.finished(class, over.service);
        if self.settings.auto_bounds
            && let Some(bounds) = self.classes.bounds()
        {
            self.settings.bounds = bounds;
        }
    }

    /// A call whose attempt failed: it takes its old place again.
    pub fn take_back(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        self.leave(key, table, now);
        table.drop_attempt(key);
        self.hold(key, table, now);
        self.wake_program(key, table);
    }

    fn hold(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        let reason = self.reason_to_hold();
        table.wait(key, reason, now);
        let Some(call) = table.call(key) else { return };
        self.held.insert(call.place.scan, key);
        let row = call.row;
        self.members.entry(row).or_default().held += 1;
        self.tenants.hold(call.tenant());
        self.line_up(key, table, now);
        self.fresh.push(key);
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
    pub fn leave(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        let Some(call) = table.call(key) else {
            return;
        };
        let (row, class) = (call.row, call.place.class);
        self.spent.remove(&(call.place.scan, key));
        self.forget_waits(call);
        match &call.stage {
            Stage::Held => self.unhold(call),
            Stage::Sent { engine } => {
                if let Some(engine) = self.engines.get_mut(engine) {
                    engine.stand_up(key, call.place.order);
                }
                self.count_member(call.row, |member| member.seats -= 1);
                self.tenants.stand_up(call.tenant());
                self.leave_set(call, table);
            }
        }
        self.unlimit(row, table, now);
        self.rest_program((row, class), table, now);
        self.release_reserve(key);
    }

    /// A program's calls here become more or fewer.
    pub(super) fn count_member(&mut self, row: RowId, change: impl Fn(&mut Member)) {
        let member = self.members.entry(row).or_default();
        change(member);
        if *member == Member::default() {
            self.members.remove(&row);
        }
    }

    /// No room is kept for the call any more.
    pub(super) fn release_reserve(&mut self, key: CallKey) {
        let keep: Vec<usize> = self
            .engines
            .find(|most| most.keeps)
            .map(|(index, _)| index)
            .collect();
        for index in keep {
            if let Some((_, engine)) = self.engines.get_index_mut(index) {
                let reserve = engine.reserve.take_if(|reserve| reserve.call == key);
                let claim = engine.claim.take_if(|claim| claim.call == key);
                // Lines were closed for it that nothing else keeps from going.
                let kept = [reserve, claim].into_iter().flatten();
                self.is_room_freed |= kept.filter(|kept| kept.left == 0).count() > 0;
            }
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
        self.step_out(call);
        self.tenants.unhold(call.tenant());
        self.count_member(call.row, |member| member.held -= 1);
    }

    /// The least that a held call expects.
    pub(super) fn least_size(&self) -> u64 {
        let sizes = self.sizes[..2].iter();
        let least = sizes.filter_map(|sizes| sizes.first_key_value());
        least.map(|(size, _)| *size).min().unwrap_or(0)
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
        let given_up = self.ages.iter().flat_map(|ages| {
            ages.iter()
                .take_while(|(ready, _)| ready.saturating_add(hold) <= now)
        });
        given_up.map(|(_, key)| *key).collect()
    }

    /// Of the held calls the one that has been ready for longest, and since when it is.
    pub(super) fn oldest_held(&self) -> Option<(Micros, CallKey)> {
        self.ages.iter().filter_map(BTreeSet::first).min().copied()
    }

    /// When a rule changes something without an event.
    pub fn next_wake(&self) -> Option<Micros> {
        let hold = self.cold_start_hold;
        match self.closed_since {
            Some(since) => {
                let oldest = self.oldest_held();
                oldest.map(|(ready, _)| since.max(ready).saturating_add(hold))
            }
            None => self.patience.next().into_iter().chain(self.room_at).min(),
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
