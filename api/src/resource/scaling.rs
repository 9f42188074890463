//! The `scaling` and `rollout` sections. Owns: how many engines there are, and how they are replaced.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::Period;

/// How many engines there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scaling {
    /// Who decides.
    pub mode: ScalingMode,
    /// By what the router decides.
    pub rule: ScalingRule,
    /// Whether the router only tells what it would decide.
    pub dry_run: bool,
    /// Fewest engines; 0 allows none while no program is live.
    #[schemars(range(max = 1024))]
    pub min: u32,
    /// Most engines; unset: as many as `min`, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max: Option<u32>,
    /// Calls for one engine; by rule `Queue` waiting ones only.
    #[schemars(range(min = 1, max = 4096))]
    pub target_calls_per_engine: u32,
    /// How long no program may have been live before the last engine goes, where `min` is 0.
    pub idle_after: Period,
    /// How long fewer engines must have been enough before one is drained.
    pub scale_down_delay: Period,
    /// How long a call is held while there is no engine.
    pub cold_start_hold: Period,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            mode: ScalingMode::default(),
            rule: ScalingRule::default(),
            dry_run: false,
            min: 1,
            max: None,
            target_calls_per_engine: 8,
            idle_after: Period::from_secs(300),
            scale_down_delay: Period::from_secs(300),
            cold_start_hold: Period::from_secs(300),
        }
    }
}

/// Who decides how many engines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum ScalingMode {
    /// The router, by `rule`.
    #[default]
    Router,
    /// An autoscaler of the cluster, through `/scale`.
    External,
    /// A person, by `kubectl scale`: `replicas`, or else `min`.
    Manual,
}

/// By what the router decides how many engines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum ScalingRule {
    /// Calls, and programs that are expected to call again; never none while a program is live.
    #[default]
    Programs,
    /// The length of the queue, every ten seconds.
    Queue,
}

/// How engines are replaced after a change of the resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rollout {
    /// What comes first, the new engine or the end of the old one.
    pub strategy: RolloutStrategy,
    /// Engines beyond the wanted number while a rollout lasts.
    #[schemars(range(min = 1, max = 64))]
    pub max_surge: u32,
    /// How long a draining engine may finish its calls.
    pub drain_timeout: Period,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: RolloutStrategy::default(),
            max_surge: 1,
            drain_timeout: Period::from_secs(300),
        }
    }
}

/// What comes first in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum RolloutStrategy {
    /// The new engine where there is room for one more, else the end of an old one.
    #[default]
    Auto,
    /// The new engine.
    Surge,
    /// The end of an old one.
    Replace,
}
