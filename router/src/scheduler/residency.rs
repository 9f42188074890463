//! Which programs an engine keeps. Owns: the rules of admission, leases, pauses and resumption (as ThunderAgent,
//! arXiv 2602.13692, and Continuum, arXiv 2511.02230, do at the backend and in the engine). The sums are `working_set`'s.

use lps_api::ids::EngineId;
use lps_api::quantity::Micros;

use super::engine::Engine;
use super::engines::Gauge;
use super::pool::Pool;
use super::working_set::Context;
use crate::message::{CallKey, ProgramKey};
use crate::process_table::{Call, ClassId, ProcessTable, RowId};

/// How a program comes to an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is there, or nobody counts.
    Resident,
    /// There is room.
    Admitted,
    /// There is, when programs go whose leases are over.
    Pausing,
    /// There is none: it comes alone, or it has waited long enough.
    Forced,
}

/// A program that comes to an engine with a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    row: RowId,
    call: CallKey,
    context: Context,
    /// An engine keeps it.
    is_resident: bool,
    /// It has waited for room as long as it must.
    is_overdue: bool,
}

/// What a pool counts of its working sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Residency {
    /// Programs that lost their places to others.
    pub pauses: u64,
    /// Admissions beyond the watermark.
    pub forced: u64,
}

impl Pool {
    /// What is counted of working sets.
    pub fn residency(&self) -> Residency {
        self.residency
    }

    /// Whether any engine keeps the program.
    pub(super) fn is_resident(&self, row: RowId) -> bool {
        self.resident_at.contains_key(&row)
    }

    /// KV tokens up to which an engine admits.
    fn watermark(&self, engine: &Engine) -> u64 {
        share_of(engine.limits.kv_tokens, self.settings.kv_watermark_milli)
    }

    /// What a call brings.
    pub(super) fn context(&self, call: &Call) -> Context {
        let (tokens, class) = (call.size(), call.place.class);
        let shared = self
            .classes
            .shared(class)
            .min(u64::from(call.prompt_tokens.0));
        Context {
            tokens,
            class,
            shared,
        }
    }

    /// Whether a call has waited for room as long as it must.
    fn is_overdue(&self, call: &Call, now: Micros) -> bool {
        self.pause_end(call).is_some_and(|end| end <= now)
    }

    /// What the program of a call asks of engines.
    pub(super) fn arrival(&self, call: &Call, now: Micros) -> Arrival {
        Arrival {
            row: call.row,
            call: call.key,
            context: self.context(call),
            is_resident: self.is_resident(call.row),
            is_overdue: self.is_overdue(call, now),
        }
    }

    /// Whether and how a program comes to an engine; `None`: there is no room.
    pub(super) fn entry(&self, engine: &Engine, of: &Arrival) -> Option<Entry> {
        if !self.settings.working_set || (of.is_resident && engine.set.holds(of.row)) {
            return Some(Entry::Resident);
        }
        if of.is_overdue {
            return Some(Entry::Forced);
        }
        let keeper = engine.claim.filter(|claim| claim.left == 0);
        if keeper.is_some_and(|keeper| keeper.call != of.call) {
            return None;
        }
        let mark = self.watermark(engine);
        let need = engine.set.need(of.context).min(engine.limits.kv_tokens);
        if engine.set.used() + need <= mark {
            return Some(Entry::Admitted);
        }
        if engine.set.room(mark).is_some_and(|room| need <= room) {
            return Some(Entry::Pausing);
        }
        (need > mark && engine.set.is_free_for_one()).then_some(Entry::Forced)
    }

    /// Whether the program of a call could be admitted, if no engine has more room than so much.
    pub(super) fn could_be_admitted(&self, call: &Call, most: Option<u64>, now: Micros) -> bool {
        let own = self.context(call).own();
        let has_claim = |engine: &Engine| engine.claim.is_some_and(|claim| claim.call == call.key);
        most.is_some_and(|most| own <= most)
            || self.is_resident(call.row)
            || self.is_overdue(call, now)
            || self.engines.values().any(has_claim)
    }

    /// Whether a program needs room that it may not have.
    fn is_to_be_admitted(&self, of: &Arrival) -> bool {
        self.settings.working_set && !of.is_resident && !of.is_overdue
    }

    /// Whether surely no engine has room for a program.
    pub(super) fn are_too_full(&self, of: &Arrival) -> bool {
        self.is_to_be_admitted(of) && self.engines.are_too_full(of.context.own())
    }

