//! Scheduling settings: the same keys in the resource, the router's configuration and the simulator.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `scheduling` section of the resource, as written; see [`Settings`] for what it becomes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulingSpec {}

/// The settings of one pool's scheduler, every key with its value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {}
