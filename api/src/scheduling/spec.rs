//! The `scheduling` section of the resource. Owns: its fields and their schema. It must not know ranges and defaults.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Estimator, Policy, Switch, Text, WithinQueue};

/// The `scheduling` section of the resource, as written; see [`Settings`] for what it becomes. Times are seconds or
/// carry a unit (`8s`, `250ms`); `none` turns a rule off; a number with a fraction stands in quotes. The words below are
/// short since a definition has a bound on its bytes; [`super::reference`] has the long ones.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulingSpec {
    /// Order of calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// How `atlas` finds a critical path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimator: Option<Estimator>,
    /// `time`, or `tokens:A,B` in µs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Text>,
    /// Where queues end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Vec<Text>>,
    /// Service until demotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quanta: Option<Vec<Text>>,
    /// Better calls take slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption: Option<Switch>,
    /// Order inside a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_queue: Option<WithinQueue>,
    /// Wait over service that promotes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<Text>,
    /// Least service for `beta`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_floor: Option<Text>,
    /// The longest wait below queue 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue_wait: Option<Text>,
    /// When the oldest goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_every: Option<Text>,
    /// Calls beyond an engine's slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oversubscription: Option<Text>,
    /// Calls that may pass a larger one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill_limit: Option<Text>,
    /// Most slots of one program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_calls_per_program: Option<Text>,
    /// Longer prompts go home.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality_threshold: Option<Text>,
    /// Longest wait for the home.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_wait: Option<Text>,
    /// Admission by contexts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_set: Option<Switch>,
    /// KV share of programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_watermark: Option<Text>,
    /// How long a place is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acting_lease: Option<Text>,
    /// Longest wait for room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pause: Option<Text>,
    /// Tenants' shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_weights: Option<BTreeMap<String, Text>>,
}
