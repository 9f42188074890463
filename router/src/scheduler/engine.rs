//! One engine as it is booked here. Owns: who sits there, whom it will run (the first of their order that fit), and
//! whether another call fits. It must not know programs and policies.

use std::collections::BTreeMap;

use lps_api::ids::Revision;
use lps_api::quantity::Order;

use super::lines::Lines;
use super::tenants::Tenants;
use super::working_set::WorkingSet;
use crate::message::{CallKey, Intake};

/// A call at an engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) call: CallKey,
    /// Whose it is.
    pub(super) tenant: u32,
    /// KV tokens booked for it.
    pub(super) size: u64,
    /// It was in a batch there.
    pub(super) has_started: bool,
    /// It came to its queue by demotion, so it yields to whoever stands before it there.
    pub(super) is_demoted: bool,
    /// It is among those that the engine runs.
    in_batch: bool,
}

/// How a call would fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It runs, and nobody stops.
    Runs,
    /// It runs in the place of others, of which this is the last in order.
    Displaces(Order),
    /// It waits there, to keep the engine fed.
    Waits,
}

/// What a call lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacks {
    /// A slot.
    Slot,
    /// KV tokens; it could have a slot.
    Kv,
    /// The right to another tenant's slot.
    Turn,
}

/// Room kept for a call that others passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reserve {
    pub(super) call: CallKey,
    /// Dispatches that may still pass it.
    pub(super) left: u32,
}

/// Which call asks for room, and by which rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) call: CallKey,
    pub(super) tenant: u32,
    pub(super) order: Order,
    pub(super) size: u64,
    pub(super) displaces: bool,
    pub(super) oversubscription: u32,
}

/// Sums over the seats; renewed after each change.
#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    running: u32,
    kv: u64,
    /// The last in order of those that run.
    worst: Option<Order>,
    /// The last in order of those that run and yield inside their queue.
    worst_demoted: Option<Order>,
    /// Those that never ran and do not yet.
    unstarted: u32,
    unstarted_kv: u64,
}

/// What an engine is and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What it was made from.
    pub revision: Revision,
    /// Sequences it runs at once.
    pub slots: u32,
    /// Tokens its KV pool holds.
    pub kv_tokens: u64,
}

/// One engine.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) limits: Limits,
    pub(super) intake: Intake,
    pub(super) reserve: Option<Reserve>,
    /// The same for admission: room in the working set that is kept for a program that others passed.
    pub(super) claim: Option<Reserve>,
    /// Programs whose contexts it keeps.
    pub(super) set: WorkingSet,
    /// Held calls that wait for this engine.
    pub(super) lines: Lines,
    /// In this look: a program that ran before waits for room here, so none is for new ones.
    pub(super) is_closed_to_new: bool,
    seats: BTreeMap<Order, Seat>,
    booked: u64,
    batch: Batch,
}

