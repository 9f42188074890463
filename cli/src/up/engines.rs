//! The engines of a stack. Owns: all pools' engines and when their plan is looked at again: after each report, after
//! each change of the wanted numbers, and at each tick. What to do is the operator's plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lps_api::ids::{EngineId, ModelName};
use lps_api::quantity::Micros;
use lps_operator::plan::{Action, DeleteReason, EngineLoad};
use lps_operator::reconcile::reconcile;
use lps_operator::validate::Validated;
use lps_router::dispatcher::Handle;
use lps_router::http::{self, EngineRow};
use lps_router::scale::Wanted;
use lps_runtime::clock::Clock;
use lps_runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::home::{Heard, LocalHome, Machine};
use super::process::{Report, Stop};
use crate::console;
use lps_operator::flags::device;

/// How often the plan is looked at when nothing happens.
const TICK: Duration = Duration::from_millis(500);
/// How long engines may take to end once no call is left.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// One pool and its engines.
#[derive(Debug)]
struct Pool {
    wanted: Validated,
    home: LocalHome,
    /// Whether it once had all the engines that it starts with. Before, a failure is the user's to mend.
    has_started: bool,
}

/// All pools.
#[derive(Debug)]
pub(super) struct Engines {
    pools: Vec<Pool>,
    clock: Clock,
    reports: mpsc::Receiver<Report>,
    scale: watch::Receiver<BTreeMap<ModelName, Wanted>>,
    router: Handle,
}

impl Engines {
    pub(super) fn new(
        pools: Vec<Validated>,
        machine: Machine,
        reports: mpsc::Receiver<Report>,
        router: (watch::Receiver<BTreeMap<ModelName, Wanted>>, Handle),
    ) -> Self {
        let machine = Arc::new(machine);
        let pool = |wanted: Validated| Pool {
            home: LocalHome::new(Arc::clone(&machine), wanted.template.model.clone()),
            has_started: false,
            wanted,
        };
        Self {
            pools: pools.into_iter().map(pool).collect(),
            clock: machine.clock,
            reports,
            scale: router.0,
            router: router.1,
        }
    }

    /// Serves until the drain begins. Says when every pool has the engines that it starts with.
    ///
    /// # Errors
    /// When an engine does not start before that, or the router ends by itself.
    pub(super) async fn serve(
        &mut self,
        router: &mut JoinHandle<()>,
        started: oneshot::Sender<()>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        let mut started = Some(started);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut scale_is_told = true;
        loop {
            self.turn().await?;
            if self.pools.iter().all(|pool| pool.has_started)
                && let Some(started) = started.take()
            {
                // Whoever waits may have given up; the shutdown tells.
                let _ = started.send(());
            }
            tokio::select! {
                biased;
                () = shutdown.drain() => return Ok(()),
                ended = &mut *router => {
                    ended.context("the router failed")?;
                    if shutdown.is_draining() {
                        return Ok(());
                    }
                    bail!("the router ended by itself");
                }
                Some(report) = self.reports.recv() => self.on(report)?,
                changed = self.scale.changed(), if scale_is_told => scale_is_told = changed.is_ok(),
                _ = tick.tick() => {}
            }
        }
    }

