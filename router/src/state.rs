//! What the dispatcher decides with. Owns: the process table and the pools, and the order in which what happens at one
//! instant is taken. Pure: it knows no clock, no engine's address and no client.

pub mod view;

use lps_api::ids::{CallId, ModelName, TenantId, ThreadId};
use lps_api::quantity::Micros;

use crate::message::{Action, Event, ProgramKey};
use view::{CallView, EngineLoad, PoolLoad, ProgramFilter, ProgramSummary, ProgramView, WaitView};

/// Process table and pools.
#[derive(Debug, Default)]
pub struct State {}

impl State {
    /// Without pools, engines and programs.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long calls are held while their model has no engine.
    pub fn set_cold_start_hold(&mut self, _hold: Micros) {}

    /// Takes one event and says what is to be done.
    pub fn on(&mut self, event: Event, now: Micros) -> Vec<Action> {
        self.on_all(vec![event], now)
    }

    /// Takes all that happened at one instant: first what ended, then what was used, then what is new.
    pub fn on_all(&mut self, _events: Vec<Event>, _now: Micros) -> Vec<Action> {
        Vec::new()
    }

    /// Whether the program is open for calls.
    pub fn is_live(&self, _program: &ProgramKey) -> bool {
        false
    }

    /// The last call that arrived on a thread of a live program.
    pub fn last_call(&self, _program: &ProgramKey, _thread: &ThreadId) -> Option<CallId> {
        None
    }

    /// A program, live or ended lately.
    pub fn program(&self, _program: &ProgramKey) -> Option<ProgramView> {
        None
    }

    /// Programs, live and ended lately, in order of arrival.
    pub fn programs(&self, _filter: &ProgramFilter) -> Vec<ProgramSummary> {
        Vec::new()
    }

    /// A call by its client's name.
    pub fn call(&self, _tenant: &TenantId, _call: &CallId) -> Option<CallView> {
        None
    }

    /// Calls of a model that are held here.
    pub fn queue_len(&self, _model: &ModelName) -> usize {
        0
    }

    /// What a pool has to do.
    pub fn pool_load(&self, _model: &ModelName) -> PoolLoad {
        PoolLoad::default()
    }

    /// Time that the ended waits of a pool's calls took, by reason.
    pub fn waits(&self, _model: &ModelName) -> Vec<WaitView> {
        Vec::new()
    }

    /// All engines, by the order in which they joined inside each pool.
    pub fn engine_loads(&self) -> Vec<EngineLoad> {
        Vec::new()
    }
}
