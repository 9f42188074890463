//! A Kubernetes Lease: of several processes one works, the others stand by. Owns: taking it, keeping it, and giving it
//! back. There is no fencing: what a holder writes must do no harm when it is written twice.

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Seconds after which a holder that does not renew has lost it.
const DURATION_S: u64 = 10;
/// Seconds before that at which a holder renews.
const GRACE_S: u64 = 4;

/// Which Lease, and who wants it.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The process; unique among those that want it.
    pub identity: String,
}

/// Why a Lease cannot be had, or was lost.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or did not answer.
    #[error("Lease {name}: {source}")]
    Api {
        /// Which one.
        name: String,
        /// What it said.
        source: Box<LeaseManagerError>,
    },
    /// The task that keeps it ended.
    #[error("Lease {0} is kept no more")]
    Ended(String),
}

/// A Lease that is held, or waited for.
#[derive(Debug)]
pub struct Lease {
    name: String,
    held: watch::Receiver<bool>,
    task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
}

impl Lease {
    /// Begins to wait for it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn claim(client: Client, claim: Claim) -> Result<Self, Error> {
        let Claim {
            namespace,
            name,
            identity,
        } = claim;
        let manager = LeaseManagerBuilder::new(client, name.as_str())
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION_S)
            .with_grace(GRACE_S)
            .build()
            .await
            .map_err(|source| Error::Api {
                name: name.clone(),
                source: Box::new(source),
            })?;
        let (held, task) = manager.watch().await;
        Ok(Self { name, held, task })
    }

    /// Resolves when it is held.
    ///
    /// # Errors
    /// When it is kept no more.
    pub async fn held(&mut self) -> Result<(), Error> {
        self.becomes(true).await
    }

    /// Resolves when it is held no more.
    ///
    /// # Errors
    /// When it is kept no more: whoever held it must not act on it either.
    pub async fn lost(&mut self) -> Result<(), Error> {
        self.becomes(false).await
    }

    async fn becomes(&mut self, wanted: bool) -> Result<(), Error> {
        let changed = self.held.wait_for(|held| *held == wanted).await;
        changed
            .map(drop)
            .map_err(|_| Error::Ended(self.name.clone()))
    }

    /// Gives it back, so that another one need not wait until it is stale.
    pub async fn release(self) {
        drop(self.held);
        match self.task.await {
            Ok(Ok(manager)) => {
                if let Err(error) = manager.release().await {
                    tracing::warn!(lease = self.name, %error, "not given back");
                }
            }
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "was not kept"),
            Err(error) => tracing::warn!(lease = self.name, %error, "its task failed"),
        }
    }
}
