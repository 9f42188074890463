//! Who asks in Anthropic's form is answered in it, whatever becomes of the call.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use lps_api::quantity::Micros;
use lps_router::config::Config;
use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::engine::{Engine, USAGE};
use crate::support::{Rig, config, soon};

const MESSAGES: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

fn body(stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
    json!({"model": "m", "max_tokens": 8, "system": "Be brief.", "messages": messages, "stream": stream})
}

fn answer(kind: &str, choice: &Value) -> Value {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 3}});
    json!({"id": "chatcmpl-x", "object": kind, "created": 1, "model": "m", "choices": [choice],
        "usage": usage, "lps": USAGE})
}

fn chunk(text: &str) -> String {
    delta(&json!({"content": text}))
}

fn delta(delta: &Value) -> String {
    let choice = json!({"index": 0, "delta": delta});
    let mut chunk = answer("chat.completion.chunk", &choice);
    for figures in ["usage", "lps"] {
        chunk[figures].take();
    }
    format!("data: {chunk}\n\n")
}

fn error_of(answer: &Answer) -> (u16, Value) {
    let mut error = answer.json();
    assert_eq!(error["type"], "error");
    (answer.status.as_u16(), error["error"]["type"].take())
}

#[tokio::test]
async fn a_message_is_a_chat_on_its_way() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body(false);
    let headers = [
        ("x-program-id", "p"),
        ("x-call-id", "c"),
        ("x-request-id", "r-1"),
        ("x-api-key", "none"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "some-beta"),
    ];
    let asking = rig
        .client
        .post("/v1/messages?beta=true", &headers, &request);
    let answering = async {
        let call = engine.call().await;
        assert_eq!(call.path, "/v1/chat/completions");
        let asked: Value = serde_json::from_slice(&call.body).unwrap();
        let expected = json!([
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"},
        ]);
        assert_eq!(asked["messages"], expected);
        let message = json!({"role": "assistant", "content": "hello"});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        let told = answer("chat.completion", &choice);
        call.answer(200, Vec::new(), &told).await;
    };
    let (asked, ()) = tokio::join!(asking, answering);
    let expected = json!({
        "id": "msg_c", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 3, "output_tokens": 2},
        "lps": USAGE,
    });
    assert_eq!((asked.status.as_u16(), asked.json()), (200, expected));
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-program-id", "p"),
        ("x-call-id", "c"),
        ("x-engine", "e1"),
        ("x-cached-tokens", "3"),
        ("request-id", "r-1"),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    assert_eq!(rig.call("c").await["service_us"], 1_500);
}

#[tokio::test]
async fn a_stream_that_loses_its_engine_ends_with_an_error_event() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body(true);
    let asking = rig.client.stream(MESSAGES, &[("x-call-id", "c")], &request);
    let answering = async {
        let call = engine.call().await;
        let asked: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(asked["stream_options"]["include_usage"], true);
        let stream = call.stream().await;
        stream.send(&chunk("Hä")).await;
        stream
    };
    let (mut asked, stream) = tokio::join!(asking, answering);
    assert_eq!(asked.headers["content-type"], "text/event-stream");
    let begun = String::from_utf8(asked.next().await.unwrap().to_vec()).unwrap();
    assert!(
        begun.starts_with("event: message_start\n") && begun.contains(r#""text":"Hä""#),
        "{begun}"
    );
    stream.cut().await;
    let rest = asked.rest().await;
    let (name, data) = rest.trim_end().split_once("\ndata: ").unwrap();
    let error: Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (name, &error["error"]["type"]),
        ("event: error", &json!("api_error"))
    );
    rig.call_is("c", "failed").await;
}

#[tokio::test]
async fn a_client_that_leaves_a_message_cancels_its_call() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body(true);
    let asking = rig.client.stream(MESSAGES, &[("x-call-id", "c")], &request);
    let answering = async {
        let stream = engine.call().await.stream().await;
        stream.send(&chunk("x")).await;
        stream
    };
    let (mut asked, stream) = tokio::join!(asking, answering);
    asked.next().await.unwrap();
    drop(asked);
    stream.dropped().await;
    rig.call_is("c", "cancelled").await;
}

#[tokio::test]
async fn refusals_have_anthropics_shape_and_our_statuses() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let with = |field: &str, value: Value| {
        let mut body = body(false);
        body[field] = value;
        body.to_string()
    };
    for path in [MESSAGES, COUNT] {
        for (body, status, kind) in [
            ("{".to_owned(), 400, "invalid_request_error"),
            (
                with("thinking", json!({"type": "between_tools"})),
                400,
                "invalid_request_error",
            ),
            (with("model", json!("nope")), 404, "not_found_error"),
        ] {
            let answer = rig
                .client
                .ask(Method::POST, path, (&[], Bytes::from(body)))
                .await;
            assert_eq!(
                error_of(&answer),
                (status, json!(kind)),
                "{path}: {}",
                answer.text()
            );
        }
    }
    let refused = with("temperature", json!(-1));
    let answer = rig
        .client
        .ask(Method::POST, MESSAGES, (&[], Bytes::from(refused)))
        .await;
    assert!(
        answer.text().contains("temperature is 0 to 2"),
        "{}",
        answer.text()
    );

    let too_long = json!({"error": {"message": "too long", "type": "invalid_request_error",
        "param": "messages", "code": "context_length_exceeded"}});
    let request = body(true);
    let asking = rig.client.post(MESSAGES, &[], &request);
    let answering = async { engine.call().await.answer(400, Vec::new(), &too_long).await };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(error_of(&answer), (400, json!("invalid_request_error")));
    assert!(
        answer.text().contains("prompt is too long"),
        "{}",
        answer.text()
    );

    // An engine that answers with something else is not taken for one.
    let asking = rig.client.post(MESSAGES, &[], &request);
    let answering = async {
        engine
            .call()
            .await
            .answer(200, Vec::new(), &json!({}))
            .await
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(error_of(&answer), (502, json!("api_error")));
}

#[tokio::test]
async fn a_message_that_waits_gets_signs_of_life_and_then_its_refusal() {
    let quick = Config {
        heartbeat: Duration::from_millis(20),
        ..config()
    };
    let rig = Rig::start(quick, &[]).await;
    rig.pools
        .send_modify(|pools| pools[0].cold_start_hold = Micros::from_millis(300));
    let request = body(true);
    let asking = rig.client.stream(MESSAGES, &[], &request);
    let mut waiting = soon("a head", asking).await;
    let text = soon("the end", waiting.rest()).await;
    assert!(
        text.starts_with(": ")
            && text.contains("event: error\n")
            && text.contains("overloaded_error"),
        "{text}"
    );
}

#[tokio::test]
async fn the_tokens_of_a_message_are_counted_by_an_engine() {
    let engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let counted = rig.client.post(COUNT, &[], &body(false)).await;
    assert_eq!(
        (counted.status.as_u16(), counted.json()),
        (200, json!({"input_tokens": 3}))
    );
}

#[tokio::test]
async fn thoughts_come_while_the_model_thinks() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body(true);
    let asking = rig.client.stream(MESSAGES, &[], &request);
    let answering = async {
        let stream = engine.call().await.stream().await;
        let thought = delta(&json!({"reasoning_content": "hm"}));
        stream.send(&thought).await;
        stream
    };
    let (mut asked, _thinking) = tokio::join!(asking, answering);
    let mut told = String::new();
    soon("a thought", async {
        while !told.contains(r#"{"type":"thinking_delta","thinking":"hm"}"#) {
            told += std::str::from_utf8(&asked.next().await.unwrap()).unwrap();
        }
    })
    .await;
}
