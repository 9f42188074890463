//! Which engine a call goes to (algorithm 2 and its repair): short prompts to the least loaded one, long ones to their
//! program's home. Owns: that choice. It must not know in which order calls ask.

use std::cmp::Reverse;

use lps_api::ids::Revision;
use lps_api::quantity::{Micros, Order};

use super::engine::{Ask, Engine, Fit, Lacks};
use super::pool::Pool;
use crate::message::CallKey;
use crate::process_table::{Call, ProcessTable, Reason, Scan};

/// Where a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// Index of the engine in its pool.
    pub(super) engine: usize,
    /// The engine becomes its program's home.
    pub(super) makes_home: bool,
    /// The program had another home.
    pub(super) moves: bool,
}

/// Why it goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    /// The engine with most room, if room is all that it lacks.
    pub(super) too_full: Option<usize>,
}

/// Among engines that can take a call, the least of these is chosen.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// A free slot before one that is taken from another, since that one would wait; both before a wait in the engine.
    fit: u8,
    /// Then the victim that stands last, since it is the least urgent of all.
    victim: Reverse<Option<Order>>,
    /// Then the least load, to spread calls.
    load: u32,
    /// Then the engine that joined first, so that the choice is the same everywhere.
    joined: usize,
}

impl Preference {
    fn new(fit: Fit, engine: &Engine, joined: usize) -> Self {
        let (fit, victim) = match fit {
            Fit::Runs => (0, None),
            Fit::Displaces(victim) => (1, Some(victim)),
            Fit::Waits => (2, None),
        };
        Self {
            fit,
            victim: Reverse(victim),
            load: engine.load(),
            joined,
        }
    }
}

/// What there is for a call on one engine.
enum Chance {
    Takes(Fit),
    Reserved,
    Lacks(Lacks),
}

impl Pool {
    /// What a call that stands so would ask of an engine.
    pub(super) fn ask(&self, call: CallKey, scan: Scan, size: u64) -> Ask {
        Ask {
            call,
            order: Order {
                queue: scan.queue,
                rank: scan.rank,
            },
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
        let nowhere = |reason| {
            Err(Refused {
                reason,
                too_full: None,
            })
        };
        let Some(call) = table.call(key) else {
            return nowhere(Reason::NoCapacity);
        };
        let row = table.row(call.row);
        let most = self.settings.max_calls_per_program;
        if most.is_some_and(|most| self.seats_of.get(&call.row).is_some_and(|n| *n >= most)) {
            return nowhere(Reason::ProgramLimit);
        }
        let ask = self.ask(key, scan, call.size());
        let is_long = call.prompt_tokens > self.settings.locality_threshold;
        let pin = row.and_then(|row| row.revision(&self.model));
        let home = row.and_then(|row| row.homes.get(&self.model));
        let home = home.and_then(|id| self.engines.get_full(id));
        match home.filter(|(_, _, engine)| is_long && self.admits(engine, pin)) {
            Some((joined, _, engine)) => {
                self.place_at_home(call, (joined, engine), (ask, pin), (table, now))
            }
            None => self
                .place_anywhere((ask, pin), table, |_, _| true)
                .map(|engine| Target {
                    engine,
                    makes_home: is_long,
                    moves: false,
                }),
        }
    }

    fn place_at_home(
        &self,
        call: &Call,
        (joined, engine): (usize, &Engine),
        (ask, pin): (Ask, Option<Revision>),
        (table, now): (&ProcessTable, Micros),
    ) -> Result<Target, Refused> {
        let too_full = match self.chance(engine, ask, table) {
            Chance::Takes(_) => {
                return Ok(Target {
                    engine: joined,
                    makes_home: true,
                    moves: false,
                });
            }
            Chance::Reserved => {
                let reason = Reason::BackfillReserve;
                return Err(Refused {
                    reason,
                    too_full: None,
                });
            }
            Chance::Lacks(lacks) => (lacks == Lacks::Kv).then_some(joined),
        };
        if self.may_move(call, now) {
            let elsewhere = self.place_anywhere((ask, pin), table, |at, fit| {
                at != joined && fit == Fit::Runs
            });
            if let Ok(engine) = elsewhere {
                return Ok(Target {
                    engine,
                    makes_home: true,
                    moves: true,
                });
            }
        }
        Err(Refused {
            reason: Reason::HomeBusy,
            too_full,
        })
    }

    fn place_anywhere(
        &self,
        (ask, pin): (Ask, Option<Revision>),
        table: &ProcessTable,
        accepts: impl Fn(usize, Fit) -> bool,
    ) -> Result<usize, Refused> {
        let mut best: Option<Preference> = None;
        let mut too_full: Option<(u64, Reverse<usize>)> = None;
        let mut reason = Reason::NoCapacity;
        for (joined, engine) in self.engines.values().enumerate() {
            if !self.admits(engine, pin) {
                continue;
            }
            match self.chance(engine, ask, table) {
                Chance::Takes(fit) if accepts(joined, fit) => {
                    let preference = Preference::new(fit, engine, joined);
                    best = Some(best.map_or_else(
                        || Preference::new(fit, engine, joined),
                        |best| best.min(preference),
                    ));
                }
                Chance::Takes(_) | Chance::Lacks(Lacks::Slot) => {}
                Chance::Reserved => reason = Reason::BackfillReserve,
                Chance::Lacks(Lacks::Kv) => {
                    too_full = too_full.max(Some((engine.kv_free(), Reverse(joined))));
                }
            }
        }
        let too_full = too_full.map(|(_, Reverse(joined))| joined);
        best.map(|best| best.joined)
            .ok_or(Refused { reason, too_full })
    }

    fn chance(&self, engine: &Engine, ask: Ask, table: &ProcessTable) -> Chance {
        match engine.fit(ask) {
            Ok(_) if self.is_reserved(engine, ask, table) => Chance::Reserved,
            Ok(fit) => Chance::Takes(fit),
            Err(lacks) => Chance::Lacks(lacks),
        }
    }

    /// Whether the engine's room is kept for another call, of this one's queue or a better one.
    pub(super) fn is_reserved(&self, engine: &Engine, ask: Ask, table: &ProcessTable) -> bool {
        let Some(reserve) = engine.reserve.filter(|reserve| reserve.left == 0) else {
            return false;
        };
        let keeper = table.call(reserve.call).filter(|call| call.key != ask.call);
        keeper.is_some_and(|keeper| keeper.place.scan.queue <= ask.order.queue)
    }
}
