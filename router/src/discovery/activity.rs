//! Which of several routers works. Owns: the Lease, and the label by which the Service finds the router that holds it.
//! The others stand by: they watch the cluster and the engines too, so that they know everything but the programs.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use lps_api::wellknown::{label, manager};
use lps_runtime::lease::{self, Claim, Lease};
use lps_runtime::shutdown::Shutdown;
use serde_json::json;
use tokio::sync::watch;

/// The pod that this router runs in, and what it competes for.
#[derive(Debug, Clone)]
pub struct Post {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The Lease's name.
    pub lease: String,
}

/// Why it cannot compete.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Lease.
    #[error(transparent)]
    Lease(#[from] lease::Error),
    /// The router's own pod.
    #[error("pod {pod}: {source}")]
    Pod {
        /// Which one.
        pod: String,
        /// What the API server said.
        source: kube::Error,
    },
}

/// Competes until the drain begins; then gives up the Lease and the label. `active` tells whether this router works.
///
/// # Errors
/// When the API server refuses what is needed.
pub async fn compete(
    client: Client,
    post: Post,
    active: watch::Sender<bool>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &post.namespace);
    let labels = Labels { pods, post };
    // A container that was started again finds the label of its former life.
    labels.set(&labels.post.pod, false).await?;
    let claim = Claim {
        namespace: labels.post.namespace.clone(),
        name: labels.post.lease.clone(),
        identity: labels.post.pod.clone(),
    };
    let mut lease = Lease::claim(client, claim).await?;
    loop {
        tokio::select! {
            held = lease.held() => held?,
            () = shutdown.drain() => break,
        }
        tracing::info!(lease = labels.post.lease, "this router works");
        labels.take_over().await?;
        active.send_replace(true);
        tokio::select! {
            lost = lease.lost() => lost?,
            () = shutdown.drain() => break,
        }
        // The label stays until another router takes it: a router without the Lease serves better than none.
        tracing::warn!(lease = labels.post.lease, "the Lease is lost");
        active.send_replace(false);
    }
    active.send_replace(false);
    if let Err(error) = labels.set(&labels.post.pod, false).await {
        tracing::warn!(%error, "the label stays");
    }
    lease.release().await;
    Ok(())
}

struct Labels {
    pods: Api<Pod>,
    post: Post,
}

impl Labels {
    /// Labels this router's pod, and no other one of its kind.
    async fn take_over(&self) -> Result<(), Error> {
        let own = self.failed(&self.post.pod, self.pods.get(&self.post.pod).await)?;
        self.set(&self.post.pod, true).await?;
        let kind: Vec<String> = [label::NAME, label::INSTANCE]
            .iter()
            .filter_map(|key| Some(format!("{key}={}", own.labels().get(*key)?)))
            .chain([format!("{}=true", label::ACTIVE)])
            .collect();
        let labelled = ListParams::default().labels(&kind.join(","));
        let others = self.failed("list", self.pods.list(&labelled).await)?;
        for other in others {
            if other.name_any() != self.post.pod {
                self.set(&other.name_any(), false).await?;
            }
        }
        Ok(())
    }

    async fn set(&self, pod: &str, active: bool) -> Result<(), Error> {
        let value = active.then_some("true");
        let patch = json!({"metadata": {"labels": {label::ACTIVE: value}}});
        let params = PatchParams {
            field_manager: Some(manager::ROUTER.to_owned()),
            ..PatchParams::default()
        };
        match self.pods.patch(pod, &params, &Patch::Merge(&patch)).await {
            // Another router's pod may have gone meanwhile.
            Err(kube::Error::Api(refused)) if refused.code == 404 && pod != self.post.pod => Ok(()),
            result => self.failed(pod, result).map(drop),
        }
    }

    fn failed<T>(&self, pod: &str, result: kube::Result<T>) -> Result<T, Error> {
        result.map_err(|source| Error::Pod {
            pod: pod.to_owned(),
            source,
        })
    }
}
