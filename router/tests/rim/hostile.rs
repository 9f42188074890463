//! Clients that mean no good, or know no better: what they send over a socket is refused in words or ends their connection,
//! and nothing of it stays.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use lps_router::config::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::engine::Engine;
use crate::support::{Rig, config, eventually, soon};

const CHAT: &str = "/v1/chat/completions";
/// Connections and bytes of bodies that the router of these tests has room for: what is not given back is missed soon.
const CONNECTIONS: u32 = 4;
const BODY_BYTES: u32 = 64 << 10;

/// A router with little room and little patience.
fn small() -> Config {
    Config {
        connection_limit: CONNECTIONS,
        body_limit_bytes: BODY_BYTES,
        // Room for one of the largest.
        bodies_limit_bytes: BODY_BYTES + 1024,
        header_limit: Duration::from_millis(200),
        ..config()
    }
}

/// Somebody who writes bytes.
struct Wire(TcpStream);

impl Wire {
    async fn open(rig: &Rig, bytes: impl AsRef<[u8]>) -> Self {
        let addr = ("127.0.0.1", rig.client.port());
        let mut wire = Self(TcpStream::connect(addr).await.expect("the router listens"));
        wire.send(bytes).await;
        wire
    }

    /// The other side may have had enough already.
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon("bytes to be taken", self.0.write_all(bytes.as_ref())).await;
    }

    /// All that comes until the other side ends the connection.
    async fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        // A connection may also be cut, where what was sent is not read.
        let _ = soon("the connection to end", self.0.read_to_end(&mut bytes)).await;
        String::from_utf8(bytes).expect("answers are text")
    }

    /// What comes up to and with a text.
    async fn until(&mut self, text: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(text.as_bytes()) {
            bytes.push(soon(text, self.0.read_u8()).await.expect(text));
        }
        String::from_utf8(bytes).expect("answers are text")
    }
}

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n{body}")
}

/// Whether a whole body finds room and an answer, over and over.
async fn is_well(rig: &Rig) {
    let padding = "x".repeat(BODY_BYTES as usize - 64);
    for _ in 0..2 * CONNECTIONS {
        let body = Bytes::from(json!({"id": "well", "padding": padding}).to_string());
        let opened = rig.client.ask(Method::POST, "/v1/programs", (&[], body));
        assert_eq!(opened.await.status, 201);
    }
}

#[tokio::test]
async fn who_sends_slowly_is_not_waited_for() {
    let rig = Rig::start(small(), &[]).await;
    for _ in 0..2 * CONNECTIONS {
        let header = Wire::open(&rig, "GET /health HTTP/1.1\r\nhost:").await;
        assert_eq!(header.rest().await, "");
        let begun = post("/v1/programs", "content-length: 9\r\n", "{");
        let told = Wire::open(&rig, begun).await.rest().await;
        assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
        assert!(told.contains("body_incomplete"), "{told}");
    }
    is_well(&rig).await;
}

#[tokio::test]
async fn a_flood_of_headers_is_refused() {
    let rig = Rig::start(small(), &[]).await;
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(4 << 20));
    for headers in [many, long] {
        for _ in 0..2 * CONNECTIONS {
            let flood = format!("GET /health HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
            let told = Wire::open(&rig, flood).await.rest().await;
            // The connection may be cut before the refusal is read, as not all of the flood is.
            let is_refused = told.starts_with("HTTP/1.1 431 ") || told.is_empty();
            assert!(is_refused, "{told}");
        }
    }
    is_well(&rig).await;
}

#[tokio::test]
async fn what_is_no_http_ends_the_connection() {
    let rig = Rig::start(small(), &[]).await;
    for bytes in [
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET /health HTTP/9.9\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost : x\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
    ] {
        let told = Wire::open(&rig, bytes).await.rest().await;
        assert!(
            told.is_empty() || told.starts_with("HTTP/1.1 400 "),
            "{told}"
        );
    }
    is_well(&rig).await;
}

