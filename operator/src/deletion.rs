//! The end of a resource: its engines finish what they have, then it may go. Owns: that this is bounded. Whatever does
//! not answer or cannot be deleted, the resource goes; what is left of it is then collected by the cluster.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use lps_api::quantity::Micros;
use lps_api::resource::LLMProgramServing;

use crate::events::Cause;
use crate::finalizer;
use crate::home::EngineHome as _;
use crate::plan::{Action, DeleteReason, EngineState};
use crate::pods::PodHome;
use crate::reconcile::reconcile;
use crate::status::{self, Seen};
use crate::subject::{Error, Next, Subject};
use crate::validate::validate;

/// How long the engines' pods may take to go after `drainTimeout`.
const PODS_END: Micros = Micros::from_secs(30);

/// What is to be done with a resource that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing: it does not wait for the operator.
    Nothing,
    /// It may go as it is.
    LetGo,
    /// Its engines are to end.
    EndEngines,
}

/// Makes one round for a resource that is deleted.
///
/// # Errors
/// What kept it from its end; the caller tries again later.
pub async fn round(subject: &Subject<'_>) -> Result<Next, Error> {
    match step(subject.resource, subject.now()) {
        Step::Nothing => return Ok(Next::Gone),
        Step::LetGo => return let_go(subject).await,
        Step::EndEngines => {}
    }
    let mut home = PodHome::new(&subject.tools.client, subject.mould(), subject.now());
    let result = end_engines(subject, &mut home).await;
    home.list().await?;
    if home.pods().is_empty() {
        return let_go(subject).await;
    }
    let seen: Vec<Seen> = home
        .pods()
        .iter()
        .filter_map(|pod| Seen::of(pod, subject.now()))
        .collect();
    let status = status::deleting(&subject.owner.name, &seen, subject.context());
    subject.tell(status).await?;
    result?;
    Ok(Next::Unsettled)
}

fn step(resource: &LLMProgramServing, now: Micros) -> Step {
    let Some(deleted_at) = &resource.metadata.deletion_timestamp else {
        return Step::Nothing;
    };
    if !finalizer::is_on(resource) {
        return Step::Nothing;
    }
    let drain_timeout = resource.spec.rollout.drain_timeout.micros();
    let end = micros(deleted_at.0)
        .saturating_add(drain_timeout)
        .saturating_add(PODS_END);
    // Who deletes with `--cascade=orphan` wants to keep the pods.
    let is_orphaning = resource.finalizers().iter().any(|one| one == "orphan");
    if is_orphaning || now >= end {
        Step::LetGo
    } else {
        Step::EndEngines
    }
}

fn micros(time: Timestamp) -> Micros {
    Micros(u64::try_from(time.as_microsecond()).unwrap_or_default())
}

/// Drains as when none is wanted. Of a resource that makes no sense nobody knows how; its engines just end.
async fn end_engines(subject: &Subject<'_>, home: &mut PodHome<'_>) -> Result<(), Error> {
    let Ok(pool) = validate(&subject.manifest()) else {
        for engine in home.list().await? {
            if engine.state != EngineState::Ending {
                home.delete(&engine.id, DeleteReason::NotWanted).await?;
                let action = Action::Delete(engine.id, DeleteReason::NotWanted);
                subject.done(&[action], |_| Cause::ResourceDeleted).await;
            }
        }
        return Ok(());
    };
    let done = reconcile(&pool, 0, home, subject.now()).await?;
    subject.done(&done, |_| Cause::ResourceDeleted).await;
    Ok(())
}

async fn let_go(subject: &Subject<'_>) -> Result<Next, Error> {
    let taken = finalizer::take_off(&subject.api(), subject.resource).await;
    match taken {
        Ok(true) => {
            let (namespace, serving) = (&subject.owner.namespace, &subject.owner.name);
            tracing::info!(namespace, serving, "the resource may go");
            Ok(Next::Gone)
        }
        Ok(false) => Ok(Next::Unsettled),
        Err(source) => Err(Error::Api {
            what: "the finalizer",
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use lps_api::wellknown::resource::FINALIZER;
    use serde_json::json;

    use super::*;

    fn step_of(finalizers: &[&str], deleted_at: Option<&str>, now_s: u64) -> Step {
        let resource = serde_json::from_value(json!({
            "apiVersion": "llmprogram.dev/v1alpha1", "kind": "LLMProgramServing",
            "metadata": {"name": "a", "finalizers": finalizers, "deletionTimestamp": deleted_at},
            "spec": {"model": {"name": "m", "source": {"builtin": "sim"}}, "rollout": {"drainTimeout": "60s"}},
        }));
        step(&resource.expect("parses"), Micros::from_secs(now_s))
    }

    #[test]
    fn a_deleted_resource_waits_for_its_engines_and_not_for_ever() {
        let at = Some("1970-01-01T00:01:00Z");
        for (finalizers, deleted_at, now_s, expected) in [
            (&[FINALIZER][..], None, 70, Step::Nothing),
            (&[], at, 70, Step::Nothing),
            (&["foregroundDeletion"], at, 70, Step::Nothing),
            (&[FINALIZER], at, 60, Step::EndEngines),
            (&["another", FINALIZER], at, 149, Step::EndEngines),
            (&[FINALIZER], at, 150, Step::LetGo),
            (&[FINALIZER, "orphan"], at, 60, Step::LetGo),
        ] {
            let step = step_of(finalizers, deleted_at, now_s);
            assert_eq!(step, expected, "{finalizers:?} {deleted_at:?} {now_s}");
        }
    }
}
