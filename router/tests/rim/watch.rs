//! Watching programs, and what they used in the end.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use lps_api::protocol::CallState;
use lps_router::config::Config;
use serde_json::{Value, json};

use crate::support::client::{Client, Stream};
use crate::support::engine::{Engine, USAGE};
use crate::support::keys::{Given, Mounted, text};
use crate::support::{Rig, config, eventually};

const ADMIN: &str = "admin-key";
const KEYS: [Given; 3] = [
    (ADMIN, "ops", "admin"),
    ("alice-key", "alice", "infer"),
    ("bob-key", "bob", "infer"),
];

/// A stream of events that somebody reads.
struct Watch {
    stream: Stream,
    text: String,
}

impl Watch {
    /// Watches from now on.
    async fn begin(client: &Client, query: &str) -> Self {
        let path = format!("/v1/programs/events{query}");
        let stream = client.begin(Method::GET, &path, (&[], Bytes::new())).await;
        assert_eq!(stream.status, 200);
        let mut watch = Self {
            stream,
            text: String::new(),
        };
        assert_eq!(watch.block().await.expect("it begins"), ": watching");
        watch
    }

    /// The next lines up to an empty one; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let bytes = self.stream.next().await?;
            self.text += std::str::from_utf8(&bytes).expect("JSON is UTF-8");
        }
    }

    /// The next event's name and data.
    async fn event(&mut self) -> (String, Value) {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if let Some(event) = block.strip_prefix("event: ") {
                let (name, data) = event.split_once("\ndata: ").expect("it has data");
                return (name.to_owned(), serde_json::from_str(data).expect("JSON"));
            }
        }
    }

    /// The same as `program_began p` or `call c running`.
    async fn said(&mut self) -> String {
        let (name, data) = self.event().await;
        let id = data["id"].as_str().expect("a name");
        match data["explain"]["reason"]
            .as_str()
            .or(data["state"].as_str())
        {
            Some(state) if name == "call" => format!("{name} {id} {state}"),
            _ => format!("{name} {id}"),
        }
    }
}

