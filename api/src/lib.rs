//! The words all sides share. It knows no socket, no clock, no tensor and no scheduler.
//!
//! Modules in the order in which data flows: a module uses only those after it.
#![forbid(unsafe_code)]

/// The `LLMProgramServing` resource: what a user asks for.
pub mod resource;
/// Scheduling settings: the same keys in the resource, the router's configuration and the simulator.
pub mod scheduling;
/// OpenAI's requests and responses, the subset that is spoken; unknown fields are kept.
pub mod openai;
/// What router and engine say to each other under `/internal/v1`.
pub mod protocol;
/// Ports, headers, labels, paths and environment names.
pub mod wellknown;
/// Ids of tool calls, and the call that asked.
pub mod tool_call;
/// Durations, token counts and orders, each a type of its own.
pub mod quantity;
/// Names of programs, threads, calls, tenants, models and engines.
pub mod ids;
