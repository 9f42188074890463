//! One look through the queues: queue by queue, first come first served inside, and whoever fits goes (algorithm 1 with
//! backfill). Owns: the order in which held calls are tried, who is passed over, and every m-th dispatch.

use lps_api::quantity::{Micros, Order};

use super::engine::Reserve;
use super::placement::{Refused, Target};
use super::pool::{End, Pool};
use crate::message::{Action, CallKey};
use crate::process_table::{ProcessTable, Reason, Scan, Stage};

/// Calls that one look passes over, at most. Only where so many lack room or wait for their homes can one behind them
/// that fits have to wait for the next event.
const PASSED_OVER_MAX: u32 = 1_024;
/// Oldest calls that are tried at an m-th dispatch, at most.
const OLDEST_TRIED_MAX: usize = 64;

/// A call that lacked room, and the engine on which it lacked least.
type PassedOver = (usize, CallKey);

impl Pool {
    /// Dispatches all that fits now.
    pub fn decide(&mut self, table: &mut ProcessTable, now: Micros, out: &mut Vec<Action>) {
        if self.open_revisions.is_empty() && self.pinned_revisions.is_empty() {
            return;
        }
        self.promote_due(table, now, out);
        let mut passed: Vec<PassedOver> = Vec::new();
        let mut looks_left = PASSED_OVER_MAX;
        let mut at = self.held.first_key_value().map(|(scan, key)| (*scan, *key));
        while let Some((scan, key)) = at.filter(|_| looks_left > 0) {
            if !self.is_open(key, scan, table) {
                let Some((keeper, target)) = self.keeper_that_fits(scan, table, now) else {
                    return self.note_reserve(key, scan, table, now);
                };
                self.dispatch(keeper, target, (table, now), out);
                continue;
            }
            match self.place(key, scan, table, now) {
                Ok(target) => {
                    let gone = self.dispatch_in_turn(&passed, (key, target), (table, now), out);
                    if gone != key {
                        continue;
                    }
                }
                Err(refused) => {
                    looks_left -= 1;
                    self.pass_over(key, refused, (table, now), &mut passed);
                }
            }
            at = self.after(scan);
        }
    }

    /// Whether a call that stands there, or behind, could go anywhere.
    fn is_open(&self, key: CallKey, scan: Scan, table: &ProcessTable) -> bool {
        let least = self.ask(key, scan, self.least_size());
        let mut engines = self.engines.values();
        engines.any(|engine| engine.is_open_at(least) && !self.is_reserved(engine, least, table))
    }

    /// A call is the first that goes nowhere: if that is for a reserve, it is to be known.
    fn note_reserve(&self, key: CallKey, scan: Scan, table: &mut ProcessTable, now: Micros) {
        let least = self.ask(key, scan, self.least_size());
        if self.engines.values().any(|engine| engine.is_open_at(least)) {
            table.wait(key, Reason::BackfillReserve, now);
        }
    }

    /// Dispatches a call that fits, or in its stead the oldest, when it is that one's turn. Gives back which.
    fn dispatch_in_turn(
        &mut self,
        passed: &[PassedOver],
        (key, target): (CallKey, Target),
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) -> CallKey {
        let (key, target) = match self.oldest(table, now) {
            Some((oldest, end, target)) => {
                self.move_to_first_queue(oldest, end, table, out);
                (oldest, target)
            }
            None => (key, target),
        };
        self.reserve_for_passed(passed, key, target.engine, table);
        self.dispatch(key, target, (table, now), out);
        key
    }

