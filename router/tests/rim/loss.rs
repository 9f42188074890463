//! Engines that die, break off or are busy: what the client sees, and how often a call is tried.

use crate::support::engine::{Engine, USAGE};
use crate::support::{Rig, config, eventually};
use lps_api::protocol::CallState;
use serde_json::{Value, json};

fn body() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true})
}

const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";

#[tokio::test]
async fn a_stream_that_breaks_ends_with_one_error_event_and_without_done() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    for how in ["cut", "killed"] {
        let request = body();
        let headers = [("x-call-id", how)];
        let asking = rig
            .client
            .stream("/v1/chat/completions", &headers, &request);
        let answering = async {
            let stream = engine.call().await.stream().await;
            stream.send(CHUNK).await;
            stream
        };
        let (mut asked, stream) = tokio::join!(asking, answering);
        assert_eq!(asked.next().await.unwrap(), CHUNK);
        if how == "cut" {
            stream.cut().await;
        } else {
            engine.kill();
        }
        let rest = asked.rest().await;
        let error: Value =
            serde_json::from_str(rest.strip_prefix("data: ").unwrap().trim_end()).unwrap();
        assert_eq!(error["error"]["code"], "engine_lost", "{rest}");
        assert!(rest.ends_with("\n\n") && !rest.contains("[DONE]"));
        let call = rig.call_is(how, "failed").await;
        assert_eq!(call["attempt"], 0, "what has begun is not tried again");
    }
    rig.engines_up(0).await;
}

#[tokio::test]
async fn a_call_without_a_byte_goes_to_another_engine_when_its_own_dies() {
    let (mut one, mut two) = (Engine::start("e1", 1).await, Engine::start("e2", 1).await);
    let rig = Rig::start(config(), &[&one, &two]).await;
    let request = json!({"model": "m", "prompt": "x"});
    let asking = rig
        .client
        .post("/v1/completions", &[("x-call-id", "c")], &request);
    let engines = async {
        let (first, is_one) = tokio::select! {
            call = one.call() => (call, true),
            call = two.call() => (call, false),
        };
        assert_eq!(first.header("x-lps-attempt"), "0");
        let (dead, alive) = if is_one {
            (&mut one, &mut two)
        } else {
            (&mut two, &mut one)
        };
        dead.kill();
        let again = alive.call().await;
        assert_eq!(again.header("x-lps-attempt"), "1");
        assert_eq!(again.wire(), first.wire());
        again.complete("from the other").await;
        alive.id.clone()
    };
    let (answer, alive) = tokio::join!(asking, engines);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-engine"), alive);
    assert_eq!(rig.call("c").await["state"], "completed");
}

#[tokio::test]
async fn a_call_is_sent_twice_at_most_when_connections_fail() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = json!({"model": "m", "prompt": "x"});
    let asking = rig
        .client
        .post("/v1/completions", &[("x-call-id", "c")], &request);
    let answering = async {
        for attempt in ["0", "1"] {
            let call = engine.call().await;
            assert_eq!(call.header("x-lps-attempt"), attempt);
        }
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "engine_lost");
    assert_eq!(rig.call("c").await["state"], "failed");
}

#[tokio::test]
async fn a_busy_engine_is_asked_again_and_the_client_does_not_see_it() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = json!({"model": "m", "prompt": "x"});
    let asking = rig
        .client
        .post("/v1/completions", &[("x-call-id", "c")], &request);
    let answering = async {
        for status in [503, 429] {
            let busy = json!({"error": {"message": "full"}});
            engine.call().await.answer(status, Vec::new(), &busy).await;
        }
        engine.call().await.complete("at last").await;
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(rig.call("c").await["attempt"], 2);
}

#[tokio::test]
async fn a_new_start_of_an_engine_loses_what_the_old_one_had() {
    let mut old = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&old]).await;
    let request = body();
    let asking = rig
        .client
        .stream("/v1/chat/completions", &[("x-call-id", "c")], &request);
    let answering = async {
        let stream = old.call().await.stream().await;
        stream.send(CHUNK).await;
        stream
    };
    let (mut asked, stream) = tokio::join!(asking, answering);
    assert_eq!(asked.next().await.unwrap(), CHUNK);
    // Another process under the same name, elsewhere; the old one still holds its connections.
    let mut new = Engine::start("e1", 4).await;
    rig.engines
        .send_replace(vec![crate::support::endpoint(&new)]);
    stream.dropped().await;
    assert!(asked.rest().await.contains("engine_lost"));
    rig.call_is("c", "failed").await;

    let request = json!({"model": "m", "prompt": "x"});
    let asking = rig.client.post("/v1/completions", &[], &request);
    let serving = async { new.call().await.complete("new").await };
    let (answer, ()) = tokio::join!(asking, serving);
    assert_eq!(answer.status, 200);
    eventually("one engine", || async {
        let list = rig.client.get("/v1/engines").await.json();
        (list["data"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
}

/// What the model's numbers did to a call they would do again: the engine's error is the answer, whole or in a stream,
/// what ran is charged, and the engine stays.
#[tokio::test]
async fn a_numeric_error_is_the_answer_and_is_not_tried_again() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let error = json!({
        "error": {"message": "NaN", "type": "server_error", "param": null, "code": "numeric_error"},
        "lps": USAGE,
    });

    let request = json!({"model": "m", "prompt": "x"});
    let asking = rig
        .client
        .post("/v1/completions", &[("x-call-id", "whole")], &request);
    let failing = async {
        let call = engine.call().await;
        engine.progress(&call, CallState::Failed, USAGE);
        call.answer(500, Vec::new(), &error).await;
    };
    let (answer, ()) = tokio::join!(asking, failing);
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (500, error.clone())
    );

    let request = body();
    let asking = rig.client.stream(
        "/v1/chat/completions",
        &[("x-call-id", "streamed")],
        &request,
    );
    let failing = async {
        let call = engine.call().await;
        engine.progress(&call, CallState::Failed, USAGE);
        let stream = call.stream().await;
        stream.send(CHUNK).await;
        stream.send(&format!("data: {error}\n\n")).await;
    };
    let (mut asked, ()) = tokio::join!(asking, failing);
    assert_eq!(asked.next().await.unwrap(), CHUNK);
    assert_eq!(asked.rest().await, format!("data: {error}\n\n"));

    for name in ["whole", "streamed"] {
        let call = rig.call_is(name, "failed").await;
        let (attempt, service) = (&call["attempt"], &call["service_us"]);
        assert_eq!((attempt, service), (&json!(0), &json!(1_500)), "{call}");
    }
    let request = json!({"model": "m", "prompt": "y"});
    let asking = rig.client.post("/v1/completions", &[], &request);
    let serving = async { engine.call().await.complete("sound").await };
    let (answer, ()) = tokio::join!(asking, serving);
    assert_eq!(answer.status, 200);
}
