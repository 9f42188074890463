//! OpenAI's responses for engines that speak its chats. Owns: the translation of requests, answers and streams, and what
//! is kept of responses so that others go on from them. It must not know HTTP, nor what is done with a call.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// A request as a chat.
pub mod request;
/// What a request brings: one item after the other.
mod item;
/// A request's items, page by page.
pub mod listed;
/// A chat's stream as a response's events.
pub mod stream;
/// A chat's whole answer as a response.
pub mod answer;
/// Names of responses and of what is in them.
pub mod ids;
/// The task that keeps responses.
pub mod shelf;
/// Which responses are kept.
pub mod store;
