//! What the dispatcher's task owns. Owns: the state, and beside it what the rim must remember to act; every change of
//! either goes through here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lps_api::ids::{CallId, ModelName, TenantId};
use lps_api::protocol::CallUsage;
use lps_api::quantity::{Attempt, Micros, Tokens};
use tokio::sync::{Notify, broadcast};

use crate::admission::{Admission, Full, Limits};
use crate::allowance::{self, Allowances};
use crate::discovery::{EngineEndpoint, Pool};
use crate::dispatcher::fleet::Fleet;
use crate::dispatcher::later::{Due, Later};
use crate::dispatcher::open_call::{OpenCall, Place};
use crate::dispatcher::pace::{Pace, RetryBudget};
use crate::dispatcher::{SharedAnswer, Told};
use crate::engine_client::leg::Rim;
use crate::engine_client::wire;
use crate::keys;
use crate::message::{Before, CallKey, Event, Origin, Outcome, ProgramKey};
use crate::metrics::Metrics;
use crate::programs_log::ProgramsLog;
use crate::state::State;
use crate::state::view::{Change, ProgramSummary, ProgramView};
use crate::traces::{self, Traces};

/// The loop looks around at least this often.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// All that the dispatcher owns.
pub(super) struct Desk {
    pub(super) state: State,
    pub(super) fleet: Fleet,
    pub(super) calls: BTreeMap<CallKey, OpenCall>,
    /// Clients' names of open calls. Looked up only, never walked.
    pub(super) names: HashMap<(TenantId, CallId), CallKey>,
    pub(super) admission: Admission,
    /// Whose limits say what tenants may use.
    pub(super) keys: keys::Current,
    pub(super) allowances: Allowances,
    pub(super) later: Later,
    pub(super) retries: RetryBudget,
    pub(super) paces: BTreeMap<ModelName, Pace>,
    pub(super) metrics: Metrics,
    pub(super) traces: Traces,
    /// Takes programs that ended, where somebody wants them.
    programs_log: Option<ProgramsLog>,
    /// Rung when a call comes for which there is no engine.
    pub(super) stranded: Arc<Notify>,
    pub(super) is_draining: bool,
    /// To those who watch.
    changes: broadcast::Sender<Arc<Change>>,
    /// Programs that this turn ended.
    ended: Vec<ProgramView>,
    pools: Vec<Pool>,
    rim: Rim,
}

/// What can be read between two turns.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The table and the queues.
    pub state: &'a State,
    /// The engines.
    pub fleet: &'a Fleet,
    calls: &'a BTreeMap<CallKey, OpenCall>,
    /// Clients' names of open calls.
    names: &'a HashMap<(TenantId, CallId), CallKey>,
    admission: &'a Admission,
    keys: &'a keys::Current,
    /// The time.
    pub now: Micros,
}

impl View<'_> {
    /// The key of an open call.
    pub fn open_call(&self, tenant: &TenantId, call: &CallId) -> Option<CallKey> {
        self.names.get(&(tenant.clone(), call.clone())).copied()
    }

    /// The answer to come of an open call that was asked the same, where others may wait for it.
    pub fn answer_of(
        &self,
        (tenant, call): (&TenantId, &CallId),
        (path, body): (&str, &Bytes),
    ) -> Option<SharedAnswer> {
        let open = self.calls.get(&self.open_call(tenant, call)?)?;
        let is_same = open.outgoing.path == path && open.outgoing.body == *body;
        open.answer.as_ref().filter(|_| is_same)?.upgrade()
    }

    /// A call of a tenant that is known, by its name at engines.
    pub fn origin(&self, tenant: &TenantId, wire: &CallId) -> Option<Origin> {
        let (name, key) = wire::split(wire)?;
        self.state.origin(tenant, (&name, key))
    }

    /// The same, for who goes on from it.
    pub fn before(&self, tenant: &TenantId, wire: &CallId) -> Option<Before> {
        let (name, key) = wire::split(wire)?;
        self.state.before(tenant, (&name, key))
    }

    /// Whether a program may begin, where its tenant has so many.
    ///
    /// # Errors
    /// When there are too many.
    pub fn may_begin(&self, program: &ProgramKey) -> Result<(), Full> {
        if self.state.is_live(program) {
            return Ok(());
        }
        let live = self.state.live_programs_of(&program.tenant);
        let own = limits(self.keys, &program.tenant).and_then(|own| own.live_programs);
        self.admission.may_begin(live, own)
    }

    /// Calls that are open.
    pub fn open_calls(&self) -> usize {
        self.names.len()
    }
}

