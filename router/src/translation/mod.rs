//! What the forms beside OpenAI's chats have in common: each is made a chat of, and told of what a chat is answered.
//! Pure: it must not know which forms there are.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Requests that become chats.
pub mod request;
/// Streams that chats' streams become.
pub mod stream;
/// What an engine says against a chat.
pub mod error;