    /// A call for which room is kept, that stands behind `scan` and fits now.
    fn keeper_that_fits(
        &self,
        scan: Scan,
        table: &ProcessTable,
        now: Micros,
    ) -> Option<(CallKey, Target)> {
        let reserves = self.engines.values().filter_map(|engine| engine.reserve);
        let keepers = reserves
            .filter(|reserve| reserve.left == 0)
            .filter_map(|reserve| {
                let keeper = table.call(reserve.call)?.place.scan;
                (keeper > scan).then_some((keeper, reserve.call))
            });
        let fits = keepers.filter_map(|(keeper, key)| {
            Some((keeper, key, self.place(key, keeper, table, now).ok()?))
        });
        fits.min_by_key(|(keeper, ..)| *keeper)
            .map(|(_, key, target)| (key, target))
    }

    fn after(&self, scan: Scan) -> Option<(Scan, CallKey)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let mut rest = self.held.range((Excluded(scan), Unbounded));
        rest.next().map(|(scan, key)| (*scan, *key))
    }

    fn pass_over(
        &mut self,
        key: CallKey,
        refused: Refused,
        (table, now): (&mut ProcessTable, Micros),
        passed: &mut Vec<PassedOver>,
    ) {
        let Refused { reason, too_full } = refused;
        table.wait(key, reason, now);
        if reason == Reason::HomeBusy {
            self.await_home(key, table, now);
        }
        match too_full {
            Some(engine) if passed.iter().all(|(other, _)| *other != engine) => {
                passed.push((engine, key));
            }
            Some(_) => {}
            // Not room is what it lacks: none is kept for it.
            None if reason == Reason::ProgramLimit => self.release_reserve(key),
            None => {}
        }
    }

    /// A dispatch passes calls that lack room: the first time begins a reserve, the next ones use it up.
    fn reserve_for_passed(
        &mut self,
        passed: &[PassedOver],
        key: CallKey,
        engine: usize,
        table: &ProcessTable,
    ) {
        let limit = self.settings.backfill_limit;
        let Some(call) = table.call(key) else { return };
        let queue = call.place.scan.queue;
        let Some((_, booked)) = self.engines.get_index_mut(engine) else {
            return;
        };
        match &mut booked.reserve {
            Some(reserve) if reserve.call != key => {
                let keeper = table.call(reserve.call).map(|call| call.place.scan.queue);
                if keeper.is_some_and(|keeper| keeper <= queue) {
                    reserve.left = reserve.left.saturating_sub(1);
                }
            }
            Some(_) => {}
            None => {
                let is_held = |call| {
                    table
                        .call(call)
                        .is_some_and(|call| call.stage == Stage::Held)
                };
                let mut lacking = passed.iter();
                let lacking =
                    lacking.find(|(at, call)| *at == engine && *call != key && is_held(*call));
                booked.reserve = lacking.map(|(_, call)| Reserve {
                    call: *call,
                    left: limit,
                });
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
        self.ages
            .iter()
            .take(OLDEST_TRIED_MAX)
            .find_map(|(_, key)| {
                if let Some(target) = place(*key, i64::MIN) {
                    return Some((*key, End::Head, target));
                }
                self.engines
                    .values()
                    .enumerate()
                    .find_map(|(index, engine)| {
                        let worst = engine.worst().filter(|worst| worst.queue == 0)?.rank;
                        let target = place(*key, self.rank_behind(worst))?;
                        (target.engine == index).then_some((*key, End::Behind(worst), target))
                    })
            })
    }

    fn move_to_first_queue(
        &mut self,
        key: CallKey,
        end: End,
        table: &mut ProcessTable,
        out: &mut Vec<Action>,
    ) {
        if let Some(call) = table.call(key) {
            let scan = self.scan_at(end, 0, call);
            self.stand(key, scan, table, out);
        }
    }

    fn dispatch(
        &mut self,
        key: CallKey,
        target: Target,
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        let Some(call) = table.call(key) else { return };
        self.forget_waits(call);
        self.unhold(call);
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
        engine.sit(key, order, size);
        *self.seats_of.entry(row).or_default() += 1;
        let revision = engine.limits.revision;
        if let Some(row) = table.row_mut(row) {
            row.pin(&self.model, revision);
            if target.makes_home {
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
    }
}