    /// Lets the router finish its streams; engines that die meanwhile are not replaced.
    pub(super) async fn outlive(&mut self, router: &mut JoinHandle<()>, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                ended = &mut *router => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the router failed");
                    }
                    return;
                }
                () = shutdown.cut() => return,
                Some(report) = self.reports.recv() => {
                    if let Err(error) = self.on(report) {
                        tracing::warn!("{error:#}");
                    }
                }
            }
        }
    }

    /// Ends all processes; at once when the shutdown cuts or they take too long.
    pub(super) async fn end(mut self, shutdown: &Shutdown) {
        self.end_all(Stop::Drained);
        let late = tokio::time::sleep(END_TIMEOUT);
        tokio::pin!(late);
        let mut is_cut = false;
        while self.pools.iter().any(|pool| pool.home.alive() > 0) {
            tokio::select! {
                () = shutdown.cut(), if !is_cut => is_cut = true,
                () = &mut late, if !is_cut => {
                    tracing::warn!("engines do not end; they are cut");
                    is_cut = true;
                }
                Some(report) = self.reports.recv() => {
                    self.hear(report);
                    continue;
                }
            }
            self.end_all(Stop::Now);
        }
    }

    fn end_all(&mut self, stop: Stop) {
        for pool in &mut self.pools {
            pool.home.end_all(stop);
        }
    }

    fn hear(&mut self, report: Report) -> Option<(&Pool, Heard)> {
        let pool = self
            .pools
            .iter_mut()
            .find(|pool| pool.home.has(&report.engine))?;
        let heard = pool.home.on(report)?;
        Some((pool, heard))
    }

    /// Takes a report.
    fn on(&mut self, report: Report) -> anyhow::Result<()> {
        let engine = report.engine.clone();
        let Some((pool, heard)) = self.hear(report) else {
            return Ok(());
        };
        let template = &pool.wanted.template;
        match heard {
            Heard::Ready { address, after } => tracing::info!(
                "engine {engine} ready in {} ({}, {}, {address})",
                console::duration(after.0),
                template.model,
                device(template.device),
            ),
            Heard::Gone => tracing::info!("engine {engine} ended"),
            Heard::Failed {
                had_been_ready: false,
                why,
            } if !pool.has_started => {
                bail!("engine {engine} does not start: {why}")
            }
            Heard::Failed { why, .. } => {
                tracing::warn!("engine {engine} ended by itself and is replaced: {why}");
            }
        }
        Ok(())
    }

    async fn turn(&mut self) -> anyhow::Result<()> {
        let now = Micros::from(self.clock.now());
        let scale = self.scale.borrow_and_update().clone();
        let mut loads = None;
        for pool in &mut self.pools {
            let scaling = &pool.wanted.scaling;
            let asked = scale.get(&pool.wanted.template.model);
            let desired = scaling.decide(asked.map(|asked| asked.desired));
            if pool.home.loads_matter(desired) {
                if loads.is_none() {
                    loads = Some(loads_of(&self.router).await);
                }
                pool.home
                    .set_loads(loads.as_ref().unwrap_or(&BTreeMap::new()));
            }
            match reconcile(&pool.wanted, desired, &mut pool.home, now).await {
                Ok(actions) => pool.tell(&actions)?,
                Err(error) if pool.has_started => tracing::warn!("{error}"),
                Err(error) => return Err(error.into()),
            }
            pool.has_started |= pool.home.ready() >= desired;
        }
        Ok(())
    }
}

impl Pool {
    fn tell(&self, actions: &[Action]) -> anyhow::Result<()> {
        for action in actions {
            match action {
                Action::Create(spec) => tracing::info!("engine {} starts", spec.id),
                Action::Drain(id) => tracing::info!("engine {id} drains: fewer are wanted"),
                Action::CancelDrain(id) => tracing::info!("engine {id} stays: it is wanted again"),
                Action::Delete(id, DeleteReason::StartTimeout) => {
                    let limit = self.wanted.template.start_timeout;
                    let text = format!(
                        "engine {id} was not ready within {} (spec.engine.startTimeout)",
                        console::duration(limit.0)
                    );
                    if !self.has_started {
                        bail!("{text}; raise it, or see what the engine wrote in the state folder");
                    }
                    tracing::warn!("{text} and is replaced");
                }
                Action::Delete(id, DeleteReason::DrainTimeout) => {
                    tracing::warn!("engine {id} is ended with calls in it: drainTimeout is over");
                }
                Action::Delete(..) => {}
            }
        }
        Ok(())
    }
}

/// What the router says that each engine holds, and whether the router knows that it drains.
async fn loads_of(router: &Handle) -> BTreeMap<EngineId, (EngineLoad, bool)> {
    // An error means that the router has ended; whoever waits for that tells it.
    let told = router.read(|view| http::engines(&view)).await;
    let engines = told.unwrap_or_default();
    let load = |engine: EngineRow| {
        let in_engine = engine.load.running.saturating_add(engine.load.waiting);
        // A live program that can go on there only is a call to come.
        let to_come = u32::try_from(engine.pinned_programs).unwrap_or(u32::MAX);
        let load = EngineLoad {
            kv_blocks: engine.kv.blocks_used,
            calls: in_engine.max(engine.calls).saturating_add(to_come),
        };
        (engine.id, (load, engine.draining))
    };
    engines.into_iter().map(load).collect()
}
