//! The router: HTTP → admission → dispatcher (process table, scheduler) → engine client.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// One running router: puts the pieces together.
pub mod server;
/// Flags and environment variables.
pub mod config;
/// Pools and engines that there are.
pub mod discovery;
/// What the dispatcher decides with: table and pools, one event after the other.
pub mod state;
/// Programs and calls: what they used, and where they stand.
pub mod process_table;
/// What the dispatcher's state is told, and what it asks for.
pub mod message;
