//! What is refused, what is hidden, what is bounded, and how a router ends.

use std::time::Duration;

use crate::support::client::Answer;
use crate::support::engine::Engine;
use crate::support::{Rig, config, eventually, model, soon};
use bytes::Bytes;
use hyper::Method;
use lps_api::quantity::Micros;
use lps_router::config::Config;
use serde_json::{Value, json};

fn good() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
}

const CHAT: &str = "/v1/chat/completions";

/// The answer has this status, and an error of OpenAI's shape that names `param`.
fn check(answer: &Answer, status: u16, param: Option<&str>) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["param"].as_str(), param, "{error}");
    assert!(error["message"].is_string() && error["type"].is_string() && error["code"].is_string());
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_name_of_what_is_wrong() {
    let rig = Rig::start(
        Config {
            body_limit_bytes: 4_096,
            ..config()
        },
        &[],
    )
    .await;
    let large = format!("{{\"model\":\"m\",\"messages\":\"{}\"}}", "x".repeat(5_000));
    for (path, body, status, param) in [
        (CHAT, "{\"model\": ", 400, None),
        (
            CHAT,
            r#"{"model": "nope", "messages": [{}]}"#,
            404,
            Some("model"),
        ),
        (CHAT, &large, 413, None),
        (
            "/v1/completions",
            r#"{"model": "m", "messages": [{}]}"#,
            400,
            Some("prompt"),
        ),
        ("/v1/programs", r#"{"id": "a b"}"#, 400, Some("id")),
        ("/v1/programs", r#"{"ttl_s": -1}"#, 400, Some("ttl_s")),
        ("/v1/calls/none/cancel", "", 404, None),
        ("/v1/programs/none/end", "", 404, None),
        ("/v1/engines/none/drain", "", 404, None),
        ("/v1/programs/%ff/cancel", "", 400, Some("path")),
        ("/v1/engines/%ff/e/drain", "", 400, Some("path")),
        ("/tokenize", r#"{"model": "nope"}"#, 404, Some("model")),
        ("/tokenize", r#"{"prompt": "x"}"#, 503, None),
    ] {
        let body = Bytes::from(body.to_owned());
        let answer = rig.client.ask(Method::POST, path, (&[], body)).await;
        check(&answer, status, param);
    }
    let answer = rig
        .client
        .post(CHAT, &[], &json!({"model": "nope", "messages": [{}]}))
        .await;
    assert!(answer.text().contains("served are: m"), "{}", answer.text());
}

#[tokio::test]
async fn bad_paths_and_headers_are_refused_with_the_name_of_what_is_wrong() {
    let rig = Rig::start(config(), &[]).await;
    for (path, status, param) in [
        ("/v1/nothing", 404, None),
        (CHAT, 405, None),
        ("/v1/models/nope", 404, Some("model")),
        ("/v1/programs/none", 404, None),
        ("/v1/programs/a%20b", 400, Some("program")),
        ("/v1/programs/%ff", 400, Some("path")),
        ("/v1/models/%ff", 400, Some("path")),
        ("/v1/calls/a%80", 400, Some("path")),
        ("/v1/programs?state=odd", 400, Some("state")),
        ("/v1/programs?state=live,odd", 400, Some("state")),
        ("/v1/programs?state=live&state=ended", 400, Some("query")),
        ("/v1/programs?sort=odd", 400, Some("sort")),
        ("/v1/programs?tenant=other&sort=odd", 400, Some("sort")),
        ("/v1/calls/none", 404, None),
    ] {
        check(&rig.client.get(path).await, status, param);
    }
    for (name, value) in [
        ("x-program-id", "a b"),
        ("x-call-id", "a\tb"),
        ("x-thread-id", "ä"),
        ("x-tenant-id", ""),
        ("x-request-id", "a;b"),
        ("x-parent-call-ids", "a,b c"),
    ] {
        let answer = rig.client.post(CHAT, &[(name, value)], &good()).await;
        check(&answer, 400, Some(name));
        assert!(
            answer.text().contains(&format!("{name} is not")),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn another_tenants_programs_and_calls_are_not_there() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let (alice, bob) = (("x-tenant-id", "alice"), ("x-tenant-id", "bob"));
    let headers = [alice, ("x-program-id", "p"), ("x-call-id", "c")];
    let request = good();
    let asking = rig.client.post("/v1/chat/completions", &headers, &request);
    let (answer, ()) = tokio::join!(asking, async { engine.call().await.complete("x").await });
    assert_eq!(answer.status, 200);
    for (tenant, status, programs) in [(alice, 200, 1), (bob, 404, 0)] {
        for path in ["/v1/programs/p", "/v1/calls/c"] {
            let got = rig
                .client
                .ask(Method::GET, path, (&[tenant], Bytes::new()))
                .await;
            assert_eq!(got.status.as_u16(), status, "{tenant:?} {path}");
        }
        let list = rig
            .client
            .ask(Method::GET, "/v1/programs", (&[tenant], Bytes::new()))
            .await;
        assert_eq!(
            list.json()["data"].as_array().unwrap().len(),
            programs,
            "{tenant:?}"
        );
    }
    let cancel = rig
        .client
        .post("/v1/programs/p/cancel", &[bob], &json!({}))
        .await;
    assert_eq!(cancel.status, 404);
}

#[tokio::test]
async fn programs_are_opened_read_and_ended() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let opening = json!({"id": "run", "class": "react", "ttl_s": 60, "metadata": {"user": "u"}});
    let opened = rig.client.post("/v1/programs", &[], &opening).await;
    assert_eq!(
        (opened.status.as_u16(), &opened.json()["class"]),
        (201, &json!("react"))
    );
    let request = good();
    let headers = [
        ("x-program-id", "run"),
        ("x-call-id", "a"),
        ("x-parent-call-ids", "never-seen"),
    ];
    let asking = rig.client.post("/v1/chat/completions", &headers, &request);
    let (answer, ()) = tokio::join!(asking, async { engine.call().await.complete("x").await });
    assert_eq!(answer.status, 200, "an unknown parent is accepted");
    let row = rig.client.get("/v1/programs/run").await.json();
    assert_eq!(
        (row["class"].as_str(), row["service_total_us"].as_u64()),
        (Some("react"), Some(1_500))
    );
    assert_eq!(row["calls"][0]["id"], "a");
    let ended = rig
        .client
        .post("/v1/programs/run/end", &[], &json!({}))
        .await;
    assert_eq!(ended.json()["state"], "ended");
    let list = rig
        .client
        .get("/v1/programs?state=ended&sort=service")
        .await
        .json();
    assert_eq!(list["data"][0]["id"], "run");
    let list = rig.client.get("/v1/programs?state=live").await.json();
    assert_eq!(list["data"], json!([]));
}

#[tokio::test]
async fn a_call_runs_once_at_a_time() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = good();
    let headers = [("x-call-id", "c")];
    let first = rig.client.post("/v1/chat/completions", &headers, &request);
    let second = async {
        let call = engine.call().await;
        let again = rig
            .client
            .post("/v1/chat/completions", &headers, &request)
            .await;
        assert_eq!(again.status, 409);
        assert_eq!(again.json()["error"]["code"], "duplicate_call");
        call.complete("x").await;
    };
    let (answer, ()) = tokio::join!(first, second);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn too_many_waiting_calls_are_told_when_to_come_back() {
    let limits = Config {
        ready_limit: 1,
        ready_limit_per_tenant: 1,
        ..config()
    };
    let rig = Rig::start(limits, &[]).await;
    let client = rig.client.clone();
    let held = lps_runtime::task::spawn("client", async move {
        client
            .post("/v1/chat/completions", &[("x-call-id", "held")], &good())
            .await
    });
    rig.call_is("held", "pending").await;
    let refused = rig.client.post("/v1/chat/completions", &[], &good()).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    // The place is free again when its call is gone.
    held.abort();
    rig.call_is("held", "cancelled").await;
    let limits = rig.admin.get("/metrics").await.text();
    assert!(
        limits.contains("lps_router_refused_total{reason=\"full\"} 1"),
        "{limits}"
    );
}

#[tokio::test]
async fn without_an_engine_a_call_is_held_and_then_refused() {
    let rig = Rig::start(config(), &[]).await;
    rig.pools
        .send_modify(|pools| pools[0].cold_start_hold = Micros::from_millis(200));
    let refused = rig.client.post("/v1/chat/completions", &[], &good()).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.json()["error"]["code"], "no_engine");
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_waiting_call_asks_for_an_engine_and_is_sent_to_it() {
    let rig = Rig::start(config(), &[]).await;
    let mut scale = rig.scale.clone();
    soon(
        "the first figures",
        scale.wait_for(|wanted| wanted.get(&model("m")).is_some_and(|m| m.desired == 0)),
    )
    .await
    .unwrap();
    let client = rig.client.clone();
    let asking = lps_runtime::task::spawn("client", async move {
        client.post("/v1/chat/completions", &[], &good()).await
    });
    soon(
        "an engine to be asked for",
        scale.wait_for(|wanted| wanted.get(&model("m")).is_some_and(|m| m.desired == 1)),
    )
    .await
    .unwrap();
    let mut engine = Engine::start("e1", 1).await;
    rig.engines
        .send_replace(vec![crate::support::endpoint(&engine)]);
    engine.call().await.complete("x").await;
    assert_eq!(soon("the answer", asking).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_streamed_call_that_waits_gets_signs_of_life() {
    let quick = Config {
        heartbeat: Duration::from_millis(20),
        ..config()
    };
    let rig = Rig::start(quick, &[]).await;
    let request = json!({"model": "m", "prompt": "x", "stream": true});
    let headers = [("x-call-id", "late")];
    let asking = rig.client.stream("/v1/completions", &headers, &request);
    let mut answer = soon("a head without an engine", asking).await;
    assert_eq!(answer.status, 200);
    for _ in 0..2 {
        let sign = soon("a sign of life", answer.next()).await.unwrap();
        assert!(sign.starts_with(b": "), "{sign:?}");
    }
    let mut engine = Engine::start("e1", 1).await;
    rig.engines
        .send_replace(vec![crate::support::endpoint(&engine)]);
    let stream = engine.call().await.stream().await;
    stream.send("data: {\"choices\":[]}\n\n").await;
    stream.send(&crate::answers::last()).await;
    stream.send("data: [DONE]\n\n").await;
    drop(stream);
    let rest = soon("the rest", answer.rest()).await;
    assert!(
        rest.contains("choices") && rest.ends_with("data: [DONE]\n\n"),
        "{rest}"
    );

    // What would have been a status is an event once the head is sent.
    rig.engines.send_replace(Vec::new());
    rig.pools
        .send_modify(|pools| pools[0].cold_start_hold = Micros::from_millis(100));
    let asking = rig.client.stream("/v1/completions", &[], &request);
    let mut refused = soon("a head", asking).await;
    let text = soon("the end", refused.rest()).await;
    assert!(
        text.contains("\"no_engine\"") && !text.contains("[DONE]"),
        "{text}"
    );
}

#[tokio::test]
async fn a_drain_lets_streams_and_live_programs_finish_and_nobody_else_in() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let request = json!({"model": "m", "prompt": "x", "stream": true});
    let headers = [("x-program-id", "live"), ("x-call-id", "a")];
    let asking = rig.client.stream("/v1/completions", &headers, &request);
    let answering = async {
        let stream = engine.call().await.stream().await;
        stream.send("data: {\"choices\":[]}\n\n").await;
        stream
    };
    let (mut asked, stream) = tokio::join!(asking, answering);
    rig.trigger.drain();
    eventually("readiness to fail", || async {
        (rig.admin.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    eventually("new programs to be refused", || async {
        let refused = rig
            .client
            .post("/v1/completions", &[("x-program-id", "new")], &request);
        let refused = tokio::time::timeout(Duration::from_millis(500), refused)
            .await
            .ok()?;
        (refused.status == 503 && !refused.header("retry-after").is_empty()).then_some(())
    })
    .await;
    let child = [("x-program-id", "live"), ("x-call-id", "b")];
    let plain = json!({"model": "m", "prompt": "x"});
    let asking = rig.client.post("/v1/completions", &child, &plain);
    let serving = async {
        loop {
            let call = engine.call().await;
            if call.header("x-program-id") == "live" {
                return call.complete("y").await;
            }
        }
    };
    let (answer, ()) = tokio::join!(asking, serving);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let end = rig
        .client
        .post("/v1/programs/live/end", &[], &json!({}))
        .await;
    assert_eq!(end.status, 200);
    stream.send("data: [DONE]\n\n").await;
    assert!(asked.rest().await.ends_with("data: [DONE]\n\n"));
    drop((stream, asked));
    soon("the router to end", rig.task).await.unwrap();
}

#[tokio::test]
async fn a_cut_ends_at_once() {
    let mut engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let client = rig.client.clone();
    let _asking = lps_runtime::task::spawn("client", async move {
        client
            .stream("/v1/chat/completions", &[], &good())
            .await
            .status
    });
    let call = engine.call().await;
    rig.trigger.cut();
    soon("the router to end", rig.task).await.unwrap();
    drop(call);
}

#[tokio::test]
async fn what_is_served_and_by_whom_is_told() {
    let engine = Engine::start("e1", 4).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let models = rig.client.get("/v1/models").await.json();
    assert_eq!(models["data"][0]["id"], "m");
    let idle = json!({"waiting": 0, "running": 0, "oldest_wait_us": null, "oldest_reason": null});
    assert_eq!(models["data"][0]["calls"], idle);
    assert_eq!(
        rig.client.get("/v1/models/m").await.json()["object"],
        "model"
    );
    assert_eq!(rig.client.get("/health").await.status, 200);
    assert_eq!(
        rig.client.get("/version").await.json()["version"],
        env!("CARGO_PKG_VERSION")
    );
    let tokens = rig
        .client
        .post("/tokenize", &[], &json!({"model": "m", "prompt": "x"}))
        .await;
    assert_eq!(
        tokens.json(),
        json!({"tokens": [1, 2, 3], "count": 3, "by": "e1"})
    );
    let engines = rig.client.get("/v1/engines").await.json();
    let one = &engines["data"][0];
    assert_eq!(
        (&one["id"], &one["slots"], &one["draining"]),
        (&json!("e1"), &json!(4), &json!(false))
    );
    assert_eq!(one["load"]["running"], 0);

    let drain = rig
        .client
        .post("/v1/engines/e1/drain", &[], &json!({}))
        .await;
    assert_eq!(drain.json()["draining"], true);
    let engines = rig.client.get("/v1/engines").await.json();
    assert_eq!(engines["data"][0]["draining"], true);
}

#[tokio::test]
async fn a_port_in_use_is_said() {
    let rig = Rig::start(config(), &[]).await;
    let (_pools, pools) = tokio::sync::watch::channel(Vec::new());
    let (_engines, engines) = tokio::sync::watch::channel(Vec::new());
    let (_trigger, shutdown) = lps_runtime::shutdown::Shutdown::manual();
    let taken = Config {
        port: rig.client.port(),
        ..config()
    };
    let (_, written) = tokio::sync::watch::channel(std::collections::BTreeMap::new());
    let sources = lps_router::discovery::Sources {
        pools,
        engines,
        written,
    };
    let process = lps_router::server::Process {
        shutdown,
        telemetry: None,
        state_dir: None,
        engine_tls: lps_router::config::EngineTls::default(),
    };
    let error = lps_router::server::start(taken, sources, process)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(&rig.client.port().to_string()),
        "{error}"
    );
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("in use"), "{cause}");
}

#[tokio::test]
async fn a_program_that_is_only_guessed_at_is_refused_no_room() {
    let mut engine = Engine::start("e1", 4).await;
    let config = Config {
        live_limit_per_tenant: 1,
        ..config()
    };
    let rig = Rig::start(config, &[&engine]).await;
    let opened = rig
        .client
        .post("/v1/programs", &[], &json!({"id": "p"}))
        .await;
    assert!(opened.status.is_success());
    let request =
        json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [{}]});
    let named = [("x-program-id", "q")];
    let refused = rig
        .client
        .post("/v1/chat/completions", &named, &request)
        .await;
    assert_eq!(refused.status, 429);
    let headers = [("x-call-id", "c")];
    let asking = rig.client.post("/v1/chat/completions", &headers, &request);
    let (answer, ()) = tokio::join!(asking, async { engine.call().await.complete("x").await });
    assert_eq!(answer.status, 200);
    let program = answer.header("x-program-id").to_owned();
    let row = rig
        .client
        .get(&format!("/v1/programs/{program}"))
        .await
        .json();
    assert_eq!(
        (&row["source"], &row["state"]),
        (&json!("single"), &json!("ended"))
    );
}
