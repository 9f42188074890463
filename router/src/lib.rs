//! The router: HTTP → admission → dispatcher (process table, scheduler) → engine client.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// A look at a running router from where its clients are.
pub mod check;
/// A router in a cluster.
pub mod kubernetes;
/// One running router: puts the pieces together.
pub mod server;
/// Flags and environment variables.
pub mod config;
/// What clients speak.
pub mod http;
/// Anthropic's messages, as the chats that engines know.
pub mod anthropic;
/// OpenAI's responses, as the chats that engines know, and what is kept of them.
pub mod responses;
/// What the forms beside OpenAI's chats have in common.
pub mod translation;
/// Where a call belongs whose client did not say so.
pub mod search;
/// Conversations that were answered: which call goes on from which.
pub mod conversations;
/// A task that owns one value, and what others hold of it.
mod owner;
/// Asking for engines.
pub mod scale;
/// How many engines a model should have.
pub mod autoscaler;
/// What was learned, kept over restarts.
mod learned;
/// The one task that owns the state.
pub mod dispatcher;
/// Which program a call belongs to.
pub mod identity;
/// What a conversation echoes of us.
pub mod echoes;
/// Lists that are read only as far as they may be long.
mod few;
/// Who may come in.
pub mod admission;
/// The router's side of what router and engine say to each other.
pub mod engine_client;
/// Pools and engines that there are.
pub mod discovery;
/// Who may call, and for whom.
pub mod keys;
/// What a tenant may use.
pub mod allowance;
/// OpenTelemetry: programs as traces, calls as spans.
pub mod traces;
/// Programs that ended, in a file.
pub mod programs_log;
/// What is sent or written several at once.
mod batches;
/// The router's metrics.
pub mod metrics;
/// What the dispatcher decides with: table and pools, one event after the other.
pub mod state;
/// Queues, bookings and rules: which call runs where and when.
pub mod scheduler;
/// Programs and calls: what they used, and where they stand.
pub mod process_table;
/// What the dispatcher's state is told, and what it asks for.
pub mod message;
