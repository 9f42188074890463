//! Why a pod's containers do not begin when no node refuses it: volumes that cannot be mounted. Owns: finding that out,
//! for the pod itself does not say it; only events do.

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use lps_api::quantity::Micros;

use crate::observe::Trouble;
use crate::plan::EngineState;
use crate::status::Seen;

/// Until then mounting is not slow.
const PATIENCE: Micros = Micros::from_secs(10);
/// Pods of one resource that are asked for in one round.
const PODS_MAX: usize = 4;
/// Events of one pod that are read.
const EVENTS_MAX: u32 = 50;

/// Finds the trouble of engines that have none, and yet do not begin. An event that cannot be read explains nothing.
pub async fn explain(client: &Client, pods: &[Pod], seen: &mut [Seen], now: Micros) {
    let waiting = seen.iter_mut().filter_map(|one| {
        let pod = pods
            .iter()
            .find(|pod| pod.name_any() == one.engine.id.as_str())?;
        let age = now.saturating_sub(one.engine.created_at);
        let is_waiting = one.trouble.is_none()
            && matches!(one.engine.state, EngineState::Starting { placed: true, .. })
            && age > PATIENCE
            && awaits_volumes(pod);
        is_waiting.then_some((one, pod))
    });
    for (one, pod) in waiting.take(PODS_MAX) {
        let api: Api<Event> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let uid = pod.uid().unwrap_or_default();
        let fields = format!("involvedObject.uid={uid},type=Warning");
        let params = ListParams::default().fields(&fields).limit(EVENTS_MAX);
        match api.list(&params).await {
            Ok(events) => one.trouble = trouble(&events.items),
            Err(error) => tracing::debug!(%error, "no events of a pod"),
        }
    }
}

/// Whether a node has the pod and none of its containers has begun.
fn awaits_volumes(pod: &Pod) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    let waits = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        matches!(reason, Some("ContainerCreating" | "PodInitializing"))
    };
    let mut containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten()
        .peekable();
    containers.peek().is_some() && containers.all(waits)
}

/// What the last of the events says of a volume.
fn trouble(events: &[Event]) -> Option<Trouble> {
    let of_volume = events.iter().filter(|event| {
        let reason = event.reason.as_deref();
        matches!(reason, Some("FailedMount" | "FailedAttachVolume"))
    });
    let last = of_volume.max_by_key(|event| time(event))?;
    Some(Trouble {
        reason: "VolumeMissing",
        message: last.message.clone().unwrap_or_default(),
    })
}

fn time(event: &Event) -> Option<Timestamp> {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let first = event.event_time.as_ref().map(|time| time.0);
    series.map(|time| time.0).max(last).max(first)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_a_pod_whose_containers_have_not_begun_awaits_its_volumes() {
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        let container = |state: Value| {
            json!([{"name": "engine", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": state}])
        };
        let creating = container(waiting("ContainerCreating"));
        let running = container(json!({"running": {}}));
        for (status, expected) in [
            (json!({}), false),
            (json!({"containerStatuses": creating}), true),
            (
                json!({"containerStatuses": container(waiting("ImagePullBackOff"))}),
                false,
            ),
            (json!({"containerStatuses": running}), false),
            (
                json!({"initContainerStatuses": running, "containerStatuses": creating}),
                false,
            ),
            (
                json!({"initContainerStatuses": container(waiting("PodInitializing")),
                       "containerStatuses": container(waiting("PodInitializing"))}),
                true,
            ),
        ] {
            let pod = serde_json::from_value(json!({"metadata": {}, "status": status}));
            assert_eq!(awaits_volumes(&pod.expect("a pod")), expected, "{status}");
        }
    }

    #[test]
    fn the_last_event_of_a_volume_is_told() {
        let event = |reason: &str, message: &str, second: u32| -> Event {
            let event = json!({"metadata": {}, "involvedObject": {}, "reason": reason, "message": message,
                               "lastTimestamp": format!("1970-01-01T00:00:{second:02}Z")});
            serde_json::from_value(event).expect("an event")
        };
        let told = |events: &[Event]| trouble(events).map(|trouble| trouble.message);
        let (old, new) = (
            event("FailedMount", "old", 1),
            event("FailedMount", "new", 2),
        );
        let other = event("Unhealthy", "other", 3);
        assert_eq!(told(&[]), None);
        assert_eq!(told(std::slice::from_ref(&other)), None);
        assert_eq!(told(&[new, other, old]).as_deref(), Some("new"));
    }
}
