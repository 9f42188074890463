//! Streams of chats against the events that they become.

use proptest::prelude::*;

use super::*;
use crate::translation::stream::tests::{self, chunk, figures, last, usage};

fn function_call() -> Value {
    let function = json!({"name": "add", "arguments": "{\"a\": \"ä\"}"});
    json!({"index": 0, "id": "call_c~0_0_0", "type": "function", "function": function})
}

/// The call's first delta, or another one.
fn piece(is_first: bool, arguments: &str) -> Value {
    let mut piece = function_call();
    piece["function"]["arguments"] = json!(arguments);
    if !is_first {
        piece = json!({"index": 0, "function": {"arguments": arguments}});
    }
    piece
}

/// A text, a call of a function in pieces, and a sign of life between.
fn stream() -> String {
    [
        ": waiting\n\n".to_owned(),
        chunk(&json!({"role": "assistant", "content": ""}), None),
        chunk(&json!({"content": "Hä"}), None),
        chunk(&json!({"content": "?"}), None),
        chunk(&json!({"tool_calls": [piece(true, "")]}), None),
        chunk(&json!({"tool_calls": [piece(false, "{\"a\":")]}), None),
        chunk(&json!({"tool_calls": [piece(false, " \"ä\"}")]}), None),
        chunk(&json!({}), Some("tool_calls")),
        last(),
    ]
    .concat()
}

fn asked() -> Object {
    Object::from_iter([("store".to_owned(), json!(true))])
}

fn run(whole: &str, cuts: &[usize]) -> String {
    tests::run(Telling::new(asked()), whole, cuts)
}

/// The objects of a stream's events, each of which is numbered as it stands.
fn told(stream: &str) -> Vec<Value> {
    let mut objects = tests::told(Telling::new(asked()), stream);
    for (number, object) in objects.iter_mut().enumerate() {
        let own = object
            .as_object_mut()
            .unwrap()
            .shift_remove("sequence_number");
        assert_eq!(own, Some(json!(number)));
    }
    objects
}

