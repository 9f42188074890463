//! One look through the lines: queue by queue, first come first served inside, and whoever fits goes (algorithm 1 with
//! backfill). Owns: the order in which held calls are tried, who is passed over, and every m-th dispatch.

use lps_api::quantity::{Micros, Order};

use super::backfill::PassedOver;
use super::engine::Ask;
use super::lines::{self, Kind, Queue};
use super::placement::{Refused, Target};
use super::places::End;
use super::pool::Pool;
use super::residency::Entry;
use crate::message::{Action, CallKey};
use crate::process_table::{Line, ProcessTable, Reason, Scan, Stage};

/// Calls that one look passes over, at most. Only where so many lack room can one behind them that fits have to wait for
/// the next event.
const PASSED_OVER_MAX: u32 = 32;
/// Of those, programs that lack room in the working sets, over all tenants: each was tried on every engine.
const REFUSED_MAX: u32 = 8;
/// The same for each of many tenants.
const PASSED_OVER_LEAST: u32 = 4;
/// Oldest calls of each group that are tried at an m-th dispatch, at most.
const OLDEST_TRIED_MAX: usize = 64;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Of those for whom any engine would do, or of those who wait for one.
    Line(Option<usize>, Kind),
    /// Of those who need not wait for their homes any longer.
    Roaming,
}

/// What a look has met so far.
#[derive(Debug)]
struct Look {
    tenant: u32,
    passed: Vec<PassedOver>,
    /// How far each line was looked at, by its number.
    until: Vec<Option<Scan>>,
    /// Lines of which nobody else can go.
    closed: Vec<bool>,
    left: u32,
    /// Programs that may still be refused admission.
    refused_left: u32,
}

impl Look {
    fn new(tenant: u32, (left, refused_left): (u32, u32), engines: usize) -> Self {
        let lines = At::count(engines);
        Self {
            tenant,
            passed: Vec::new(),
            until: vec![None; lines],
            closed: vec![false; lines],
            left,
            refused_left,
        }
    }
}

impl At {
    /// Lines that there are.
    const fn count(engines: usize) -> usize {
        (engines + 1) * Kind::ALL.len() + 1
    }

    /// A number for each.
    const fn number(self) -> usize {
        match self {
            Self::Roaming => 0,
            Self::Line(None, kind) => 1 + kind as usize,
            Self::Line(Some(engine), kind) => 1 + (engine + 1) * Kind::ALL.len() + kind as usize,
        }
    }
}

/// The first call of a line.
type Head = (Scan, CallKey, At);

impl Pool {
    /// Dispatches all that fits now.
    pub fn decide(&mut self, table: &mut ProcessTable, now: Micros, out: &mut Vec<Action>) {
        self.room_at = None;
        if self.open_revisions.is_empty() && self.pinned_revisions.is_empty() {
            return;
        }
        self.promote_due(table, now, out);
        for engine in self.engines.values_mut() {
            engine.is_closed_to_new = false;
        }
        while self.is_anything_open() {
            let tenants = self.tenants.in_turn();
            let left = PASSED_OVER_MAX / tenants.len().max(1) as u32;
            let (several, before) = (tenants.len() > 1, self.dispatches);
            let mut refused_left = REFUSED_MAX;
            for tenant in tenants {
                let left = left.max(PASSED_OVER_LEAST);
                let mut look = Look::new(tenant, (left, refused_left), self.engines.len());
                self.look_through(&mut look, (table, now), out);
                refused_left = look.refused_left;
            }
            // What one tenant's call freed (a reserve that it kept), another's may want.
            if !several || self.dispatches == before {
                break;
            }
        }
        self.note_fresh(table, now);
        self.room_at = self.next_lease_end(now);
    }

    /// What the smallest call would ask that stood first, or last: whoever is open for neither is open for none.
    fn best_and_worst(&self) -> [Ask; 2] {
        [(0, i64::MIN), (u8::MAX, i64::MAX)].map(|(queue, rank)| {
            let scan = Scan {
                queue,
                rank,
                ..Scan::default()
            };
            self.ask((CallKey(0), 0), scan, self.least_size())
        })
    }

