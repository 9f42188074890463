//! What requests and answers look like where no type of ours is read from or written as the whole. Owns: schemas only; the
//! fuzzer holds answers to them.
#![expect(dead_code, reason = "nothing is read or written by these types")]

use lps_api::ids::{self, CallId, ProgramId, TenantId, ThreadId};
use lps_api::openai::Object;
use lps_api::openai::limits::{MESSAGES_MAX, OUTPUT_TOKENS, TEMPERATURE, TOP_K, TOP_P};
use lps_api::openai::message::Message as ChatMessage;
use lps_api::protocol::CallUsage;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::anthropic::request::Request as MessageRequest;
use crate::identity::{BodyId, PARENTS_MAX, ProgramObject};
use crate::responses::request::Request as ResponseRequest;

/// Whose a request is.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) struct Tenant {
    /// Whose the request is; with keys it is the key's tenant.
    x_tenant_id: TenantId,
}

/// Where a call belongs.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
pub(super) struct Identity {
    /// The call's program.
    x_program_id: ProgramId,
    /// Its chain of calls there.
    x_thread_id: ThreadId,
    /// Its name.
    x_call_id: CallId,
    /// The calls that it depends on, with commas.
    #[schemars(schema_with = "ids_with_commas")]
    x_parent_call_ids: String,
    /// Names the call over all attempts at it, where nothing else does.
    #[schemars(length(min = 1))]
    idempotency_key: String,
    /// A name that the answer tells again.
    x_request_id: CallId,
}

fn ids_with_commas(_: &mut SchemaGenerator) -> Schema {
    let one = format!("[{}]+", ids::CHARACTERS);
    json_schema!({"type": "string", "pattern": format!("^({one}(, ?{one})*)?$")})
}

/// A call: what its engine reads, and where it belongs. Fields that are not known are passed on.
#[derive(JsonSchema)]
#[schemars(rename = "{T}")]
pub(super) struct Call<T> {
    #[schemars(flatten)]
    asked: T,
    /// Where it belongs.
    program: Option<ProgramObject>,
    /// Its program, for clients that call it so.
    session_id: Option<BodyId>,
    /// Its program, as Autellix calls it.
    autellix_session_id: Option<BodyId>,
    /// Its thread, as Autellix calls it.
    autellix_thread_id: Option<BodyId>,
    /// Its name, as Autellix calls it.
    autellix_call_id: Option<BodyId>,
    /// The threads that it depends on, as Autellix calls them.
    #[schemars(length(max = PARENTS_MAX))]
    autellix_parent_threads: Option<Vec<BodyId>>,
    /// Output tokens to book for it.
    #[schemars(range(min = *OUTPUT_TOKENS.start(), max = *OUTPUT_TOKENS.end()))]
    expected_output_tokens: Option<i64>,
}

/// What passes to the chat that a request becomes.
#[derive(JsonSchema)]
struct Passed {
    /// Which model.
    model: String,
    /// Whether the answer comes event by event.
    stream: Option<bool>,
    /// 0 = the most likely token each time.
    #[schemars(range(min = *TEMPERATURE.start(), max = *TEMPERATURE.end()))]
    temperature: Option<f64>,
    /// Share of probability that is drawn from.
    #[schemars(range(min = *TOP_P.start(), max = *TOP_P.end()))]
    top_p: Option<f64>,
    /// Number of tokens that are drawn from; 0 or -1 = all.
    #[schemars(range(min = *TOP_K.start(), max = *TOP_K.end()))]
    top_k: Option<i64>,
}

/// A response that is asked for. What else a chat has is taken too.
#[derive(JsonSchema)]
#[schemars(rename = "ResponseRequest")]
pub(super) struct ResponseAsked {
    #[schemars(flatten)]
    request: ResponseRequest,
    #[schemars(flatten)]
    passed: Passed,
}

/// A message that is asked for. What else a chat has is taken too.
#[derive(JsonSchema)]
#[schemars(rename = "MessageRequest")]
pub(super) struct MessageAsked {
    #[schemars(flatten)]
    request: MessageRequest,
    #[schemars(flatten)]
    passed: Passed,
    /// Most output tokens.
    #[schemars(range(min = *OUTPUT_TOKENS.start(), max = *OUTPUT_TOKENS.end()))]
    max_tokens: i64,
}

/// A message whose tokens are to be counted.
#[derive(JsonSchema)]
pub(super) struct MessageTokens {
    #[schemars(flatten)]
    request: MessageRequest,
    /// Which model.
    model: String,
}

/// How many there are.
#[derive(JsonSchema)]
pub(super) struct Counted {
    /// Tokens of the chat.
    input_tokens: u64,
}

