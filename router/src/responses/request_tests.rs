//! Requests against the chats that they become.

use lps_api::ids::CallId;
use proptest::prelude::*;

use super::*;

fn asked(more: &Value, before: Vec<Value>) -> Result<Asked, Error> {
    let mut body = json!({"model": "m", "input": "hi"});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    Request::read(body.to_string().as_bytes())?.asked(before)
}

fn chat(more: &Value) -> Value {
    let asked = asked(more, Vec::new()).unwrap();
    serde_json::from_slice(&asked.chat).unwrap()
}

fn said(input: &Value) -> Value {
    chat(&json!({"input": input}))["messages"].take()
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn call(id: &str) -> Value {
    json!({"type": "function_call", "call_id": id, "name": "add", "arguments": "{}", "status": "completed"})
}

fn output(id: &str) -> Value {
    json!({"type": "function_call_output", "call_id": id, "output": "3"})
}

#[test]
fn a_text_is_what_the_user_says() {
    let expected = json!({"model": "m", "messages": [user("hi")]});
    assert_eq!(chat(&json!({})), expected);
    let kept = asked(&json!({}), Vec::new()).unwrap().input;
    let part = json!({"type": "input_text", "text": "hi"});
    assert_eq!(
        kept,
        [json!({"type": "message", "role": "user", "content": [part]})]
    );
}

#[test]
fn what_both_forms_have_passes_as_it_is() {
    let more = json!({"temperature": 0.25, "top_p": 0.5, "seed": 7, "parallel_tool_calls": false, "user": "u",
        "program": {"id": "p"}});
    let chat = chat(&more);
    for (field, value) in more.as_object().unwrap() {
        assert_eq!(&chat[field], value, "{field}");
    }
}

#[test]
fn fields_of_its_own_stand_where_a_chat_has_them() {
    let tool = json!({"type": "function", "name": "add", "description": null, "parameters": {}, "strict": true});
    let schema = json!({"type": "json_schema", "name": "n", "schema": {}, "strict": true, "description": null});
    let chat = chat(&json!({
        "instructions": "Be brief.", "max_output_tokens": 8, "tools": [tool], "text": {"format": schema},
        "tool_choice": {"type": "function", "name": "add"}, "stream": true, "top_logprobs": 0,
        "reasoning": {"effort": "low", "summary": null},
        "stream_options": {"include_obfuscation": false},
    }));
    let function = json!({"name": "add", "parameters": {}, "strict": true});
    let expected = json!({
        "model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_completion_tokens": 8,
        "messages": [{"role": "system", "content": "Be brief."}, user("hi")],
        "reasoning": {"effort": "low", "summary": null}, "reasoning_effort": "low",
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": true}},
    });
    assert_eq!(chat, expected);
    for (format, expected) in [
        (json!({"type": "text"}), Value::Null),
        (
            json!({"type": "json_object"}),
            json!({"type": "json_object"}),
        ),
        (Value::Null, Value::Null),
    ] {
        let chat = self::chat(&json!({"text": {"format": format, "verbosity": "low"}}));
        assert_eq!(
            chat.get("response_format").cloned().unwrap_or_default(),
            expected
        );
    }
}

#[test]
fn items_are_messages_and_calls_belong_to_the_models() {
    let part = |kind: &str, text: &str| json!({"type": kind, "text": text});
    let input = json!([
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [part("input_text", "A"), part("input_text", "B")]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "message", "id": "msg_c~0_0", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
        call("call_c~0_0_0"),
        call("call_c~0_0_1"),
        output("call_c~0_0_0"),
        {"type": "function_call_output", "call_id": "call_c~0_0_1", "output": [part("input_text", "4")]},
        call("call_d~0_0_0"),
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]);
    let calls = |ids: &[&str]| -> Value {
        let function = json!({"name": "add", "arguments": "{}"});
        let call = |id| json!({"id": id, "type": "function", "function": function});
        ids.iter().map(call).collect()
    };
    let tool = |id: &str, text: &str| json!({"role": "tool", "tool_call_id": id, "content": text});
    let expected = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [part("text", "A"), part("text", "B")]},
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls(&["call_c~0_0_0", "call_c~0_0_1"])},
        tool("call_c~0_0_0", "3"),
        tool("call_c~0_0_1", "4"),
        {"role": "assistant", "content": "No.", "tool_calls": calls(&["call_d~0_0_0"])},
    ]);
    assert_eq!(said(&input), expected);
}

