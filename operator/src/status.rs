//! What is told about a resource. Owns: its conditions and counts, so that `kubectl wait`, Helm and people can rely on
//! them: `Ready` says whether calls are served as asked; `Reconciling` and `Stalled` are there only while true. Pure.

use lps_api::resource::{Condition, EngineStatus, LlmProgramServingStatus, ScalingStatus};

use crate::observe::Trouble;
use crate::plan::{EngineState, ObservedEngine};
use crate::validate::{FieldError, Validated};

/// Engines that the status names at most.
const ENGINES_MAX: usize = 64;

/// One engine with what its pod says besides.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The engine.
    pub engine: ObservedEngine,
    /// Its node.
    pub node: Option<String>,
    /// What keeps it from serving.
    pub trouble: Option<Trouble>,
}

/// What a status is made from besides the engines.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The resource's generation.
    pub generation: Option<i64>,
    /// What was told before: times stay where nothing changed.
    pub before: &'a LlmProgramServingStatus,
    /// Now, in RFC 3339.
    pub now: &'a str,
    /// Where clients reach the router.
    pub url: Option<&'a str>,
}

/// The status of a resource that makes sense.
pub fn of(
    pool: &Validated,
    selector: String,
    desired: u32,
    seen: &[Seen],
    context: Context<'_>,
) -> LlmProgramServingStatus {
    let count = |wanted: fn(&EngineState) -> bool| {
        seen.iter().filter(|one| wanted(&one.engine.state)).count() as u32
    };
    let ready = count(|state| matches!(state, EngineState::Ready));
    let starting = count(|state| matches!(state, EngineState::Starting { .. }));
    let draining = count(|state| matches!(state, EngineState::Draining { .. }));
    let updated = seen
        .iter()
        .filter(|one| one.engine.revision == pool.revision)
        .filter(|one| {
            matches!(
                one.engine.state,
                EngineState::Ready | EngineState::Starting { .. }
            )
        })
        .count() as u32;
    let settled = ready == desired && seen.len() as u32 == desired && updated == desired;
    let (is_ready, reason, message) = if pool.scaling.suspended {
        (false, "Suspended", "spec.suspend is true".to_owned())
    } else if desired == 0 {
        let message = "no engine is wanted; the next call starts one".to_owned();
        (true, "ScaledToZero", message)
    } else if ready >= desired {
        (
            true,
            "EnginesReady",
            format!("{ready} of {desired} engines serve"),
        )
    } else {
        let trouble = seen.iter().find_map(|one| {
            let trouble = one.trouble.as_ref()?;
            let text = format!("engine {}: {}", one.engine.id, trouble.message);
            Some((trouble.reason, text))
        });
        let (reason, why) = trouble.unwrap_or(("EnginesStarting", String::new()));
        let dash = if why.is_empty() { "" } else { "; " };
        let message = format!("{ready} of {desired} engines serve{dash}{why}");
        (false, reason, message)
    };
    let mut conditions = vec![("Ready", is_ready, reason, message.clone())];
    if !settled {
        conditions.push(("Reconciling", true, reason, message));
    }
    LlmProgramServingStatus {
        replicas: ready + starting,
        ready_replicas: ready,
        updated_replicas: updated,
        draining_replicas: draining,
        selector: Some(selector),
        engines: engines(seen),
        scaling: Some(ScalingStatus {
            desired,
            ..ScalingStatus::default()
        }),
        ..told(conditions, context)
    }
}

/// The status of a resource that cannot be carried out; what was seen of its engines stays.
pub fn stalled(reason: &str, message: String, context: Context<'_>) -> LlmProgramServingStatus {
    let conditions = vec![
        ("Ready", false, reason, message.clone()),
        ("Stalled", true, reason, message),
    ];
    told(conditions, context)
}

/// The message for fields that make no sense.
pub fn problems(errors: &[FieldError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn told(
    conditions: Vec<(&str, bool, &str, String)>,
    context: Context<'_>,
) -> LlmProgramServingStatus {
    let conditions = conditions
        .into_iter()
        .map(|(kind, is_true, reason, message)| {
            let status = if is_true { "True" } else { "False" };
            let before = context
                .before
                .conditions
                .iter()
                .find(|before| before.kind == kind && before.status == status);
            Condition {
                kind: kind.to_owned(),
                status: status.to_owned(),
                observed_generation: context.generation,
                last_transition_time: before.map_or_else(
                    || context.now.to_owned(),
                    |before| before.last_transition_time.clone(),
                ),
                reason: reason.to_owned(),
                message,
            }
        });
    LlmProgramServingStatus {
        observed_generation: context.generation,
        conditions: conditions.collect(),
        url: context.url.map(str::to_owned),
        ..own(context.before)
    }
}

fn engines(seen: &[Seen]) -> Vec<EngineStatus> {
    let mut engines: Vec<EngineStatus> = seen
        .iter()
        .map(|one| EngineStatus {
            pod: one.engine.id.to_string(),
            node: one.node.clone(),
            state: Some(word(&one.engine.state).to_owned()),
            revision: Some(one.engine.revision.to_string()),
            load_percent: None,
        })
        .collect();
    engines.sort_by(|a, b| a.pod.cmp(&b.pod));
    engines.truncate(ENGINES_MAX);
    engines
}

/// The part of a status that is the operator's to write: what it leaves out of it is removed, and what the router
/// writes stays.
pub fn own(status: &LlmProgramServingStatus) -> LlmProgramServingStatus {
    let mut own = LlmProgramServingStatus {
        programs: None,
        cold_start: None,
        ..status.clone()
    };
    if let Some(scaling) = &mut own.scaling {
        *scaling = ScalingStatus {
            desired: scaling.desired,
            ..ScalingStatus::default()
        };
    }
    for engine in &mut own.engines {
        engine.load_percent = None;
    }
    own
}

fn word(state: &EngineState) -> &'static str {
    match state {
        EngineState::Starting { .. } => "Starting",
        EngineState::Ready => "Ready",
        EngineState::Draining { .. } => "Draining",
        EngineState::Failed { .. } => "Failed",
        EngineState::Ending => "Ending",
    }
}
