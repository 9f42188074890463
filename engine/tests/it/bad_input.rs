//! What is wrong is refused with a status and the field's name.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Engine, chat, whole};

const CHAT: &str = "/v1/chat/completions";
const PLAIN: &str = "/v1/completions";

fn form(format: Value) -> Value {
    json!({"response_format": format})
}

fn schema(schema: Value) -> Value {
    form(json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}))
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table, a line a case")]
async fn fields_that_have_no_use_are_named() {
    let engine = Engine::start("--max-model-len 256").await;
    let long = "word ".repeat(400);
    let huge = "x".repeat(3 << 20);
    let cases = [
        (json!({"model": "other"}), 404, "model"),
        (json!({"model": 7}), 400, "model"),
        (json!({"messages": null}), 400, "messages"),
        (json!({"messages": []}), 400, "messages"),
        (json!({"messages": "hi"}), 400, "messages"),
        (
            json!({"messages": [{"content": "no role"}]}),
            400,
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            400,
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
            400,
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": long}]}),
            400,
            "messages",
        ),
        (
            json!({"messages": [{"role": "user", "content": huge}]}),
            400,
            "messages",
        ),
        (json!({"max_tokens": 0}), 400, "max_tokens"),
        (json!({"max_tokens": -1}), 400, "max_tokens"),
        (json!({"max_tokens": 10_000_000_000_i64}), 400, "max_tokens"),
        (json!({"max_tokens": 1.5}), 400, "max_tokens"),
        (
            json!({"max_completion_tokens": -3}),
            400,
            "max_completion_tokens",
        ),
        (json!({"min_tokens": 9, "max_tokens": 8}), 400, "min_tokens"),
        (json!({"n": 0}), 400, "n"),
        (json!({"n": 100_000}), 400, "n"),
        (json!({"temperature": -0.5}), 400, "temperature"),
        (json!({"temperature": "hot"}), 400, "temperature"),
        (json!({"top_p": 1.5}), 400, "top_p"),
        (json!({"top_k": -2}), 400, "top_k"),
        (json!({"min_p": 2}), 400, "min_p"),
        (json!({"presence_penalty": 3}), 400, "presence_penalty"),
        (json!({"repetition_penalty": 0}), 400, "repetition_penalty"),
        (json!({"logit_bias": {"x": 1}}), 400, "logit_bias"),
        (json!({"logit_bias": {"99999": 1}}), 400, "logit_bias"),
        (json!({"stop": [1]}), 400, "stop"),
        (json!({"stop": ""}), 400, "stop"),
        (json!({"stop_token_ids": [-1]}), 400, "stop_token_ids"),
        (json!({"top_logprobs": 3}), 400, "top_logprobs"),
        (
            json!({"logprobs": true, "top_logprobs": 100}),
            400,
            "top_logprobs",
        ),
        (json!({"stream": "yes"}), 400, "stream"),
        (json!({"priority": 256}), 400, "priority"),
        (json!({"cache_salt": ""}), 400, "cache_salt"),
        (form(json!({"type": "xml"})), 400, "response_format"),
        (form(json!({"type": "json_schema"})), 400, "response_format"),
        (schema(json!({"type": "strng"})), 400, "response_format"),
        (
            schema(json!({"$ref": "http://127.0.0.1:9/x"})),
            400,
            "response_format",
        ),
        (
            json!({"structured_outputs": {"regex": "a", "choice": ["a"]}}),
            400,
            "structured_outputs",
        ),
        (
            json!({"structured_outputs": {"choice": [1]}}),
            400,
            "structured_outputs",
        ),
        (
            json!({"structured_outputs": {"regex": "(?<=a)b"}}),
            400,
            "structured_outputs",
        ),
        (
            json!({"structured_outputs": {"guess": "x"}}),
            400,
            "structured_outputs",
        ),
        (
            json!({"structured_outputs": {"regex": "a"}, "ignore_eos": true}),
            400,
            "ignore_eos",
        ),
        (
            json!({"structured_outputs": {"regex": "a"}, "min_tokens": 2}),
            400,
            "min_tokens",
        ),
        (json!({"tool_choice": "required"}), 400, "tool_choice"),
        (json!({"tool_choice": "perhaps"}), 400, "tool_choice"),
        (
            json!({"tools": [{}], "tool_choice": "required"}),
            400,
            "tools",
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f"}}],
                   "tool_choice": {"type": "function", "function": {"name": "g"}}}),
            400,
            "tool_choice",
        ),
        (
            json!({"continue_final_message": true, "add_generation_prompt": true}),
            400,
            "continue_final_message",
        ),
    ];
    for (fields, status, param) in cases {
        let shown: String = fields.to_string().chars().take(80).collect();
        let (got, answer) = engine.post(CHAT, &chat(fields)).await;
        assert_eq!(
            (got.as_u16(), &answer["error"]["param"]),
            (status, &json!(param)),
            "{shown}: {answer}"
        );
        assert!(answer["error"]["message"].as_str().unwrap().len() > 10);
    }
    engine.end().await;
}

#[tokio::test]
async fn plain_prompts_are_checked_too() {
    let engine = Engine::start("--max-model-len 256").await;
    for (fields, param) in [
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": ""}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": [[]]}), "prompt"),
        (json!({"prompt": [-1]}), "prompt"),
        (json!({"prompt": [1_000_000]}), "prompt"),
        (json!({"prompt": vec![5; 256]}), "prompt"),
        (json!({"prompt": vec!["a"; 257]}), "prompt"),
        (json!({"prompt": "a", "echo": true}), "echo"),
        (json!({"prompt": "a", "suffix": "b"}), "suffix"),
        (json!({"prompt": "a", "best_of": 2}), "best_of"),
        (json!({"prompt": "a", "logprobs": 21}), "logprobs"),
    ] {
        let (status, answer) = engine.post(PLAIN, &fields).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (StatusCode::BAD_REQUEST, &json!(param)),
            "{answer}"
        );
    }
    engine.end().await;
}

#[tokio::test]
async fn bodies_headers_and_methods_are_checked() {
    let engine = Engine::start("").await;
    let url = format!("{}{CHAT}", engine.url);
    for (body, status) in [
        (b"{\"model\": ".to_vec(), StatusCode::BAD_REQUEST),
        (b"[1]".to_vec(), StatusCode::BAD_REQUEST),
        (vec![b' '; (32 << 20) + 1], StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let (got, answer) = whole(engine.send(Method::POST, url.clone(), &[], body).await).await;
        assert_eq!(got, status, "{answer}");
        assert!(answer["error"]["message"].is_string(), "{answer}");
    }
    for (header, value) in [
        ("x-call-id", "a b"),
        ("x-program-id", "a,b"),
        ("x-lps-order", "first"),
    ] {
        let (status, answer) = whole(
            engine
                .open(CHAT, &[(header, value)], &chat(json!({})))
                .await,
        )
        .await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (StatusCode::BAD_REQUEST, &json!(header))
        );
    }
    let (status, answer) = engine.get(CHAT).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::METHOD_NOT_ALLOWED, &json!("method_not_allowed"))
    );
    let (status, answer): (_, Value) = engine
        .post("/internal/v1/calls", &json!({"commands": 1}))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    engine.end().await;
}
