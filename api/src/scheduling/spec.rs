//! The `scheduling` section of the resource. Owns: its fields and their schema. It must not know ranges and defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Estimator, Policy, Switch, Text, WithinQueue};

/// The `scheduling` section of the resource, as written; see [`Settings`] for what it becomes. Times are seconds or
/// carry a unit (`8s`, `250ms`); `none` turns a rule off; a number with a fraction stands in quotes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulingSpec {
    /// In which order calls are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// What `atlas` takes for a call's critical path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimator: Option<Estimator>,
    /// What service is counted in: `time`, or `tokens:A,B` (µs for an uncached prompt token, and for an output token).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Text>,
    /// Upper bounds of all queues but the last, ascending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Vec<Text>>,
    /// Service that a call may use in each queue before it is demoted; one more than the bounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quanta: Option<Vec<Text>>,
    /// Whether a running call gives its slot to a call of a better queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preemption: Option<Switch>,
    /// Who is first inside a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_queue: Option<WithinQueue>,
    /// A program's wait over its service from which on its next call is promoted to queue 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<Text>,
    /// The least service that `beta` divides by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_floor: Option<Text>,
    /// The longest time that a call waits below queue 1 before it is promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue_wait: Option<Text>,
    /// Every so many dispatches the oldest call goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_every: Option<Text>,
    /// Calls that wait in an engine beyond its slots, to keep it fed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oversubscription: Option<Text>,
    /// Smaller calls that may pass one that does not fit, after the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill_limit: Option<Text>,
    /// Most slots of one program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_calls_per_program: Option<Text>,
    /// Prompts of more tokens go to their program's home engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality_threshold: Option<Text>,
    /// How long a call waits for its saturated home engine before it moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home_wait: Option<Text>,
}
