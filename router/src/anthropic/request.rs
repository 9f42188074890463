//! A request in Anthropic's form, as the chat that engines know. Owns: where each part stands in a chat, and what is
//! refused because no engine does it. Fields that a chat has too, or that nobody knows, pass as they are: their ranges
//! are checked where a chat's are.

use lps_api::openai::{Object, REASONING_SWITCHES};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::translation::request::{self, Content, Error, parts};

/// Fields that ask for what nothing here does.
const REFUSED: [&str; 5] = [
    "compaction",
    "container",
    "context_management",
    "mcp_servers",
    "n",
];

/// How a text begins that some clients put before the system text. It is another one in each request, and no two
/// prompts that begin with it share anything in a prefix cache.
const BILLING: &str = "x-anthropic-billing-header";

/// A chat whose tokens are to be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The model's name as the client wrote it.
    pub model: String,
    /// What an engine of it is asked at `/tokenize`.
    pub body: Vec<u8>,
}

/// A request as it came.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "MessageRequest")]
pub struct Request {
    /// The conversation.
    #[schemars(length(min = 1))]
    messages: Vec<Message>,
    /// Stands before it.
    system: Option<Content<TextBlock>>,
    /// What the model may call: tools of the client's.
    tools: Option<Vec<Tool>>,
    /// Whether it may, or must.
    tool_choice: Option<ToolChoice>,
    /// Whether the model is to think, and whether that is told.
    thinking: Option<Thinking>,
    /// Texts that end an answer.
    stop_sequences: Option<Vec<String>>,
    /// How the answer is to be.
    output_config: Option<OutputConfig>,
    /// The older name of `output_config.format`.
    output_format: Option<OutputFormat>,
    #[serde(flatten)]
    rest: Object,
}

/// One message.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicMessage")]
struct Message {
    role: Role,
    content: Content<Block>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AnthropicRole")]
enum Role {
    User,
    Assistant,
    System,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum TextBlock {
    Text { text: String },
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Object,
    },
    ToolResult {
        tool_use_id: String,
        content: Option<Content<TextBlock>>,
    },
    /// What the model thought before it answered.
    Thinking {
        thinking: String,
    },
    /// The same as only Anthropic can read it.
    RedactedThinking,
}

/// What the model may call.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicTool")]
struct Tool {
    /// Absent or `custom`: the client runs it. Others would be run by Anthropic, or are known to its models.
    r#type: Option<String>,
    name: String,
    description: Option<String>,
    input_schema: Option<Object>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "AnthropicToolChoice")]
enum ToolChoice {
    Auto {
        #[serde(default)]
        disable_parallel_tool_use: bool,
    },
    None,
    Any {
        #[serde(default)]
        disable_parallel_tool_use: bool,
    },
    Tool {
        name: String,
        #[serde(default)]
        disable_parallel_tool_use: bool,
    },
}

impl ToolChoice {
    /// What a chat says for it; `None` where that is its default.
    fn of_chat(&self) -> Option<Value> {
        match self {
            Self::Auto { .. } | Self::None => None,
            Self::Any { .. } => Some(json!("required")),
            Self::Tool { name, .. } => {
                Some(json!({"type": "function", "function": {"name": name}}))
            }
        }
    }

    fn is_one_call(&self) -> bool {
        match self {
            Self::None => false,
            Self::Auto {
                disable_parallel_tool_use,
            }
            | Self::Any {
                disable_parallel_tool_use,
            }
            | Self::Tool {
                disable_parallel_tool_use,
                ..
            } => *disable_parallel_tool_use,
        }
    }
}

/// How the answer is to be. Fields beside these ask for what nothing here does.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OutputConfig {
    format: Option<OutputFormat>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum OutputFormat {
    JsonSchema { schema: Object },
}

