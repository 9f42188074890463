//! The engine over HTTP, on the simulated model but where weights matter: what clients and the router see.
#![expect(clippy::unwrap_used, reason = "a test that fails shows where")]

mod answers;
mod bad_input;
mod cuda;
mod embedding_queue;
mod embeddings;
mod failing;
#[cfg(feature = "torch")]
mod numeric_errors;
mod protocol;
mod structured;
mod support;
