//! Rules against starvation. Owns: when a waiting call is promoted to queue 1 (its program's wait over its service, or
//! its own wait), and when a call's wait for its home engine is over.

use std::collections::BTreeSet;

use lps_api::quantity::Micros;

use super::places::End;
use super::pool::Pool;
use crate::message::{Action, CallKey};
use crate::process_table::{ByNumber, Call, ProcessTable, Row, RowId, Stage};

/// What falls due for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// It has waited too long below queue 1.
    QueueWait,
    /// It has waited too long for its home engine.
    HomeWait,
}

/// Times at which a rule may apply. Bounded: at most two for each call, and one for each program.
#[derive(Debug, Default)]
pub(super) struct Patience {
    calls: BTreeSet<(Micros, Due, CallKey)>,
    programs: BTreeSet<(Micros, RowId)>,
    /// When each program in `programs` is looked at.
    armed: ByNumber<RowId, Micros>,
}

impl Patience {
    pub(super) fn next(&self) -> Option<Micros> {
        let call = self.calls.first().map(|(at, ..)| *at);
        let program = self.programs.first().map(|(at, _)| *at);
        call.into_iter().chain(program).min()
    }

    fn arm(&mut self, row: RowId, at: Micros) {
        if let Some(before) = self.armed.insert(row, at) {
            self.programs.remove(&(before, row));
        }
        self.programs.insert((at, row));
    }

    fn take_program(&mut self, now: Micros) -> Option<RowId> {
        let (at, row) = self
            .programs
            .first()
            .copied()
            .filter(|(at, _)| *at <= now)?;
        self.programs.remove(&(at, row));
        self.armed.remove(&row);
        Some(row)
    }

    fn take_call(&mut self, now: Micros) -> Option<(Due, CallKey)> {
        let (at, due, key) = self.calls.first().copied().filter(|(at, ..)| *at <= now)?;
        self.calls.remove(&(at, due, key));
        Some((due, key))
    }
}

impl Pool {
    /// A call of the program began to wait, or fell to a lower queue: finds when β may promote it.
    pub(super) fn arm(&mut self, row: RowId, table: &ProcessTable, now: Micros) {
        let Some(found) = table.row(row) else { return };
        let Some(beta_milli) = self.settings.beta_milli else {
            return;
        };
        if self.settings.policy.has_one_queue() || found.waiting() == 0 {
            return;
        }
        let least = least_wait(found, beta_milli, self.settings.service_floor);
        let lacking = least.saturating_sub(found.wait_since_promotion(now));
        let at = now.saturating_add(Micros(lacking.0.div_ceil(found.waiting())));
        self.patience.arm(row, at);
    }

    /// A call began to wait: finds when its own wait promotes it.
    pub(super) fn await_turn(&mut self, key: CallKey, table: &ProcessTable) {
        let Some(call) = table.call(key) else { return };
        if let Some(at) = self.queue_wait_end(call) {
            self.patience.calls.insert((at, Due::QueueWait, key));
        }
    }

    fn queue_wait_end(&self, call: &Call) -> Option<Micros> {
        let most = self.settings.max_queue_wait?;
        Some(call.wait.since()?.saturating_add(most))
    }

    fn home_wait_end(&self, call: &Call) -> Option<Micros> {
        Some(
            call.place
                .home_busy_since?
                .saturating_add(self.settings.home_wait?),
        )
    }

    /// When a call need not wait for room any longer.
    pub(super) fn pause_end(&self, call: &Call) -> Option<Micros> {
        let most = self
            .settings
            .max_pause
            .filter(|_| self.settings.working_set)?;
        Some(call.ready_at.saturating_add(most))
    }

    /// Other rules apply to a call that may be waiting: finds anew when.
    pub(super) fn await_all(&mut self, key: CallKey, table: &ProcessTable, now: Micros) {
        let Some(call) = table.call(key) else { return };
        self.await_turn(key, table);
        if call.stage == Stage::Held
            && let Some(at) = self.home_wait_end(call)
        {
            self.patience.calls.insert((at, Due::HomeWait, key));
        }
        self.arm(call.row, table, now);
    }

    /// Whether a call has waited for its home engine as long as it must.
    pub(super) fn may_move(&self, call: &Call, now: Micros) -> bool {
        self.home_wait_end(call).is_some_and(|end| end <= now)
    }

    /// A call was found waiting for its home engine.
    pub(super) fn await_home(&mut self, key: CallKey, table: &mut ProcessTable, now: Micros) {
        let Some(call) = table
            .call_mut(key)
            .filter(|call| call.place.home_busy_since.is_none())
        else {
            return;
        };
        call.place.home_busy_since = Some(now);
        if let Some(at) = self.settings.home_wait.map(|wait| now.saturating_add(wait)) {
            self.patience.calls.insert((at, Due::HomeWait, key));
        }
    }

