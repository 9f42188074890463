//! Whoever does not fit is passed over, but not for ever. Owns: the room that is kept on an engine for a call, and in its
//! working set for a program, once so many others have passed (after EASY backfill).

use lps_api::quantity::Micros;

use super::engine::Reserve;
use super::placement::Target;
use super::pool::Pool;
use crate::message::CallKey;
use crate::process_table::{ProcessTable, Stage};

/// A call that lacked room, the engine on which it lacked least, and of what.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassedOver {
    pub(super) engine: usize,
    pub(super) call: CallKey,
    pub(super) lacks_admission: bool,
}

impl Pool {
    /// A call for which room is kept, and that fits now.
    pub(super) fn keeper_that_fits(
        &self,
        table: &ProcessTable,
        now: Micros,
    ) -> Option<(CallKey, Target)> {
        let engines = self.engines.find(|most| most.binds);
        let engines = engines.map(|(index, _)| &self.engines[index]);
        let kept = engines.flat_map(|engine| [engine.reserve, engine.claim]);
        let keepers = kept.flatten().filter(|kept| kept.left == 0);
        let fits = keepers.filter_map(|kept| {
            let scan = table.call(kept.call)?.place.scan;
            Some((
                scan,
                kept.call,
                self.place(kept.call, scan, table, now).ok()?,
            ))
        });
        fits.min_by_key(|(scan, ..)| *scan)
            .map(|(_, key, target)| (key, target))
    }

    /// A dispatch passes calls that lack room: the first time begins a reserve, the next ones use it up.
    pub(super) fn reserve_for_passed(
        &mut self,
        passed: &[PassedOver],
        key: CallKey,
        engine: usize,
        table: &ProcessTable,
    ) {
        let limit = self.settings.backfill_limit;
        let queue_of = |key| {
            let call = table.call(key)?;
            Some(self.order_of(call.place.scan, call.tenant()).queue)
        };
        let Some(queue) = queue_of(key) else { return };
        let keeper = self.engines[engine].reserve.map(|reserve| reserve.call);
        let is_binding = keeper
            .and_then(queue_of)
            .is_some_and(|keeper| keeper <= queue);
        let lacking = first_lacking(passed, (engine, false), key, table);
        let Some((_, booked)) = self.engines.get_index_mut(engine) else {
            return;
        };
        match &mut booked.reserve {
            Some(reserve) if reserve.call != key => {
                if is_binding {
                    reserve.left = reserve.left.saturating_sub(1);
                }
            }
            Some(_) => {}
            None => booked.reserve = lacking.map(|call| Reserve { call, left: limit }),
        }
    }

    /// The same for an admission that passes those who lack room in the working set.
    pub(super) fn claim_for_passed(
        &mut self,
        passed: &[PassedOver],
        key: CallKey,
        engine: usize,
        table: &ProcessTable,
    ) {
        let limit = self.settings.backfill_limit;
        let lacking = first_lacking(passed, (engine, true), key, table);
        let Some((_, booked)) = self.engines.get_index_mut(engine) else {
            return;
        };
        match &mut booked.claim {
            Some(claim) if claim.call != key => claim.left = claim.left.saturating_sub(1),
            Some(_) => {}
            None => booked.claim = lacking.map(|call| Reserve { call, left: limit }),
        }
    }
}

/// The first call that this look passed over for this reason on this engine, and that still is held.
fn first_lacking(
    passed: &[PassedOver],
    (engine, lacks_admission): (usize, bool),
    but: CallKey,
    table: &ProcessTable,
) -> Option<CallKey> {
    let is_held = |key| {
        table
            .call(key)
            .is_some_and(|call| call.stage == Stage::Held)
    };
    let mut lacking = passed
        .iter()
        .filter(|it| (it.engine, it.lacks_admission) == (engine, lacks_admission));
    lacking
        .find(|it| it.call != but && is_held(it.call))
        .map(|it| it.call)
}