    /// Whether the smallest call could go anywhere if it stood first, or wait if it stood last.
    fn is_anything_open(&self) -> bool {
        let ends = self.best_and_worst();
        let mut engines = self.engines.values();
        engines.any(|engine| ends.iter().any(|ask| engine.is_open_at(*ask)))
    }

    fn look_through(
        &mut self,
        look: &mut Look,
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        let mut heads = self.heads(look, table, now);
        loop {
            let next = (look.left > 0).then(|| self.next_head(&heads, table, now));
            let Some((scan, key, at)) = next.flatten() else {
                // However many were passed over in vain, whoever room is kept for has it.
                let Some((keeper, target)) = self.keeper_that_fits(table, now) else {
                    return;
                };
                self.dispatch(keeper, target, (table, now), out);
                look.closed.fill(false);
                heads = self.heads(look, table, now);
                continue;
            };
            match self.place(key, scan, table, now) {
                Ok(target) => {
                    self.dispatch_in_turn(&look.passed, (key, target), (table, now), out);
                    heads = self.heads(look, table, now);
                }
                Err(refused) => {
                    look.left -= 1;
                    if refused.reason == Reason::WorkingSet {
                        look.refused_left = look.refused_left.saturating_sub(1);
                    }
                    self.pass_over(key, refused, (table, now), &mut look.passed);
                    look.until[at.number()] = Some(scan);
                    heads.retain(|(.., other)| *other != at);
                    heads.extend(self.head(at, look, table, now));
                }
            }
        }
    }

    /// The first call of each line that could go.
    fn heads(&self, look: &mut Look, table: &mut ProcessTable, now: Micros) -> Vec<Head> {
        let mut heads = Vec::new();
        heads.extend(self.head(At::Roaming, look, table, now));
        for kind in Kind::ALL {
            heads.extend(self.head(At::Line(None, kind), look, table, now));
        }
        let ends = self.best_and_worst();
        for (index, engine) in self.engines.values().enumerate() {
            if !ends.iter().any(|ask| engine.is_open_at(*ask)) {
                continue;
            }
            for kind in Kind::ALL {
                if !engine.lines.of(kind).is_empty() {
                    heads.extend(self.head(At::Line(Some(index), kind), look, table, now));
                }
            }
        }
        heads
    }

    /// Who is next: the first of the scan; but where there is not room for both, whoever ran before is admitted before
    /// whoever is new.
    fn next_head(&self, heads: &[Head], table: &ProcessTable, now: Micros) -> Option<Head> {
        let first = heads.iter().min_by_key(|(scan, ..)| *scan).copied()?;
        if !matches!(first.2, At::Line(_, Kind::New)) {
            return Some(first);
        }
        let resuming = heads
            .iter()
            .filter(|(.., at)| matches!(at, At::Line(_, Kind::Resuming)))
            .min_by_key(|(scan, ..)| *scan)
            .copied();
        let calls = resuming.and_then(|(_, key, _)| Some([table.call(first.1)?, table.call(key)?]));
        match calls {
            Some(calls) if !self.has_room_for_both(calls, now) => resuming,
            _ => Some(first),
        }
    }

    fn line(&self, at: At) -> &Queue {
        match at {
            At::Line(None, kind) => self.lines.of(kind),
            At::Line(Some(engine), kind) => self.engines[engine].lines.of(kind),
            At::Roaming => &self.roaming,
        }
    }

    /// The first call of a line that this look has not met, unless none there can go.
    fn head(&self, at: At, look: &mut Look, table: &mut ProcessTable, now: Micros) -> Option<Head> {
        let is_admitting = matches!(at, At::Line(_, Kind::Resuming | Kind::New));
        if look.closed[at.number()] || (is_admitting && look.refused_left == 0) {
            return None;
        }
        let until = look.until[at.number()];
        let (scan, key) = lines::first(self.line(at), look.tenant, until)?;
        if self.is_open(at, (key, look.tenant, scan), table, now) {
            return Some((scan, key, at));
        }
        // Those behind it stand no better.
        look.closed[at.number()] = true;
        self.note_reserve(key, scan, table, now);
        None
    }

