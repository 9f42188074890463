//! What must hold at every instant of a simulation. Owns: the properties that can be seen from outside the state; its
//! own invariants it checks itself.

use lps_api::quantity::Micros;
use lps_router::message::Intake;
use lps_router::process_table::Reason;
use lps_router::state::view::EngineLoad;

use super::record::name;
use super::world::World;

/// The longest lease that is learned.
const LEASE_MOST: Micros = Micros::from_secs(120);

impl World<'_> {
    /// Engines are not idle while every held call would fit, nor while calls are held and nothing is to come of it.
    fn check_idle(&self, loads: &[EngineLoad]) {
        let is_idle = |engine: &EngineLoad| engine.running + engine.waiting == 0;
        let held = self.open.values().filter(|open| open.seat.is_none());
        let largest = held.map(|open| {
            let spec = &self.workload.programs[open.at.0].calls[open.at.1];
            u64::from(spec.prompt.0) + u64::from(spec.output.0)
        });
        let Some(largest) = largest.max() else { return };
        if loads.is_empty() || !loads.iter().all(is_idle) {
            return;
        }
        let settings = &self.setup.settings;
        let watermark = u128::from(settings.kv_watermark_milli);
        let room = loads.iter().map(|engine| {
            let most = (u128::from(engine.kv_tokens) * watermark / 1_000) as u64;
            most.saturating_sub(engine.kv_resident_tokens)
        });
        let room = room.min().unwrap_or_default();
        assert!(
            room < largest,
            "all engines are idle at {}, and {largest} tokens would fit",
            self.now
        );
        let lease = settings.acting_lease.unwrap_or(LEASE_MOST);
        let soon = self.now + lease.max(settings.home_wait.unwrap_or_default());
        assert!(
            self.wake.is_some_and(|at| at <= soon),
            "all engines are idle at {}, calls are held, and nothing is to come of it",
            self.now
        );
    }

    /// Whether the state agrees with itself, and no slot is idle while a held call would fit that nothing holds back.
    ///
    /// # Panics
    /// When that is not so.
    pub(super) fn check(&self) {
        self.state.check_integrity();
        let loads = self.state.engine_loads();
        self.check_idle(&loads);
        let is_free = |engine: &&EngineLoad| {
            let is_idle = engine.running < engine.slots && engine.waiting == 0;
            is_idle && engine.intake == Intake::All
        };
        let free = loads.iter().filter(is_free);
        let room = free.map(|engine| engine.kv_tokens - engine.kv_booked_tokens);
        let Some(room) = room.max() else { return };
        let threshold = self.setup.settings.locality_threshold;
        #[expect(clippy::iter_over_hash_type, reason = "each is looked at alone")]
        for (key, open) in &self.open {
            let spec = &self.workload.programs[open.at.0].calls[open.at.1];
            let size = u64::from(spec.prompt.0) + u64::from(spec.output.0);
            // Longer ones have homes, for which they may wait.
            let could_run = spec.prompt <= threshold && size <= room;
            if !could_run || open.seat.is_some() {
                continue;
            }
            let view = name(*key)
                .ok()
                .and_then(|id| self.state.call(&open.program.tenant, &id));
            let why = view.and_then(|view| view.explain);
            assert!(
                why.is_none_or(|why| why.reason != Reason::NoCapacity),
                "call {key:?} could run at {}",
                self.now
            );
        }
    }

    /// Whether nothing is left when all have ended.
    ///
    /// # Panics
    /// When something is.
    pub(super) fn check_rest(&self) {
        self.state.check_integrity();
        assert!(self.open.is_empty(), "calls are open when all have ended");
        for engine in self.state.engine_loads() {
            assert_eq!(
                (engine.running, engine.waiting, engine.kv_booked_tokens),
                (0, 0, 0),
                "an engine is busy at rest"
            );
        }
    }
}
