//! The roofline engine: continuous batching with chunked prefill and a prefix cache, steps as long as a profile says.
//! Owns: who is in the next step. Steps that only decode, with the same calls, are taken many at once; what happens
//! between takes effect after the step that is out, as in the real engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Micros, Order, Tokens};
use lps_engine_core::report::PERIOD;
use lps_router::message::{CallKey, ProgramKey};

use super::cost::Load;
use super::kv::KvPool;
use super::profile::Profile;
use super::steps::Steps;
use super::{Engine, Job, Told};

/// Calls without KV that one step looks at in vain, at most; as the real engine.
const PASSED_OVER_MAX: u32 = 4;

/// A call that is here.
#[derive(Debug)]
struct Seat {
    job: Job,
    /// Tokens whose KV is held while it runs.
    computed: u32,
    answered: u32,
    executor: Micros,
    /// Prompt tokens that were found when it first ran.
    cached: Option<u32>,
    is_running: bool,
}

impl Seat {
    fn known(&self) -> u32 {
        self.job.content.tokens() + self.answered
    }

    fn owed(&self) -> u32 {
        self.known() - self.computed
    }

    fn left(&self) -> u32 {
        self.job.output - self.answered
    }

    fn usage(&self) -> CallUsage {
        CallUsage {
            prompt_tokens: Tokens(self.job.content.tokens()),
            cached_tokens: Tokens(self.cached.unwrap_or(0)),
            output_tokens: Tokens(self.answered),
            executor_us: self.executor,
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

/// The engine.
#[derive(Debug)]
pub(super) struct RooflineEngine {
    profile: Profile,
    factor: f64,
    kv: KvPool,
    line: BTreeMap<Order, CallKey>,
    seats: BTreeMap<CallKey, Seat>,
    running: BTreeSet<Order>,
    /// The steps that are out, with each call's new tokens in one.
    out: Option<Steps>,
    members: Vec<(CallKey, u32)>,
    reported_at: Micros,
    /// Whose first step ended, and is to be told.
    fresh: Vec<CallKey>,
    computed_tokens: u64,
}

impl RooflineEngine {
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            kv: KvPool::new(profile.kv_tokens),
            profile,
            factor: 1.0,
            line: BTreeMap::new(),
            seats: BTreeMap::new(),
            running: BTreeSet::new(),
            out: None,
            members: Vec::new(),
            reported_at: Micros::ZERO,
            fresh: Vec::new(),
            computed_tokens: 0,
        }
    }

    /// Accounts for the steps that have ended.
    fn catch_up(&mut self, now: Micros) {
        if let Some(mut steps) = self.out.take() {
            let (ended, time) = steps.end_before(now);
            self.account(ended, time);
            self.out = Some(steps);
        }
    }

    /// Something happens: the step that is out goes on to its end, the ones after it are not begun.
    fn interrupt(&mut self, now: Micros) {
        self.catch_up(now);
        if let Some(steps) = &mut self.out {
            steps.cut();
        }
    }

    fn account(&mut self, steps: u32, time: Micros) {
        if steps == 0 {
            return;
        }
        for (call, len) in &self.members {
            // Who was cancelled meanwhile is here no more.
            let Some(seat) = self.seats.get_mut(call) else {
                continue;
            };
            seat.executor += time;
            let last = seat.job.content.last().id;
            let computed = seat.computed;
            seat.computed += len * steps;
            if seat.computed < seat.known() {
                self.kv
                    .fill(&seat.job.content, seat.answered, seat.computed);
                continue;
            }
            if *len > 1 || computed < seat.job.content.tokens() {
                self.kv.fill(&seat.job.content, seat.answered, seat.known());
            } else {
                self.kv.grow(last, steps);
            }
            seat.answered += steps;
        }
    }

    /// Lets a call run if the pool has room, or gets some from those behind it.
    fn admit(&mut self, order: Order, call: CallKey) -> bool {
        let seat = &self.seats[&call];
        let (content, answered) = (seat.job.content.clone(), seat.answered);
        // One more token than it has, for the one that it will draw.
        while self.kv.lack(&content, answered) + 1 + self.running.len() as u64 > self.kv.room() {
            if !self.displace_behind(order) {
                return false;
            }
        }
        let program = Arc::clone(&self.seats[&call].job.program);
        let found = self.kv.found(&content, answered);
        self.kv.pin(&content, answered, &program);
        self.running.insert(order);
        let seat = self.seats.get_mut(&call).expect("it is here");
        seat.is_running = true;
        seat.computed = found.min(seat.known() - 1);
        if seat.cached.is_none() {
            seat.cached = Some(seat.computed.min(content.tokens()));
            self.fresh.push(call);
        }
        true
    }

    /// The last of those that run gives its KV back, if it stands behind.
    fn displace_behind(&mut self, order: Order) -> bool {
        let Some(worst) = self.running.last().copied().filter(|worst| *worst > order) else {
            return false;
        };
        let call = self.line[&worst];
        self.stop(worst, call);
        true
    }

    fn stop(&mut self, order: Order, call: CallKey) {
        self.running.remove(&order);
        if let Some(seat) = self.seats.get_mut(&call) {
            seat.is_running = false;
            self.kv.unpin(&seat.job.content);
        }
    }

    /// Chooses the next step's members; who ran and does not any more is told.
    fn plan(&mut self, told: &mut Vec<Told>) {
        let before: Vec<CallKey> = self.members.iter().map(|(call, _)| *call).collect();
        self.members.clear();
        let decoding = |order: &&Order| self.seats[&self.line[*order]].owed() == 1;
        let decodes = self.running.iter().filter(decoding).count() as u32;
        let most = self.profile.max_batched_tokens;
        let mut prompts = most.saturating_sub(decodes).max(1);
        let (mut slots, mut passed_over) = (self.profile.max_num_seqs, 0);
        let line: Vec<(Order, CallKey)> = self.line.iter().map(|(o, c)| (*o, *c)).collect();
        for (order, call) in line {
            if slots == 0 || passed_over >= PASSED_OVER_MAX {
                break;
            }
            let is_running = self.seats[&call].is_running;
            if !is_running && (prompts == 0 || !self.admit(order, call)) {
                passed_over += 1;
                continue;
            }
            if is_running {
                self.keep_growing(order);
                if !self.seats[&call].is_running {
                    continue;
                }
            }
            let owed = self.seats[&call].owed();
            let len = if owed == 1 { 1 } else { owed.min(prompts) };
            if len == 0 {
                continue;
            }
            if owed > 1 {
                prompts -= len;
                self.computed_tokens += u64::from(len);
            }
            slots -= 1;
            self.members.push((call, len));
        }
        let members: BTreeSet<CallKey> = self.members.iter().map(|(call, _)| *call).collect();
        for call in before {
            if members.contains(&call) {
                continue;
            }
            let Some(seat) = self.seats.get(&call) else {
                continue;
            };
            told.push(seat.told(CallState::Preempted));
            if seat.is_running {
                self.stop(seat.job.order, call);
            }
        }
    }

    /// Each that runs needs a token more after the step; the last ones give way.
    fn keep_growing(&mut self, order: Order) {
        while self.kv.room() < self.running.len() as u64 && self.displace_behind(order) {}
    }

    fn steps(&self, now: Micros) -> Steps {
        let mut load = Load::default();
        let mut most = u32::MAX;
        for (call, len) in &self.members {
            let seat = &self.seats[call];
            load.add(*len, seat.computed);
            most = most.min(if seat.owed() == 1 { seat.left() } else { 1 });
        }
        let growth = self.kv.room() / u64::from(load.sequences).max(1);
        let most = most.min(u32::try_from(growth).unwrap_or(u32::MAX)).max(1);
        // The time between steps is charged with them here: they are many at once.
        let costs = &self.profile.costs;
        let first_us = (costs.step_us(load) + self.profile.between_us) * self.factor;
        let more_us = f64::from(load.sequences) * costs.context_ns / 1e3 * self.factor;
        let period = (self.reported_at.saturating_add(PERIOD)).saturating_sub(now);
        Steps::new(now, (first_us, more_us), most, period)
    }
}

impl Engine for RooflineEngine {
    fn take(&mut self, job: Job, now: Micros) {
        self.interrupt(now);
        let earlier = self.line.insert(job.order, job.call);
        assert!(earlier.is_none(), "an order is given once");
        let seat = Seat {
            computed: 0,
            answered: job.resumed,
            executor: Micros::ZERO,
            cached: None,
            is_running: false,
            job,
        };
        self.seats.insert(seat.job.call, seat);
    }

