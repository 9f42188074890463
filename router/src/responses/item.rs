//! What a request brings: messages, calls of functions and their results, one item after the other. Owns: where each stands
//! in a chat, and which call of ours it says that it comes from.

use lps_api::tool_call;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::echoes::Echo;
use crate::responses::ids;
use crate::translation::request::{Content, Error, parts};

/// One item.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "ResponseItem")]
pub(super) enum Item {
    /// Somebody's words.
    Message {
        role: Role,
        content: Content<Part>,
        id: Option<String>,
    },
    /// What the model asked for.
    FunctionCall {
        call_id: String,
        name: String,
        arguments: String,
    },
    /// What came of it.
    FunctionCallOutput {
        call_id: String,
        output: Content<Part>,
    },
    /// What the model thought before what follows: as it was, or in short where nothing else is left of it.
    Reasoning {
        content: Option<Vec<Thought>>,
        summary: Option<Vec<Thought>>,
    },
}

/// A piece of thoughts, or of a summary of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseThought")]
pub(super) struct Thought {
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ResponseRole")]
pub(super) enum Role {
    User,
    Assistant,
    #[serde(alias = "developer")]
    System,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "ResponsePart")]
pub(super) enum Part {
    #[serde(alias = "input_text", alias = "output_text")]
    Text {
        text: String,
    },
    Refusal {
        refusal: String,
    },
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self::Text { text }
    }
}

impl Item {
    /// Reads the item at a place. One without a type is a message.
    pub(super) fn read(place: usize, mut item: Value) -> Result<Self, Error> {
        let Value::Object(fields) = &mut item else {
            // What reads items takes lists for some.
            return Err(Error::field(format!("input[{place}]"), "is no object"));
        };
        fields
            .entry("type")
            .or_insert_with(|| Value::from("message"));
        serde_json::from_value(item)
            .map_err(|error| Error::field(format!("input[{place}]"), error.to_string()))
    }

    /// Appends what it is in a chat.
    pub(super) fn say(self, said: &mut Said) {
        match self {
            Self::Message {
                role: Role::Assistant,
                content,
                ..
            } => said.text(texts(content)),
            Self::Message { role, content, .. } => {
                said.other(json!({"role": role.in_chat(), "content": texts(content)}));
            }
            Self::FunctionCall {
                call_id,
                name,
                arguments,
            } => {
                let function = json!({"name": name, "arguments": arguments});
                said.call(json!({"id": call_id, "type": "function", "function": function}));
            }
            Self::FunctionCallOutput { call_id, output } => {
                let content = texts(output);
                said.other(json!({"role": "tool", "tool_call_id": call_id, "content": content}));
            }
            Self::Reasoning { content, summary } => {
                let thoughts = content.filter(|content| !content.is_empty()).or(summary);
                said.think(thoughts.unwrap_or_default());
            }
        }
    }

    /// Which call of ours it says that it comes from.
    pub(super) fn echo(&self) -> Option<Echo> {
        match self {
            Self::Message { role, id, .. } => (*role == Role::Assistant)
                .then(|| Echo::Said(id.as_deref().and_then(ids::call_of_message))),
            Self::FunctionCall { call_id, .. } => Some(Echo::Said(tool_call::asked_by(call_id))),
            Self::FunctionCallOutput { call_id, .. } => {
                tool_call::asked_by(call_id).map(Echo::Result)
            }
            Self::Reasoning { .. } => None,
        }
    }
}

impl Role {
    const fn in_chat(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
        }
    }
}

fn texts(content: Content<Part>) -> Value {
    let text = |part| match part {
        Part::Text { text } | Part::Refusal { refusal: text } => text,
    };
    parts(content.0.into_iter().map(text).collect())
}

/// A chat's messages, as item after item says them.
#[derive(Debug, Default)]
pub(super) struct Said {
    messages: Vec<Value>,
    /// Thoughts whose item, the one after them, has not come.
    thoughts: Vec<String>,
}

impl Said {
    /// A message that is not the model's. Thoughts before it have no item: they were cut off.
    pub(super) fn other(&mut self, message: Value) {
        self.settle();
        self.messages.push(message);
    }

    /// All messages.
    pub(super) fn end(mut self) -> Vec<Value> {
        self.settle();
        self.messages
    }

    fn settle(&mut self) {
        if !self.thoughts.is_empty() {
            self.models();
        }
    }

    fn text(&mut self, content: Value) {
        if !self.messages.last().is_some_and(is_mute) {
            self.messages.push(blank());
        }
        self.models()["content"] = content;
    }

    fn call(&mut self, call: Value) {
        match &mut self.models()["tool_calls"] {
            Value::Array(calls) => calls.push(call),
            none => *none = json!([call]),
        }
    }

    fn think(&mut self, thoughts: Vec<Thought>) {
        let texts = thoughts.into_iter().map(|thought| thought.text);
        self.thoughts.extend(texts.filter(|text| !text.is_empty()));
    }

    /// The message that calls belong to, and thoughts before them: in a chat they have no messages of their own. Many
    /// templates refuse two of the model's in a row, and results have to follow their calls.
    fn models(&mut self) -> &mut Value {
        if self.messages.last().is_none_or(|last| !is_models(last)) {
            self.messages.push(blank());
        }
        let message = self.messages.last_mut().expect("one stands there by now");
        for text in self.thoughts.drain(..) {
            match &mut message["reasoning_content"] {
                Value::String(before) => {
                    before.push('\n');
                    before.push_str(&text);
                }
                none => *none = Value::String(text),
            }
        }
        message
    }
}

fn blank() -> Value {
    json!({"role": "assistant", "content": ""})
}

fn is_models(message: &Value) -> bool {
    message["role"] == "assistant"
}

/// Whether a message is the model's, and has no text yet.
fn is_mute(message: &Value) -> bool {
    is_models(message) && message["content"] == ""
}
