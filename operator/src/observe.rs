//! From a pod to the engine that it is. Owns: what a pod's state means. Pure; times are microseconds since 1970.

use k8s_openapi::api::core::v1::{
    ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use lps_api::ids::EngineId;
use lps_api::quantity::Micros;
use lps_api::wellknown::{annotation, condition, label};

use crate::checkpoint::{FETCHER, TOOL_BRINGER};
use crate::plan::{EngineLoad, EngineState, ObservedEngine};
use crate::revision::Revision;

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;

/// Reason of an engine whose model is not there.
pub const MODEL_UNAVAILABLE: &str = "ModelUnavailable";
/// Reason of an engine that ended by itself.
pub const CRASH_LOOP: &str = "CrashLoop";
/// Reason of an engine whose model is on its way.
pub const PULLING_MODEL: &str = "PullingModel";

/// Why an engine does not serve, as far as its pod tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In one word.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// The engine of a pod; `None` for a pod without a name that an engine may have.
pub fn engine(pod: &Pod, now: Micros) -> Option<ObservedEngine> {
    let meta = &pod.metadata;
    let id = EngineId::parse(meta.name.as_deref()?).ok()?;
    let created_at = meta.creation_timestamp.as_ref().map_or(now, micros);
    let created_at = created_at.max(model_came_at(pod, now).unwrap_or_default());
    let revision = meta
        .labels
        .as_ref()
        .and_then(|labels| Revision::parse(labels.get(label::REVISION)?));
    let state = state(pod, created_at, now);
    let load = match state {
        EngineState::Draining { since } => has_drained(pod, since).then(EngineLoad::default),
        _ => None,
    };
    Some(ObservedEngine {
        id,
        // One that cannot be read is of no revision that is wanted.
        revision: revision.unwrap_or_default(),
        failures_before: number(pod, annotation::FAILURES_BEFORE).unwrap_or_default() as u32,
        created_at,
        state,
        load,
    })
}

fn state(pod: &Pod, created_at: Micros, now: Micros) -> EngineState {
    if pod.metadata.deletion_timestamp.is_some() {
        return EngineState::Ending;
    }
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Failed" | "Succeeded")) {
        let fetch = failed_fetch(pod);
        let ended = container(pod).and_then(|status| status.state.as_ref()?.terminated.as_ref());
        let ended = fetch.or(ended);
        let time = |time: Option<&Time>| time.map(micros);
        let at = ended.and_then(|ended| time(ended.finished_at.as_ref()));
        let at = at.unwrap_or(now);
        // Without its model it was never ready.
        let served = ended.filter(|_| fetch.is_none());
        let began = served.and_then(|ended| time(ended.started_at.as_ref()));
        return EngineState::Failed {
            at,
            // A pod that ended does not tell when it had become ready: the time that it ran is the nearest.
            ready_for: began.map_or(Micros::ZERO, |began| at.saturating_sub(began)),
        };
    }
    if let Some(since) = number(pod, annotation::DRAINING_SINCE) {
        return EngineState::Draining {
            since: Micros(since).max(created_at),
        };
    }
    if pod_condition(pod, "Ready") == Some("True") {
        EngineState::Ready
    } else {
        EngineState::Starting {
            placed: pod_condition(pod, "PodScheduled") != Some("False"),
            loaded: container(pod).and_then(|status| status.started) == Some(true),
        }
    }
}

/// Whether the router says that the drain which began at `since` is over.
fn has_drained(pod: &Pod, since: Micros) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions
        .find(|one| one.type_ == condition::ADMITTED)
        .is_some_and(|one| {
            let told_at = one.last_transition_time.as_ref().map(micros);
            // Conditions tell whole seconds. One from before is of an earlier drain.
            let is_of_this = told_at.is_some_and(|at| at.0 / SECOND >= since.0 / SECOND);
            one.status == "False" && one.reason.as_deref() == Some(condition::DRAINED) && is_of_this
        })
}

