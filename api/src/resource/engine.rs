//! The `engine` section. Owns: what each engine of the pool is given.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pod::PodSettings;
use super::text::{Bytes, Period};

/// What each engine of the pool is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EngineSettings {
    /// Image of the engine; unset: the one that belongs to the operator's release.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Where the model is computed.
    pub device: Device,
    /// GPUs of one engine, with device `cuda`; unset: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub gpus: Option<u32>,
    /// CPU and memory of one engine.
    pub resources: Resources,
    /// Most sequences in one batch; unset: the engine's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub max_num_seqs: Option<u32>,
    /// Most tokens of one step; unset: the engine's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 1_048_576))]
    pub max_batched_tokens: Option<u32>,
    /// Size of the KV pool; unset: the engine's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache: Option<KvCache>,
    /// How long an engine may take from its start until it is ready.
    pub start_timeout: Period,
    /// Further flags of `lps-engine`, passed as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub extra_args: Vec<String>,
    /// What the engine's pod gets besides; means nothing outside a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSettings>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            image: None,
            device: Device::default(),
            gpus: None,
            resources: Resources::default(),
            max_num_seqs: None,
            max_batched_tokens: None,
            kv_cache: None,
            start_timeout: Period::from_secs(600),
            extra_args: Vec::new(),
            pod: None,
        }
    }
}

/// Where a model is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Device {
    /// On the processor.
    #[default]
    Cpu,
    /// On NVIDIA GPUs.
    Cuda,
}

/// CPU and memory of one engine, in Kubernetes' quantities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// What is set aside for the engine.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
    /// What it may use at most. A limit of `cpu` also bounds its threads.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
}

/// Size of the KV pool: exactly one of its fields is set.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KvCache {
    /// Bytes, such as `4Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// Share of the memory that the weights leave free, above 0 and below 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01, max = 0.99))]
    pub fraction: Option<f64>,
}
