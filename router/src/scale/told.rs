//! What the router writes into a resource's status. Owns: its part of it: programs, scaling, loads of engines, and two
//! conditions; the rest is the operator's. Pure.

use k8s_openapi::jiff::Timestamp;
use lps_api::quantity::Micros;
use lps_api::resource::{Condition, Decision, LLMProgramServing, ScalingMode};
use serde_json::{Value, json};

use super::Wanted;
use crate::state::view::EngineLoad;

/// Decisions that a status keeps.
const HISTORY_MAX: usize = 5;
/// Engines that a status names.
const ENGINES_MAX: usize = 64;

/// One engine of a resource.
#[derive(Debug, Clone)]
pub(super) struct EngineSeen {
    /// Its pod's name.
    pub(super) pod: String,
    /// What is booked there.
    pub(super) load: EngineLoad,
    /// Tokens of one of its KV pages.
    pub(super) block_tokens: u32,
}

/// What a status is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The resource as it was seen last.
    pub(super) resource: &'a LLMProgramServing,
    /// What is wanted; `None` where the resource serves nothing, for this reason.
    pub(super) wanted: Result<&'a Wanted, &'a str>,
    /// Its engines.
    pub(super) engines: &'a [&'a EngineSeen],
    /// Who else writes `replicas`.
    pub(super) rival: Option<&'a str>,
    /// When the process started.
    pub(super) started: Timestamp,
    /// The time since then.
    pub(super) now: Micros,
}

/// The router's part of the status.
pub(super) fn status(facts: Facts<'_>) -> Value {
    let mut status = json!({"conditions": conditions(facts)});
    let Ok(wanted) = facts.wanted else {
        return status;
    };
    status["programs"] = json!({"live": wanted.live_programs});
    let history = history(facts, wanted);
    status["scaling"] = json!({"reason": wanted.text});
    if let Some(last) = history.first() {
        status["scaling"]["lastScaleTime"] = json!(last.time);
        status["scaling"]["history"] = json!(history);
    }
    let before = facts.resource.status.as_ref();
    let seconds = |time: Micros| time.0.div_ceil(1_000_000);
    if let Some(starts) = &wanted.cold_start {
        status["coldStart"] = json!({"p50": seconds(starts.p50), "p95": seconds(starts.p95)});
    } else if let Some(starts) = before.and_then(|before| before.cold_start) {
        // An earlier router saw it.
        status["coldStart"] = json!(starts);
    }
    let engines = facts
        .engines
        .iter()
        .take(ENGINES_MAX)
        .map(|seen| engine(seen));
    status["engines"] = engines.collect();
    status
}

fn engine(seen: &EngineSeen) -> Value {
    let load = &seen.load;
    let calls = load.running + load.waiting;
    json!({
        "pod": seen.pod,
        "loadPercent": (u64::from(calls) * 100 / u64::from(load.slots.max(1))).min(100),
        "calls": calls,
        "kvBlocks": load.kv_resident_tokens.div_ceil(u64::from(seen.block_tokens.max(1))),
    })
}

/// The newest first; those of an earlier router follow.
fn history(facts: Facts<'_>, wanted: &Wanted) -> Vec<Decision> {
    let mut history: Vec<Decision> = wanted
        .history
        .iter()
        .map(|change| Decision {
            time: text(facts, change.at),
            from: change.from,
            to: change.to,
            reason: format!("{}: {}", change.reason.as_str(), change.text),
        })
        .collect();
    let before = facts.resource.status.as_ref();
    let old = before.and_then(|before| before.scaling.as_ref());
    for decision in old.into_iter().flat_map(|scaling| &scaling.history) {
        let is_known = history
            .iter()
            .any(|new| new.to == decision.to && new.reason == decision.reason);
        if !is_known {
            history.push(decision.clone());
        }
    }
    history.truncate(HISTORY_MAX);
    history
}

/// A time since the process started, as Kubernetes writes times.
fn text(facts: Facts<'_>, at: Micros) -> String {
    let at = i64::try_from(at.0).unwrap_or(i64::MAX);
    let at = facts.started.as_microsecond().saturating_add(at);
    let at = Timestamp::from_microsecond(at).unwrap_or(facts.started);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn conditions(facts: Facts<'_>) -> Vec<Condition> {
    let spec = &facts.resource.spec;
    let (active, reason, message) = match (facts.wanted, spec.scaling.mode) {
        (Err(why), _) => (false, "NotServed", why.to_owned()),
        _ if spec.suspend => (false, "Suspended", "spec.suspend is true".to_owned()),
        (Ok(wanted), ScalingMode::Router) => (true, wanted.reason.as_str(), wanted.text.clone()),
        (Ok(_), ScalingMode::External) => {
            let message = "another autoscaler writes /scale; the router only wakes from zero";
            (false, "External", message.to_owned())
        }
        (Ok(_), ScalingMode::Manual) => {
            let message = "engines are added and removed by kubectl scale";
            (false, "Manual", message.to_owned())
        }
    };
    let mut conditions = vec![condition(facts, "ScalingActive", (active, reason), message)];
    if let Some(rival) = facts.rival {
        let reason = (true, "OtherWriter");
        conditions.push(condition(facts, "ScalingConflict", reason, conflict(rival)));
    }
    conditions
}

/// What to do about somebody else who writes the number of engines.
pub(super) fn conflict(rival: &str) -> String {
    format!(
        "{rival} writes spec.replicas too; leave replicas out of what it applies, or set spec.scaling.mode to External or Manual"
    )
}

fn condition(
    facts: Facts<'_>,
    kind: &str,
    (is_true, reason): (bool, &str),
    message: String,
) -> Condition {
    let status = if is_true { "True" } else { "False" };
    let before = facts.resource.status.as_ref();
    let before = before.and_then(|before| {
        let mut conditions = before.conditions.iter();
        conditions.find(|one| one.kind == kind && one.status == status)
    });
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        observed_generation: facts.resource.metadata.generation,
        last_transition_time: before.map_or_else(
            || text(facts, facts.now),
            |before| before.last_transition_time.clone(),
        ),
        reason: reason.to_owned(),
        message,
    }
}