/// Whether the model is to think. A budget in tokens has no effect: `max_tokens` bounds thoughts and answer together.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
struct Thinking {
    r#type: ThinkingType,
    display: Option<ThinkingDisplay>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ThinkingType {
    Enabled,
    /// As the model does where nobody asks; but it is told.
    Adaptive,
    /// What it thinks all the same is not told.
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ThinkingDisplay {
    /// As it is: nothing makes a summary here.
    Summarized,
    Omitted,
}

impl Thinking {
    /// Whether the template is to make the model think, where that is not the template's to say.
    const fn is_wanted(self) -> Option<bool> {
        match self.r#type {
            ThinkingType::Enabled => Some(true),
            ThinkingType::Adaptive => None,
            ThinkingType::Disabled => Some(false),
        }
    }

    fn is_told(self) -> bool {
        self.r#type != ThinkingType::Disabled && self.display != Some(ThinkingDisplay::Omitted)
    }
}

/// Asks for thoughts as a chat does. What the client itself says in a chat's fields stands.
fn think(thinking: Option<Thinking>, chat: &mut Object) {
    if let Some(is_wanted) = thinking.and_then(Thinking::is_wanted) {
        let variables = chat.entry("chat_template_kwargs").or_insert(Value::Null);
        if variables.is_null() {
            *variables = json!({});
        }
        if let Value::Object(variables) = variables {
            for name in REASONING_SWITCHES {
                variables.entry(name).or_insert(Value::Bool(is_wanted));
            }
        }
    }
    // Clients that do not ask for thoughts take the first block for the text.
    let is_told = thinking.is_some_and(Thinking::is_told);
    if !is_told && !request::has(chat, "include_reasoning") {
        chat.insert("include_reasoning".to_owned(), Value::Bool(false));
    }
}

impl From<String> for TextBlock {
    fn from(text: String) -> Self {
        Self::Text { text }
    }
}

impl From<String> for Block {
    fn from(text: String) -> Self {
        Self::Text { text }
    }
}

/// The chat that is asked for by a request to create a message.
///
/// # Errors
/// When it is no such request, or asks for what no engine does.
pub fn chat(body: &[u8]) -> Result<Vec<u8>, Error> {
    let chat = request::read::<Request>(body)?.into_chat()?;
    if !request::has(&chat, "max_tokens") {
        return Err(Error::field("max_tokens", "is missing"));
    }
    Ok(request::body(chat))
}

/// The chat of a request to count its tokens.
///
/// # Errors
/// As for [`chat`].
pub fn counted(body: &[u8]) -> Result<Counted, Error> {
    let mut chat = request::read::<Request>(body)?.into_chat()?;
    // An engine serves one model, and may know it by another name.
    match chat.shift_remove("model") {
        Some(Value::String(model)) => {
            let body = request::body(chat);
            Ok(Counted { model, body })
        }
        _ => Err(Error::field("model", "a text: the name of a served model")),
    }
}

impl Request {
    fn check(&self) -> Result<(), Error> {
        request::refuse(&self.rest, &REFUSED)?;
        if request::has(&self.rest, "thread") {
            let reason = "no conversation is kept here; leave it out and send all messages";
            return Err(Error::coded("thread_unsupported_request", "thread", reason));
        }
        if self.messages.is_empty() {
            return Err(Error::field("messages", "has no message"));
        }
        Ok(())
    }

