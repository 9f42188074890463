//! The engine: one process serves one model. It knows no other engine, no queue of programs and no cluster: it reports
//! and obeys.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// The process as a whole: start, serve, drain.
pub mod server;
/// From settings to a model that has said its first token.
mod loading;
/// Every setting, its range and its default.
pub mod config;
/// Gauges of the certificate that routers are shown.
pub mod certificate;
/// HTTP: what clients and the router ask of this engine.
pub mod http;
/// The thread that owns core, model and every tensor.
pub mod executor;
/// Between text and tokens: prompts in, streams out.
pub mod text;
/// The model: which one, from where, with how much memory.
pub mod model;
/// What computes on tensors; all `unsafe` code is here.
#[cfg(feature = "torch")]
pub mod kernels;
