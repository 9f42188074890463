//! Who asks for a response is answered with one, and finds it again, whatever becomes of the call.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use lps_api::protocol::{Beginning, RESUME_FIELD};
use lps_api::quantity::Micros;
use lps_router::config::Config;
use serde_json::{Value, json};

use crate::support::client::{Answer, Stream};
use crate::support::engine::{self, Call, Engine, USAGE};
use crate::support::{Rig, config, eventually, soon};

const RESPONSES: &str = "/v1/responses";
const BEGINNING: Beginning = Beginning {
    created: 5,
    seed: 9,
};

fn body(stream: bool) -> Value {
    json!({"model": "m", "input": "hi", "stream": stream})
}

/// An answer of an engine: the call's name is in its id.
fn answer(call: &Call, choice: &Value) -> Value {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 3}});
    json!({"id": format!("chatcmpl-{}", call.wire()), "object": "chat.completion", "created": 1, "model": "m",
        "choices": [choice], "usage": usage, "lps": USAGE})
}

async fn say(call: Call, text: &str) {
    let message = json!({"role": "assistant", "content": text});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let told = answer(&call, &choice);
    call.answer(200, Vec::new(), &told).await;
}

fn chunk(call: &Call, text: &str) -> String {
    let choice = json!({"index": 0, "delta": {"content": text}});
    let mut chunk = answer(call, &choice);
    for figures in ["usage", "lps"] {
        chunk[figures].take();
    }
    format!("data: {chunk}\n\n")
}

/// A streamed response of a call named `c` that has said `Hä`, and its id.
async fn begun(rig: &Rig, engine: &mut Engine) -> (Stream, engine::Stream, String) {
    let request = body(true);
    let headers = [("x-call-id", "c")];
    let asking = rig.client.stream(RESPONSES, &headers, &request);
    let answering = async {
        let call = engine.call().await;
        let chunk = chunk(&call, "Hä");
        let id = format!("resp_{}", call.wire());
        let stream = call.stream().await;
        stream.send(&chunk).await;
        (stream, id)
    };
    let (mut asked, (stream, id)) = tokio::join!(asking, answering);
    let first = asked.next().await.expect("events");
    assert!(first.starts_with(b"event: response.created\n"), "{first:?}");
    (asked, stream, id)
}

async fn status(rig: &Rig, id: &str) -> Value {
    let mut response = rig.client.get(&format!("{RESPONSES}/{id}")).await.json();
    response["status"].take()
}

async fn becomes(rig: &Rig, id: &str, status: &str) {
    eventually(&format!("{id} to be {status}"), || async {
        (self::status(rig, id).await == status).then_some(())
    })
    .await;
}

/// The last event of a stream.
fn last(rest: &str) -> Value {
    let (_, data) = rest.trim_end().rsplit_once("\ndata: ").expect("an event");
    serde_json::from_str(data).expect("an object")
}

fn code(answer: &Answer) -> (u16, Value) {
    (
        answer.status.as_u16(),
        answer.json()["error"]["code"].take(),
    )
}

#[tokio::test]
async fn a_response_is_a_chat_on_its_way_and_is_found_again_by_its_tenant_only() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let headers = [("x-program-id", "p"), ("x-tenant-id", "a")];
    let request = body(false);
    let asking = rig.client.post(RESPONSES, &headers, &request);
    let answering = async {
        let call = engine.call().await;
        assert_eq!(call.path, "/v1/chat/completions");
        let asked: Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(
            asked["messages"],
            json!([{"role": "user", "content": "hi"}])
        );
        say(call, "hello").await;
    };
    let (asked, ()) = tokio::join!(asking, answering);
    let response = asked.json();
    assert_eq!(
        (asked.status.as_u16(), &response["status"]),
        (200, &json!("completed"))
    );
    assert_eq!(response["output"][0]["content"][0]["text"], "hello");
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-program-id", "p"),
        ("x-engine", "e1"),
        ("x-cached-tokens", "3"),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }

    let path = format!("{RESPONSES}/{}", response["id"].as_str().unwrap());
    let ask = |method, tenant: &'static str| {
        let (path, client) = (path.clone(), rig.client.clone());
        async move {
            client
                .ask(method, &path, (&[("x-tenant-id", tenant)], Bytes::new()))
                .await
        }
    };
    assert_eq!(ask(Method::GET, "a").await.json(), response);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(
            code(&ask(method, "b").await),
            (404, json!("response_not_found"))
        );
    }
    assert_eq!(ask(Method::DELETE, "a").await.json()["deleted"], true);
    assert_eq!(
        code(&ask(Method::GET, "a").await),
        (404, json!("response_not_found"))
    );
}