/// What a tenant may use, where it is limited.
pub(super) fn limits(keys: &keys::Current, tenant: &TenantId) -> Option<allowance::Limits> {
    keys.as_ref()?.borrow().limits(tenant)
}

/// How a call ends for good.
pub(super) struct End {
    pub(super) attempt: Attempt,
    pub(super) outcome: Outcome,
    pub(super) usage: Option<CallUsage>,
}

impl Desk {
    pub(super) fn new(
        (state, rim): (State, Rim),
        (limits, keys): (Limits, keys::Current),
        (metrics, told): (Metrics, Told),
        (stranded, changes): (Arc<Notify>, broadcast::Sender<Arc<Change>>),
    ) -> Self {
        Self {
            state,
            fleet: Fleet::new(rim.clone()),
            calls: BTreeMap::new(),
            names: HashMap::new(),
            admission: Admission::new(limits),
            keys,
            allowances: Allowances::default(),
            later: Later::default(),
            retries: RetryBudget::new(),
            paces: BTreeMap::new(),
            metrics,
            traces: Traces::new(told.traces),
            programs_log: told.programs_log,
            stranded,
            is_draining: false,
            changes,
            ended: Vec::new(),
            pools: Vec::new(),
            rim,
        }
    }

    pub(super) fn now(&self) -> Micros {
        Micros::from(self.rim.clock.now())
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            state: &self.state,
            fleet: &self.fleet,
            calls: &self.calls,
            names: &self.names,
            admission: &self.admission,
            keys: &self.keys,
            now: self.now(),
        }
    }

    /// Tells the state one event, and performs what it wants done.
    pub(super) fn tell(&mut self, event: Event) {
        self.tell_all(vec![event]);
    }

    /// Tells the state what happened at one instant, performs what it wants done, tells it what followed from that, and
    /// so on until nothing is left.
    pub(super) fn tell_all(&mut self, mut events: Vec<Event>) {
        self.state.watch(self.changes.receiver_count() > 0);
        // The last call tells the model; the log has them all.
        let calls_shown = self.programs_log.as_ref().map_or(1, |_| usize::MAX);
        while !events.is_empty() {
            let now = self.now();
            let actions = self.state.on_all(events, now);
            self.ended.extend(self.state.ended_programs(calls_shown));
            for change in self.state.changes() {
                // Who watched may have left.
                let _ = self.changes.send(Arc::new(change));
            }
            let followed = actions
                .into_iter()
                .filter_map(|action| self.perform(action, now));
            events = followed.collect();
        }
    }

    /// Ends a call for good: the state folds its figures, and the rim forgets it. Gives back what is left of it.
    pub(super) fn end(&mut self, key: CallKey, end: End) -> Option<OpenCall> {
        let End {
            attempt,
            outcome,
            usage,
        } = end;
        let open = self.forget(key, usage)?;
        self.metrics.call_ended(&open.model, outcome, usage);
        if let (Outcome::Completed, Some(usage)) = (outcome, usage) {
            let now = self.now();
            self.pace(&open.model).completed(usage.output_tokens, now);
        }
        self.tell(Event::Ended {
            call: key,
            attempt,
            outcome,
            usage,
        });
        self.count(&open);
        Some(open)
    }

    /// Counts what the table says of a call that ended.
    pub(super) fn count(&mut self, open: &OpenCall) {
        let Some(call) = self.state.call(&open.program.tenant, &open.id) else {
            // It was not let in, and where no other of its program is live there is nothing to trace.
            if !self.state.is_live(&open.row) {
                self.traces.forget(&open.row);
            }
            return;
        };
        self.metrics.call_moved(&call);
        let ended = traces::Call {
            program: &open.row,
            said: open.said,
            path: open.outgoing.path,
            now: self.now(),
        };
        self.traces.call_ended(ended, &call);
    }

    /// Tells of the programs that this turn ended; their calls were told before.
    pub(super) fn tell_ended(&mut self) {
        for program in std::mem::take(&mut self.ended) {
            let ProgramSummary { tenant, id, .. } = &program.summary;
            let key = ProgramKey {
                tenant: tenant.clone(),
                program: id.clone(),
            };
            if let Some(last) = program.calls.last() {
                self.metrics.program_ended(&last.model, &program.summary);
            }
            self.traces.program_ended(&key, &program.summary);
            if let Some(log) = &self.programs_log {
                log.ended(program);
            }
        }
    }

    /// Takes a call out of the rim's books, and settles what it was charged.
    pub(super) fn forget(&mut self, key: CallKey, usage: Option<CallUsage>) -> Option<OpenCall> {
        let open = self.calls.remove(&key)?;
        if let Some(charged) = open.charged {
            let sum =
                |usage: CallUsage| usage.prompt_tokens.0.saturating_add(usage.output_tokens.0);
            let used = usage.map(|usage| Tokens(sum(usage)));
            self.allowances.settle(&open.program.tenant, charged, used);
        }
        self.names
            .remove(&(open.program.tenant.clone(), open.id.clone()));
        Some(open)
    }

    pub(super) fn pace(&mut self, model: &ModelName) -> &mut Pace {
        let now = self.now();
        self.paces
            .entry(model.clone())
            .or_insert_with(|| Pace::new(now))
    }

    /// Takes a new list of pools.
    pub(super) fn set_pools(&mut self, pools: Vec<Pool>) {
        let old = std::mem::replace(&mut self.pools, pools.clone());
        for gone in old
            .iter()
            .filter(|old| !pools.iter().any(|new| new.model == old.model))
        {
            self.paces.remove(&gone.model);
            self.tell(Event::PoolRemoved {
                model: gone.model.clone(),
            });
        }
        for new in pools {
            let known = old.iter().find(|old| old.model == new.model);
            let rules = |pool: &Pool| (pool.settings.clone(), pool.cold_start_hold);
            if known.is_none_or(|old| rules(old) != rules(&new)) {
                self.tell(Event::PoolAdded {
                    model: new.model,
                    settings: new.settings,
                    cold_start_hold: new.cold_start_hold,
                });
            }
        }
    }

    /// Takes a new list of engines.
    pub(super) fn set_engines(&mut self, listed: &[EngineEndpoint]) {
        let changes = self.fleet.set(listed);
        for engine in changes.gone {
            self.lose(&engine);
        }
        for (engine, intake) in changes.intakes {
            self.tell(Event::EngineIntake { engine, intake });
        }
    }

    /// How long the loop may sleep.
    pub(super) fn sleep_limit(&self) -> Duration {
        let next = self.later.next();
        next.map_or(SLEEP_MAX, |at| {
            at.saturating_sub(self.now()).as_duration().min(SLEEP_MAX)
        })
    }

    /// Does what has fallen due.
    pub(super) fn run_due(&mut self) {
        while let Some(due) = self.later.take(self.now()) {
            match due {
                Due::Tick => self.tell(Event::Tick),
                Due::Retry(key, attempt) => self.retry(key, attempt),
                Due::Unconfirmed(key, attempt) => self.give_up_on(key, attempt),
            }
        }
    }

    fn retry(&mut self, key: CallKey, attempt: Attempt) {
        let Some(open) = self.calls.get_mut(&key) else {
            return;
        };
        if matches!(&open.place, Place::BackingOff { attempt: of, .. } if *of == attempt) {
            open.place = Place::Waiting;
            self.tell(Event::AttemptFailed { call: key, attempt });
        }
    }

    fn give_up_on(&mut self, key: CallKey, attempt: Attempt) {
        let place = self.calls.get(&key).map(|open| &open.place);
        if matches!(place, Some(Place::Leaving { attempt: of, .. }) if *of == attempt) {
            let usage = None;
            self.end(
                key,
                End {
                    attempt,
                    outcome: Outcome::Cancelled,
                    usage,
                },
            );
        }
    }

    /// Sends the commands of this turn.
    pub(super) fn flush(&mut self) {
        self.fleet.flush();
    }
}
