//! A router in a cluster. Owns: what stands beside the server there: discovery, the pods' gate, and the Lease.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use lps_runtime::shutdown::Shutdown;
use lps_runtime::task;
use tokio::sync::watch;

use crate::config::Config;
use crate::discovery::activity::{Post, compete};
use crate::discovery::cluster::Cluster;
use crate::scale::events::Teller;
use crate::scale::gate::Gate;
use crate::scale::writer::{Writer, started};
use crate::server::{self, Process};

/// Pause before the router competes again after an error.
const COMPETE_PAUSE: Duration = Duration::from_secs(5);
/// How long giving up the Lease may take at the end.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// Where the router finds its pools and engines in a cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct Options {
    /// Find pools and engines in the cluster, as resources LLMProgramServing and their pods.
    #[arg(long, env = "LPS_KUBERNETES", conflicts_with = "engines")]
    pub kubernetes: bool,
    /// The one namespace to look in; unset: all.
    #[arg(long, env = "LPS_WATCH_NAMESPACE", requires = "kubernetes")]
    pub namespace: Option<String>,
    /// Lease that makes one of several routers the working one; unset: this one works.
    #[arg(long, env = "LPS_LEASE", requires_all = ["kubernetes", "pod_name", "pod_namespace"])]
    pub lease: Option<String>,
    /// The router's own pod.
    #[arg(long, env = "LPS_POD_NAME")]
    pub pod_name: Option<String>,
    /// Its namespace.
    #[arg(long, env = "LPS_POD_NAMESPACE")]
    pub pod_namespace: Option<String>,
}

impl Options {
    fn post(&self) -> Option<Post> {
        Some(Post {
            namespace: self.pod_namespace.clone()?,
            pod: self.pod_name.clone()?,
            lease: self.lease.clone()?,
        })
    }
}

/// Runs until the process is told to end.
///
/// # Errors
/// When there is no cluster, or a port cannot be had.
pub async fn run(config: Config, options: &Options, process: Process) -> anyhow::Result<()> {
    let shutdown = process.shutdown.clone();
    let cluster = Cluster::watch(options.namespace.as_deref()).await?;
    let (tell_written, written) = watch::channel(BTreeMap::new());
    let router = server::start(config, cluster.sources(written), process).await?;
    tracing::info!(address = %router.addr, admin = %router.admin_addr, "the router listens");
    let post = options.post();
    let (tell_active, active) = watch::channel(post.is_none());
    let gate = Gate {
        cluster: cluster.clone(),
        dispatcher: router.dispatcher.clone(),
        active: active.clone(),
    };
    task::spawn("gate", gate.run());
    let writer = Writer {
        teller: Teller::new(cluster.client.clone()),
        cluster: cluster.clone(),
        dispatcher: router.dispatcher,
        wanted: router.scale,
        written: tell_written,
        active,
        started: started(router.clock),
        clock: router.clock,
    };
    task::spawn("scale-writer", writer.run());
    let competing = post.map(|post| {
        let again = keep_competing(cluster, post, tell_active, shutdown);
        task::spawn("compete", again)
    });
    router.task.await.context("the router's task failed")?;
    if let Some(competing) = competing {
        // What is not given up in time is lost by its age.
        let _ = tokio::time::timeout(RELEASE_LIMIT, competing).await;
    }
    Ok(())
}

async fn keep_competing(
    cluster: Cluster,
    post: Post,
    active: watch::Sender<bool>,
    shutdown: Shutdown,
) {
    loop {
        let client = cluster.client.clone();
        let Err(error) = compete(client, post.clone(), active.clone(), shutdown.clone()).await
        else {
            return;
        };
        active.send_replace(false);
        tracing::warn!(%error, "this router does not compete; it tries again");
        tokio::select! {
            () = tokio::time::sleep(COMPETE_PAUSE) => {}
            () = shutdown.drain() => return,
        }
    }
}
