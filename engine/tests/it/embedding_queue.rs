//! Calls for vectors beside each other: the router's order, clients that leave, bounds.

use std::collections::BTreeSet;

use hyper::StatusCode;
use lps_api::protocol::{CallProgress, CallState, EngineEvent};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{Engine, Lines, whole};

const MODEL: &str = "builtin:sim-embedding";
const PATH: &str = "/v1/embeddings";
/// A step takes a few tokens and long enough that whatever comes next finds it running.
const SLOW: &str = "--sim-step-us 5000 --max-num-seqs 1 --max-batched-tokens 8";

/// The call's first report in one of the states.
async fn reported(lines: &mut Lines, call: &str, state: CallState) -> CallProgress {
    let wanted =
        |progress: &CallProgress| progress.call.as_str() == call && progress.state == state;
    lines
        .until(|event| match event {
            EngineEvent::Progress { calls } => calls.into_iter().find(wanted),
            _ => None,
        })
        .await
}

/// A body of so many texts of as many tokens as a step takes.
fn steps(texts: usize) -> Value {
    json!({"input": vec![vec![5; 8]; texts]})
}

async fn cancel(engine: &Engine, call: &str) -> Value {
    let body = json!({"commands": [{"type": "cancel", "call": call}]});
    engine.post("/internal/v1/calls", &body).await.1["found"][0].clone()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn the_routers_order_decides_what_runs_next() {
    let log = tempfile::tempdir().unwrap();
    let log = log.path().join("steps.jsonl");
    let engine = Engine::start_model(MODEL, &format!("{SLOW} --step-log {}", log.display())).await;
    let mut lines = engine.lines().await;
    let ask = async |call: &str, order: &str, body: Value| {
        let headers = [("x-call-id", call), ("x-lps-order", order)];
        whole(engine.open(PATH, &headers, &body).await).await
    };
    let two = json!({"input": [[1, 2], [3]]});
    let begun = Notify::new();
    let scenario = async {
        reported(&mut lines, "first", CallState::Running).await;
        begun.notify_one();
        let mut missing = BTreeSet::from(["last", "second", "third"]);
        while !missing.is_empty() {
            let waiting = lines.until(|event| match event {
                EngineEvent::Progress { calls } => Some(calls),
                _ => None,
            });
            for progress in waiting.await {
                missing.remove(progress.call.as_str());
            }
        }
        let order = json!({"type": "order", "call": "third", "order": {"queue": 2, "rank": 3}});
        let order = json!({"commands": [order]});
        engine.post("/internal/v1/calls", &order).await;
        assert_eq!(cancel(&engine, "first").await, json!(true));
        assert_eq!(cancel(&engine, "nobody").await, json!(false));
        reported(&mut lines, "last", CallState::Finished).await
    };
    let later = async {
        begun.notified().await;
        tokio::join!(
            ask("last", "9,1", two.clone()),
            ask("second", "2,2", two.clone()),
            ask("third", "9,0", two.clone()),
        )
    };
    let (first, later, finished) = tokio::join!(ask("first", "0,0", steps(2000)), later, scenario);
    assert_eq!(
        (first.0, &first.1["error"]["code"]),
        (StatusCode::CONFLICT, &json!("cancelled"))
    );
    assert!(
        first.1["lps"]["executor_us"].as_u64().unwrap() >= 5000,
        "{}",
        first.1
    );
    for (status, answer) in [&later.0, &later.1, &later.2] {
        assert_eq!(*status, StatusCode::OK, "{answer}");
    }
    assert_eq!(
        serde_json::to_value(finished.usage).unwrap(),
        later.0.1["lps"]
    );
    drop(lines);
    engine.end().await;
    // Each has 3 tokens, and a step takes 8: two calls and most of the third one's share the step.
    let text = std::fs::read_to_string(log).unwrap();
    let ran: Vec<String> = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .flat_map(|line| line["sequences"].as_array().unwrap().clone())
        .map(|part| part["call"].as_str().unwrap().to_owned())
        .filter(|call| !["first", "warm-up"].contains(&call.as_str()))
        .collect();
    assert_eq!(ran, ["second", "second", "third", "third", "last", "last"]);
    let shared = text
        .lines()
        .find(|line| line.contains("\"second\""))
        .unwrap();
    assert!(
        shared.contains("\"third\"") && shared.contains("\"last\""),
        "{shared}"
    );
}

#[tokio::test]
async fn a_client_that_leaves_takes_back_what_has_not_begun() {
    let engine = Engine::start_model(MODEL, SLOW).await;
    let mut lines = engine.lines().await;
    let headers = [("x-call-id", "left")];
    let body = steps(2000);
    let asked = {
        let asked = engine.open(PATH, &headers, &body);
        tokio::select! {
            _ = asked => None,
            progress = reported(&mut lines, "left", CallState::Running) => Some(progress),
        }
    };
    assert!(asked.is_some(), "the answer is not there yet");
    let left = reported(&mut lines, "left", CallState::Cancelled).await;
    assert_eq!(left.usage.prompt_tokens.0, 16_000);
    let (status, answer) = engine.post(PATH, &steps(1)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    drop(lines);
    engine.end().await;
}

#[tokio::test]
async fn more_calls_than_may_wait_are_refused() {
    let engine = Engine::start_model(MODEL, &format!("{SLOW} --max-calls 1")).await;
    let mut lines = engine.lines().await;
    let headers = [("x-call-id", "long")];
    let body = steps(2000);
    let refused = async {
        reported(&mut lines, "long", CallState::Running).await;
        let again = whole(engine.open(PATH, &headers, &steps(1)).await).await;
        assert_eq!(
            (again.0, &again.1["error"]["code"]),
            (StatusCode::CONFLICT, &json!("duplicate_call"))
        );
        let response = engine.open(PATH, &[], &steps(1)).await;
        assert!(response.headers().contains_key("retry-after"));
        let refused = whole(response).await;
        cancel(&engine, "long").await;
        refused
    };
    let (_, (status, answer)) = tokio::join!(engine.open(PATH, &headers, &body), refused);
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::TOO_MANY_REQUESTS, &json!("too_many_calls"))
    );
    drop(lines);
    engine.end().await;
}