/// What is to be tokens.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Tokenise {
    Text(TokeniseText),
    Chat(TokeniseChat),
}

/// A text that is to be tokens.
#[derive(JsonSchema)]
pub(super) struct TokeniseText {
    /// Which model; where there is one only, it.
    model: Option<String>,
    prompt: String,
    /// Whether special tokens are added; yes by default.
    add_special_tokens: Option<bool>,
}

/// A chat that is to be tokens.
#[derive(JsonSchema)]
pub(super) struct TokeniseChat {
    /// Which model; where there is one only, it.
    model: Option<String>,
    #[schemars(length(min = 1, max = MESSAGES_MAX))]
    messages: Vec<ChatMessage>,
    /// What the model may call, as its template reads it.
    tools: Option<Vec<Object>>,
    /// Whether special tokens are added; no by default.
    add_special_tokens: Option<bool>,
}

/// Token ids.
#[derive(JsonSchema)]
pub(super) struct TokenIds {
    tokens: Vec<u32>,
    /// How many.
    count: u32,
    /// Longest prompt plus output of the model.
    max_model_len: u32,
}

/// What is to be text.
#[derive(JsonSchema)]
pub(super) struct Detokenise {
    /// Which model; where there is one only, it.
    model: Option<String>,
    tokens: Vec<u32>,
}

/// A text.
#[derive(JsonSchema)]
pub(super) struct Untokenised {
    prompt: String,
}

/// A response, as far as it is known.
#[derive(JsonSchema)]
pub(super) struct Response {
    id: String,
    #[schemars(extend("const" = "response"))]
    object: String,
    /// Seconds since 1970.
    created_at: u64,
    #[schemars(extend("enum" = ["in_progress", "completed", "incomplete", "failed", "cancelled"]))]
    status: String,
    error: Option<ResponseError>,
    incomplete_details: Option<Object>,
    model: String,
    /// What the model said and called.
    output: Vec<Object>,
    usage: Option<ResponseUsage>,
    /// Figures for the router.
    #[schemars(skip_serializing_if = "Option::is_none")]
    lps: Option<CallUsage>,
}

/// Why a response failed.
#[derive(JsonSchema)]
struct ResponseError {
    code: String,
    message: String,
}

/// Figures of a response.
#[derive(JsonSchema)]
struct ResponseUsage {
    input_tokens: u32,
    input_tokens_details: Object,
    output_tokens: u32,
    output_tokens_details: Object,
    total_tokens: u32,
}

/// A response that is kept no more.
#[derive(JsonSchema)]
pub(super) struct Deleted {
    id: String,
    #[schemars(extend("const" = "response"))]
    object: String,
    deleted: bool,
}

/// A page of items.
#[derive(JsonSchema)]
pub(super) struct InputItems {
    #[schemars(extend("const" = "list"))]
    object: String,
    first_id: String,
    last_id: String,
    has_more: bool,
    data: Vec<Object>,
}

/// A message of the model's.
#[derive(JsonSchema)]
#[schemars(rename = "AnthropicAnswer")]
pub(super) struct Message {
    id: String,
    #[schemars(extend("const" = "message"))]
    r#type: String,
    #[schemars(extend("const" = "assistant"))]
    role: String,
    model: String,
    /// What the model said and called.
    content: Vec<Object>,
    #[schemars(extend("enum" = ["end_turn", "max_tokens", "stop_sequence", "tool_use", null]))]
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    usage: MessageUsage,
    /// Figures for the router.
    #[schemars(skip_serializing_if = "Option::is_none")]
    lps: Option<CallUsage>,
}

/// Figures of a message.
#[derive(JsonSchema)]
struct MessageUsage {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
}

/// An error in Anthropic's shape.
#[derive(JsonSchema)]
#[schemars(rename = "AnthropicError")]
pub(super) struct MessageError {
    #[schemars(extend("const" = "error"))]
    r#type: String,
    error: MessageErrorObject,
    /// Figures of a call that had started.
    #[schemars(skip_serializing_if = "Option::is_none")]
    lps: Option<CallUsage>,
}

/// What is wrong.
#[derive(JsonSchema)]
#[schemars(rename = "AnthropicErrorObject")]
struct MessageErrorObject {
    r#type: String,
    message: String,
    /// Our own code, as `error_code`.
    #[schemars(skip_serializing_if = "Option::is_none")]
    details: Option<Object>,
}

/// An OpenAPI document.
#[derive(JsonSchema)]
#[schemars(rename = "OpenApi")]
pub(super) struct Document {
    /// Which OpenAPI it is written in.
    openapi: String,
    info: Object,
    paths: Object,
    components: Object,
}