/// The response that the same answer is, whole.
fn whole() -> Value {
    let mut call = function_call();
    call["index"].take();
    let message = json!({"role": "assistant", "content": "Hä?", "tool_calls": [call]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let chat = json!({
        "id": "chatcmpl-c~0", "object": "chat.completion", "created": 7, "model": "m", "choices": [choice],
        "usage": usage(), "lps": figures(),
    });
    answer::whole(&asked(), chat.to_string().as_bytes()).unwrap()
}

#[test]
fn a_stream_of_text_and_a_call_is_a_response_item_by_item() {
    let events = told(&stream());
    let whole = whole();
    let mut begun = whole.clone();
    begun["status"] = json!("in_progress");
    begun["output"] = json!([]);
    begun["usage"].take();
    begun.as_object_mut().unwrap().shift_remove("lps");
    let (text, call) = (&whole["output"][0], &whole["output"][1]);
    let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
    let open = |item: &Value, field: &str, blank: Value| {
        let mut item = item.clone();
        item["status"] = json!("in_progress");
        item[field] = blank;
        item
    };
    let of_text = |kind: &str, field: &str, value: Value| {
        let mut event = json!({
            "type": kind, "item_id": "msg_c~0_0", "output_index": 0, "content_index": 0,
        });
        event[field] = value;
        if kind.starts_with("response.output_text") {
            event["logprobs"] = json!([]);
        }
        event
    };
    let item = |kind: &str, place: u32, item: Value| json!({"type": kind, "output_index": place, "item": item});
    let arguments = "{\"a\": \"ä\"}";
    let of_call = json!({"item_id": "fc_c~0_1", "output_index": 1});
    let with = |more: Value| {
        let mut event = of_call.clone();
        for (key, value) in more.as_object().unwrap() {
            event[key] = value.clone();
        }
        event
    };
    let expected = [
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.in_progress", "response": begun}),
        item(
            "response.output_item.added",
            0,
            open(text, "content", json!([])),
        ),
        of_text("response.content_part.added", "part", part("")),
        of_text("response.output_text.delta", "delta", json!("Hä")),
        of_text("response.output_text.delta", "delta", json!("?")),
        of_text("response.output_text.done", "text", json!("Hä?")),
        of_text("response.content_part.done", "part", part("Hä?")),
        item("response.output_item.done", 0, text.clone()),
        item(
            "response.output_item.added",
            1,
            open(call, "arguments", json!("")),
        ),
        with(json!({"type": "response.function_call_arguments.delta", "delta": "{\"a\":"})),
        with(json!({"type": "response.function_call_arguments.delta", "delta": " \"ä\"}"})),
        with(
            json!({"type": "response.function_call_arguments.done", "name": "add", "arguments": arguments}),
        ),
        item("response.output_item.done", 1, call.clone()),
        json!({"type": "response.completed", "response": whole}),
    ];
    assert_eq!(events, expected);
    assert!(run(&stream(), &[]).starts_with(": waiting\n\nevent: response.created\n"));
}

#[test]
fn a_text_that_reaches_its_limit_is_incomplete() {
    let stream =
        chunk(&json!({"content": "Hi"}), None) + &chunk(&json!({}), Some("length")) + &last();
    let events = told(&stream);
    let last = &events[events.len() - 1];
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(
        last["response"]["incomplete_details"],
        json!({"reason": "max_output_tokens"})
    );
    assert_eq!(last["response"]["output"][0]["status"], "incomplete");
}

#[test]
fn thoughts_are_an_item_of_their_own_before_the_text() {
    let stream = [
        chunk(&json!({"reasoning_content": "H"}), None),
        chunk(&json!({"reasoning_content": "m.", "content": "Hi"}), None),
        chunk(&json!({}), Some("stop")),
        last(),
    ];
    let events = told(&stream.concat());
    let part = |text: &str| json!({"type": "reasoning_text", "text": text});
    let item = |kind: &str, status: &str, content: Value| {
        let item = json!({"type": "reasoning", "id": "rs_c~0_0", "status": status, "summary": [], "content": content});
        json!({"type": kind, "output_index": 0, "item": item})
    };
    let of_part = |kind: &str, field: &str, value: Value| {
        let mut event =
            json!({"type": kind, "item_id": "rs_c~0_0", "output_index": 0, "content_index": 0});
        event[field] = value;
        event
    };
    let done = item(
        "response.output_item.done",
        "completed",
        json!([part("Hm.")]),
    );
    let expected = [
        item("response.output_item.added", "in_progress", json!([])),
        of_part("response.content_part.added", "part", part("")),
        of_part("response.reasoning_text.delta", "delta", json!("H")),
        of_part("response.reasoning_text.delta", "delta", json!("m.")),
        of_part("response.reasoning_text.done", "text", json!("Hm.")),
        of_part("response.content_part.done", "part", part("Hm.")),
        done.clone(),
    ];
    assert_eq!(&events[2..9], expected);
    assert_eq!(
        (&events[9]["output_index"], &events[9]["item"]["id"]),
        (&json!(1), &json!("msg_c~0_1"))
    );
    let output = &events[events.len() - 1]["response"]["output"];
    assert_eq!(
        (&output[0], &output[1]["content"][0]["text"]),
        (&done["item"], &json!("Hi"))
    );
}

#[test]
fn thoughts_that_reach_the_limit_are_incomplete() {
    let stream = chunk(&json!({"reasoning_content": "Hm"}), None)
        + &chunk(&json!({}), Some("length"))
        + &last();
    let events = told(&stream);
    let output = &events[events.len() - 1]["response"]["output"];
    assert_eq!(
        (&output[0]["type"], &output[0]["status"], &output[1]),
        (&json!("reasoning"), &json!("incomplete"), &Value::Null)
    );
}

#[test]
fn a_call_that_reaches_its_limit_is_incomplete() {
    let begun = piece(true, "{\"a\": ");
    let stream =
        chunk(&json!({"tool_calls": [begun]}), None) + &chunk(&json!({}), Some("length")) + &last();
    let events = told(&stream);
    let last = &events[events.len() - 1]["response"]["output"][0];
    assert_eq!(
        (&last["status"], &last["arguments"]),
        (&json!("incomplete"), &json!("{\"a\": "))
    );
}

#[test]
fn a_text_after_a_call_begins_when_it_is_complete() {
    let end = piece(false, "}");
    let stream = chunk(&json!({"tool_calls": [piece(true, "{")]}), None)
        + &chunk(&json!({"content": "Hi", "tool_calls": [end]}), None)
        + &chunk(&json!({}), Some("length"))
        + &last();
    let events = told(&stream);
    let output = &events[events.len() - 1]["response"]["output"];
    assert_eq!(
        (&output[0]["arguments"], &output[1]["content"][0]["text"]),
        (&json!("{}"), &json!("Hi"))
    );
    assert_eq!(
        (&output[0]["status"], &output[1]["status"]),
        (&json!("completed"), &json!("incomplete"))
    );
}

#[test]
fn a_call_that_broke_is_incomplete_whatever_follows_it() {
    let stream = chunk(&json!({"tool_calls": [piece(true, "{\"a\": ")]}), None)
        + &chunk(&json!({"content": "Hi"}), None)
        + &chunk(&json!({}), Some("stop"))
        + &last();
    let events = told(&stream);
    let output = &events[events.len() - 1]["response"]["output"];
    assert_eq!(
        (&output[0]["status"], &output[1]["status"]),
        (&json!("incomplete"), &json!("completed"))
    );
}

#[test]
fn a_response_that_fails_has_what_was_told_of_it() {
    let begun = chunk(&json!({"content": "Hi"}), None);
    for (code, status) in [("engine_lost", "failed"), ("cancelled", "cancelled")] {
        let error = json!({"error": {"message": "gone", "type": "server_error", "param": null, "code": code}});
        let events = told(&format!("{begun}data: {error}\n\n{}", last()));
        let last = &events[events.len() - 1];
        assert_eq!(
            (&last["type"], &last["response"]["status"]),
            (&json!("response.failed"), &json!(status))
        );
        assert_eq!(
            last["response"]["error"],
            json!({"code": "server_error", "message": "gone"})
        );
        assert_eq!(last["response"]["output"][0]["content"][0]["text"], "Hi");
    }
}

#[test]
fn an_error_before_all_is_told_by_itself() {
    let error =
        json!({"message": "busy", "type": "server_error", "param": null, "code": "engines_busy"});
    let body = json!({"error": error});
    let expected = json!({
        "type": "error", "code": "engines_busy", "message": "busy", "param": null, "error": error,
    });
    assert_eq!(told(&format!("data: {body}\n\n")), [expected]);
}

#[test]
fn a_stream_without_an_end_ends_with_an_error() {
    let begun = chunk(&json!({"content": "Hi"}), None);
    let cut = &begun[..begun.len() - 1];
    for (stream, last) in [
        ("", "error"),
        (begun.as_str(), "response.failed"),
        (cut, "error"),
        ("data: nonsense\n\n", "error"),
        ("data: [DONE]\n\n", "error"),
    ] {
        let events = told(stream);
        assert_eq!(events[events.len() - 1]["type"], last, "{stream}");
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
