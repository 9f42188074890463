//! Requests against the chats that they become.

use proptest::prelude::*;

use super::*;

fn with(more: &Value) -> Value {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let mut body = json!({"model": "m", "max_tokens": 8, "messages": messages});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn translated(body: &Value) -> Result<Value, Error> {
    let chat = chat(body.to_string().as_bytes())?;
    Ok(serde_json::from_slice(&chat).unwrap())
}

fn said(more: &Value) -> Value {
    translated(&with(more)).unwrap()["messages"].take()
}

/// The field for which a request is refused, with a reason.
fn refused(more: &Value) -> String {
    match translated(&with(more)) {
        Err(Error::Field { field, reason, .. }) => {
            assert!(!reason.is_empty(), "{field}");
            field
        }
        other => panic!("{more}: {other:?}"),
    }
}

#[test]
fn what_both_forms_have_passes_as_it_is() {
    let more = json!({"temperature": 0.25, "top_p": 0.5, "top_k": 3, "metadata": {"user_id": "u"},
        "program": {"id": "p"}, "seed": 7, "stream": false});
    let mut expected = with(&more);
    expected["include_reasoning"] = json!(false);
    assert_eq!(translated(&with(&more)).unwrap(), expected);
}

#[test]
fn a_stream_has_its_figures() {
    let chat = translated(&with(&json!({"stream": true}))).unwrap();
    assert_eq!(
        (&chat["stream"], &chat["stream_options"]),
        (&json!(true), &json!({"include_usage": true}))
    );
}

#[test]
fn the_system_text_is_the_first_message() {
    let user = json!({"role": "user", "content": "hi"});
    let expected = json!([{"role": "system", "content": "Be brief."}, user]);
    assert_eq!(said(&json!({"system": "Be brief."})), expected);

    let text =
        |text: &str| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}});
    let header = text("x-anthropic-billing-header: cc_version=1; cch=7f;");
    let blocks = json!({"system": [header, text("Be brief.")]});
    assert_eq!(said(&blocks), expected);

    let parts = json!([{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]);
    let expected = json!([{"role": "system", "content": parts}, user]);
    assert_eq!(said(&json!({"system": [text("A"), text("B")]})), expected);
    assert_eq!(said(&json!({"system": [header]})), json!([user]));
}

#[test]
fn calls_and_results_of_tools_stand_where_a_chat_has_them() {
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "add", "input": {"b": 1, "a": "ä"}});
    let result = |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let text = |text: &str| json!({"type": "text", "text": text});
    let messages = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [text("Let me see."), call("c1"), call("c2")]},
        {"role": "user", "content": [
            result("c1", json!("3")), result("c2", json!([text("4"), text("5")])),
            {"type": "tool_result", "tool_use_id": "c3", "is_error": true}, text("And now?"),
        ]},
    ]);
    let called = |id: &str| {
        let function = json!({"name": "add", "arguments": "{\"b\":1,\"a\":\"ä\"}"});
        json!({"id": id, "type": "function", "function": function})
    };
    let expected = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [called("c1"), called("c2")]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "tool", "tool_call_id": "c2", "content": [text("4"), text("5")]},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
        {"role": "user", "content": "And now?"},
    ]);
    assert_eq!(said(&json!({"messages": messages})), expected);
}

#[test]
fn thoughts_that_come_back_are_what_the_model_reasoned() {
    let thoughts =
        |text: &str| json!({"type": "thinking", "thinking": text, "signature": "unsigned"});
    let text = json!({"type": "text", "text": "Red."});
    let call = json!({"type": "tool_use", "id": "c", "name": "f", "input": {}});
    let redacted = json!({"type": "redacted_thinking", "data": "x"});
    let function = json!({"name": "f", "arguments": "{}"});
    let called = json!([{"id": "c", "type": "function", "function": function}]);
    for (blocks, expected) in [
        (
            json!([thoughts("Hm."), text]),
            json!({"content": "Red.", "reasoning_content": "Hm."}),
        ),
        (
            json!([thoughts("Hm."), thoughts("So."), call]),
            json!({"content": "", "reasoning_content": "Hm.\nSo.", "tool_calls": called}),
        ),
        (
            json!([redacted, thoughts(""), text]),
            json!({"content": "Red."}),
        ),
    ] {
        let messages =
            json!([{"role": "assistant", "content": blocks}, {"role": "user", "content": "Why?"}]);
        let mut said = said(&json!({"messages": messages}))[0].take();
        assert_eq!(said["role"].take(), "assistant");
        said.as_object_mut().unwrap().shift_remove("role");
        assert_eq!(said, expected);
    }
}