#[test]
fn thoughts_belong_to_what_follows_them() {
    let part = |kind: &str, text: &str| json!({"type": kind, "text": text});
    let thoughts = |content: Value, summary: Value| json!({"type": "reasoning", "id": "rs_c~0_0", "content": content, "summary": summary, "status": "completed"});
    let whole = |text: &str| thoughts(json!([part("reasoning_text", text)]), json!([]));
    let short = json!([part("summary_text", "A."), part("summary_text", "B.")]);
    let text =
        json!({"type": "message", "id": "msg_c~0_1", "role": "assistant", "content": "Red."});
    let input = json!([
        user("A"), whole("Hm."), text, call("c1"),
        output("c1"), thoughts(Value::Null, short), call("c2"), call("c3"),
        output("c2"), whole("Broken"), user("B"),
        whole(""), {"role": "assistant", "content": "Blue."},
    ]);
    let called = |ids: &[&str]| -> Value {
        let function = json!({"name": "add", "arguments": "{}"});
        let call = |id| json!({"id": id, "type": "function", "function": function});
        ids.iter().map(call).collect()
    };
    let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "3"});
    let expected = json!([
        user("A"),
        {"role": "assistant", "content": "Red.", "reasoning_content": "Hm.", "tool_calls": called(&["c1"])},
        tool("c1"),
        {"role": "assistant", "content": "", "reasoning_content": "A.\nB.", "tool_calls": called(&["c2", "c3"])},
        tool("c2"),
        {"role": "assistant", "content": "", "reasoning_content": "Broken"},
        user("B"),
        {"role": "assistant", "content": "Blue."},
    ]);
    assert_eq!(said(&input), expected);
}

#[test]
fn thoughts_between_what_the_model_says_make_no_second_message() {
    let thoughts =
        |text: &str| json!({"type": "reasoning", "summary": [], "content": [{"text": text}]});
    let text = |text: &str| json!({"role": "assistant", "content": text});
    let called = |ids: &[&str]| -> Value {
        let function = json!({"name": "add", "arguments": "{}"});
        let call = |id| json!({"id": id, "type": "function", "function": function});
        ids.iter().map(call).collect()
    };
    let tool = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "3"});
    for (input, expected) in [
        (
            json!([thoughts("A."), thoughts("B."), text("Red.")]),
            json!([{"role": "assistant", "content": "Red.", "reasoning_content": "A.\nB."}]),
        ),
        (
            json!([text("Let me see."), thoughts("A."), call("c1")]),
            json!([{
                "role": "assistant", "content": "Let me see.", "reasoning_content": "A.",
                "tool_calls": called(&["c1"]),
            }]),
        ),
        (
            json!([
                thoughts("A."),
                call("c1"),
                thoughts("B."),
                call("c2"),
                output("c1"),
                output("c2")
            ]),
            json!([
                {
                    "role": "assistant", "content": "", "reasoning_content": "A.\nB.",
                    "tool_calls": called(&["c1", "c2"]),
                },
                tool("c1"),
                tool("c2"),
            ]),
        ),
        (
            json!([thoughts("A."), text("Hm."), thoughts("B."), text("Red.")]),
            json!([
                {"role": "assistant", "content": "Hm.", "reasoning_content": "A."},
                {"role": "assistant", "content": "Red.", "reasoning_content": "B."},
            ]),
        ),
        (
            json!([text("Red."), thoughts("Cut off")]),
            json!([{"role": "assistant", "content": "Red.", "reasoning_content": "Cut off"}]),
        ),
        (
            json!([call("c1"), thoughts("A."), text("Red."), output("c1")]),
            json!([
                {
                    "role": "assistant", "content": "Red.", "reasoning_content": "A.",
                    "tool_calls": called(&["c1"]),
                },
                tool("c1"),
            ]),
        ),
        (
            json!([call("c1"), text("Red."), output("c1")]),
            json!([
                {"role": "assistant", "content": "Red.", "tool_calls": called(&["c1"])},
                tool("c1"),
            ]),
        ),
    ] {
        assert_eq!(said(&input), expected, "{input}");
    }
}

#[test]
fn what_went_before_stands_before_and_instructions_do_not_stay() {
    let message =
        json!({"type": "message", "id": "msg_c~0_0", "role": "assistant", "content": "Hi"});
    let before = vec![user("hello"), message.clone()];
    let more = json!({"previous_response_id": "resp_c~0", "instructions": "Be brief."});
    let asked = asked(&more, before.clone()).unwrap();
    let chat: Value = serde_json::from_slice(&asked.chat).unwrap();
    let expected = json!([
        {"role": "system", "content": "Be brief."}, user("hello"), {"role": "assistant", "content": "Hi"}, user("hi"),
    ]);
    assert_eq!(chat["messages"], expected);
    assert!(chat.get("previous_response_id").is_none());
    assert_eq!((&asked.input[..2], asked.input.len()), (&before[..], 3));
    let call = CallId::parse("c~0").unwrap();
    let echoes = asked.echoes.unwrap();
    assert_eq!((echoes.answered, echoes.latest), (vec![call.clone()], call));
}

