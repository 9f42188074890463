//! Programs for `async-openai`: its calls say which program, thread and parents they have. Owns: handles of programs and
//! threads, and the headers that follow from them. Requests, answers, streams and tries are `async-openai`'s.
//!
//! Modules in the order in which data flows: a module uses only those after it.

#![forbid(unsafe_code)]

/// The way to a router.
mod client;
/// One run of an agent or workflow.
mod program;
/// What the router knows of a program.
mod stats;
/// Chains of calls, and what depends on what.
mod thread;
/// What a program's threads share.
mod run;
/// How a router is spoken to.
mod wire;
/// Why there is no answer.
mod error;

pub use async_openai;
pub use client::Client;
pub use error::Error;
pub use program::{Opening, Program};
pub use stats::{CallStats, Stats};
pub use thread::Thread;
