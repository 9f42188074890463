//! What rounds write to an API server, and that they write nothing where nothing changed.

mod api_server;

use std::sync::Arc;

use api_server::ApiServer;
use k8s_openapi::jiff::Timestamp;
use lps_api::resource::LLMProgramServing;
use lps_api::wellknown::resource::FINALIZER;
use lps_operator::build::Release;
use lps_operator::checkpoint::Fetching;
use lps_operator::config::Departure;
use lps_operator::departure::depart;
use lps_operator::events::Teller;
use lps_operator::metrics::Metrics;
use lps_operator::round::round;
use lps_operator::subject::{Next, Tools};
use serde_json::{Value, json};

const RESOURCE: &str = "/apis/llmprogram.dev/v1alpha1/namespaces/n/llmprogramservings/a";
const POD: &str = "/api/v1/namespaces/n/pods/a-0";
const POLICY: &str = "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies/a-engines";

struct Scene {
    server: ApiServer,
    tools: Tools,
}

impl Scene {
    async fn start(spec: Value) -> Self {
        let server = ApiServer::start();
        let client = server.client();
        let tools = Tools {
            client: client.clone(),
            release: Arc::new(Release {
                engine_image: "i".to_owned(),
                engine_tls_secret: None,
                fetching: Fetching::default(),
            }),
            router_url: None,
            metrics: Metrics::register(&prometheus::Registry::new()),
            teller: Teller::new(client, None),
        };
        let resource = json!({
            "apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing",
            "metadata": {"name": "a", "namespace": "n", "generation": 1}, "spec": spec,
        });
        server
            .with(move |store| store.insert(RESOURCE, resource))
            .await;
        Self { server, tools }
    }

    /// The method and the last two parts of each path that was written.
    async fn writes(&self) -> Vec<String> {
        let writes = self.server.with(|store| std::mem::take(&mut store.writes));
        let short = writes.await.into_iter().map(|write| {
            let (method, path) = write.split_once(' ').expect("a method");
            let parts: Vec<&str> = path.rsplitn(3, '/').collect();
            format!("{method} {}/{}", parts[1], parts[0])
        });
        let mut short: Vec<String> = short.collect();
        short.sort();
        short
    }

    /// One round, and what it wrote.
    async fn round(&self) -> (Next, Vec<String>) {
        let resource = self.server.with(|store| store.objects[RESOURCE].clone());
        let resource: LLMProgramServing =
            serde_json::from_value(resource.await).expect("a resource");
        let next = round(&resource, &self.tools).await.expect("a round");
        (next, self.writes().await)
    }

    async fn change(&self, path: &'static str, pointer: &'static str, to: Value) {
        self.server
            .with(move |store| {
                let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
                let object = store.objects.get_mut(path).expect("an object");
                object.pointer_mut(parent).expect("a parent")[key] = to;
            })
            .await;
    }

    async fn events(&self) -> Vec<String> {
        self.server
            .with(|store| std::mem::take(&mut store.events))
            .await
    }
}

fn spec() -> Value {
    json!({"model": {"name": "m", "source": {"builtin": "sim"}}})
}

/// After its first round, with an engine that serves.
async fn serving() -> Scene {
    let scene = Scene::start(spec()).await;
    scene.round().await;
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    scene.change(POD, "/status", ready).await;
    let (next, writes) = scene.round().await;
    assert_eq!(
        (next, &writes[..]),
        (Next::Settled, &["PATCH a/status".to_owned()][..])
    );
    scene.events().await;
    scene
}