/// A call that an engine takes, runs and answers.
async fn answered(client: &Client, engine: &mut Engine, (program, call): (&str, &str)) {
    let headers = [("x-program-id", program), ("x-call-id", call)];
    let request = json!({"model": "m", "prompt": "x"});
    let asking = client.post("/v1/completions", &headers, &request);
    let (answer, ()) = tokio::join!(asking, async {
        let taken = engine.call().await;
        engine.progress(&taken, CallState::Running, USAGE);
        eventually("the call to run", || async {
            let told = client.get(&format!("/v1/calls/{call}")).await.json();
            (told["state"] == "running").then_some(())
        })
        .await;
        taken.complete("y").await;
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn programs_and_calls_are_watched_from_their_beginning_to_their_end() {
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start(config(), &[&engine]).await;
    let mut all = Watch::begin(&rig.client, "").await;
    let mut one = Watch::begin(&rig.client, "?program=q").await;
    answered(&rig.client, &mut engine, ("p", "c")).await;
    rig.client
        .post("/v1/programs", &[], &json!({"id": "q"}))
        .await;
    for program in ["p", "q"] {
        let path = format!("/v1/programs/{program}/end");
        rig.client.post(&path, &[], &json!({})).await;
    }
    assert_eq!(all.said().await, "program_began p");
    // It is at its engine before its coming is told.
    assert_eq!(all.said().await, "call c engine_queue");
    assert_eq!(all.said().await, "call c running");
    let (name, call) = all.event().await;
    assert_eq!(
        (name.as_str(), &call["state"]),
        ("call", &json!("completed"))
    );
    assert_eq!(
        (&call["tenant"], &call["service_us"]),
        (&json!("anonymous"), &json!(1_500))
    );
    for event in ["program_began q", "program_ended p", "program_ended q"] {
        assert_eq!(all.said().await, event);
    }
    for event in ["program_began q", "program_ended q"] {
        assert_eq!(one.said().await, event);
    }
    rig.trigger.drain();
    assert_eq!(all.block().await, None);
}

#[tokio::test]
async fn who_hears_nothing_gets_signs_of_life() {
    let heartbeat = Duration::from_millis(1);
    let rig = Rig::start(
        Config {
            heartbeat,
            ..config()
        },
        &[],
    )
    .await;
    let mut watch = Watch::begin(&rig.client, "").await;
    for _ in 0..3 {
        assert_eq!(watch.block().await.unwrap(), ": watching");
    }
}

#[tokio::test]
async fn who_is_no_administrator_sees_its_own_tenant_only() {
    let mounted = Mounted::new(&text(&KEYS));
    let mut engine = Engine::start("e1", 1).await;
    let rig = Rig::start_with_key(mounted.config(), &[&engine], Some(ADMIN)).await;
    let [alice, bob] = ["alice-key", "bob-key"].map(|key| rig.client.with_key(Some(key)));
    let mut watches = [
        Watch::begin(&alice, "").await,
        Watch::begin(&bob, "?tenant=bob").await,
        Watch::begin(&rig.client, "").await,
        Watch::begin(&rig.client, "?tenant=bob").await,
    ];
    answered(&alice, &mut engine, ("p", "a")).await;
    answered(&bob, &mut engine, ("p", "b")).await;
    for (watch, tenant) in watches.iter_mut().zip(["alice", "bob", "alice", "bob"]) {
        assert_eq!(watch.event().await.1["tenant"], tenant);
    }

    let used = |tenant: &str| {
        json!({
            "tenant": tenant, "class": "default", "model": "m",
            "completed_calls": 1, "cancelled_calls": 0, "failed_calls": 0,
            "prompt_tokens": 7, "cached_tokens": 3, "output_tokens": 2, "service_us": 1_500,
        })
    };
    for (client, path, tenants) in [
        (&alice, "/v1/usage", &["alice"][..]),
        (&bob, "/v1/usage?tenant=bob", &["bob"]),
        (&rig.client, "/v1/usage", &["alice", "bob"]),
        (&rig.client, "/v1/usage?tenant=bob", &["bob"]),
        (&rig.client, "/v1/usage?tenant=nobody", &[]),
    ] {
        let told = client.get(path).await.json();
        let expected: Vec<Value> = tenants.iter().map(|tenant| used(tenant)).collect();
        assert_eq!(told["data"], json!(expected), "{path}");
    }
    for path in ["/v1/usage?tenant=bob", "/v1/programs/events?tenant=bob"] {
        assert_eq!(alice.get(path).await.status, 403, "{path}");
    }
    let told = rig.admin.get("/metrics").await.text();
    assert!(
        told.contains(r#"lps_router_denied_total{reason="tenant"} 2"#),
        "{told}"
    );
    let named = [("x-tenant-id", "alice")];
    let named = rig
        .client
        .ask(Method::GET, "/v1/usage", (&named, Bytes::new()));
    assert_eq!(named.await.json()["data"], json!([used("alice")]));
}

#[tokio::test]
async fn who_may_see_all_and_names_two_tenants_is_asked_for_one() {
    let mounted = Mounted::new(&text(&KEYS));
    for rig in [
        Rig::start(config(), &[]).await,
        Rig::start_with_key(mounted.config(), &[], Some(ADMIN)).await,
    ] {
        let named = [("x-tenant-id", "alice")];
        for path in ["/v1/programs", "/v1/usage", "/v1/programs/events"] {
            let path = format!("{path}?tenant=bob");
            let asking = rig.client.ask(Method::GET, &path, (&named, Bytes::new()));
            let answer = asking.await;
            let error = &answer.json()["error"];
            assert_eq!(
                (answer.status.as_u16(), &error["param"]),
                (400, &json!("tenant"))
            );
            assert_eq!(
                error["message"],
                "the query names one tenant and x-tenant-id another; leave one out"
            );
        }
        let path = "/v1/usage?tenant=alice";
        let same = rig.client.ask(Method::GET, path, (&named, Bytes::new()));
        assert_eq!(same.await.status, 200);
    }
}
