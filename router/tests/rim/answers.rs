//! Answers pass as they are, and no end of an answer overtakes its figures.

use std::time::Duration;

use lps_api::ids::ModelName;
use lps_api::protocol::{CallCommand, CallState, CallUsage};
use lps_api::quantity::Micros;
use lps_router::config::Config;
use lps_router::discovery::Pool;
use serde_json::{Value, json};

use crate::support::engine::{Engine, USAGE};
use crate::support::{Rig, config, pool, soon};

const FIRST: &str =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"Hä\"}}]}\n\n";

pub(crate) fn last() -> String {
    let chunk = json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "lps": USAGE});
    format!("data: {chunk}\n\n")
}

fn body(stream: bool) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_and_its_end_waits_for_the_fold() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body(true);
    let headers = [
        ("x-program-id", "p"),
        ("x-call-id", "c"),
        ("traceparent", "00-1-2-03"),
    ];
    let asking = rig
        .client
        .stream("/v1/chat/completions", &headers, &request);
    let answering = async {
        let call = engine.call().await;
        assert_eq!(call.body, body(true).to_string());
        assert_eq!(call.header("x-program-id"), "p");
        assert_eq!(call.header("traceparent"), "00-1-2-03");
        assert!(
            call.header("x-call-id").starts_with("c~"),
            "{}",
            call.header("x-call-id")
        );
        assert!(call.header("x-lps-order").contains(','));
        let stream = call.stream().await;
        stream.send(FIRST).await;
        stream
    };
    let (mut asked, stream) = tokio::join!(asking, answering);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("x-program-id", "p"),
        ("x-call-id", "c"),
        ("x-engine", "e1"),
    ] {
        assert_eq!(asked.headers[name], value);
    }
    for name in ["x-request-id", "x-queue-ms", "x-overhead-ms"] {
        assert!(asked.headers.contains_key(name), "{name}");
    }
    assert_eq!(asked.next().await.unwrap(), FIRST);

    // The last chunk came, but not the end: it is held, because the child calls of who sees it would come too early.
    stream.send(&last()).await;
    assert_eq!(rig.call("c").await["ended_us"], Value::Null);
    stream.send("data: [DONE]\n\n").await;
    assert_eq!(
        asked.next().await.unwrap(),
        format!("{}data: [DONE]\n\n", last())
    );
    let call = rig.call("c").await;
    assert_eq!(
        (&call["state"], &call["service_us"]),
        (&json!("completed"), &json!(1_500))
    );
    drop(stream);
    assert_eq!(asked.next().await, None);
}

#[tokio::test]
async fn a_whole_answer_passes_with_its_figures_in_the_header() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = json!({"model": "m", "prompt": [1, 2, 3], "max_tokens": 2});
    let asking = rig
        .client
        .post("/v1/completions", &[("x-request-id", "r-1")], &request);
    let answering = async {
        let call = engine.call().await;
        assert_eq!(
            (call.path.as_str(), call.header("x-request-id")),
            ("/v1/completions", "r-1")
        );
        call.complete("hello").await;
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["lps"]["executor_us"], 1_500);
    assert_eq!(answer.header("x-cached-tokens"), "3");
    assert_eq!(answer.header("x-request-id"), "r-1");
    let row = rig
        .client
        .get(&format!("/v1/programs/{}", answer.header("x-program-id")))
        .await;
    assert_eq!(row.json()["service_total_us"], 1_500);
}

#[tokio::test]
async fn the_figures_of_a_parent_are_folded_when_its_child_comes() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    for (index, call) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let headers = [("x-program-id", "chain"), ("x-call-id", call)];
        let request = body(false);
        let asking = rig.client.post("/v1/chat/completions", &headers, &request);
        let answering = async { engine.call().await.complete("x").await };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer.status, 200);
        let expected = 1_500 * u64::try_from(index).unwrap();
        assert_eq!(
            rig.call(call).await["p_us"],
            expected,
            "p is what all before had used"
        );
    }
    let row = rig.client.get("/v1/programs/chain").await.json();
    assert_eq!(row["critical_path_us"], 6_000);
    assert_eq!(row["calls"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn an_engines_refusal_of_a_call_is_passed_on_as_it_is() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let error = json!({"error": {"message": "too long", "type": "invalid_request_error",
        "param": "messages", "code": "context_length_exceeded"}});
    for status in [400, 422, 500] {
        let request = body(true);
        let headers = [("x-call-id", "refused")];
        let asking = rig.client.post("/v1/chat/completions", &headers, &request);
        let answering = async { engine.call().await.answer(status, Vec::new(), &error).await };
        let (answer, ()) = tokio::join!(asking, answering);
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.json(), error);
        assert_eq!(rig.call("refused").await["state"], "failed");
    }
}

