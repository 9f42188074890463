//! Reading the state. Owns: turning rows, calls and bookings into the plain values of `view`.

use std::cmp::Reverse;
use std::collections::HashMap;

use lps_api::ids::{CallId, EngineId, ModelName, TenantId, ThreadId};
use lps_api::quantity::{Micros, Tokens};

use super::State;
use super::view::{
    CallView, EngineLoad, Explain, FirstCall, HomeView, Listed, OpenCalls, ProgramFilter,
    ProgramSummary, ProgramView, Sort, TenantCall, ThreadView, UsageView, WaitView,
};
use crate::message::{Before, CallKey, Intake, Origin, Parents, ProgramKey};
use crate::process_table::{Call, Ended, Known, Phase, Row, Sizes};
use crate::scheduler::{Pool, Residency};

/// What live programs have at an engine.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Programs whose home it is.
    homes: u64,
    /// Tokens of their last calls there: the context that their next ones would find.
    tokens: u64,
}

impl State {
    /// Whether the program is open for calls.
    pub fn is_live(&self, program: &ProgramKey) -> bool {
        self.table.live(program).is_some()
    }

    /// How much the process table keeps.
    pub fn sizes(&self) -> Sizes {
        self.table.sizes()
    }

    /// Programs of a tenant that have not ended.
    pub fn live_programs_of(&self, tenant: &TenantId) -> u32 {
        self.table.live_of(tenant)
    }

    /// The last call that arrived on a thread of a live program.
    pub fn last_call(&self, program: &ProgramKey, thread: &ThreadId) -> Option<CallId> {
        self.table.live(program)?.last_call(thread).cloned()
    }

    /// A call that is open or ended lately, by its client's name and by ours.
    pub fn origin(&self, tenant: &TenantId, (name, key): (&CallId, CallKey)) -> Option<Origin> {
        let (row, call) = self.table.named_call(tenant, name)?;
        let (known, thread) = match call {
            Known::Open(call) => (call.key, &call.thread),
            Known::Ended(call) => (call.key, &call.thread),
        };
        (known == key).then(|| Origin {
            program: row.key.program.clone(),
            thread: thread.clone(),
            call: name.clone(),
        })
    }

    /// The same, for who goes on from it. Another does already where its thread has a later call, but for one that was not
    /// answered, which is tried again so.
    pub fn before(&self, tenant: &TenantId, name: (&CallId, CallKey)) -> Option<Before> {
        let origin = self.origin(tenant, name)?;
        let (row, _) = self.table.named_call(tenant, &origin.call)?;
        let last = row
            .last_call(&origin.thread)
            .filter(|last| **last != origin.call);
        let last = last.and_then(|last| self.table.named_call(tenant, last));
        let is_fork = match last {
            None => false,
            Some((_, Known::Open(call))) => !call.is_cancelled,
            Some((_, Known::Ended(call))) => call.phase == Phase::Completed,
        };
        Some(Before { origin, is_fork })
    }

    /// A program, live or ended lately.
    pub fn program(&self, program: &ProgramKey) -> Option<ProgramView> {
        self.program_cut(program, usize::MAX)
    }

    /// The same with at most so many of its calls, the last ones.
    pub fn program_cut(&self, program: &ProgramKey, most: usize) -> Option<ProgramView> {
        let row = self.table.last(program)?;
        Some(self.program_view(row, most))
    }

