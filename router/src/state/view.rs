//! What can be read of the state. Owns: plain values for those who show them (HTTP, metrics, the simulator). They are
//! copies: nothing here changes when the state does.

use lps_api::ids::{CallId, ClassName, EngineId, ModelName, ProgramId, TenantId, ThreadId};
use lps_api::quantity::{Attempt, Micros, Tokens};
use schemars::JsonSchema;
use serde::Serialize;

use crate::message::{IdentitySource, Intake};
pub use crate::process_table::{CallCounts, Phase, ProgramState, Reason};

/// A program's row without its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProgramSummary {
    /// Its name inside its tenant.
    pub id: ProgramId,
    /// Who pays.
    pub tenant: TenantId,
    /// What programs of its kind are called.
    pub class: ClassName,
    /// How it was found.
    pub source: IdentitySource,
    /// Where it stands.
    pub state: ProgramState,
    /// Which life of the name this is, from 1.
    pub generation: u32,
    /// When it began, since the process started.
    pub arrived_us: Micros,
    /// Time since then.
    pub age_us: Micros,
    /// When its last call ended.
    pub last_completion_us: Option<Micros>,
    /// Σ of its calls' service.
    pub service_total_us: Micros,
    /// The longest chain of its calls' service, as observed.
    pub critical_path_us: Micros,
    /// Σ of its calls' wait.
    pub wait_total_us: Micros,
    /// Its calls by phase.
    pub call_counts: CallCounts,
    /// Calls that named parents of which nothing is known.
    pub unknown_parents: u64,
    /// Σ of its calls' tokens.
    pub prompt_tokens: u64,
    /// Of those, from the prefix cache.
    pub cached_tokens: u64,
    /// Σ of tokens produced.
    pub output_tokens: u64,
    /// Of its open calls the one that stands first: of those that wait, if any does.
    pub first_call: Option<FirstCall>,
}

/// The call of a program whose turn comes before that of its others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FirstCall {
    /// Its name.
    pub id: CallId,
    /// Its queue, from 1.
    pub queue: u8,
    /// Its priority.
    pub p_us: Micros,
    /// What it waits for and how long it has; `None` when it runs.
    pub wait: Option<WaitView>,
}

/// A program's row with all that is known of its calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProgramView {
    /// The row.
    #[serde(flatten)]
    pub summary: ProgramSummary,
    /// The engine that holds its context, for each model.
    pub home_engines: Vec<HomeView>,
    /// Its threads, the one that spoke first first.
    pub threads: Vec<ThreadView>,
    /// Its calls in order of arrival; of a very long program the last ones.
    pub calls: Vec<CallView>,
}

/// A program's home for one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HomeView {
    /// Which model.
    pub model: ModelName,
    /// Where.
    pub engine: EngineId,
}

/// A chain of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ThreadView {
    /// Its name inside the program.
    pub id: ThreadId,
    /// The last call that arrived on it.
    pub last_call: CallId,
}

/// A call, open or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CallView {
    /// Its name inside its tenant.
    pub id: CallId,
    /// Its program.
    pub program: ProgramId,
    /// Its thread.
    pub thread: ThreadId,
    /// Calls it depends on, as its client said; `None` when it said nothing.
    pub parents: Option<Vec<CallId>>,
    /// Which pool serves it.
    pub model: ModelName,
    /// Where it stands.
    pub state: Phase,
    /// Which try it is.
    pub attempt: Attempt,
    /// Where it is, or ran last.
    pub engine: Option<EngineId>,
    /// When it became ready, since the process started.
    pub ready_us: Micros,
    /// When it ended.
    pub ended_us: Option<Micros>,
    /// Service so far.
    pub service_us: Micros,
    /// Time ready and not in a batch so far.
    pub wait_us: Micros,
    /// The same by reason.
    pub waits: Vec<WaitView>,
    /// Its priority, fixed when it became ready.
    pub p_us: Micros,
    /// Its queue, from 1.
    pub queue: u8,
    /// What it may still use in that queue; `None` has no end.
    pub quantum_left_us: Option<Micros>,
    /// Moves to the next queue.
    pub demotions: u32,
    /// Moves to queue 1.
    pub promotions: u32,
    /// Times it lost its slot.
    pub preemptions: u32,
    /// Whether its program's home moved for it.
    pub moved: bool,
    /// Tokens of the prompt: counted, or expected until then.
    pub prompt_tokens: Tokens,
    /// Of those, from the prefix cache.
    pub cached_tokens: Tokens,
    /// Tokens produced.
    pub output_tokens: Tokens,
    /// Why it does not run; `None` when it runs or has ended.
    pub explain: Option<Explain>,
}

