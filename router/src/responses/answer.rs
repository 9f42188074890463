//! A chat's whole answer as a response. Owns: what a response looks like, for streams too.

use lps_api::openai::{
    Answer, AssistantMessage, ChatCompletion, ErrorObject, FinishReason, Object, ToolCall, Usage,
};
use lps_api::protocol::CallUsage;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::responses::ids;

pub(super) const IN_PROGRESS: &str = "in_progress";
pub(super) const COMPLETED: &str = "completed";
pub(super) const INCOMPLETE: &str = "incomplete";
const FAILED: &str = "failed";
const CANCELLED: &str = "cancelled";

/// Which response it is.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) call: String,
    created: u64,
    model: String,
}

impl Head {
    pub(super) fn of<C>(chat: &Answer<C>) -> Self {
        Self {
            call: ids::call_of_chat(&chat.id).to_owned(),
            created: chat.created,
            model: chat.model.clone(),
        }
    }
}

/// What is known of an answer at its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    pub(super) finish: Option<FinishReason>,
    pub(super) usage: Option<Usage>,
    pub(super) lps: Option<CallUsage>,
}

impl Ending {
    /// Of the response, and of words that stand last in it.
    pub(super) fn status(&self) -> &'static str {
        match self.finish {
            Some(FinishReason::Length) => INCOMPLETE,
            _ => COMPLETED,
        }
    }
}

/// The response that a chat's answer is; `told` is what it repeats of its request.
///
/// # Errors
/// When the body is no such answer.
pub fn whole(told: &Object, body: &[u8]) -> serde_json::Result<Value> {
    let chat: ChatCompletion = serde_json::from_slice(body)?;
    let head = Head::of(&chat);
    let mut ending = Ending {
        finish: None,
        usage: chat.usage,
        lps: chat.lps,
    };
    let mut output = Vec::new();
    // A request that asks for several is refused.
    if let Some(choice) = chat.choices.into_iter().next() {
        ending.finish = choice.finish_reason;
        let AssistantMessage {
            reasoning_content,
            content,
            tool_calls: calls,
            ..
        } = choice.message;
        let said = [
            (Saying::Thoughts, reasoning_content),
            (Saying::Text, content),
        ];
        let said = said.into_iter().filter_map(|(kind, text)| {
            let text = text.filter(|text| !text.is_empty())?;
            Some((kind, text))
        });
        let mut said = said.peekable();
        while let Some((kind, text)) = said.next() {
            let is_last = said.peek().is_none() && calls.is_empty();
            let status = if is_last { ending.status() } else { COMPLETED };
            let id = kind.id(&head.call, output.len());
            output.push(kind.item(&id, status, &[kind.part(&text)]));
        }
        for call in &calls {
            let id = ids::function(&head.call, output.len());
            output.push(function(&id, call_status(call), call));
        }
    }
    Ok(ended(told, &head, &output, &ending))
}

/// A response that its model ended, or its limit.
pub(super) fn ended(told: &Object, head: &Head, output: &[Value], ending: &Ending) -> Value {
    let mut response = object(told, head, ending.status(), output);
    if ending.status() == INCOMPLETE {
        response["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    response["usage"] = usage(ending.usage.unwrap_or_default());
    if let Some(figures) = ending.lps {
        response["lps"] = json!(figures);
    }
    response
}

/// A response that broke off.
pub(super) fn failed(told: &Object, head: &Head, output: &[Value], error: &ErrorObject) -> Value {
    let is_cancelled = error.code.as_deref() == Some("cancelled");
    let status = if is_cancelled { CANCELLED } else { FAILED };
    let mut response = object(told, head, status, output);
    let code = match error.r#type.as_str() {
        "rate_limit_error" => "rate_limit_exceeded",
        "invalid_request_error" if !is_cancelled => "invalid_prompt",
        _ => "server_error",
    };
    response["error"] = json!({"code": code, "message": error.message});
    response
}

/// A response at a stage; what is known at its end only is null.
pub(super) fn object(told: &Object, head: &Head, status: &str, output: &[Value]) -> Value {
    let mut response = json!({
        "id": ids::response(&head.call), "object": "response", "created_at": head.created, "status": status,
        "error": null, "incomplete_details": null, "model": head.model, "output": output, "usage": null,
    });
    for (field, value) in told {
        response[field] = value.clone();
    }
    response
}

/// A response that is cancelled, as far as it is known.
pub fn cancelled(mut response: Value) -> Value {
    response["status"] = json!(CANCELLED);
    response
}

/// Whether nobody knows yet how it ends.
pub fn is_in_progress(response: &Value) -> bool {
    response["status"] == IN_PROGRESS
}

/// What a model says in words: an item with one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saying {
    Thoughts,
    Text,
}

impl Saying {
    /// The id of its item, by its place in its response.
    pub(super) fn id(self, call: &str, place: usize) -> String {
        match self {
            Self::Thoughts => ids::reasoning(call, place),
            Self::Text => ids::message(call, place),
        }
    }

    /// Its item. Thoughts stand there as they are: nothing makes a summary here.
    pub(super) fn item(self, id: &str, status: &str, content: &[Value]) -> Value {
        match self {
            Self::Thoughts => {
                json!({"type": "reasoning", "id": id, "status": status, "summary": [], "content": content})
            }
            Self::Text => {
                json!({"type": "message", "id": id, "status": status, "role": "assistant", "content": content})
            }
        }
    }