impl Engine {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            intake: Intake::All,
            reserve: None,
            claim: None,
            set: WorkingSet::default(),
            lines: Lines::default(),
            is_closed_to_new: false,
            seats: BTreeMap::new(),
            booked: 0,
            batch: Batch::default(),
        }
    }

    /// It is another one from now on, and takes all calls.
    pub(super) fn limit(&mut self, limits: Limits) {
        (self.limits, self.intake) = (limits, Intake::All);
        self.renew();
    }

    pub(super) fn seats(&self) -> impl Iterator<Item = (&Order, &Seat)> {
        self.seats.iter()
    }

    /// Calls there.
    pub(super) fn load(&self) -> u32 {
        self.seats.len() as u32
    }

    /// The last in order of those that run.
    pub(super) fn worst(&self) -> Option<Order> {
        self.batch.worst
    }

    pub(super) fn running(&self) -> u32 {
        self.batch.running
    }

    pub(super) fn kv_booked(&self) -> u64 {
        self.booked
    }

    /// KV tokens that no call there has booked.
    pub(super) fn kv_free(&self) -> u64 {
        self.limits.kv_tokens.saturating_sub(self.booked)
    }

    /// Calls that stand before one and wait there, too.
    pub(super) fn position(&self, order: Order) -> u64 {
        self.seats
            .range(..order)
            .filter(|(_, seat)| !seat.in_batch)
            .count() as u64
    }

    /// What is booked for a call of this size: a call that expects more than there is may run alone.
    pub(super) fn booking(&self, size: u64) -> u64 {
        size.min(self.limits.kv_tokens)
    }

    pub(super) fn sit(&mut self, (call, tenant): (CallKey, u32), order: Order, size: u64) {
        let size = self.booking(size);
        let seat = Seat {
            call,
            tenant,
            size,
            has_started: false,
            is_demoted: false,
            in_batch: false,
        };
        let earlier = self.seats.insert(order, seat);
        assert!(earlier.is_none(), "an order is unique at an engine");
        self.booked += size;
        self.renew();
    }

    /// The call's seat is free. It may be gone already, with an engine that came again by the same name.
    pub(super) fn stand_up(&mut self, call: CallKey, order: Order) {
        if self.seats.get(&order).is_some_and(|seat| seat.call == call) {
            self.booked -= self.seats.remove(&order).map_or(0, |seat| seat.size);
            self.renew();
        }
    }

    /// Gives a call another place.
    pub(super) fn reorder(
        &mut self,
        call: CallKey,
        (from, to): (Order, Order),
        is_demoted: bool,
    ) -> bool {
        if self.seats.get(&from).is_none_or(|seat| seat.call != call) {
            return false;
        }
        if let Some(seat) = self.seats.remove(&from) {
            self.seats.insert(to, Seat { is_demoted, ..seat });
        }
        self.renew();
        true
    }

    /// The call was in a batch; whether for the first time.
    pub(super) fn start(&mut self, call: CallKey, order: Order) -> bool {
        let seat = self.seats.get_mut(&order).filter(|seat| seat.call == call);
        let is_first = seat.is_some_and(|seat| !std::mem::replace(&mut seat.has_started, true));
        if is_first {
            self.renew();
        }
        is_first
    }

    /// Whether any call that stands at or behind this order could fit.
    pub(super) fn is_open_at(&self, ask: Ask) -> bool {
        if self.intake == Intake::Nothing {
            return false;
        }
        if !ask.displaces {
            let has_seat = self.load() < self.limits.slots + ask.oversubscription;
            return has_seat && self.kv_free() >= self.booking(ask.size);
        }
        let batch = &self.batch;
        let has_kv = batch.kv + self.booking(ask.size) <= self.limits.kv_tokens;
        let has_slot = batch.running < self.limits.slots;
        let may_wait = batch.unstarted < ask.oversubscription && self.is_behind(ask.order);
        self.has_victim(ask.order) || (has_kv && (has_slot || may_wait))
    }

    /// Whether a call of this order would leave all that run where they are.
    fn is_behind(&self, order: Order) -> bool {
        self.batch.worst.is_none_or(|worst| worst < order)
    }

    /// Whether a call runs that one of this order may displace: of a worse queue, or demoted to stand behind it.
    fn has_victim(&self, order: Order) -> bool {
        let Batch {
            worst,
            worst_demoted,
            ..
        } = self.batch;
        worst.is_some_and(|worst| worst.queue > order.queue)
            || worst_demoted.is_some_and(|worst| worst > order)
    }

    /// Whether and how a call fits.
    pub(super) fn fit(&self, ask: Ask, tenants: &Tenants) -> Result<Fit, Lacks> {
        let ask = Ask {
            size: self.booking(ask.size),
            ..ask
        };
        if ask.displaces {
            self.fit_displacing(ask, tenants)
        } else {
            self.fit_in_turn(ask)
        }
    }

    fn fit_in_turn(&self, ask: Ask) -> Result<Fit, Lacks> {
        if self.load() >= self.limits.slots + ask.oversubscription {
            Err(Lacks::Slot)
        } else if self.booked + ask.size > self.limits.kv_tokens {
            Err(Lacks::Kv)
        } else if self.load() < self.limits.slots {
            Ok(Fit::Runs)
        } else {
            Ok(Fit::Waits)
        }
    }

    fn fit_displacing(&self, ask: Ask, tenants: &Tenants) -> Result<Fit, Lacks> {
        let Batch {
            running,
            kv,
            worst,
            unstarted,
            unstarted_kv,
            ..
        } = self.batch;
        if running < self.limits.slots && kv + ask.size <= self.limits.kv_tokens {
            return Ok(Fit::Runs);
        }
        let mut lacks = if running < self.limits.slots {
            Lacks::Kv
        } else {
            Lacks::Slot
        };
        if let Some(victim) = worst.filter(|_| self.has_victim(ask.order)) {
            let (slots, kv) = self.kept_before(ask.order);
            if slots < self.limits.slots {
                lacks = if kv + ask.size > self.limits.kv_tokens {
                    Lacks::Kv
                } else if self.may_displace(ask, tenants) {
                    return Ok(Fit::Displaces(victim));
                } else {
                    Lacks::Turn
                };
            }
        }
        if unstarted < ask.oversubscription && self.is_behind(ask.order) {
            if kv + unstarted_kv + ask.size <= self.limits.kv_tokens {
                return Ok(Fit::Waits);
            }
            lacks = Lacks::Kv;
        }
        Err(lacks)
    }

    /// Slots and KV tokens of those whom a call of this order may not displace: whoever stands before it, and whoever
    /// runs in its own queue and did not come there by demotion.
    fn kept_before(&self, order: Order) -> (u32, u64) {
        let (mut slots, mut kv) = (0, 0);
        for (place, seat) in &self.seats {
            let is_kept = if *place < order {
                slots < self.limits.slots && kv + seat.size <= self.limits.kv_tokens
            } else {
                place.queue == order.queue && seat.in_batch && !seat.is_demoted
            };
            if is_kept {
                slots += 1;
                kv += seat.size;
            }
        }
        (slots, kv)
    }

    /// Whether all who would lose their slots are the call's own tenant's, or of tenants that have had more.
    fn may_displace(&self, ask: Ask, tenants: &Tenants) -> bool {
        if !tenants.are_several() {
            return true;
        }
        let (mut slots, mut kv) = (1, ask.size);
        self.seats.iter().all(|(place, seat)| {
            let is_before = *place < ask.order;
            let stays = slots < self.limits.slots && kv + seat.size <= self.limits.kv_tokens;
            if stays || is_before {
                slots += u32::from(stays);
                kv += if stays { seat.size } else { 0 };
                return true;
            }
            let is_rival = seat.in_batch && seat.tenant != ask.tenant;
            !is_rival || tenants.is_behind(ask.tenant, seat.tenant)
        })
    }

    fn renew(&mut self) {
        let mut batch = Batch::default();
        for (order, seat) in &mut self.seats {
            seat.in_batch =
                batch.running < self.limits.slots && batch.kv + seat.size <= self.limits.kv_tokens;
            if seat.in_batch {
                batch.running += 1;
                batch.kv += seat.size;
                batch.worst = Some(*order);
                batch.worst_demoted = seat.is_demoted.then_some(*order).or(batch.worst_demoted);
            } else if !seat.has_started {
                batch.unstarted += 1;
                batch.unstarted_kv += seat.size;
            }
        }
        self.batch = batch;
    }

    pub(super) fn check_integrity(&self) {
        self.set.check_integrity();
        let booked: u64 = self.seats.values().map(|seat| seat.size).sum();
        assert_eq!(self.booked, booked, "KV tokens booked");
        assert!(self.batch.running <= self.limits.slots && self.batch.kv <= self.limits.kv_tokens);
    }
}
