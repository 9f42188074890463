//! Cancels: by leaving, by call, by program; waiting or running.

use crate::support::engine::{Engine, USAGE};
use crate::support::{Rig, config, soon};
use lps_api::protocol::{CallCommand, CallState};
use serde_json::{Value, json};

fn body(stream: bool) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
}

const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";

#[tokio::test]
async fn a_client_that_leaves_a_stream_frees_the_slot_and_is_charged_what_ran() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body(true);
    let asking = rig
        .client
        .stream("/v1/chat/completions", &[("x-call-id", "c")], &request);
    let answering = async {
        let call = engine.call().await;
        let (wire, headers) = (call.wire(), call.headers.clone());
        engine.progress(&call, CallState::Running, USAGE);
        let stream = call.stream().await;
        stream.send(CHUNK).await;
        (wire, headers, stream)
    };
    let (mut asked, (wire, _, stream)) = tokio::join!(asking, answering);
    assert_eq!(asked.next().await.unwrap(), CHUNK);
    drop(asked);
    stream.dropped().await;
    loop {
        if let CallCommand::Cancel { call } = engine.command().await {
            assert_eq!(call, wire);
            break;
        }
    }
    // The engine does not confirm; what it had reported before counts.
    let call = rig.call_is("c", "cancelled").await;
    assert_eq!(call["service_us"], 1_500);
    let request = json!({"model": "m", "prompt": "x"});
    let next = rig.client.post("/v1/completions", &[], &request);
    let (next, ()) = tokio::join!(next, async { engine.call().await.complete("y").await });
    assert_eq!(next.status, 200);
}

#[tokio::test]
async fn the_engines_last_figures_of_a_cancelled_call_count() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let client = rig.client.clone();
    let asking = lps_runtime::task::spawn("client", async move {
        client
            .post("/v1/chat/completions", &[("x-call-id", "c")], &body(false))
            .await
    });
    let call = engine.call().await;
    let cancelled = rig.client.post("/v1/calls/c/cancel", &[], &json!({})).await;
    assert_eq!(cancelled.status, 200);
    let answer = soon("the client's answer", asking).await.unwrap();
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.json()["error"]["code"].clone()
        ),
        (409, json!("cancelled"))
    );
    call.dropped().await;
    engine.progress(&call, CallState::Cancelled, USAGE);
    let row = rig.call_is("c", "cancelled").await;
    assert_eq!(row["service_us"], 1_500);
}

#[tokio::test]
async fn a_client_that_leaves_before_any_answer_cancels_too() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let client = rig.client.clone();
    let asking = lps_runtime::task::spawn("client", async move {
        client
            .post("/v1/chat/completions", &[("x-call-id", "c")], &body(false))
            .await
    });
    let call = engine.call().await;
    asking.abort();
    call.dropped().await;
    engine.progress(&call, CallState::Cancelled, USAGE);
    rig.call_is("c", "cancelled").await;
}

#[tokio::test]
async fn a_waiting_call_is_cancelled_without_an_engine() {
    let rig = Rig::start(config(), &[]).await;
    let client = rig.client.clone();
    let asking = lps_runtime::task::spawn("client", async move {
        client
            .post("/v1/chat/completions", &[("x-call-id", "c")], &body(true))
            .await
    });
    rig.call_is("c", "pending").await;
    let row = rig.client.post("/v1/calls/c/cancel", &[], &json!({})).await;
    assert_eq!(row.json()["state"], "cancelled");
    let answer = soon("the client's answer", asking).await.unwrap();
    assert_eq!(answer.json()["error"]["code"], "cancelled");
}

#[tokio::test]
async fn a_programs_cancel_reaches_what_waits_and_what_runs() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let mut asking = Vec::new();
    for index in 0..6 {
        let client = rig.client.clone();
        asking.push(lps_runtime::task::spawn("client", async move {
            let call = format!("c{index}");
            let headers = [("x-program-id", "p"), ("x-call-id", &*call)];
            client
                .post("/v1/chat/completions", &headers, &body(false))
                .await
        }));
        rig.call_is(&format!("c{index}"), "pending").await;
    }
    let first = engine.call().await;
    let row = rig
        .client
        .post("/v1/programs/p/cancel", &[], &json!({}))
        .await;
    assert_eq!(row.status, 200, "{}", row.text());
    for one in asking {
        let answer = soon("an answer", one).await.unwrap();
        assert_eq!(
            answer.json()["error"]["code"],
            "cancelled",
            "{}",
            answer.text()
        );
    }
    first.dropped().await;
    engine.progress(&first, CallState::Cancelled, USAGE);
    for index in 0..6 {
        rig.call_is(&format!("c{index}"), "cancelled").await;
    }
}