    /// Whether an engine surely has no room for a program.
    pub(super) fn is_too_full(&self, (index, gauge): (usize, &Gauge), of: &Arrival) -> bool {
        let least = of.context.own().min(gauge.kv_tokens);
        self.is_to_be_admitted(of)
            && !gauge.keeps
            && self
                .engines
                .room_to_admit(index)
                .is_none_or(|room| room < least)
    }

    /// Whether the first of those who wait for admission has waited long enough.
    pub(super) fn is_anyone_overdue(&self, now: Micros) -> bool {
        let first = self.ages[1].first();
        first.is_some_and(|(ready, _)| {
            let most = self.settings.max_pause;
            most.is_some_and(|most| ready.saturating_add(most) <= now)
        })
    }

    /// A call goes to an engine: its program comes with it, and those go that have to. Whether the program left another.
    pub(super) fn bring(
        &mut self,
        (key, index, entry): (CallKey, usize, Entry),
        table: &mut ProcessTable,
        now: Micros,
    ) -> bool {
        if !self.settings.working_set {
            return false;
        }
        let Some(call) = table.call(key) else {
            return false;
        };
        let (row, thread, context) = (call.row, call.thread.clone(), self.context(call));
        let Some((id, engine)) = self.engines.get_index_mut(index) else {
            return false;
        };
        let (id, most, before) = (id.clone(), engine.limits.kv_tokens, engine.set.used());
        let mut gone = Vec::new();
        if entry != Entry::Resident && !engine.set.holds(row) {
            let mark = share_of(most, self.settings.kv_watermark_milli);
            gone = engine.set.make_room(context, (mark, most));
            if entry == Entry::Forced {
                gone.extend(engine.set.clear_quiet());
                self.residency.forced += 1;
            }
            engine.set.admit(row, context);
            self.resident_at.entry(row).or_default().push(id.clone());
        }
        engine
            .set
            .sit(row, (key, &thread), context.tokens.min(most));
        if let Entry::Admitted | Entry::Pausing = entry {
            let mark = share_of(most, self.settings.kv_watermark_milli);
            let used = engine.set.used();
            assert!(
                used <= mark,
                "admitted beyond the watermark: {used} of {mark}"
            );
        }
        gone.extend(engine.set.shrink(most, row));
        self.is_room_freed |= engine.set.used() < before;
        self.pause_all(gone, &id, table, now);
        let elsewhere: Vec<EngineId> = self
            .resident_at
            .get(&row)
            .into_iter()
            .flatten()
            .filter(|other| **other != id)
            .cloned()
            .collect();
        let mut has_left = false;
        for other in elsewhere {
            self.is_room_freed = true;
            let engine = self.engines.get_mut(&other);
            if engine.is_some_and(|engine| engine.set.forget_thread(row, &thread)) {
                self.dismiss(row, &other);
                self.release(row, other, table);
                has_left = true;
            }
        }
        has_left
    }

    /// Programs lost their places.
    fn pause_all(
        &mut self,
        gone: Vec<RowId>,
        engine: &EngineId,
        table: &mut ProcessTable,
        now: Micros,
    ) {
        for row in gone {
            self.changed();
            self.residency.pauses += 1;
            if let Some(row) = table.row_mut(row) {
                row.pauses += 1;
            }
            self.dismiss(row, engine);
            self.realign_program(row, table, now);
        }
    }

    /// A program has no place at an engine any more. Its pages stay there and age, for it may come back before others
    /// need them.
    fn dismiss(&mut self, row: RowId, engine: &EngineId) {
        if let Some(it) = self.engines.get_mut(engine) {
            it.set.remove(row);
        }
        if let Some(engines) = self.resident_at.get_mut(&row) {
            engines.retain(|other| other != engine);
            if engines.is_empty() {
                self.resident_at.remove(&row);
            }
        }
    }

    /// A program will not come back to an engine: its pages may go first.
    fn release(&mut self, row: RowId, engine: EngineId, table: &ProcessTable) {
        if let Some(row) = table.row(row) {
            self.released.push((row.key.clone(), engine));
        }
    }

    /// A program calls: it is between two calls no longer, and threads that end in the call keep nothing.
    pub(super) fn wake_program(&mut self, key: CallKey, table: &ProcessTable) {
        let Some(call) = table.call(key) else { return };
        let joined = table.joined_by(call);
        for id in self.resident_at.get(&call.row).into_iter().flatten() {
            if let Some(engine) = self.engines.get_mut(id) {
                engine.set.wake(call.row);
                for thread in &joined {
                    engine.set.forget_thread(call.row, thread);
                }
            }
        }
    }

