//! The `LLMProgramServing` resource. Owns: what a user may write, with its defaults; one resource is one model's pool
//! of engines. It does not judge whether the parts fit together: that is the operator's `validate`.

pub mod definition;
mod engine;
mod model;
mod pod;
mod rules;
mod scaling;
mod status;
mod text;

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use engine::{Device, EngineSettings, KvCache, Resources};
pub use model::{Builtin, Dtype, HostPath, HuggingFace, Image, Model, Pvc, SecretKey, Source};
pub use pod::{Affinity, EnvVar, LocalReference, PodSettings, ResourceClaim, Toleration};
pub use scaling::{Rollout, RolloutStrategy, Scaling, ScalingMode, ScalingRule};
pub use status::{
    Condition, Decision, EngineStatus, LlmProgramServingStatus, Programs, ScalingStatus, StartTimes,
};
pub use text::{Bytes, Period, TextError};

use crate::scheduling::SchedulingSpec;

/// A whole resource, as a file holds it and `lps up` reads it. A cluster's copy is [`LLMProgramServing`]: it has more
/// metadata and a status, and the API server has already judged its fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// `llmprogram.dev/v1alpha1`.
    pub api_version: String,
    /// `LLMProgramServing`.
    pub kind: String,
    /// Its name and labels.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: LlmProgramServingSpec,
}

/// The part of Kubernetes' object metadata that a user writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Name, unique in its namespace; engines are named after it.
    pub name: String,
    /// Namespace; means nothing outside a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// One model and the engines that serve it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "llmprogram.dev",
    version = "v1alpha1",
    kind = "LLMProgramServing",
    doc = "One model and the engines that serve it to LLM programs.",
    shortname = "lps",
    category = "all",
    category = "ai",
    namespaced,
    status = "LlmProgramServingStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    crates(kube_core = "::kube_core", k8s_openapi = "::k8s_openapi")
)]
pub struct LlmProgramServingSpec {
    /// What is served.
    pub model: Model,
    /// What each engine is.
    #[serde(default)]
    pub engine: EngineSettings,
    /// How calls are ordered and placed.
    #[serde(default)]
    pub scheduling: SchedulingSpec,
    /// How many engines there are.
    #[serde(default)]
    pub scaling: Scaling,
    /// Engines wanted now. Written through `/scale`; a user writes it only in scaling mode `Manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1024))]
    pub replicas: Option<u32>,
    /// How engines are replaced after a change.
    #[serde(default)]
    pub rollout: Rollout,
    /// Whether to have no engines for now; clients are told.
    #[serde(default)]
    pub suspend: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"{
        "apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing", "metadata": {"name": "demo"},
        "spec": {"model": {"name": "demo", "source": {"builtin": "demo"}}}
    }"#;

    #[test]
    fn a_model_is_enough_and_the_rest_has_defaults() {
        let resource: Manifest = serde_json::from_str(LEAST).expect("parses");
        assert_eq!(resource.spec.scaling, Scaling::default());
        assert_eq!(resource.spec.engine.start_timeout.to_string(), "10m");
        assert_eq!(resource.spec.rollout.drain_timeout.to_string(), "5m");
        let again: Manifest =
            serde_json::from_value(serde_json::to_value(&resource).expect("serialises"))
                .expect("parses");
        assert_eq!(again, resource);
    }

    #[test]
    fn a_misspelt_field_is_refused_at_every_level() {
        for (good, bad) in [
            ("\"spec\"", "\"spek\""),
            ("\"name\": \"demo\"}", "\"name\": \"demo\", \"nam\": 1}"),
            ("\"builtin\"", "\"buildin\""),
            ("\"model\": {", "\"scalling\": {}, \"model\": {"),
        ] {
            let text = LEAST.replacen(good, bad, 1);
            assert_ne!(text, LEAST);
            let error = serde_json::from_str::<Manifest>(&text).expect_err(&text);
            assert!(error.to_string().contains("unknown field"), "{error}");
        }
    }

    /// Every field of the schema that a user sees has a description.
    #[test]
    fn every_field_is_described() {
        fn visit(path: &str, schema: &serde_json::Value, bare: &mut Vec<String>) {
            for part in ["properties", "$defs"] {
                for (name, inner) in schema[part].as_object().into_iter().flatten() {
                    if part == "properties" && inner["description"].is_null() {
                        bare.push(format!("{path}.{name}"));
                    }
                    visit(&format!("{path}.{name}"), inner, bare);
                }
            }
        }
        let schema = schemars::schema_for!(LlmProgramServingSpec);
        let mut bare = Vec::new();
        visit("spec", schema.as_value(), &mut bare);
        assert_eq!(bare, Vec::<String>::new());
    }
}
