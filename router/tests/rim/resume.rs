//! Streams that lose their engine in the midst: what is asked of the next one, and what the client sees.

use crate::support::engine::{Engine, USAGE};
use crate::support::{Rig, config};
use lps_api::protocol::{Beginning, RESUME_FIELD, Resume};
use serde_json::{Value, json};

const FIRST: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
const SECOND: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"y\"}}]}\n\n";
const BEGINNING: Beginning = Beginning {
    created: 5,
    seed: 9,
};
/// Attempts that may fail once an answer has begun, and the one that began it.
const ATTEMPTS: usize = 4;

fn body() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true})
}

fn checkpoint(rest: &Value) -> String {
    format!(": lps {rest}\n")
}

fn begins() -> String {
    checkpoint(&json!({"beginning": BEGINNING, "tokens": [1, 2]}))
}

#[tokio::test]
async fn the_next_engine_goes_on_from_what_the_client_has() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body();
    let headers = [("x-call-id", "c")];
    let asking = rig
        .client
        .stream("/v1/chat/completions", &headers, &request);
    let answering = async {
        let stream = engine.call().await.stream().await;
        stream.send(&(begins() + FIRST)).await;
        stream
    };
    let (mut asked, stream) = tokio::join!(asking, answering);
    assert_eq!(
        asked.next().await.unwrap(),
        FIRST,
        "checkpoints are the router's"
    );
    stream.cut().await;

    // It has not noticed yet that the first attempt is over: that is waited out.
    let busy = engine.call().await;
    busy.answer(
        409,
        Vec::new(),
        &json!({"error": {"code": "duplicate_call"}}),
    )
    .await;
    let again = engine.call().await;
    let posted: Value = serde_json::from_slice(&again.body).unwrap();
    let resume: Resume = serde_json::from_value(posted[RESUME_FIELD].clone()).unwrap();
    let tokens = vec![1, 2];
    let beginning = BEGINNING;
    assert_eq!(resume, Resume { beginning, tokens });
    assert_eq!(posted["messages"], request["messages"]);
    let stream = again.stream().await;
    let end = json!({"choices": [], "lps": USAGE});
    let told = checkpoint(&json!({"beginning": BEGINNING, "tokens": [3]}));
    stream
        .send(&format!("{told}{SECOND}data: {end}\n\ndata: [DONE]\n\n"))
        .await;
    let rest = asked.rest().await;
    assert!(
        rest.starts_with(SECOND) && rest.ends_with("[DONE]\n\n"),
        "{rest}"
    );
    rig.call_is("c", "completed").await;
}

#[tokio::test]
async fn from_an_engine_that_begins_anew_nothing_goes_to_the_client() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = body();
    let asking = rig.client.stream("/v1/chat/completions", &[], &request);
    let answering = async {
        let stream = engine.call().await.stream().await;
        stream.send(&(begins() + FIRST)).await;
        stream
    };
    let (mut asked, stream) = tokio::join!(asking, answering);
    assert_eq!(asked.next().await.unwrap(), FIRST);
    stream.cut().await;
    for _ in 1..ATTEMPTS {
        // As one of before would: it knows neither the field nor checkpoints.
        let stream = engine.call().await.stream().await;
        stream.send(FIRST).await;
        stream.dropped().await;
    }
    let rest = asked.rest().await;
    let error: Value =
        serde_json::from_str(rest.strip_prefix("data: ").unwrap().trim_end()).unwrap();
    assert_eq!(error["error"]["code"], "engine_lost", "{rest}");
}
