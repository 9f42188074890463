//! Streamed answers. Owns: one chat call from its request to its complete message, text shown as it comes.

use serde_json::{Map, Value, json};

use crate::client::{Client, Error, Header};

/// A complete answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The text.
    pub content: String,
    /// The tool calls, in OpenAI's form.
    pub tool_calls: Vec<Value>,
    /// Why it ended.
    pub finish_reason: String,
    /// Executor time that it used, in microseconds, as its engine said; `None` where it did not say.
    pub executor_us: Option<u64>,
}

impl Answer {
    /// The message that continues the conversation.
    pub fn message(&self) -> Value {
        let mut message = json!({"role": "assistant", "content": self.content});
        if !self.tool_calls.is_empty() {
            message["tool_calls"] = Value::Array(self.tool_calls.clone());
        }
        message
    }
}

/// Asks, and hands each piece of text to `show` as it comes.
///
/// # Errors
/// When there is no complete answer.
pub async fn ask(
    client: &Client,
    body: &Value,
    headers: &[Header<'_>],
    mut show: impl FnMut(&str),
) -> Result<Answer, Error> {
    let mut body = body.clone();
    body["stream"] = json!(true);
    let mut events = client
        .stream("/v1/chat/completions", &body, headers)
        .await?;
    let mut parts = Parts::default();
    while let Some(chunk) = events.next().await? {
        if let Some(text) = parts.on(&chunk) {
            show(&text);
        }
    }
    Ok(parts.answer())
}

/// What came so far.
#[derive(Debug, Default)]
struct Parts {
    content: String,
    tool_calls: Vec<Value>,
    finish_reason: String,
    executor_us: Option<u64>,
}

impl Parts {
    /// Takes a chunk; returns its text.
    fn on(&mut self, chunk: &Value) -> Option<String> {
        if let Some(executor_us) = chunk["lps"]["executor_us"].as_u64() {
            self.executor_us = Some(executor_us);
        }
        let choice = &chunk["choices"][0];
        if let Some(reason) = choice["finish_reason"].as_str() {
            reason.clone_into(&mut self.finish_reason);
        }
        for delta in choice["delta"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            self.tool_call(delta);
        }
        let text = choice["delta"]["content"].as_str()?;
        self.content.push_str(text);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Calls come in order, each with id and name once and its arguments in pieces.
    fn tool_call(&mut self, delta: &Value) {
        let index = delta["index"].as_u64().unwrap_or(0);
        if index >= self.tool_calls.len() as u64 {
            self.tool_calls.push(json!({
                "id": "", "type": "function", "function": {"name": "", "arguments": ""}
            }));
        }
        let Some(call) = self.tool_calls.last_mut().and_then(Value::as_object_mut) else {
            return;
        };
        append(call, "id", &delta["id"]);
        if let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) {
            append(function, "name", &delta["function"]["name"]);
            append(function, "arguments", &delta["function"]["arguments"]);
        }
    }

    fn answer(self) -> Answer {
        let Self {
            content,
            tool_calls,
            finish_reason,
            executor_us,
        } = self;
        Answer {
            content,
            tool_calls,
            finish_reason,
            executor_us,
        }
    }
}

fn append(object: &mut Map<String, Value>, key: &str, piece: &Value) {
    if let (Some(Value::String(text)), Some(piece)) = (object.get_mut(key), piece.as_str()) {
        text.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_put_together_from_its_deltas() {
        let mut parts = Parts::default();
        let deltas = [
            json!({"role": "assistant", "content": ""}),
            json!({"content": "Let me"}),
            json!({"content": " see."}),
            json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": ""}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\":"}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
            json!({"tool_calls": [{"index": 1, "id": "c2", "function": {"name": "sub", "arguments": "{}"}}]}),
        ];
        let texts: Vec<_> = deltas
            .iter()
            .filter_map(|delta| {
                parts.on(&json!({"choices": [{"delta": delta, "finish_reason": null}]}))
            })
            .collect();
        assert_eq!(texts, ["Let me", " see."]);
        let last = json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}], "lps": {"executor_us": 7}});
        assert_eq!(parts.on(&last), None);
        let answer = parts.answer();
        assert_eq!(answer.content, "Let me see.");
        assert_eq!(answer.finish_reason, "tool_calls");
        assert_eq!(answer.executor_us, Some(7));
        assert_eq!(answer.tool_calls[0]["function"]["arguments"], "{\"a\":1}");
        assert_eq!(answer.tool_calls[1]["id"], "c2");
        assert_eq!(
            answer.message()["tool_calls"].as_array().map(Vec::len),
            Some(2)
        );
    }
}
