//! Which engines to create, drain and delete. Owns: the decision, for engines in a cluster and on one machine alike.
//! Pure: it is told what there is and the time, and returns what to do; said again about the result, it says nothing.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use lps_api::ids::EngineId;
use lps_api::quantity::Micros;
use lps_api::resource::RolloutStrategy;

use crate::revision::Revision;
use crate::validate::{Template, Validated, engine_name};

/// An engine that was ready for so long has shown that it can run: its next failure is a first one.
const STEADY: Micros = Micros::from_secs(60);
/// Longest time between a failure and the replacement.
const BACKOFF_MAX: Micros = Micros::from_secs(60);

/// What an engine is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineSpec {
    /// Its name.
    pub id: EngineId,
    /// What it was made from.
    pub revision: Revision,
    /// How many engines failed in a row before it.
    pub failures_before: u32,
    /// What it runs.
    pub template: Arc<Template>,
}

/// An engine as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedEngine {
    /// Its name.
    pub id: EngineId,
    /// What it was made from.
    pub revision: Revision,
    /// How many engines failed in a row before it.
    pub failures_before: u32,
    /// When it was created, or had the model that had to be fetched for it: from then on it starts.
    pub created_at: Micros,
    /// Where it stands.
    pub state: EngineState,
    /// What it holds; `None` where nobody knows.
    pub load: Option<EngineLoad>,
}

/// What an engine holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EngineLoad {
    /// Pages of live programs.
    pub kv_blocks: u32,
    /// Calls that run or wait in it, or are on their way.
    pub calls: u32,
}

/// Where an engine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineState {
    /// Not ready yet.
    Starting {
        /// Whether it has a place to run; a pod that no node takes has none.
        placed: bool,
        /// Whether it has loaded its model: what is missing is that the router uses it.
        loaded: bool,
    },
    /// It serves.
    Ready,
    /// It finishes what it has.
    Draining {
        /// Since when.
        since: Micros,
    },
    /// It ended by itself.
    Failed {
        /// When.
        at: Micros,
        /// How long it had been ready before.
        ready_for: Micros,
    },
    /// It was deleted and is not gone yet.
    Ending,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start an engine.
    Create(EngineSpec),
    /// Let no new call reach it.
    Drain(EngineId),
    /// Use it again.
    CancelDrain(EngineId),
    /// End it.
    Delete(EngineId, DeleteReason),
}

/// Why an engine is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeleteReason {
    /// It has drained.
    Drained,
    /// It still had calls when `drainTimeout` was over.
    DrainTimeout,
    /// It was not ready in `startTimeout`.
    StartTimeout,
    /// It had ended by itself.
    Failed,
    /// It never served and is not wanted any more.
    NotWanted,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(spec) => write!(f, "create {} of revision {}", spec.id, spec.revision),
            Self::Drain(id) => write!(f, "drain {id}"),
            Self::CancelDrain(id) => write!(f, "use {id} again"),
            Self::Delete(id, reason) => write!(f, "delete {id}: {reason}"),
        }
    }
}

impl fmt::Display for DeleteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drained => "it has drained",
            Self::DrainTimeout => "it still had calls after drainTimeout",
            Self::StartTimeout => "it was not ready in startTimeout",
            Self::Failed => "it had ended by itself",
            Self::NotWanted => "it is not wanted any more",
        })
    }
}

/// Who goes first when there are too many. The order of the fields is the policy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Victim<'a> {
    /// What serves nobody costs nobody, so it goes before all that serve.
    ready: bool,
    /// Lost pages and moved calls are what users feel: the least load goes, an unknown one last.
    load: EngineLoad,
    /// Among equals the old revision goes: it would have to go anyway.
    is_current: bool,
    /// Then the youngest: its caches are the coldest.
    age: Reverse<Micros>,
    /// So that the choice is always the same.
    id: &'a EngineId,
}

