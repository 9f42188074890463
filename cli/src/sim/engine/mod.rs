//! Simulated engines. Owns: what a world asks of an engine, and the words for choosing one. It must not know programs,
//! policies and the router's state.
//!
//! `unit` runs B calls at a second per second; `roofline` computes steps from a profile, many equal ones at once; `core`
//! is the real engine's core, whose steps last as long as the same profile says.

mod core;
mod cost;
mod kv;
mod profile;
mod roofline;
mod spec;
mod steps;
mod unit;

use std::sync::Arc;

use lps_api::protocol::{CallState, CallUsage};
use lps_api::quantity::{Micros, Order};
use lps_router::message::{CallKey, ProgramKey};

pub(crate) use cost::{Costs, Load};
pub(crate) use profile::Profile;
pub use spec::EngineSpec;

use crate::workload::content::Content;

/// A call that comes to an engine.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) call: CallKey,
    pub(super) program: Arc<ProgramKey>,
    pub(super) order: Order,
    /// What its prompt consists of.
    pub(super) content: Content,
    /// Tokens that it will answer.
    pub(super) output: u32,
    /// Of them, what earlier attempts have answered already.
    pub(super) resumed: u32,
    /// How long a unit engine works on it.
    pub(super) service: Micros,
}

/// What an engine tells of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) call: CallKey,
    pub(super) state: CallState,
    pub(super) usage: CallUsage,
}

/// One engine in virtual time. All calls that it is asked about are ones that it has.
pub(super) trait Engine {
    /// Takes a call.
    fn take(&mut self, job: Job, now: Micros);

    /// Gives a call another place.
    fn reorder(&mut self, call: CallKey, order: Order, now: Micros);

    /// Ends a call early; its last figures.
    fn cancel(&mut self, call: CallKey, now: Micros) -> CallUsage;

    /// The program's pages go first.
    fn release(&mut self, program: &ProgramKey);

    /// When it will have something to tell, if nothing happens before. `quantum_left`: what a call may still use before
    /// it is demoted; only engines that can stop at any instant ask.
    fn next(&self, quantum_left: &dyn Fn(CallKey) -> Option<Micros>) -> Option<Micros>;

    /// Lets time pass until `now`, which is not after [`Engine::next`].
    fn pass(&mut self, now: Micros, told: &mut Vec<Told>);

    /// Lets those run that come first now.
    fn settle(&mut self, now: Micros, told: &mut Vec<Told>);

    /// From now on it takes so many times as long.
    fn slow_down(&mut self, factor: f64);

    /// Prompt tokens that it computed, those of output that had to be computed again among them.
    fn computed_tokens(&self) -> u64;
}
