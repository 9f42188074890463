//! The unit engine: runs the first B calls of their order that its KV pool holds, at a second per second, and can stop
//! at any instant. Owns: which calls run.

use std::collections::{BTreeMap, BTreeSet};

use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Micros, Order, Tokens};
use lps_router::message::{CallKey, ProgramKey};

use super::{Engine, Job, Told};

/// One engine.
#[derive(Debug)]
pub(super) struct UnitEngine {
    slots: usize,
    kv_tokens: u64,
    /// Until when time has passed.
    now: Micros,
    /// Microseconds that one of work takes.
    factor: f64,
    seats: BTreeMap<Order, CallKey>,
    calls: BTreeMap<CallKey, Seat>,
    running: BTreeSet<CallKey>,
}

#[derive(Debug)]
struct Seat {
    job: Job,
    /// KV tokens that are booked for it.
    size: u64,
    done: Micros,
}

impl Seat {
    fn left(&self) -> Micros {
        self.job.service.saturating_sub(self.done)
    }

    fn usage(&self) -> CallUsage {
        let (service, output) = (self.job.service, self.job.output);
        let output = if self.done >= service {
            output
        } else {
            (u128::from(self.done.0) * u128::from(output) / u128::from(service.0.max(1))) as u32
        };
        CallUsage {
            prompt_tokens: Tokens(self.job.content.tokens()),
            cached_tokens: Tokens(0),
            output_tokens: Tokens(output),
            executor_us: self.done,
        }
    }

    fn told(&self, state: CallState) -> Told {
        Told {
            call: self.job.call,
            state,
            usage: self.usage(),
        }
    }
}

impl UnitEngine {
    pub(super) fn new(slots: u32, kv_tokens: u64) -> Self {
        Self {
            slots: slots as usize,
            kv_tokens,
            now: Micros::ZERO,
            factor: 1.0,
            seats: BTreeMap::new(),
            calls: BTreeMap::new(),
            running: BTreeSet::new(),
        }
    }

    fn sit(&mut self, call: CallKey, order: Order) {
        let earlier = self.seats.insert(order, call);
        assert!(earlier.is_none(), "an order is given once");
    }

    /// Work that is done meanwhile.
    fn work(&self, passed: Micros) -> Micros {
        if self.factor == 1.0 {
            passed
        } else {
            Micros((passed.0 as f64 / self.factor) as u64)
        }
    }

    /// How long some work takes.
    fn time(&self, work: Micros) -> Micros {
        if self.factor == 1.0 {
            work
        } else {
            Micros((work.0 as f64 * self.factor).ceil() as u64)
        }
    }

    fn catch_up(&mut self, now: Micros) {
        let done = self.work(now - self.now);
        self.now = now;
        for call in &self.running {
            if let Some(seat) = self.calls.get_mut(call) {
                seat.done = (seat.done + done).min(seat.job.service);
            }
        }
    }

    fn leave(&mut self, call: CallKey) -> Seat {
        let seat = self.calls.remove(&call).expect("it has the call");
        self.seats.remove(&seat.job.order);
        self.running.remove(&call);
        seat
    }
}

impl Engine for UnitEngine {
    fn take(&mut self, job: Job, now: Micros) {
        self.catch_up(now);
        let size = u64::from(job.content.tokens()) + u64::from(job.output);
        let size = size.min(self.kv_tokens);
        self.sit(job.call, job.order);
        let done = Micros::ZERO;
        self.calls.insert(job.call, Seat { job, size, done });
    }

    fn reorder(&mut self, call: CallKey, order: Order, _now: Micros) {
        let seat = self.calls.get_mut(&call).expect("it has the call");
        let before = std::mem::replace(&mut seat.job.order, order);
        let there = self.seats.remove(&before);
        assert_eq!(there, Some(call), "a call is reordered where it is");
        self.sit(call, order);
    }

    fn cancel(&mut self, call: CallKey, now: Micros) -> CallUsage {
        self.catch_up(now);
        self.leave(call).usage()
    }

    fn release(&mut self, _program: &ProgramKey) {}

    fn next(&self, quantum_left: &dyn Fn(CallKey) -> Option<Micros>) -> Option<Micros> {
        let next = |call: &CallKey| {
            let left = self.calls[call].left();
            let quantum = quantum_left(*call).filter(|left| *left > Micros::ZERO);
            self.now + self.time(quantum.map_or(left, |quantum| quantum.min(left)))
        };
        self.running.iter().map(next).min()
    }

    fn pass(&mut self, now: Micros, told: &mut Vec<Told>) {
        self.catch_up(now);
        for call in self.running.clone() {
            if self.calls[&call].left() > Micros::ZERO {
                told.push(self.calls[&call].told(CallState::Running));
            } else {
                told.push(self.leave(call).told(CallState::Finished));
            }
        }
    }

    fn settle(&mut self, _now: Micros, told: &mut Vec<Told>) {
        let mut room = (self.slots, self.kv_tokens);
        let calls = &self.calls;
        let fits = |call: &CallKey| {
            let size = calls[call].size;
            (room.0 > 0 && size <= room.1).then(|| {
                room = (room.0 - 1, room.1 - size);
                *call
            })
        };
        let first: BTreeSet<CallKey> = self.seats.values().filter_map(fits).collect();
        let tell = |call: &CallKey, state| calls[call].told(state);
        let stopped = self.running.difference(&first);
        told.extend(stopped.map(|call| tell(call, CallState::Preempted)));
        let started = first.difference(&self.running);
        told.extend(started.map(|call| tell(call, CallState::Running)));
        self.running = first;
    }

    fn slow_down(&mut self, factor: f64) {
        self.factor = factor;
    }

    fn computed_tokens(&self) -> u64 {
        0
    }
}
