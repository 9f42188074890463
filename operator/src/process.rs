//! The operator as a process. Owns: its admin server, and that the controller works only while the Lease is held.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ListParams};
use lps_api::resource::LLMProgramServing;
use lps_runtime::admin::{Admin, Readiness};
use lps_runtime::lease::{self, Lease};
use lps_runtime::shutdown::Shutdown;
use lps_runtime::{task, telemetry};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::build::Release;
use crate::config::Config;
use crate::controller;
use crate::events::Teller;
use crate::metrics::Metrics;
use crate::subject::Tools;

/// How long running rounds may take to end; one that is cut is made again by whoever works next.
const ROUNDS_END: Duration = Duration::from_secs(5);

/// Why the operator cannot work; the cause stands in the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing says where the cluster is.
    #[error("no cluster: neither a kubeconfig nor a service account")]
    NoCluster(#[source] kube::Error),
    /// The admin endpoint's address is taken, or is none of this machine.
    #[error("admin endpoint {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The cluster does not know the resource.
    #[error(
        "the cluster does not know LLMProgramServing; apply its definition: \
         lps-operator crd | kubectl apply --server-side -f -"
    )]
    NoDefinition,
    /// Resources cannot be listed.
    #[error("the resources cannot be listed")]
    Resources(#[source] kube::Error),
    /// The Lease.
    #[error(transparent)]
    Lease(#[from] lease::Error),
}

/// Works until the shutdown, whenever the Lease is held.
///
/// # Errors
/// When it cannot begin, or the Lease is kept no more.
pub async fn run(
    config: Config,
    telemetry: telemetry::Handle,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry);
    let (ready_tell, ready) = watch::channel(Readiness::Starting("asking the cluster".to_owned()));
    let admin = Admin {
        registry,
        ready,
        telemetry: Some(telemetry),
        gate: None,
        beside: None,
    };
    let (address, listener) = listen(config.admin_address()).await?;
    let serving = task::spawn("admin", admin.serve(listener, std::future::pending()));
    let namespace = config.namespace.clone();
    // A cluster that does not answer must not keep the process from ending.
    let client = tokio::select! {
        client = connect(namespace.as_deref()) => client?,
        () = shutdown.drain() => return Ok(()),
    };
    task::spawn("readiness", tell_readiness(ready_tell, shutdown.clone()));
    tracing::info!(
        namespace = namespace.as_deref().unwrap_or("all"),
        admin = %address,
        lease = config.lease.as_deref().unwrap_or("none"),
        "the operator begins"
    );
    let tools = tools(&client, &config, &metrics);
    let leader = Leader {
        metrics,
        shutdown: shutdown.clone(),
    };
    let work = |stop| controller::run(client.clone(), namespace.as_deref(), tools.clone(), stop);
    let result = match config.claim() {
        None => {
            leader.works(work, shutdown.drain()).await;
            Ok(())
        }
        Some(claim) => {
            let lease = tokio::select! {
                lease = Lease::claim(client.clone(), claim) => lease?,
                () = shutdown.drain() => return Ok(()),
            };
            leader.works_while_held(lease, &work).await
        }
    };
    serving.abort();
    Ok(result?)
}

/// Who stands by is ready too: it can take over at any time.
async fn tell_readiness(tell: watch::Sender<Readiness>, shutdown: Shutdown) {
    tell.send_replace(Readiness::Ready);
    shutdown.drain().await;
    tell.send_replace(Readiness::Draining);
}

fn tools(client: &Client, config: &Config, metrics: &Metrics) -> Tools {
    Tools {
        client: client.clone(),
        release: Arc::new(Release {
            engine_image: config.engine_image.clone(),
            engine_tls_secret: config.engine_tls_secret.clone(),
            fetching: config.fetching(),
        }),
        router_url: config.router_url.as_deref().map(Arc::from),
        metrics: metrics.clone(),
        teller: Teller::new(client.clone(), config.pod_name.clone()),
    }
}

