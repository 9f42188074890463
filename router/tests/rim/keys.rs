//! Where there are keys: who is let in, to what, in whose name, and for how long.

use bytes::Bytes;
use hyper::Method;
use lps_router::config::Config;
use lps_router::http::{Access, accesses, page_accesses};
use lps_router::keys::{self, Role};
use lps_router::metrics::Metrics;
use prometheus::Registry;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::engine::Engine;
use crate::support::keys::{Given, Mounted, entry, text};
use crate::support::{Rig, eventually, soon};

const CHAT: &str = "/v1/chat/completions";
const FIRST: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
const ADMIN: &str = "admin-key";
const KEYS: [Given; 5] = [
    (ADMIN, "ops", "admin"),
    ("infer-key", "alice", "infer"),
    ("cancel-key", "alice", "cancel"),
    ("metrics-key", "ops", "metrics"),
    ("bob-key", "bob", "infer"),
];

fn good() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
}

async fn rig(mounted: &Mounted, engines: &[&Engine]) -> Rig {
    Rig::start_with_key(mounted.config(), engines, Some(ADMIN)).await
}

/// A path of the table, with something in each place.
fn asked(path: &str) -> String {
    let parts = path.split('/');
    let parts = parts.map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// A whole answer; of a stream that has no end, the beginning.
async fn ask(client: &Client, method: &Method, path: &str) -> Answer {
    let path = asked(path);
    let begun = client.begin(method.clone(), &path, (&[], Bytes::new()));
    let mut answer = begun.await;
    let has_end = answer
        .headers
        .get("content-type")
        .is_none_or(|kind| kind != "text/event-stream");
    let body = if has_end {
        answer.rest().await.into()
    } else {
        answer.next().await.expect("it begins")
    };
    Answer {
        status: answer.status,
        headers: answer.headers,
        body,
    }
}

#[tokio::test]
async fn no_route_is_open_but_those_that_tell_nothing_of_a_tenant() {
    let mounted = Mounted::new(&text(&KEYS));
    let rig = rig(&mounted, &[]).await;
    let mut open = Vec::new();
    for (method, path, access) in accesses() {
        for key in [None, Some("no such key")] {
            let answer = ask(&rig.client.with_key(key), &method, path).await;
            if access == Access::Open {
                assert_eq!(answer.status, 200, "{method} {path}");
                open.push(path);
                continue;
            }
            let told = answer.json();
            assert_eq!(answer.status, 401, "{method} {path}: {told}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            if path.starts_with("/v1/messages") {
                assert_eq!(
                    (&told["type"], &told["error"]["type"]),
                    (&json!("error"), &json!("authentication_error"))
                );
            } else {
                assert_eq!(told["error"]["code"], "invalid_api_key", "{told}");
            }
            assert!(!answer.text().contains("no such key"), "{told}");
        }
    }
    open.dedup();
    assert_eq!(open, ["/health", "/version", "/openapi.json"]);
    let head = rig.client.with_key(None);
    let head = head.ask(Method::HEAD, "/v1/models", (&[], Bytes::new()));
    assert_eq!(head.await.status, 401);
}

#[tokio::test]
async fn the_pages_files_are_open_and_its_data_is_for_administrators() {
    let mounted = Mounted::new(&text(&KEYS));
    let rig = rig(&mounted, &[]).await;
    for (method, path, access) in page_accesses() {
        let keys = [
            None,
            Some("no such key"),
            Some("infer-key"),
            Some("metrics-key"),
        ];
        let closed = [401, 401, 403, 403];
        for (key, status) in keys.into_iter().zip(closed) {
            let answer = ask(&rig.admin.with_key(key), &method, path).await;
            let is_open = access == Access::Open;
            assert_eq!(
                answer.status,
                if is_open { 200 } else { status },
                "{key:?}: {path}"
            );
            if is_open {
                assert!(
                    answer
                        .header("content-security-policy")
                        .starts_with("default-src 'self';")
                );
            }
        }
        let answer = ask(&rig.admin.with_key(Some(ADMIN)), &method, path).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let data = page_accesses()
        .into_iter()
        .filter(|(.., access)| *access != Access::Open);
    assert_eq!(
        data.map(|(_, path, _)| path).collect::<Vec<_>>(),
        ["/ui/state"]
    );
}

#[tokio::test]
async fn a_key_opens_the_routes_of_its_roles_and_no_other() {
    let mounted = Mounted::new(&text(&KEYS));
    let rig = rig(&mounted, &[]).await;
    for (key, role) in [
        (ADMIN, Role::Admin),
        ("infer-key", Role::Infer),
        ("cancel-key", Role::Cancel),
        ("metrics-key", Role::Metrics),
    ] {
        let client = rig.client.with_key(Some(key));
        for (method, path, access) in accesses() {
            let Access::Role(needed) = access else {
                continue;
            };
            let answer = ask(&client, &method, path).await;
            let is_refused = needed != role && role != Role::Admin;
            let status = answer.status.as_u16();
            assert_eq!(
                status == 403,
                is_refused,
                "{key}: {method} {path}: {status}"
            );
            assert_ne!(status, 401, "{key}: {method} {path}");
            if is_refused {
                let told = answer.text();
                assert!(told.contains(&format!("the role {needed}")), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn who_asks_is_the_keys_tenant_whatever_a_header_says() {
    let mut engine = Engine::start("e1", 4).await;
    let mounted = Mounted::new(&text(&KEYS));
    let rig = rig(&mounted, &[&engine]).await;
    let (alice, bob) = (("x-api-key", "infer-key"), ("x-api-key", "bob-key"));
    let stranger = rig.client.with_key(None);
    let request = good();
    let headers = [alice, ("x-program-id", "p"), ("x-call-id", "c")];
    let asking = stranger.post(CHAT, &headers, &request);
    let (answer, call) = tokio::join!(asking, async {
        let call = engine.call().await;
        let sent = call.headers.clone();
        call.complete("x").await;
        sent
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
    for secret in ["x-api-key", "authorization", "x-tenant-id"] {
        assert!(!call.contains_key(secret), "the engine is sent {secret}");
    }

    let named = |tenant| ("x-tenant-id", tenant);
    let admin = ("x-api-key", ADMIN);
    for (headers, status) in [
        (vec![alice], 200),
        (vec![alice, named("alice")], 200),
        (vec![alice, named("bob")], 403),
        (vec![bob], 404),
        (vec![bob, named("alice")], 403),
        (vec![admin], 404),
        (vec![admin, named("alice")], 200),
        (vec![admin, named("no id")], 400),
    ] {
        for path in ["/v1/programs/p", "/v1/calls/c"] {
            let got = stranger.ask(Method::GET, path, (&headers, Bytes::new()));
            let got = got.await;
            assert_eq!(got.status, status, "{headers:?} {path}: {}", got.text());
        }
    }
    let cancel = [("x-api-key", "cancel-key"), named("bob")];
    for path in ["/v1/programs/p/cancel", "/v1/calls/c/cancel"] {
        let got = stranger.post(path, &cancel, &json!({})).await;
        assert_eq!(got.status, 403, "{}", got.text());
        let got = stranger.post(path, &cancel[..1], &json!({})).await;
        assert_eq!(got.status, 200, "{}", got.text());
    }
    for (headers, count) in [
        (vec![alice], 1),
        (vec![bob], 0),
        (vec![admin], 1),
        (vec![admin, named("alice")], 1),
    ] {
        let list = stranger.ask(Method::GET, "/v1/programs", (&headers, Bytes::new()));
        let list = list.await.json();
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{headers:?}");
    }
    let denied = rig.admin.get("/metrics").await.text();
    assert!(
        denied.contains(r#"lps_router_denied_total{reason="tenant"} 6"#),
        "{denied}"
    );
}

#[tokio::test]
async fn a_changed_file_is_taken_while_a_stream_runs_and_one_that_makes_no_sense_is_not() {
    let mut engine = Engine::start("e1", 4).await;
    let admin = KEYS[0];
    let mounted = Mounted::new(&text(&[admin, ("old-key", "alice", "infer")]));
    let rig = rig(&mounted, &[&engine]).await;
    let old = rig.client.with_key(Some("old-key"));
    let new = rig.client.with_key(Some("new-key"));
    let status = async |client: &Client| client.get("/v1/models").await.status.as_u16();
    assert_eq!((status(&old).await, status(&new).await), (200, 401));

    let mut request = good();
    request["stream"] = json!(true);
    let asking = old.stream(CHAT, &[], &request);
    let answering = async {
        let stream = engine.call().await.stream().await;
        stream.send(FIRST).await;
        stream
    };
    let (mut asked, stream) = tokio::join!(asking, answering);
    assert_eq!(asked.next().await.unwrap(), FIRST);

    let both = [
        admin,
        ("old-key", "alice", "infer"),
        ("new-key", "alice", "infer"),
    ];
    mounted.change("both", &text(&both));
    eventually("the new key to be known", || async {
        (status(&new).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&old).await, 200);

    let is_valid = async || {
        let text = rig.admin.get("/metrics").await.text();
        text.contains("lps_router_keys_file_valid 1")
    };
    assert!(is_valid().await);
    mounted.change("broken", "keys:\n- {name: a}\n");
    eventually("the file to be refused", || async {
        (!is_valid().await).then_some(())
    })
    .await;
    assert_eq!((status(&old).await, status(&new).await), (200, 200));

    mounted.change("rotated", &text(&[admin, ("new-key", "alice", "infer")]));
    eventually("the old key to be forgotten", || async {
        (status(&old).await == 401).then_some(())
    })
    .await;
    assert!(is_valid().await);
    assert_eq!(status(&new).await, 200);

    stream.send("data: [DONE]\n\n").await;
    drop(stream);
    let rest = soon("the stream's end", asked.rest()).await;
    assert!(rest.contains("[DONE]"), "{rest}");
}

fn limited(limits: &str) -> String {
    format!(
        "{}tenants: [{{name: alice, limits: {{{limits}}}}}]\n",
        text(&KEYS)
    )
}

/// Asks for a chat that an engine answers.
async fn answered(client: &Client, engine: &mut Engine) -> Answer {
    let request = good();
    let asking = client.post(CHAT, &[], &request);
    let (answer, ()) = tokio::join!(asking, async { engine.call().await.complete("x").await });
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

fn check_refused(answer: &Answer, words: &str) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(!["", "0"].contains(&answer.header("retry-after")));
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "rate_limit_error", "{error}");
    assert!(error["message"].to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_tenant_begins_as_many_calls_a_minute_as_it_may_and_is_told() {
    let mut engine = Engine::start("e1", 4).await;
    let mounted = Mounted::new(&limited("requestsPerMinute: 2"));
    let rig = rig(&mounted, &[&engine]).await;
    let (alice, bob) = ("infer-key", "bob-key");
    let alice = rig.client.with_key(Some(alice));
    let bob = rig.client.with_key(Some(bob));
    let first = answered(&alice, &mut engine).await;
    assert_eq!(first.header("x-ratelimit-limit-requests"), "2");
    assert_eq!(first.header("x-ratelimit-remaining-requests"), "1");
    assert!(first.header("x-ratelimit-reset-requests").ends_with('s'));
    assert_eq!(first.header("x-ratelimit-limit-tokens"), "");
    answered(&alice, &mut engine).await;

    for path in [CHAT, "/v1/messages"] {
        let mut request = good();
        request["max_tokens"] = json!(8);
        let refused = alice.post(path, &[], &request).await;
        check_refused(&refused, "2 calls a minute");
        assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
    }
    let other = answered(&bob, &mut engine).await;
    assert_eq!(other.header("x-ratelimit-limit-requests"), "");
    let metrics = rig.admin.get("/metrics").await.text();
    assert!(
        metrics.contains(r#"lps_router_refused_total{reason="limit"} 2"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn tokens_are_charged_as_they_were_used() {
    let mut engine = Engine::start("e1", 4).await;
    let mounted = Mounted::new(&limited("tokensPerMinute: 1000"));
    let rig = rig(&mounted, &[&engine]).await;
    let alice = rig.client.with_key(Some("infer-key"));
    let left = |answer: &Answer| {
        let left = answer.header("x-ratelimit-remaining-tokens");
        left.parse::<u32>().unwrap()
    };
    let ask = |tokens: u32| {
        let mut request = good();
        request["max_tokens"] = json!(tokens);
        request
    };
    // 900 are set aside for the first; it used 9 (see `USAGE`), so the second finds the rest.
    for _ in 0..2 {
        let request = ask(900);
        let asking = alice.post(CHAT, &[], &request);
        let (answer, ()) = tokio::join!(asking, async { engine.call().await.complete("x").await });
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(left(&answer) <= 100, "{}", left(&answer));
    }
    let request = ask(900);
    let running = alice.post(CHAT, &[], &request);
    let refusing = async {
        let call = engine.call().await;
        check_refused(
            &alice.post(CHAT, &[], &request).await,
            "1000 tokens a minute",
        );
        call.complete("x").await;
    };
    let (answer, ()) = tokio::join!(running, refusing);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn open_calls_and_live_programs_have_limits_of_their_own() {
    let mut engine = Engine::start("e1", 4).await;
    let mounted = Mounted::new(&limited("concurrentCalls: 1, livePrograms: 2"));
    let rig = rig(&mounted, &[&engine]).await;
    let alice = rig.client.with_key(Some("infer-key"));
    let request = good();
    let running = alice.post(CHAT, &[], &request);
    let refusing = async {
        let call = engine.call().await;
        check_refused(
            &alice.post(CHAT, &[], &request).await,
            "1 calls of this tenant are open",
        );
        call.complete("x").await;
    };
    let (answer, ()) = tokio::join!(running, refusing);
    assert_eq!(answer.status, 200);
    answered(&alice, &mut engine).await;

    for (id, status) in [("a", 201), ("b", 201), ("c", 429)] {
        let opened = alice.post("/v1/programs", &[], &json!({"id": id})).await;
        assert_eq!(opened.status, status, "{}", opened.text());
    }
    let named = [("x-program-id", "c")];
    check_refused(
        &alice.post(CHAT, &named, &request).await,
        "2 programs of this tenant",
    );
}

#[tokio::test]
async fn a_key_that_has_expired_is_refused_and_told_so() {
    let keys = [
        entry(KEYS[0], ""),
        entry(
            ("late-key", "a", "infer"),
            ", expires: \"2020-01-01T00:00:00Z\"",
        ),
    ];
    let mounted = Mounted::new(&format!("keys:\n{}", keys.concat()));
    let rig = rig(&mounted, &[]).await;
    let answer = rig
        .client
        .with_key(Some("late-key"))
        .get("/v1/models")
        .await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("expired"), "{}", answer.text());
}

#[tokio::test]
async fn a_file_that_makes_no_sense_at_the_start_is_told_in_one_line() {
    let mounted =
        Mounted::new("keys:\n- {name: a, sha256: sk-secret, tenant: t, roles: [infer]}\n");
    let absent = mounted.file().with_extension("absent");
    for (file, expected) in [
        (mounted.file(), r#"keys[0] (name "a"): sha256: "#),
        (absent, "No such file"),
    ] {
        let opened = keys::open(file.clone(), Metrics::register(&Registry::new())).await;
        let told = opened.expect_err("it makes no sense").to_string();
        let path = file.display().to_string();
        assert!(told.starts_with(&path) && told.contains(expected), "{told}");
        assert!(
            !told.contains("sk-secret") && !told.contains('\n'),
            "{told}"
        );
    }
}

#[tokio::test]
async fn the_admin_port_asks_for_a_key_where_it_is_told_to() {
    let mounted = Mounted::new(&text(&KEYS));
    let guarded = Config {
        metrics_need_key: true,
        ..mounted.config()
    };
    for (config, metrics) in [(mounted.config(), 200), (guarded, 401)] {
        let rig = Rig::start_with_key(config, &[], Some(ADMIN)).await;
        for (key, path, status) in [
            (None, "/healthz", 200),
            (None, "/readyz", 200),
            (None, "/metrics", metrics),
            (Some("metrics-key"), "/metrics", 200),
            (None, "/log-level", 401),
            (Some("metrics-key"), "/log-level", 403),
            (Some(ADMIN), "/log-level", 200),
        ] {
            let answer = rig.admin.with_key(key).get(path).await;
            assert_eq!(answer.status, status, "{key:?} {path}: {}", answer.text());
        }
        let set = rig.admin.with_key(None);
        let set = set.ask(Method::PUT, "/log-level", (&[], Bytes::from("debug")));
        assert_eq!(set.await.status, 401);
    }
}