/// An end of what a client sends is how its leaving looks, too.
#[tokio::test]
async fn a_client_that_will_send_no_more_has_left() {
    let mut engine = Engine::start("e", 2).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}).to_string();
    let headers = format!("x-call-id: left\r\ncontent-length: {}\r\n", body.len());
    let mut wire = Wire::open(&rig, post(CHAT, &headers, &body)).await;
    let call = engine.call().await;
    wire.0.shutdown().await.unwrap();
    call.dropped().await;
    assert_eq!(wire.rest().await, "");
    rig.call_is("left", "cancelled").await;
    eventually("nothing to run or wait", || async {
        let text = rig.admin.get("/metrics").await.text();
        let is_zero = |name: &str| {
            let mut lines = text.lines().filter(|line| line.starts_with(name));
            lines.all(|line| line.ends_with(" 0"))
        };
        (is_zero("lps_router_running_calls") && is_zero("lps_router_waiting_calls")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_their_order() {
    let rig = Rig::start(config(), &[]).await;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let open = post(
        "/v1/programs",
        "content-length: 14\r\n",
        r#"{"id":"piped"}"#,
    );
    let all = [ask("/version"), open, ask("/nothing"), ask("/health")].concat();
    let mut wire = Wire::open(&rig, all).await;
    let told = wire.until(r#"{"status":"ok"}"#).await;
    let statuses = told.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]);
    assert_eq!(
        statuses.collect::<Vec<_>>(),
        ["200", "201", "404", "200"],
        "{told}"
    );
}

/// Of two lengths the chunks count, and nothing more is read: who counts otherwise smuggles no request.
#[tokio::test]
async fn a_body_in_chunks_has_no_other_length() {
    let rig = Rig::start(config(), &[]).await;
    for headers in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let chunks = "e\r\n{\"id\":\"chunk\"}\r\n0\r\n\r\n";
        let then = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
        let bytes = post("/v1/programs", headers, &format!("{chunks}{then}"));
        let told = Wire::open(&rig, bytes).await.rest().await;
        assert!(told.starts_with("HTTP/1.1 201 "), "{told}");
        assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{told}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_however_it_comes() {
    let rig = Rig::start(small(), &[]).await;
    let bytes = 4 * BODY_BYTES as usize;
    let body = "x".repeat(bytes);
    let announced = format!("content-length: {bytes}\r\n");
    let chunked = "transfer-encoding: chunked\r\n".to_owned();
    let chunk = format!("{bytes:x}\r\n{body}\r\n0\r\n\r\n");
    for (headers, body) in [(announced, &body), (chunked, &chunk)] {
        for _ in 0..CONNECTIONS {
            let mut wire = Wire::open(&rig, post(CHAT, &headers, "")).await;
            wire.send(body).await;
            let told = wire.rest().await;
            assert!(told.contains("HTTP/1.1 413 "), "{headers}: {told}");
            assert!(told.contains("body_too_large"), "{told}");
        }
    }
    is_well(&rig).await;
}

#[tokio::test]
async fn who_asks_before_it_sends_a_body_is_told_whether_to() {
    let rig = Rig::start(small(), &[]).await;
    let asking = |bytes: u32| format!("expect: 100-continue\r\ncontent-length: {bytes}\r\n");
    for path in [CHAT, "/v1/messages", "/v1/programs", "/tokenize"] {
        let too_large = post(path, &asking(BODY_BYTES + 1), "");
        let told = Wire::open(&rig, too_large).await.rest().await;
        assert!(told.starts_with("HTTP/1.1 413 "), "{path}: {told}");
        let fits = post(path, &asking(BODY_BYTES), "");
        let told = Wire::open(&rig, fits).await.until("\r\n\r\n").await;
        assert_eq!(told, "HTTP/1.1 100 Continue\r\n\r\n", "{path}");
    }
    is_well(&rig).await;
}

/// It has a smaller limit of its own.
#[tokio::test]
async fn what_is_too_large_to_become_a_chat_is_not_asked_for() {
    let rig = Rig::start(config(), &[]).await;
    let asking = format!("expect: 100-Continue\r\ncontent-length: {}\r\n", 5 << 20);
    for path in ["/v1/messages", "/v1/messages/count_tokens", "/v1/responses"] {
        let wire = Wire::open(&rig, post(path, &asking, "")).await;
        let told = wire.rest().await;
        assert!(told.starts_with("HTTP/1.1 413 "), "{path}: {told}");
        assert!(told.contains("4194304"), "{path}: {told}");
    }
}

#[tokio::test]
async fn a_deep_body_is_refused_or_passed_on_and_hurts_nobody() {
    let mut engine = Engine::start("e", 2).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (path, body) in [
        (
            "/v1/responses",
            format!(r#"{{"model":"m","input":{deep}}}"#),
        ),
        (
            "/v1/responses",
            format!(r#"{{"model":"m","input":"x","metadata":{deep}}}"#),
        ),
        (
            "/v1/messages",
            format!(r#"{{"model":"m","max_tokens":1,"messages":{deep}}}"#),
        ),
        (
            "/v1/messages/count_tokens",
            format!(r#"{{"model":"m","messages":{deep}}}"#),
        ),
        ("/v1/programs", format!(r#"{{"id":{deep}}}"#)),
        (
            CHAT,
            format!(r#"{{"model":"m","messages":[{{}}],"program":{deep}}}"#),
        ),
    ] {
        let answer = rig
            .client
            .ask(Method::POST, path, (&[], Bytes::from(body)))
            .await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string());
    }
    // What an engine takes is not looked into.
    for (path, field) in [(CHAT, "messages"), ("/v1/completions", "prompt")] {
        let body = Bytes::from(format!(r#"{{"model":"m","{field}":{deep}}}"#));
        let answer = rig.client.ask(Method::POST, path, (&[], body));
        let answering = async { engine.call().await.complete("x").await };
        let (answer, ()) = tokio::join!(answer, answering);
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_text_that_is_none_is_refused() {
    let rig = Rig::start(config(), &[]).await;
    for (path, before, after) in [
        (
            CHAT,
            &br#"{"model":"m","messages":[{"role":"user","content":""#[..],
            &br#""}]}"#[..],
        ),
        (CHAT, br#"{"model":""#, br#"","messages":[{}]}"#),
        ("/v1/responses", br#"{"model":"m","input":""#, br#""}"#),
        (
            "/v1/messages",
            br#"{"model":"m","max_tokens":1,"system":""#,
            br#"","messages":[]}"#,
        ),
        ("/v1/programs", br#"{"id":""#, br#""}"#),
        ("/tokenize", br#"{"model":""#, br#""}"#),
    ] {
        let body = Bytes::from([before, b"\xff\xc3\x28", after].concat());
        let answer = rig.client.ask(Method::POST, path, (&[], body)).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_long_id_is_refused_by_the_name_of_its_place() {
    let rig = Rig::start(config(), &[]).await;
    let long = "x".repeat(10 << 10);
    let good = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    for name in [
        "x-program-id",
        "x-call-id",
        "x-thread-id",
        "x-tenant-id",
        "x-request-id",
        "x-parent-call-ids",
    ] {
        let answer = rig.client.post(CHAT, &[(name, &long)], &good).await;
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(answer.json()["error"]["param"], name);
        assert!(
            answer.text().contains("at most 128 bytes"),
            "{}",
            answer.text()
        );
    }
    for field in ["id", "thread", "call", "class"] {
        let mut body = good.clone();
        body["program"] = json!({field: long});
        let answer = rig.client.post(CHAT, &[], &body).await;
        assert_eq!(answer.json()["error"]["param"], format!("program.{field}"));
    }
    for (path, status) in [
        (format!("/v1/programs/{long}"), 400),
        (format!("/v1/calls/{long}"), 400),
        (format!("/v1/responses/{long}"), 404),
        (format!("/v1/models/{long}"), 404),
    ] {
        let answer = rig.client.get(&path).await;
        assert_eq!(answer.status, status);
        assert!(answer.body.len() < 1_024, "{} bytes", answer.body.len());
    }
}

/// What a call depends on is what came before it, whatever it says.
#[tokio::test]
async fn calls_that_name_each_other_as_parents_are_answered() {
    let mut engine = Engine::start("e", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let good = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
    for (call, parents) in [("a", "b"), ("b", "a"), ("c", "c"), ("a", "a,b,c")] {
        let headers = [
            ("x-program-id", "p"),
            ("x-call-id", call),
            ("x-parent-call-ids", parents),
        ];
        let answer = rig.client.post(CHAT, &headers, &good);
        let (answer, ()) = tokio::join!(answer, async { engine.call().await.complete("x").await });
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let row: Value = rig.client.get("/v1/programs/p").await.json();
    assert_eq!(row["call_counts"]["completed"], 4, "{row}");
    let (service, path) = (&row["service_total_us"], &row["critical_path_us"]);
    assert!(path.as_u64() <= service.as_u64(), "{row}");
}

#[tokio::test]
async fn of_two_calls_of_one_name_at_once_one_runs() {
    let mut engine = Engine::start("e", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let ask = |content: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": content}]});
        let client = rig.client.clone();
        async move { client.post(CHAT, &[("x-call-id", "twin")], &body).await }
    };
    let answering = async { engine.call().await.complete("x").await };
    let (first, second, ()) = tokio::join!(ask("x"), ask("y"), answering);
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn many_messages_pass_as_they_came() {
    let mut engine = Engine::start("e", 2).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let message = json!({"role": "user", "content": "x"});
    let body = json!({"model": "m", "messages": vec![message; 10_000]});
    let answer = rig.client.post(CHAT, &[], &body);
    let (answer, length) = tokio::join!(answer, async {
        let call = engine.call().await;
        let length = call.body.len();
        call.complete("x").await;
        length
    });
    assert_eq!(
        (answer.status.as_u16(), length),
        (200, body.to_string().len())
    );
}
