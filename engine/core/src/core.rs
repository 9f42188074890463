//! The whole: requests in, batches out, tokens back, effects out.

use lps_api::ids::{CallId, ProgramId};
use lps_api::protocol::{CallProgress, CallUsage, Load};
use lps_api::quantity::{Micros, Order};

use crate::batch::{Batch, Outputs, Sampled};
use crate::request::Request;

/// Size of everything, fixed at start.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Most sequences in one batch.
    pub max_num_seqs: u32,
    /// Most tokens of one step.
    pub max_batched_tokens: u32,
    /// Longest prompt plus output of a sequence.
    pub max_model_len: u32,
    /// Tokens of one page.
    pub block_tokens: u32,
    /// Pages of the pool.
    pub kv_blocks: u32,
    /// Most calls held, waiting ones included; beyond it a request is refused.
    pub max_calls: u32,
    /// How steps are filled.
    pub batching: Batching,
    /// Whether full pages are found again by their content.
    pub prefix_cache: bool,
    /// What becomes of a preempted sequence's pages.
    pub preemption: Preemption,
}

/// How steps are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// Sequences join and leave at every step.
    Continuous,
    /// A batch starts when it is full, and runs to its end.
    Static,
    /// A batch starts when it is full or its first call has waited so long, and runs to its end.
    Timeout(Micros),
}

/// What becomes of a preempted sequence's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preemption {
    /// Kept while nobody needs them; resuming then costs nothing.
    Keep,
    /// Given back at once; what the prefix cache no longer has is computed again.
    Recompute,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Prompt and output cannot fit the context or the pool.
    #[error("prompt of {prompt} tokens and at least 1 of output exceed the limit of {limit}")]
    TooLong {
        /// Tokens of the prompt.
        prompt: u32,
        /// What one sequence may have.
        limit: u32,
    },
    /// [`Config::max_calls`] are held.
    #[error("the engine holds {0} calls and takes no more")]
    Full(u32),
    /// A call of that name is open.
    #[error("call {0} is already running")]
    Duplicate(CallId),
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// A stop token.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
    /// A cancel.
    Cancelled,
}

/// What a step, or a cancel, did to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A choice got a token. A stop token that ends the choice is not emitted.
    Token {
        /// Which call.
        call: CallId,
        /// Which choice.
        choice: u32,
        /// The token.
        sampled: Sampled,
    },
    /// A choice ended.
    ChoiceEnded {
        /// Which call.
        call: CallId,
        /// Which choice.
        choice: u32,
        /// Why.
        finish: Finish,
    },
    /// All choices ended; the core has forgotten the call. Final figures.
    CallEnded {
        /// Which call.
        call: CallId,
        /// What it used.
        usage: CallUsage,
        /// Whether a cancel ended it.
        cancelled: bool,
    },
}

/// The engine's state: all calls, all pages. Whoever owns it drives it in a loop:
/// `schedule` → compute → `complete`, with commands between.
#[derive(Debug)]
pub struct Core {}

impl Core {
    /// An empty engine.
    pub fn new(_config: Config) -> Self {
        todo!()
    }

    /// Takes a call. `now` is used for the `Timeout` policy only.
    pub fn add(&mut self, _request: Request, _now: Micros) -> Result<(), Refusal> {
        todo!()
    }

    /// Gives a call a new place; false when it is not here.
    pub fn reorder(&mut self, _call: &CallId, _order: Order) -> bool {
        todo!()
    }

    /// Ends a call; its effects come at once. An unknown call: nothing.
    pub fn cancel(&mut self, _call: &CallId) -> Vec<Effect> {
        todo!()
    }

    /// Ends one choice, as a stop string outside demands it.
    pub fn stop_choice(&mut self, _call: &CallId, _choice: u32) -> Vec<Effect> {
        todo!()
    }

    /// The program's unreferenced pages are the first to be evicted.
    pub fn release(&mut self, _program: &ProgramId) {
        todo!()
    }

    /// Chooses the next step's work; `None` when there is nothing to do (or a `Timeout` batch still gathers:
    /// ask again at [`Core::wake_at`]).
    pub fn schedule(&mut self, _now: Micros) -> Option<Batch<'_>> {
        todo!()
    }

    /// When to ask again although nothing happens.
    pub fn wake_at(&self) -> Option<Micros> {
        todo!()
    }

    /// Takes the results of the step that `schedule` gave last, and its duration, which is charged to each call in it.
    pub fn complete(&mut self, _outputs: Outputs, _duration: Micros) -> Vec<Effect> {
        todo!()
    }

    /// Present load (`bytes_per_kilotoken` is left 0).
    pub fn load(&self) -> Load {
        todo!()
    }

    /// Figures of all open calls.
    pub fn progress(&self) -> Vec<CallProgress> {
        todo!()
    }

    /// Panics where an invariant does not hold.
    pub fn check_integrity(&self) {
        todo!()
    }
}
