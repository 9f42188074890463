//! The engine's decisions: which sequences run in the next step, with which pages, and which token each of them
//! gets. It knows no tensor, no clock, no socket and no thread; whoever drives it hands in what happened and how
//! long it took.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// What one step runs.
pub mod batch;
/// Pages of KV: reference counts, prefix cache, eviction.
mod block_manager;
/// One call: its choices and its figures.
mod call;
/// Size of everything, fixed at start.
pub mod config;
/// The whole: requests in, batches out, tokens back, effects out.
pub mod core;
/// The invariants, checked over the whole state.
mod integrity;
/// Where every sequence stands: with pages, waiting for pages, or gathering for a batch.
mod line;
/// The seam to what computes: `step(&Batch) -> Outputs`.
pub mod model;
/// Which sequence has which pages.
mod paging;
/// What a call asks for.
pub mod request;
/// From logits to a token.
pub mod sampler;
/// Who runs in the next step: continuous batching with chunked prefill, in the given order.
mod scheduler;
/// One choice of one call: its tokens, its pages, where it stands.
mod sequence;
