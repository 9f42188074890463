//! The engine over HTTP, on the simulated model: what clients and the router see.
#![expect(clippy::unwrap_used, reason = "a test that fails shows where")]

mod answers;
mod bad_input;
mod embedding_queue;
mod embeddings;
mod failing;
mod protocol;
mod support;
