//! What there is to route to. Owns: the words in which whoever knows (a static list, the local home of engines, the
//! cluster) tells the router its pools and engines. How a cluster is read stands in the modules below.

/// Which of several routers works.
pub mod activity;
/// Watching a cluster.
pub mod cluster;
/// Engines that are named on the command line.
pub mod fixed;
/// What its objects mean.
pub mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hyper::http::uri::{Authority, Scheme, Uri};
use lps_api::ids::{EngineId, ModelName, Revision};
use lps_api::quantity::Micros;
use lps_api::resource::ScalingRule;
use lps_api::scheduling::Settings;
use tokio::sync::watch;

use crate::message::Intake;

/// Where the router learns of pools and engines; each change replaces the whole list.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Models that are served.
    pub pools: watch::Receiver<Vec<Pool>>,
    /// Engines that exist, whether or not they answer yet.
    pub engines: watch::Receiver<Vec<EngineEndpoint>>,
    /// What is asked for where engines are made. A pool that is not named is asked for what was last wanted here.
    pub written: watch::Receiver<BTreeMap<ModelName, Written>>,
}

/// What is known where engines are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Engines that are asked for now.
    pub replicas: u32,
    /// How long nearly all starts take, as known from elsewhere (an earlier router's status). It counts until the
    /// autoscaler has seen a start itself.
    pub cold_start: Option<Micros>,
    /// Whether engines are being replaced.
    pub rolling_out: bool,
}

/// One model with all that decides about its calls.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name; what the engines call it.
    pub model: ModelName,
    /// Other names by which clients may ask for it.
    pub aliases: Vec<ModelName>,
    /// How its calls are scheduled.
    pub settings: Settings,
    /// How long its calls are held while it has no engine.
    pub cold_start_hold: Micros,
    /// How many engines it may have.
    pub scaling: Scaling,
}

/// How many engines a pool may have, and by what that is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaling {
    /// By what.
    pub rule: ScalingRule,
    /// Calls for which one engine is wanted; at least 1.
    pub target: u32,
    /// Fewest engines.
    pub min: u32,
    /// Most engines.
    pub max: u32,
    /// How long nothing was live before the last engine goes.
    pub idle_after: Micros,
    /// How long fewer engines were enough before one goes.
    pub scale_down_delay: Micros,
    /// Whether decisions are only told.
    pub dry_run: bool,
}

impl Scaling {
    /// Always `count` engines.
    pub const fn fixed(count: u32) -> Self {
        Self {
            rule: ScalingRule::Programs,
            target: 1,
            min: count,
            max: count,
            idle_after: Micros::ZERO,
            scale_down_delay: Micros::ZERO,
            dry_run: false,
        }
    }
}

/// One engine's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEndpoint {
    /// Its name here; unique among all pools.
    pub id: EngineId,
    /// Tells engines apart that bear the same name one after the other.
    pub uid: String,
    /// Which pool it serves.
    pub model: ModelName,
    /// What it was made from.
    pub revision: Revision,
    /// Where it listens.
    pub url: EngineUrl,
    /// Which calls it is to get.
    pub intake: Intake,
}

impl EngineEndpoint {
    /// Whether both are the same engine at the same place.
    pub fn is_same(&self, other: &Self) -> bool {
        let place = |one: &Self| (one.url.clone(), one.model.clone(), one.revision);
        (&self.id, &self.uid) == (&other.id, &other.uid) && place(self) == place(other)
    }
}

/// `http://HOST:PORT` of an engine, or `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineUrl {
    scheme: Scheme,
    authority: Authority,
}

/// A text that is not an engine's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an engine's address is http://HOST:PORT or https://HOST:PORT without a path, not {0:?}")]
pub struct EngineUrlError(String);

impl EngineUrl {
    /// The address of a path on this engine.
    ///
    /// # Panics
    /// When `path` is not a path; paths come from constants.
    pub fn at(&self, path: &str) -> Uri {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .expect("a checked authority and a constant path make a URI")
    }
}

impl FromStr for EngineUrl {
    type Err = EngineUrlError;
    fn from_str(text: &str) -> Result<Self, EngineUrlError> {
        let refused = || EngineUrlError(text.chars().take(128).collect());
        let parts = Uri::from_str(text).map_err(|_| refused())?.into_parts();
        let path_is_empty = parts.path_and_query.is_none_or(|path| path.as_str() == "/");
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority))
                if [Scheme::HTTP, Scheme::HTTPS].contains(&scheme)
                    && authority.port().is_some()
                    && path_is_empty =>
            {
                Ok(Self { scheme, authority })
            }
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, expected) in [
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
            ("https://a:1", "https://a:1"),
        ] {
            let url = text.parse::<EngineUrl>().map(|url| url.to_string());
            assert_eq!(url, Ok(expected.to_owned()));
        }
        for bad in [
            "",
            "127.0.0.1:8000",
            "ftp://a:1",
            "http://a",
            "http://a:1/v1",
            "http://a b:1",
        ] {
            assert!(bad.parse::<EngineUrl>().is_err(), "{bad:?}");
        }
    }
}