#[tokio::test]
async fn the_next_response_goes_on_from_the_one_before_and_is_its_successor() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body(false);
    let asking = rig.client.post(RESPONSES, &[], &request);
    let (first, ()) = tokio::join!(asking, async { say(engine.call().await, "hello").await });
    let next = json!({"model": "m", "input": "more", "previous_response_id": first.json()["id"]});
    let asking = rig.client.post(RESPONSES, &[], &next);
    let answering = async {
        let call = engine.call().await;
        let asked: Value = serde_json::from_slice(&call.body).unwrap();
        let expected = json!([
            {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "more"},
        ]);
        assert_eq!(asked["messages"], expected);
        say(call, "and more").await;
    };
    let (second, ()) = tokio::join!(asking, answering);
    let program = first.header("x-program-id");
    assert_eq!(second.header("x-program-id"), program);
    let row = rig
        .client
        .get(&format!("/v1/programs/{program}"))
        .await
        .json();
    assert_eq!(
        row["calls"][1]["parents"],
        json!([first.header("x-call-id")])
    );
}

#[tokio::test]
async fn what_is_not_to_be_kept_is_not() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let mut request = body(false);
    request["store"] = json!(false);
    let asking = rig.client.post(RESPONSES, &[], &request);
    let (asked, ()) = tokio::join!(asking, async { say(engine.call().await, "hello").await });
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    let read = rig.client.get(&format!("{RESPONSES}/{id}")).await;
    assert_eq!(code(&read), (404, json!("response_not_found")));
    request["previous_response_id"] = json!(id);
    let next = rig.client.post(RESPONSES, &[], &request).await;
    assert_eq!(code(&next), (404, json!("response_not_found")));
    assert_eq!(next.json()["error"]["param"], "previous_response_id");
}

#[tokio::test]
async fn a_stream_that_loses_its_engine_fails_and_is_kept_so() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let (mut asked, stream, id) = begun(&rig, &mut engine).await;
    assert_eq!(status(&rig, &id).await, "in_progress");
    stream.cut().await;
    let last = last(&asked.rest().await);
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "Hä");
    assert_eq!(
        rig.client.get(&format!("{RESPONSES}/{id}")).await.json(),
        last["response"]
    );
    rig.call_is("c", "failed").await;
}

#[tokio::test]
async fn another_engine_goes_on_with_a_response() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body(true);
    let asking = rig.client.stream(RESPONSES, &[], &request);
    let begins = json!({"beginning": BEGINNING, "tokens": [1]});
    let answering = async {
        let call = engine.call().await;
        let chunk = chunk(&call, "Hä");
        let stream = call.stream().await;
        stream.send(&format!(": lps {begins}\n{chunk}")).await;
        stream
    };
    let (mut asked, stream) = tokio::join!(asking, answering);
    let first = asked.next().await.unwrap();
    stream.cut().await;
    let again = engine.call().await;
    let posted: Value = serde_json::from_slice(&again.body).unwrap();
    assert_eq!(posted[RESUME_FIELD]["tokens"], json!([1]));
    let (more, end) = (
        chunk(&again, "?"),
        answer(
            &again,
            &json!({"index": 0, "delta": {}, "finish_reason": "stop"}),
        ),
    );
    let stream = again.stream().await;
    stream
        .send(&format!(
            ": lps {begins}\n{more}data: {end}\n\ndata: [DONE]\n\n"
        ))
        .await;
    let rest = String::from_utf8(first.to_vec()).unwrap() + &asked.rest().await;
    let last = last(&rest);
    assert_eq!(last["type"], "response.completed", "{rest}");
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "Hä?");
    assert_eq!(rest.matches("event: response.created").count(), 1, "{rest}");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_response() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let (asked, stream, id) = begun(&rig, &mut engine).await;
    drop(asked);
    stream.dropped().await;
    rig.call_is("c", "cancelled").await;
    becomes(&rig, &id, "cancelled").await;
}

