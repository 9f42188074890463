//! The cluster that a kubeconfig names. Owns: connecting to it, and which namespace and router are meant. What kube is
//! stays in this folder: others see JSON and HTTP.
//!
//! Inside, in the order in which data flows: `facts`, `proxy`; both use what stands here.

mod facts;
mod proxy;

use std::str::FromStr;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::config::{Config, KubeConfigOptions};

pub use proxy::{Body, Proxy};

/// Which cluster, and what of it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Reach the router through the API server of the kubeconfig's cluster; `kubectl lps` does so without being told
    #[arg(long, global = true)]
    pub cluster: bool,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace in the cluster [default: the context's]
    #[arg(long, short, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The router's Service in the cluster [default: the one labelled app.kubernetes.io/name=lps-router]
    #[arg(long, global = true, value_name = "[NAMESPACE/]SERVICE[:PORT]")]
    pub router: Option<RouterName>,
}

impl Options {
    /// Whether a user named a cluster, rather than only a tool that works in one.
    pub fn is_asked_for(&self) -> bool {
        self.cluster || self.context.is_some() || self.router.is_some()
    }
}

/// A Service as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterName {
    namespace: Option<String>,
    service: String,
    port: Option<String>,
}

impl FromStr for RouterName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, rest) = match text.split_once('/') {
            Some((namespace, rest)) => (Some(namespace), rest),
            None => (None, text),
        };
        let (service, port) = match rest.split_once(':') {
            Some((service, port)) => (service, Some(port)),
            None => (rest, None),
        };
        if ![namespace, Some(service), port]
            .into_iter()
            .flatten()
            .all(is_name)
        {
            return Err("a Service is named [NAMESPACE/]SERVICE[:PORT]");
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            service: service.to_owned(),
            port: port.map(str::to_owned),
        })
    }
}

/// What may stand in a path of the API server as it is.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    !text.is_empty() && text.len() <= 253 && text.chars().all(is_plain)
}

/// Why the cluster gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no kubeconfig, or it is wrong.
    #[error("no cluster: {0}; set KUBECONFIG, or name a context of it with --context")]
    Kubeconfig(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A name that no object can have.
    #[error("{0:?} is no name in a cluster")]
    Name(String),
    /// The API server refuses, or cannot be reached.
    #[error("{what}")]
    Api {
        /// What was asked for.
        what: String,
        /// What it said.
        source: Box<kube::Error>,
    },
    /// The resource is not there.
    #[error("no LLMProgramServing {0} in namespace {1}; `kubectl get lps -A` lists them")]
    NoResource(String, String),
    /// Nothing is labelled as the router's Service.
    #[error(
        "no Service labelled {0} in {1}; is lps installed there? Name its Service with --router [NAMESPACE/]SERVICE"
    )]
    NoRouter(String, String),
    /// More than one is.
    #[error("several routers: {0}; choose one with --router")]
    Routers(String),
    /// The Service has no port.
    #[error("Service {0} has no port of name or number {1}")]
    NoPort(String, String),
}

fn failed(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let what = what.into();
    |source| Error::Api {
        what,
        source: Box::new(source),
    }
}

/// A connection to the API server, made when it is used.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
    /// Whether a user named the namespace.
    is_named: bool,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// The cluster of the kubeconfig, else the one that this process runs in.
    ///
    /// # Errors
    /// When there is none, or the kubeconfig is wrong.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let mut config = match &options.context {
            Some(context) => {
                let options = KubeConfigOptions {
                    context: Some(context.clone()),
                    ..KubeConfigOptions::default()
                };
                Config::from_kubeconfig(&options)
                    .await
                    .map_err(|error| Error::Kubeconfig(error.into()))?
            }
            None => Config::infer()
                .await
                .map_err(|error| Error::Kubeconfig(error.into()))?,
        };
        // A user who waits is told at once; trying again is the user's to decide.
        config.default_retry = false;
        let namespace = options.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        if !is_name(&namespace) {
            return Err(Error::Name(namespace));
        }
        Ok(Self {
            client: Client::try_from(config).map_err(|error| Error::Kubeconfig(error.into()))?,
            namespace,
            is_named: options.namespace.is_some(),
        })
    }

    /// The namespace that is meant where none is written.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// Whole seconds between two times as Kubernetes writes them; `None` where one is no time, or `now` is the earlier.
pub fn seconds_since(then: &str, now: &str) -> Option<u64> {
    let (then, now): (Timestamp, Timestamp) = (then.parse().ok()?, now.parse().ok()?);
    u64::try_from(now.as_second() - then.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_named_with_or_without_its_namespace_and_port() {
        for (text, expected) in [
            ("r", (None, "r", None)),
            ("r:80", (None, "r", Some("80"))),
            ("a/r", (Some("a"), "r", None)),
            (
                "lps-system/lps-router:http",
                (Some("lps-system"), "lps-router", Some("http")),
            ),
        ] {
            let name: RouterName = text.parse().expect(text);
            let RouterName {
                namespace,
                service,
                port,
            } = &name;
            let found = (namespace.as_deref(), service.as_str(), port.as_deref());
            assert_eq!(found, expected, "{text}");
        }
        for bad in ["", "/r", "r:", "a/b/c", "r?x", "R", ":80"] {
            assert!(bad.parse::<RouterName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ages_are_whole_seconds() {
        let now = "2026-01-02T00:00:00Z";
        for (then, age) in [
            ("2026-01-01T23:59:30Z", Some(30)),
            ("2026-01-01T23:59:30.5Z", Some(30)),
            (now, Some(0)),
            ("2026-01-02T00:00:01Z", None),
            ("yesterday", None),
        ] {
            assert_eq!(seconds_since(then, now), age, "{then}");
        }
    }
}
