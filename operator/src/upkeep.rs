//! Keeps what a resource has beside its engines. Owns: that an object which is missing or was changed is applied, and
//! that nothing is written where nothing changed.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt as _};
use lps_api::wellknown::manager;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::belongings::{
    disruption_budget, is_as_wanted, network_policy, service, service_account,
};
use crate::build::Owner;

/// An object that could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name}: {source}")]
pub struct Error {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What the API server said.
    pub source: kube::Error,
}

/// Looks at all of them, and applies what is not as it should be.
///
/// # Errors
/// The first that the API server refused to show or to take.
pub async fn keep(client: &Client, owner: &Owner) -> Result<(), Error> {
    tokio::try_join!(
        keep_one(client, service_account(owner)),
        keep_one(client, service(owner)),
        keep_one(client, disruption_budget(owner)),
        keep_one(client, network_policy(owner)),
    )
    .map(drop)
}

async fn keep_one<K>(client: &Client, wanted: K) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    let name = wanted.name_any();
    let api: Api<K> = Api::namespaced(client.clone(), &wanted.namespace().unwrap_or_default());
    apply(&api, &name, &wanted).await.map_err(|source| Error {
        kind: K::kind(&()).into_owned(),
        name,
        source,
    })
}

async fn apply<K>(api: &Api<K>, name: &str, wanted: &K) -> Result<(), kube::Error>
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    let value = |object: &K| serde_json::to_value(object).map_err(kube::Error::SerdeError);
    if let Some(live) = api.get_opt(name).await?
        && is_as_wanted(&value(&live)?, &value(wanted)?)
    {
        return Ok(());
    }
    let params = PatchParams::apply(manager::OPERATOR).force();
    api.patch(name, &params, &Patch::Apply(wanted)).await?;
    tracing::debug!(name, "applied");
    Ok(())
}
