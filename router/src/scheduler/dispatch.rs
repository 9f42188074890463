//! One look through the queues: queue by queue, first come first served inside, and whoever fits goes (algorithm 1 with
//! backfill). Owns: the order in which held calls are tried, who is passed over, and every m-th dispatch.

use lps_api::quantity::{Micros, Order};

use super::engine::Reserve;
use super::placement::{Refused, Target};
use super::pool::{End, Pool};
use crate::message::{Action, CallKey};
use crate::process_table::{ProcessTable, Reason, Scan, Stage};

/// A call that lacked room, and the engine on which it lacked least.
type PassedOver = (usize, CallKey);

impl Pool {
    /// Dispatches all that fits now.
    pub fn decide(&mut self, table: &mut ProcessTable, now: Micros, out: &mut Vec<Action>) {
        if self.closed_since.is_some() {
            return;
        }
        self.promote_due(table, now, out);
        let mut passed: Vec<PassedOver> = Vec::new();
        let mut at = self.held.first_key_value().map(|(scan, key)| (*scan, *key));
        while let Some((scan, key)) = at {
            let least = self.ask(key, scan, self.least_size());
            if !self.engines.values().any(|engine| engine.is_open_at(least)) {
                return;
            }
            match self.place(key, scan, table, now) {
                Ok(target) => {
                    let oldest = self.oldest(table, now);
                    let is_other = oldest.is_some_and(|(oldest, _)| oldest != key);
                    let (key, target) = match oldest {
                        Some((oldest, target)) => {
                            self.move_to_head(oldest, table, out);
                            (oldest, target)
                        }
                        None => (key, target),
                    };
                    self.reserve_for_passed(&passed, key, target.engine, table);
                    self.dispatch(key, target, (table, now), out);
                    if is_other {
                        continue;
                    }
                }
                Err(refused) => self.pass_over(key, refused, (table, now), &mut passed),
            }
            at = self.after(scan);
        }
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
            // It waits for something else than room: none is kept for it.
            None => self.release_reserve(key),
        }
    }

    fn release_reserve(&mut self, key: CallKey) {
        for engine in self.engines.values_mut() {
            engine
                .reserve
                .take_if(|reserve| reserve.call == key && reserve.left == 0);
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
                let lacking = passed.iter().find(|(at, _)| *at == engine);
                booked.reserve = lacking.map(|(_, call)| Reserve {
                    call: *call,
                    left: limit,
                });
            }
        }
    }

    /// At every m-th dispatch: the oldest call that fits at the head of queue 1, and where it goes.
    fn oldest(&self, table: &ProcessTable, now: Micros) -> Option<(CallKey, Target)> {
        let every = u64::from(self.settings.oldest_every?);
        if !(self.dispatches + 1).is_multiple_of(every) {
            return None;
        }
        self.ages.iter().find_map(|(_, key)| {
            let head = Scan {
                rank: i64::MIN,
                ..Scan::default()
            };
            self.place(*key, head, table, now)
                .ok()
                .map(|target| (*key, target))
        })
    }

    fn move_to_head(&mut self, key: CallKey, table: &mut ProcessTable, out: &mut Vec<Action>) {
        if let Some(call) = table.call(key) {
            let scan = self.scan_at(End::Head, 0, call);
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
        engine.reserve.take_if(|reserve| reserve.call == key);
        engine.sit(key, order, size);
        *self.seats_of.entry(row).or_default() += 1;
        if target.makes_home
            && let Some(row) = table.row_mut(row)
        {
            row.homes.insert(self.model.clone(), id.clone());
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
