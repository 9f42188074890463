//! Where a call stands in its queue, and how it comes to another one. Owns: ranks, quanta and demotion.

use std::collections::BTreeMap;

use lps_api::quantity::{Micros, Order};
use lps_api::scheduling::{Policy, WithinQueue};

use super::engine::Engine;
use super::pool::Pool;
use crate::message::{Action, CallKey};
use crate::process_table::{Call, ProcessTable, RowId, Scan};

/// Whose turn it is in each queue, where programs take turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The largest turn that was dispatched, by queue.
    dispatched: BTreeMap<u8, u64>,
    /// The last turn of each program there. Those that are behind all that was dispatched are as good as none.
    last: BTreeMap<(u8, RowId), u64>,
}

impl Turns {
    /// Entries from which on those that say nothing are forgotten.
    const SWEEP_AT: usize = 4_096;

    fn next(&mut self, queue: u8, row: RowId) -> u64 {
        let largest = self.dispatched.get(&queue).copied().unwrap_or(0);
        let after = self.last.get(&(queue, row)).map_or(0, |last| last + 1);
        let turn = largest.max(after);
        if self.last.len() >= Self::SWEEP_AT {
            let dispatched = &self.dispatched;
            self.last
                .retain(|(queue, _), turn| *turn >= dispatched.get(queue).copied().unwrap_or(0));
        }
        self.last.insert((queue, row), turn);
        turn
    }

    /// A call of this turn was dispatched.
    pub(super) fn dispatched(&mut self, scan: Scan) {
        let largest = self.dispatched.entry(scan.queue).or_default();
        *largest = scan.turn.max(*largest);
    }
}

/// Where a call goes in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Head,
    /// Next to the call of this rank.
    Behind(i64),
    Tail,
}

/// Distance of two ranks at an end: as many places are between two calls.
const RANK_STEP: i64 = 1 << 20;

impl Pool {
    /// The place next to a rank. Those that were inserted before have used the places before it.
    pub(super) fn rank_behind(&self, rank: i64) -> i64 {
        rank.div_euclid(RANK_STEP) * RANK_STEP + self.inserted % RANK_STEP
    }

    /// A place in a queue.
    pub(super) fn scan_at(&mut self, end: End, queue: u8, call: &Call) -> Scan {
        let rank = match end {
            End::Head => {
                self.head_rank -= RANK_STEP;
                self.head_rank
            }
            End::Behind(rank) => {
                let behind = self.rank_behind(rank);
                self.inserted += 1;
                behind
            }
            End::Tail => {
                self.tail_rank += RANK_STEP;
                self.tail_rank
            }
        };
        let one_queue = self.settings.policy.has_one_queue() && end != End::Head;
        let urgency = if one_queue { call.p } else { Micros::ZERO };
        let policy = self.settings.policy;
        let by_program = one_queue && matches!(policy, Policy::ProgramFcfs | Policy::Gittins);
        let program = if by_program {
            call.row
        } else {
            RowId::default()
        };
        let takes_turns = self.settings.within_queue == WithinQueue::RoundRobin && end == End::Tail;
        let turn = if takes_turns {
            self.turns.next(queue, call.row)
        } else {
            0
        };
        Scan {
            queue,
            urgency,
            program,
            turn,
            rank,
        }
    }

    /// A place at an engine where calls displace others. Those of a tenant that is ahead stand behind all of a tenant
    /// that is not, in whatever queue; but whoever goes by the rule of the oldest goes whatever its tenant.
    pub(super) fn order_of(&self, scan: Scan, tenant: u32) -> Order {
        let is_oldest = scan.rank < 0;
        let lead = if is_oldest || !self.settings.displaces() {
            0
        } else {
            self.tenants.lead(tenant)
        };
        let queues = self.settings.last_queue() + 1;
        Order {
            queue: scan.queue.saturating_add(lead * queues),
            rank: scan.rank,
        }
    }

