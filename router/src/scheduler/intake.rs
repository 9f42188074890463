//! Which engines of a pool take which calls. Owns: engines that come, drain and go, and that a program stays on the
//! revision that it began on. It must not know in which order calls ask.

use std::collections::BTreeSet;

use lps_api::ids::{EngineId, Revision};
use lps_api::quantity::Micros;

use super::engine::{Engine, Limits};
use super::engines::Taking;
use super::pool::Pool;
use crate::message::Intake;
use crate::process_table::{ProcessTable, Row};

impl Pool {
    /// An engine takes calls, or has other limits than before.
    pub fn engine_up(&mut self, id: EngineId, limits: Limits) {
        match self.engines.get_mut(&id) {
            Some(engine) => engine.limit(limits),
            None => self.engines.insert(id, Engine::new(limits)),
        }
    }

    /// An engine takes other calls than before.
    pub fn engine_intake(&mut self, id: &EngineId, intake: Intake) {
        if let Some(engine) = self.engines.get_mut(id) {
            engine.intake = intake;
            if intake != Intake::All {
                (engine.reserve, engine.claim) = (None, None);
            }
        }
    }

    /// An engine is gone. What becomes of its calls is told for each.
    pub fn engine_gone(&mut self, id: &EngineId) {
        self.engines.remove(id);
        self.forget_residents(id);
    }

    /// Whether it has the engine.
    pub fn has_engine(&self, id: &EngineId) -> bool {
        self.engines.contains_key(id)
    }

    /// After engines came or went: whether calls are taken at all, and why held calls wait.
    pub fn engines_changed(&mut self, table: &mut ProcessTable, now: Micros) {
        let revisions = |wanted: Intake| {
            let engines = self.engines.values();
            let of = engines.filter(|engine| engine.intake == wanted);
            let all: BTreeSet<Revision> = of.map(|engine| engine.limits.revision).collect();
            all.into_iter().collect()
        };
        self.open_revisions = revisions(Intake::All);
        self.pinned_revisions = revisions(Intake::Pinned);
        let is_closed = self.open_revisions.is_empty();
        self.closed_since = is_closed.then(|| self.closed_since.unwrap_or(now));
        self.line_up_all(table, now);
        let reason = self.reason_to_hold();
        self.fresh.clear();
        for key in self.held.values() {
            table.wait(*key, reason, now);
            self.fresh.push(*key);
        }
    }

    /// Whether an engine takes a call of a program that began on revision `pin`. Such a program stays there as long as
    /// any engine of it takes its calls.
    pub(super) fn admits(&self, engine: Taking, pin: Option<Revision>) -> bool {
        let is_open = |revision| self.open_revisions.contains(revision);
        let own = engine.revision;
        match (engine.intake, pin) {
            (Intake::Nothing, _) | (Intake::Pinned, None) => false,
            (Intake::All, None) => true,
            (Intake::Pinned, Some(pin)) => pin == own && !is_open(&pin),
            (Intake::All, Some(pin)) => {
                pin == own || !(is_open(&pin) || self.pinned_revisions.contains(&pin))
            }
        }
    }

    /// Whether the program can go on with this engine only.
    pub fn is_pinned_to(&self, row: &Row, engine: &EngineId) -> bool {
        let revision = self.engines.get(engine).map(|it| it.limits.revision);
        let pin = row.stays.revision(&self.model);
        pin.is_some() && pin == revision && !self.open_revisions.contains(&pin.unwrap_or_default())
    }
}
