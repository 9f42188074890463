//! A chat's whole answer as a message. Owns: what a message looks like, for streams too.

use lps_api::openai::{ChatChoice, ChatCompletion, FinishReason, Object, ToolCall, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Clients want a signature of thoughts, and some drop thoughts or take them for text where it is empty. Nothing is signed
/// here and no signature is looked at, which it says.
pub(super) const SIGNATURE: &str = "unsigned";

/// Why a message ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Ending {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<String>,
}

impl Ending {
    pub(super) fn new(finish: FinishReason, stop: Option<String>) -> Self {
        let (reason, stop_sequence) = match (finish, stop) {
            (FinishReason::Stop, Some(stop)) => ("stop_sequence", Some(stop)),
            (FinishReason::Stop, None) => ("end_turn", None),
            (FinishReason::Length, _) => ("max_tokens", None),
            (FinishReason::ToolCalls, _) => ("tool_use", None),
        };
        Self {
            stop_reason: Some(reason),
            stop_sequence,
        }
    }
}

/// The message `id` that a chat's answer is.
///
/// # Errors
/// When the body is no such answer.
pub fn message(id: &str, body: &[u8]) -> serde_json::Result<Value> {
    let chat: ChatCompletion = serde_json::from_slice(body)?;
    let (mut content, mut ending) = (Vec::new(), Ending::default());
    // A request that asks for several is refused.
    if let Some(choice) = chat.choices.into_iter().next() {
        let ChatChoice {
            message,
            finish_reason,
            stop_reason,
            ..
        } = choice;
        let thoughts = message.reasoning_content.filter(|text| !text.is_empty());
        content.extend(thoughts.map(|text| thinking_block(&text, SIGNATURE)));
        let text = message.content.filter(|text| !text.is_empty());
        content.extend(text.map(|text| text_block(&text)));
        let calls = message.tool_calls.iter();
        content.extend(calls.map(|call| tool_block(call, &input(call))));
        ending = finish_reason.map_or(ending, |finish| Ending::new(finish, stop_reason));
    }
    let usage = chat.usage.unwrap_or_default();
    let mut message = object((id, &chat.model), content, (&ending, usage));
    if let Some(figures) = chat.lps {
        message["lps"] = json!(figures);
    }
    Ok(message)
}

/// How many tokens a chat has, by the engine's answer to `/tokenize`.
///
/// # Errors
/// When the body is no such answer.
pub fn count(body: &[u8]) -> serde_json::Result<Value> {
    #[derive(Deserialize)]
    struct Tokens {
        count: u64,
    }
    let tokens: Tokens = serde_json::from_slice(body)?;
    Ok(json!({"input_tokens": tokens.count}))
}

pub(super) fn object(
    (id, model): (&str, &str),
    content: Vec<Value>,
    (ending, figures): (&Ending, Usage),
) -> Value {
    json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": ending.stop_reason, "stop_sequence": ending.stop_sequence,
        "usage": usage(figures),
    })
}

pub(super) fn thinking_block(thinking: &str, signature: &str) -> Value {
    json!({"type": "thinking", "thinking": thinking, "signature": signature})
}

pub(super) fn text_block(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

pub(super) fn tool_block(call: &ToolCall, input: &Object) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.function.name, "input": input})
}

/// What a tool is called with. A model may write arguments that are no object; clients know nothing else, and a tool
/// that wants something else refuses either.
pub(super) fn input(call: &ToolCall) -> Object {
    let arguments = &call.function.arguments;
    serde_json::from_str(arguments)
        .unwrap_or_else(|_| Object::from_iter([("arguments".to_owned(), json!(arguments))]))
}

/// Anthropic's input tokens are those that no cache had.
pub(super) fn usage(figures: Usage) -> Value {
    let cached = figures.prompt_tokens_details.cached_tokens;
    json!({
        "input_tokens": figures.prompt_tokens.saturating_sub(cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": figures.completion_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(choice: &Value) -> Value {
        let body = json!({
            "id": "chatcmpl-c~0", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [choice],
            "usage": {
                "prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        });
        message("msg_c", body.to_string().as_bytes()).unwrap()
    }

    fn choice(message: &Value, finish: &str, stop: Option<&str>) -> Value {
        json!({"index": 0, "message": message, "finish_reason": finish, "stop_reason": stop})
    }

    #[test]
    fn a_text_is_a_message_with_one_block() {
        let said = json!({"role": "assistant", "content": "Hi"});
        let expected = json!({
            "id": "msg_c", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": "Hi"}],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {
                "input_tokens": 5, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 4, "output_tokens": 2,
            },
        });
        assert_eq!(chat(&choice(&said, "stop", None)), expected);
    }

    #[test]
    fn every_end_has_its_reason() {
        let said = json!({"role": "assistant", "content": "Hi"});
        for (finish, stop, reason, sequence) in [
            ("stop", None, "end_turn", Value::Null),
            ("stop", Some("END"), "stop_sequence", json!("END")),
            ("length", None, "max_tokens", Value::Null),
            ("tool_calls", Some("END"), "tool_use", Value::Null),
        ] {
            let message = chat(&choice(&said, finish, stop));
            assert_eq!(
                (&message["stop_reason"], &message["stop_sequence"]),
                (&json!(reason), &sequence)
            );
        }
    }

    #[test]
    fn calls_of_tools_follow_the_text_and_keep_their_ids() {
        let call = |id: &str, arguments: &str| {
            let function = json!({"name": "add", "arguments": arguments});
            json!({"id": id, "type": "function", "function": function})
        };
        let calls = [
            call("call_1", r#"{"b": 1, "a": [2.0]}"#),
            call("call_2", "[1]"),
        ];
        let said = json!({"role": "assistant", "content": "Let me see.", "tool_calls": calls});
        let message = chat(&choice(&said, "tool_calls", None));
        let block = |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "add", "input": input});
        let expected = json!([
            {"type": "text", "text": "Let me see."},
            block("call_1", json!({"b": 1, "a": [2.0]})),
            block("call_2", json!({"arguments": "[1]"})),
        ]);
        assert_eq!(message["content"], expected);
    }

    #[test]
    fn thoughts_stand_before_the_text() {
        let thoughts = json!({"type": "thinking", "thinking": "Hm.", "signature": "unsigned"});
        let text = json!({"type": "text", "text": "Hi"});
        for (said, expected) in [
            (json!("Hi"), json!([thoughts, text])),
            (Value::Null, json!([thoughts])),
        ] {
            let said = json!({"role": "assistant", "reasoning_content": "Hm.", "content": said});
            assert_eq!(chat(&choice(&said, "stop", None))["content"], expected);
        }
    }

    #[test]
    fn an_answer_without_text_has_no_block() {
        for content in [Value::Null, json!("")] {
            let said = json!({"role": "assistant", "content": content});
            assert_eq!(chat(&choice(&said, "stop", None))["content"], json!([]));
        }
    }
}