    /// Whether a call that stands there, or behind, could go to an engine that its line is for.
    fn is_open(
        &self,
        at: At,
        (key, tenant, scan): (CallKey, u32, Scan),
        table: &ProcessTable,
        now: Micros,
    ) -> bool {
        let least = self.ask((key, tenant), scan, self.least_size());
        let is_open = |index: usize| {
            let engine = &self.engines[index];
            let is_admitting = match at {
                At::Line(_, Kind::Flow) | At::Roaming => true,
                At::Line(_, Kind::Resuming) => self.could_admit(engine, now),
                At::Line(_, Kind::New) => !engine.is_closed_to_new && self.could_admit(engine, now),
            };
            let is_free = at != At::Roaming || engine.running() < engine.limits.slots;
            is_free
                && engine.is_open_at(least)
                && !self.is_reserved(engine, least, table)
                && is_admitting
        };
        match at {
            At::Line(Some(engine), _) => is_open(engine),
            _ => (0..self.engines.len()).any(is_open),
        }
    }

    /// A call is the first that goes nowhere: if that is for a reserve, it is to be known.
    fn note_reserve(&self, key: CallKey, scan: Scan, table: &mut ProcessTable, now: Micros) {
        let least = self.ask((key, 0), scan, self.least_size());
        let mut engines = self.engines.values();
        let is_kept = engines
            .any(|engine| engine.is_open_at(least) && self.is_reserved(engine, least, table));
        if is_kept {
            table.wait(key, Reason::BackfillReserve, now);
        }
    }

    /// Dispatches a call that fits, or in its stead the oldest, when it is that one's turn.
    fn dispatch_in_turn(
        &mut self,
        passed: &[PassedOver],
        (key, target): (CallKey, Target),
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        let (key, target) = match self.oldest(table, now) {
            Some((oldest, end, target)) => {
                self.move_to_first_queue(oldest, end, (table, now), out);
                (oldest, target)
            }
            None => (key, target),
        };
        self.reserve_for_passed(passed, key, target.engine, table);
        if matches!(target.entry, Entry::Admitted | Entry::Pausing) {
            self.claim_for_passed(passed, key, target.engine, table);
        }
        self.dispatch(key, target, (table, now), out);
    }

    fn pass_over(
        &mut self,
        key: CallKey,
        refused: Refused,
        (table, now): (&mut ProcessTable, Micros),
        passed: &mut Vec<PassedOver>,
    ) {
        let Refused {
            reason,
            too_full,
            is_kept_from_home,
        } = refused;
        table.wait(key, reason, now);
        if is_kept_from_home {
            self.await_home(key, table, now);
        }
        let lacks_admission = reason == Reason::WorkingSet;
        let resumes = table
            .call(key)
            .is_some_and(|call| matches!(call.place.line, Line::Admission { resumes: true, .. }));
        match too_full {
            Some(engine) => {
                if lacks_admission && resumes {
                    self.engines[engine].is_closed_to_new = true;
                }
                let is_first = passed.iter().all(|other| {
                    (other.engine, other.lacks_admission) != (engine, lacks_admission)
                });
                if is_first {
                    passed.push(PassedOver {
                        engine,
                        call: key,
                        lacks_admission,
                    });
                }
            }
            // Not room is what it lacks: none is kept for it.
            None if reason == Reason::ProgramLimit => self.release_reserve(key),
            None => {}
        }
        self.realign(key, table, now);
    }

    /// Calls that came since the last look and that this one did not meet: why they wait.
    fn note_fresh(&mut self, table: &mut ProcessTable, now: Micros) {
        for key in std::mem::take(&mut self.fresh) {
            let Some(call) = table.call(key).filter(|call| call.stage == Stage::Held) else {
                continue;
            };
            let reason = call.wait.reason().map(|(reason, _)| reason);
            if reason != Some(Reason::NoCapacity) {
                continue;
            }
            match call.place.line {
                Line::Home(_) => {
                    table.wait(key, Reason::HomeBusy, now);
                    self.await_home(key, table, now);
                }
                Line::Admission { ref home, .. } => {
                    let is_kept_from_home = home.is_some();
                    if let Some(reason) = self.reason(call, table) {
                        table.wait(key, reason, now);
                    }
                    if is_kept_from_home {
                        self.await_home(key, table, now);
                    }
                }
                Line::Limited => table.wait(key, Reason::ProgramLimit, now),
                Line::Anywhere => {
                    if let Some(reason) = self.reason(call, table) {
                        table.wait(key, reason, now);
                    }
                }
            }
        }
    }

