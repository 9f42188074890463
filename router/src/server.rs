//! One running router. Owns: putting the pieces together, and the order in which they end. Embedded by `lps up` and
//! by this crate's binary alike.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lps_api::ids::ModelName;
use lps_runtime::shutdown::Shutdown;
use lps_runtime::telemetry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::discovery::Sources;

/// What the router takes from the process that it runs in.
#[derive(Debug, Clone)]
pub struct Process {
    /// Tells when to drain and when to cut.
    pub shutdown: Shutdown,
    /// For the admin endpoint's `/log-level`; `None` where logs are someone else's.
    pub telemetry: Option<telemetry::Handle>,
}

/// A router that listens.
#[derive(Debug)]
pub struct RunningRouter {
    /// Where clients call.
    pub addr: SocketAddr,
    /// Where `/metrics` is.
    pub admin_addr: SocketAddr,
    /// Engines that each model should have; changes only when a figure does.
    pub scale: watch::Receiver<BTreeMap<ModelName, u32>>,
    /// Ends when the router has drained, or was cut.
    pub task: JoinHandle<()>,
}

/// Why a router does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be had.
    #[error("cannot listen on {address}: {source}; choose another port")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Starts a router on what `sources` tell.
///
/// # Errors
/// When a port cannot be had.
pub async fn start(
    config: Config,
    sources: Sources,
    process: Process,
) -> Result<RunningRouter, Error> {
    let _ = (config, sources, process);
    std::future::pending().await
}
