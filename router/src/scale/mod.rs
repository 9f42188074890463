//! Asking for engines. Owns: when each pool is looked at, its autoscaler, and telling whoever creates engines how many
//! there should be.

/// Two writers of one number.
mod conflict;
/// What is told as events.
pub mod events;
/// What pods are told of the router's use of them.
pub mod gate;
/// What the resources' status is told.
mod told;
/// Asking a cluster for engines.
pub mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lps_api::ids::ModelName;
use lps_api::quantity::Micros;
use lps_runtime::clock::Clock;
use tokio::runtime;
use tokio::sync::{Notify, watch};

use crate::autoscaler::{Autoscaler, Change, ColdStart, Decision, Observed, Reason, Written};
use crate::discovery::Pool;
use crate::dispatcher::{Handle, View};
use crate::metrics::{Metrics, PoolFigures};
use crate::state::view::Demand;

/// Every pool is looked at this often.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Looks because of a call without an engine are at least this far apart.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What the loop works with.
#[derive(Debug)]
pub struct Scale {
    /// Where calls, programs and engines are read.
    pub dispatcher: Handle,
    /// Pools and their settings.
    pub pools: watch::Receiver<Vec<Pool>>,
    /// What is asked for where engines are made. A pool that is not named is asked for what was last wanted here.
    pub written: watch::Receiver<BTreeMap<ModelName, Written>>,
    /// Who is told.
    pub wanted: watch::Sender<BTreeMap<ModelName, Wanted>>,
    /// Rings when a call comes for which there is no engine.
    pub stranded: Arc<Notify>,
    /// Time between two evaluations of the rule `Queue`.
    pub queue_period: Duration,
    /// The process's time.
    pub clock: Clock,
    /// Where it counts.
    pub metrics: Metrics,
}

/// What is wanted for one model, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Engines to have.
    pub desired: u32,
    /// Why.
    pub reason: Reason,
    /// Why, in a sentence with the figures of when number or reason changed last.
    pub text: String,
    /// The last changes, newest first. Their times are since the process started.
    pub history: Vec<Change>,
    /// How long engines took to start; `None` before the first.
    pub cold_start: Option<ColdStart>,
    /// Programs that have not ended and have had a call of this model.
    pub live_programs: u32,
}

impl Scale {
    /// Looks until the router ends.
    pub async fn run(self) {
        let mut autoscalers = BTreeMap::new();
        while self.look(&mut autoscalers).await.is_some() {
            tokio::time::sleep(LOOK_PAUSE).await;
            // Whichever comes first: a look sees all.
            let _ = tokio::time::timeout(LOOK_PERIOD - LOOK_PAUSE, self.stranded.notified()).await;
        }
    }

    /// Looks at every pool once; `None` when the router ends.
    async fn look(&self, autoscalers: &mut BTreeMap<ModelName, Autoscaler>) -> Option<()> {
        let pools = self.pools.borrow().clone();
        let models: Vec<ModelName> = pools.iter().map(|pool| pool.model.clone()).collect();
        let look = move |view: View<'_>| {
            let remembered = models.iter().map(|model| view.state.remembered(model));
            let remembered: Vec<usize> = remembered.collect();
            let demands = view.state.demands(&models, view.now);
            (demands, remembered, view.state.sizes())
        };
        let (demands, remembered, sizes) = self.dispatcher.read(look).await.ok()?;
        let tasks = runtime::Handle::current().metrics().num_alive_tasks();
        self.metrics.kept(sizes, tasks);
        for (pool, programs) in pools.iter().zip(remembered) {
            self.metrics.learned(&pool.model, programs);
        }
        let now = Micros::from(self.clock.now());
        autoscalers.retain(|model, _| pools.iter().any(|pool| pool.model == *model));
        let wanted: BTreeMap<ModelName, Wanted> = pools
            .iter()
            .zip(demands)
            .map(|(pool, demand)| {
                let autoscaler = autoscalers
                    .entry(pool.model.clone())
                    .or_insert_with(|| self.autoscaler(now));
                (
                    pool.model.clone(),
                    self.decide(pool, demand, (autoscaler, now)),
                )
            })
            .collect();
        self.wanted.send_if_modified(|told| {
            let is_new = *told != wanted;
            *told = wanted;
            is_new
        });
        Some(())
    }

    fn autoscaler(&self, now: Micros) -> Autoscaler {
        Autoscaler::new(now).with_queue_period(self.queue_period.into())
    }

    fn decide(
        &self,
        pool: &Pool,
        demand: Demand,
        (autoscaler, now): (&mut Autoscaler, Micros),
    ) -> Wanted {
        let model = &pool.model;
        let before = self.wanted.borrow().get(model).cloned();
        let written = self.written.borrow().get(model).copied();
        let seen = Observed {
            written: written.unwrap_or_else(|| Written {
                replicas: before.as_ref().map_or(0, |before| before.desired),
                ..Written::default()
            }),
            demand,
        };
        let decision = autoscaler.on(&seen, &pool.scaling, now);
        self.tell_metrics(model, &seen, &decision);
        if decision.changed {
            tracing::info!(%model, reason = decision.reason.as_str(), "{}", decision.text);
        }
        let is_told = before.filter(|before| {
            (before.desired, before.reason) == (decision.desired, decision.reason)
        });
        Wanted {
            desired: decision.desired,
            reason: decision.reason,
            // Its figures change at every look, and nobody is to be woken for them.
            text: is_told.map_or(decision.text, |before| before.text),
            history: autoscaler.history().cloned().collect(),
            cold_start: autoscaler.cold_start(),
            live_programs: seen.demand.live_programs,
        }
    }

    fn tell_metrics(&self, model: &ModelName, seen: &Observed, decision: &Decision) {
        let demand = &seen.demand;
        let figures = PoolFigures {
            waiting: demand.waiting,
            running: demand.running.saturating_add(demand.waiting_in_engine),
            engines: demand.engines_up.saturating_add(demand.engines_draining),
            desired: decision.desired,
            recommended: decision.recommended,
            capacity: decision.capacity,
        };
        self.metrics.pool(model, figures);
        if decision.changed {
            let change = (seen.written.replicas, decision.to);
            self.metrics.scaled(model, change, decision.reason.as_str());
        }
    }
}
