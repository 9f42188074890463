//! Scheduling settings: the same keys in the resource, the router's configuration and the simulator. Owns: each key's
//! range and default. It must not know how a scheduler uses them.

mod ranges;
/// What a reader should know of each key.
pub mod reference;
mod spec;
mod text;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::TenantId;
use crate::quantity::{Micros, Tokens};
pub use spec::SchedulingSpec;
pub use text::{Switch, Text};

/// In which order calls are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Calls by their arrival.
    Fcfs,
    /// Calls by their program's arrival.
    ProgramFcfs,
    /// A multilevel queue in which only a call's own service counts.
    Mlfq,
    /// Least attained service of the program first.
    Plas,
    /// Shortest critical path of the program so far first.
    Atlas,
    /// By an index learned from finished programs.
    Gittins,
}

impl Policy {
    /// All, as they are written.
    pub const ALL: [Self; 6] = [
        Self::Fcfs,
        Self::ProgramFcfs,
        Self::Mlfq,
        Self::Plas,
        Self::Atlas,
        Self::Gittins,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fcfs => "fcfs",
            Self::ProgramFcfs => "program-fcfs",
            Self::Mlfq => "mlfq",
            Self::Plas => "plas",
            Self::Atlas => "atlas",
            Self::Gittins => "gittins",
        }
    }

    /// Whether all calls stand in one queue, without quanta, where a running call is never displaced.
    pub const fn has_one_queue(self) -> bool {
        matches!(self, Self::Fcfs | Self::ProgramFcfs | Self::Gittins)
    }
}

/// What `atlas` takes for a call's critical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// One figure a program.
    Scalar,
    /// The longest path over the call's parents.
    Dag,
}

/// Who is first inside a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WithinQueue {
    /// Who came first.
    Arrival,
    /// Programs by turns.
    RoundRobin,
}

/// What service is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Executor time.
    #[default]
    Time,
    /// Tokens, weighed in µs.
    Tokens {
        /// µs for a prompt token that was not cached.
        prompt_us: u64,
        /// µs for an output token.
        output_us: u64,
    },
}

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such key.
    #[error("scheduling has no key {0:?}; the keys are {keys}", keys = ranges::KEYS)]
    Key(String),
    /// A value out of its range.
    #[error("scheduling key {key}: {value:?} is not {range}")]
    Range {
        /// Which key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        range: &'static str,
    },
    /// Two keys that contradict each other.
    #[error(
        "scheduling key quanta: {queues} queues ({bounds} bounds) need {queues} values, not {quanta}"
    )]
    Quanta {
        /// Bounds that there are.
        bounds: usize,
        /// Queues that there are.
        queues: usize,
        /// Quanta that were given.
        quanta: usize,
    },
    /// The same: bounds that move have no quanta of their own.
    #[error(
        "scheduling key quanta: bounds that are \"auto\" have quanta of their own; leave it out"
    )]
    AutoQuanta,
}

/// The settings of one pool's scheduler, every key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// In which order calls are served.
    pub policy: Policy,
    /// What `atlas` takes for a call's critical path.
    pub estimator: Estimator,
    /// What service is counted in.
    pub unit: Unit,
    /// Upper bounds of all queues but the last; ascending, at most [`Self::BOUNDS_MAX`].
    pub bounds: Vec<Micros>,
    /// Whether the bounds follow the sizes of finished programs; [`Self::bounds`] until there are enough.
    pub auto_bounds: bool,
    /// A quantum for each queue, `None` being no end of it; empty: the widths of the queues, the last without end.
    pub quanta: Vec<Option<Micros>>,
    /// Whether a running call gives its slot to a call of a better queue.
    pub preemption: bool,
    /// Who is first inside a queue.
    pub within_queue: WithinQueue,
    /// β in thousandths.
    pub beta_milli: Option<u64>,
    /// The least service that β divides by.
    pub service_floor: Micros,
    /// The longest time that a call waits below queue 1.
    pub max_queue_wait: Option<Micros>,
    /// Every so many dispatches the oldest call goes first.
    pub oldest_every: Option<u32>,
    /// Calls that wait in an engine beyond its slots.
    pub oversubscription: u32,
    /// Dispatches that may pass a call that does not fit, after the first.
    pub backfill_limit: u32,
    /// Most slots of one program.
    pub max_calls_per_program: Option<u32>,
    /// What a tenant's share is worth, in thousandths; 1000 for those that are not there.
    pub tenant_weights: BTreeMap<TenantId, u64>,
    /// Prompts of more tokens go to their program's home engine.
    pub locality_threshold: Tokens,
    /// How long a call waits for its saturated home engine; `None`: for ever.
    pub home_wait: Option<Micros>,
    /// Whether programs are admitted by their contexts, so that the contexts fit the engines' KV pools.
    pub working_set: bool,
    /// The share of an engine's KV pool that admitted programs may take, in thousandths.
    pub kv_watermark_milli: u32,
    /// How long a program keeps its place between two calls; `None`: as its class's gaps teach.
    pub acting_lease: Option<Micros>,
    /// How long a program waits for room before it is admitted without; `None`: for ever.
    pub max_pause: Option<Micros>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            policy: Policy::Atlas,
            estimator: Estimator::Scalar,
            unit: Unit::Time,
            bounds: [2, 8, 32, 128, 512].map(Micros::from_secs).to_vec(),
            auto_bounds: false,
            quanta: Vec::new(),
            preemption: true,
            within_queue: WithinQueue::Arrival,
            beta_milli: Some(10_000),
            service_floor: Micros::from_secs(1),
            max_queue_wait: None,
            oldest_every: Some(16),
            oversubscription: 2,
            backfill_limit: 8,
            max_calls_per_program: None,
            tenant_weights: BTreeMap::new(),
            locality_threshold: Tokens(2048),
            home_wait: Some(Micros::from_secs(8)),
            working_set: true,
            kv_watermark_milli: 900,
            acting_lease: None,
            max_pause: Some(Micros::from_secs(30 * 60)),
        }
    }
}