#[test]
fn a_conversation_goes_on_from_the_calls_that_its_items_name() {
    let echoes = |input: Value| asked(&json!({"input": input}), Vec::new()).unwrap().echoes;
    let call_id = |name: &str| CallId::parse(name).unwrap();
    let step = [
        call("call_a~1_0_0"),
        output("call_a~1_0_0"),
        call("call_b~2_0_0"),
        output("call_b~2_0_0"),
    ];
    let found = echoes(json!(step)).unwrap();
    assert_eq!(found.answered, [call_id("b~2")]);
    assert_eq!(
        (found.first, found.latest),
        (call_id("a~1"), call_id("b~2"))
    );
    let foreign = json!({"role": "assistant", "id": "msg_68af", "content": "Hi"});
    assert_eq!(echoes(json!([user("a"), foreign, user("b")])), None);
    // Nobody but the model has ids of ours.
    assert_eq!(
        echoes(json!([{"role": "user", "id": "msg_a~1_0", "content": "Hi"}])),
        None
    );
}

#[test]
fn what_was_asked_for_is_repeated() {
    let told = asked(
        &json!({"store": false, "temperature": 0.5, "metadata": {"a": "b"}, "tool_choice": "none"}),
        Vec::new(),
    );
    let told = Value::Object(told.unwrap().told);
    for (field, value) in [
        ("store", json!(false)),
        ("temperature", json!(0.5)),
        ("metadata", json!({"a": "b"})),
        ("tool_choice", json!("none")),
        ("tools", json!([])),
        ("parallel_tool_calls", json!(true)),
        ("text", json!({"format": {"type": "text"}})),
        ("instructions", Value::Null),
    ] {
        assert_eq!(told[field], value, "{field}");
    }
}

#[test]
fn what_cannot_be_had_is_refused_by_its_name() {
    let image = json!({"type": "input_image", "image_url": "data:image/png;base64,AA=="});
    for (more, field) in [
        (json!({"background": true}), "background"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"n": 2}), "n"),
        (json!({"top_logprobs": 2}), "top_logprobs"),
        (
            json!({"include": ["message.output_text.logprobs"]}),
            "include",
        ),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (
            json!({"tool_choice": {"type": "file_search"}}),
            "tool_choice",
        ),
        (
            json!({"text": {"format": {"type": "grammar"}}}),
            "text.format.type",
        ),
        (
            json!({"input": [user("a"), {"role": "user", "content": [image]}]}),
            "input[1]",
        ),
        (
            json!({"input": [{"type": "item_reference", "id": "msg_1"}]}),
            "input[0]",
        ),
        (json!({"input": ["hi"]}), "input[0]"),
        (
            json!({"input": [{"type": "reasoning", "content": "Hm."}]}),
            "input[0]",
        ),
        // A list that serde would take for an item.
        (json!({"input": [user("a"), ["reasoning"]]}), "input[1]"),
        (json!({"metadata": {"a": vec![0; 9_000]}}), "metadata"),
        (json!({"input": []}), "input"),
        (json!({"input": 7}), "input"),
        (json!({"store": "yes"}), "store"),
    ] {
        match asked(&more, Vec::new()) {
            Err(Error::Field {
                field: named,
                reason,
                ..
            }) => {
                assert_eq!(named, field, "{reason}");
                assert!(!reason.is_empty());
            }
            other => panic!("{more}: {other:?}"),
        }
    }
}

#[test]
fn what_makes_no_difference_is_taken() {
    let more = json!({"background": false, "conversation": null, "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": null, "summary": "auto"}, "service_tier": "auto", "truncation": "auto", "prompt_cache_key": "k",
        "tools": null, "text": null, "metadata": null, "instructions": null, "previous_response_id": null});
    assert!(asked(&more, Vec::new()).is_ok());
}

#[test]
fn a_body_that_is_no_request_is_told_so() {
    for body in ["", "[]", "7", "{", r#"{"model": "m"}"#] {
        let read = Request::read(body.as_bytes());
        assert!(matches!(read, Err(Error::Body(_))), "{body}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(input in ".{0,80}", kind in "[a-z_]{0,24}", id in ".{0,12}") {
        let item = json!({"type": kind, "id": id, "call_id": id, "role": "assistant", "content": input, "output": input});
        let _ = asked(&json!({"input": [item]}), Vec::new());
        let _ = Request::read(input.as_bytes());
    }
}