#[tokio::test]
async fn a_response_that_runs_is_cancelled_by_its_id() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let (mut asked, stream, id) = begun(&rig, &mut engine).await;
    let path = format!("{RESPONSES}/{id}/cancel");
    let other = [("x-tenant-id", "b")];
    let refused = rig.client.post(&path, &other, &json!({})).await;
    assert_eq!(code(&refused), (404, json!("response_not_found")));
    let cancelled = rig.client.post(&path, &[], &json!({})).await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    stream.dropped().await;
    let last = last(&asked.rest().await);
    assert_eq!(
        (&last["type"], &last["response"]["status"]),
        (&json!("response.failed"), &json!("cancelled"))
    );
    rig.call_is("c", "cancelled").await;
    // It stays as it ended.
    let again = rig.client.post(&path, &[], &json!({})).await;
    assert_eq!(again.json(), last["response"]);
}

#[tokio::test]
async fn refusals_are_as_a_chats() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let with = |field: &str, value: Value| {
        let mut body = body(false);
        body[field] = value;
        body.to_string()
    };
    for (body, status, refusal) in [
        ("{".to_owned(), 400, "invalid_json"),
        (with("background", json!(true)), 400, "invalid_value"),
        (with("temperature", json!(-1)), 400, "invalid_value"),
        (with("model", json!("nope")), 404, "model_not_found"),
        (
            with("previous_response_id", json!("resp_x")),
            404,
            "response_not_found",
        ),
    ] {
        let body = Bytes::from(body);
        let answer = rig.client.ask(Method::POST, RESPONSES, (&[], body)).await;
        assert_eq!(code(&answer), (status, json!(refusal)), "{}", answer.text());
    }
    let too_long = json!({"error": {"message": "too long", "type": "invalid_request_error",
        "param": "messages", "code": "context_length_exceeded"}});
    let request = body(true);
    let asking = rig.client.post(RESPONSES, &[], &request);
    let answering = async { engine.call().await.answer(400, Vec::new(), &too_long).await };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(answer.json(), too_long);
    // An engine that answers with something else is not taken for one.
    let request = body(false);
    let asking = rig.client.post(RESPONSES, &[], &request);
    let answering = async {
        engine
            .call()
            .await
            .answer(200, Vec::new(), &json!({}))
            .await
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(code(&answer), (502, json!("engine_lost")));
}

#[tokio::test]
async fn a_response_that_waits_gets_signs_of_life_and_then_its_refusal() {
    let quick = Config {
        heartbeat: Duration::from_millis(20),
        ..config()
    };
    let rig = Rig::start(quick, &[]).await;
    rig.pools
        .send_modify(|pools| pools[0].cold_start_hold = Micros::from_millis(300));
    let request = body(true);
    let asking = rig.client.stream(RESPONSES, &[], &request);
    let mut waiting = soon("a head", asking).await;
    let text = soon("the end", waiting.rest()).await;
    assert!(text.starts_with(": "), "{text}");
    let last = last(&text);
    assert_eq!(
        (&last["type"], &last["code"]),
        (&json!("error"), &json!("no_engine"))
    );
}