impl Settings {
    /// Most bounds of queues.
    pub const BOUNDS_MAX: usize = 31;

    /// What a resource's section becomes.
    ///
    /// # Errors
    /// When a value is out of its range, or values contradict each other.
    pub fn from_spec(spec: &SchedulingSpec) -> Result<Self, Error> {
        let mut settings = Self::default();
        let written = serde_json::to_value(spec).unwrap_or_default();
        for (key, value) in written.as_object().into_iter().flatten() {
            settings.set(key, &as_text(value))?;
        }
        settings.check()?;
        Ok(settings)
    }

    /// Whether the keys fit each other.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(&self) -> Result<(), Error> {
        let (bounds, queues, quanta) =
            (self.bounds.len(), self.bounds.len() + 1, self.quanta.len());
        if quanta != 0 && self.auto_bounds {
            return Err(Error::AutoQuanta);
        }
        if quanta != 0 && quanta != queues {
            return Err(Error::Quanta {
                bounds,
                queues,
                quanta,
            });
        }
        Ok(())
    }

    /// The queue that holds `p`, counted from 0: the bounds are half-open.
    pub fn queue_of(&self, p: Micros) -> u8 {
        if self.policy.has_one_queue() {
            return 0;
        }
        self.bounds.partition_point(|bound| *bound <= p) as u8
    }

    /// The last queue.
    pub fn last_queue(&self) -> u8 {
        if self.policy.has_one_queue() {
            0
        } else {
            self.bounds.len() as u8
        }
    }

    /// What a tenant's share is worth, in thousandths.
    pub fn weight_milli(&self, tenant: &TenantId) -> u64 {
        self.tenant_weights.get(tenant).copied().unwrap_or(1_000)
    }

    /// The full quantum of a queue; `None` has no end.
    pub fn quantum(&self, queue: u8) -> Option<Micros> {
        let index = usize::from(queue);
        if self.policy.has_one_queue() {
            None
        } else if let Some(quantum) = self.quanta.get(index) {
            *quantum
        } else {
            let lower = index
                .checked_sub(1)
                .map_or(Micros::ZERO, |below| self.bounds[below]);
            self.bounds.get(index).map(|upper| *upper - lower)
        }
    }

    /// How many calls may wait in an engine beyond its slots. Whoever waits there can be overtaken only by being
    /// displaced; so where nobody is displaced and a later call may be better, none waits there: a slot then stays empty
    /// for the moment between an end and the next dispatch.
    pub fn oversubscription(&self) -> u32 {
        let is_in_order = self.displaces() || self.policy == Policy::Fcfs;
        if is_in_order {
            self.oversubscription
        } else {
            0
        }
    }

    /// Whether a running call may have to give its slot away.
    pub fn displaces(&self) -> bool {
        self.preemption && !self.policy.has_one_queue()
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(members) => members.iter().map(as_text).collect::<Vec<_>>().join(","),
        Value::Object(members) => {
            let pairs = members
                .iter()
                .map(|(key, value)| format!("{key}={}", as_text(value)));
            pairs.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
