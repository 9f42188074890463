//! The first engine's pod of a resource, for the tests that look at what is built. It must not know what they look for.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use lps_api::quantity::Micros;
use lps_api::resource::Manifest;
use lps_operator::build::{self, Mould, Owner, Release};
use lps_operator::checkpoint::Fetching;
use lps_operator::plan::{Action, plan};
use lps_operator::validate::validate;
use serde_json::{Value, json};

/// The resource `a` with this model source and these settings of the engine.
pub(crate) fn manifest(source: Value, engine: Value) -> Manifest {
    serde_json::from_value(json!({
        "apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing", "metadata": {"name": "a"},
        "spec": {"model": {"name": "m", "source": source}, "engine": engine},
    }))
    .expect("parses")
}

/// What a release with the engine image `i` makes of it, with 90 s to drain.
pub(crate) fn pod(manifest: &Manifest, fetching: Fetching) -> Result<Pod, String> {
    pod_of(
        manifest,
        &Release {
            engine_image: "i".to_owned(),
            engine_tls_secret: None,
            fetching,
        },
    )
}

/// What this release makes of it, with 90 s to drain.
pub(crate) fn pod_of(manifest: &Manifest, release: &Release) -> Result<Pod, String> {
    let pool = validate(manifest).expect("makes sense");
    let owner = Owner {
        namespace: "n".to_owned(),
        name: "a".to_owned(),
        reference: OwnerReference::default(),
    };
    let mould = Mould {
        owner: &owner,
        release,
        settings: &manifest.spec.engine,
        drain_timeout: Micros::from_secs(90),
    };
    let actions = plan(&pool, 1, &[], Micros::ZERO);
    let [Action::Create(spec)] = &actions[..] else {
        panic!("{actions:?}")
    };
    build::pod(mould, spec)
}
