//! The rule of every m-th dispatch: it goes to the oldest call that fits. Owns: which call that is, and where it goes.

use lps_api::quantity::Micros;

use super::placement::Target;
use super::places::End;
use super::pool::Pool;
use crate::message::{Action, CallKey};
use crate::process_table::{Call, ProcessTable, Scan};

/// Oldest calls of each group that are tried at an m-th dispatch, at most.
const OLDEST_TRIED_MAX: usize = 64;

/// The most room that any engine has for a call at the head of queue 1.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// For the call, with all that it may displace; `None`: none has any.
    at_engine: Option<u64>,
    /// For its program, if that is to be admitted.
    to_admit: Option<u64>,
}

/// The first place of a rank in queue 1.
fn in_first_queue(rank: i64) -> Scan {
    Scan {
        rank,
        ..Scan::default()
    }
}

impl Pool {
    /// At every m-th dispatch: the oldest call that fits in queue 1, and where it goes. It stands at the queue's head
    /// if it runs at once. Where only a wait in an engine is to be had it stands next to those that run there, since at
    /// the head it would displace one of its own queue.
    pub(super) fn oldest(
        &self,
        table: &ProcessTable,
        now: Micros,
    ) -> Option<(CallKey, End, Target)> {
        let every = u64::from(self.settings.oldest_every?);
        if !(self.dispatches + 1).is_multiple_of(every) {
            return None;
        }
        let flowing = self.ages[0].iter().take(OLDEST_TRIED_MAX);
        let waiting = self.ages[1].iter().take(OLDEST_TRIED_MAX);
        let flowing = flowing.map(|(ready, key)| (*ready, *key, false));
        let waiting = waiting.map(|(ready, key)| (*ready, *key, true));
        let mut oldest: Vec<(Micros, CallKey, bool)> = flowing.chain(waiting).collect();
        oldest.sort_unstable();
        let most = self.most_room();
        let calls = oldest
            .into_iter()
            .filter_map(|(_, key, is_to_be_admitted)| {
                let call = table.call(key)?;
                let fits = most.at_engine.is_some_and(|most| call.size() <= most);
                let may_come =
                    !is_to_be_admitted || self.could_be_admitted(call, most.to_admit, now);
                (fits && may_come).then_some(call)
            });
        let mut placed = calls.filter_map(|call| self.place_first(call, table, now));
        placed.next()
    }

    /// A call may go only where it needs no more than this: so it is not tried where it cannot.
    fn most_room(&self) -> Room {
        let mut most = Room {
            at_engine: None,
            to_admit: None,
        };
        let is_anyone_to_be_admitted = !self.ages[1].is_empty();
        for (index, gauge) in self.engines.gauges() {
            if !gauge.taking.any() || gauge.room_first.is_none() {
                continue;
            }
            most.at_engine = most.at_engine.max(gauge.room_first);
            if is_anyone_to_be_admitted {
                let room = self.engines.room_to_admit(index);
                // Whoever needs more than there is takes all of it.
                let takes_all = |room| {
                    if room < gauge.kv_tokens {
                        room
                    } else {
                        u64::MAX
                    }
                };
                most.to_admit = most.to_admit.max(room.map(takes_all));
            }
        }
        most
    }

    /// Where a call goes that stands at the head of queue 1, or next to those that run in it.
    fn place_first(
        &self,
        call: &Call,
        table: &ProcessTable,
        now: Micros,
    ) -> Option<(CallKey, End, Target)> {
        let key = call.key;
        let place = |rank| self.place(key, in_first_queue(rank), table, now).ok();
        if let Some(target) = place(i64::MIN) {
            return Some((key, End::Head, target));
        }
        // Where nobody is displaced, a call fits at its place if it fits at all.
        if !self.settings.displaces() {
            return None;
        }
        let row = table.row(call.row)?;
        let home = self.home(call, row).map(|(index, ..)| index);
        let home = home.filter(|_| !self.may_move(call, now));
        self.engines.gauges().find_map(|(index, gauge)| {
            if home.is_some_and(|home| home != index) {
                return None;
            }
            let worst = gauge.worst.filter(|worst| worst.queue == 0)?.rank;
            let rank = self.rank_behind(worst);
            let ask = self.ask((key, call.tenant()), in_first_queue(rank), call.size());
            if !gauge.is_open_at(ask) {
                return None;
            }
            let target = place(rank)?;
            (target.engine == index).then_some((key, End::Behind(worst), target))
        })
    }

    pub(super) fn move_to_first_queue(
        &mut self,
        key: CallKey,
        end: End,
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        if let Some(call) = table.call(key) {
            let scan = self.scan_at(end, 0, call);
            self.stand(key, scan, (table, now), out);
        }
    }
}
