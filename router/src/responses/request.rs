//! A request for a response, as the chat that engines know. Owns: where each part stands in a chat, and what is refused
//! because no engine does it. Fields that a chat has too, or that nobody knows, pass as they are: their ranges are checked
//! where a chat's are.

use std::borrow::Cow;

use lps_api::openai::Object;
use lps_api::openai::limits::OUTPUT_TOKENS;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::echoes::Echoes;
use crate::responses::item::{Item, Part, Role, Said};
use crate::translation::request::{self, Content, Error};

/// Fields that only come back in the answer; it is kept, so they are short. OpenAI's `metadata` has 16 pairs of short texts.
const REPEATED: [&str; 5] = [
    "metadata",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "user",
];
const REPEATED_BYTES_MAX: usize = 16 << 10;

/// Fields that ask for what nothing here does.
const REFUSED: [&str; 5] = [
    "context_management",
    "conversation",
    "moderation",
    "n",
    "prompt",
];
/// Fields that mean something else in a chat.
const NOT_A_CHATS: [&str; 2] = ["stream_options", "top_logprobs"];
/// What else an answer may bring; all others are of tools and models that are not here, and make no difference.
const LOGPROBS: &str = "message.output_text.logprobs";

/// A request as it came.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// What is answered: a text, or items.
    input: Content<Given>,
    /// Stands before all items, and is not kept.
    instructions: Option<String>,
    /// What the model may call: functions of the client's.
    tools: Option<Vec<Object>>,
    /// Whether it may, or must.
    tool_choice: Option<Value>,
    /// The form of the text, as its `format`.
    text: Option<Object>,
    /// What else the answer is to tell.
    include: Option<Vec<String>>,
    /// Most output tokens.
    #[schemars(range(min = *OUTPUT_TOKENS.start(), max = *OUTPUT_TOKENS.end()))]
    max_output_tokens: Option<u64>,
    /// The response that this one goes on from.
    previous_response_id: Option<String>,
    /// Whether it is kept; yes by default.
    store: Option<bool>,
    /// Not to be had.
    #[schemars(extend("enum" = [false, null]))]
    background: Option<bool>,
    #[serde(flatten)]
    rest: Object,
}

/// An item that is not looked into yet.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Given(Value);

impl JsonSchema for Given {
    fn schema_name() -> Cow<'static, str> {
        "InputItem".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<Item>();
        let message = json!({
            "type": "object",
            "properties": {
                "role": generator.subschema_for::<Role>(),
                "content": generator.subschema_for::<Content<Part>>(),
            },
            "required": ["role", "content"],
        });
        json_schema!({
            "description": "One item; one without a type is a message.",
            "anyOf": [item, message],
        })
    }
}

impl From<String> for Given {
    fn from(text: String) -> Self {
        let content = json!([{"type": "input_text", "text": text}]);
        Self(json!({"type": "message", "role": "user", "content": content}))
    }
}

/// What a request asks for.
#[derive(Debug)]
pub struct Asked {
    /// What an engine is asked.
    pub chat: Vec<u8>,
    /// Calls of ours that the conversation goes on from.
    pub echoes: Option<Echoes>,
    /// What the response repeats of it.
    pub told: Object,
    /// All items, those before it included.
    pub input: Vec<Value>,
    /// Whether the response is to be kept.
    pub is_kept: bool,
}

