//! Reading a pool. Owns: what can be said of its engines and of a call's place, and whether its books agree.

use std::collections::{BTreeMap, BTreeSet};

use lps_api::ids::EngineId;
use lps_api::quantity::Micros;

use super::engine::{Engine, Lacks};
use super::engines::Gauge;
use super::pool::Pool;
use crate::message::Intake;
use crate::process_table::{Call, Line, Phase, ProcessTable, Reason, Row, Stage};

/// What is booked at an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seats {
    /// Sequences it runs at once.
    pub slots: u32,
    /// Calls there that run.
    pub running: u32,
    /// Calls there that wait.
    pub waiting: u32,
    /// Tokens its KV pool holds.
    pub kv_tokens: u64,
    /// Of those, booked.
    pub kv_booked: u64,
    /// What the programs take that it keeps.
    pub kv_resident: u64,
    /// Which calls it takes.
    pub intake: Intake,
}

/// Calls before a waiting one are counted one by one: beyond these it is said of none how many there are.
const AHEAD_MAX: usize = 1_000;

impl From<&Engine> for Seats {
    fn from(engine: &Engine) -> Self {
        Self {
            slots: engine.limits.slots,
            running: engine.running(),
            waiting: engine.load() - engine.running(),
            kv_tokens: engine.limits.kv_tokens,
            kv_booked: engine.kv_booked(),
            kv_resident: engine.set.used(),
            intake: engine.intake,
        }
    }
}

impl Pool {
    /// Time that ended waits took, by reason.
    pub fn ended_waits(&self) -> impl Iterator<Item = (Reason, Micros)> {
        Reason::ALL.into_iter().zip(self.ended_waits)
    }

    /// What a call that used so much of a queue's quantum may still use before it is demoted.
    pub fn left_of_quantum(&self, queue: u8, used: Micros) -> Option<Micros> {
        Some(self.settings.quantum(queue)?.saturating_sub(used))
    }

    /// Its engines, in the order in which they joined.
    pub fn engines(&self) -> impl Iterator<Item = (&EngineId, Seats)> {
        self.engines.iter().map(|(id, engine)| (id, engine.into()))
    }

    /// The calls that wait: those in an engine, then those that are held, each as they stand in line.
    pub fn waiting<'a>(&'a self, table: &'a ProcessTable) -> impl Iterator<Item = &'a Call> {
        let seats = self.engines.values().flat_map(Engine::seats);
        let calls = seats.map(|(_, seat)| seat.call);
        calls
            .chain(self.held.values().copied())
            .filter_map(|key| table.call(key))
            .filter(|call| call.phase == Phase::Pending)
    }

