//! What is told about a resource. Owns: its conditions and counts, so that `kubectl wait`, Helm and people can rely on
//! them: `Ready` says whether calls are served as asked; `Reconciling` and `Stalled` are there only while true. Pure.

use k8s_openapi::api::core::v1::Pod;
use lps_api::quantity::Micros;
use lps_api::resource::{Condition, EngineStatus, LlmProgramServingStatus, ScalingStatus};

use crate::build::selector_text;
use crate::observe::{self, Trouble};
use crate::plan::{EngineState, ObservedEngine};
use crate::revision::Revision;
use crate::validate::{FieldError, Validated};

/// Engines that the status names at most.
const ENGINES_MAX: usize = 64;

/// Reason of a resource that this version cannot carry out.
pub const NOT_AVAILABLE: &str = "NotAvailable";
/// Reason of a resource that makes no sense.
pub const INVALID_SPEC: &str = "InvalidSpec";

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

/// What the operator says of a resource; others write conditions of other types.
const KINDS: [&str; 6] = [
    "Ready",
    "Reconciling",
    "Stalled",
    "ModelResolved",
    "EnginesAvailable",
    "RolloutComplete",
];

/// Troubles of an engine that say that its model is not there.
const NO_MODEL: [&str; 2] = [observe::MODEL_UNAVAILABLE, "VolumeMissing"];

/// One condition before it has its time: type, whether it is true, reason, message.
type Statement = (&'static str, bool, &'static str, String);

impl Seen {
    /// The engine of a pod; `None` for a pod that is none.
    pub fn of(pod: &Pod, now: Micros) -> Option<Self> {
        Some(Self {
            engine: observe::engine(pod, now)?,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            trouble: observe::trouble(pod),
        })
    }
}

/// Engines by where they stand.
#[derive(Debug, Clone, Copy)]
struct Counts {
    desired: u32,
    all: u32,
    ready: u32,
    starting: u32,
    draining: u32,
    updated: u32,
    old: u32,
}

impl Counts {
    fn of(desired: u32, revision: Option<Revision>, seen: &[Seen]) -> Self {
        let count = |wanted: &dyn Fn(&ObservedEngine) -> bool| {
            seen.iter().filter(|one| wanted(&one.engine)).count() as u32
        };
        let is_ready = |one: &ObservedEngine| one.state == EngineState::Ready;
        let is_starting = |one: &ObservedEngine| matches!(one.state, EngineState::Starting { .. });
        let is_current = |one: &ObservedEngine| Some(one.revision) == revision;
        Self {
            desired,
            all: seen.len() as u32,
            ready: count(&is_ready),
            starting: count(&is_starting),
            draining: count(&|one| matches!(one.state, EngineState::Draining { .. })),
            updated: count(&|one| is_current(one) && (is_ready(one) || is_starting(one))),
            old: count(&|one| !is_current(one)),
        }
    }

    fn is_settled(&self) -> bool {
        self.ready == self.desired && self.all == self.desired && self.updated == self.desired
    }
}

/// The status of a resource that makes sense.
pub fn of(
    pool: &Validated,
    desired: u32,
    seen: &[Seen],
    context: Context<'_>,
) -> LlmProgramServingStatus {
    let counts = Counts::of(desired, Some(pool.revision), seen);
    let (is_ready, reason, message) = readiness(pool, counts, seen);
    let mut statements = vec![("Ready", is_ready, reason, message.clone())];
    if !counts.is_settled() {
        statements.push(("Reconciling", true, reason, message));
    }
    statements.push(model_resolved(seen));
    statements.push(engines_available(pool, counts, seen));
    statements.push(rollout_complete(counts));
    counted(counts, seen, &pool.name, told(statements, context))
}

/// The status of a resource that is deleted, and whose engines end.
pub fn deleting(serving: &str, seen: &[Seen], context: Context<'_>) -> LlmProgramServingStatus {
    let message = format!(
        "the resource is deleted; {} engines finish what they have",
        seen.len()
    );
    let statements = vec![
        ("Ready", false, "Deleting", message.clone()),
        ("Reconciling", true, "Deleting", message),
    ];
    let counts = Counts::of(0, None, seen);
    counted(counts, seen, serving, told(statements, context))
}

