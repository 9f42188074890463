//! What clients are answered. Owns: the fields' names and types, of whole answers, chunks and errors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::CallUsage;

/// Figures of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of all choices.
    pub completion_tokens: u32,
    /// Both.
    pub total_tokens: u32,
    /// Of the prompt.
    pub prompt_tokens_details: PromptTokensDetails,
    /// Of the choices, where the model may reason before it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<CompletionTokensDetails>,
}

/// Figures of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PromptTokensDetails {
    /// Tokens whose KV came from the prefix cache.
    pub cached_tokens: u32,
}

/// Figures of choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CompletionTokensDetails {
    /// Tokens before the answers.
    pub reasoning_tokens: u32,
}

impl From<CallUsage> for Usage {
    fn from(usage: CallUsage) -> Self {
        let (prompt, output) = (usage.prompt_tokens.0, usage.output_tokens.0);
        Self {
            prompt_tokens: prompt,
            completion_tokens: output,
            total_tokens: prompt.saturating_add(output),
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: usage.cached_tokens.0,
            },
            completion_tokens_details: None,
        }
    }
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended it, or a stop text did.
    Stop,
    /// The limit was reached.
    Length,
    /// The model waits for the results of its tool calls.
    ToolCalls,
}

/// A whole answer, or one chunk of it: `C` is the kind of choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{C}Answer")]
pub struct Answer<C> {
    /// Equal in all chunks.
    pub id: String,
    /// `chat.completion`, `chat.completion.chunk` or `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// What was produced.
    pub choices: Vec<C>,
    /// Figures; in a stream in the last chunk, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The prompt, where `return_token_ids` asked for it; of several prompts the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Figures for the router, in the last chunk or the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lps: Option<CallUsage>,
}

/// A whole answer to a chat.
pub type ChatCompletion = Answer<ChatChoice>;
/// A chunk of the answer to a chat.
pub type ChatChunk = Answer<ChatChunkChoice>;
/// An answer to a plain prompt, whole or in chunks.
pub type Completion = Answer<CompletionChoice>;

/// A whole answer to a request for vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmbeddingList {
    /// `list`.
    pub object: String,
    /// One a text, in their order.
    pub data: Vec<Embedding>,
    /// Which model.
    pub model: String,
    /// Figures.
    pub usage: EmbeddingUsage,
    /// Figures for the router.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lps: Option<CallUsage>,
}

/// One text's vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Embedding {
    /// `embedding`.
    pub object: String,
    /// Which text.
    pub index: u32,
    /// Its vector.
    pub embedding: Vector,
}

/// A vector in one of its two forms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Vector {
    /// Numbers.
    Floats(Vec<f32>),
    /// Base64 of 32-bit floats, least byte first.
    Base64(String),
}

/// Figures of an answer with vectors: nothing is put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EmbeddingUsage {
    /// Tokens of all texts.
    pub prompt_tokens: u32,
    /// The same.
    pub total_tokens: u32,
}

/// One choice of a whole answer to a chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatChoice {
    /// Which.
    pub index: u32,
    /// What the model said.
    pub message: AssistantMessage,
    /// When asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: Option<FinishReason>,
    /// The stop text that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// When asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssistantMessage {
    /// `assistant`.
    pub role: String,
    /// What it reasoned before its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Text; null where it only reasoned or called tools.
    pub content: Option<String>,
    /// Never said by these models; OpenAI's clients expect the field.
    pub refusal: Option<String>,
    /// What it called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// By which the result refers to it.
    pub id: String,
    /// `function`.
    pub r#type: String,
    /// What is called.
    pub function: FunctionCall,
}

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FunctionCall {
    /// Its name.
    pub name: String,
    /// JSON, as text.
    pub arguments: String,
}

/// One choice's part of a chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatChunkChoice {
    /// Which.
    pub index: u32,
    /// What is new.
    pub delta: Delta,
    /// When asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// In the choice's last chunk.
    pub finish_reason: Option<FinishReason>,
    /// The stop text that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// When asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// What is new in a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    /// In the choice's first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What the model reasons before its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What is new of tool calls, one entry a call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta>,
}

/// What is new of one call of a tool: the first has all but, it may be, the arguments, the others have more of those.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ToolCallDelta {
    /// Its place among the choice's calls.
    pub index: u32,
    /// By which the result refers to it; in the call's first delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`; in the call's first delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// What is called.
    pub function: FunctionDelta,
}

/// What is new of what is called.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FunctionDelta {
    /// Its name; in the call's first delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// More of the arguments, which are JSON when put together.
    #[serde(default)]
    pub arguments: String,
}

impl ToolCallDelta {
    /// The call that it begins, with what it has of the arguments; `None`: it goes on with one.
    pub fn begun(&self) -> Option<ToolCall> {
        Some(ToolCall {
            id: self.id.clone()?,
            r#type: "function".to_owned(),
            function: FunctionCall {
                name: self.function.name.clone()?,
                arguments: self.function.arguments.clone(),
            },
        })
    }
}

/// Log-probabilities of a chat's tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatLogprobs {
    /// One entry a token.
    pub content: Vec<TokenLogprob>,
}

/// One token with its rivals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenLogprob {
    /// As text; broken characters are replaced.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The text's bytes.
    pub bytes: Vec<u8>,
    /// The most likely tokens at its place.
    pub top_logprobs: Vec<TopLogprob>,
}

/// One of the most likely tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TopLogprob {
    /// As text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The text's bytes.
    pub bytes: Vec<u8>,
}

/// One choice of an answer to a plain prompt, or its part of a chunk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompletionChoice {
    /// Which; of several prompts first all choices of the first.
    pub index: u32,
    /// Text.
    pub text: String,
    /// When asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended; in a stream in its last chunk.
    pub finish_reason: Option<FinishReason>,
    /// The stop text that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// When asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// Log-probabilities of a plain answer's tokens: lists of equal length.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CompletionLogprobs {
    /// As text.
    pub tokens: Vec<String>,
    /// Of each token.
    pub token_logprobs: Vec<f32>,
    /// The most likely tokens at each place.
    pub top_logprobs: Vec<BTreeMap<String, f32>>,
    /// Where each token begins in the choice's text, in characters.
    pub text_offset: Vec<u32>,
}

/// `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelList {
    /// `list`.
    pub object: String,
    /// The models.
    pub data: Vec<Model>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: String,
    /// Seconds since 1970 at which serving began.
    pub created: u64,
    /// Whose it is.
    pub owned_by: String,
    /// Longest prompt plus output, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u32>,
}

/// The body of an answer that is an error, and the last event of a stream that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: ErrorObject,
    /// Figures of a call that had started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lps: Option<CallUsage>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorObject {
    /// For people.
    pub message: String,
    /// `invalid_request_error`, `rate_limit_error` or `server_error`.
    pub r#type: String,
    /// The field or header at fault.
    pub param: Option<String>,
    /// For programs.
    pub code: Option<String>,
}
