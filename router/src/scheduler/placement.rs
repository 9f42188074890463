//! Which engine a call goes to (algorithm 2 and its repair): short prompts to the least loaded one, long ones to their
//! program's home. Owns: that choice. It must not know in which order calls ask.

use std::cmp::Reverse;

use lps_api::ids::{EngineId, Revision};
use lps_api::quantity::{Micros, Order};

use super::engine::{Ask, Engine, Fit, Lacks};
use super::engines::Gauge;
use super::pool::Pool;
use super::residency::{Arrival, Entry};
use crate::message::CallKey;
use crate::process_table::{Call, ProcessTable, Reason, Row, RowId, Scan};

/// Where a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// Index of the engine in its pool.
    pub(super) engine: usize,
    /// The engine becomes its program's home.
    pub(super) makes_home: bool,
    /// The program had another home.
    pub(super) moves: bool,
    /// How its program comes there.
    pub(super) entry: Entry,
}

/// Why it goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    /// The engine with most room, if room is all that it lacks.
    pub(super) too_full: Option<usize>,
    /// It is its home that does not take it.
    pub(super) is_kept_from_home: bool,
}

impl Refused {
    const fn for_reason(reason: Reason) -> Self {
        Self {
            reason,
            too_full: None,
            is_kept_from_home: false,
        }
    }
}

/// A call that asks for a place.
#[derive(Debug, Clone, Copy)]
struct Case<'a> {
    call: &'a Call,
    ask: Ask,
    arrival: Arrival,
    pin: Option<Revision>,
}

/// A place that an engine offers.
#[derive(Debug, Clone, Copy)]
struct Offer {
    fit: Fit,
    entry: Entry,
}

/// Among engines that can take a call, the least of these is chosen.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// A free slot before one that is taken from another, since that one would wait; both before a wait in the engine.
    fit: u8,
    /// Then the victim that stands last, since it is the least urgent of all.
    victim: Reverse<Option<Order>>,
    /// Then where no other program loses its place, since that one would have to compute its context again.
    pauses: bool,
    /// Then the least load, to spread calls.
    load: u32,
    /// Then the least that it keeps for programs between two calls, since they come back.
    kept: u64,
    /// Then the engine that joined first, so that the choice is the same everywhere.
    joined: usize,
}

impl Preference {
    fn new(Offer { fit, entry }: Offer, engine: &Engine, joined: usize) -> Self {
        let (fit, victim) = match fit {
            Fit::Runs => (0, None),
            Fit::Displaces(victim) => (1, Some(victim)),
            Fit::Waits => (2, None),
        };
        Self {
            fit,
            victim: Reverse(victim),
            pauses: entry == Entry::Pausing || entry == Entry::Forced,
            load: engine.load(),
            kept: engine.set.used(),
            joined,
        }
    }
}

/// What there is for a call on one engine.
enum Chance {
    Takes(Offer),
    Reserved,
    Lacks(Lacks),
    /// A slot is to be had, but the program cannot be admitted.
    NoRoom,
}

impl Pool {
    /// What a call that stands so would ask of an engine.
    pub(super) fn ask(&self, (call, tenant): (CallKey, u32), scan: Scan, size: u64) -> Ask {
        Ask {
            call,
            tenant,
            order: self.order_of(scan, tenant),
            size,
            displaces: self.settings.displaces(),
            oversubscription: self.settings.oversubscription(),
        }
    }

    /// Where a held call goes if it stands at `scan`.
    pub(super) fn place(
        &self,
        key: CallKey,
        scan: Scan,
        table: &ProcessTable,
        now: Micros,
    ) -> Result<Target, Refused> {
        let Some((call, row)) = table
            .call(key)
            .and_then(|call| Some((call, table.row(call.row)?)))
        else {
            return Err(Refused::for_reason(Reason::NoCapacity));
        };
        if self.is_limited(call.row) {
            return Err(Refused::for_reason(Reason::ProgramLimit));
        }
        let case = Case {
            call,
            arrival: self.arrival(call, now),
            ask: self.ask((key, call.tenant()), scan, call.size()),
            pin: row.stays.revision(&self.model),
        };
        match self.home(call, row) {
            Some((joined, ..)) => self.place_at_home(case, joined, table, now),
            None => {
                let is_long = self.is_long(call);
                self.place_anywhere(case, table, |_, _| true)
                    .map(|(engine, entry)| Target {
                        engine,
                        makes_home: is_long,
                        moves: false,
                        entry,
                    })
            }
        }
    }

    /// Whether the program of a call holds as many slots as it may.
    pub(super) fn is_limited(&self, row: RowId) -> bool {
        let most = self.settings.max_calls_per_program;
        let seats = || self.members.get(&row).map_or(0, |member| member.seats);
        most.is_some_and(|most| seats() >= most)
    }

    pub(super) fn is_long(&self, call: &Call) -> bool {
        call.prompt_tokens > self.settings.locality_threshold
    }

    /// The engine that a call has to go to, if there is one that may take it.
    pub(super) fn home(&self, call: &Call, row: &Row) -> Option<(usize, &EngineId, &Engine)> {
        if !self.is_long(call) {
            return None;
        }
        let home = self.engines.get_full(row.stays.home(&self.model)?)?;
        self.admits(home.2.taking(), row.stays.revision(&self.model))
            .then_some(home)
    }

