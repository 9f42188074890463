//! Pools and engines of a Kubernetes cluster. Owns: watching the resources and their pods. While the API server does not
//! answer, what was seen last stands.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::reflector::{self, Lookup, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use lps_api::ids::ModelName;
use lps_api::resource::LLMProgramServing;
use lps_api::wellknown::label;
use lps_runtime::task;
use lps_runtime::watch_pause::WatchPause;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use super::read::{Found, read};
use super::{Sources, Written};

/// A cluster as it was seen last.
#[derive(Clone)]
pub struct Cluster {
    /// The API server.
    pub client: Client,
    /// The resources.
    pub resources: Store<LLMProgramServing>,
    /// The engines' pods.
    pub pods: Store<Pod>,
    /// What they mean.
    pub found: watch::Receiver<Found>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// Why a cluster cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is neither a kubeconfig nor a service account.
    #[error("no cluster: neither a kubeconfig nor a service account")]
    NoCluster(#[source] kube::Error),
    /// The API server refuses the list.
    #[error("{what} cannot be listed; is the definition applied, and may this account list them?")]
    List {
        /// Of what.
        what: &'static str,
        /// What it said.
        source: kube::Error,
    },
    /// A watch ended before it had listed anything.
    #[error("the watch of {0} ended")]
    Ended(&'static str),
}

impl Cluster {
    /// Lists and then watches the resources and pods of one namespace, or of all.
    ///
    /// # Errors
    /// When there is no cluster, or it refuses.
    pub async fn watch(namespace: Option<&str>) -> Result<Self, Error> {
        let client = Client::try_default().await.map_err(Error::NoCluster)?;
        let resources = api::<LLMProgramServing>(&client, namespace);
        // A watch would try again for ever where a word helps more.
        resources
            .list(&kube::api::ListParams::default().limit(1))
            .await
            .map_err(|source| Error::List {
                what: "resources LLMProgramServing",
                source,
            })?;
        let engines = format!("{}=lps-engine", label::NAME);
        let pods = api::<Pod>(&client, namespace);
        let changed = Arc::new(Notify::new());
        let all = watcher::Config::default();
        let (resources, resources_task) = keep(resources, all.clone(), &changed);
        let (pods, pods_task) = keep(pods, all.labels(&engines), &changed);
        task::spawn("watch-resources", resources_task);
        task::spawn("watch-pods", pods_task);
        let ended = |what| move |_| Error::Ended(what);
        resources
            .wait_until_ready()
            .await
            .map_err(ended("resources"))?;
        pods.wait_until_ready().await.map_err(ended("pods"))?;
        let (tell, found) = watch::channel(read(&resources.state(), &pods.state()));
        let cluster = Self {
            client,
            resources,
            pods,
            found,
        };
        let (resources, pods) = (cluster.resources.clone(), cluster.pods.clone());
        task::spawn("discovery", async move {
            loop {
                changed.notified().await;
                let now = read(&resources.state(), &pods.state());
                tell.send_if_modified(|told| update(told, now));
                if tell.is_closed() {
                    return;
                }
            }
        });
        Ok(cluster)
    }

    /// What the router routes to, where `written` tells what the resources ask for.
    pub fn sources(&self, written: watch::Receiver<BTreeMap<ModelName, Written>>) -> Sources {
        let first = self.found.borrow().clone();
        let (pools_tell, pools) = watch::channel(first.pools);
        let (engines_tell, engines) = watch::channel(first.engines);
        let mut found = self.found.clone();
        task::spawn("discovery-told", async move {
            while found.changed().await.is_ok() {
                let now = found.borrow_and_update().clone();
                pools_tell.send_if_modified(|told| replace(told, now.pools));
                engines_tell.send_if_modified(|told| replace(told, now.engines));
            }
        });
        Sources {
            pools,
            engines,
            written,
        }
    }
}

fn replace<T: PartialEq>(told: &mut T, now: T) -> bool {
    let is_new = *told != now;
    *told = now;
    is_new
}

fn update(told: &mut Found, now: Found) -> bool {
    for (name, why) in &now.refused {
        if told.refused.get(name) != Some(why) {
            tracing::warn!(namespace = name.0, serving = name.1, "not served: {why}");
        }
    }
    replace(told, now)
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// A store that is kept as the API server says, and the task that keeps it.
fn keep<K>(
    api: Api<K>,
    config: watcher::Config,
    changed: &Arc<Notify>,
) -> (Store<K>, impl Future<Output = ()> + Send + 'static)
where
    K: Resource<DynamicType = ()>
        + Lookup<DynamicType = ()>
        + Clone
        + fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let changed = Arc::clone(changed);
    let stream = watcher(api, config)
        .backoff(WatchPause)
        // Nobody here asks who wrote a pod's fields, and they are most of it.
        .modify(slim)
        .reflect(writer);
    let task = async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(event) = stream.next().await {
            if let Err(error) = event {
                tracing::warn!(%error, "the watch is broken; it is opened again");
            }
            changed.notify_one();
        }
    };
    (store, task)
}

fn slim<K: Resource<DynamicType = ()>>(object: &mut K) {
    // Who wrote `replicas` is to be known of the resources.
    if K::kind(&()) == "Pod" {
        object.managed_fields_mut().clear();
    }
}