async fn listen(address: SocketAddr) -> Result<(SocketAddr, TcpListener), Error> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        Ok((listener.local_addr()?, listener))
    };
    bound
        .await
        .map_err(|source| Error::Listen { address, source })
}

/// A client of a cluster that knows the resource. It asks for the resources themselves: the right to read them is needed
/// anyway.
async fn connect(namespace: Option<&str>) -> Result<Client, Error> {
    let client = Client::try_default().await.map_err(Error::NoCluster)?;
    let resources: Api<LLMProgramServing> = controller::scoped(&client, namespace);
    match resources.list(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(client),
        Err(kube::Error::Api(refused)) if refused.code == 404 => Err(Error::NoDefinition),
        Err(source) => Err(Error::Resources(source)),
    }
}

struct Leader {
    metrics: Metrics,
    shutdown: Shutdown,
}

impl Leader {
    async fn works_while_held<F, W>(&self, mut lease: Lease, work: &F) -> Result<(), lease::Error>
    where
        F: Fn(Shutdown) -> W,
        W: Future<Output = ()>,
    {
        let result = loop {
            let held = tokio::select! {
                held = lease.held() => held,
                () = self.shutdown.drain() => break Ok(()),
            };
            if held.is_err() {
                break held;
            }
            tracing::info!("the Lease is held");
            let lost = async {
                tokio::select! {
                    lost = lease.lost() => lost,
                    () = self.shutdown.drain() => Ok(()),
                }
            };
            let lost = self.works(work, lost).await;
            if lost.is_err() || self.shutdown.is_draining() {
                break lost;
            }
            tracing::warn!("the Lease is lost; standing by");
        };
        lease.release().await;
        result
    }

    /// Works until `end` resolves, and a little longer for rounds that run.
    async fn works<F, W, T>(&self, work: F, end: impl Future<Output = T>) -> T
    where
        F: Fn(Shutdown) -> W,
        W: Future<Output = ()>,
    {
        let (trigger, stop) = Shutdown::manual();
        let mut work = pin!(work(stop));
        let mut end = pin!(end);
        self.metrics.leads(true);
        let (why, is_over) = tokio::select! {
            () = &mut work => (end.await, true),
            why = &mut end => (why, false),
        };
        trigger.drain();
        if !is_over {
            tokio::select! {
                ended = tokio::time::timeout(ROUNDS_END, work) => {
                    if ended.is_err() {
                        tracing::warn!("a round was cut");
                    }
                }
                () = self.shutdown.cut() => {}
            }
        }
        self.metrics.leads(false);
        why
    }
}

#[cfg(test)]
mod tests {
    use lps_runtime::shutdown::ShutdownTrigger;

    use super::*;

    fn leader() -> (Registry, ShutdownTrigger, Leader) {
        let (registry, (trigger, shutdown)) = (Registry::new(), Shutdown::manual());
        let metrics = Metrics::register(&registry);
        (registry, trigger, Leader { metrics, shutdown })
    }

    fn leads(registry: &Registry) -> f64 {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "lps_operator_leader");
        family.expect("registered").get_metric()[0]
            .get_gauge()
            .get_value()
    }

    #[tokio::test]
    async fn work_is_stopped_and_waited_for() {
        let (registry, _trigger, leader) = leader();
        let (tell, mut told) = watch::channel(0);
        let work = |stop: Shutdown| {
            let (tell, registry) = (tell.clone(), registry.clone());
            async move {
                assert_eq!(leads(&registry), 1.0);
                tell.send_replace(1);
                stop.drain().await;
                tell.send_replace(2);
            }
        };
        let end = async { told.wait_for(|step| *step == 1).await.map(|_| "lost") };
        assert_eq!(leader.works(work, end).await.expect("told"), "lost");
        assert_eq!((*tell.borrow(), leads(&registry)), (2, 0.0));
    }

    #[tokio::test]
    async fn work_that_does_not_stop_is_cut_by_the_second_signal() {
        let (registry, trigger, leader) = leader();
        let work = |_| std::future::pending();
        trigger.cut();
        leader.works(work, leader.shutdown.drain()).await;
        assert_eq!(leads(&registry), 0.0);
    }
}
