//! What every handler finds beside its request. Owns: handles, limits, and how a tenant and a new name are had.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use lps_api::ids::{ModelName, TenantId};
use lps_api::wellknown::header;
use lps_runtime::clock::Clock;
use lps_runtime::shutdown::Shutdown;
use tokio::sync::watch;

use crate::admission::BodyBudget;
use crate::conversations::Conversations;
use crate::discovery::Pool;
use crate::dispatcher::Handle;
use crate::engine_client::Connections;
use crate::http::error::Error;
use crate::identity::Fresh;
use crate::metrics::Metrics;
use crate::responses::shelf::Shelf;

/// Bounds of one request and its answer.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest body.
    pub body_bytes: u32,
    /// Longest time for a body to come.
    pub body_time: Duration,
    /// Longest silence of a streamed answer whose call waits.
    pub heartbeat: Duration,
}

/// Shared by all handlers.
#[derive(Debug, Clone)]
pub struct Context {
    /// To the dispatcher.
    pub dispatcher: Handle,
    /// To engines, for what is no call.
    pub connections: Connections,
    /// What is kept of responses.
    pub responses: Shelf,
    /// Which call goes on from which.
    pub conversations: Conversations,
    /// What is served.
    pub pools: watch::Receiver<Vec<Pool>>,
    /// Room for bodies.
    pub bodies: BodyBudget,
    /// Bounds.
    pub limits: Limits,
    /// Whether engines are told whose a call is, so that tenants share no cached prefixes. Not without keys: then anybody may
    /// say to be any tenant.
    pub tenants_are_apart: bool,
    /// New names.
    pub names: Arc<Names>,
    /// The process's time.
    pub clock: Clock,
    /// Where it counts.
    pub metrics: Metrics,
    /// Whether the process ends.
    pub shutdown: Shutdown,
}

/// Makes names that no other start of the process makes.
#[derive(Debug)]
pub struct Names {
    start: String,
    next: AtomicU64,
}

impl Default for Names {
    fn default() -> Self {
        // The standard library seeds its hashers from the system's random numbers.
        let seed = RandomState::new().hash_one("names of one start of the router");
        Self {
            start: format!("{:08x}", seed >> 32),
            next: AtomicU64::default(),
        }
    }
}

impl Names {
    /// A new name: `KIND-START-NUMBER`.
    pub fn make(&self, kind: &str) -> String {
        format!("{kind}-{}", self.number())
    }

    /// Names for a call that has none.
    pub fn fresh(&self) -> Fresh {
        Fresh::named(&self.number())
    }

    fn number(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.start)
    }
}

/// A header's text; absent is not an error, unprintable is.
pub(super) fn header_text<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, Error> {
    let text = headers.get(name).map(|value| value.to_str());
    text.transpose()
        .map_err(|_| Error::invalid(name, format!("{name} is not plain text")))
}

/// Who asks. Where there are keys, the gate has written the header.
pub(super) fn tenant(headers: &HeaderMap) -> Result<TenantId, Error> {
    let named = named_tenant(headers)?;
    Ok(named.unwrap_or_else(TenantId::anonymous))
}

/// The tenant that a request names.
pub(super) fn named_tenant(headers: &HeaderMap) -> Result<Option<TenantId>, Error> {
    let text = header_text(headers, header::TENANT_ID)?;
    text.map(TenantId::parse).transpose().map_err(|error| {
        let message = format!("{} is not an id: {error}", header::TENANT_ID);
        Error::invalid(header::TENANT_ID, message)
    })
}

impl Context {
    /// The pool that serves a model, asked for by its name or another one.
    pub(super) fn pool(&self, name: &str) -> Result<ModelName, Error> {
        let pools = self.pools.borrow();
        let by_name = pools.iter().find(|pool| pool.model.as_str() == name);
        let pool = by_name.or_else(|| {
            pools
                .iter()
                .find(|pool| pool.aliases.iter().any(|a| a.as_str() == name))
        });
        pool.map(|pool| pool.model.clone()).ok_or_else(|| {
            let known: Vec<&ModelName> = pools.iter().map(|pool| &pool.model).collect();
            Error::unknown_model(name, &known)
        })
    }
}
