//! One look through the lines: queue by queue, first come first served inside, and whoever fits goes (algorithm 1 with
//! backfill). Owns: the order in which held calls are tried, who is passed over, and every m-th dispatch.

use lps_api::quantity::Micros;

use super::backfill::PassedOver;
use super::engines::Gauge;
use super::glance::{At, Glance};
use super::lines::{self, Kind, Queue};
use super::placement::{Refused, Target};
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

/// What a look has met so far.
#[derive(Debug)]
struct Look {
    tenant: u32,
    passed: Vec<PassedOver>,
    /// How far lines were looked at, by their numbers.
    until: Vec<(usize, Scan)>,
    /// Lines of which nobody else can go.
    closed: Vec<bool>,
    left: u32,
    /// Programs that may still be refused admission, over all tenants.
    refused_left: u32,
    glance: Glance,
}

impl Look {
    fn new(glance: Glance, engines: usize) -> Self {
        Self {
            tenant: 0,
            passed: Vec::new(),
            until: Vec::new(),
            closed: vec![false; At::count(engines)],
            left: 0,
            refused_left: REFUSED_MAX,
            glance,
        }
    }

    /// It is another tenant's turn.
    fn turn_to(&mut self, tenant: u32, left: u32) {
        (self.tenant, self.left) = (tenant, left);
        self.passed.clear();
        self.until.clear();
        self.closed.fill(false);
    }

    fn until(&self, line: usize) -> Option<Scan> {
        let mut until = self.until.iter();
        until
            .find(|(other, _)| *other == line)
            .map(|(_, scan)| *scan)
    }

    fn met(&mut self, line: usize, scan: Scan) {
        self.until.retain(|(other, _)| *other != line);
        self.until.push((line, scan));
    }
}

/// The first call of a line.
type Head = (Scan, CallKey, At);

impl Pool {
    /// Dispatches all that fits now.
    pub fn decide(&mut self, table: &mut ProcessTable, now: Micros, out: &mut Vec<Action>) {
        self.room_at = None;
        self.engines.pass(now);
        if self.open_revisions.is_empty() && self.pinned_revisions.is_empty() {
            return;
        }
        self.promote_due(table, now, out);
        self.follow_leads(table, out);
        self.look(table, now, out);
        while self.tell_more(table, now) {
            self.look(table, now, out);
        }
        self.note_fresh(table, now);
        self.engines.renew();
        self.room_at = self.next_room(now);
    }

    /// Tenant by tenant, in turn.
    fn look(&mut self, table: &mut ProcessTable, now: Micros, out: &mut Vec<Action>) {
        self.engines.renew();
        while self.is_anything_open() {
            let mut look = Look::new(self.glance(now), self.engines.len());
            let tenants = self.tenants.in_turn();
            let left = PASSED_OVER_MAX / tenants.len().max(1) as u32;
            let (several, before) = (tenants.len() > 1, self.dispatches);
            self.is_room_freed = false;
            for tenant in tenants {
                if look.glance.lines.is_empty() {
                    break;
                }
                look.turn_to(tenant, left.max(PASSED_OVER_LEAST));
                self.look_through(&mut look, (table, now), out);
            }
            // What a call freed may be wanted by those that this look found to go nowhere: a reserve that it kept, the room
            // of a context that it takes over and makes shorter, and, by other tenants, its turn.
            if !(several || self.is_room_freed) || self.dispatches == before {
                break;
            }
        }
    }

    fn look_through(
        &mut self,
        look: &mut Look,
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        let mut heads = self.heads(look, table, now);
        loop {
            let next = heads.iter().min_by_key(|(scan, ..)| *scan).copied();
            let Some((scan, key, at)) = next.filter(|_| look.left > 0) else {
                // However many were passed over in vain, whoever room is kept for has it.
                let keeper = look
                    .glance
                    .is_bound
                    .then(|| self.keeper_that_fits(table, now));
                let Some((keeper, target)) = keeper.flatten() else {
                    return;
                };
                self.dispatch(keeper, target, (table, now), out);
                self.renew_glance(look, now);
                look.closed.fill(false);
                heads = self.heads(look, table, now);
                continue;
            };
            match self.place(key, scan, table, now) {
                Ok(target) => {
                    self.close_skipped(look);
                    self.dispatch_in_turn(&look.passed, (key, target), (table, now), out);
                    self.renew_glance(look, now);
                    heads = self.heads(look, table, now);
                }
                Err(refused) => {
                    look.left -= 1;
                    if refused.reason == Reason::WorkingSet {
                        look.refused_left = look.refused_left.saturating_sub(1);
                    }
                    self.pass_over(key, refused, (table, now), &mut look.passed);
                    if self.is_astray(key, table, now) {
                        self.close_skipped(look);
                        self.realign(key, table, now);
                        self.renew_glance(look, now);
                    } else if self.engines.renew() {
                        // Lines that were read because room was kept count as read.
                        let was_bound = look.glance.is_bound;
                        look.glance = self.glance(now);
                        look.glance.is_bound |= was_bound;
                    }
                    look.met(at.number(), scan);
                    heads.retain(|(.., other)| *other != at);
                    heads.extend(self.head(at, look, table, now));
                }
            }
        }
    }

