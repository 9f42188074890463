//! Streams of chats against the events that they become.

use proptest::prelude::*;

use super::*;
use crate::translation::stream::tests::{self, chunk, data, figures, last};

fn begun(index: u32, arguments: &str) -> Value {
    let function = json!({"name": "add", "arguments": arguments});
    json!({"index": index, "id": format!("call_{index}"), "type": "function", "function": function})
}

fn more(index: u32, arguments: &str) -> Value {
    json!({"index": index, "function": {"arguments": arguments}})
}

/// Text, a call of a tool in pieces, text again, calls that come whole, and a sign of life between.
fn stream() -> String {
    [
        ": waiting\n\n".to_owned(),
        chunk(&json!({"role": "assistant", "content": ""}), None),
        chunk(&json!({"content": "Hä"}), None),
        chunk(&json!({"content": "?"}), None),
        chunk(&json!({"tool_calls": [begun(0, "")]}), None),
        chunk(&json!({"tool_calls": [more(0, "{\"a\":")]}), None),
        chunk(
            &json!({"content": "do", "tool_calls": [more(0, " \"ä\"}")]}),
            None,
        ),
        chunk(&json!({"content": "ne"}), None),
        chunk(
            &json!({"tool_calls": [begun(1, "[1]"), begun(2, "{\"a\"")]}),
            None,
        ),
        chunk(&json!({}), Some("tool_calls")),
        last(),
    ]
    .concat()
}

fn run(whole: &str, cuts: &[usize]) -> String {
    tests::run(Message::new("msg_c".to_owned()), whole, cuts)
}

fn told(stream: &str) -> Vec<Value> {
    tests::told(Message::new("msg_c".to_owned()), stream)
}

#[test]
fn a_stream_of_text_and_calls_is_a_message_block_by_block() {
    let usage = |input: u32, cached: u32, output: u32| {
        json!({
            "input_tokens": input, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached, "output_tokens": output,
        })
    };
    let start = |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let text = |text: &str| json!({"type": "text_delta", "text": text});
    let input = |json: &str| json!({"type": "input_json_delta", "partial_json": json});
    let stop = |index: u32| json!({"type": "content_block_stop", "index": index});
    let expected = [
        json!({"type": "message_start", "message": {
            "id": "msg_c", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage(0, 0, 0),
        }}),
        start(0, json!({"type": "text", "text": ""})),
        delta(0, text("Hä")),
        delta(0, text("?")),
        stop(0),
        start(
            1,
            json!({"type": "tool_use", "id": "call_0", "name": "add", "input": {}}),
        ),
        delta(1, input("{\"a\":")),
        delta(1, input(" \"ä\"}")),
        stop(1),
        start(2, json!({"type": "text", "text": ""})),
        delta(2, text("do")),
        delta(2, text("ne")),
        stop(2),
        start(
            3,
            json!({"type": "tool_use", "id": "call_1", "name": "add", "input": {}}),
        ),
        delta(3, input("{\"arguments\":\"[1]\"}")),
        stop(3),
        start(
            4,
            json!({"type": "tool_use", "id": "call_2", "name": "add", "input": {}}),
        ),
        delta(4, input("{\"a\"")),
        stop(4),
        json!({
            "type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": usage(5, 4, 3), "lps": figures(),
        }),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(told(&stream()), expected);
    assert!(run(&stream(), &[]).starts_with(": waiting\n\nevent: message_start\n"));
}

#[test]
fn thoughts_are_a_block_of_their_own_that_ends_with_its_signature() {
    let function = json!({"name": "add", "arguments": "{}"});
    let call = json!({"index": 0, "id": "call_1", "type": "function", "function": function});
    let thoughts = chunk(&json!({"reasoning_content": "H"}), None)
        + &chunk(&json!({"reasoning_content": "m."}), None);
    let start = json!({"type": "thinking", "thinking": "", "signature": ""});
    let delta = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
    let expected = [
        json!({"type": "content_block_start", "index": 0, "content_block": start}),
        delta(json!({"type": "thinking_delta", "thinking": "H"})),
        delta(json!({"type": "thinking_delta", "thinking": "m."})),
        delta(json!({"type": "signature_delta", "signature": "unsigned"})),
        json!({"type": "content_block_stop", "index": 0}),
    ];
    for (next, block) in [
        (chunk(&json!({"content": "Hi"}), None), json!("text")),
        (
            chunk(&json!({"tool_calls": [call]}), None),
            json!("tool_use"),
        ),
        (chunk(&json!({}), Some("length")), Value::Null),
    ] {
        let mut events = told(&format!("{thoughts}{next}{}", last()));
        assert_eq!(&events[1..6], expected);
        assert_eq!(events[6]["content_block"]["type"].take(), block);
    }
}

#[test]
fn a_stop_text_is_told() {
    let choice = json!({"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"});
    let stream = data(&json!({"choices": [choice]})) + &last();
    let events = told(&stream);
    assert_eq!(
        &events[1]["delta"],
        &json!({"stop_reason": "stop_sequence", "stop_sequence": "END"})
    );
}

#[test]
fn an_error_is_the_last_event() {
    let error = json!({"error": {"message": "gone", "type": "server_error", "param": null, "code": "engine_lost"}});
    let begun = chunk(&json!({"content": "Hi"}), None);
    let events = told(&format!("{begun}data: {error}\n\n{}", last()));
    let details = json!({"error_code": "engine_lost"});
    let error = json!({"type": "api_error", "message": "gone", "details": details});
    let expected = json!({"type": "error", "error": error});
    assert_eq!(events.last(), Some(&expected));
    assert_eq!(events.len(), 4, "{events:?}");
}

#[test]
fn a_stream_without_an_end_ends_with_an_error() {
    let begun = chunk(&json!({"content": "Hi"}), None);
    let cut = &begun[..begun.len() - 1];
    for stream in ["", begun.as_str(), cut, "data: nonsense\n\n"] {
        let events = told(stream);
        let errors = events.iter().filter(|event| event["type"] == "error");
        assert_eq!(
            (errors.count(), &events[events.len() - 1]["type"]),
            (1, &json!("error"))
        );
    }
}

proptest! {
    #[test]
    fn wherever_the_stream_is_cut_the_same_events_come(
        cuts in proptest::collection::vec(0..stream().len(), 0..12),
    ) {
        prop_assert_eq!(run(&stream(), &cuts), run(&stream(), &[]));
    }
}