/// Why a call does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explain {
    /// The reason's name.
    pub reason: Reason,
    /// How long it has held, in µs.
    pub for_us: Micros,
    /// Calls that stand before it, where the reason is a line.
    pub position: Option<u64>,
    /// The engine that it is about.
    pub engine: Option<EngineId>,
    /// The program's wait over its service since its last promotion, in thousandths: what β is compared with.
    pub wait_over_service_milli: u64,
}

/// A wait for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WaitView {
    /// Which reason.
    pub reason: Reason,
    /// How long.
    pub wait_us: Micros,
}

impl From<(Reason, Micros)> for WaitView {
    fn from((reason, wait_us): (Reason, Micros)) -> Self {
        Self { reason, wait_us }
    }
}

/// The open calls of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
pub struct OpenCalls {
    /// Held here, or waiting in an engine.
    pub waiting: u32,
    /// In a batch.
    pub running: u32,
    /// Wait so far of the one of them that has been ready for longest; `None` when none waits.
    pub oldest_wait_us: Option<Micros>,
    /// What that one waits for.
    pub oldest_reason: Option<Reason>,
}

/// What scaling reads of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    /// Calls in a batch.
    pub running: u32,
    /// Calls in an engine, but in no batch.
    pub waiting_in_engine: u32,
    /// Calls held here.
    pub waiting: u32,
    /// Programs that have not ended and have had a call of this model.
    pub live_programs: u32,
    /// Those of them without an open call that have called at least twice; a bounded sample.
    pub quiet: Vec<QuietProgram>,
    /// Engines that take calls.
    pub engines_up: u32,
    /// Of those, engines with at least one call.
    pub engines_busy: u32,
    /// Engines that finish what they have.
    pub engines_draining: u32,
    /// Context of the live programs.
    pub kv_used_tokens: u64,
    /// KV pool of the smallest engine; 0 where there is none.
    pub kv_tokens_per_engine: u64,
}

impl Demand {
    /// Calls that are ready and in no batch.
    pub fn ready(&self) -> u32 {
        self.waiting.saturating_add(self.waiting_in_engine)
    }

    /// Calls there are.
    pub fn load(&self) -> u32 {
        self.running.saturating_add(self.ready())
    }
}

/// A program between two calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietProgram {
    /// Time since its last call ended.
    pub idle_for: Micros,
    /// Time that it usually takes from a call's end to the next call.
    pub usual_gap: Micros,
    /// For how many programs it stands, where not all are listed.
    pub programs: u32,
}

/// What an engine has to do now, as booked here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineLoad {
    /// Which engine.
    pub engine: EngineId,
    /// Which pool it serves.
    pub model: ModelName,
    /// Sequences it runs at once.
    pub slots: u32,
    /// Calls there that run.
    pub running: u32,
    /// Calls there that wait.
    pub waiting: u32,
    /// Tokens its KV pool holds.
    pub kv_tokens: u64,
    /// Of those, booked for the calls there.
    pub kv_booked_tokens: u64,
    /// The same, and the contexts that live programs left there.
    pub kv_resident_tokens: u64,
    /// Live programs whose context it holds.
    pub home_programs: u64,
    /// Live programs that can go on with it only, where it drains.
    pub pinned_programs: u64,
    /// Which calls it takes.
    pub intake: Intake,
}

/// A call, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TenantCall {
    /// Who pays.
    pub tenant: TenantId,
    /// The call.
    #[serde(flatten)]
    pub call: CallView,
}

/// Something that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A program began.
    Began(ProgramSummary),
    /// A call came, runs, waits again, or ended.
    Call(TenantCall),
    /// A program ended.
    Ended(ProgramSummary),
}

/// What ended calls of a tenant, a class and a model used since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UsageView {
    /// Who pays; `None`: those that came when too many were counted.
    pub tenant: Option<TenantId>,
    /// What their programs are called; `None`: those of which no more are told apart.
    pub class: Option<ClassName>,
    /// Which pool served them.
    pub model: ModelName,
    /// Calls that ended well.
    pub completed_calls: u64,
    /// Calls that ended by a cancel.
    pub cancelled_calls: u64,
    /// Calls that ended by an error.
    pub failed_calls: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Of those, from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens produced.
    pub output_tokens: u64,
    /// Σ of their service.
    pub service_us: Micros,
}

/// What a list of programs is sorted by; the largest first, but for the arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// The oldest first.
    #[default]
    Arrival,
    /// Σ of their calls' service.
    Service,
    /// The longest chain of their calls' service.
    CriticalPath,
    /// Σ of their calls' wait.
    Wait,
}

/// Those of a list of programs that stand first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The first ones.
    pub programs: Vec<ProgramSummary>,
    /// How many there are in all.
    pub total: usize,
}

/// Which programs to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramFilter {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// In one of these states only; in any where there is none.
    pub states: Vec<ProgramState>,
}
