//! Anthropic's messages for engines that speak OpenAI's chats. Owns: the translation of requests, answers, streams and
//! errors. Pure: it must not know HTTP, nor what is done with a call.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// A request as a chat.
pub mod request;
/// A chat's stream as a message's events.
pub mod stream;
/// A chat's whole answer as a message.
pub mod answer;
/// Errors.
pub mod error;
