//! Text on both ends of the model: prompts in, streams out. Owns: tokenizer, chat template, incremental
//! detokenising, stop strings, tool calls. Must not know HTTP, and runs outside the engine's thread.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// One choice's text as it grows: tokens in, text that is safe to send out.
pub mod stream;
/// Tool calls in the Hermes form, out of the text of an answer.
pub mod tool_calls;
/// Stop strings, also across tokens.
pub mod stop;
/// Tokens to text, a token at a time.
pub mod detokenizer;
/// Messages and tools to a prompt.
pub mod template;
/// JSON as Python writes it, because templates were trained on that.
pub mod python_json;
/// Text to tokens and back.
pub mod tokenizer;
