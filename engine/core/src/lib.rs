//! The engine's decisions: which sequences run in the next step, with which pages, and which token each of them
//! gets. It knows no tensor, no clock, no socket and no thread; whoever drives it hands in what happened and how
//! long it took.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// The whole: requests in, batches out, tokens back, effects out.
pub mod core;
/// Calls that ask for vectors: texts in, steps out, vectors back.
pub mod embedding;
/// The invariants, checked over the whole state.
mod integrity;
/// Who runs in the next step: continuous batching with chunked prefill, in the given order.
mod scheduler;
/// Which sequence has which pages.
mod paging;
/// Where every sequence stands: with pages, waiting for pages, or gathering for a batch.
mod line;
/// Pages of KV: reference counts, prefix cache, eviction.
mod block_manager;
/// One call: its choices and its figures.
mod call;
/// One choice of one call: its tokens, its pages, where it stands.
mod sequence;
/// Size of everything, fixed at start.
pub mod config;
/// From logits to a token.
pub mod sampler;
/// Exponentials, sums and maxima of a whole vocabulary.
mod exponential;
/// The seams to what computes, `step(&Batch) -> Outputs`, and to what grammars allow.
pub mod model;
/// What one step runs.
pub mod batch;
/// Numbers of which nothing can be made.
pub mod defect;
/// Sets of tokens, as a grammar allows them.
pub mod token_set;
/// What a call asks for.
pub mod request;
/// When a call's figures are news.
pub mod report;
