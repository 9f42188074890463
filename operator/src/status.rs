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
    /// Whether its pod was made only lately.
    pub is_new: bool,
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
    /// What this round met with, and no pod shows after it: an engine that was refused, or ended and was deleted.
    pub met: Option<&'a Trouble>,
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

/// Until then a pod that replaces one that failed says nothing better than why that one failed.
const NEW: Micros = Micros::from_secs(60);
/// Reasons that are told on while the next engine tries: else they would be seen only between two tries.
const LASTING: [&str; 2] = [observe::MODEL_UNAVAILABLE, observe::CRASH_LOOP];
/// Troubles of an engine that say that its model is not there.
const NO_MODEL: [&str; 2] = [observe::MODEL_UNAVAILABLE, "VolumeMissing"];

/// One condition before it has its time: type, whether it is true, reason, message.
type Statement = (&'static str, bool, &'static str, String);

impl Seen {
    /// The engine of a pod; `None` for a pod that is none.
    pub fn of(pod: &Pod, now: Micros) -> Option<Self> {
        let made_at = pod.metadata.creation_timestamp.as_ref();
        let made_at = made_at.map_or(now, observe::micros);
        Some(Self {
            is_new: now.saturating_sub(made_at) < NEW,
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
    let trouble = foremost(seen, context);
    let (is_ready, reason, message) = readiness(pool, counts, trouble.clone());
    let mut statements = vec![("Ready", is_ready, reason, message.clone())];
    if !counts.is_settled() {
        statements.push(("Reconciling", true, reason, message));
    }
    let of_model = |reason: &str| NO_MODEL.contains(&reason);
    let no_model = trouble.clone().filter(|it| of_model(it.reason));
    statements.push(model_resolved(
        no_model.or_else(|| first_trouble(seen, of_model)),
    ));
    statements.push(engines_available(pool, counts, trouble));
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

fn readiness(
    pool: &Validated,
    counts: Counts,
    trouble: Option<Trouble>,
) -> (bool, &'static str, String) {
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
    match trouble {
        Some(trouble) => (
            false,
            trouble.reason,
            format!("{serve}; {}", trouble.message),
        ),
        None => (false, "EnginesStarting", serve),
    }
}

/// The trouble to tell of.
fn foremost(seen: &[Seen], context: Context<'_>) -> Option<Trouble> {
    let now = first_trouble(seen, |_| true);
    // A model that is on its way is no trouble, beside one that is.
    let (on_its_way, now) = match now {
        Some(trouble) if trouble.reason == observe::PULLING_MODEL => (Some(trouble), None),
        other => (None, other),
    };
    now.or_else(|| context.met.cloned())
        .or_else(|| remembered(seen, context))
        .or(on_its_way)
}

/// Why engines failed lately, as it was told of this resource, while the next one tries.
fn remembered(seen: &[Seen], context: Context<'_>) -> Option<Trouble> {
    let tries = |one: &Seen| {
        let is_starting = matches!(one.engine.state, EngineState::Starting { .. });
        is_starting && one.engine.failures_before > 0 && one.is_new
    };
    let mut conditions = context.before.conditions.iter();
    let told = conditions.find(|one| {
        one.kind == "Ready"
            && one.status == "False"
            && one.observed_generation == context.generation
    })?;
    let reason = LASTING.into_iter().find(|known| *known == told.reason)?;
    let (_, why) = told.message.split_once("; ")?;
    seen.iter().any(tries).then(|| Trouble {
        reason,
        message: why.to_owned(),
    })
}

/// Why the first of the engines that ended did, before they are deleted.
pub fn ended(seen: &[Seen]) -> Option<Trouble> {
    let ended = |one: &&Seen| matches!(one.engine.state, EngineState::Failed { .. });
    let ended: Vec<Seen> = seen.iter().filter(ended).cloned().collect();
    first_trouble(&ended, |_| true)
}

fn first_trouble(seen: &[Seen], wanted: fn(&str) -> bool) -> Option<Trouble> {
    let troubles = seen.iter().filter_map(|one| {
        let trouble = one.trouble.as_ref().filter(|it| wanted(it.reason))?;
        Some(Trouble {
            reason: trouble.reason,
            message: format!("engine {}: {}", one.engine.id, trouble.message),
        })
    });
    troubles.min_by_key(|trouble| trouble.reason == observe::PULLING_MODEL)
}

fn model_resolved(trouble: Option<Trouble>) -> Statement {
    match trouble {
        Some(trouble) => ("ModelResolved", false, trouble.reason, trouble.message),
        None => {
            let message = "nothing says that the model is missing".to_owned();
            ("ModelResolved", true, "Resolved", message)
        }
    }
}

fn engines_available(pool: &Validated, counts: Counts, trouble: Option<Trouble>) -> Statement {
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
            let (reason, message) = trouble.map_or_else(
                || ("EnginesStarting", "no engine serves yet".to_owned()),
                |trouble| (trouble.reason, trouble.message),
            );
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