#[tokio::test]
async fn the_engines_own_error_event_is_the_only_one() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let event = "data: {\"error\":{\"message\":\"out of memory\"}}\n\n";
    let request = body(true);
    let asking = rig
        .client
        .stream("/v1/chat/completions", &[("x-call-id", "c")], &request);
    let answering = async {
        let stream = engine.call().await.stream().await;
        stream.send(FIRST).await;
        stream.send(event).await;
    };
    let (mut asked, ()) = tokio::join!(asking, answering);
    assert_eq!(asked.rest().await, format!("{FIRST}{event}"));
    rig.call_is("c", "failed").await;
}

#[tokio::test]
async fn a_running_call_that_falls_behind_is_told_its_new_place() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body(true);
    let asking = rig
        .client
        .stream("/v1/chat/completions", &[("x-call-id", "long")], &request);
    let answering = async {
        let call = engine.call().await;
        assert!(call.header("x-lps-order").starts_with("0,"));
        // More than the first queue's quantum of 2 s.
        let used = CallUsage {
            executor_us: Micros::from_secs(3),
            ..USAGE
        };
        engine.progress(&call, CallState::Running, used);
        let CallCommand::Order { call: named, order } = engine.command().await else {
            panic!("the first command is an order");
        };
        assert_eq!((named, order.queue), (call.wire(), 1));
        let stream = call.stream().await;
        stream.send(FIRST).await;
        stream.send("data: [DONE]\n\n").await;
    };
    let (mut asked, ()) = tokio::join!(asking, answering);
    assert!(asked.rest().await.ends_with("data: [DONE]\n\n"));
    assert_eq!(rig.call("long").await["demotions"], 1);
}

#[tokio::test]
async fn a_model_has_other_names_and_goes_with_its_pool() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let alias = ModelName::parse("short").unwrap();
    rig.pools.send_replace(vec![Pool {
        aliases: vec![alias],
        ..pool("m")
    }]);
    let request = json!({"model": "short", "prompt": "x", "unknown": [1.50, "ä"]});
    let asking = rig.client.post("/v1/completions", &[], &request);
    let answering = async {
        let call = engine.call().await;
        assert_eq!(call.body, request.to_string().replace("\"short\"", "\"m\""));
        call.complete("x").await;
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.status, 200);

    rig.pools.send_replace(Vec::new());
    let gone = rig.client.post("/v1/completions", &[], &request).await;
    assert_eq!(
        (gone.status.as_u16(), gone.json()["error"]["code"].clone()),
        (404, json!("model_not_found"))
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_holds_nobody_up() {
    let mut engine = Engine::start("e1", 4).await;
    let stall = Config {
        stall_limit: Duration::from_millis(300),
        ..config()
    };
    let rig = Rig::start(stall, &[&engine]).await;
    let request = body(true);
    let asking = rig.client.stream(
        "/v1/chat/completions",
        &[("x-call-id", "stalled")],
        &request,
    );
    let answering = async { engine.call().await.stream().await };
    let flood = async {
        let stream = answering.await;
        let chunk = format!("data: {{\"text\":\"{}\"}}\n\n", "x".repeat(1 << 20));
        while !stream.is_dropped() {
            stream.send(&chunk).await;
        }
        stream
    };
    let (_unread, _stream) = tokio::join!(asking, soon("the router to drop the call", flood));
    rig.call_is("stalled", "cancelled").await;

    let request = body(false);
    let asking = rig.client.post("/v1/chat/completions", &[], &request);
    let (answer, ()) = tokio::join!(asking, async { engine.call().await.complete("x").await });
    assert_eq!(answer.status, 200);
}