/// What keeps the engine from serving, when its pod says so.
pub fn trouble(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.iter().flatten();
    let unplaced = conditions
        .filter(|one| one.type_ == "PodScheduled" && one.status == "False")
        .find_map(|one| one.message.clone());
    if let Some(message) = unplaced {
        let volume = message.contains("persistentvolumeclaim \"") && message.contains(" not found")
            || message.contains("unbound immediate PersistentVolumeClaims");
        if volume {
            let reason = MODEL_UNAVAILABLE;
            return Some(Trouble { reason, message });
        }
        let gpu = message.contains("Insufficient nvidia.com/gpu");
        let reason = if gpu {
            "InsufficientGPU"
        } else {
            "Unschedulable"
        };
        return Some(Trouble { reason, message });
    }
    if let Some(trouble) = fetchers(pod).find_map(fetch_trouble) {
        return Some(trouble);
    }
    let state = container(pod)?.state.as_ref()?;
    if let Some(ended) = &state.terminated {
        return Some(Trouble {
            reason: CRASH_LOOP,
            message: format!(
                "the engine ended with {}: {}",
                ended.exit_code,
                last_line(ended)
            ),
        });
    }
    blocked(state.waiting.as_ref()?)
}

/// What keeps a container from beginning, apart from its turn.
fn blocked(waiting: &ContainerStateWaiting) -> Option<Trouble> {
    let reason = match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            "ImagePull"
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            "ContainerError"
        }
        _ => return None,
    };
    Some(Trouble {
        reason,
        message: waiting.message.clone().unwrap_or_default(),
    })
}

/// What the container that brings the model is at.
fn fetch_trouble(status: &ContainerStatus) -> Option<Trouble> {
    let state = status.state.as_ref()?;
    let trouble = |reason, message| Some(Trouble { reason, message });
    if state.running.is_some() {
        return trouble(PULLING_MODEL, "its model is being fetched".to_owned());
    }
    if let Some(ended) = state.terminated.as_ref().filter(|it| it.exit_code != 0) {
        let message = format!(
            "fetching its model ended with {}: {}",
            ended.exit_code,
            last_line(ended)
        );
        return trouble(MODEL_UNAVAILABLE, message);
    }
    let blocked = blocked(state.waiting.as_ref()?)?;
    let message = format!("its model cannot be fetched: {}", blocked.message);
    trouble(MODEL_UNAVAILABLE, message)
}

fn last_line(ended: &ContainerStateTerminated) -> &str {
    let text = ended.message.as_deref().unwrap_or_default().trim();
    text.lines().last().unwrap_or_default()
}

/// How the fetching of the model ended, where it failed.
fn failed_fetch(pod: &Pod) -> Option<&ContainerStateTerminated> {
    fetchers(pod)
        .filter_map(|status| status.state.as_ref()?.terminated.as_ref())
        .find(|ended| ended.exit_code != 0)
}

/// Since when the model is there, where it had to be fetched: now, while that is going on. Fetching has an end of its
/// own; a long one is no reason to begin again.
fn model_came_at(pod: &Pod, now: Micros) -> Option<Micros> {
    let mut fetchers = fetchers(pod);
    let fetcher = fetchers.find(|status| status.name == FETCHER)?;
    let state = fetcher.state.as_ref()?;
    if state.running.is_some() {
        return Some(now);
    }
    state.terminated.as_ref()?.finished_at.as_ref().map(micros)
}

/// The containers that bring the model; others may be put into a pod by somebody else.
fn fetchers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let statuses = pod.status.as_ref();
    let statuses = statuses.and_then(|status| status.init_container_statuses.as_ref());
    let is_ours = |status: &&ContainerStatus| [TOOL_BRINGER, FETCHER].contains(&&*status.name);
    statuses.into_iter().flatten().filter(is_ours)
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn pod_condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .map(|condition| condition.status.as_str())
}

fn number(pod: &Pod, name: &str) -> Option<u64> {
    pod.metadata.annotations.as_ref()?.get(name)?.parse().ok()
}

/// A time as microseconds since 1970.
pub(crate) fn micros(time: &Time) -> Micros {
    Micros(u64::try_from(time.0.as_microsecond()).unwrap_or_default())
}
