//! One round for one resource of a cluster: read it, bring its engines nearer to what it says, tell what was seen. Owns:
//! the order of these steps.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use lps_api::resource::{LLMProgramServing, LlmProgramServingStatus};

use crate::deletion;
use crate::events::Cause;
use crate::finalizer;
use crate::home::EngineHome as _;
use crate::mounts;
use crate::observe::{self, Trouble};
use crate::plan::Action;
use crate::pods::{self, PodHome};
use crate::reconcile::reconcile;
use crate::status::{self, Context, Seen};
use crate::subject::{Error, Next, Subject, Tools};
use crate::upkeep;
use crate::validate::{Validated, validate};

/// Makes one round.
///
/// # Errors
/// What kept it from its end; the caller tries again later.
pub async fn round(resource: &LLMProgramServing, tools: &Tools) -> Result<Next, Error> {
    let subject = Subject::new(resource, tools, Timestamp::now())?;
    if resource.metadata.deletion_timestamp.is_some() {
        return deletion::round(&subject).await;
    }
    if !finalizer::is_on(resource) && !put_on_finalizer(&subject).await? {
        return Ok(Next::Unsettled);
    }
    let pool = match validate(&subject.manifest()) {
        Ok(pool) => pool,
        Err(errors) => {
            let message = status::problems(&errors);
            let stalled = status::stalled(status::INVALID_SPEC, message, subject.context());
            subject.tell(stalled).await?;
            return Ok(Next::Stalled);
        }
    };
    upkeep::keep(&tools.client, &subject.owner).await?;
    let loads = resource.status.as_ref().map(|status| &status.engines[..]);
    let mut home = PodHome::new(&tools.client, subject.mould(), subject.now())
        .with_loads(loads.unwrap_or_default());
    let desired = pool.scaling.decide(resource.spec.replicas);
    let result = reconcile(&pool, desired, &mut home, subject.now()).await;
    if let Err(pods::Error::Build(message)) = result {
        let stalled = status::stalled(status::NOT_AVAILABLE, message, subject.context());
        subject.tell(stalled).await?;
        return Ok(Next::Stalled);
    }
    if let Ok(done) = &result {
        let found = home.pods();
        subject
            .done(done, |action| cause(&subject, &pool, found, action))
            .await;
    }
    let refused = result.as_ref().err().and_then(pods::Error::refusal);
    let met = refused.or_else(|| status::ended(&current(&subject, &pool, &home)));
    let status = look(&subject, (&pool, desired), &mut home, met.as_ref()).await?;
    let mut conditions = status.conditions.iter();
    let is_settled = !conditions.any(|one| one.kind == "Reconciling");
    subject.tell(status).await?;
    result?;
    Ok(if is_settled {
        Next::Settled
    } else {
        Next::Unsettled
    })
}

async fn put_on_finalizer(subject: &Subject<'_>) -> Result<bool, Error> {
    let put_on = finalizer::put_on(&subject.api(), subject.resource).await;
    put_on.map_err(|source| Error::Api {
        what: "the finalizer",
        source,
    })
}

/// Why an engine that serves had to go, by the pods that there were.
fn cause(subject: &Subject<'_>, pool: &Validated, pods: &[Pod], action: &Action) -> Cause {
    let Action::Drain(id) = action else {
        return Cause::FewerWanted;
    };
    let pod = pods.iter().find(|pod| pod.name_any() == id.as_str());
    match pod.and_then(|pod| observe::engine(pod, subject.now())) {
        Some(engine) if engine.revision != pool.revision => Cause::OldRevision,
        _ => Cause::FewerWanted,
    }
}

/// The engines as they were last listed.
fn seen(subject: &Subject<'_>, home: &PodHome<'_>) -> Vec<Seen> {
    let pods = home.pods().iter();
    pods.filter_map(|pod| Seen::of(pod, subject.now()))
        .collect()
}

/// Those of them that are of the present revision.
fn current(subject: &Subject<'_>, pool: &Validated, home: &PodHome<'_>) -> Vec<Seen> {
    let mut seen = seen(subject, home);
    seen.retain(|one| one.engine.revision == pool.revision);
    seen
}

/// What is seen after the round's actions.
async fn look(
    subject: &Subject<'_>,
    (pool, desired): (&Validated, u32),
    home: &mut PodHome<'_>,
    met: Option<&Trouble>,
) -> Result<LlmProgramServingStatus, Error> {
    home.list().await?;
    let mut seen = seen(subject, home);
    mounts::explain(&subject.tools.client, home.pods(), &mut seen, subject.now()).await;
    let context = Context {
        met,
        ..subject.context()
    };
    Ok(status::of(pool, desired, &seen, context))
}