    /// A call leaves its engine: its thread keeps what it had.
    pub(super) fn leave_set(&mut self, call: &Call, table: &ProcessTable) {
        let usage = call.usage();
        let row = table.row(call.row);
        let is_first =
            row.is_some_and(|row| row.ended().next().is_none() && row.open().nth(1).is_none());
        if is_first && usage.prompt_tokens.0 > 0 {
            let cached = u64::from(usage.cached_tokens.0);
            self.classes.first_call(call.place.class, cached);
        }
        let prompt = usage.prompt_tokens.max(call.prompt_tokens);
        let tokens = u64::from(prompt.0) + u64::from(usage.output_tokens.0);
        if let Some(engine) = call.engine().and_then(|id| self.engines.get_mut(id)) {
            let tokens = tokens.min(engine.limits.kv_tokens);
            let left = (call.thread.clone(), tokens);
            engine.set.stand_up(call.row, call.key, left);
        }
    }

    /// A program may be between two calls now.
    pub(super) fn rest_program(
        &mut self,
        (row, class): (RowId, ClassId),
        table: &mut ProcessTable,
        now: Micros,
    ) {
        let is_quiet = !self.members.contains_key(&row);
        let engines = self.resident_at.get(&row).cloned().unwrap_or_default();
        let lease = self.settings.acting_lease;
        let lease = lease.unwrap_or_else(|| self.classes.lease(class));
        for id in engines {
            let Some(engine) = self.engines.get_mut(&id) else {
                continue;
            };
            if is_quiet {
                engine.set.rest(row, now.saturating_add(lease));
            }
            let gone = engine.set.shrink(engine.limits.kv_tokens, RowId::default());
            self.pause_all(gone, &id, table, now);
        }
    }

    /// A call takes more than was booked for it.
    pub fn grow(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        let Some(call) = table.call(key) else { return };
        let usage = call.usage();
        let prompt = usage.prompt_tokens.max(call.prompt_tokens);
        let output = usage.output_tokens.max(call.expected_output_tokens);
        let tokens = u64::from(prompt.0) + u64::from(output.0);
        if tokens <= call.size() || !self.settings.working_set {
            return;
        }
        let (row, id) = (call.row, call.engine().cloned());
        if let Some(id) = id
            && let Some(engine) = self.engines.get_mut(&id)
        {
            let most = engine.limits.kv_tokens;
            engine.set.grow(row, key, tokens.min(most));
            let gone = engine.set.shrink(most, row);
            self.pause_all(gone, &id, table, now);
        }
    }

    /// A program is over. Gives back the engines that kept it.
    pub fn program_over(&mut self, row: RowId) -> Vec<EngineId> {
        let engines = self.resident_at.remove(&row).unwrap_or_default();
        for id in &engines {
            if let Some(engine) = self.engines.get_mut(id) {
                engine.set.remove(row);
            }
        }
        engines
    }

    /// An engine is gone, and what it kept with it.
    pub(super) fn forget_residents(&mut self, engine: &EngineId) {
        self.resident_at.retain(|_, engines| {
            engines.retain(|other| other != engine);
            !engines.is_empty()
        });
    }

    /// Programs that engines need not keep, since this was last asked.
    pub fn take_released(&mut self) -> Vec<(ProgramKey, EngineId)> {
        std::mem::take(&mut self.released)
    }

    /// When somebody who waits for room may get it without an event: a lease ends, or the wait does.
    pub(super) fn next_room(&self, now: Micros) -> Option<Micros> {
        if self.ages[1].is_empty() {
            return None;
        }
        let ends = self.engines.most().next_lease.into_iter();
        ends.chain(self.next_pause_end(now)).min()
    }

    /// When the next call need not wait for room any longer: the oldest one whose time has not come yet.
    pub(super) fn next_pause_end(&self, now: Micros) -> Option<Micros> {
        let most = self.settings.max_pause?;
        let began = |(ready, _): &(Micros, CallKey)| ready.saturating_add(most);
        let later = match now.0.checked_sub(most.0) {
            Some(over) => self.ages[1].range((Micros(over + 1), CallKey(0))..).next(),
            None => self.ages[1].first(),
        };
        later.map(began)
    }
}

/// So many thousandths, rounded down, without overflow.
pub(super) const fn share_of(tokens: u64, milli: u32) -> u64 {
    let milli = milli as u64;
    tokens / 1_000 * milli + tokens % 1_000 * milli / 1_000
}