    /// At every m-th dispatch: the oldest call that fits in queue 1, and where it goes. It stands at the queue's head
    /// if it runs at once. Where only a wait in an engine is to be had it stands next to those that run there, since at
    /// the head it would displace one of its own queue.
    fn oldest(&self, table: &ProcessTable, now: Micros) -> Option<(CallKey, End, Target)> {
        let every = u64::from(self.settings.oldest_every?);
        if !(self.dispatches + 1).is_multiple_of(every) {
            return None;
        }
        let place = |key, rank| {
            let scan = Scan {
                rank,
                ..Scan::default()
            };
            self.place(key, scan, table, now).ok()
        };
        let flowing = self.ages[0].iter().take(OLDEST_TRIED_MAX);
        let waiting = self.ages[1].iter().take(OLDEST_TRIED_MAX);
        let mut oldest: Vec<(Micros, CallKey)> = flowing.chain(waiting).copied().collect();
        oldest.sort_unstable();
        oldest.into_iter().find_map(|(_, key)| {
            if let Some(target) = place(key, i64::MIN) {
                return Some((key, End::Head, target));
            }
            self.engines
                .values()
                .enumerate()
                .find_map(|(index, engine)| {
                    let worst = engine.worst().filter(|worst| worst.queue == 0)?.rank;
                    let target = place(key, self.rank_behind(worst))?;
                    (target.engine == index).then_some((key, End::Behind(worst), target))
                })
        })
    }

    fn move_to_first_queue(
        &mut self,
        key: CallKey,
        end: End,
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        if let Some(call) = table.call(key) {
            let scan = self.scan_at(end, 0, call);
            self.stand(key, scan, (table, now), out);
        }
    }

    fn dispatch(
        &mut self,
        key: CallKey,
        target: Target,
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        let Some(call) = table.call(key).cloned() else {
            return;
        };
        self.forget_waits(&call);
        self.unhold(&call);
        let (row, scan, size) = (call.row, call.place.scan, call.size());
        self.dispatches += 1;
        self.release_reserve(key);
        let order = if self.settings.displaces() {
            Order {
                queue: scan.queue,
                rank: scan.rank,
            }
        } else {
            self.order_of_dispatch()
        };
        let Some((id, engine)) = self.engines.get_index_mut(target.engine) else {
            return;
        };
        let id = id.clone();
        engine.sit((key, call.tenant()), order, size);
        let revision = engine.limits.revision;
        self.count_member(row, |member| member.seats += 1);
        self.tenants.sit(call.tenant());
        self.turns.dispatched(scan);
        self.bring((key, target.engine, target.entry), table, now);
        let mut is_settled =
            target.entry == Entry::Resident && self.settings.max_calls_per_program.is_none();
        if let Some(row) = table.row_mut(row) {
            is_settled &= row.revision(&self.model) == Some(revision);
            row.pin(&self.model, revision);
            if target.makes_home {
                is_settled &= row.homes.get(&self.model) == Some(&id);
                row.homes.insert(self.model.clone(), id.clone());
            }
        }
        table.wait(key, Reason::EngineQueue, now);
        let Some(call) = table.call_mut(key) else {
            return;
        };
        call.place.moved |= target.moves;
        call.place.home_busy_since = None;
        call.place.order = order;
        call.stage = Stage::Sent {
            engine: id.clone(),
            at: now,
        };
        call.last_engine = Some(id.clone());
        out.push(Action::Dispatch {
            call: key,
            attempt: call.attempt,
            engine: id,
            order,
        });
        self.await_turn(key, table);
        if !is_settled {
            self.realign_program(row, table, now);
        }
    }
}
