//! OpenAI's requests and responses, the subset that is spoken, with vLLM's names beside OpenAI's; unknown fields are
//! kept. Owns: names, types and ranges. The latter are checked at the engine's edge.

use serde_json::{Map, Value};

mod request;
mod response;
/// What messages and tools look like.
pub mod message;
/// Ranges of a request's fields.
pub mod limits;

pub use request::{
    ChatRequest, CompletionRequest, EmbeddingRequest, FieldError, Generation, OneOrMany, Other,
    Prompt, StreamOptions,
};
pub use response::{
    Answer, AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatLogprobs,
    Completion, CompletionChoice, CompletionLogprobs, CompletionTokensDetails, Delta, Embedding,
    EmbeddingList, EmbeddingUsage, ErrorBody, ErrorObject, FinishReason, FunctionCall,
    FunctionDelta, Model, ModelList, PromptTokensDetails, TokenLogprob, ToolCall, ToolCallDelta,
    TopLogprob, Usage, Vector,
};

/// A JSON object whose keys keep their order.
pub type Object = Map<String, Value>;

/// Variables of a template: by one of them most that can do without reasoning are told whether to.
pub const REASONING_SWITCHES: [&str; 2] = ["enable_thinking", "thinking"];
