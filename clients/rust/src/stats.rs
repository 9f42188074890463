//! What the router knows of a program. Owns: which fields of its row are read.

use lps_api::ids::{CallId, EngineId, ProgramId, ThreadId};
use lps_api::quantity::Micros;
use serde::Deserialize;

/// A program's row, and its calls in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stats {
    /// Its name.
    pub id: ProgramId,
    /// `live`, `in_tool`, `ending`, `ended` or `expired`.
    pub state: String,
    /// Σ of its calls' service.
    pub service_total_us: Micros,
    /// The longest chain of dependent calls.
    pub critical_path_us: Micros,
    /// Σ of its calls' wait.
    pub wait_total_us: Micros,
    /// Σ of its calls' prompts.
    pub prompt_tokens: u64,
    /// Of those, from the prefix cache.
    pub cached_tokens: u64,
    /// Σ of tokens produced.
    pub output_tokens: u64,
    /// Its calls; of a very long program the last ones.
    pub calls: Vec<CallStats>,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CallStats {
    /// Its name.
    pub id: CallId,
    /// Its thread.
    pub thread: ThreadId,
    /// Calls that it depends on; `None` where nothing was said.
    pub parents: Option<Vec<CallId>>,
    /// `pending`, `running`, `completed`, `cancelled` or `failed`.
    pub state: String,
    /// Where it is, or ran last.
    pub engine: Option<EngineId>,
    /// Its service so far.
    pub service_us: Micros,
    /// Its wait so far.
    pub wait_us: Micros,
    /// The longest path before it: its priority.
    pub p_us: Micros,
    /// Tokens of its prompt.
    pub prompt_tokens: u32,
    /// Of those, from the prefix cache.
    pub cached_tokens: u32,
    /// Tokens produced.
    pub output_tokens: u32,
}
