//! The engine's decisions: which sequences run in the next step, with which pages, and which token each of them
//! gets. It knows no tensor, no clock, no socket and no thread; whoever drives it hands in what happened and how
//! long it took.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// The whole: requests in, batches out, tokens back, effects out.
pub mod core;
/// Who runs in the next step: continuous batching with chunked prefill, in the given order.
pub mod scheduler;
/// Pages of KV: reference counts, prefix cache, eviction.
pub mod block_manager;
/// One choice of one call: its tokens, its pages, where it stands.
pub mod sequence;
/// The seam to what computes: `step(&Batch) -> Outputs`.
pub mod model;
/// What one step runs.
pub mod batch;
/// From logits to a token.
pub mod sampler;
/// What a call asks for.
pub mod request;
