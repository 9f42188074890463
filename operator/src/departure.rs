//! The operator's departure: run before a release is removed, so that resources which stay can be deleted without an
//! operator. Owns: the order of this. First the operator ends, because it would put its finalizer on again.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use kube::core::{ParseExpressionError, Selector};
use kube::{Client, ResourceExt as _};
use lps_api::resource::LLMProgramServing;

use crate::config::Departure;
use crate::controller::scoped;
use crate::finalizer;

/// How long the operator's pods may take to go.
const PODS_END: Duration = Duration::from_secs(60);
/// Between two looks at them.
const LOOK: Duration = Duration::from_millis(500);
/// Resources in one answer of the API server.
const PAGE: u32 = 500;
/// How often a finalizer is tried when others change the resource at the same time.
const TRIES: usize = 10;

/// What could not be done; why stands in the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Deployment or its pods.
    #[error("Deployment {name}")]
    Deployment {
        /// Its name.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// The Deployment's selector.
    #[error("Deployment {name}: its selector")]
    Selector {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: ParseExpressionError,
    },
    /// The resources.
    #[error("the resources cannot be listed")]
    Resources(#[source] kube::Error),
    /// One resource.
    #[error("{name}: its finalizer")]
    Finalizer {
        /// `NAMESPACE/NAME`.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
}

/// Ends the operator, then lets its resources go; `say` takes what was done, line by line.
///
/// # Errors
/// The first thing that the API server refused; what is not there is none.
pub async fn depart(
    client: &Client,
    departure: &Departure,
    mut say: impl FnMut(String),
) -> Result<(), Error> {
    say(end_operator(client, departure).await?);
    let api: Api<LLMProgramServing> = scoped(client, departure.namespace.as_deref());
    let resources = list(&api).await?;
    let waiting = resources.iter().filter(|one| finalizer::is_on(one));
    let mut count = 0;
    for resource in waiting {
        let namespace = resource.namespace().unwrap_or_default();
        let name = format!("{namespace}/{}", resource.name_any());
        let api = Api::namespaced(client.clone(), &namespace);
        let taken = take_off(&api, resource.clone()).await;
        let is_off = taken.map_err(|source| Error::Finalizer {
            name: name.clone(),
            source,
        })?;
        if is_off {
            count += 1;
            say(format!("{name}: waits for no operator any more"));
        } else {
            say(format!(
                "{name}: was changed again and again; left as it is"
            ));
        }
    }
    say(format!("{count} of {} resources released", resources.len()));
    Ok(())
}

async fn end_operator(client: &Client, departure: &Departure) -> Result<String, Error> {
    let name = &departure.deployment;
    let failed = |source| Error::Deployment {
        name: name.clone(),
        source,
    };
    let api: Api<Deployment> = Api::namespaced(client.clone(), &departure.pod_namespace);
    let Some(deployment) = api.get_opt(name).await.map_err(failed)? else {
        return Ok(format!("Deployment {name}: is not there"));
    };
    let selector = deployment.spec.unwrap_or_default().selector;
    let selector = Selector::try_from(selector).map_err(|source| Error::Selector {
        name: name.clone(),
        source,
    })?;
    match api.delete(name, &DeleteParams::foreground()).await {
        Err(kube::Error::Api(refused)) if refused.code == 404 => {}
        deleted => drop(deleted.map_err(failed)?),
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &departure.pod_namespace);
    let params = ListParams::default().labels_from(&selector);
    let ended = none_left(async || {
        let listed = pods.list(&params).await?;
        Ok(listed.items.iter().filter(|pod| !has_ended(pod)).count())
    });
    match tokio::time::timeout(PODS_END, ended).await {
        Ok(ended) => {
            ended.map_err(failed)?;
            Ok(format!("Deployment {name}: deleted, its pods are gone"))
        }
        Err(_) => {
            let waited_s = PODS_END.as_secs();
            Ok(format!(
                "Deployment {name}: deleted; pods are left after {waited_s} s"
            ))
        }
    }
}

/// Looks until there is none.
async fn none_left<F>(count: impl Fn() -> F) -> Result<(), kube::Error>
where
    F: Future<Output = Result<usize, kube::Error>>,
{
    while count().await? > 0 {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// All resources; none where the cluster does not know their kind.
async fn list(api: &Api<LLMProgramServing>) -> Result<Vec<LLMProgramServing>, Error> {
    let mut resources = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(kube::Error::Api(refused)) if refused.code == 404 => return Ok(resources),
            Err(source) => return Err(Error::Resources(source)),
        };
        resources.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(resources),
        }
    }
}

/// Whether it is off in the end.
async fn take_off(
    api: &Api<LLMProgramServing>,
    mut resource: LLMProgramServing,
) -> Result<bool, kube::Error> {
    for _ in 0..TRIES {
        if finalizer::take_off(api, &resource).await? {
            return Ok(true);
        }
        match api.get_opt(&resource.name_any()).await? {
            Some(newer) if finalizer::is_on(&newer) => resource = newer,
            _ => return Ok(true),
        }
    }
    Ok(false)
}