    fn into_chat(self) -> Result<Object, Error> {
        self.check()?;
        let mut chat = self.rest;
        think(self.thinking, &mut chat);
        let mut set = |field: &str, value: Value| chat.insert(field.to_owned(), value);
        let mut said = Vec::with_capacity(self.messages.len() + 1);
        if let Some(system) = self.system {
            said.extend(system_message(system));
        }
        for (index, message) in self.messages.into_iter().enumerate() {
            message.say(index, &mut said)?;
        }
        if said.last().is_some_and(is_begun_answer) {
            set("continue_final_message", Value::Bool(true));
            set("add_generation_prompt", Value::Bool(false));
        }
        set("messages", Value::Array(said));
        // Tools that may not be called are not shown, which is what `none` asks for.
        let shown = match self.tool_choice {
            Some(ToolChoice::None) => None,
            _ => self.tools,
        };
        if let Some(tools) = shown {
            let functions = tools.into_iter().enumerate().map(function);
            set("tools", functions.collect::<Result<_, _>>()?);
        }
        if let Some(choice) = self.tool_choice {
            if let Some(choice) = choice.of_chat() {
                set("tool_choice", choice);
            }
            if choice.is_one_call() {
                set("parallel_tool_calls", Value::Bool(false));
            }
        }
        let newer = self.output_config.and_then(|config| config.format);
        if let Some(OutputFormat::JsonSchema { schema }) = newer.or(self.output_format) {
            let named = json!({"name": "answer", "schema": schema});
            set(
                "response_format",
                json!({"type": "json_schema", "json_schema": named}),
            );
        }
        if let Some(stops) = self.stop_sequences {
            set("stop", json!(stops));
        }
        Ok(chat)
    }
}

/// An answer that the client began: it is to be continued. One that calls tools was the model's own.
fn is_begun_answer(message: &Value) -> bool {
    message["role"] == "assistant" && message.get("tool_calls").is_none()
}

/// The system text as a chat's first message, where there is one.
fn system_message(system: Content<TextBlock>) -> Option<Value> {
    let mut texts = texts(system);
    texts.retain(|text| !text.starts_with(BILLING));
    (!texts.is_empty()).then(|| json!({"role": "system", "content": parts(texts)}))
}

fn texts(content: Content<TextBlock>) -> Vec<String> {
    let text = |block| {
        let TextBlock::Text { text } = block;
        text
    };
    content.0.into_iter().map(text).collect()
}

impl Message {
    /// Appends what it is in a chat: one message, or several where it has results of tools.
    fn say(self, index: usize, said: &mut Vec<Value>) -> Result<(), Error> {
        match self.role {
            Role::User => asked("user", (index, self.content.0), said),
            Role::System => asked("system", (index, self.content.0), said),
            Role::Assistant => answered((index, self.content.0), said),
        }
    }
}

/// Results of tools are messages of their own in a chat; texts stand between them as they were.
fn asked(
    role: &str,
    (index, blocks): (usize, Vec<Block>),
    said: &mut Vec<Value>,
) -> Result<(), Error> {
    let (mut texts_so_far, before) = (Vec::new(), said.len());
    let message = |texts| json!({"role": role, "content": parts(texts)});
    for (place, block) in blocks.into_iter().enumerate() {
        match block {
            Block::Text { text } => texts_so_far.push(text),
            Block::ToolResult {
                tool_use_id,
                content,
            } => {
                if !texts_so_far.is_empty() {
                    said.push(message(std::mem::take(&mut texts_so_far)));
                }
                let content = parts(content.map(texts).unwrap_or_default());
                said.push(json!({"role": "tool", "tool_call_id": tool_use_id, "content": content}));
            }
            Block::ToolUse { .. } => return Err(misplaced((index, place), "tool_use", role)),
            Block::Thinking { .. } | Block::RedactedThinking => {
                return Err(misplaced((index, place), "thinking", role));
            }
        }
    }
    if !texts_so_far.is_empty() || said.len() == before {
        said.push(message(texts_so_far));
    }
    Ok(())
}

fn answered((index, blocks): (usize, Vec<Block>), said: &mut Vec<Value>) -> Result<(), Error> {
    let (mut thoughts, mut texts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for (place, block) in blocks.into_iter().enumerate() {
        match block {
            Block::Thinking { thinking } => thoughts.push(thinking),
            Block::RedactedThinking => {}
            Block::Text { text } => texts.push(text),
            Block::ToolUse { id, name, input } => {
                let function = json!({"name": name, "arguments": Value::Object(input).to_string()});
                calls.push(json!({"id": id, "type": "function", "function": function}));
            }
            Block::ToolResult { .. } => {
                return Err(misplaced((index, place), "tool_result", "assistant"));
            }
        }
    }
    let mut message = json!({"role": "assistant", "content": parts(texts)});
    thoughts.retain(|thought| !thought.is_empty());
    if !thoughts.is_empty() {
        message["reasoning_content"] = Value::String(thoughts.join("\n"));
    }
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    said.push(message);
    Ok(())
}

fn misplaced((index, place): (usize, usize), block: &str, role: &str) -> Error {
    Error::field(
        format!("messages[{index}].content[{place}]"),
        format!("a message of role {role} has no {block}"),
    )
}

fn function((index, tool): (usize, Tool)) -> Result<Value, Error> {
    if let Some(kind) = tool.r#type.filter(|kind| kind != "custom") {
        let reason = format!("{kind} is not run here; only the client's own tools are taken");
        return Err(Error::field(format!("tools[{index}].type"), reason));
    }
    let parameters = tool.input_schema.ok_or_else(|| {
        let field = format!("tools[{index}].input_schema");
        Error::field(field, "is missing")
    })?;
    let mut function = json!({"name": tool.name});
    if let Some(description) = tool.description {
        function["description"] = Value::String(description);
    }
    function["parameters"] = Value::Object(parameters);
    Ok(json!({"type": "function", "function": function}))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