/// Decides what to do so that `desired` engines of the pool's present revision serve.
pub fn plan(
    pool: &Validated,
    desired: u32,
    engines: &[ObservedEngine],
    now: Micros,
) -> Vec<Action> {
    let mut turn = Turn::begin(pool, desired, engines, now);
    if turn.present() < turn.desired {
        turn.fill();
    } else if turn.present() > turn.desired + turn.surplus_allowed() {
        turn.shrink();
    } else {
        turn.roll_out();
    }
    turn.actions
}

/// How long after its failure an engine is replaced.
pub fn backoff(failures_before: u32) -> Micros {
    match failures_before {
        0 => Micros::ZERO,
        n => Micros::from_secs(1 << (n - 1).min(10)).min(BACKOFF_MAX),
    }
}

struct Turn<'a> {
    pool: &'a Validated,
    desired: usize,
    now: Micros,
    /// Starting or ready.
    serving: Vec<&'a ObservedEngine>,
    draining: Vec<&'a ObservedEngine>,
    /// Failed, and not to be replaced yet: each holds a place.
    waiting: Vec<&'a ObservedEngine>,
    /// For each failed engine that is replaced now: how many failed in a row.
    failures: Vec<u32>,
    names: BTreeSet<&'a EngineId>,
    new_names: BTreeSet<EngineId>,
    actions: Vec<Action>,
}

impl<'a> Turn<'a> {
    fn begin(
        pool: &'a Validated,
        desired: u32,
        engines: &'a [ObservedEngine],
        now: Micros,
    ) -> Self {
        let mut turn = Self {
            pool,
            desired: desired as usize,
            now,
            serving: Vec::new(),
            draining: Vec::new(),
            waiting: Vec::new(),
            failures: Vec::new(),
            names: engines.iter().map(|engine| &engine.id).collect(),
            new_names: BTreeSet::new(),
            actions: Vec::new(),
        };
        for engine in engines {
            turn.sort_in(engine);
        }
        turn
    }

    fn sort_in(&mut self, engine: &'a ObservedEngine) {
        match engine.state {
            EngineState::Ending => {}
            EngineState::Ready => self.serving.push(engine),
            EngineState::Starting { loaded, .. } => {
                let age = self.now.saturating_sub(engine.created_at);
                if !loaded && age >= self.pool.template.start_timeout {
                    self.delete(engine, DeleteReason::StartTimeout);
                    self.failures.push(engine.failures_before.saturating_add(1));
                } else {
                    self.serving.push(engine);
                }
            }
            EngineState::Draining { since } => {
                let drain_timeout = self.pool.rollout.drain_timeout.micros();
                if engine.load.is_some_and(|load| load.calls == 0) {
                    self.delete(engine, DeleteReason::Drained);
                } else if self.now.saturating_sub(since) >= drain_timeout {
                    self.delete(engine, DeleteReason::DrainTimeout);
                } else {
                    self.draining.push(engine);
                }
            }
            EngineState::Failed { at, ready_for } => {
                let failures = if ready_for >= STEADY {
                    0
                } else {
                    engine.failures_before
                };
                if self.now >= at.saturating_add(backoff(failures)) {
                    self.delete(engine, DeleteReason::Failed);
                    self.failures.push(failures.saturating_add(1));
                } else {
                    self.waiting.push(engine);
                }
            }
        }
    }

    fn delete(&mut self, engine: &ObservedEngine, reason: DeleteReason) {
        self.actions.push(Action::Delete(engine.id.clone(), reason));
    }

    fn is_current(&self, engine: &ObservedEngine) -> bool {
        engine.revision == self.pool.revision
    }

