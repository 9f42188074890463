//! One round for one resource of a cluster: read it, bring its engines nearer to what it says, tell what was seen. Owns:
//! the order of these steps.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource as _, ResourceExt as _};
use lps_api::quantity::Micros;
use lps_api::resource::{LLMProgramServing, LlmProgramServingStatus, Manifest, Metadata};
use lps_api::wellknown::{self, manager};
use serde_json::json;

use crate::build::{self, Mould, Owner, Release};
use crate::home::EngineHome as _;
use crate::metrics::Metrics;
use crate::observe;
use crate::pods::{self, PodHome};
use crate::reconcile::reconcile;
use crate::status::{self, Context, Seen};
use crate::upkeep;
use crate::validate::{Validated, validate};

/// What every round needs.
#[derive(Clone)]
pub struct Tools {
    /// The API server.
    pub client: Client,
    /// What engines get besides.
    pub release: Arc<Release>,
    /// Where clients reach the router.
    pub router_url: Option<Arc<str>>,
    /// What is counted.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools")
            .field("release", &self.release)
            .finish_non_exhaustive()
    }
}

/// Why a round did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An engine.
    #[error(transparent)]
    Engine(#[from] pods::Error),
    /// What belongs to the resource beside engines.
    #[error(transparent)]
    Belonging(#[from] upkeep::Error),
    /// The resource itself.
    #[error("{what}: {source}")]
    Api {
        /// Of which object.
        what: &'static str,
        /// What the API server said.
        source: kube::Error,
    },
    /// The object lacks what the API server gives every object.
    #[error("the resource has no {0}")]
    Incomplete(&'static str),
}

/// What comes after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// All is as it should be.
    Settled,
    /// Something is on its way.
    Unsettled,
    /// Nothing will change until somebody changes the resource.
    Stalled,
}

/// Makes one round.
///
/// # Errors
/// What kept it from its end; the caller tries again later.
pub async fn round(resource: &LLMProgramServing, tools: &Tools) -> Result<Next, Error> {
    if resource.metadata.deletion_timestamp.is_some() {
        // What it owns goes with it; engines finish what they have.
        return Ok(Next::Stalled);
    }
    let now = Timestamp::now();
    let text = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let none = LlmProgramServingStatus::default();
    let context = Context {
        generation: resource.metadata.generation,
        before: resource.status.as_ref().unwrap_or(&none),
        url: tools.router_url.as_deref(),
        now: &text,
    };
    let owner = owner(resource)?;
    let pool = match validate(&manifest(resource)) {
        Ok(pool) => pool,
        Err(errors) => {
            let message = status::problems(&errors);
            let stalled = status::stalled("InvalidSpec", message, context);
            tell(&owner, tools, context.before, stalled).await?;
            return Ok(Next::Stalled);
        }
    };
    upkeep::keep(&tools.client, &owner).await?;
    let now = Micros(u64::try_from(now.as_microsecond()).unwrap_or_default());
    let mould = Mould {
        owner: &owner,
        release: &tools.release,
        settings: &resource.spec.engine,
        drain_timeout: pool.rollout.drain_timeout.micros(),
    };
    let mut home = PodHome::new(&tools.client, mould, now);
    let desired = pool.scaling.decide(resource.spec.replicas);
    let result = reconcile(&pool, desired, &mut home, now).await;
    if let Err(pods::Error::Build(message)) = result {
        let stalled = status::stalled("NotAvailable", message, context);
        tell(&owner, tools, context.before, stalled).await?;
        return Ok(Next::Stalled);
    }
    for action in result.as_ref().into_iter().flatten() {
        tools.metrics.acted(action);
        tracing::info!(
            namespace = owner.namespace,
            serving = owner.name,
            "{action}"
        );
    }
    let status = look(&pool, desired, &mut home, context, now).await?;
    let is_settled = !status
        .conditions
        .iter()
        .any(|one| one.kind == "Reconciling");
    tell(&owner, tools, context.before, status).await?;
    result?;
    Ok(if is_settled {
        Next::Settled
    } else {
        Next::Unsettled
    })
}

/// What is seen after the round's actions.
async fn look(
    pool: &Validated,
    desired: u32,
    home: &mut PodHome<'_>,
    context: Context<'_>,
    now: Micros,
) -> Result<LlmProgramServingStatus, Error> {
    home.list().await?;
    let seen: Vec<Seen> = home
        .pods()
        .iter()
        .filter_map(|pod| {
            Some(Seen {
                engine: observe::engine(pod, now)?,
                node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
                trouble: observe::trouble(pod),
            })
        })
        .collect();
    let selector = build::selector_text(&pool.name);
    Ok(status::of(pool, selector, desired, &seen, context))
}

fn owner(resource: &LLMProgramServing) -> Result<Owner, Error> {
    Ok(Owner {
        namespace: resource.namespace().ok_or(Error::Incomplete("namespace"))?,
        name: resource.name_any(),
        reference: resource
            .controller_owner_ref(&())
            .ok_or(Error::Incomplete("uid"))?,
    })
}

/// The resource as a user would have written it.
fn manifest(resource: &LLMProgramServing) -> Manifest {
    Manifest {
        api_version: wellknown::resource::API_VERSION.to_owned(),
        kind: wellknown::resource::KIND.to_owned(),
        metadata: Metadata {
            name: resource.name_any(),
            namespace: resource.namespace(),
            ..Metadata::default()
        },
        spec: resource.spec.clone(),
    }
}

/// Writes the status where it differs from what is there.
async fn tell(
    owner: &Owner,
    tools: &Tools,
    before: &LlmProgramServingStatus,
    status: LlmProgramServingStatus,
) -> Result<(), Error> {
    if status == status::own(before) {
        return Ok(());
    }
    let api: Api<LLMProgramServing> = Api::namespaced(tools.client.clone(), &owner.namespace);
    let patch = Patch::Apply(json!({
        "apiVersion": wellknown::resource::API_VERSION,
        "kind": wellknown::resource::KIND,
        "status": status,
    }));
    let params = PatchParams::apply(manager::OPERATOR).force();
    match api.patch_status(&owner.name, &params, &patch).await {
        Ok(_) => Ok(()),
        // It was deleted meanwhile.
        Err(kube::Error::Api(refused)) if refused.code == 404 => Ok(()),
        Err(source) => Err(Error::Api {
            what: "the status",
            source,
        }),
    }
}
