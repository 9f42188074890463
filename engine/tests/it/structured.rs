//! Answers that have the form that was asked for.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::support::{Engine, chat};

const CHAT: &str = "/v1/chat/completions";

fn object() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["kind", "count"],
        "properties": {"kind": {"enum": ["cat", "dog"]}, "count": {"type": "integer", "minimum": 0, "maximum": 99}},
    })
}

fn is_object(text: &str) -> bool {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let count = value["count"].as_u64();
    (value["kind"] == "cat" || value["kind"] == "dog") && count.is_some_and(|count| count < 100)
}

fn in_schema(more: Value) -> Value {
    let mut body = chat(json!({
        "max_tokens": 400, "temperature": 1.0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": object()}},
    }));
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    let tool =
        |name| json!({"type": "function", "function": {"name": name, "parameters": object()}});
    json!([tool("feed"), tool("walk")])
}

#[tokio::test]
async fn every_choice_has_the_schema_beside_calls_that_have_none() {
    let engine = Engine::start("--max-num-seqs 6").await;
    let free = chat(json!({"max_tokens": 60, "temperature": 1.0, "seed": 9}));
    let (_, alone) = engine.post(CHAT, &free).await;
    let bound = in_schema(json!({"n": 4, "seed": 5}));
    let ((status, answer), (_, beside)) =
        tokio::join!(engine.post(CHAT, &bound), engine.post(CHAT, &free));
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(beside["choices"], alone["choices"]);
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4);
    let texts: Vec<_> = choices
        .iter()
        .map(|choice| choice["message"]["content"].as_str().unwrap())
        .collect();
    for (choice, text) in choices.iter().zip(&texts) {
        assert!(is_object(text), "{text}");
        assert_eq!(choice["finish_reason"], "stop");
    }
    assert!(texts.iter().any(|text| *text != texts[0]), "{texts:?}");
    let (_, again) = engine.post(CHAT, &bound).await;
    assert_eq!(again["choices"], answer["choices"]);
    let (chunks, done) = engine
        .stream(CHAT, &in_schema(json!({"n": 1, "seed": 5, "stream": true})))
        .await;
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert!(done);
    assert_eq!(text, texts[0]);
    engine.end().await;
}

#[tokio::test]
async fn a_grammar_holds_across_preemption() {
    // Room for two of the four: they take turns.
    let engine = Engine::start("--max-num-seqs 2 --max-model-len 512").await;
    let ask = |seed| {
        let body = in_schema(json!({"seed": seed}));
        let engine = &engine;
        async move { engine.post(CHAT, &body).await.1["choices"][0]["message"]["content"].clone() }
    };
    let alone = [ask(1).await, ask(2).await, ask(3).await, ask(4).await];
    let together = tokio::join!(ask(1), ask(2), ask(3), ask(4));
    assert_eq!(alone, <[Value; 4]>::from(together));
    assert!(
        alone.iter().all(|text| is_object(text.as_str().unwrap())),
        "{alone:?}"
    );
    engine.end().await;
}

#[tokio::test]
async fn a_call_that_is_wanted_is_made() {
    let engine = Engine::start("").await;
    let named = json!({"type": "function", "function": {"name": "walk"}});
    for (choice, parallel, names) in [
        (json!("required"), json!(false), &["feed", "walk"][..]),
        (json!("required"), json!(true), &["feed", "walk"]),
        (named, Value::Null, &["walk"]),
    ] {
        for seed in 0..4 {
            let more = json!({"tools": tools(), "tool_choice": choice, "parallel_tool_calls": parallel,
                "max_tokens": 3000, "temperature": 1.0, "seed": seed});
            let (status, answer) = engine.post(CHAT, &chat(more)).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            let first = &answer["choices"][0];
            assert_eq!(first["finish_reason"], "tool_calls", "{answer}");
            assert_eq!(first["message"]["content"], Value::Null);
            let calls = first["message"]["tool_calls"].as_array().unwrap();
            assert!(calls.len() == 1 || parallel == true, "{answer}");
            for call in calls {
                assert!(
                    names.contains(&call["function"]["name"].as_str().unwrap()),
                    "{call}"
                );
                assert!(
                    is_object(call["function"]["arguments"].as_str().unwrap()),
                    "{call}"
                );
            }
        }
    }
    engine.end().await;
}

#[tokio::test]
async fn who_may_call_answers_in_the_schema_or_calls() {
    let engine = Engine::start("").await;
    let (mut called, mut said) = (0, 0);
    for seed in 0..24 {
        let more = json!({"tools": tools(), "parallel_tool_calls": false, "max_tokens": 3000, "seed": seed});
        let (_, answer) = engine.post(CHAT, &in_schema(more)).await;
        let message = &answer["choices"][0]["message"];
        match message["tool_calls"].as_array() {
            Some(calls) => {
                assert!(
                    is_object(calls[0]["function"]["arguments"].as_str().unwrap()),
                    "{answer}"
                );
                called += 1;
            }
            None => {
                assert!(is_object(message["content"].as_str().unwrap()), "{answer}");
                said += 1;
            }
        }
    }
    assert!(called > 0 && said > 0, "{called} calls, {said} texts");
    engine.end().await;
}

#[tokio::test]
async fn a_strict_tool_is_called_by_its_schema_or_not_at_all() {
    let engine = Engine::start("").await;
    let mut strict = tools();
    strict[0]["function"]["strict"] = json!(true);
    // The simulated model seldom begins a call.
    let ask =
        |seed: u32| json!({"tools": strict, "max_tokens": 2500, "seed": seed, "temperature": 1.0});
    let mut called = 0;
    for seed in 0..200 {
        let (status, answer) = engine.post(CHAT, &chat(ask(seed))).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        for call in answer["choices"][0]["message"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let arguments = call["function"]["arguments"].as_str().unwrap();
            let is_bound = call["function"]["name"] == "feed";
            assert!(
                if is_bound {
                    is_object(arguments)
                } else {
                    arguments.starts_with('{')
                },
                "{call}"
            );
            called += 1;
        }
    }
    assert!(called > 2, "{called} calls");
    engine.end().await;
}

#[tokio::test]
async fn vllms_fields_say_it_too() {
    let engine = Engine::start("").await;
    for (fields, is_right) in [
        (
            json!({"choice": ["red", "green"]}),
            (|text| text == "red" || text == "green") as fn(&str) -> bool,
        ),
        (json!({"regex": "[ab]{3}-[0-9]{2}"}), |text| {
            text.len() == 6 && text.as_bytes()[3] == b'-'
        }),
        (json!({"json": object()}), is_object),
        (json!({"json": object().to_string()}), is_object),
        (
            json!({"grammar": "start: \"(\" start \")\" | \"x\""}),
            |text| {
                let depth = text.find('x').unwrap_or_default();
                text == format!("{}x{}", "(".repeat(depth), ")".repeat(depth))
            },
        ),
    ] {
        let body = json!({"prompt": "Say: ", "max_tokens": 400, "structured_outputs": fields});
        let (status, answer) = engine.post("/v1/completions", &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let text = answer["choices"][0]["text"].as_str().unwrap();
        assert!(is_right(text), "{fields}: {text}");
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
    let many = json!({"prompt": ["a", "b", "c"], "n": 2, "max_tokens": 400, "structured_outputs": {"json": object()}});
    let (_, answer) = engine.post("/v1/completions", &many).await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 6);
    assert!(
        choices
            .iter()
            .all(|choice| is_object(choice["text"].as_str().unwrap())),
        "{answer}"
    );
    engine.end().await;
}