impl Request {
    /// Reads one.
    ///
    /// # Errors
    /// When it is no such request.
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        request::read(body)
    }

    /// The response that it goes on from.
    pub fn previous(&self) -> Option<&str> {
        self.previous_response_id.as_deref()
    }

    /// What it asks for, after the items that went `before` it.
    ///
    /// # Errors
    /// When that is nothing that an engine does.
    pub fn asked(self, before: Vec<Value>) -> Result<Asked, Error> {
        self.check()?;
        let told = self.told();
        let begun = before.len();
        let mut input = before;
        input.extend(self.input.0.into_iter().map(|Given(item)| item));
        let (mut said, mut echoes) = (Said::default(), Vec::new());
        if let Some(instructions) = self.instructions {
            said.other(json!({"role": "system", "content": instructions}));
        }
        for (place, item) in input.iter().enumerate() {
            let item = Item::read(place.saturating_sub(begun), item.clone())?;
            echoes.extend(item.echo());
            item.say(&mut said);
        }
        let said = said.end();
        if said.is_empty() {
            return Err(Error::field("input", "has no message"));
        }
        let mut chat = self.rest;
        chat.retain(|field, _| !NOT_A_CHATS.contains(&field.as_str()));
        let effort = chat.get("reasoning").and_then(|how| how.get("effort"));
        let effort = effort.filter(|effort| !effort.is_null()).cloned();
        let mut set = |field: &str, value: Value| chat.insert(field.to_owned(), value);
        set("messages", Value::Array(said));
        if let Some(tokens) = self.max_output_tokens {
            set("max_completion_tokens", json!(tokens));
        }
        if let Some(effort) = effort {
            set("reasoning_effort", effort);
        }
        if let Some(tools) = self.tools {
            let functions = tools.into_iter().enumerate().map(function);
            set("tools", functions.collect::<Result<_, _>>()?);
        }
        if let Some(choice) = self.tool_choice {
            set("tool_choice", tool_choice(choice)?);
        }
        if let Some(format) = self.text.and_then(response_format).transpose()? {
            set("response_format", format);
        }
        Ok(Asked {
            chat: request::body(chat),
            echoes: Echoes::of(echoes),
            told,
            input,
            is_kept: self.store.unwrap_or(true),
        })
    }

    fn check(&self) -> Result<(), Error> {
        request::refuse(&self.rest, &REFUSED)?;
        if self.background == Some(true) {
            let reason = "nothing runs without its client here; leave it out, and stream";
            return Err(Error::field("background", reason));
        }
        if self.max_output_tokens == Some(0) {
            return Err(Error::field("max_output_tokens", "is 1 or more"));
        }
        for field in REPEATED {
            let long = self.rest.get(field).map(|value| value.to_string().len());
            if let Some(bytes) = long.filter(|bytes| *bytes > REPEATED_BYTES_MAX) {
                let reason = format!("has {bytes} bytes; at most {REPEATED_BYTES_MAX} are taken");
                return Err(Error::field(field, reason));
            }
        }
        let rivals = self.rest.get("top_logprobs").and_then(Value::as_u64);
        if rivals.is_some_and(|rivals| rivals > 0) {
            let reason = "log-probabilities are told by /v1/chat/completions only";
            return Err(Error::field("top_logprobs", reason));
        }
        let mut include = self.include.iter().flatten();
        if include.any(|what| what == LOGPROBS) {
            let reason = format!("{LOGPROBS} is told by /v1/chat/completions only");
            return Err(Error::field("include", reason));
        }
        Ok(())
    }

    /// Clients expect these fields; what was not asked for stands as it is by default.
    fn told(&self) -> Object {
        let or = |field: &str, default: Value| {
            let asked = self.rest.get(field).filter(|value| !value.is_null());
            asked.cloned().unwrap_or(default)
        };
        let plain = || Object::from_iter([("format".to_owned(), json!({"type": "text"}))]);
        let told = json!({
            "background": false,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": or("metadata", json!({})),
            "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
            "previous_response_id": self.previous_response_id,
            "prompt_cache_key": or("prompt_cache_key", Value::Null),
            "reasoning": or("reasoning", Value::Null),
            "safety_identifier": or("safety_identifier", Value::Null),
            "store": self.store.unwrap_or(true),
            "temperature": or("temperature", Value::Null),
            "text": self.text.clone().unwrap_or_else(plain),
            "tool_choice": self.tool_choice.clone().unwrap_or_else(|| json!("auto")),
            "tools": self.tools.as_deref().unwrap_or_default(),
            "top_p": or("top_p", Value::Null),
            "truncation": "disabled",
            "user": or("user", Value::Null),
        });
        match told {
            Value::Object(told) => told,
            _ => unreachable!("it is written as an object"),
        }
    }
}

/// A chat has what a function is in an object of its own.
fn function((place, mut tool): (usize, Object)) -> Result<Value, Error> {
    match tool.shift_remove("type") {
        Some(Value::String(kind)) if kind == "function" => {}
        other => {
            let kind = other.unwrap_or_default();
            let reason = format!(
                "{kind} is not run here; only \"function\", which is the client's own, is taken"
            );
            return Err(Error::field(format!("tools[{place}].type"), reason));
        }
    }
    if !tool.get("name").is_some_and(Value::is_string) {
        return Err(Error::field(format!("tools[{place}].name"), "is missing"));
    }
    tool.retain(|_, value| !value.is_null());
    Ok(json!({"type": "function", "function": tool}))
}

fn tool_choice(choice: Value) -> Result<Value, Error> {
    match &choice {
        Value::String(_) => Ok(choice),
        Value::Object(one) if one.get("type").is_some_and(|kind| kind == "function") => {
            Ok(json!({"type": "function", "function": {"name": one.get("name")}}))
        }
        _ => {
            let reason = "is \"auto\", \"none\", \"required\" or one function";
            Err(Error::field("tool_choice", reason))
        }
    }
}

/// The form of the text, where it is not just text.
fn response_format(mut text: Object) -> Option<Result<Value, Error>> {
    let Some(Value::Object(mut format)) = text.shift_remove("format") else {
        return None;
    };
    let kind = format.shift_remove("type").unwrap_or_default();
    match kind.as_str() {
        Some("text") => None,
        Some("json_object") => Some(Ok(json!({"type": "json_object"}))),
        Some("json_schema") => {
            format.retain(|_, value| !value.is_null());
            Some(Ok(json!({"type": "json_schema", "json_schema": format})))
        }
        _ => {
            let reason = format!("{kind} is none of \"text\", \"json_object\" and \"json_schema\"");
            Some(Err(Error::field("text.format.type", reason)))
        }
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
