//! What the router tells of each engine on its pod. Owns: the condition that is the pods' readiness gate: an engine is
//! ready when the router sends calls to it, and may be ended when the router has none there any more.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use lps_api::ids::EngineId;
use lps_api::wellknown::{condition, manager};
use serde_json::json;
use tokio::sync::watch;

use crate::discovery::cluster::Cluster;
use crate::discovery::read::engine_id;
use crate::dispatcher::{Handle, View};
use crate::message::Intake;

/// How often the pods are looked at.
const PERIOD: Duration = Duration::from_millis(250);
/// Pods that are told at once.
const AT_ONCE: usize = 8;

/// What the router does with an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Used {
    /// It answers.
    answers: bool,
    /// Which calls are sent there.
    intake: Intake,
    /// Calls that are there.
    calls: u32,
    /// Live programs that can go on there only.
    programs: u64,
}

/// What is said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    admitted: bool,
    reason: &'static str,
    message: String,
}

/// Tells the pods.
#[derive(Debug)]
pub struct Gate {
    /// Where the pods are.
    pub cluster: Cluster,
    /// Where loads are read.
    pub dispatcher: Handle,
    /// Whether this router is the one that works.
    pub active: watch::Receiver<bool>,
}

impl Gate {
    /// Tells until the router ends.
    pub async fn run(mut self) {
        // A sender that is gone means that the process ends.
        while self.active.wait_for(|active| *active).await.is_ok() {
            let Ok(used) = self.dispatcher.read(|view| used(&view)).await else {
                return;
            };
            let mut news = Vec::new();
            for pod in self.cluster.pods.state() {
                let used = engine_id(&pod).and_then(|id| used.get(&id));
                if let Some(said) = used.and_then(|used| say(*used, told(&pod))) {
                    news.push((pod, said));
                }
            }
            for some in news.chunks(AT_ONCE) {
                join_all(some.iter().map(|(pod, said)| self.tell(pod, said))).await;
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn tell(&self, pod: &Pod, said: &Said) {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &namespace);
        let patch = json!({
            // The name alone may be another pod's by now.
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": condition::ADMITTED,
                "status": if said.admitted { "True" } else { "False" },
                "reason": said.reason,
                "message": said.message,
                "lastTransitionTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }]},
        });
        let params = PatchParams {
            field_manager: Some(manager::ROUTER.to_owned()),
            ..PatchParams::default()
        };
        match api
            .patch_status(&name, &params, &Patch::Strategic(patch))
            .await
        {
            Ok(_) => tracing::debug!(namespace, pod = name, reason = said.reason, "told"),
            // It is gone, or another one has its name.
            Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => {}
            Err(error) => tracing::warn!(namespace, pod = name, %error, "the pod cannot be told"),
        }
    }
}

fn told(pod: &Pod) -> Option<&PodCondition> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|one| one.type_ == condition::ADMITTED)
}

fn used(view: &View<'_>) -> BTreeMap<EngineId, Used> {
    let loads = view.state.engine_loads();
    let one = |(id, engine): (&EngineId, &crate::dispatcher::Engine)| {
        let load = loads.iter().find(|load| load.engine == *id);
        let used = Used {
            answers: engine.hello.is_some(),
            intake: load.map_or(engine.intake(), |load| load.intake.min(engine.intake())),
            calls: load.map_or(0, |load| load.running + load.waiting),
            programs: load.map_or(0, |load| load.pinned_programs),
        };
        (id.clone(), used)
    };
    view.fleet.iter().map(one).collect()
}

/// What is to be said of an engine, where something else was told before.
fn say(used: Used, told: Option<&PodCondition>) -> Option<Said> {
    let said = match (used.intake, used.answers) {
        (Intake::All, true) => Said {
            admitted: true,
            reason: "Admitted",
            message: "the router sends calls here".to_owned(),
        },
        (Intake::All, false) => {
            // One that never answered is just starting.
            told?;
            Said {
                admitted: false,
                reason: "NotAnswering",
                message: "the engine does not answer the router".to_owned(),
            }
        }
        (_, true) if used.calls > 0 || used.programs > 0 => Said {
            admitted: false,
            reason: condition::DRAINING,
            message: format!(
                "{} calls are not finished, {} programs stay on this revision",
                used.calls, used.programs
            ),
        },
        _ => Said {
            admitted: false,
            reason: condition::DRAINED,
            message: "no call is left here".to_owned(),
        },
    };
    let is_known = told.is_some_and(|told| {
        (told.status == "True") == said.admitted && told.reason.as_deref() == Some(said.reason)
    });
    (!is_known).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(admitted: bool, reason: &str) -> PodCondition {
        PodCondition {
            type_: super::condition::ADMITTED.to_owned(),
            status: if admitted { "True" } else { "False" }.to_owned(),
            reason: Some(reason.to_owned()),
            ..PodCondition::default()
        }
    }

    #[test]
    fn a_pod_is_told_only_what_is_new() {
        let used = |answers, intake, calls, programs| Used {
            answers,
            intake,
            calls,
            programs,
        };
        let admitted = condition(true, "Admitted");
        let draining = condition(false, "Draining");
        for (used, told, expected) in [
            (used(false, Intake::All, 0, 0), None, None),
            (used(true, Intake::All, 3, 0), None, Some("Admitted")),
            (used(true, Intake::All, 3, 0), Some(&admitted), None),
            (
                used(false, Intake::All, 0, 0),
                Some(&admitted),
                Some("NotAnswering"),
            ),
            (
                used(true, Intake::Pinned, 1, 0),
                Some(&admitted),
                Some("Draining"),
            ),
            (
                used(true, Intake::Pinned, 0, 2),
                Some(&admitted),
                Some("Draining"),
            ),
            (used(true, Intake::Pinned, 1, 0), Some(&draining), None),
            (
                used(true, Intake::Pinned, 0, 0),
                Some(&draining),
                Some("Drained"),
            ),
            (
                used(false, Intake::Pinned, 2, 0),
                Some(&draining),
                Some("Drained"),
            ),
            (
                used(true, Intake::All, 0, 0),
                Some(&draining),
                Some("Admitted"),
            ),
        ] {
            let said = say(used, told).map(|said| said.reason);
            assert_eq!(said, expected, "{used:?} {told:?}");
        }
    }
}