    fn old(&self) -> Vec<&'a ObservedEngine> {
        let mut old = self.serving.clone();
        old.retain(|engine| !self.is_current(engine));
        old
    }

    /// Whether a replaced engine ends before its successor starts.
    fn replaces(&self) -> bool {
        self.pool.rollout.strategy == RolloutStrategy::Replace
    }

    /// Engines that hold a place: where a successor waits for its predecessor's end, that one still does.
    fn present(&self) -> usize {
        let leaving = self
            .draining
            .iter()
            .filter(|engine| !self.is_current(engine));
        let reserved = if self.replaces() { leaving.count() } else { 0 };
        self.serving.len() + self.waiting.len() + reserved
    }

    fn surplus_allowed(&self) -> usize {
        if self.replaces() || self.old().is_empty() {
            return 0;
        }
        self.pool.rollout.max_surge as usize
    }

    /// Too few: drains are taken back before anything is started.
    fn fill(&mut self) {
        let mut missing = self.desired - self.present();
        let mut returning = self.draining.clone();
        returning.retain(|engine| self.is_current(engine));
        // The fullest comes back first: it has the most to lose.
        returning.sort_by_key(|engine| (Reverse(engine.load), &engine.id));
        for engine in returning.into_iter().take(missing) {
            self.actions.push(Action::CancelDrain(engine.id.clone()));
            missing -= 1;
        }
        for _ in 0..missing {
            self.create();
        }
    }

    fn create(&mut self) {
        let id = (0..)
            .map(|index| engine_name(self.pool, index))
            .find(|id| !self.names.contains(id) && !self.new_names.contains(id))
            .expect("there are more names than engines");
        self.new_names.insert(id.clone());
        self.actions.push(Action::Create(EngineSpec {
            id,
            revision: self.pool.revision,
            failures_before: self.failures.pop().unwrap_or(0),
            template: Arc::clone(&self.pool.template),
        }));
    }

    /// Too many: first those that wait for a replacement, then the victims.
    fn shrink(&mut self) {
        let mut excess = self.present() - self.desired - self.surplus_allowed();
        for engine in std::mem::take(&mut self.waiting).into_iter().take(excess) {
            self.delete(engine, DeleteReason::NotWanted);
            excess -= 1;
        }
        let candidates = self.serving.clone();
        for engine in self.victims(candidates).into_iter().take(excess) {
            self.retire(engine);
        }
    }

    fn victims(&self, mut candidates: Vec<&'a ObservedEngine>) -> Vec<&'a ObservedEngine> {
        const UNKNOWN: EngineLoad = EngineLoad {
            kv_blocks: u32::MAX,
            calls: u32::MAX,
        };
        candidates.sort_by_key(|engine| Victim {
            ready: engine.state == EngineState::Ready,
            load: engine.load.unwrap_or(UNKNOWN),
            is_current: self.is_current(engine),
            age: Reverse(engine.created_at),
            id: &engine.id,
        });
        candidates
    }

    /// What serves is drained; what does not has nothing to finish.
    fn retire(&mut self, engine: &ObservedEngine) {
        if engine.state == EngineState::Ready {
            self.actions.push(Action::Drain(engine.id.clone()));
        } else {
            self.delete(engine, DeleteReason::NotWanted);
        }
    }

    /// The number is right: engines of an old revision make room for new ones.
    fn roll_out(&mut self) {
        let (old_ready, old_unready): (Vec<_>, Vec<_>) = self
            .old()
            .into_iter()
            .partition(|engine| engine.state == EngineState::Ready);
        if !old_unready.is_empty() {
            // They serve nobody: the next turn starts their successors.
            for engine in old_unready {
                self.retire(engine);
            }
            return;
        }
        let ready = |engines: &[&ObservedEngine]| {
            engines
                .iter()
                .filter(|engine| engine.state == EngineState::Ready)
                .count()
        };
        let no_place = self
            .serving
            .iter()
            .any(|engine| matches!(engine.state, EngineState::Starting { placed: false, .. }));
        let may_leave = if self.replaces() {
            let settled = ready(&self.serving) == self.desired && self.draining.is_empty();
            usize::from(settled)
        } else if no_place && self.pool.rollout.strategy == RolloutStrategy::Auto {
            usize::from(self.draining.is_empty())
        } else {
            ready(&self.serving).saturating_sub(self.desired)
        };
        let surplus = self.present() - self.desired;
        let wanted_new = old_ready.len().saturating_sub(surplus);
        for engine in self.victims(old_ready).into_iter().take(may_leave) {
            self.retire(engine);
        }
        if !self.replaces() && !no_place && may_leave == 0 {
            let room = self.surplus_allowed().saturating_sub(surplus);
            for _ in 0..room.min(wanted_new) {
                self.create();
            }
        }
    }
}
