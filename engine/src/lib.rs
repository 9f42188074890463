//! The engine: one process serves one model. It knows no other engine, no queue of programs and no cluster: it reports
//! and obeys.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// The model: which one, from where, with how much memory.
pub mod model;
