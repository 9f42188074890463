//! Clients that try a call again while it still runs.

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::client::Answer;
use crate::support::engine::Engine;
use crate::support::{Rig, config, eventually, soon};

type Headers = &'static [(&'static str, &'static str)];

const KEY: (&str, &str) = ("idempotency-key", "the same call");

fn body(text: &str) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}

fn ask(rig: &Rig, headers: Headers, body: Value) -> JoinHandle<Answer> {
    let client = rig.client.clone();
    lps_runtime::task::spawn("client", async move {
        client.post("/v1/chat/completions", headers, &body).await
    })
}

async fn attached(rig: &Rig, count: u32) {
    let line = format!("lps_router_attached_total {count}");
    eventually("retries to wait", || async {
        let metrics = rig.admin.get("/metrics").await.text();
        metrics.lines().any(|it| it == line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_retry_of_a_call_that_runs_gets_its_answer() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let first = ask(&rig, &[KEY, ("x-stainless-retry-count", "0")], body("hi"));
    let call = engine.call().await;
    let again = ask(&rig, &[KEY, ("x-stainless-retry-count", "1")], body("hi"));
    attached(&rig, 1).await;
    call.complete("x").await;
    let (first, again) = (first.await.unwrap(), again.await.unwrap());
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (200, 200));
    assert_eq!(first.text(), again.text());
    for name in ["x-call-id", "x-program-id", "x-engine"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
    // Once it has ended it is asked anew, by the same name.
    let anew = ask(&rig, &[KEY], body("hi"));
    engine.call().await.complete("y").await;
    let anew = anew.await.unwrap();
    assert_eq!(anew.header("x-call-id"), first.header("x-call-id"));
}

#[tokio::test]
async fn a_call_that_was_named_is_found_by_its_name() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let first = ask(&rig, &[("x-call-id", "c")], body("hi"));
    let call = engine.call().await;
    let retried: Headers = &[("x-call-id", "c"), ("x-stainless-retry-count", "1")];
    let again = ask(&rig, retried, body("hi"));
    attached(&rig, 1).await;
    call.complete("x").await;
    assert_eq!(first.await.unwrap().text(), again.await.unwrap().text());
}

#[tokio::test]
async fn the_call_ends_when_all_have_left_that_wait() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let headers: Headers = &[KEY, ("x-call-id", "c")];
    let first = ask(&rig, headers, body("hi"));
    let call = engine.call().await;
    let second = ask(&rig, headers, body("hi"));
    attached(&rig, 1).await;
    first.abort();
    let third = ask(&rig, headers, body("hi"));
    attached(&rig, 2).await;
    second.abort();
    third.abort();
    soon("the engine to be left", call.dropped()).await;
    rig.call_is("c", "cancelled").await;
}

#[tokio::test]
async fn who_asks_something_else_or_a_stream_or_is_another_tenant_does_not_get_it() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let first = ask(&rig, &[KEY], body("hi"));
    let call = engine.call().await;
    let mut streamed = body("hi");
    streamed["stream"] = json!(true);
    for other in [body("ho"), streamed] {
        let refused = ask(&rig, &[KEY], other).await.unwrap();
        assert_eq!(refused.status, 409);
        assert_eq!(refused.json()["error"]["code"], "duplicate_call");
    }
    let stranger = ask(&rig, &[KEY, ("x-tenant-id", "t")], body("hi"));
    engine.call().await.complete("theirs").await;
    assert!(stranger.await.unwrap().text().contains("theirs"));
    call.complete("ours").await;
    assert!(first.await.unwrap().text().contains("ours"));
}

#[tokio::test]
async fn the_same_words_are_another_call_where_nothing_names_it() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    // As best-of-n asks, of which one was tried again.
    let first = ask(&rig, &[("x-stainless-retry-count", "0")], body("hi"));
    let one = engine.call().await;
    let other = ask(&rig, &[("x-stainless-retry-count", "1")], body("hi"));
    let two = engine.call().await;
    one.complete("x").await;
    two.complete("y").await;
    assert_ne!(first.await.unwrap().text(), other.await.unwrap().text());
}

#[tokio::test]
async fn an_empty_key_is_refused() {
    let rig = Rig::start(config(), &[]).await;
    let refused = ask(&rig, &[("idempotency-key", "")], body("hi"));
    let refused = refused.await.unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["param"], "idempotency-key");
}
