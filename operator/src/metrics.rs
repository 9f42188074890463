//! The operator's metrics. Owns: their names, labels and buckets. No label names a resource: there are as many series
//! as there are words here.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

use crate::plan::Action;

/// One metric: name, labels, meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// As scraped.
    pub name: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const ROUNDS: Description = Description {
    name: "lps_operator_rounds_total",
    labels: &["result"],
    help: "Rounds by how they ended: settled, unsettled (something is on its way), stalled, failed.",
};
const ROUND: Description = Description {
    name: "lps_operator_round_seconds",
    labels: &[],
    help: "Time that a round took.",
};
const ACTIONS: Description = Description {
    name: "lps_operator_actions_total",
    labels: &["action"],
    help: "What was done to engines: create, drain, cancel_drain, delete.",
};
const LEADER: Description = Description {
    name: "lps_operator_leader",
    labels: &[],
    help: "1 while this process works, 0 while it stands by.",
};

/// Every metric.
pub const ALL: [Description; 4] = [ROUNDS, ROUND, ACTIONS, LEADER];

/// From 5 ms, which a few answers of the API server take, to its timeouts.
const ROUND_S: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundResult {
    /// All is as it should be.
    Settled,
    /// Something is on its way.
    Unsettled,
    /// Nothing changes until somebody changes the resource.
    Stalled,
    /// It did not come to its end.
    Failed,
}

/// Handles to all series; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    rounds: IntCounterVec,
    round: Histogram,
    actions: IntCounterVec,
    leader: IntGauge,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Panics
    /// When the registry has one of the names already: a registry belongs to one operator.
    pub fn register(registry: &Registry) -> Self {
        let counter = |metric: Description| {
            IntCounterVec::new(Opts::new(metric.name, metric.help), metric.labels)
        };
        let round = HistogramOpts::new(ROUND.name, ROUND.help).buckets(ROUND_S.to_vec());
        Self {
            rounds: registered(registry, counter(ROUNDS)),
            round: registered(registry, Histogram::with_opts(round)),
            actions: registered(registry, counter(ACTIONS)),
            leader: registered(registry, IntGauge::new(LEADER.name, LEADER.help)),
        }
    }

    /// A round ended.
    pub fn round_ended(&self, result: RoundResult, took: Duration) {
        let word = match result {
            RoundResult::Settled => "settled",
            RoundResult::Unsettled => "unsettled",
            RoundResult::Stalled => "stalled",
            RoundResult::Failed => "failed",
        };
        self.rounds.with_label_values(&[word]).inc();
        self.round.observe(took.as_secs_f64());
    }

    /// Something was done to an engine.
    pub fn acted(&self, action: &Action) {
        let word = match action {
            Action::Create(_) => "create",
            Action::Drain(_) => "drain",
            Action::CancelDrain(_) => "cancel_drain",
            Action::Delete(..) => "delete",
        };
        self.actions.with_label_values(&[word]).inc();
    }

    /// Whether this process works.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("names and labels in the table are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("a registry belongs to one operator");
    collector
}

#[cfg(test)]
mod tests {
    use lps_api::ids::EngineId;

    use super::*;

    #[test]
    fn every_metric_of_the_table_is_registered_once_and_no_other() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        metrics.round_ended(RoundResult::Settled, Duration::from_millis(3));
        metrics.acted(&Action::Drain(EngineId::parse("a-0").expect("parses")));
        metrics.leads(true);
        let mut found: Vec<String> = registry
            .gather()
            .iter()
            .map(|family| family.name().to_owned())
            .collect();
        found.sort();
        let mut told: Vec<&str> = ALL.iter().map(|metric| metric.name).collect();
        told.sort_unstable();
        assert_eq!(found, told);
    }
}
