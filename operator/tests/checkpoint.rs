//! Pods whose model is fetched before the engine begins: what fetches it, from where, to where, with which rights.

mod first_pod;

use k8s_openapi::api::core::v1::Pod;
use lps_operator::checkpoint::Fetching;
use serde_json::{Value, json};

fn built(source: Value, fetching: Fetching) -> Result<Pod, String> {
    first_pod::pod(&first_pod::manifest(source, json!({})), fetching)
}

/// The pod of a source, with what the release has to fetch with.
fn fetched(source: Value, cache: Option<&str>) -> Value {
    let fetching = Fetching {
        tools_image: Some("t".to_owned()),
        model_cache: cache.map(str::to_owned),
        hub_endpoint: None,
    };
    let pod = built(source, fetching).expect("is built");
    serde_json::to_value(pod.spec).expect("serialises")
}

fn words(container: &Value, field: &str) -> String {
    let words = container[field].as_array().into_iter().flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    words.join(" ")
}

/// Volume, path, folder inside it, and whether it may be written, of each mount but the scratch folder's.
fn mounts(container: &Value) -> Vec<String> {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let told = mounts.filter(|it| it["name"] != "scratch").map(|it| {
        let text = |field: &str| it[field].as_str().unwrap_or("-").to_owned();
        let mode = if it["readOnly"] == true { "ro" } else { "rw" };
        [
            text("name"),
            text("mountPath"),
            text("subPath"),
            mode.to_owned(),
        ]
        .join(" ")
    });
    told.collect()
}

#[test]
fn a_model_of_the_hub_is_pulled_before_the_engine_begins() {
    let source = json!({"huggingFace": {"repo": "o/m", "tokenSecret": {"name": "s", "key": "k"}}});
    let spec = fetched(source, None);
    let fetcher = &spec["initContainers"][0];
    assert_eq!(fetcher["image"], "t");
    assert_eq!(
        words(fetcher, "args"),
        "model pull --revision main --to /model -- o/m"
    );
    let token =
        json!([{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    assert_eq!(fetcher["env"], token);
    assert_eq!(
        fetcher["resources"]["requests"],
        json!({"cpu": "100m", "memory": "128Mi"})
    );
    let engine = &spec["containers"][0];
    assert_eq!(fetcher["securityContext"], engine["securityContext"]);
    assert!(words(engine, "args").starts_with("--model /model --engine-id a-0"));
    assert_eq!(engine["env"], json!([]), "the token is the fetcher's alone");
    assert_eq!(mounts(fetcher), ["model /model - rw"]);
    assert_eq!(mounts(engine), ["model /model - ro"]);
    assert_eq!(spec["volumes"][1], json!({"name": "model", "emptyDir": {}}));
}

#[test]
fn a_cached_model_has_a_folder_of_its_own_on_the_node() {
    let source = json!({"huggingFace": {"repo": "o/m", "revision": "refs/pr/1"}});
    let spec = fetched(source, Some("/var/models"));
    let (fetcher, engine) = (&spec["initContainers"][0], &spec["containers"][0]);
    let pull = "model pull --revision refs/pr/1 --to /model/o--m/refs--pr--1 -- o/m";
    assert_eq!(words(fetcher, "args"), pull);
    assert_eq!(mounts(fetcher), ["model /model - rw"]);
    assert_eq!(mounts(engine), ["model /model o--m/refs--pr--1 ro"]);
    let host = json!({"path": "/var/models", "type": "DirectoryOrCreate"});
    assert_eq!(
        spec["volumes"][1],
        json!({"name": "model", "hostPath": host})
    );
}

#[test]
fn a_model_in_an_image_is_copied_by_a_program_that_is_brought() {
    let spec = fetched(
        json!({"image": {"reference": "user/model:1"}}),
        Some("/var/models"),
    );
    let [bringer, copier] = [0, 1].map(|at| &spec["initContainers"][at]);
    assert_eq!(
        (&bringer["image"], &copier["image"]),
        (&json!("t"), &json!("user/model:1"))
    );
    assert_eq!(words(bringer, "args"), "model tool --to /lps/tools/lps");
    let copy = "/lps/tools/lps model copy --from / --to /lps/model";
    assert_eq!(words(copier, "command"), copy);
    assert_eq!(mounts(bringer), ["tools /lps/tools - rw"]);
    assert_eq!(
        mounts(copier),
        ["tools /lps/tools - ro", "model /lps/model - rw"]
    );
    assert_eq!(mounts(&spec["containers"][0]), ["model /model - ro"]);
}

#[test]
fn without_the_tools_image_a_model_that_is_fetched_is_not_available() {
    for source in [
        json!({"huggingFace": {"repo": "o/m"}}),
        json!({"image": {"reference": "i"}}),
    ] {
        let refused = built(source, Fetching::default());
        let message = refused.expect_err("has no image");
        assert!(message.contains("--tools-image"), "{message}");
    }
}
