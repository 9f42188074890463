//! Chats' streams as engines tell them, and all the events that one becomes, for the tests of each form.

use serde_json::json;

use super::*;

/// A chunk of a chat with `more` than its head.
pub fn data(more: &Value) -> String {
    let mut chunk = json!({
        "id": "chatcmpl-c~0", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [],
    });
    for (key, value) in more.as_object().unwrap() {
        chunk[key] = value.clone();
    }
    format!("data: {chunk}\n\n")
}

/// A chunk of its only choice.
pub fn chunk(delta: &Value, finish: Option<&str>) -> String {
    data(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
}

/// What the call cost, by our own count.
pub fn figures() -> Value {
    json!({"prompt_tokens": 9, "cached_tokens": 4, "output_tokens": 3, "executor_us": 7})
}

/// The same in the words of chats.
pub fn usage() -> Value {
    json!({
        "prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4},
    })
}

/// What stands after all choices.
pub fn last() -> String {
    let figures = data(&json!({"usage": usage(), "lps": figures()}));
    format!("{figures}data: [DONE]\n\n")
}

/// All that comes of a stream that is cut at these places.
pub fn run(target: impl Target, whole: &str, cuts: &[usize]) -> String {
    let mut cuts = cuts.to_vec();
    cuts.extend([0, whole.len()]);
    cuts.sort_unstable();
    let mut stream = Stream::new(target);
    let mut told = Vec::new();
    for pair in cuts.windows(2) {
        told.extend_from_slice(&stream.push(&whole.as_bytes()[pair[0]..pair[1]]));
    }
    told.extend_from_slice(&stream.finish());
    String::from_utf8(told).unwrap()
}

/// The objects of a stream's events, each of which is named as its type says.
pub fn told(target: impl Target, stream: &str) -> Vec<Value> {
    let whole = run(target, stream, &[]);
    let events = whole.split_terminator("\n\n");
    let objects = events.filter_map(|event| {
        let event = event.strip_prefix("event: ")?;
        let (name, data) = event.split_once("\ndata: ").unwrap();
        let object: Value = serde_json::from_str(data).unwrap();
        assert_eq!(object["type"], name);
        Some(object)
    });
    objects.collect()
}

#[test]
fn the_parts_of_a_chunk_come_in_the_order_in_which_they_were_said() {
    let begun = json!({"index": 1, "id": "call_1", "function": {"name": "add", "arguments": "{"}});
    let more = json!({"index": 0, "function": {"arguments": "}"}});
    let delta = json!({"tool_calls": [begun, more], "content": "Hi", "reasoning_content": "Hm."});
    let delta = serde_json::from_value(delta).unwrap();
    let told = parts(&delta).map(|part| match part {
        Part::Arguments(text) => format!("arguments {text}"),
        Part::Thoughts(text) => format!("thoughts {text}"),
        Part::Text(text) => format!("text {text}"),
        Part::Call(call) => format!("call {}", call.id),
    });
    let told: Vec<String> = told.collect();
    assert_eq!(
        told,
        ["arguments }", "thoughts Hm.", "text Hi", "call call_1"]
    );
}
