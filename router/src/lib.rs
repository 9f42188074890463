//! The router: HTTP → admission → dispatcher (process table, scheduler) → engine client.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// What the dispatcher's state is told, and what it asks for.
pub mod message;