    fn reorder(&mut self, call: CallKey, order: Order, now: Micros) {
        self.interrupt(now);
        let seat = self.seats.get_mut(&call).expect("it has the call");
        let before = std::mem::replace(&mut seat.job.order, order);
        if seat.is_running {
            self.running.remove(&before);
            self.running.insert(order);
        }
        let there = self.line.remove(&before);
        assert_eq!(there, Some(call), "a call is reordered where it is");
        let earlier = self.line.insert(order, call);
        assert!(earlier.is_none(), "an order is given once");
    }

    fn cancel(&mut self, call: CallKey, now: Micros) -> CallUsage {
        self.interrupt(now);
        let order = self.seats[&call].job.order;
        if self.seats[&call].is_running {
            self.stop(order, call);
        }
        self.line.remove(&order);
        self.fresh.retain(|other| *other != call);
        self.seats.remove(&call).expect("it has the call").usage()
    }

    fn release(&mut self, program: &ProgramKey) {
        self.kv.release(program);
    }

    fn next(&self, _quantum_left: &dyn Fn(CallKey) -> Option<Micros>) -> Option<Micros> {
        self.out.as_ref().map(Steps::end)
    }

    fn pass(&mut self, now: Micros, told: &mut Vec<Told>) {
        self.catch_up(now);
        if self.out.as_ref().is_none_or(|steps| steps.end() > now) {
            return;
        }
        self.out = None;
        let is_due = now >= self.reported_at.saturating_add(PERIOD);
        let fresh = std::mem::take(&mut self.fresh);
        for index in 0..self.members.len() {
            let (call, _) = self.members[index];
            let Some(seat) = self.seats.get(&call) else {
                continue;
            };
            if seat.left() == 0 {
                let order = seat.job.order;
                told.push(seat.told(CallState::Finished));
                self.stop(order, call);
                self.line.remove(&order);
                self.seats.remove(&call);
            } else if is_due || fresh.contains(&call) {
                told.push(seat.told(CallState::Running));
            }
        }
        if is_due {
            self.reported_at = now;
        }
    }

    fn settle(&mut self, now: Micros, told: &mut Vec<Told>) {
        if self.out.is_some() {
            return;
        }
        self.plan(told);
        if !self.members.is_empty() {
            self.out = Some(self.steps(now));
        }
    }

    fn slow_down(&mut self, factor: f64) {
        self.factor = factor;
    }

    fn computed_tokens(&self) -> u64 {
        self.computed_tokens
    }
}