#[test]
fn thoughts_stand_in_the_models_messages_only() {
    for (role, block) in [
        ("user", json!({"type": "thinking", "thinking": "?"})),
        ("system", json!({"type": "redacted_thinking"})),
        ("assistant", json!({"type": "thinking"})),
    ] {
        let messages = json!([{"role": role, "content": [block]}]);
        let field = refused(&json!({"messages": messages}));
        assert_eq!(field, "messages[0].content[0]", "{role}");
    }
    let between = json!({"type": "between_tools"});
    assert_eq!(refused(&json!({"thinking": between})), "thinking.type");
}

#[test]
fn thinking_is_asked_for_by_the_templates_variables() {
    let asked = |more: Value| {
        let chat = translated(&with(&more)).unwrap();
        assert_eq!(chat.get("thinking"), None);
        let field = |name: &str| chat.get(name).cloned().unwrap_or_default();
        (field("chat_template_kwargs"), field("include_reasoning"))
    };
    let (none, hidden, shown) = (Value::Null, json!(false), json!(true));
    let both = |is_on: bool| json!({"enable_thinking": is_on, "thinking": is_on});
    let own = json!({"enable_thinking": true, "x": 1});
    let kept = json!({"enable_thinking": true, "x": 1, "thinking": false});
    let off = json!({"type": "disabled"});
    for (more, expected) in [
        (json!({}), (none.clone(), hidden.clone())),
        (
            json!({"thinking": null, "include_reasoning": null}),
            (none.clone(), hidden.clone()),
        ),
        (
            json!({"include_reasoning": true}),
            (none.clone(), shown.clone()),
        ),
        (
            json!({"thinking": {"type": "adaptive"}}),
            (none.clone(), none.clone()),
        ),
        (
            json!({"thinking": {"type": "adaptive", "display": "omitted"}}),
            (none.clone(), hidden.clone()),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "summarized"}}),
            (both(true), none),
        ),
        (json!({"thinking": off}), (both(false), hidden.clone())),
        (
            json!({"thinking": off, "include_reasoning": true}),
            (both(false), shown),
        ),
        (
            json!({"thinking": off, "chat_template_kwargs": null}),
            (both(false), hidden.clone()),
        ),
        (
            json!({"thinking": off, "chat_template_kwargs": own}),
            (kept, hidden),
        ),
    ] {
        assert_eq!(asked(more.clone()), expected, "{more}");
    }
}

#[test]
fn an_answer_that_the_client_began_is_continued() {
    let messages = json!([
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "One, "},
    ]);
    let chat = translated(&with(&json!({"messages": messages}))).unwrap();
    assert_eq!(chat["messages"], messages);
    assert_eq!(
        (
            &chat["continue_final_message"],
            &chat["add_generation_prompt"]
        ),
        (&json!(true), &json!(false))
    );
    let chat = translated(&with(&json!({}))).unwrap();
    assert_eq!(chat.get("continue_final_message"), None);
}

#[test]
fn tools_are_functions_and_are_not_shown_where_none_may_be_called() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let tool =
        json!({"type": "custom", "name": "add", "description": "Adds", "input_schema": schema});
    let function = json!({"name": "add", "description": "Adds", "parameters": schema});
    let expected = json!([{"type": "function", "function": function}]);
    let chat = |choice: Value| {
        let more = json!({"tools": [tool], "tool_choice": choice});
        translated(&with(&more)).unwrap()
    };
    for choice in [Value::Null, json!({"type": "auto"})] {
        let chat = chat(choice);
        assert_eq!(chat["tools"], expected);
        assert_eq!(
            (chat.get("tool_choice"), chat.get("parallel_tool_calls")),
            (None, None)
        );
    }
    let one = chat(json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert_eq!(one["parallel_tool_calls"], false);
    assert_eq!(chat(json!({"type": "none"})).get("tools"), None);
    let any = chat(json!({"type": "any"}));
    assert_eq!(
        (&any["tool_choice"], any.get("parallel_tool_calls")),
        (&json!("required"), None)
    );
    let named = chat(json!({"type": "tool", "name": "add", "disable_parallel_tool_use": true}));
    let add = json!({"type": "function", "function": {"name": "add"}});
    assert_eq!(
        (&named["tool_choice"], &named["parallel_tool_calls"]),
        (&add, &json!(false))
    );
}

#[test]
fn an_output_format_is_a_response_format() {
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    for more in [
        json!({"output_config": {"format": format}}),
        json!({"output_format": format}),
    ] {
        let chat = translated(&with(&more)).unwrap();
        assert_eq!(
            chat["response_format"],
            json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}})
        );
        assert!(chat.get("output_config").is_none() && chat.get("output_format").is_none());
    }
}