/// The status of a resource that cannot be carried out; what was seen of its engines stays.
pub fn stalled(
    reason: &'static str,
    message: String,
    context: Context<'_>,
) -> LlmProgramServingStatus {
    let mut statements = vec![
        ("Ready", false, reason, message.clone()),
        ("Stalled", true, reason, message.clone()),
    ];
    if reason == NOT_AVAILABLE {
        statements.push(("ModelResolved", false, reason, message));
    }
    let mut status = told(statements, context);
    // What was said of the engines speaks of an older generation, and says so.
    for before in &context.before.conditions {
        let is_of_engines = ["ModelResolved", "EnginesAvailable", "RolloutComplete"]
            .contains(&before.kind.as_str());
        if is_of_engines && !status.conditions.iter().any(|one| one.kind == before.kind) {
            status.conditions.push(before.clone());
        }
    }
    status
}

/// The message for fields that make no sense.
pub fn problems(errors: &[FieldError]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn readiness(pool: &Validated, counts: Counts, seen: &[Seen]) -> (bool, &'static str, String) {
    let Counts { ready, desired, .. } = counts;
    let serve = format!("{ready} of {desired} engines serve");
    if pool.scaling.suspended {
        return (false, "Suspended", "spec.suspend is true".to_owned());
    }
    if desired == 0 {
        let message = "no engine is wanted; the next call starts one".to_owned();
        return (true, "ScaledToZero", message);
    }
    if ready >= desired {
        return (true, "EnginesReady", serve);
    }
    match first_trouble(seen, |_| true) {
        Some((reason, why)) => (false, reason, format!("{serve}; {why}")),
        None => (false, "EnginesStarting", serve),
    }
}

fn first_trouble(seen: &[Seen], wanted: fn(&str) -> bool) -> Option<(&'static str, String)> {
    let troubles = seen.iter().filter_map(|one| {
        let trouble = one.trouble.as_ref().filter(|it| wanted(it.reason))?;
        let text = format!("engine {}: {}", one.engine.id, trouble.message);
        Some((trouble.reason, text))
    });
    // A model that is on its way is no trouble, beside one that is.
    troubles.min_by_key(|(reason, _)| *reason == observe::PULLING_MODEL)
}

fn model_resolved(seen: &[Seen]) -> Statement {
    match first_trouble(seen, |reason| NO_MODEL.contains(&reason)) {
        Some((reason, why)) => ("ModelResolved", false, reason, why),
        None => {
            let message = "nothing says that the model is missing".to_owned();
            ("ModelResolved", true, "Resolved", message)
        }
    }
}

fn engines_available(pool: &Validated, counts: Counts, seen: &[Seen]) -> Statement {
    let (is_true, reason, message) = match counts {
        Counts {
            ready: 0,
            desired: 0,
            ..
        } => {
            let reason = if pool.scaling.suspended {
                "Suspended"
            } else {
                "ScaledToZero"
            };
            (true, reason, "no engine is wanted".to_owned())
        }
        Counts { ready: 0, .. } => {
            let trouble = first_trouble(seen, |_| true);
            let starting = || ("EnginesStarting", "no engine serves yet".to_owned());
            let (reason, message) = trouble.unwrap_or_else(starting);
            (false, reason, message)
        }
        Counts { ready, .. } => (true, "EnginesServe", format!("{ready} engines serve")),
    };
    ("EnginesAvailable", is_true, reason, message)
}

fn rollout_complete(counts: Counts) -> Statement {
    let Counts {
        updated,
        desired,
        old,
        ..
    } = counts;
    let is_complete = updated == desired && old == 0;
    let reason = if is_complete {
        "Complete"
    } else {
        "RollingOut"
    };
    let message = format!(
        "{updated} of {desired} engines are of the present revision, {old} of an older one"
    );
    ("RolloutComplete", is_complete, reason, message)
}

fn counted(
    counts: Counts,
    seen: &[Seen],
    serving: &str,
    status: LlmProgramServingStatus,
) -> LlmProgramServingStatus {
    LlmProgramServingStatus {
        replicas: counts.ready + counts.starting,
        ready_replicas: counts.ready,
        updated_replicas: counts.updated,
        draining_replicas: counts.draining,
        selector: Some(selector_text(serving)),
        engines: engines(seen),
        scaling: Some(ScalingStatus {
            desired: counts.desired,
            ..ScalingStatus::default()
        }),
        ..status
    }
}

fn told(statements: Vec<Statement>, context: Context<'_>) -> LlmProgramServingStatus {
    let conditions = statements
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
            ..EngineStatus::default()
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
    own.conditions
        .retain(|one| KINDS.contains(&one.kind.as_str()));
    // Of an engine that is gone the router's part may stay for a while.
    own.engines.retain(|engine| engine.state.is_some());
    for engine in &mut own.engines {
        (engine.load_percent, engine.calls, engine.kv_blocks) = (None, None, None);
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