#[tokio::test]
async fn the_first_round_makes_all_and_the_next_one_writes_nothing() {
    let scene = Scene::start(spec()).await;
    let (next, writes) = scene.round().await;
    assert_eq!(next, Next::Unsettled);
    assert_eq!(
        writes,
        [
            "PATCH a/status",
            "PATCH llmprogramservings/a",
            "PATCH networkpolicies/a-engines",
            "PATCH poddisruptionbudgets/a-engines",
            "PATCH serviceaccounts/a-engine",
            "PATCH services/a-engines",
            "POST n/pods",
        ]
    );
    assert_eq!(scene.events().await, ["EngineCreated"]);
    assert_eq!(scene.round().await, (Next::Unsettled, Vec::new()));
    assert_eq!(scene.events().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_somebody_changed_is_put_back_and_nothing_else_is_written() {
    let scene = serving().await;
    assert_eq!(scene.round().await, (Next::Settled, Vec::new()));
    scene.change(POLICY, "/spec/ingress", json!([{}])).await;
    let (_, writes) = scene.round().await;
    assert_eq!(writes, ["PATCH networkpolicies/a-engines"]);
    assert_eq!(scene.round().await, (Next::Settled, Vec::new()));
}

#[tokio::test]
async fn a_spec_that_makes_no_sense_is_warned_of_once() {
    let scene = serving().await;
    let beta = json!({"beta": "-1"});
    scene.change(RESOURCE, "/spec/scheduling", beta).await;
    assert_eq!(scene.round().await.0, Next::Stalled);
    assert_eq!(scene.events().await, ["InvalidSpec"]);
    assert_eq!(scene.round().await, (Next::Stalled, Vec::new()));
    assert_eq!(scene.events().await, Vec::<String>::new());
}

const DELETED_AT: &str = "/metadata/deletionTimestamp";

async fn finalizers(scene: &Scene) -> Value {
    let look =
        |store: &mut api_server::Store| store.objects[RESOURCE]["metadata"]["finalizers"].clone();
    scene.server.with(look).await
}

#[tokio::test]
async fn a_deleted_resource_drains_and_goes() {
    let scene = serving().await;
    assert_eq!(finalizers(&scene).await, json!([FINALIZER]));
    let now = Timestamp::now().to_string();
    scene.change(RESOURCE, DELETED_AT, json!(now)).await;
    let (next, writes) = scene.round().await;
    assert_eq!(next, Next::Unsettled);
    assert_eq!(writes, ["PATCH a/status", "PATCH pods/a-0"]);
    assert_eq!(scene.events().await, ["EngineDraining"]);
    assert_eq!(scene.round().await.0, Next::Unsettled);
    scene.server.with(|store| store.objects.remove(POD)).await;
    let (next, writes) = scene.round().await;
    assert_eq!(next, Next::Gone);
    assert_eq!(writes, ["PATCH llmprogramservings/a"]);
    assert_eq!(finalizers(&scene).await, json!([]));
}

#[tokio::test]
async fn a_deleted_resource_does_not_wait_for_ever() {
    let scene = serving().await;
    let long_ago = json!("2020-01-01T00:00:00Z");
    scene.change(RESOURCE, DELETED_AT, long_ago).await;
    let (next, writes) = scene.round().await;
    assert_eq!(next, Next::Gone);
    assert_eq!(writes, ["PATCH llmprogramservings/a"]);
}

#[tokio::test]
async fn engines_of_a_deleted_resource_that_makes_no_sense_end_at_once() {
    let scene = serving().await;
    let beta = json!({"beta": "-1"});
    scene.change(RESOURCE, "/spec/scheduling", beta).await;
    let now = Timestamp::now().to_string();
    scene.change(RESOURCE, DELETED_AT, json!(now)).await;
    let (next, writes) = scene.round().await;
    assert_eq!(next, Next::Gone);
    assert_eq!(writes, ["DELETE pods/a-0", "PATCH llmprogramservings/a"]);
}

#[tokio::test]
async fn a_release_that_goes_leaves_no_finalizer() {
    const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/o/deployments/op";
    let scene = serving().await;
    let template = json!({"metadata": {}, "spec": {"containers": []}});
    let deployment = json!({"metadata": {"name": "op"},
        "spec": {"selector": {"matchLabels": {"app": "op"}}, "template": template}});
    scene
        .server
        .with(move |store| store.insert(DEPLOYMENT, deployment))
        .await;
    let departure = Departure {
        deployment: "op".to_owned(),
        pod_namespace: "o".to_owned(),
        namespace: Some("n".to_owned()),
    };
    let mut said = Vec::new();
    for _ in 0..2 {
        let say = |line| said.push(line);
        depart(&scene.tools.client, &departure, say)
            .await
            .expect("departs");
    }
    assert_eq!(
        said,
        [
            "Deployment op: deleted, its pods are gone",
            "n/a: waits for no operator any more",
            "1 of 1 resources released",
            "Deployment op: is not there",
            "0 of 1 resources released",
        ]
    );
    let writes = ["DELETE deployments/op", "PATCH llmprogramservings/a"];
    assert_eq!(scene.writes().await, writes);
    assert_eq!(finalizers(&scene).await, json!([]));
}
