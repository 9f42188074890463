//! Reading a pool. Owns: what can be said of its engines and of a call's place, and whether its books agree.

use lps_api::ids::EngineId;
use lps_api::quantity::Micros;

use super::engine::Engine;
use super::pool::Pool;
use crate::message::Intake;
use crate::process_table::{Call, ProcessTable, Reason, Row, Stage};

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
    /// Which calls it takes.
    pub intake: Intake,
}

impl From<&Engine> for Seats {
    fn from(engine: &Engine) -> Self {
        Self {
            slots: engine.limits.slots,
            running: engine.running(),
            waiting: engine.load() - engine.running(),
            kv_tokens: engine.limits.kv_tokens,
            kv_booked: engine.kv_booked(),
            intake: engine.intake,
        }
    }
}

impl Pool {
    /// Time that ended waits took, by reason.
    pub fn ended_waits(&self) -> impl Iterator<Item = (Reason, Micros)> {
        Reason::ALL.into_iter().zip(self.ended_waits)
    }

    /// What a call may still use before it is demoted.
    pub fn quantum_left(&self, call: &Call) -> Option<Micros> {
        let quantum = self.settings.quantum(call.place.scan.queue)?;
        Some(quantum.saturating_sub(call.place.used))
    }

    /// Its engines, in the order in which they joined.
    pub fn engines(&self) -> impl Iterator<Item = (&EngineId, Seats)> {
        self.engines.iter().map(|(id, engine)| (id, engine.into()))
    }

    /// Why a call waits, as of now. A look through the queues stops at the first that goes nowhere, so those behind it
    /// are found here to wait for a reserve.
    pub fn reason(&self, call: &Call, table: &ProcessTable) -> Option<Reason> {
        let (reason, _) = call.wait.reason()?;
        let ask = self.ask(call.key, call.place.scan, call.size());
        let is_kept =
            |engine: &Engine| engine.is_open_at(ask) && self.is_reserved(engine, ask, table);
        let for_reserve = reason == Reason::NoCapacity && self.engines.values().any(is_kept);
        Some(if for_reserve {
            Reason::BackfillReserve
        } else {
            reason
        })
    }

    /// Of a waiting call: how many stand before it, and the engine that it waits for or in.
    pub fn standing(&self, call: &Call, row: &Row) -> (Option<u64>, Option<EngineId>) {
        match call.wait.reason().map(|(reason, _)| reason) {
            Some(Reason::EngineQueue | Reason::Preempted) => {
                let engine = call.engine().and_then(|id| self.engines.get(id));
                (
                    engine.map(|engine| engine.position(call.place.order)),
                    call.engine().cloned(),
                )
            }
            Some(Reason::HomeBusy) => (None, row.homes.get(&self.model).cloned()),
            _ => (
                Some(self.held.range(..call.place.scan).count() as u64),
                None,
            ),
        }
    }

    /// Whether queues, seats and the table agree.
    ///
    /// # Panics
    /// When they do not.
    pub fn check_integrity(&self, table: &ProcessTable) {
        assert_eq!(self.held.len(), self.ages.len());
        assert_eq!(
            self.held.len() as u64,
            self.sizes.values().map(|n| u64::from(*n)).sum::<u64>()
        );
        for (scan, key) in &self.held {
            let call = table.call(*key).expect("a held call is open");
            assert!(call.stage == Stage::Held && call.place.scan == *scan);
        }
        for (id, engine) in &self.engines {
            engine.check_integrity();
            let keeper = engine.reserve.and_then(|reserve| table.call(reserve.call));
            assert!(
                keeper.is_none_or(|call| call.stage == Stage::Held),
                "room for a sent call"
            );
            for (order, seat) in engine.seats() {
                let call = table.call(seat.call).expect("a seated call is open");
                assert!(call.engine() == Some(id) && call.place.order == *order);
            }
        }
    }
}
