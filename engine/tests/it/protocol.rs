//! What router and engine say to each other: events, orders, cancels, drain.

use http_body_util::BodyExt;
use hyper::StatusCode;
use lps_api::protocol::{CallProgress, CallState, EngineEvent};
use serde_json::json;

use crate::support::{Engine, Lines, PATIENCE, chat, whole};

const CHAT: &str = "/v1/chat/completions";
/// Slow enough that a call of many tokens is still there when it is looked at.
const SLOW: &str = "--sim-step-us 2000 --sim-output-tokens 0";

/// The call's first report in one of the states.
async fn reported(lines: &mut Lines, call: &str, states: &[CallState]) -> CallProgress {
    let wanted = |progress: &CallProgress| {
        progress.call.as_str() == call && states.contains(&progress.state)
    };
    lines
        .until(|event| match event {
            EngineEvent::Progress { calls } => calls.into_iter().find(wanted),
            _ => None,
        })
        .await
}

async fn start(
    engine: &Engine,
    call: &str,
    order: &str,
    tokens: u32,
) -> hyper::Response<hyper::body::Incoming> {
    let body = chat(json!({"max_tokens": tokens, "stream": true}));
    let headers = [
        ("x-call-id", call),
        ("x-program-id", "p"),
        ("x-lps-order", order),
        ("x-lps-attempt", "1"),
    ];
    let response = engine.open(CHAT, &headers, &body).await;
    assert_eq!(response.status(), StatusCode::OK);
    response
}

#[tokio::test]
async fn a_stream_begins_with_hello_and_beats() {
    let engine = Engine::start("--engine-id e1 --max-num-seqs 7").await;
    let mut lines = engine.lines().await;
    let EngineEvent::Hello(hello) = lines.next().await.unwrap() else {
        panic!("no hello")
    };
    assert_eq!(
        (
            hello.engine.as_str(),
            hello.model.as_str(),
            hello.max_num_seqs
        ),
        ("e1", "sim", 7)
    );
    assert!(hello.kv_blocks_total > 0 && hello.incarnation != 0);
    let load = lines
        .until(|event| match event {
            EngineEvent::Heartbeat(load) => Some(load),
            _ => None,
        })
        .await;
    assert_eq!(load.running, 0);
    drop(lines);
    engine.end().await;
}

#[tokio::test]
async fn a_calls_figures_end_with_those_of_its_answer() {
    let engine = Engine::start("").await;
    let mut lines = engine.lines().await;
    let response = start(&engine, "a", "0,1", 100).await;
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&text).unwrap();
    let last = text
        .split("\n\n")
        .find(|event| event.contains("\"lps\""))
        .unwrap();
    let last: serde_json::Value =
        serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    let progress = reported(&mut lines, "a", &[CallState::Finished]).await;
    assert_eq!(serde_json::to_value(progress.usage).unwrap(), last["lps"]);
    assert_eq!(progress.attempt.0, 1);
    drop(lines);
    engine.end().await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_slot() {
    let engine = Engine::start(SLOW).await;
    let mut lines = engine.lines().await;
    let streamed = start(&engine, "streamed", "0,1", 20_000).await;
    reported(&mut lines, "streamed", &[CallState::Running]).await;
    drop(streamed);
    reported(&mut lines, "streamed", &[CallState::Cancelled]).await;

    let body = chat(json!({"max_tokens": 20_000}));
    let asked = {
        let headers = [("x-call-id", "unary")];
        let unary = engine.open(CHAT, &headers, &body);
        tokio::select! {
            _ = unary => None,
            progress = reported(&mut lines, "unary", &[CallState::Running]) => Some(progress),
        }
    };
    assert!(asked.is_some(), "the answer is not there yet");
    reported(&mut lines, "unary", &[CallState::Cancelled]).await;
    drop(lines);
    engine.end().await;
}

#[tokio::test]
async fn the_router_cancels_and_the_client_is_told() {
    let engine = Engine::start(SLOW).await;
    let mut lines = engine.lines().await;
    let streamed = start(&engine, "a", "0,1", 20_000).await;
    reported(&mut lines, "a", &[CallState::Running]).await;
    let commands = json!({"commands": [{"type": "cancel", "call": "a"}, {"type": "cancel", "call": "nobody"}]});
    let (status, results) = engine.post("/internal/v1/calls", &commands).await;
    assert_eq!(
        (status, &results["found"]),
        (StatusCode::OK, &json!([true, false]))
    );
    let text = streamed.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&text).unwrap();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(
        last.starts_with("data: {\"error\":") && last.contains("\"lps\":{\"prompt_tokens\":"),
        "{last}"
    );
    assert!(!text.contains("[DONE]"));
    drop(lines);
    engine.end().await;
}

