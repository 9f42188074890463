//! The resource's status. Owns: what is told about a pool; who writes which part stands at each field. It holds nothing
//! of a single call, and every list has a bound, so that it stays small however much is served.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is seen of one model and its engines. The operator writes all but `programs`, `scaling` and the engines' loads,
/// which the router writes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LlmProgramServingStatus {
    /// The generation of the spec that the rest speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Engines that there are, draining ones not counted.
    pub replicas: u32,
    /// Engines that serve.
    pub ready_replicas: u32,
    /// Engines made from the present spec.
    pub updated_replicas: u32,
    /// Engines that finish what they have.
    pub draining_replicas: u32,
    /// Label selector of the engines' pods, for autoscalers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Where clients reach the model, inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Up to 64 engines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["pod"]))]
    pub engines: Vec<EngineStatus>,
    /// Programs of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<Programs>,
    /// How many engines are wanted, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    /// How long engines took to become ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<StartTimes>,
    /// `Ready`, and what explains it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One engine; its loads are written by the router.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineStatus {
    /// Its pod.
    pub pod: String,
    /// Its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `Starting`, `Ready`, `Draining`, `Failed` or `Ending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Share of its slots in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_percent: Option<u32>,
    /// Calls in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u32>,
    /// KV pages in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_blocks: Option<u32>,
}

/// Programs of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Programs {
    /// Those that have not ended.
    pub live: u32,
}

/// How many engines are wanted, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScalingStatus {
    /// Engines that are wanted.
    pub desired: u32,
    /// Why so many; written by the router.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the number changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<String>,
    /// The last decisions, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub history: Vec<Decision>,
}

/// One decision of the autoscaler.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Decision {
    /// When.
    pub time: String,
    /// Engines before.
    pub from: u32,
    /// Engines wanted since.
    pub to: u32,
    /// Why, with the figures that led to it.
    pub reason: String,
}

/// How long engines took to become ready, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StartTimes {
    /// Half of the starts took no longer.
    pub p50: u32,
    /// 95 of 100 starts took no longer.
    pub p95: u32,
}

/// One statement about the resource, in Kubernetes' form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, such as `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The generation of the spec that it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` changed last.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}
