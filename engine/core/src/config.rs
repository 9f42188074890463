//! Size of everything, fixed at start. Owns: the words; knows nothing of how they are read.

use lps_api::quantity::Micros;

/// Size of everything, fixed at start. Every number is at least 1.
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

impl Config {
    /// Longest prompt plus output that one sequence can have: the context, or the whole pool if that is less.
    pub fn sequence_tokens_max(&self) -> usize {
        let pool = u64::from(self.kv_blocks) * u64::from(self.block_tokens);
        pool.min(u64::from(self.max_model_len)) as usize
    }
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
