//! The `model` section. Owns: where weights come from and what may be said about them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Model {
    /// The name by which clients ask for it; unique among the resources of one router.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Where the checkpoint comes from.
    pub source: Source,
    /// Longest prompt plus output of one call, in tokens; unset: what the checkpoint says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 10_000_000))]
    pub max_model_len: Option<u32>,
    /// Number format of the weights in memory.
    #[serde(default)]
    pub dtype: Dtype,
    /// Weight quantization; unset: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub quantization: Option<String>,
}

/// Where a checkpoint comes from: exactly one of its fields is set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// A model that is part of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<Builtin>,
    /// A repository of the Hugging Face hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugging_face: Option<HuggingFace>,
    /// A folder of a persistent volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<Pvc>,
    /// A folder of the machine that the engine runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPath>,
    /// A container image that holds the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

/// Models that are part of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Builtin {
    /// 2.7 million parameters that chat about this project, plan in steps and call tools.
    Demo,
    /// No tensors: tokens follow from the prompt by arithmetic, steps take a simulated time.
    Sim,
}

/// A repository of the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HuggingFace {
    /// `owner/name`.
    #[schemars(length(min = 1, max = 200))]
    pub repo: String,
    /// Branch, tag or commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub revision: Option<String>,
    /// Secret key that holds the access token of a gated repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret: Option<SecretKey>,
}

/// One key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// The Secret's name.
    pub name: String,
    /// The key inside it.
    pub key: String,
}

/// A folder of a persistent volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pvc {
    /// The claim's name.
    pub claim: String,
    /// Folder inside the volume; unset: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A folder of the machine that the engine runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPath {
    /// Absolute path of the folder with `config.json`.
    #[schemars(length(min = 1, max = 4096))]
    pub path: String,
}

/// A container image that holds a checkpoint's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// The image's reference.
    #[schemars(length(min = 1, max = 512))]
    pub reference: String,
}

/// Number format of the weights in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Dtype {
    /// What the checkpoint says; float16 becomes bfloat16 on a CPU.
    #[default]
    Auto,
    /// 16 bits with the exponent of float32.
    Bfloat16,
    /// 32 bits.
    Float32,
}