#[tokio::test]
async fn an_order_displaces_what_runs() {
    let engine = Engine::start(&format!("{SLOW} --max-num-seqs 1 --max-batched-tokens 64")).await;
    let mut lines = engine.lines().await;
    let first = start(&engine, "first", "1,1", 20_000).await;
    reported(&mut lines, "first", &[CallState::Running]).await;
    let second = start(&engine, "second", "2,2", 20_000).await;
    reported(&mut lines, "second", &[CallState::Waiting]).await;
    let command = json!({"commands": [{"type": "order", "call": "second", "order": {"queue": 0, "rank": 2}}]});
    engine.post("/internal/v1/calls", &command).await;
    let mut seen = (false, false);
    lines
        .until(|event| {
            if let EngineEvent::Progress { calls } = event {
                for progress in calls {
                    seen.0 |=
                        progress.call.as_str() == "first" && progress.state == CallState::Preempted;
                    seen.1 |=
                        progress.call.as_str() == "second" && progress.state == CallState::Running;
                }
            }
            (seen == (true, true)).then_some(())
        })
        .await;
    drop((first, second, lines));
    engine.end().await;
}

#[tokio::test]
async fn one_name_is_open_once() {
    let engine = Engine::start(SLOW).await;
    let open = start(&engine, "a", "0,1", 20_000).await;
    let (status, answer) = whole(
        engine
            .open(CHAT, &[("x-call-id", "a")], &chat(json!({})))
            .await,
    )
    .await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::CONFLICT, &json!("duplicate_call"))
    );
    drop(open);
    engine.end().await;
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let engine = Engine::start("--sim-step-us 2000 --sim-output-tokens 0").await;
    let mut lines = engine.lines().await;
    let open = start(&engine, "a", "0,1", 300).await;
    reported(&mut lines, "a", &[CallState::Running]).await;
    assert_eq!(
        engine.post("/internal/v1/drain", &json!(null)).await.0,
        StatusCode::OK
    );
    lines
        .until(|event| (event == EngineEvent::Draining).then_some(()))
        .await;
    let refused = engine.open(CHAT, &[], &chat(json!({}))).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let text = open.into_body().collect().await.unwrap().to_bytes();
    assert!(text.ends_with(b"data: [DONE]\n\n"));
    // The event stream ends, and with it the process.
    while lines.next().await.is_some() {}
    let finished = tokio::time::timeout(PATIENCE, engine.finished).await;
    finished.expect("it ends by itself").unwrap().unwrap();
}

#[tokio::test]
async fn a_cut_ends_at_once() {
    let engine = Engine::start(SLOW).await;
    let open = start(&engine, "a", "0,1", 20_000).await;
    engine.trigger.cut();
    let finished = tokio::time::timeout(PATIENCE, engine.finished).await;
    finished
        .expect("it does not wait for the call")
        .unwrap()
        .unwrap();
    drop(open);
}

#[tokio::test]
async fn a_cancel_reaches_all_prompts_of_a_request() {
    let engine = Engine::start(SLOW).await;
    let mut lines = engine.lines().await;
    let body = json!({"prompt": ["a", "b", "c"], "max_tokens": 20_000, "stream": true});
    let response = engine
        .open("/v1/completions", &[("x-call-id", "m")], &body)
        .await;
    reported(&mut lines, "m/2", &[CallState::Running]).await;
    let command = json!({"commands": [{"type": "cancel", "call": "m"}]});
    engine.post("/internal/v1/calls", &command).await;
    reported(&mut lines, "m/2", &[CallState::Cancelled]).await;
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&text).unwrap();
    assert_eq!(text.matches("data: {\"error\":").count(), 1);
    drop(lines);
    engine.end().await;
}

#[tokio::test]
async fn an_order_reaches_all_prompts_of_a_request() {
    let engine = Engine::start(&format!("{SLOW} --max-num-seqs 2 --max-batched-tokens 64")).await;
    let mut lines = engine.lines().await;
    let first = start(&engine, "first", "1,1", 20_000).await;
    let other = start(&engine, "other", "1,2", 20_000).await;
    reported(&mut lines, "other", &[CallState::Running]).await;
    let body = json!({"prompt": ["a", "b"], "max_tokens": 20_000, "stream": true});
    let headers = [("x-call-id", "m"), ("x-lps-order", "2,3")];
    let several = engine.open("/v1/completions", &headers, &body).await;
    reported(&mut lines, "m/1", &[CallState::Waiting]).await;
    let command =
        json!({"commands": [{"type": "order", "call": "m", "order": {"queue": 0, "rank": 3}}]});
    engine.post("/internal/v1/calls", &command).await;
    reported(&mut lines, "m/1", &[CallState::Running]).await;
    drop((first, other, several, lines));
    engine.end().await;
}

#[tokio::test]
async fn a_batch_that_never_fills_does_not_hold_up_the_end() {
    let engine = Engine::start("--batching static --max-num-seqs 2 --max-batched-tokens 64").await;
    let mut lines = engine.lines().await;
    let open = start(&engine, "alone", "0,1", 4).await;
    reported(&mut lines, "alone", &[CallState::Waiting]).await;
    drop(lines);
    engine.end().await;
    let text = open.into_body().collect().await.unwrap().to_bytes();
    assert!(text.starts_with(b"data: {\"error\":"));
}
