//! Asking for engines. Owns: when each pool is looked at, and telling whoever creates engines how many there should be.

/// What pods are told of the router's use of them.
pub mod gate;

use std::collections::BTreeMap;
use std::time::Duration;

use lps_api::ids::ModelName;
use lps_runtime::clock::Clock;
use tokio::sync::watch;

use crate::autoscaler::{Load, desired};
use crate::discovery::Pool;
use crate::dispatcher::{Handle, View};
use crate::metrics::{Metrics, PoolFigures};

/// Gauges are refreshed, and pools without engines looked at, this often.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// What the loop works with.
#[derive(Debug)]
pub struct Scale {
    /// Where loads are read.
    pub dispatcher: Handle,
    /// Pools and their bounds.
    pub pools: watch::Receiver<Vec<Pool>>,
    /// Who is told.
    pub wanted: watch::Sender<BTreeMap<ModelName, u32>>,
    /// Time between two evaluations.
    pub period: Duration,
    /// The process's time.
    pub clock: Clock,
    /// Where it counts.
    pub metrics: Metrics,
}

/// One pool as the loop sees it.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    waiting: usize,
    running: usize,
    engines: usize,
    busy_engines: usize,
}

impl Scale {
    /// Looks until the router ends.
    pub async fn run(self) {
        let mut evaluated: Option<Duration> = None;
        loop {
            let now = self.clock.now();
            let is_due = evaluated.is_none_or(|at| now.saturating_sub(at) >= self.period);
            if is_due {
                evaluated = Some(now);
            }
            if self.look(is_due).await.is_none() {
                return;
            }
            tokio::time::sleep(LOOK_PERIOD.min(self.period)).await;
        }
    }

    /// Looks at every pool once; `None` when the router ends.
    async fn look(&self, is_due: bool) -> Option<()> {
        let pools = self.pools.borrow().clone();
        let models: Vec<ModelName> = pools.iter().map(|pool| pool.model.clone()).collect();
        let look = move |view: View<'_>| models.iter().map(|model| seen(&view, model)).collect();
        let figures: Vec<Seen> = self.dispatcher.read(look).await.ok()?;
        let mut wanted = self.wanted.borrow().clone();
        wanted.retain(|model, _| pools.iter().any(|pool| pool.model == *model));
        for (pool, seen) in pools.iter().zip(figures) {
            // A call that found no engine is not kept waiting for the next round.
            let is_stranded = seen.engines == 0 && seen.waiting > 0;
            if is_due || is_stranded || !wanted.contains_key(&pool.model) {
                let load = Load {
                    waiting: u32::try_from(seen.waiting).unwrap_or(u32::MAX),
                    busy_engines: u32::try_from(seen.busy_engines).unwrap_or(u32::MAX),
                };
                wanted.insert(pool.model.clone(), desired(load, pool.scaling));
            }
            self.metrics.pool(
                &pool.model,
                PoolFigures {
                    waiting: seen.waiting,
                    running: seen.running,
                    engines: seen.engines,
                    desired: wanted.get(&pool.model).copied().unwrap_or(0),
                },
            );
        }
        self.wanted.send_if_modified(|told| {
            let is_new = *told != wanted;
            if is_new {
                tracing::info!(engines = ?wanted, "engines wanted");
                told.clone_from(&wanted);
            }
            is_new
        });
        Some(())
    }
}

fn seen(view: &View<'_>, model: &ModelName) -> Seen {
    let mut seen = Seen {
        waiting: view.state.queue_len(model),
        ..Seen::default()
    };
    for load in view
        .state
        .engine_loads()
        .iter()
        .filter(|load| load.model == *model)
    {
        let calls = (load.running + load.waiting) as usize;
        seen.engines += 1;
        seen.running += calls;
        seen.busy_engines += usize::from(calls > 0);
    }
    seen
}