    pub(super) fn part(self, text: &str) -> Value {
        match self {
            Self::Thoughts => json!({"type": "reasoning_text", "text": text}),
            Self::Text => {
                json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
            }
        }
    }
}

/// Of a call of which nothing more comes. What a limit cut may be the text after it, so only its arguments say it.
pub(super) fn call_status(call: &ToolCall) -> &'static str {
    match serde_json::from_str::<IgnoredAny>(&call.function.arguments) {
        Ok(_) => COMPLETED,
        Err(_) => INCOMPLETE,
    }
}

pub(super) fn function(id: &str, status: &str, call: &ToolCall) -> Value {
    json!({
        "type": "function_call", "id": id, "status": status, "call_id": call.id,
        "name": call.function.name, "arguments": call.function.arguments,
    })
}

fn usage(figures: Usage) -> Value {
    let cached = figures.prompt_tokens_details.cached_tokens;
    json!({
        "input_tokens": figures.prompt_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": figures.completion_tokens,
        "output_tokens_details": figures.completion_tokens_details.unwrap_or_default(),
        "total_tokens": figures.total_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(message: &Value, finish: &str) -> Value {
        let choice = json!({"index": 0, "message": message, "finish_reason": finish});
        let body = json!({
            "id": "chatcmpl-c~0", "object": "chat.completion", "created": 7, "model": "m",
            "choices": [choice],
            "usage": {
                "prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
        });
        let told = Object::from_iter([("store".to_owned(), json!(true))]);
        whole(&told, body.to_string().as_bytes()).unwrap()
    }

    fn text(status: &str, text: &str) -> Value {
        json!({
            "type": "message", "id": "msg_c~0_0", "status": status, "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
        })
    }

    #[test]
    fn a_text_is_a_response_with_one_message() {
        let said = json!({"role": "assistant", "content": "Hi"});
        let expected = json!({
            "id": "resp_c~0", "object": "response", "created_at": 7, "status": "completed",
            "error": null, "incomplete_details": null, "model": "m", "output": [text("completed", "Hi")],
            "usage": {
                "input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
                "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 11,
            },
            "store": true,
        });
        assert_eq!(response(&said, "stop"), expected);
    }

    #[test]
    fn a_text_that_reached_its_limit_is_incomplete() {
        let said = json!({"role": "assistant", "content": "Hi"});
        let response = response(&said, "length");
        assert_eq!(response["status"], "incomplete");
        assert_eq!(
            response["incomplete_details"],
            json!({"reason": "max_output_tokens"})
        );
        assert_eq!(response["output"], json!([text("incomplete", "Hi")]));
    }

    #[test]
    fn thoughts_are_an_item_of_their_own_and_incomplete_where_they_are_the_last() {
        let thoughts = |status: &str| {
            json!({
                "type": "reasoning", "id": "rs_c~0_0", "status": status, "summary": [],
                "content": [{"type": "reasoning_text", "text": "Hm."}],
            })
        };
        let said = |content: Value| json!({"role": "assistant", "reasoning_content": "Hm.", "content": content});
        let mut answer = text("completed", "Hi");
        answer["id"] = json!("msg_c~0_1");
        assert_eq!(
            response(&said(json!("Hi")), "stop")["output"],
            json!([thoughts("completed"), answer])
        );
        assert_eq!(
            response(&said(Value::Null), "length")["output"],
            json!([thoughts("incomplete")])
        );
    }

    #[test]
    fn calls_of_functions_follow_the_text_and_keep_their_ids() {
        let call = |id: &str| {
            let function = json!({"name": "add", "arguments": "{\"a\": 1}"});
            json!({"id": id, "type": "function", "function": function})
        };
        let calls = [call("call_c~0_0_0"), call("call_c~0_0_1")];
        let said = json!({"role": "assistant", "content": "Let me see.", "tool_calls": calls});
        let item = |id: &str, call: &str| {
            json!({
                "type": "function_call", "id": id, "status": "completed", "call_id": call,
                "name": "add", "arguments": "{\"a\": 1}",
            })
        };
        let expected = json!([
            text("completed", "Let me see."),
            item("fc_c~0_1", "call_c~0_0_0"),
            item("fc_c~0_2", "call_c~0_0_1"),
        ]);
        assert_eq!(response(&said, "tool_calls")["output"], expected);
    }

    #[test]
    fn a_call_is_incomplete_where_its_arguments_are() {
        for (arguments, expected) in [("{\"a\": 1}", "completed"), ("{\"a\": ", "incomplete")] {
            let function = json!({"name": "add", "arguments": arguments});
            let call = json!({"id": "call_c~0_0_0", "type": "function", "function": function});
            let said = json!({"role": "assistant", "content": "Let me", "tool_calls": [call]});
            let response = response(&said, "length");
            assert_eq!(response["status"], "incomplete");
            assert_eq!(response["output"][1]["status"], expected, "{arguments}");
        }
    }

    #[test]
    fn an_answer_without_text_has_no_message() {
        for content in [Value::Null, json!("")] {
            let said = json!({"role": "assistant", "content": content});
            assert_eq!(response(&said, "stop")["output"], json!([]));
        }
    }
}