    fn place_at_home(
        &self,
        case: Case<'_>,
        joined: usize,
        table: &ProcessTable,
        now: Micros,
    ) -> Result<Target, Refused> {
        let mut refused = Refused {
            reason: Reason::HomeBusy,
            too_full: None,
            is_kept_from_home: true,
        };
        let gauge = self.engines.gauge(joined);
        match self.chance((joined, gauge), case, table) {
            Chance::Takes(offer) => {
                return Ok(Target {
                    engine: joined,
                    makes_home: true,
                    moves: false,
                    entry: offer.entry,
                });
            }
            Chance::Reserved => return Err(Refused::for_reason(Reason::BackfillReserve)),
            Chance::Lacks(Lacks::Slot) => {}
            Chance::Lacks(Lacks::Turn) => refused.reason = Reason::TenantTurn,
            Chance::Lacks(Lacks::Kv) => refused.too_full = Some(joined),
            Chance::NoRoom => {
                (refused.reason, refused.too_full) = (Reason::WorkingSet, Some(joined));
            }
        }
        if self.may_move(case.call, now) {
            let elsewhere =
                self.place_anywhere(case, table, |at, fit| at != joined && fit == Fit::Runs);
            if let Ok((engine, entry)) = elsewhere {
                return Ok(Target {
                    engine,
                    makes_home: true,
                    moves: true,
                    entry,
                });
            }
        }
        Err(refused)
    }

    fn place_anywhere(
        &self,
        case: Case<'_>,
        table: &ProcessTable,
        accepts: impl Fn(usize, Fit) -> bool,
    ) -> Result<(usize, Entry), Refused> {
        if !case.ask.displaces && self.are_too_full(&case.arrival) {
            return Err(self.lacks_room(case));
        }
        let mut best: Option<(Preference, Entry)> = None;
        let mut too_full: Option<(u64, Reverse<usize>)> = None;
        let mut fullest: Option<(Reverse<u64>, Reverse<usize>)> = None;
        let mut reason = Reason::NoCapacity;
        for (joined, gauge) in self.engines.with_seat(case.ask.order) {
            if !self.admits(gauge.taking, case.pin) {
                continue;
            }
            match self.chance((joined, gauge), case, table) {
                Chance::Takes(offer) if accepts(joined, offer.fit) => {
                    let preference = Preference::new(offer, &self.engines[joined], joined);
                    if best.as_ref().is_none_or(|(best, _)| preference < *best) {
                        best = Some((preference, offer.entry));
                    }
                }
                Chance::Takes(_) | Chance::Lacks(Lacks::Slot) => {}
                Chance::Reserved => reason = Reason::BackfillReserve,
                Chance::Lacks(Lacks::Turn) => reason = Reason::TenantTurn,
                Chance::Lacks(Lacks::Kv) => {
                    let free = self.engines[joined].kv_free();
                    too_full = too_full.max(Some((free, Reverse(joined))));
                }
                Chance::NoRoom => {
                    fullest = fullest.max(Some((Reverse(gauge.used), Reverse(joined))));
                }
            }
        }
        if let Some((best, entry)) = best {
            return Ok((best.joined, entry));
        }
        let mut refused = Refused::for_reason(reason);
        refused.too_full = too_full.map(|(_, Reverse(joined))| joined);
        if let Some((_, Reverse(joined))) = fullest {
            (refused.reason, refused.too_full) = (Reason::WorkingSet, Some(joined));
        }
        Err(refused)
    }

    /// What a call is told that nobody needs to make room for and that no working set has room for: the one with most
    /// of it among those where it could have a seat.
    fn lacks_room(&self, case: Case<'_>) -> Refused {
        let gauges = self.engines.with_seat(case.ask.order);
        let open = gauges.filter(|(_, gauge)| self.admits(gauge.taking, case.pin));
        let emptiest = open.min_by_key(|(_, gauge)| gauge.used);
        match emptiest {
            Some((joined, _)) => Refused {
                too_full: Some(joined),
                ..Refused::for_reason(Reason::WorkingSet)
            },
            None => Refused::for_reason(Reason::NoCapacity),
        }
    }

    fn chance(
        &self,
        (joined, gauge): (usize, &Gauge),
        case: Case<'_>,
        table: &ProcessTable,
    ) -> Chance {
        if gauge.lacks_slot(case.ask.order) {
            return Chance::Lacks(Lacks::Slot);
        }
        let is_too_full = self.is_too_full((joined, gauge), &case.arrival);
        // Where nobody is displaced, whoever could have a seat lacks room in the working set first.
        if is_too_full && !case.ask.displaces {
            return Chance::NoRoom;
        }
        let engine = &self.engines[joined];
        let entry = || {
            let entry = || self.entry(engine, &case.arrival);
            (!is_too_full).then(entry).flatten()
        };
        match engine.fit(case.ask, &self.tenants) {
            Ok(_) if gauge.binds && self.is_reserved(engine, case.ask, table) => Chance::Reserved,
            Ok(fit) => match entry() {
                Some(entry) => Chance::Takes(Offer { fit, entry }),
                None => Chance::NoRoom,
            },
            // Who cannot be admitted lacks that first.
            Err(Lacks::Kv) if entry().is_none() => Chance::NoRoom,
            Err(lacks) => Chance::Lacks(lacks),
        }
    }

    /// Whether the engine's room is kept for another call, of this one's queue or a better one. Not while that one's
    /// program is to be admitted: those who have to leave first must be able to go on.
    pub(super) fn is_reserved(&self, engine: &Engine, ask: Ask, table: &ProcessTable) -> bool {
        let Some(reserve) = engine.reserve.filter(|reserve| reserve.left == 0) else {
            return false;
        };
        let keeper = table.call(reserve.call).filter(|call| call.key != ask.call);
        keeper.is_some_and(|keeper| {
            self.order_of(keeper.place.scan, keeper.tenant()).queue <= ask.order.queue
                && (!self.settings.working_set || engine.set.holds(keeper.row))
        })
    }
}
