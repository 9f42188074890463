//! One engine as it is booked here. Owns: who sits there, whom it will run (the first of their order that fit), and
//! whether another call fits. It must not know programs and policies.

use lps_api::ids::Revision;
use lps_api::quantity::Order;

use super::engines::{Gauge, Taking};
use super::lines::{Kind, Lines};
use super::most::FIRST;
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
    /// Whose that one is.
    worst_tenant: u32,
    /// The last in order of those that run and yield inside their queue.
    worst_demoted: Option<Order>,
    /// Those that never ran and do not yet.
    unstarted: u32,
    unstarted_kv: u64,
    /// Slots and KV tokens of those that no call displaces, not even one of queue 1.
    kept_first: (u32, u64),
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
    /// In their order.
    seats: Vec<(Order, Seat)>,
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
            seats: Vec::new(),
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
        self.seats.iter().map(|(order, seat)| (order, seat))
    }

    /// Where the seat of this order is, or would be.
    fn find(&self, order: Order) -> Result<usize, usize> {
        self.seats.binary_search_by_key(&order, |(order, _)| *order)
    }

    /// Where a call's seat is.
    fn seat_of(&self, call: CallKey, order: Order) -> Option<usize> {
        let place = self.find(order).ok()?;
        (self.seats[place].1.call == call).then_some(place)
    }

    fn insert(&mut self, order: Order, seat: Seat) {
        let place = self.find(order).err();
        let place = place.expect("an order is unique at an engine");
        self.seats.insert(place, (order, seat));
    }

    /// Whose calls it takes.
    pub(super) fn taking(&self) -> Taking {
        Taking {
            intake: self.intake,
            revision: self.limits.revision,
        }
    }

    /// Calls there.
    pub(super) fn load(&self) -> u32 {
        self.seats.len() as u32
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
        let before = self.seats.iter().take_while(|(other, _)| *other < order);
        before.filter(|(_, seat)| !seat.in_batch).count() as u64
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
        self.insert(order, seat);
        self.booked += size;
        self.renew();
    }

    /// The call's seat is free. It may be gone already, with an engine that came again by the same name.
    pub(super) fn stand_up(&mut self, call: CallKey, order: Order) {
        if let Some(place) = self.seat_of(call, order) {
            self.booked -= self.seats.remove(place).1.size;
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
        let Some(place) = self.seat_of(call, from) else {
            return false;
        };
        let (_, seat) = self.seats.remove(place);
        self.insert(to, Seat { is_demoted, ..seat });
        self.renew();
        true
    }

    /// The call was in a batch; whether for the first time.
    pub(super) fn start(&mut self, call: CallKey, order: Order) -> bool {
        let is_first = self
            .seat_of(call, order)
            .is_some_and(|place| !std::mem::replace(&mut self.seats[place].1.has_started, true));
        if is_first {
            self.renew();
        }
        is_first
    }

    /// What it could take where nobody is displaced.
    pub(super) fn gauge_in_turn(&self, oversubscription: u32) -> Gauge {
        let has_seat = self.load() < self.limits.slots + oversubscription;
        // A call that expects more than there is may run alone.
        let most = if self.booked == 0 {
            u64::MAX
        } else {
            self.kv_free()
        };
        let room = has_seat.then_some(most);
        Gauge {
            room,
            room_behind: None,
            victims: FIRST,
            room_first: room,
            ..self.gauge_of_seats()
        }
    }

    /// The same where whoever stands better takes another's slot.
    pub(super) fn gauge_displacing(&self, oversubscription: u32) -> Gauge {
        let Batch {
            running,
            kv,
            worst,
            worst_demoted,
            unstarted,
            unstarted_kv,
            ..
        } = self.batch;
        let (slots, tokens) = (self.limits.slots, self.limits.kv_tokens);
        let beside = |booked| match booked {
            0 => u64::MAX,
            _ => tokens.saturating_sub(booked),
        };
        let room = (running < slots).then(|| beside(kv));
        let room_behind = (unstarted < oversubscription).then(|| beside(kv));
        let queue_of_worst = worst.map(|worst| Order {
            queue: worst.queue,
            rank: i64::MIN,
        });
        let victims = queue_of_worst.max(worst_demoted).unwrap_or(FIRST);
        let (kept_slots, kept_kv) = self.batch.kept_first;
        let room_of_victims = (FIRST < victims && kept_slots < slots).then(|| beside(kept_kv));
        let room_waiting = room_behind.map(|_| beside(kv + unstarted_kv));
        Gauge {
            room,
            room_behind,
            victims,
            room_first: room.max(room_of_victims).max(room_waiting),
            ..self.gauge_of_seats()
        }
    }

    fn gauge_of_seats(&self) -> Gauge {
        Gauge {
            taking: self.taking(),
            has_slot: self.batch.running < self.limits.slots,
            room: None,
            room_behind: None,
            worst: self.batch.worst,
            victims: FIRST,
            room_first: None,
            keeps: false,
            binds: false,
            has_line: [false; Kind::ALL.len()],
            free: None,
            used: 0,
            shared: 0,
            kv_tokens: 0,
            is_quiet: false,
            is_claimed: false,
            next_lease: None,
        }
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
        let has_kv = kv + ask.size <= self.limits.kv_tokens;
        if let Some(victim) = worst.filter(|it| has_kv && it.queue > ask.order.queue) {
            // A slot is all that it lacks, so that one call stops and no other.
            if may_stop(ask.tenant, self.batch.worst_tenant, tenants) {
                return Ok(Fit::Displaces(victim));
            }
            lacks = Lacks::Turn;
        } else if let Some(victim) = worst.filter(|_| self.has_victim(ask.order)) {
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
            !seat.in_batch || may_stop(ask.tenant, seat.tenant, tenants)
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
                if order.queue == 0 && !seat.is_demoted {
                    batch.kept_first.0 += 1;
                    batch.kept_first.1 += seat.size;
                }
                batch.worst = Some(*order);
                batch.worst_tenant = seat.tenant;
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
        let booked: u64 = self.seats.iter().map(|(_, seat)| seat.size).sum();
        assert_eq!(self.booked, booked, "KV tokens booked");
        assert!(self.batch.running <= self.limits.slots && self.batch.kv <= self.limits.kv_tokens);
    }
}

/// Whether one tenant's call may stop another's: its own, or one of a tenant that has had more.
fn may_stop(tenant: u32, other: u32, tenants: &Tenants) -> bool {
    tenant == other || tenants.is_behind(tenant, other)
}