    /// Of the calls that wait, held or in an engine, the one that has been ready for longest.
    pub fn oldest_waiting<'a>(&self, table: &'a ProcessTable) -> Option<&'a Call> {
        let held = self.oldest_held().map(|(_, key)| key);
        let seats = self.engines.values().flat_map(Engine::seats);
        let calls = held.into_iter().chain(seats.map(|(_, seat)| seat.call));
        calls
            .filter_map(|key| table.call(key))
            .filter(|call| call.phase == Phase::Pending)
            .min_by_key(|call| (call.ready_at, call.key))
    }

    /// Why a call waits, as of now. A look through the queues stops at the first that goes nowhere, so those behind it
    /// are found here to wait for a reserve.
    pub fn reason(&self, call: &Call, table: &ProcessTable) -> Option<Reason> {
        let (reason, _) = call.wait.reason()?;
        let ask = self.ask((call.key, call.tenant()), call.place.scan, call.size());
        if reason != Reason::NoCapacity {
            return Some(reason);
        }
        let is_kept = |(index, gauge): (usize, &Gauge)| {
            gauge.is_open_at(ask) && self.is_reserved(&self.engines[index], ask, table)
        };
        // A call that would have a slot but is to be admitted first lacks room, whether or not a look met it.
        let is_to_be_admitted = matches!(call.place.line, Line::Admission { .. });
        let now = call.ready_at;
        let arrival = self.arrival(call, now);
        let lacks_room = |(index, _): (usize, &Gauge)| {
            let engine = &self.engines[index];
            engine.fit(ask, &self.tenants) != Err(Lacks::Slot)
                && self.entry(engine, &arrival).is_none()
        };
        Some(if self.engines.find(|most| most.binds).any(is_kept) {
            Reason::BackfillReserve
        } else if is_to_be_admitted && self.engines.with_seat(ask.order).any(lacks_room) {
            Reason::WorkingSet
        } else if self
            .tenants
            .first()
            .is_some_and(|first| first != call.tenant())
            || self.tenants.lead(call.tenant()) > 0
        {
            Reason::TenantTurn
        } else {
            reason
        })
    }

    /// Of a waiting call: how many stand before it, of which [`AHEAD_MAX`] are counted, and the engine that it waits for or in.
    pub fn standing(&self, call: &Call, row: &Row) -> (Option<u64>, Option<EngineId>) {
        match call.wait.reason().map(|(reason, _)| reason) {
            Some(Reason::EngineQueue | Reason::Preempted) => {
                let engine = call.engine().and_then(|id| self.engines.get(id));
                (
                    engine.map(|engine| engine.position(call.place.order)),
                    call.engine().cloned(),
                )
            }
            Some(Reason::RetryBackoff) => (None, call.engine().cloned()),
            Some(Reason::HomeBusy) => (None, row.stays.home(&self.model).cloned()),
            Some(Reason::WorkingSet) => {
                let ahead = self.ages[1].range(..(call.ready_at, call.key));
                let ahead = ahead.take(AHEAD_MAX).count();
                (Some(ahead as u64), None)
            }
            _ => (
                Some(self.held.range(..call.place.scan).take(AHEAD_MAX).count() as u64),
                None,
            ),
        }
    }

    /// Whether queues, seats and the table agree.
    ///
    /// # Panics
    /// When they do not.
    pub fn check_integrity(&self, table: &ProcessTable, now: Micros) {
        let ages: usize = self.ages.iter().map(BTreeSet::len).sum();
        assert_eq!((self.held.len(), self.held.len()), (ages, self.lined_up()));
        let sizes = self.sizes.iter().flat_map(BTreeMap::values);
        assert_eq!(
            self.held.len() as u64,
            sizes.map(|n| u64::from(*n)).sum::<u64>()
        );
        let held: u32 = self.members.values().map(|member| member.held).sum();
        assert_eq!(self.held.len() as u32, held, "held calls of programs");
        let limited: u32 = self.members.values().map(|member| member.limited).sum();
        assert_eq!(
            self.limited.len() as u32,
            limited,
            "calls that wait for a slot of their program"
        );
        let seats = self.members.values().map(|member| member.seats).sum();
        self.tenants.check_integrity(held, seats);
        self.check_patience(table, now);
        let is_asked_for = |at| self.room_at.is_some_and(|asked| asked <= at);
        assert!(
            self.open_revisions.is_empty() || self.next_pause_end(now).is_none_or(is_asked_for),
            "nobody asks to be woken when a wait for room is over"
        );
        let kept: u32 = self
            .engines
            .values()
            .map(|engine| engine.set.programs())
            .sum();
        let known: usize = self.resident_at.values().map(Vec::len).sum();
        assert_eq!(kept as usize, known, "programs that engines keep");
        for (scan, key) in &self.held {
            let call = table.call(*key).expect("a held call is open");
            assert!(call.stage == Stage::Held && call.place.scan == *scan);
            self.check_line(call, table, now);
            self.check_quantum(call);
        }
        self.engines.check_integrity();
        for (id, engine) in self.engines.iter() {
            for keeper in [engine.reserve, engine.claim].into_iter().flatten() {
                let keeper = table.call(keeper.call);
                assert!(
                    keeper.is_none_or(|call| call.stage == Stage::Held),
                    "room for a sent call"
                );
            }
            for (order, seat) in engine.seats() {
                let call = table.call(seat.call).expect("a seated call is open");
                assert!(call.engine() == Some(id) && call.place.order == *order);
                self.check_quantum(call);
            }
        }
    }

    /// Whoever used a quantum stands in the next queue.
    fn check_quantum(&self, call: &Call) {
        let quantum = self.settings.quantum(call.place.scan.queue);
        assert!(
            quantum.is_none_or(|quantum| call.place.used < quantum),
            "{:?} used its quantum and was not demoted",
            call.key
        );
    }
}