#[test]
fn stop_sequences_are_stop_texts() {
    let chat = translated(&with(&json!({"stop_sequences": ["a", "b"]}))).unwrap();
    assert_eq!(
        (&chat["stop"], chat.get("stop_sequences")),
        (&json!(["a", "b"]), None)
    );
}

#[test]
fn what_is_counted_is_the_chat_without_its_model() {
    let body = with(&json!({"system": "Be brief."})).to_string();
    let Counted { model, body } = counted(body.as_bytes()).unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((model.as_str(), asked.get("model")), ("m", None));
    assert_eq!(asked["messages"], said(&json!({"system": "Be brief."})));
}

#[test]
fn what_no_engine_does_is_refused_by_its_name() {
    let user = |block: Value| json!({"messages": [{"role": "user", "content": ["", block]}]});
    let blocks = |role: &str, block: Value| {
        let text = json!({"type": "text", "text": "x"});
        json!({"messages": [{"role": role, "content": [text, block]}]})
    };
    let image = json!({"type": "image", "source": {"type": "url", "url": "http://x"}});
    let call = json!({"type": "tool_use", "id": "c", "name": "f", "input": {}});
    let result = json!({"type": "tool_result", "tool_use_id": "c"});
    let of_image = json!({"type": "tool_result", "tool_use_id": "c", "content": [image]});
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    for (more, field) in [
        (blocks("user", image.clone()), "messages[0].content[1].type"),
        (blocks("user", call), "messages[0].content[1]"),
        (blocks("user", of_image), "messages[0].content[1]"),
        (blocks("assistant", result), "messages[0].content[1]"),
        (user(json!({})), "messages[0].content[0]"),
        (json!({"messages": []}), "messages"),
        (
            json!({"messages": [{"role": "king", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            "messages[0].content",
        ),
        (json!({"system": [image]}), "system[0].type"),
        (json!({"system": 7}), "system"),
        (json!({"tool_choice": {"type": "tool"}}), "tool_choice"),
        (
            json!({"output_config": {"effort": "low"}}),
            "output_config.effort",
        ),
        (
            json!({"output_config": {"format": {"type": "xml"}}}),
            "output_config.format.type",
        ),
        (json!({"tools": [search]}), "tools[0].type"),
        (json!({"tools": [{"name": "f"}]}), "tools[0].input_schema"),
        (json!({"tools": [{"input_schema": {}}]}), "tools[0]"),
        (json!({"stop_sequences": "x"}), "stop_sequences"),
        (json!({"mcp_servers": []}), "mcp_servers"),
        (json!({"n": 2}), "n"),
        (json!({"max_tokens": null}), "max_tokens"),
    ] {
        assert_eq!(refused(&more), field, "{more}");
    }
}

#[test]
fn a_thread_is_refused_as_a_thread() {
    for thread in [
        json!({"type": "create"}),
        json!({"type": "continue", "previous_message_id": "msg_1"}),
    ] {
        let refused = translated(&with(&json!({"thread": thread})));
        assert!(
            matches!(
                &refused,
                Err(Error::Field { field, code, .. })
                    if field == "thread" && *code == "thread_unsupported_request"
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn what_asks_for_nothing_is_taken() {
    let more = json!({"thinking": {"type": "disabled"}, "mcp_servers": null, "system": null, "thread": null,
        "tools": null, "tool_choice": null, "stop_sequences": null});
    assert!(translated(&with(&more)).is_ok());
}

#[test]
fn a_body_that_is_no_request_is_told_so() {
    for body in ["", "[]", "7", "{", r#"{"model": "m"}"#] {
        assert!(
            matches!(chat(body.as_bytes()), Err(Error::Body(_))),
            "{body}"
        );
    }
    assert!(matches!(
        counted(br#"{"messages": [{"role": "user", "content": "x"}]}"#),
        Err(Error::Field { field, .. }) if field == "model"
    ));
}

proptest! {
    /// Texts and inputs of tools come through as they are, whatever is in them.
    #[test]
    fn nothing_that_is_said_is_lost(text in ".{0,40}", key in ".{0,8}", number in any::<i64>()) {
        let mut input = Object::new();
        input.insert(key, json!([number, text]));
        let call = json!({"type": "tool_use", "id": "c", "name": "f", "input": input});
        let messages = json!([
            {"role": "user", "content": text}, {"role": "assistant", "content": [call]},
        ]);
        let said = said(&json!({"messages": messages}));
        prop_assert_eq!(&said[0]["content"], &json!(text));
        let arguments = said[1]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
        prop_assert_eq!(serde_json::from_str::<Object>(arguments).unwrap(), input);
    }
}