    fn renew_glance(&mut self, look: &mut Look, now: Micros) {
        self.engines.renew();
        look.glance = self.glance(now);
    }

    /// The first call of each line that could go.
    fn heads(&self, look: &mut Look, table: &mut ProcessTable, now: Micros) -> Vec<Head> {
        let mut heads = Vec::new();
        for line in 0..look.glance.lines.len() {
            heads.extend(self.head(look.glance.lines[line], look, table, now));
        }
        heads
    }

    /// Of the lines that this look did not read, because nobody there could go, those that have a call: they stay closed
    /// for it, whatever changes for their engines with the next dispatch.
    fn close_skipped(&self, look: &mut Look) {
        for at in &look.glance.skipped {
            let until = look.until(at.number());
            let is_closed = &mut look.closed[at.number()];
            if !*is_closed {
                *is_closed = lines::first(self.line(*at), look.tenant, until).is_some();
            }
        }
    }

    fn line(&self, at: At) -> &Queue {
        match at {
            At::Line(None, kind) => self.lines.of(kind),
            At::Line(Some(engine), kind) => self.engines[engine].lines.of(kind),
            At::Roaming(kind) => self.roaming.of(kind),
        }
    }

    /// The first call of a line that this look has not met, unless none there can go.
    fn head(&self, at: At, look: &mut Look, table: &mut ProcessTable, now: Micros) -> Option<Head> {
        let is_admitting = at.kind() == Kind::Admission;
        if look.closed[at.number()] || (is_admitting && look.refused_left == 0) {
            return None;
        }
        let until = look.until(at.number());
        let (scan, key) = lines::first(self.line(at), look.tenant, until)?;
        if self.is_open(at, (key, scan), look, table) {
            return Some((scan, key, at));
        }
        // Those behind it stand no better.
        look.closed[at.number()] = true;
        if look.glance.is_bound {
            self.note_reserve(key, scan, table, now);
        }
        None
    }

    /// Whether a call that stands there, or behind, could go to an engine that its line is for.
    fn is_open(
        &self,
        at: At,
        (key, scan): (CallKey, Scan),
        look: &Look,
        table: &ProcessTable,
    ) -> bool {
        let least = self.ask((key, look.tenant), scan, self.least_size());
        let could_admit = |index| self.could_admit(look.glance.admitting, index);
        let is_open = |(index, gauge): (usize, &Gauge)| {
            let engine = || &self.engines[index];
            (at.kind() == Kind::Flow || could_admit(index))
                && (!matches!(at, At::Roaming(_)) || gauge.has_slot)
                && gauge.is_open_at(least)
                && !(gauge.binds && self.is_reserved(engine(), least, table))
        };
        match at {
            At::Line(Some(engine), _) => is_open((engine, self.engines.gauge(engine))),
            _ => self.engines.open_to(least).any(is_open),
        }
    }

    /// A call is the first that goes nowhere: if that is for a reserve, it is to be known.
    fn note_reserve(&self, key: CallKey, scan: Scan, table: &mut ProcessTable, now: Micros) {
        let Some(call) = table.call(key) else { return };
        let least = self.ask((key, call.tenant()), scan, self.least_size());
        let is_kept = self.engines.find(|most| most.binds).any(|(index, gauge)| {
            gauge.is_open_at(least) && self.is_reserved(&self.engines[index], least, table)
        });
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
        match too_full {
            Some(engine) => {
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

    fn dispatch(
        &mut self,
        key: CallKey,
        target: Target,
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        let Some(call) = table.call(key) else {
            return;
        };
        self.forget_waits(call);
        self.unhold(call);
        let (row, tenant) = (call.row, call.tenant());
        let (scan, size) = (call.place.scan, call.size());
        self.dispatches += 1;
        self.release_reserve(key);
        let order = if self.settings.displaces() {
            self.order_of(scan, tenant)
        } else {
            self.order_of_dispatch()
        };
        let Some((id, engine)) = self.engines.get_index_mut(target.engine) else {
            return;
        };
        let id = id.clone();
        engine.sit((key, tenant), order, size);
        let revision = engine.limits.revision;
        self.count_member(row, |member| member.seats += 1);
        self.tenants.sit(tenant);
        self.turns.dispatched(scan);
        let was_resident = self.is_resident(row);
        let has_left = self.bring((key, target.engine, target.entry), table, now);
        let mut is_settled = !has_left && !self.is_limited(row);
        if let Some(row) = table.row_mut(row) {
            // Without a home it only matters whether any engine keeps it.
            let is_at_home_anywhere = was_resident && row.stays.home(&self.model).is_none();
            is_settled &= target.entry == Entry::Resident || is_at_home_anywhere;
            is_settled &= row.stays.revision(&self.model) == Some(revision);
            row.stays.pin(&self.model, revision);
            if target.makes_home {
                is_settled &= row.stays.home(&self.model) == Some(&id);
                row.stays.settle(&self.model, id.clone());
            }
        }
        table.wait(key, Reason::EngineQueue, now);
        let Some(call) = table.call_mut(key) else {
            return;
        };
        call.place.moved |= target.moves;
        call.place.home_busy_since = None;
        call.place.order = order;
        call.stage = Stage::Sent { engine: id.clone() };
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
        self.unlimit(row, table, now);
    }
}