    /// Calls of tenants that came ahead, or are no longer, change their places at engines.
    pub(super) fn follow_leads(&mut self, table: &mut ProcessTable, out: &mut Vec<Action>) {
        let Some((slots, most)) = self.lead_step() else {
            return;
        };
        if !self.tenants.is_lead_due(slots, most) {
            return;
        }
        let changed = self.tenants.look_at_leads(slots, most);
        if changed.is_empty() {
            return;
        }
        let seats = self.engines.values().flat_map(Engine::seats);
        let seats = seats.filter(|(_, seat)| changed.contains(&seat.tenant));
        let seats: Vec<_> = seats
            .map(|(_, seat)| (seat.call, seat.is_demoted))
            .collect();
        for (key, is_demoted) in seats {
            let Some(call) = table.call(key) else {
                continue;
            };
            let order = self.order_of(call.place.scan, call.tenant());
            if order != call.place.order {
                self.seat_anew(key, order, (table, out), is_demoted);
            }
        }
    }

    /// Slots, and what a call uses before others may pass it; `None` where no tenant's calls stand behind another's.
    pub(super) fn lead_step(&self) -> Option<(u32, Micros)> {
        if !(self.settings.displaces() && self.tenants.are_several()) {
            return None;
        }
        let slots = self
            .engines
            .values()
            .map(|engine| engine.limits.slots)
            .sum();
        Some((slots, self.settings.quantum(0).unwrap_or(Micros::MAX)))
    }

    /// A place at an engine where nobody is displaced: behind all that were dispatched before.
    pub(super) fn order_of_dispatch(&mut self) -> Order {
        self.tail_rank += RANK_STEP;
        Order {
            queue: 0,
            rank: self.tail_rank,
        }
    }

    /// Gives a call another place, with a full quantum.
    pub(super) fn stand(
        &mut self,
        key: CallKey,
        scan: Scan,
        (table, now): (&mut ProcessTable, Micros),
        out: &mut Vec<Action>,
    ) {
        let is_held = table
            .call(key)
            .filter(|call| self.held.remove(&call.place.scan).is_some());
        if let Some(call) = is_held {
            self.step_out(call);
        }
        let is_held = is_held.is_some();
        let Some(call) = table.call_mut(key) else {
            return;
        };
        let is_demoted = scan.queue > call.place.scan.queue;
        call.place.scan = scan;
        call.place.used = Micros::ZERO;
        if is_held {
            self.held.insert(scan, key);
            self.line_up(key, table, now);
        } else if self.settings.displaces() {
            let tenant = call.tenant();
            let order = self.order_of(scan, tenant);
            self.seat_anew(key, order, (table, out), is_demoted);
        }
    }

    pub(super) fn seat_anew(
        &mut self,
        key: CallKey,
        order: Order,
        (table, out): (&mut ProcessTable, &mut Vec<Action>),
        is_demoted: bool,
    ) {
        let Some(call) = table.call_mut(key) else {
            return;
        };
        let Some(id) = call.engine().cloned() else {
            return;
        };
        let before = std::mem::replace(&mut call.place.order, order);
        if let Some(engine) = self.engines.get_mut(&id)
            && engine.reorder(key, (before, order), is_demoted)
        {
            out.push(Action::Reorder {
                call: key,
                engine: id,
                order,
            });
        }
    }

    /// A call used some of its quantum.
    pub fn use_quantum(&mut self, key: CallKey, service: Micros, table: &mut ProcessTable) {
        let Some(call) = table.call_mut(key) else {
            return;
        };
        call.place.used += service;
        let quantum = self.settings.quantum(call.place.scan.queue);
        if quantum.is_some_and(|quantum| call.place.used >= quantum) {
            self.spent.insert((call.place.scan, key));
        }
    }

    /// Demotes who used their quanta, in the order of the scan; whether there was one. Where a report comes late, what was used beyond the
    /// quantum counts for the next.
    pub fn demote(&mut self, table: &mut ProcessTable, now: Micros, out: &mut Vec<Action>) -> bool {
        let spent = std::mem::take(&mut self.spent);
        let any = !spent.is_empty();
        for (_, key) in spent {
            while let Some(call) = table.call(key)
                && let Some(quantum) = self.settings.quantum(call.place.scan.queue)
                && call.place.used >= quantum
            {
                let beyond = call.place.used - quantum;
                let queue = (call.place.scan.queue + 1).min(self.settings.last_queue());
                let scan = self.scan_at(End::Tail, queue, call);
                self.stand(key, scan, (table, now), out);
                if let Some(call) = table.call_mut(key) {
                    call.place.used = beyond;
                    call.place.demotions += 1;
                }
            }
            let row = table
                .call(key)
                .filter(|call| call.wait.since().is_some())
                .map(|call| call.row);
            if let Some(row) = row {
                self.arm(row, table, now);
            }
        }
        any
    }
}