    pub(super) fn program_view(&self, row: &Row, most: usize) -> ProgramView {
        let home = |(model, engine): (&ModelName, &EngineId)| HomeView {
            model: model.clone(),
            engine: engine.clone(),
        };
        let threads = row.threads().map(|(id, last)| ThreadView {
            id: id.clone(),
            last_call: last.clone(),
        });
        let open = row.open().filter_map(|key| self.table.call(key));
        let open = open.map(|call| (call.key, Known::Open(call)));
        let ended = row.ended().map(|call| (call.key, Known::Ended(call)));
        let mut calls: Vec<(CallKey, Known<'_>)> = ended.chain(open).collect();
        calls.sort_by_key(|(key, _)| *key);
        let shown = calls.split_off(calls.len().saturating_sub(most));
        let view = |(_, call)| match call {
            Known::Open(call) => self.call_view(call, row),
            Known::Ended(call) => self.ended_view(call, row),
        };
        ProgramView {
            summary: self.summary(row),
            home_engines: row.stays.homes().map(home).collect(),
            threads: threads.collect(),
            calls: shown.into_iter().map(view).collect(),
        }
    }

    /// The program whose row is used for this one: its parent, where that waits for it.
    pub fn resolve<'a>(&'a self, program: &'a ProgramKey) -> &'a ProgramKey {
        self.table.resolve(program)
    }

    /// Programs, live and ended lately, in order of arrival.
    pub fn programs(&self, filter: &ProgramFilter) -> Vec<ProgramSummary> {
        self.rows(filter).map(|row| self.summary(row)).collect()
    }

    /// Those of them that stand first, and how many there are. Only what is given back is looked at closely.
    pub fn first_programs(&self, filter: &ProgramFilter, sort: Sort, most: usize) -> Listed {
        let mut rows: Vec<&Row> = self.rows(filter).collect();
        let total = rows.len();
        let place = |row: &&Row| {
            let largest_first = match sort {
                Sort::Arrival => Micros::ZERO,
                Sort::Service => row.service_total(),
                Sort::CriticalPath => row.critical_path(),
                Sort::Wait => row.wait_total(self.read_at),
            };
            (Reverse(largest_first), row.id)
        };
        if total > most {
            rows.select_nth_unstable_by_key(most, place);
            rows.truncate(most);
        }
        rows.sort_unstable_by_key(place);
        Listed {
            programs: rows.into_iter().map(|row| self.summary(row)).collect(),
            total,
        }
    }

    fn rows(&self, filter: &ProgramFilter) -> impl Iterator<Item = &Row> {
        let ProgramFilter { tenant, states } = filter.clone();
        self.table.rows().filter(move |row| {
            tenant
                .as_ref()
                .is_none_or(|tenant| *tenant == row.key.tenant)
                && (states.is_empty() || states.contains(&row.state()))
        })
    }

    /// What ended calls used, of one tenant or of all.
    pub fn usage(&self, tenant: Option<&TenantId>) -> Vec<UsageView> {
        let sums = self.table.usage(tenant);
        let view = sums.map(|(tenant, class, model, used)| UsageView {
            tenant: tenant.cloned(),
            class: class.cloned(),
            model: model.clone(),
            completed_calls: used.calls.completed,
            cancelled_calls: used.calls.cancelled,
            failed_calls: used.calls.failed,
            prompt_tokens: used.prompt_tokens,
            cached_tokens: used.cached_tokens,
            output_tokens: used.output_tokens,
            service_us: used.service,
        });
        view.collect()
    }

    /// A call by its client's name.
    pub fn call(&self, tenant: &TenantId, call: &CallId) -> Option<CallView> {
        let (row, call) = self.table.named_call(tenant, call)?;
        Some(match call {
            Known::Open(call) => self.call_view(call, row),
            Known::Ended(call) => self.ended_view(call, row),
        })
    }

    /// Calls of a model that are held here.
    pub fn queue_len(&self, model: &ModelName) -> usize {
        self.pools
            .get(model)
            .map_or(0, crate::scheduler::Pool::held)
    }

    /// The first of a model's calls that wait, those in engines before those that are held here.
    pub fn queue(&self, model: &ModelName, most: usize) -> Vec<TenantCall> {
        let pool = self.pools.get(model);
        let calls = pool.into_iter().flat_map(|pool| pool.waiting(&self.table));
        let seen = calls.take(most).filter_map(|call| {
            let row = self.table.row(call.row)?;
            Some(TenantCall {
                tenant: row.key.tenant.clone(),
                call: self.call_view(call, row),
            })
        });
        seen.collect()
    }

    /// The open calls of a model.
    pub fn open_calls(&self, model: &ModelName) -> OpenCalls {
        let demand = self.present(model);
        let pool = self.pools.get(model);
        let oldest = pool.and_then(|pool| pool.oldest_waiting(&self.table));
        OpenCalls {
            waiting: demand.ready(),
            running: demand.running,
            oldest_wait_us: oldest.map(|call| call.wait.total(self.read_at)),
            oldest_reason: oldest.and_then(|call| Some(self.wait_view(call)?.reason)),
        }
    }

    /// Time that the waits of a pool's ended calls took, by reason.
    pub fn waits(&self, model: &ModelName) -> Vec<WaitView> {
        let waits = self
            .pools
            .get(model)
            .into_iter()
            .flat_map(crate::scheduler::Pool::ended_waits);
        waits.map(WaitView::from).collect()
    }

    /// What a pool counts of its working sets.
    pub fn residency(&self, model: &ModelName) -> Residency {
        let pool = self.pools.get(model);
        pool.map(Pool::residency).unwrap_or_default()
    }

    /// All engines, by the order in which they joined inside each pool.
    pub fn engine_loads(&self) -> Vec<EngineLoad> {
        let held = self.held_by_programs();
        let mut loads: Vec<EngineLoad> = Vec::new();
        for (model, pool) in &self.pools {
            for (id, seats) in pool.engines() {
                let held = held.get(&(model, id)).copied().unwrap_or_default();
                let pinned = |row: &&Row| !row.state().is_end() && pool.is_pinned_to(row, id);
                let drains = seats.intake == Intake::Pinned;
                loads.push(EngineLoad {
                    engine: id.clone(),
                    model: model.clone(),
                    slots: seats.slots,
                    running: seats.running,
                    waiting: seats.waiting,
                    kv_tokens: seats.kv_tokens,
                    kv_booked_tokens: seats.kv_booked,
                    kv_resident_tokens: if pool.settings().working_set {
                        seats.kv_resident
                    } else {
                        seats.kv_booked + held.tokens
                    },
                    home_programs: held.homes,
                    pinned_programs: if drains {
                        self.table.rows().filter(pinned).count() as u64
                    } else {
                        0
                    },
                    intake: seats.intake,
                });
            }
        }
        loads
    }

    /// What live programs have at each engine of a model, beside their open calls.
    fn held_by_programs(&self) -> HashMap<(&ModelName, &EngineId), Held> {
        let mut held: HashMap<(&ModelName, &EngineId), Held> = HashMap::new();
        for row in self.table.rows().filter(|row| !row.state().is_end()) {
            for home in row.stays.homes() {
                held.entry(home).or_default().homes += 1;
            }
            let Some(call) = row.ended().next_back() else {
                continue;
            };
            if let Some(engine) = &call.engine {
                let usage = call.usage;
                let tokens = u64::from(usage.prompt_tokens.0) + u64::from(usage.output_tokens.0);
                held.entry((&call.model, engine)).or_default().tokens += tokens;
            }
        }
        held
    }

    /// What an open call may still use before it is demoted; `None` has no end.
    pub fn quantum_left(&self, call: CallKey) -> Option<Micros> {
        let call = self.table.call(call)?;
        let pool = self.pools.get(&call.model)?;
        pool.left_of_quantum(call.place.scan.queue, call.place.used)
    }

    pub(super) fn summary(&self, row: &Row) -> ProgramSummary {
        let [mut prompt_tokens, mut cached_tokens, mut output_tokens] = row.ended_tokens();
        for call in row.open().filter_map(|key| self.table.call(key)) {
            let usage = call.usage();
            prompt_tokens += u64::from(usage.prompt_tokens.0);
            cached_tokens += u64::from(usage.cached_tokens.0);
            output_tokens += u64::from(usage.output_tokens.0);
        }
        ProgramSummary {
            id: row.key.program.clone(),
            tenant: row.key.tenant.clone(),
            class: row.class.clone(),
            source: row.source,
            state: row.state(),
            generation: row.generation,
            arrived_us: row.arrived,
            age_us: self.read_at.saturating_sub(row.arrived),
            last_completion_us: row.last_completion,
            service_total_us: row.service_total(),
            critical_path_us: row.critical_path(),
            wait_total_us: row.wait_total(self.read_at),
            call_counts: row.counts(),
            unknown_parents: row.unknown_parents,
            prompt_tokens,
            cached_tokens,
            output_tokens,
            first_call: self.first_call(row),
        }
    }

    fn first_call(&self, row: &Row) -> Option<FirstCall> {
        let open = row.open().filter_map(|key| self.table.call(key));
        let first = open.min_by_key(|call| (call.phase != Phase::Pending, call.place.scan))?;
        Some(FirstCall {
            id: first.id.clone(),
            queue: first.place.scan.queue + 1,
            p_us: first.p,
            wait: self.wait_view(first),
        })
    }

    pub(super) fn call_view(&self, call: &Call, row: &Row) -> CallView {
        let usage = call.usage();
        let pool = self.pools.get(&call.model);
        CallView {
            id: call.id.clone(),
            program: row.key.program.clone(),
            thread: call.thread.clone(),
            parents: match &call.parents {
                Parents::Unsaid => None,
                Parents::Named(parents) => Some(parents.clone()),
            },
            model: call.model.clone(),
            state: call.phase,
            attempt: call.attempt,
            engine: call.last_engine.clone(),
            ready_us: call.ready_at,
            ended_us: None,
            service_us: call.service(),
            wait_us: call.wait.total(self.read_at),
            waits: call
                .wait
                .by_reason(self.read_at)
                .map(WaitView::from)
                .collect(),
            p_us: call.p,
            queue: call.place.scan.queue + 1,
            quantum_left_us: pool
                .and_then(|pool| pool.left_of_quantum(call.place.scan.queue, call.place.used)),
            demotions: call.place.demotions,
            promotions: call.place.promotions,
            preemptions: call.place.preemptions,
            moved: call.place.moved,
            prompt_tokens: counted(usage.prompt_tokens, call.prompt_tokens),
            cached_tokens: usage.cached_tokens,
            output_tokens: usage.output_tokens,
            explain: self.explain(call, row),
        }
    }

    pub(super) fn ended_view(&self, call: &Ended, row: &Row) -> CallView {
        let pool = self.pools.get(&call.model);
        CallView {
            id: call.id.clone(),
            program: row.key.program.clone(),
            thread: call.thread.clone(),
            parents: call.parents.as_ref().map(|parents| parents.to_vec()),
            model: call.model.clone(),
            state: call.phase,
            attempt: call.attempt,
            engine: call.engine.clone(),
            ready_us: call.ready_at,
            ended_us: Some(call.at),
            service_us: call.service,
            wait_us: call.wait,
            waits: call.waits.iter().copied().map(WaitView::from).collect(),
            p_us: call.p,
            queue: call.queue + 1,
            quantum_left_us: pool.and_then(|pool| pool.left_of_quantum(call.queue, call.used)),
            demotions: call.demotions,
            promotions: call.promotions,
            preemptions: call.preemptions,
            moved: call.moved,
            prompt_tokens: counted(call.usage.prompt_tokens, call.prompt_tokens),
            cached_tokens: call.usage.cached_tokens,
            output_tokens: call.usage.output_tokens,
            explain: None,
        }
    }

    /// What a call waits for now, and how long it has.
    fn wait_view(&self, call: &Call) -> Option<WaitView> {
        let (_, since) = call
            .wait
            .reason()
            .filter(|_| call.phase == Phase::Pending)?;
        let reason = self.pools.get(&call.model)?.reason(call, &self.table)?;
        let wait_us = self.read_at.saturating_sub(since);
        Some(WaitView { reason, wait_us })
    }

    fn explain(&self, call: &Call, row: &Row) -> Option<Explain> {
        let WaitView { reason, wait_us } = self.wait_view(call)?;
        let pool = self.pools.get(&call.model)?;
        let (position, engine) = pool.standing(call, row);
        let service = row
            .service_since_promotion()
            .max(pool.settings().service_floor);
        let wait = u128::from(row.wait_since_promotion(self.read_at).0) * 1_000;
        let ratio = wait / u128::from(service.0.max(1));
        Some(Explain {
            reason,
            for_us: wait_us,
            position,
            engine,
            wait_over_service_milli: u64::try_from(ratio).unwrap_or(u64::MAX),
        })
    }
}

/// The prompt as its engine counted it, once it did.
fn counted(by_engine: Tokens, expected: Tokens) -> Tokens {
    if by_engine > Tokens(0) {
        by_engine
    } else {
        expected
    }
}