    /// A call waits no longer.
    pub(super) fn forget_waits(&mut self, call: &Call) {
        if let Some(at) = self.queue_wait_end(call) {
            self.patience.calls.remove(&(at, Due::QueueWait, call.key));
        }
        if let Some(at) = self.home_wait_end(call) {
            self.patience.calls.remove(&(at, Due::HomeWait, call.key));
        }
    }

    /// Promotes who has waited long enough.
    pub(super) fn promote_due(
        &mut self,
        table: &mut ProcessTable,
        now: Micros,
        out: &mut Vec<Action>,
    ) {
        while let Some((due, key)) = self.patience.take_call(now) {
            let Some(call) = table.call(key) else {
                continue;
            };
            let waited = self.queue_wait_end(call).is_some_and(|end| end <= now);
            if due == Due::QueueWait && waited && call.place.scan.queue > 0 {
                self.promote(key, table, now, out);
            } else if due == Due::HomeWait {
                self.realign(key, table, now);
            }
        }
        while let Some(row) = self.patience.take_program(now) {
            self.promote_program(row, table, now, out);
        }
    }

    fn promote_program(
        &mut self,
        row: RowId,
        table: &mut ProcessTable,
        now: Micros,
        out: &mut Vec<Action>,
    ) {
        let Some(found) = table.row(row) else { return };
        let Some(beta_milli) = self.settings.beta_milli else {
            return;
        };
        let low = found
            .open()
            .filter_map(|key| table.call(key))
            .filter(|call| {
                call.model == self.model && call.place.scan.queue > 0 && call.wait.since().is_some()
            });
        let Some(first) = low.min_by_key(|call| call.place.scan).map(|call| call.key) else {
            return;
        };
        let least = least_wait(found, beta_milli, self.settings.service_floor);
        if found.wait_since_promotion(now) >= least {
            self.promote(first, table, now, out);
        }
        self.arm(row, table, now);
    }

    fn promote(
        &mut self,
        key: CallKey,
        table: &mut ProcessTable,
        now: Micros,
        out: &mut Vec<Action>,
    ) {
        let Some(call) = table.call(key) else { return };
        let row = call.row;
        let scan = self.scan_at(End::Tail, 0, call);
        self.stand(key, scan, (table, now), out);
        if let Some(call) = table.call_mut(key) {
            call.place.promotions += 1;
        }
        if let Some(row) = table.row_mut(row) {
            row.mark_promoted(now);
        }
    }
}

impl Pool {
    /// When what falls due for a call, if it may.
    fn due_at(&self, due: Due, call: &Call) -> Option<Micros> {
        let is_held = call.stage == Stage::Held;
        match due {
            Due::QueueWait => self.queue_wait_end(call),
            Due::HomeWait => self.home_wait_end(call).filter(|_| is_held),
        }
    }

    /// Whether what is known of waits agrees with who waits.
    ///
    /// # Panics
    /// When a wait is noted that is not, one that is is not noted, or one is over that should have ended.
    pub(super) fn check_patience(&self, table: &ProcessTable, now: Micros) {
        for (at, due, key) in &self.patience.calls {
            let expected = table.call(*key).and_then(|call| self.due_at(*due, call));
            assert_eq!(expected, Some(*at), "{due:?} of {key:?}");
        }
        for key in self.held.values() {
            for due in [Due::QueueWait, Due::HomeWait] {
                let at = table.call(*key).and_then(|call| self.due_at(due, call));
                let is_noted =
                    |at: Micros| at <= now || self.patience.calls.contains(&(at, due, *key));
                assert!(at.is_none_or(is_noted), "{due:?} of {key:?} is not noted");
            }
        }
        let armed = self.patience.armed.iter().map(|(row, at)| (*at, *row));
        assert_eq!(armed.collect::<BTreeSet<_>>(), self.patience.programs);
        if !self.open_revisions.is_empty() {
            for row in self.members.keys().filter_map(|row| table.row(*row)) {
                self.check_promoted(row, table, now);
            }
        }
    }

    /// Whoever has waited long enough for what it had was promoted.
    fn check_promoted(&self, row: &Row, table: &ProcessTable, now: Micros) {
        let Some(beta_milli) = self.settings.beta_milli else {
            return;
        };
        let least = least_wait(row, beta_milli, self.settings.service_floor);
        if self.settings.policy.has_one_queue() || row.wait_since_promotion(now) < least {
            return;
        }
        let open: Vec<&Call> = row.open().filter_map(|key| table.call(key)).collect();
        // Waits for other models are not told here.
        let is_ours = open.iter().all(|call| call.model == self.model);
        let is_low = |call: &&Call| call.place.scan.queue > 0 && call.wait.since().is_some();
        assert!(
            !is_ours || !open.iter().any(is_low),
            "program {:?} has waited long enough and is not promoted",
            row.key
        );
    }
}

/// The wait from which on β promotes.
fn least_wait(row: &Row, beta_milli: u64, floor: Micros) -> Micros {
    let service = row.service_since_promotion().max(floor);
    let least = (u128::from(beta_milli) * u128::from(service.0)).div_ceil(1_000);
    Micros(u64::try_from(least).unwrap_or(u64::MAX))
}
